"""Open connections as their server sees them: what is kept of them, who looks after them, what ends them."""

from __future__ import annotations

import builtins
import sys

import anyio
import pytest
from ports import free_port
from seats import ALICE, browser, call, cookie_of, http_scope, living, new_auth, socket_scope
from view_helpers import Stage, is_current, until

from asgi_auth import Auth, AuthMiddleware, Settings, live
from asgi_auth.ending import SessionEnded, is_session_ended
from asgi_auth.stores.opening import open_store


async def app(scope, receive, send):
    """Logs in at `/login`, streams two parts at `/stream`, and echoes on a socket."""
    assert scope["type"] != "lifespan"  # it has none of its own
    if scope["type"] == "http":
        if scope["path"] == "/login":
            await Auth.of(scope).login(scope, ALICE)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": scope["path"] == "/stream"})
        if scope["path"] == "/stream":
            await send({"type": "http.response.body", "body": b"two"})
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


class Client:
    """The client of one connection."""

    def __init__(self, app, scope) -> None:
        self._app, self._scope = app, scope
        self._incoming, self._received = anyio.create_memory_object_stream(10)
        self._incoming.send_nowait({"type": "websocket.connect"})
        self.said: list[str] = []
        self.is_over = False

    async def run(self) -> None:
        with self._incoming, self._received:
            await self._app(self._scope, self._received.receive, self._hear)
        self.is_over = True

    async def _hear(self, message) -> None:
        self.said.append(message["type"])

    def tell(self, text) -> None:
        self._incoming.send_nowait({"type": "websocket.receive", "text": text})

    def leave(self) -> None:
        self._incoming.send_nowait({"type": "websocket.disconnect", "code": 1000})


async def logged_in(app) -> list[tuple[str, str]]:
    """The headers of a new login."""
    async with browser(app) as client:
        await client.get("/login")
        return list(cookie_of(client).items())


async def test_sockets_that_were_left_are_let_go_of() -> None:
    """Their sessions live on for long, and so would their deadlines."""
    auth = new_auth()
    asgi = AuthMiddleware(app, auth)
    async with living(asgi):
        headers = await logged_in(asgi)
        for _ in range(300):
            client = Client(asgi, socket_scope("/", headers))
            client.leave()
            await client.run()
            assert client.said == ["websocket.accept"]
        room = auth.parts.lives.room()
        room.wake()
        await until(lambda: len(room.deadlines) <= 100)


@pytest.mark.parametrize("leaves", [True, False])
async def test_without_a_lifespan_each_socket_ends_with_its_session(leaves) -> None:
    """Also when the one that came first, and looked after all of them, has gone."""
    auth = new_auth()
    asgi = AuthMiddleware(app, auth)
    clients = [Client(asgi, socket_scope("/", await logged_in(asgi))) for _ in range(3)]
    async with anyio.create_task_group() as group:
        for client in clients:
            group.start_soon(client.run)
            await until(lambda client=client: client.said)
        if leaves:
            clients[0].leave()
            await until(lambda: clients[0].is_over)
        await auth.revoke_user("alice")
        for client in clients[1:]:
            await until(lambda client=client: "websocket.close" in client.said)
            await until(lambda client=client: client.is_over)
    assert auth.followers == 0


@pytest.mark.parametrize("revocation", ["available", "off"])
async def test_a_silent_store_ends_no_connection_of_a_token_that_counts_without_it(redis_url, revocation) -> None:
    keys = {"jwt_key": "k" * 48, "jwt_algorithm": "HS256", "jwt_revocation": revocation}
    async with new_auth(redis_url, **keys) as maker:
        headers = [("authorization", f"Bearer {(await maker.issue(ALICE)).access_token}")]
    asgi = AuthMiddleware(app, new_auth(f"redis://127.0.0.1:{free_port()}", timeout=0.3, **keys))
    async with living(asgi), anyio.create_task_group() as group:
        answer = await call(asgi, http_scope("/stream", headers=headers))
        assert (answer.status, answer.body) == (200, b"onetwo")
        client = Client(asgi, socket_scope("/", headers))
        group.start_soon(client.run)
        await until(lambda: client.said)
        client.tell("hello")
        await until(lambda: len(client.said) == 2)
        client.leave()
    assert client.said == ["websocket.accept", "websocket.send"]


