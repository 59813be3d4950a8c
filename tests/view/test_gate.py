"""While nobody can say that a session lives, nothing passes over its open connections, in either direction."""

from __future__ import annotations

from contextlib import asynccontextmanager

import anyio
import pytest
from seats import ALICE, browser, cookie_of, http_scope, living, new_auth, socket_scope
from view_helpers import is_current, until

from asgi_auth import AuthMiddleware, live
from asgi_auth.errors import StoreUnavailable

STALENESS = 0.2
LINE = {"type": "websocket.send", "text": "line"}


class Echo:
    """An application that sends what it is told to, and notes what it hears; its client in the same process."""

    def __init__(self, url: str) -> None:
        self.auth = new_auth(url, staleness=STALENESS, store_timeout=0.2)
        self.app = AuthMiddleware(self, self.auth)
        self.heard: list[str] = []
        self.client: list[dict] = []
        self.lines, self.lines_out = anyio.create_memory_object_stream(100)
        self.incoming, self.incoming_out = anyio.create_memory_object_stream(100)

    async def __call__(self, scope, receive, send):
        assert scope["type"] != "lifespan"  # it has none of its own
        if scope["type"] == "http" and scope["path"] == "/login":
            await self.auth.login(scope, ALICE)
        if scope["type"] == "http":
            streams = scope["path"] == "/stream"
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"99")]})
            await send({"type": "http.response.body", "body": b"first", "more_body": streams})
            while streams:
                await self.lines_out.receive()
                await send({"type": "http.response.body", "body": b"more", "more_body": True})
            return
        await receive()
        await send({"type": "websocket.accept"})
        async with anyio.create_task_group() as group:
            group.start_soon(self._tell, send)
            while (message := await receive())["type"] == "websocket.receive":
                self.heard.append(message["text"])
            group.cancel_scope.cancel()

    async def _tell(self, send):
        while True:
            await self.lines_out.receive()
            await send(LINE)

    async def _to_client(self, message):
        self.client.append(message)

    @property
    def texts(self):
        return [message for message in self.client if message == LINE]

    @asynccontextmanager
    async def open(self, scope_of):
        """A connection of somebody who has logged in."""
        with self.lines, self.lines_out, self.incoming, self.incoming_out:
            async with self._open(scope_of) as view:
                yield view

    @asynccontextmanager
    async def _open(self, scope_of):
        async with living(self.app), anyio.create_task_group() as group:
            view = self.auth.parts.view
            await until(lambda: is_current(view))
            async with browser(self.app) as client:
                await client.get("/login")
                headers = list(cookie_of(client).items())
            self.incoming.send_nowait({"type": "websocket.connect"})
            group.start_soon(self.app, scope_of(headers), self.incoming_out.receive, self._to_client)
            await until(lambda: self.client)
            yield view
            group.cancel_scope.cancel()

    @asynccontextmanager
    async def silence(self, view):
        """The server says nothing, and no proof of before holds any more."""
        with self.server.frozen():
            await anyio.sleep(1.5 * STALENESS)
            assert not is_current(view)
            yield


def socket(headers):
    return socket_scope("/", headers)


def stream(headers):
    return http_scope("/stream", headers=headers)


@pytest.fixture
def echo(serve, anyio_backend):
    server = serve()
    one = Echo(server.url)
    one.server = server
    return one


async def test_nothing_passes_an_open_socket_without_a_lease_and_all_of_it_afterwards(echo):
    async with echo.open(socket) as view:
        echo.lines.send_nowait(None)
        await until(lambda: len(echo.texts) == 1)
        async with echo.silence(view):
            echo.lines.send_nowait(None)
            echo.incoming.send_nowait({"type": "websocket.receive", "text": "hello"})
            await anyio.sleep(0.5)
            assert len(echo.texts) == 1
            assert echo.heard == []
        await until(lambda: len(echo.texts) == 2 and echo.heard == ["hello"])


async def test_a_session_that_ended_meanwhile_passes_nothing(echo):
    """Another process ends it while this one cannot hear."""
    async with echo.open(socket) as view:
        (session,) = await echo.auth.sessions("alice")
        async with echo.silence(view):
            echo.lines.send_nowait(None)
            await anyio.sleep(0.1)
            view._copy.ended(live.Ended(session.id, "alice", "revoked"))
            await until(lambda: any(message["type"] == "websocket.close" for message in echo.client))
        assert echo.texts == []


async def test_after_ten_seconds_of_silence_the_socket_is_told_to_come_again(echo, monkeypatch):
    assert live.PATIENCE == 10.0
    monkeypatch.setattr(live, "PATIENCE", 0.5)
    async with echo.open(socket) as view, echo.silence(view):
        echo.lines.send_nowait(None)
        await until(lambda: echo.client[-1]["type"] == "websocket.close")
        assert (echo.client[-1]["code"], echo.texts) == (1013, [])


async def test_a_stream_waits_and_goes_on_or_is_left_unfinished(echo, monkeypatch):
    async with echo.open(stream) as view:
        async with echo.silence(view):
            echo.lines.send_nowait(None)
            await anyio.sleep(0.5)
            assert len(echo.client) == 2
        await until(lambda: len(echo.client) == 3)
        monkeypatch.setattr(live, "PATIENCE", 0.5)
        async with echo.silence(view):
            echo.lines.send_nowait(None)
            await anyio.sleep(1.0)
        await until(lambda: is_current(view))
        echo.lines.send_nowait(None)
        await anyio.sleep(0.1)
        assert len(echo.client) == 3
        assert all(message.get("more_body", True) for message in echo.client)


async def test_ready_says_whether_the_view_is_current_too(echo):
    """A server whose feed alone gives no answer."""
    auth = echo.auth
    async with echo.open(socket) as view:
        await auth.ready()
        real, view.follower._feed.beat = view.follower._feed.beat, no_answer
        await until(lambda: not is_current(view))
        with pytest.raises(StoreUnavailable):
            await auth.ready()
        view.follower._feed.beat = real
        await auth.ready()
        assert is_current(view)
    await auth.ready()  # nobody keeps it current any more, and every request asks the store
    await auth.aclose()


async def no_answer(cursor, lease):
    raise StoreUnavailable("no answer")
