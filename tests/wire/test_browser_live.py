"""What a page in a real browser sees of sockets and event streams that are refused, or end with their session."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from browser_helpers import fetch, serving
from playwright.sync_api import Browser
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from asgi_auth import Auth, AuthMiddleware, Settings, User, require

pytestmark = pytest.mark.browser

DOCUMENT = Path(__file__).resolve().parent.parent.parent / "docs" / "live-connections.md"

CLOSED = """(path) => new Promise((done) => {
    const socket = new WebSocket(location.origin.replace("http", "ws") + path);
    socket.onclose = ({ code, reason }) => done([code, reason]); })"""
OPENED = """(path) => new Promise((done) => {
    window.socket = new WebSocket(location.origin.replace("http", "ws") + path);
    window.farewell = new Promise((ended) => { socket.onclose = ({ code, reason }) => ended([code, reason]); });
    socket.onmessage = ({ data }) => done(data); })"""


class Counted:
    """An application, and how often each path of it was asked for."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.asked: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            self.asked.append(scope["path"])
        await self.app(scope, receive, send)


def live_app(auth: Auth) -> Counted:
    async def page(request: Request) -> Response:
        return HTMLResponse("<!doctype html><title>page</title>")

    async def enter(request: Request) -> Response:
        await auth.login(request, User("alice"))
        return Response(status_code=204)

    async def kill(request: Request) -> Response:
        assert await auth.revoke(request.auth.session_id)
        return Response(status_code=204)

    @require()
    async def stream(request: Request) -> Response:
        async def ticks() -> Any:
            while True:
                yield "data: tick\n\n"
                await anyio.sleep(0.05)

        return StreamingResponse(ticks(), media_type="text/event-stream")

    def guarded(*scopes: str) -> Any:
        @require(*scopes)
        async def socket(websocket: WebSocket) -> None:
            await websocket.accept()
            await websocket.send_text("hello")
            async for text in websocket.iter_text():
                await websocket.send_text(text)

        return socket

    routes = [
        Route("/", page),
        Route("/enter", enter, methods=["POST"]),
        Route("/kill", kill, methods=["POST"]),
        Route("/stream", stream),
        WebSocketRoute("/ws", guarded()),
        WebSocketRoute("/admin", guarded("admin")),
    ]
    return Counted(Starlette(routes=routes, middleware=[Middleware(AuthMiddleware, auth=auth)]))


def test_a_page_can_tell_a_refused_socket_from_an_outage(chromium: Browser, serve: Callable[..., Any]) -> None:
    """By what the document tells pages to do, to the letter."""
    (script,) = re.findall(r"```js\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    why = f"() => {{ {script}\n return whyRefused(); }}"
    refused = [1006, ""]
    store = serve()
    auth = Auth(Settings(store=store.url, store_timeout=0.5, staleness=0.2))
    with chromium.new_context() as context:
        page = context.new_page()
        with serving(live_app(auth)) as url:
            page.goto(f"{url}/")
            assert page.evaluate(CLOSED, "/ws") == refused
            assert page.evaluate(why) == "log in"
            assert fetch(page, "POST", "/enter") == 204
            assert page.evaluate(CLOSED, "/admin") == refused
            assert page.evaluate(why) == "not allowed"
            assert page.evaluate(OPENED, "/ws") == "hello"
            assert fetch(page, "POST", "/kill") == 204
            assert page.evaluate("farewell") == [1008, "session ended"]
            assert page.evaluate(CLOSED, "/ws") == refused
            assert page.evaluate(why) == "log in"

            assert fetch(page, "POST", "/enter") == 204
            store.kill()
            page.wait_for_function("() => fetch('/auth/me').then((answer) => answer.status === 503)")
            assert page.evaluate(CLOSED, "/ws") == refused
            assert page.evaluate(why) == "try again later"
            page.goto("about:blank")
            page.goto(f"{url}/")
        assert page.evaluate(CLOSED, "/ws") == refused  # nobody is there at all
        assert page.evaluate(why) == "try again later"


def test_event_source_after_revocation_stops(chromium: Browser) -> None:
    """The stream ends as it should, so the browser asks once more; the 401 makes it give up for good."""
    app = live_app(Auth(Settings(store="memory://")))
    with serving(app) as url, chromium.new_context() as context:
        page = context.new_page()
        page.goto(f"{url}/")
        assert fetch(page, "POST", "/enter") == 204
        page.evaluate("""() => new Promise((done) => {
            window.states = [];
            window.stream = new EventSource("/stream");
            stream.onmessage = done;
            stream.onerror = () => states.push(stream.readyState); })""")
        assert app.asked.count("/stream") == 1
        assert fetch(page, "POST", "/kill") == 204
        page.wait_for_function("() => stream.readyState === EventSource.CLOSED", timeout=20_000)
        assert page.evaluate("states") == [0, 2]  # asks again, gives up
        assert app.asked.count("/stream") == 2
        assert fetch(page, "GET", "/auth/me") == 401
        assert app.asked.count("/stream") == 2
