"""A signing key that is revoked: what it signed counts in no process, whatever that one knew."""

from __future__ import annotations

from contextlib import AsyncExitStack

import anyio
import pytest
from seats import ALICE, browser, call, handled, http_scope, living, new_auth, socket_scope
from starlette.responses import JSONResponse
from view_helpers import is_current, until

from asgi_auth import AuthMiddleware


async def page(request):
    return JSONResponse({"user": request.user.identity})


def bearer(token):
    return [("authorization", f"Bearer {token}")]


async def status(app, token):
    return (await call(app, http_scope("/", headers=bearer(token)))).status


@pytest.fixture(params=["sqlite", "redis", "redis-16"])
def shared_store(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'shared.sqlite3'}"
    url = request.getfixturevalue("redis_url")
    return url if request.param == "redis" else f"{url}?partitions=16"


@pytest.mark.parametrize("followed", [True, False], ids=["with lifespan", "without"])
async def test_what_a_revoked_key_signed_counts_in_no_process(shared_store, followed):
    one, other = new_auth(shared_store), new_auth(shared_store)
    app = AuthMiddleware(handled(page), other)
    async with one, other, AsyncExitStack() as stack:
        if followed:
            await stack.enter_async_context(living(app))
            await until(lambda: is_current(other.parts.view))
        used, unused = [(await one.issue(ALICE)).access_token for _ in range(2)]
        refresh_token = (await one.issue(ALICE)).refresh_token
        for _ in range(2):
            assert await status(app, used) == 200
        kid = (await one.parts.keys.signing_key()).kid
        assert await one.revoke_key(kid, wait=True)
        for _ in range(2):
            assert await status(app, used) == 401
            assert await status(app, unused) == 401
        assert await status(app, (await other.refresh(refresh_token)).access_token) == 200
        async with browser(app) as client:
            token = (await one.issue(ALICE.__class__("ian", scopes=frozenset({"introspect"})))).access_token
            form = {"token": used}
            answer = await client.post("/auth/introspect", data=form, headers=dict(bearer(token)))
            assert answer.json() == {"active": False}


@pytest.mark.parametrize("revocation", ["available", "off"])
async def test_where_a_signature_is_enough_a_known_key_counts_however_long_the_store_is_silent(
    serve, monkeypatch, revocation
):
    monkeypatch.setattr("asgi_auth.tokens.keyring.READ_INTERVAL", 0.0)
    server = serve()
    auth = new_auth(server.url, jwt_revocation=revocation, timeout=0.3)
    app = AuthMiddleware(handled(page), auth)
    async with living(app):
        first, second = [(await auth.issue(ALICE)).access_token for _ in range(2)]
        assert await status(app, first) == 200
        server.kill()
        for token in (first, second):
            assert await status(app, token) == 200
        assert await status(app, second[:-4] + "AAAA") == 401


async def test_the_process_that_revokes_a_key_knows_it_at_once(shared_store):
    auth = new_auth(shared_store)
    app = AuthMiddleware(handled(page), auth)
    async with auth, living(app):
        await until(lambda: is_current(auth.parts.view))
        for _ in range(5):
            token = (await auth.issue(ALICE)).access_token
            assert await status(app, token) == 200
            assert await auth.revoke_key((await auth.parts.keys.signing_key()).kid)
            assert await status(app, token) == 401


@pytest.mark.parametrize("who", ["the same process", "another"])
async def test_a_socket_that_a_token_of_a_revoked_key_opened_ends_and_others_stay(shared_store, who):
    said = []

    async def app(scope, receive, send):
        assert scope["type"] == "websocket"  # it has no lifespan of its own
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    auth, other = new_auth(shared_store), new_auth(shared_store)
    asgi = AuthMiddleware(app, auth)

    async def connect(token):
        incoming = [{"type": "websocket.connect"}]

        async def receive():
            while not incoming:
                await anyio.sleep_forever()
            return incoming.pop()

        async def send(message):
            said.append((token, message["type"]))

        await asgi(socket_scope("/", headers=bearer(token)), receive, send)

    async with auth, other, living(asgi), anyio.create_task_group() as group:
        first = await auth.issue(ALICE)
        stolen = (await auth.parts.keys.signing_key()).kid
        await auth.rotate_keys()  # what is merely retired ends nothing
        later = await auth.refresh(first.refresh_token)
        for pair in (first, later):
            group.start_soon(connect, pair.access_token)
            await until(lambda pair=pair: (pair.access_token, "websocket.accept") in said)
        await (auth if who == "the same process" else other).revoke_key(stolen, wait=True)
        await until(lambda: (first.access_token, "websocket.close") in said)
        assert (later.access_token, "websocket.close") not in said
        await auth.revoke(later.session.id)
        await until(lambda: (later.access_token, "websocket.close") in said)
