"""WebSockets: who may open one, what the handshake carries, how data and activity are kept while it is open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest
from seats import ALICE, BOB, Boom, Reply, add_users, browser, call, cookie_of, http_scope, new_auth, socket_scope
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from asgi_auth import Auth, AuthMiddleware, NoSessionData, StoreUnavailable, sockets
from asgi_auth.stores import Loaded

HOME = ("origin", "http://testserver")
CONNECT, LEAVE = {"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1001}


def text(value: str) -> dict[str, Any]:
    return {"type": "websocket.receive", "text": value}


def around(auth: Auth, handle: Callable[[WebSocket], Any]) -> AuthMiddleware:
    """A bare application: `/login` logs alice in, WebSockets go to `handle`."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await handle(WebSocket(scope, receive, send))
            return
        if scope["path"] == "/login":
            await auth.login(scope, ALICE)
        elif scope["path"] == "/write":
            scope["session"]["page"] = 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": repr(dict(scope["session"])).encode()})

    return AuthMiddleware(app, auth)


async def cookie(app: Any, path: str = "/login") -> tuple[str, str]:
    async with browser(app) as client:
        await client.get(path)
        ((name, value),) = cookie_of(client).items()
    return name, value


async def data(app: Any, who: tuple[str, str]) -> str:
    return (await call(app, http_scope("/", headers=[who]))).body.decode()


async def hello(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(websocket.user.identity)


async def test_a_socket_knows_who_is_calling_by_cookie_and_by_token() -> None:
    auth = new_auth()
    app = around(auth, hello)
    who = await cookie(app)
    pair = await auth.issue(BOB)
    for headers, name in (
        ([], ""),
        ([HOME, who], "alice"),
        ([("authorization", f"Bearer {pair.access_token}")], "bob"),
    ):
        reply = await call(app, socket_scope(headers=headers))
        assert [m["type"] for m in reply.messages] == ["websocket.accept", "websocket.send"]
        assert reply.messages[1]["text"] == name


@pytest.mark.parametrize("extensions", [{"websocket.http.response": {}}, {}, None, ...])
async def test_a_refusal_uses_the_extension_only_when_offered(extensions: Any) -> None:
    async def never(websocket: WebSocket) -> None:
        pytest.fail("it was let in")

    bad = [("authorization", "Bearer nonsense")]
    reply = await call(around(new_auth(), never), socket_scope(headers=bad, extensions=extensions))
    if extensions not in ({}, None, ...):
        assert [m["type"] for m in reply.messages] == [
            "websocket.http.response.start",
            "websocket.http.response.body",
        ]
        assert reply.status == 401
        assert reply.json()["error"] == "invalid_token"
        assert 'error="invalid_token"' in reply.all("www-authenticate")[0]
    else:
        assert reply.messages == [{"type": "websocket.close", "code": 1008, "reason": "invalid_token"}]


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ([("origin", "https://evil.example")], 403),
        ([("origin", "null")], 403),
        ([("origin", "http://testserver.evil.example")], 403),
        ([HOME], 0),
        ([], 0),  # no browser
        ([HOME, ("sec-fetch-site", "cross-site")], 403),
        ([("origin", "https://friend.example")], 0),
    ],
)
async def test_a_handshake_of_another_origin_is_refused_where_a_cookie_carries_it(origin: Any, status: int) -> None:
    auth = new_auth(trusted_origins="https://friend.example")
    app = around(auth, hello)
    who = await cookie(app)
    reply = await call(app, socket_scope(headers=[*origin, who]))
    assert reply.status == status
    assert (reply.messages[0]["type"] == "websocket.accept") is (status == 0)
    if status:
        assert reply.json()["error"] == "cross_origin"
    # Nobody's cookie, nobody's harm: the application decides.
    assert (await call(app, socket_scope(headers=origin))).messages[0]["type"] == "websocket.accept"