async def test_available_still_ends_connections_once_the_store_answers(serve) -> None:
    server = serve(appendonly="yes", appendfsync="always")
    auth = new_auth(server.url, timeout=0.3, staleness=0.2, jwt_revocation="available")
    asgi = AuthMiddleware(app, auth)
    async with living(asgi), anyio.create_task_group() as group, new_auth(server.url) as other:
        headers = [("authorization", f"Bearer {(await auth.issue(ALICE)).access_token}")]
        assert (await call(asgi, http_scope("/", headers=headers))).status == 200
        server.kill()
        await until(lambda: not is_current(auth.parts.view))
        client = Client(asgi, socket_scope("/", headers))
        group.start_soon(client.run)
        await until(lambda: client.said == ["websocket.accept"])
        server.start()
        assert await other.revoke_user("alice") == 1
        await until(lambda: "websocket.close" in client.said)


@pytest.mark.parametrize("meanwhile", ["before it is asked about", "while it is asked about"])
@pytest.mark.parametrize("kind", ["socket", "stream"])
async def test_a_session_that_ends_as_it_is_asked_about_gets_no_socket_and_no_stream(
    redis_url, kind, meanwhile
) -> None:
    """Between the handshake and the accept, or between the start of an answer and its first part."""
    stage = Stage(open_store(redis_url, timeout=10))
    auth = Auth(Settings(store=redis_url, staleness=0), store=stage)
    entered, goes_on = anyio.Event(), anyio.Event()

    async def slow(scope, receive, send):
        if scope["type"] == "websocket" or scope["path"] == "/stream":
            entered.set()
            await goes_on.wait()
        await app(scope, receive, send)

    asgi = AuthMiddleware(slow, auth)
    async with living(asgi), anyio.create_task_group() as group:
        scope_of = socket_scope if kind == "socket" else http_scope
        client = Client(asgi, scope_of("/stream", headers=await logged_in(asgi)))
        group.start_soon(client.run)
        await entered.wait()
        loaded = stage.after["load"]
        if meanwhile == "while it is asked about":
            loaded.close()
            goes_on.set()
            await loaded.reached()
        said = list(client.said)
        assert await auth.revoke_user("alice") == 1
        await anyio.sleep(0.1)
        assert client.said == said
        goes_on.set()
        loaded.open()
        await until(lambda: client.is_over)
    refused = ["websocket.http.response.start", "websocket.http.response.body"]
    assert client.said == (refused if kind == "socket" else ["http.response.start"])


async def test_connections_in_doubt_are_asked_about_a_few_at_a_time(monkeypatch) -> None:
    """All of them at once would hold up the loop: 10,000 took it for a second and a half."""
    monkeypatch.setattr(live, "AT_ONCE", 2)
    auth = new_auth()
    asgi = AuthMiddleware(app, auth)
    async with living(asgi), anyio.create_task_group() as group:
        clients = [Client(asgi, socket_scope("/", await logged_in(asgi))) for _ in range(7)]
        for client in clients:
            group.start_soon(client.run)
        await until(lambda: all(client.said for client in clients))
        room, look_after, doubted = auth.lives.room(), auth.lives._look_after, []

        def look(*given):
            doubted.append(len(room.doubted))
            return look_after(*given)

        monkeypatch.setattr(auth.lives, "_look_after", look)
        auth.lives.heard_of(None)
        await until(lambda: not room.doubted)
        assert [number for number in doubted if number] == [7, 5, 3, 1]
        await auth.revoke_all()
        await until(lambda: all(client.is_over for client in clients))


class Told(Exception):
    """What a framework makes of a disconnect."""

    code = 1008


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 has no class of groups")
def test_a_group_is_of_the_end_if_all_in_it_is() -> None:
    end, mistake = SessionEnded("it ended"), KeyError("a mistake of the application")
    assert is_session_ended(builtins.ExceptionGroup("", [end, builtins.ExceptionGroup("", [end])]))
    assert is_session_ended(builtins.ExceptionGroup("", [end, Told()]), code=1008)
    assert not is_session_ended(builtins.ExceptionGroup("", [end, Told()]))
    assert not is_session_ended(builtins.ExceptionGroup("", [end, mistake]), code=1008)
