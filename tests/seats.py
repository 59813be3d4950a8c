"""One application in every seat: the same behaviour in Starlette, FastAPI, Quart and bare ASGI, with the middleware
outermost, added, in an inner handler's place, mounted. And ways to ask it.

Servers' processes import this too, so a framework is imported by whoever needs it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import argon2.profiles
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from asgi_auth import Auth, AuthMiddleware, Settings, User, require
from asgi_auth.directory import StoreDirectory
from asgi_auth.passwords import PasswordHasher
from asgi_auth.stores.opening import open_store

if TYPE_CHECKING:
    import httpx2
    from fastapi import FastAPI
    from quart import Quart

ALICE = User("alice", scopes=frozenset({"read"}))
BOB = User("bob", scopes=frozenset({"read", "admin"}))
USERS = {"alice": ALICE, "bob": BOB}
PASSWORD = "a hole under the hedge"

ASGI = Callable[..., Any]


class Boom(Exception):
    """What an application raises that nobody here knows."""


def new_auth(
    store_url: str = "memory://", *, clock: Any = None, directory: Any = None, timeout: float = 5.0, **more: Any
) -> Auth:
    """An `Auth` over a store that goes by `clock`, whose passwords are hashed as cheaply as it gets."""
    store = open_store(store_url, timeout=timeout, clock=clock)
    if directory is None and "users" not in more:
        directory = StoreDirectory(store, PasswordHasher(parameters=argon2.profiles.CHEAPEST))
    clocks = {} if clock is None else {"clock": clock}
    return Auth(Settings(store=store_url, **more), directory=directory, store=store, **clocks)


async def add_users(auth: Auth) -> None:
    for user in USERS.values():
        await auth.create_user(user.id, PASSWORD, id=user.id, scopes=user.scopes)


# ---------------------------------------------------------------------- what the application does


async def behave(auth: Auth, connection: Any, session: Any, name: str, key: str) -> tuple[int, Any]:
    """What stands behind `/{name}/{key}`: status and JSON."""
    if name == "who":
        scope = connection.scope
        user, credentials = scope["user"], scope["auth"]
        return 200, {
            "user": user.identity or None,
            "is_authenticated": user.is_authenticated,
            "backend": credentials.backend,
            "session": credentials.session_id,
            "scopes": sorted(credentials.scopes),
        }
    if name == "login":
        await auth.login(connection, USERS[key])
    elif name == "login-raise":
        await auth.login(connection, USERS[key])
        raise Boom
    elif name == "login-500":
        await auth.login(connection, USERS[key])
        session["kept"] = False
        return 500, {}
    elif name == "logout":
        await auth.logout(connection)
    elif name == "logout-raise":
        await auth.logout(connection)
        raise Boom
    elif name == "put":
        session[key] = key
    elif name == "put-raise":
        session[key] = key
        raise Boom
    elif name == "put-500":
        session[key] = key
        return 500, {}
    elif name == "data":
        return 200, dict(session)
    elif name == "private":
        require()(lambda scope: None)(connection)
    elif name == "admin":
        require("admin")(lambda scope: None)(connection)
    return 200, {}


async def talk(auth: Auth, connection: Any, session: Any, key: str) -> dict[str, Any]:
    """What a WebSocket at `/ws/{key}` says first."""
    if key == "private":
        require()(lambda scope: None)(connection)
    elif key == "first":
        session["first"] = True
    return {"user": connection.scope["user"].identity or None}


def starlette_app(auth: Auth, kind: type[Starlette] = Starlette, **options: Any) -> Starlette:
    async def endpoint(request: Request) -> Response:
        status, body = await behave(
            auth, request, request.session, request.path_params["name"], request.path_params.get("key", "")
        )
        return JSONResponse(body, status)

    async def socket(websocket: WebSocket) -> None:
        hello = await talk(auth, websocket, websocket.session, websocket.path_params["key"])
        await websocket.accept()
        await websocket.send_json(hello)
        async for text in websocket.iter_text():
            await websocket.send_text(text)

    return kind(
        routes=[
            WebSocketRoute("/ws/{key}", socket),
            Route("/{name}", endpoint, methods=["GET", "POST"]),
            Route("/{name}/{key}", endpoint, methods=["GET", "POST"]),
        ],
        **options,
    )


def fastapi_app(auth: Auth, **options: Any) -> FastAPI:
    from fastapi import FastAPI

    app = FastAPI(openapi_url=None, **options)

    @app.websocket("/ws/{key}")
    async def socket(websocket: WebSocket, key: str) -> None:
        hello = await talk(auth, websocket, websocket.session, key)
        await websocket.accept()
        await websocket.send_json(hello)
        async for text in websocket.iter_text():
            await websocket.send_text(text)

    @app.api_route("/{name}", methods=["GET", "POST"])
    @app.api_route("/{name}/{key}", methods=["GET", "POST"])
    async def endpoint(request: Request, name: str, key: str = "") -> Response:
        status, body = await behave(auth, request, request.session, name, key)
        return JSONResponse(body, status)

    return app


def quart_app(auth: Auth) -> Quart:
    from quart import Quart
    from quart import request as quart_request
    from quart import websocket as quart_websocket

    app = Quart(__name__)
    logging.getLogger("tests.seats").setLevel(logging.CRITICAL)
    app.logger.setLevel(logging.CRITICAL)

    @app.route("/<name>", methods=["GET", "POST"])
    @app.route("/<name>/<key>", methods=["GET", "POST"])
    async def endpoint(name: str, key: str = "") -> Any:
        scope = quart_request.scope
        status, body = await behave(auth, quart_request, scope["session"], name, key)
        return body, status

    @app.websocket("/ws/<key>")
    async def socket(key: str) -> None:
        scope = quart_websocket.scope
        hello = await talk(auth, quart_websocket, scope["session"], key)
        await quart_websocket.accept()
        await quart_websocket.send(json.dumps(hello))
        while True:
            await quart_websocket.send(await quart_websocket.receive())

    return app


def bare_app(auth: Auth) -> ASGI:
    """A plain callable, without a lifespan."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            raise Boom(f"this application knows no {scope['type']}")
        root = scope.get("root_path", "")
        _, name, key, *_ = [*scope["path"].removeprefix(root).split("/"), "", ""]
        if scope["type"] == "websocket":
            await _bare_socket(auth, WebSocket(scope, receive, send), key)
            return
        request = Request(scope, receive)
        try:
            status, body = await behave(auth, request, scope["session"], name, key)
        except HTTPException as error:
            status, body = error.status_code, {}
        await JSONResponse(body, status)(scope, receive, send)

    return app


