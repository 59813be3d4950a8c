"""Open connections, in process: one whose session ended before it stood never stands, and each ends at its session's
own end, which another process may have moved."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from seats import ALICE, browser, call, cookie_of, http_scope, living, new_auth, socket_scope
from view_helpers import is_current, until

from asgi_auth import Auth, AuthMiddleware
from asgi_auth.stores import Store
from asgi_auth.stores.opening import open_store

MINUTE = 60.0


class App:
    """Logs Alice in at `/login`. Else it begins to answer, waits for what happens `meanwhile`, and goes on."""

    def __init__(self, auth: Auth) -> None:
        self.auth = auth
        self.wrapped = AuthMiddleware(self, auth)
        self.meanwhile: Callable[[], Any] = anyio.lowlevel.checkpoint
        self.raised: Exception | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await (self._socket if scope["type"] == "websocket" else self._stream)(scope, receive, send)
        except OSError as error:
            self.raised = error
            raise

    async def _socket(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await self.meanwhile()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    async def _stream(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/login":
            await self.auth.login(scope, ALICE)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        if scope["path"] == "/stream":
            await self.meanwhile()
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    @asynccontextmanager
    async def logged_in(self) -> AsyncIterator[list[tuple[str, str]]]:
        """In the middle of the lifespan; the headers of somebody's connection."""
        async with living(self.wrapped):
            view = self.auth.parts.view
            await until(lambda: is_current(view))
            async with browser(self.wrapped) as client:
                await client.get("/login")
                yield list(cookie_of(client).items())


@pytest.fixture(params=["redis", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Any) -> str:
    if request.param == "redis":
        return str(request.getfixturevalue("redis_url"))
    return f"sqlite:///{tmp_path / 'shared.sqlite3'}"


@pytest.mark.parametrize("everything", [False, True], ids=["session", "everybody"])
async def test_a_session_that_ended_meanwhile_gets_no_socket_and_no_stream(
    url: str, everything: bool, anyio_backend: str
) -> None:
    """Between handshake and accept, or between the start of an answer and its first part, by another process."""
    app, other = App(new_auth(url)), new_auth(url)

    async def end() -> None:
        (session,) = await other.sessions("alice")
        await (other.revoke_all(wait=True) if everything else other.revoke(session.id, wait=True))

    async with other:
        for scope_of in (socket_scope, http_scope):
            async with app.logged_in() as headers:
                app.meanwhile, app.raised = end, None
                reply = await call(app.wrapped, scope_of("/stream", headers=headers))
                assert isinstance(app.raised, OSError)
                if scope_of is http_scope:  # the start alone: what its length promised never came
                    assert [message["type"] for message in reply.messages] == ["http.response.start"]
                else:
                    assert "websocket.accept" not in {message["type"] for message in reply.messages}
                    assert reply.status == 401


async def test_a_socket_closes_when_its_session_has_idled_out_everywhere(
    url: str, clock: Any, anyio_backend: str
) -> None:
    """Another process may have seen its user meanwhile."""
    app = App(new_auth(url, clock=clock, session_idle="30m"))
    store: Store = open_store(url, timeout=10.0, clock=clock)
    await store.open()
    async with app.logged_in() as headers, opened(app, headers) as client:
        (session,) = await app.auth.sessions("alice")
        clock.advance(20 * MINUTE)
        await store.touch([session.id])
        clock.advance(20 * MINUTE)
        await anyio.sleep(0.6)  # it is looked at four times a second
        assert client[-1]["type"] == "websocket.accept"
        clock.advance(11 * MINUTE)
        await until(lambda: client[-1]["type"] == "websocket.close")
        assert (client[-1]["code"], client[-1]["reason"]) == (1008, "session expired")
    await store.aclose()


async def test_sockets_close_at_expiry_with_notifications_off_and_after_a_redis_restart(
    serve: Any, clock: Any, anyio_backend: str
) -> None:
    """The session's end is known here: nobody has to tell of it."""
    server = serve(appendonly="yes", notify_keyspace_events="")
    app = App(new_auth(server.url, clock=clock, session_idle="30m", session_lifetime="1h", staleness=0.2))
    async with app.logged_in() as headers, opened(app, headers) as client:
        server.kill()
        server.start()
        view = app.auth.parts.view
        await until(lambda: is_current(view))
        assert client[-1]["type"] == "websocket.accept"
        clock.advance(31 * MINUTE)
        await until(lambda: client[-1]["type"] == "websocket.close")
        assert (client[-1]["code"], client[-1]["reason"]) == (1008, "session expired")


@asynccontextmanager
async def opened(app: App, headers: list[tuple[str, str]]) -> AsyncIterator[list[Any]]:
    """A socket whose client says nothing; what the client got."""
    client: list[Any] = []
    connected = False

    async def receive() -> Any:
        nonlocal connected
        if connected:
            await anyio.sleep_forever()
        connected = True
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        client.append(message)

    async with anyio.create_task_group() as group:
        group.start_soon(app.wrapped, socket_scope("/", headers), receive, send)
        await until(lambda: client)
        yield client
        group.cancel_scope.cancel()