async def test_accept_carries_the_cookie_and_a_refusal_carries_none() -> None:
    auth = new_auth()

    async def handle(websocket: WebSocket) -> None:
        if websocket.url.path == "/write":
            websocket.session["first"] = 1
        await websocket.accept(headers=[(b"x-theirs", b"1")])

    app = around(auth, handle)
    reply = await call(app, socket_scope("/write"))
    assert [m["type"] for m in reply.messages] == ["websocket.accept"]
    assert reply.all("x-theirs") == ["1"]
    (first,) = reply.all("set-cookie")
    assert await data(app, ("cookie", first.split(";")[0])) == "{'first': 1}"
    # A dead cookie is cleared neither by a refusal nor by an accept: both may be late.
    who = await cookie(app)
    await auth.revoke_user("alice")
    refusing = around(new_auth(protect="/*"), handle)
    refusing.auth._parts = auth.parts  # the same store and ring under other rules
    for reply in (
        await call(app, socket_scope("/", [HOME, who])),
        await call(refusing, socket_scope("/", [HOME, who])),
    ):
        assert reply.all("set-cookie") == []


async def test_a_login_on_a_socket_stands_once_it_is_accepted_and_else_is_ended() -> None:
    auth = new_auth()
    seen = []

    async def handle(websocket: WebSocket) -> None:
        await auth.login(websocket, ALICE)
        seen.append(websocket.user.identity)
        if websocket.url.path == "/raise":
            raise Boom
        if websocket.url.path == "/close":
            await websocket.close()
        elif websocket.url.path == "/accept":
            await websocket.accept()

    app = around(auth, handle)
    for path in ("/close", "/return"):
        await call(app, socket_scope(path))
        assert await auth.sessions("alice") == [], path
    with pytest.raises(Boom):
        await call(app, socket_scope("/raise"))
    assert await auth.sessions("alice") == []
    reply = await call(app, socket_scope("/accept"))
    assert len(reply.all("set-cookie")) == 1
    assert len(await auth.sessions("alice")) == 1
    assert seen == ["alice"] * 4


async def test_an_id_that_we_did_not_issue_opens_no_socket() -> None:
    auth = new_auth()
    app = around(auth, hello)
    name, value = await cookie(app)
    key, _, secret = value.partition("=")
    for forged in (secret[:-1] + "A", secret.replace(".", "-", 1), "x" * 134, secret + ";", secret.upper()):
        reply = await call(app, socket_scope(headers=[HOME, (name, f"{key}={forged}")]))
        if forged.rstrip(";") != secret:
            assert reply.messages[1]["text"] == "", forged


# ---------------------------------------------------------------------- data


async def test_data_is_saved_at_accept_now_and_then_and_at_the_end(clock: Any) -> None:
    auth = new_auth(clock=clock)
    seen: list[str] = []

    async def handle(websocket: WebSocket) -> None:
        websocket.session["accept"] = []
        await websocket.accept()
        seen.append(await data(app, who))
        websocket.session["accept"].append(1)
        await websocket.receive_text()
        seen.append(await data(app, who))  # less than 5 s went by
        clock.advance(5)
        await websocket.receive_text()
        seen.append(await data(app, who))
        websocket.session["accept"].append(2)
        await websocket.session.save()
        seen.append(await data(app, who))
        del websocket.session["accept"]
        websocket.session["end"] = True

    app = around(auth, handle)
    who = await cookie(app)
    await call(app, socket_scope(headers=[HOME, who]), incoming=[CONNECT, text("a"), text("b")])
    assert seen == ["{'accept': []}", "{'accept': []}", "{'accept': [1]}", "{'accept': [1, 2]}"]
    assert await data(app, who) == "{'end': True}"


async def test_data_written_while_only_the_server_speaks_is_saved_now_and_then(clock: Any) -> None:
    auth = new_auth(clock=clock)
    seen: list[str] = []

    async def handle(websocket: WebSocket) -> None:
        await websocket.accept()
        websocket.session["n"] = 1
        clock.advance(5)
        await websocket.send_text("tick")
        seen.append(await data(app, who))

    app = around(auth, handle)
    who = await cookie(app)
    await call(app, socket_scope(headers=[HOME, who]))
    assert seen == ["{'n': 1}"]


