"""A real server for the client half: uvicorn in a thread, with a clock that the test moves, and the means to lose an
answer, to hold one back and to fail. It counts what it is asked."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import argon2.profiles
import uvicorn
from clocks import Clock
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from asgi_auth import Auth, AuthMiddleware, Settings, User, require
from asgi_auth.directory import StoreDirectory
from asgi_auth.passwords import PasswordHasher
from asgi_auth.stores.opening import open_store

PATIENCE = 30.0
PASSWORDS = {"alice": "wonderland", "bob": "builder"}


@require()
async def private(request: Request) -> Response:
    body = await request.body()
    return JSONResponse({"user": request.user.id, "scopes": sorted(request.user.scopes), "length": len(body)})


async def away(request: Request) -> Response:
    return RedirectResponse(request.query_params["to"], status_code=int(request.query_params["status"]))


@require()
async def stream(request: Request) -> Response:
    async def ticks() -> AsyncIterator[bytes]:
        while not request.app.state.gate.streams_end.is_set():
            yield b"tick\n"
            await anyio.sleep(0.02)
        yield b"the end\n"

    return StreamingResponse(ticks())


async def greet(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_json({"user": socket.user.id, "scopes": sorted(socket.user.scopes)})
    await socket.close()


ROUTES = [
    WebSocketRoute("/ws", greet),
    Route("/stream", stream),
    Route("/private", private, methods=["GET", "POST"]),
    Route("/away", away, methods=["GET", "POST"]),
]


class Gate:
    """The outermost application.

    Attributes:
        asked: how often each path was.
        seen: the path and the headers of each request.
        lost: how many answers of a path are still to be lost: all is done, and nobody hears of it.
        failing: paths that answer this status and these headers at once.
        held: paths whose answers wait for the event, when all is done.
        streams_end: ends `/stream`.
    """

    def __init__(self, app: Any, clock: Clock) -> None:
        self.app = app
        self.clock = clock
        self.asked: Counter[str] = Counter()
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.lost: Counter[str] = Counter()
        self.failing: dict[str, tuple[int, dict[str, str]]] = {}
        self.held: dict[str, threading.Event] = {}
        self.streams_end = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"]
        self.asked[path] += 1
        self.seen.append((path, {name.decode(): value.decode() for name, value in scope["headers"]}))
        if path in self.failing:
            status, headers = self.failing[path]
            await Response(status_code=status, headers=headers)(scope, receive, partial(self.dated, send))
            return
        if not self.lost[path] and path not in self.held:
            await self.app(scope, receive, partial(self.dated, send))
            return
        answer: list[Any] = []

        async def keep(message: Any) -> None:
            answer.append(message)

        await self.app(scope, receive, keep)
        if self.lost[path] > 0:
            self.lost[path] -= 1
            send.__self__.transport.abort()
            return
        await anyio.to_thread.run_sync(self.held[path].wait, PATIENCE)
        for message in answer:
            await self.dated(send, message)

    async def dated(self, send: Any, message: Any) -> None:
        """The server's time is that of its tokens."""
        if message["type"] == "http.response.start":
            date = formatdate(self.clock(), usegmt=True).encode()
            message = {**message, "headers": [*message["headers"], (b"date", date)]}
        await send(message)


class Served:
    """What a test knows of its server. `url` is what a client is given, `origin` what it asks."""

    def __init__(self, auth: Auth, gate: Gate, origin: str, loop: asyncio.AbstractEventLoop) -> None:
        self.auth = auth
        self.gate = gate
        self.clock = gate.clock
        self.origin = origin
        self.url = f"{origin}/auth"
        self._loop = loop

    @property
    def refreshes(self) -> int:
        return self.gate.asked["/auth/token"]

    @property
    def logins(self) -> int:
        return self.gate.asked["/auth/login"]

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do something in the server's process and loop."""
        # Without the context of the caller, who may be in an event loop of another kind.
        return Context().run(asyncio.run_coroutine_threadsafe, work, self._loop).result(PATIENCE)

    def issue(self, name: str = "alice", **more: Any) -> dict[str, Any]:
        """A pair, as the token endpoint would answer."""
        return dict(self.run(self.auth.issue(User(name, scopes={"read"}), **more)).public())


@contextmanager
def serving(
    clock: Clock, *, port: int = 0, users: bool = True, certificate: tuple[Path, Path] | None = None, **settings: Any
) -> Iterator[Served]:
    settings = {"store": "memory://", "jwt_leeway": 0, **settings}
    store = open_store(settings["store"], timeout=5.0, clock=clock)
    directory = StoreDirectory(store, PasswordHasher(parameters=argon2.profiles.CHEAPEST))
    auth = Auth(Settings(**settings), directory=directory, store=store, clock=clock)
    app = Starlette(routes=ROUTES)
    gate = app.state.gate = Gate(AuthMiddleware(app, auth), clock)
    with listening(gate, port, certificate) as (origin, loop):
        served = Served(auth, gate, origin, loop)
        for name, password in PASSWORDS.items() if users else ():
            served.run(auth.create_user(name, password, id=name, scopes={"read"}, check=False))
        yield served


@contextmanager
def listening(
    app: Any, port: int = 0, certificate: tuple[Path, Path] | None = None
) -> Iterator[tuple[str, asyncio.AbstractEventLoop]]:
    """Serve an application; its address, and the loop that it runs in. `certificate`: the files of one and its key."""
    files = [str(file) for file in certificate or ()]
    tls: dict[str, Any] = dict(zip(("ssl_certfile", "ssl_keyfile"), files, strict=False))
    loops: list[asyncio.AbstractEventLoop] = []

    async def noting(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            loops.append(asyncio.get_running_loop())
        await app(scope, receive, send)

    config = uvicorn.Config(
        noting, log_config=None, loop="asyncio", http="h11", date_header=False, timeout_graceful_shutdown=5, **tls
    )
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            until = time.monotonic() + PATIENCE
            while not server.started:
                assert thread.is_alive()
                assert time.monotonic() < until
                time.sleep(0.01)
            yield f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}", loops[0]
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