async def _bare_socket(auth: Auth, websocket: WebSocket, key: str) -> None:
    hello = await talk(auth, websocket, websocket.scope["session"], key)
    await websocket.accept()
    await websocket.send_json(hello)
    async for text in websocket.iter_text():
        await websocket.send_text(text)


# ---------------------------------------------------------------------- where the middleware sits


class Seat(NamedTuple):
    """An application with the middleware somewhere in it, and the path under which all of it stands."""

    app: ASGI
    base: str = ""


def outermost(auth: Auth) -> Seat:
    return Seat(AuthMiddleware(starlette_app(auth), auth))


def added(auth: Auth) -> Seat:
    app = starlette_app(auth)
    app.add_middleware(AuthMiddleware, auth=auth)
    return Seat(app)


def added_fastapi(auth: Auth) -> Seat:
    app = fastapi_app(auth)
    app.add_middleware(AuthMiddleware, auth=auth)
    return Seat(app)


def inner(auth: Auth) -> Seat:
    app = quart_app(auth)
    app.asgi_app = AuthMiddleware(app.asgi_app, auth)  # type: ignore[method-assign]
    return Seat(app)


def mounted(auth: Auth) -> Seat:
    return Seat(Starlette(routes=[Mount("/app", AuthMiddleware(starlette_app(auth), auth))]), "/app")


def bare(auth: Auth) -> Seat:
    return Seat(AuthMiddleware(bare_app(auth), auth))