@pytest.mark.parametrize("raises", [False, True])
async def test_a_client_that_leaves_loses_no_data(raises: bool) -> None:
    """Starlette's `receive_text` raises `WebSocketDisconnect` when the client goes, and most handlers let it pass."""
    auth = new_auth()

    async def handle(websocket: WebSocket) -> None:
        await websocket.accept()
        websocket.session["said"] = []
        try:
            while True:
                websocket.session["said"].append(await websocket.receive_text())
        except WebSocketDisconnect:
            if raises:
                raise

    app = around(auth, handle)
    who = await cookie(app)
    scope = socket_scope(headers=[HOME, who])
    incoming = [CONNECT, text("a"), text("b"), LEAVE]
    if raises:
        with pytest.raises(WebSocketDisconnect):
            await call(app, scope, incoming=incoming)
    else:
        await call(app, scope, incoming=incoming)
    assert await data(app, who) == "{'said': ['a', 'b']}"


async def test_a_handler_that_fails_drops_what_is_unsaved() -> None:
    auth = new_auth()

    async def handle(websocket: WebSocket) -> None:
        await websocket.accept()
        websocket.session["x"] = 1
        raise Boom

    app = around(auth, handle)
    who = await cookie(app)
    with pytest.raises(Boom):
        await call(app, socket_scope(headers=[HOME, who]))
    assert await data(app, who) == "{}"


