"""`auth.revoke_token`: one access token dies in every process, with what it opened, while its session lives."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest
from seats import ALICE, call, handled, http_scope, living, new_auth, socket_scope
from starlette.responses import JSONResponse
from view_helpers import is_current, until

from asgi_auth import Auth, AuthMiddleware, TokenPair
from asgi_auth.tokens.jose import decode_base64url

REVOKED = "The access token was revoked"


async def whoami(request: Any) -> JSONResponse:
    return JSONResponse({"user": request.user.identity or None})


class Process:
    """An application of its own, as another process would have it."""

    def __init__(self, url: str, **settings: Any) -> None:
        self.auth = new_auth(url, **settings)
        self.app = AuthMiddleware(handled(whoami), self.auth)

    async def ask(self, pair: TokenPair) -> str:
        """Whom the access token speaks for, or why for nobody."""
        headers = [("authorization", f"Bearer {pair.access_token}")]
        said = (await call(self.app, http_scope("/", headers=headers))).json()
        return str(said.get("user") or said["error_description"])


@pytest.fixture(params=["sqlite", "redis", "redis-16"])
def shared_url(request: Any, tmp_path: Any) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'shared.sqlite3'}"
    url = str(request.getfixturevalue("redis_url"))
    return url if request.param == "redis" else f"{url}?partitions=16"


def jti_of(pair: TokenPair) -> str:
    return str(json.loads(decode_base64url(pair.access_token.split(".")[1].encode()))["jti"])


@pytest.mark.parametrize("by", ["token", "jti"])
@pytest.mark.parametrize("lifespan", [True, False], ids=["followed", "asked"])
async def test_a_denied_token_is_dead_in_every_process_and_its_session_lives(
    shared_url: str, by: str, lifespan: bool, anyio_backend: Any
) -> None:
    one, other = Process(shared_url), Process(shared_url)
    async with anyio.create_task_group() as group:
        stop = anyio.Event()

        async def serve(process: Process) -> None:
            async with living(process.app):
                await until(lambda: is_current(process.auth.parts.view))
                await stop.wait()

        if lifespan:
            for process in (one, other):
                group.start_soon(serve, process)
        first = await one.auth.issue(ALICE)
        second = await one.auth.refresh(first.refresh_token)
        for process in (one, other):
            for pair in (first, second):
                assert await process.ask(pair) == "alice"
                assert await process.ask(pair) == "alice"  # remembered
        assert await one.auth.revoke_token(first.access_token if by == "token" else jti_of(first), wait=True)
        for process in (one, other):
            assert await process.ask(first) == REVOKED
            assert await process.ask(second) == "alice"
        third = await other.auth.refresh(second.refresh_token)
        assert await one.ask(third) == "alice"
        stop.set()
    for process in (one, other):
        await process.auth.aclose()


@pytest.mark.parametrize("revocation", ["strict", "available"])
async def test_who_starts_later_knows_what_was_denied(shared_url: str, revocation: Any, anyio_backend: Any) -> None:
    one = Process(shared_url)
    pair = await one.auth.issue(ALICE)
    await one.auth.revoke_token(pair.access_token)
    late = Process(shared_url, jwt_revocation=revocation)
    assert await late.ask(pair) == REVOKED
    for process in (one, late):
        await process.auth.aclose()


async def test_a_socket_that_a_denied_token_opened_ends_and_others_stay(any_store: str, anyio_backend: Any) -> None:
    said: list[tuple[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"  # it has no lifespan of its own
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    auth = new_auth(any_store)
    asgi = AuthMiddleware(app, auth)
    async with auth, living(asgi):
        pair = await auth.issue(ALICE)
        other = await auth.refresh(pair.refresh_token)

        async def connect(pair: TokenPair) -> None:
            incoming = [{"type": "websocket.connect"}]

            async def receive() -> Any:
                while not incoming:
                    await anyio.sleep_forever()
                return incoming.pop()

            async def send(message: Any) -> None:
                said.append((pair.access_token, message))

            headers = [("authorization", f"Bearer {pair.access_token}")]
            await asgi(socket_scope("/", headers=headers), receive, send)

        def types(pair: TokenPair) -> list[str]:
            return [message["type"] for token, message in said if token == pair.access_token]

        async with anyio.create_task_group() as group:
            for each in (pair, other):
                group.start_soon(connect, each)
            await until(lambda: types(pair) == types(other) == ["websocket.accept"])
            await auth.revoke_token(pair.access_token)
            await until(lambda: types(pair) == ["websocket.accept", "websocket.close"])
            assert [message["code"] for token, message in said if message["type"] == "websocket.close"] == [1008]
            await auth.revoke_token(other.access_token)
            await until(lambda: types(other) == ["websocket.accept", "websocket.close"])


@pytest.fixture
async def auth(any_store: str, anyio_backend: Any) -> Any:
    auth = new_auth(any_store)
    yield auth
    await auth.aclose()


async def test_it_is_said_whether_there_was_something_to_kill(auth: Auth) -> None:
    pair = await auth.issue(ALICE)
    head, body, signature = pair.access_token.split(".")
    assert not await auth.revoke_token(f"{head}.{body}.{signature[:-4]}AAAA")
    assert not await auth.revoke_token("not.a.token")
    assert not await auth.revoke_token("n\N{LATIN SMALL LETTER O WITH DIAERESIS}.a.token")
    assert await auth.revoke_token(pair.access_token)


async def test_it_is_logged_by_the_tokens_id(auth: Auth, caplog: pytest.LogCaptureFixture) -> None:
    pair = await auth.issue(ALICE)
    with caplog.at_level("INFO", logger="asgi_auth.security"):
        await auth.revoke_token(pair.access_token)
        await auth.revoke_token("1.only-the-id")
    told = [record.getMessage() for record in caplog.records if record.name == "asgi_auth.security"]
    first, second = (event for event in map(json.loads, told) if event["event"].startswith("authn_token_revoked"))
    assert (first["event"], first["reason"]) == (f"authn_token_revoked:alice,{pair.session.id}", f"jti {jti_of(pair)}")
    assert (second["event"], second["reason"]) == ("authn_token_revoked:unknown,unknown", "jti 1.only-the-id")
    assert pair.access_token.split(".")[2] not in caplog.text


@pytest.mark.parametrize("text", ["", "garbage", "0.abc", "1.", "1.a b", "1.abc\n", "a.b.c.d"])
async def test_what_is_neither_a_token_nor_its_id_is_told(auth: Auth, text: str) -> None:
    with pytest.raises(ValueError, match="neither an access token nor the jti of one"):
        await auth.revoke_token(text)
    pair = await auth.issue(ALICE)
    with pytest.raises(ValueError, match="a refresh token ends with its session"):
        await auth.revoke_token(pair.refresh_token)


async def test_a_mark_lives_as_long_as_the_longest_token_it_kills(auth: Auth) -> None:
    """open-webui#28725: the revocation mark expired before the tokens did."""
    pair = await auth.issue(ALICE)
    store, settings = auth.parts.store, auth.settings
    now = (await store.history()).now
    await auth.revoke_token(pair.access_token)
    await auth.revoke_token("1.only-the-id")
    marks = {one.key: one.until for one in await store.revocations()}
    assert marks[jti_of(pair)] >= now + settings.access_lifetime + settings.jwt_leeway - 2
    assert marks["1.only-the-id"] >= now + settings.session_lifetime + settings.jwt_leeway - 2