SEATS: Mapping[str, Callable[[Auth], Seat]] = {
    "outermost": outermost,
    "added": added,
    "fastapi": added_fastapi,
    "quart": inner,
    "mounted": mounted,
    "bare": bare,
}


# ---------------------------------------------------------------------- asking


def browser(seat: Seat | ASGI, base_url: str = "http://testserver", **transport: Any) -> httpx2.AsyncClient:
    """A client that keeps cookies. What the application raises is a 500 to it, as it is on a server."""
    app, base = seat if isinstance(seat, Seat) else (seat, "")
    transport.setdefault("raise_app_exceptions", False)
    import httpx2

    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app, **transport), base_url=base_url + base)


def set_cookies(answer: httpx2.Response) -> list[str]:
    return answer.headers.get_list("set-cookie")


def cookie_of(client: httpx2.AsyncClient) -> dict[str, str]:
    """The Cookie header that this client would send."""
    return {"cookie": "; ".join(f"{cookie.name}={cookie.value}" for cookie in client.cookies.jar)}


@dataclass
class Reply:
    """What a server was told, to the byte."""

    messages: list[Any] = field(default_factory=list)

    @property
    def status(self) -> int:
        return next((m["status"] for m in self.messages if m["type"].endswith("response.start")), 0)

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return [(bytes(name).lower(), bytes(value)) for m in self.messages for name, value in m.get("headers") or ()]

    @property
    def body(self) -> bytes:
        return b"".join(m.get("body", b"") for m in self.messages)

    def all(self, name: str) -> list[str]:
        return [value.decode("latin-1") for key, value in self.headers if key == name.encode()]

    def json(self) -> Any:
        return json.loads(self.body)


def http_scope(path: str = "/", method: str = "GET", headers: Sequence[tuple[Any, Any]] = (), **more: Any) -> Any:
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"testserver"), *((_bytes(name), _bytes(value)) for name, value in headers)],
        "client": ("127.0.0.1", 50_000),
        "server": ("testserver", 80),
        "state": {},
    }
    return {name: value for name, value in {**scope, **more}.items() if value is not ...}


def socket_scope(path: str = "/ws/x", headers: Sequence[tuple[Any, Any]] = (), **more: Any) -> Any:
    options = {
        "type": "websocket",
        "scheme": "ws",
        "method": ...,
        "subprotocols": [],
        "extensions": {"websocket.http.response": {}},
        **more,
    }
    return http_scope(path, headers=headers, **options)


async def call(app: ASGI, scope: Any, *, incoming: Sequence[Any] | None = None) -> Reply:
    """Run one scope to its end, as a server would; what the application raises comes out."""
    reply = Reply()
    if incoming is None:
        incoming = (
            [{"type": "http.request", "body": b"", "more_body": False}, {"type": "http.disconnect"}]
            if scope["type"] == "http"
            else [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1001}]
        )
    waiting = list(reversed(incoming))

    async def receive() -> Any:
        if not waiting:
            await anyio.sleep_forever()
        return waiting.pop()

    async def send(message: Any) -> None:
        reply.messages.append(message)

    await app(scope, receive, send)
    return reply


def handled(handle: Callable[[Request], Any]) -> ASGI:
    """A bare application of one handler, `async (request) -> Response`."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        response = await handle(request)
        if response is not None:
            await response(scope, receive, send)

    return app


@asynccontextmanager
async def living(app: ASGI) -> AsyncIterator[list[Any]]:
    """The application's lifespan around a block; what it sent."""
    said: list[Any] = []
    started, stopping = anyio.Event(), anyio.Event()
    first = True

    async def receive() -> Any:
        nonlocal first
        if first:
            first = False
            return {"type": "lifespan.startup"}
        await stopping.wait()
        return {"type": "lifespan.shutdown"}

    async def send(message: Any) -> None:
        said.append(message)
        started.set()

    async def run() -> None:
        try:
            await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
        finally:
            started.set()

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await started.wait()
        yield said
        stopping.set()


def _bytes(value: str | bytes) -> bytes:
    return value.encode("latin-1") if isinstance(value, str) else value
