"""Open connections by tokens of other issuers: nobody here can revoke one, so the token's own end is theirs."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from local_issuer import LocalIssuer
from ports import free_port
from seats import call, http_scope, living, new_auth, socket_scope
from test_connections import Client
from view_helpers import until

from asgi_auth import Auth, AuthMiddleware

SOON = 0.8
"""Seconds for which a token of these tests lives, or lives on."""


@pytest.fixture
def idp() -> Iterator[LocalIssuer]:
    issuer = LocalIssuer()
    yield issuer
    issuer.stop()


def trusting(idp: LocalIssuer, *store: str, **settings: Any) -> Auth:
    record = {"name": "idp", "issuer": idp.url, "audience": "api"}
    return new_auth(*store, jwt_trusted_issuers=[record], **settings)


def by(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Echoes on a socket; elsewhere streams until it is told to stop."""
    assert scope["type"] != "lifespan"  # it has none of its own
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
        return
    head = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    while True:
        await send({"type": "http.response.body", "body": b"data: x\n\n", "more_body": True})
        await anyio.sleep(0.01)


@asynccontextmanager
async def served(asgi: AuthMiddleware, lifespan: bool) -> AsyncIterator[None]:
    if lifespan:
        async with living(asgi):
            yield
    else:
        yield


@pytest.mark.parametrize("lifespan", [True, False])
@pytest.mark.parametrize("mode", ["strict", "available", "off"])
async def test_the_end_of_a_foreign_token_ends_its_sockets(idp: LocalIssuer, mode: str, lifespan: bool) -> None:
    auth = trusting(idp, jwt_revocation=mode)
    asgi = AuthMiddleware(app, auth)
    async with served(asgi, lifespan), anyio.create_task_group() as group:
        ends = time.time() + SOON
        client = Client(asgi, socket_scope("/", by(idp.token(exp=ends))))
        group.start_soon(client.run)
        await until(lambda: client.said)
        client.tell("hello")
        await until(lambda: client.said == ["websocket.accept", "websocket.send"])
        await auth.revoke_all()  # which is for sessions of ours
        await auth.revoke_user("idp:42")
        client.tell("hello")
        await until(lambda: client.said.count("websocket.send") == 2 or time.time() > ends)
        await until(lambda: client.is_over)
        assert time.time() >= ends
        assert client.said[-1] == "websocket.close"


async def test_the_end_of_a_foreign_token_ends_its_streams(idp: LocalIssuer) -> None:
    asgi = AuthMiddleware(app, trusting(idp))
    async with living(asgi):
        ends = time.time() + SOON
        with anyio.fail_after(20):
            reply = await call(asgi, http_scope("/", headers=by(idp.token(exp=ends))))
        assert time.time() >= ends
        assert reply.body.count(b"data: x") > 5
        assert reply.messages[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


async def test_nothing_passes_after_the_end_though_nobody_looks_after_connections(idp: LocalIssuer) -> None:
    """The store has never answered, so that nothing runs beside the requests."""
    asgi = AuthMiddleware(app, trusting(idp, f"redis://127.0.0.1:{free_port()}", timeout=0.2))
    async with living(asgi):
        ends = time.time() + SOON
        with anyio.move_on_after(20) as patience:
            reply = await call(asgi, http_scope("/", headers=by(idp.token(exp=ends))))
        assert not patience.cancelled_caught
        assert time.time() >= ends
        assert reply.status == 200


async def test_a_token_within_the_leeway_opens_nothing_that_stays_open(idp: LocalIssuer) -> None:
    asgi = AuthMiddleware(app, trusting(idp))
    async with living(asgi), anyio.create_task_group() as group:
        client = Client(asgi, socket_scope("/", by(idp.token(exp=time.time() - 5))))
        group.start_soon(client.run)
        await until(lambda: client.is_over)
        assert client.said[-1] == "websocket.close"
