"""What the tests of open connections serve: sockets and streams of every temper, logins, revocations; and what became
of the application's side of them."""

from __future__ import annotations

import gc
import json
from typing import Any

import anyio
from fastapi import FastAPI
from quart import Quart, websocket
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from asgi_auth import Auth, AuthMiddleware, User, require

auth = Auth()
seen: dict[str, str] = {}


async def answer(send: Any, value: Any) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(value).encode()})


async def socket(scope: Any, receive: Any, send: Any) -> None:
    """`/echo` answers, `/asleep` does not listen, `/chatty` sends whatever happens, `/flood` fills the pipe."""
    await receive()
    if not scope["user"].is_authenticated:
        await send({"type": "websocket.close", "code": 1008})
        return
    await send({"type": "websocket.accept"})
    path = scope["path"]
    try:
        if path == "/asleep":
            await send({"type": "websocket.send", "text": "asleep"})
            await anyio.sleep_forever()
        for _ in range(2000 if path == "/flood" else 0):
            await send({"type": "websocket.send", "text": "x" * 50_000})
        while path == "/chatty":
            try:
                await send({"type": "websocket.send", "text": "chat"})
            except OSError as error:
                seen[path] = type(error).__name__
                await send({"type": "websocket.close"})
                return
            await anyio.sleep(0.02)
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                seen[path] = f"disconnect {message['code']}"
                return
            await send({"type": "websocket.send", "text": message.get("text") or ""})
    except OSError as error:
        seen[path] = type(error).__name__
        raise


async def stream(scope: Any, send: Any) -> None:
    events = scope["path"] == "/events"
    headers = [(b"content-type", b"text/event-stream" if events else b"application/octet-stream")]
    if scope["path"] == "/file":
        headers.append((b"content-length", b"18000"))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for _ in range(2000):
        await send({"type": "http.response.body", "body": b"data: x\n\n", "more_body": True})
        await anyio.sleep(0.02)
    await send({"type": "http.response.body", "body": b""})


def named(path: str) -> User:
    """The user of `/…/<id>/<scope>+<scope>`."""
    _, _, user_id, *scopes = path.split("/")
    return User(user_id, scopes=frozenset("+".join(scopes).split("+")) - {""})


async def bare(scope: Any, receive: Any, send: Any) -> None:
    path = scope["path"]
    if scope["type"] == "websocket":
        await socket(scope, receive, send)
    elif path.startswith("/login/"):
        await auth.login(scope, named(path))
        await answer(send, "in")
    elif path.startswith("/token/"):
        await answer(send, (await auth.issue(named(path))).public())
    elif path.startswith("/update/"):
        user = named(path)
        await answer(send, (await auth.update_user(user.id, scopes=user.scopes)).public())
    elif path.startswith("/disable/"):
        await answer(send, await auth.disable_user(path.split("/")[2]))
    elif path.startswith("/revoke/"):
        await answer(send, await auth.revoke(path.split("/")[2]))
    elif path.startswith("/revoke-user/"):
        await answer(send, await auth.revoke_user(path.split("/")[2]))
    elif path in ("/events", "/download", "/file"):
        await stream(scope, send)
    elif path == "/seen":
        gc.collect()  # a generator whose frames are in a cycle is closed when they are found
        await answer(send, seen)
    else:
        scopes = sorted(scope["user"].scopes)
        await answer(send, {"user": scope["user"].identity, "session": scope["auth"].session_id, "scopes": scopes})


async def ticks(name: str) -> Any:
    """A generator of a framework's: what it notes at its end says that it was closed."""
    try:
        while True:
            yield b"data: x\n\n"
            await anyio.sleep(0.02)
    finally:
        seen[name] = "closed"


async def echo(name: str, receive: Any, send: Any) -> None:
    """A framework's handler, as its documentation writes it: what it notes at its end says that it is over."""
    try:
        while True:
            await send(await receive())
    finally:
        seen[f"{name} echo"] = "over"


async def starlette_stream(request: Any) -> StreamingResponse:
    return StreamingResponse(ticks("starlette"), media_type="text/event-stream")


@require("read")
async def readers_echo(websocket: WebSocket) -> None:
    await websocket.accept()
    await echo("readers", websocket.receive_text, websocket.send_text)


async def starlette_echo(websocket: WebSocket) -> None:
    await websocket.accept()
    await echo("starlette", websocket.receive_text, websocket.send_text)


fastapi = FastAPI()


@fastapi.websocket("/fastapi/echo")
async def fastapi_echo(websocket: WebSocket) -> None:
    await websocket.accept()
    await echo("fastapi", websocket.receive_text, websocket.send_text)


@fastapi.get("/fastapi/stream")
async def fastapi_stream() -> StreamingResponse:
    return StreamingResponse(ticks("fastapi"), media_type="text/event-stream")


quart = Quart(__name__)


@quart.get("/quart/stream")
async def quart_stream() -> Any:
    return ticks("quart"), 200, {"content-type": "text/event-stream"}


@quart.websocket("/quart/echo")
async def quart_echo() -> None:
    await echo("quart", websocket.receive, websocket.send)


starlette = Starlette(
    routes=[
        Route("/starlette/stream", starlette_stream),
        WebSocketRoute("/starlette/echo", starlette_echo),
        WebSocketRoute("/starlette/readers", readers_echo),
    ]
)
FRAMEWORKS = {"starlette": starlette, "fastapi": fastapi, "quart": quart}


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    first = scope["path"].split("/")[1]
    await FRAMEWORKS.get(first, bare)(scope, receive, send)


app = AuthMiddleware(application, auth)
