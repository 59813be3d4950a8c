"""WebSockets of httpx2: their handshake is a request like any other."""

from __future__ import annotations

import httpx2
import pytest
from client_server import PASSWORDS

from asgi_auth.client import ClientAuth, LoggedOut


@pytest.fixture
def auths(server):
    def make(**more):
        return ClientAuth(server.url, "alice", PASSWORDS["alice"], clock=server.clock, **more)

    return make


@pytest.mark.parametrize("dpop", [False, True], ids=["bearer", "dpop"])
def test_a_handshake_carries_the_token_and_is_repeated_when_it_is_out_of_date(server, auths, dpop):
    with httpx2.Client(auth=auths(dpop=dpop), base_url=server.origin) as client:
        for scopes in ({"read"}, {"write"}):
            server.run(server.auth.update_user("alice", scopes=scopes))
            with client.websocket("/ws") as socket:
                assert socket.receive_json() == {"user": "alice", "scopes": [*scopes]}
    assert server.logins == 1 + dpop


async def test_the_same_of_an_async_client(server, auths):
    async with httpx2.AsyncClient(auth=auths(), base_url=server.origin) as client:
        async with client.websocket("/ws") as socket:
            assert (await socket.receive_json())["user"] == "alice"
        server.clock.advance(601)
        async with client.websocket(server.origin.replace("http", "ws") + "/ws") as socket:
            assert (await socket.receive_json())["user"] == "alice"
    assert server.refreshes == 1


def test_without_a_login_no_handshake_is_sent(server):
    with httpx2.Client(auth=ClientAuth(server.url), base_url=server.origin) as client:
        socket = client.websocket("/ws")
        with pytest.raises(LoggedOut):
            socket.__enter__()
    assert not server.gate.asked