async def test_a_visitors_first_write_must_come_before_accept() -> None:
    errors = []

    async def handle(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            websocket.session["late"] = 1
        except NoSessionData as error:
            errors.append(str(error))

    await call(around(new_auth(), handle), socket_scope())
    assert "begun" in errors[0]


async def test_a_socket_under_way_cannot_revive_an_ended_session(clock: Any) -> None:
    auth = new_auth(clock=clock)

    async def handle(websocket: WebSocket) -> None:
        await websocket.accept()
        await auth.revoke_user("alice")
        websocket.session["late"] = 1
        clock.advance(100)
        await websocket.receive_text()

    app = around(auth, handle)
    who = await cookie(app)
    await call(app, socket_scope(headers=[HOME, who]), incoming=[CONNECT, text("a"), LEAVE])
    assert await auth.sessions("alice") == []
    assert (await call(app, http_scope("/auth/me", headers=[who]))).status == 401


# ---------------------------------------------------------------------- activity


async def test_a_received_message_is_activity_and_a_sent_one_is_not(clock: Any) -> None:
    auth = new_auth(clock=clock)
    moments: list[float] = []

    async def handle(websocket: WebSocket) -> None:
        await websocket.accept()
        clock.advance(600)
        await websocket.send_text("news")
        moments.append((await auth.sessions("alice"))[0].last_seen_at)
        await websocket.receive_text()
        moments.append((await auth.sessions("alice"))[0].last_seen_at)
        clock.advance(30)
        await websocket.receive_text()  # throttled
        moments.append((await auth.sessions("alice"))[0].last_seen_at)

    app = around(auth, handle)
    who = await cookie(app)
    start = clock.now
    await call(app, socket_scope(headers=[HOME, who]), incoming=[CONNECT, text("a"), text("b")])
    assert moments == [start, start + 600, start + 600]


@pytest.mark.parametrize("setting", ["path", "header"])
async def test_a_passive_sockets_messages_are_no_activity(clock: Any, setting: str) -> None:
    auth = new_auth(clock=clock, passive_paths="/news" if setting == "path" else "/other")

    async def handle(websocket: WebSocket) -> None:
        await websocket.accept()
        clock.advance(600)
        await websocket.receive_text()

    app = around(auth, handle)
    who = await cookie(app)
    start = clock.now
    headers = [HOME, who, *([("auth-passive", "1")] if setting == "header" else [])]
    await call(app, socket_scope("/news", headers), incoming=[CONNECT, text("a")])
    assert (await auth.sessions("alice"))[0].last_seen_at == start


# ---------------------------------------------------------------------- what passes


async def test_accept_never_names_an_unoffered_subprotocol() -> None:
    async def handle(websocket: WebSocket) -> None:
        await websocket.accept()

    for offered in ([], ["chat"]):
        reply = await call(around(new_auth(), handle), socket_scope(subprotocols=offered))
        assert reply.messages[0].get("subprotocol") is None


async def test_messages_of_the_application_pass_as_they_are() -> None:
    out = [
        {"type": "websocket.accept", "subprotocol": "chat"},
        {"type": "websocket.send", "bytes": b"\x00"},
        {"type": "websocket.something", "new": True},
        {"type": "websocket.close", "code": 4000, "reason": "theirs"},
    ]
    came: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in out:
            await send(message)
        came.append(await receive())
        came.append(await receive())

    incoming = [CONNECT, {"type": "websocket.receive", "bytes": b"\xff", "text": None}]
    reply = await call(AuthMiddleware(app, new_auth()), socket_scope(), incoming=incoming)
    assert reply.messages == out
    assert came == incoming


async def test_the_applications_own_denial_passes() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.http.response.start", "status": 418, "headers": [(b"x", b"y")]})
        await send({"type": "websocket.http.response.body", "body": b"tea"})

    reply = await call(AuthMiddleware(app, new_auth()), socket_scope())
    assert (reply.status, reply.body) == (418, b"tea")


def test_starlettes_testclient_opens_sockets_as_it_does_without_us() -> None:
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(websocket.user.identity)
        async for line in websocket.iter_text():
            await websocket.send_text(line)

    auth = new_auth()
    app = Starlette(routes=[WebSocketRoute("/ws", echo)])
    app.add_middleware(AuthMiddleware, auth=auth)
    with TestClient(app) as client:
        client.portal.call(add_users, auth)  # type: ignore[union-attr]
        with client.websocket_connect("/ws") as socket:
            assert socket.receive_text() == ""
        answer = client.post("/auth/login", json={"username": "alice", "password": "a hole under the hedge"})
        assert answer.status_code == 200
        with client.websocket_connect("/ws") as socket:
            assert socket.receive_text() == "alice"
            socket.send_text("x")
            assert socket.receive_text() == "x"


# ---------------------------------------------------------------------- the store is down


async def test_a_store_that_is_down_refuses_credentials_with_503_and_nobody_else() -> None:
    auth = new_auth()
    app = around(auth, hello)
    who = await cookie(app)
    pair = await auth.issue(BOB)

    async def load(sid: str) -> Loaded:
        raise StoreUnavailable("down")

    auth.parts.store.load = load  # type: ignore[method-assign]
    for headers in ([HOME, who], [("authorization", f"Bearer {pair.access_token}")]):
        reply: Reply = await call(app, socket_scope(headers=headers))
        assert reply.status == 503
        assert reply.all("retry-after") == ["1"]
        plain = await call(app, socket_scope(headers=headers, extensions={}))
        assert plain.messages == [{"type": "websocket.close", "code": 1013, "reason": "unavailable"}]
    assert (await call(app, socket_scope())).messages[0]["type"] == "websocket.accept"


async def test_a_save_that_fails_as_a_socket_is_accepted_refuses_it() -> None:
    auth = new_auth()

    async def handle(websocket: WebSocket) -> None:
        websocket.session["a"] = 1
        await websocket.accept()

    app = around(auth, handle)
    who = await cookie(app)

    async def write_data(*args: Any, **kwargs: Any) -> int:
        raise StoreUnavailable("down")

    auth.parts.store.write_data = write_data  # type: ignore[method-assign]
    reply = await call(app, socket_scope(headers=[HOME, who]))
    assert reply.status == 503


@pytest.mark.parametrize("ending", ["silence", "cancelled"])
async def test_data_is_saved_while_no_message_comes_and_when_the_server_cancels(
    monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr(sockets, "SAVE_INTERVAL", 0.02 if ending == "silence" else 100.0)
    auth = new_auth()
    written = anyio.Event()

    async def handle(websocket: WebSocket) -> None:
        await websocket.accept()
        websocket.session["a"] = 1
        written.set()
        await websocket.receive_text()

    app = around(auth, handle)
    async with auth:
        who = await cookie(app)
        incoming = [CONNECT]

        async def receive() -> Any:
            if not incoming:
                await anyio.sleep_forever()
            return incoming.pop()

        async def send(message: Any) -> None:
            pass

        async with anyio.create_task_group() as group:
            group.start_soon(app, socket_scope("/", headers=[who, HOME]), receive, send)
            await written.wait()
            if ending == "silence":
                with anyio.fail_after(10):
                    while await data(app, who) == "{}":  # noqa: ASYNC110
                        await anyio.sleep(0.01)
            group.cancel_scope.cancel()
        assert await data(app, who) == "{'a': 1}"
