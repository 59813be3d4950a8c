"""Tokens bound to a key, from the client's side (RFC 9449): proofs, nonces, and whose key it is."""

from __future__ import annotations

import json
from collections import Counter

import anyio
import pytest
from client_server import PASSWORDS, serving

from asgi_auth.client import ClientAuth, TokenEndpointError, TokenFile, TokenMemory
from asgi_auth.tokens.dpop import read_proof, thumbprint
from asgi_auth.tokens.keys import generate


def alice(server, **more):
    return ClientAuth(server.url, "alice", PASSWORDS["alice"], **{"dpop": True, "clock": server.clock, **more})


def proofs(server, path):
    return [read_proof([headers["dpop"].encode()]) for asked, headers in server.gate.seen if asked == path]


def test_each_request_has_a_proof_of_its_own_by_the_key_of_the_login(server, blocking):
    client = blocking(alice(server))
    assert [client.get("/private").status_code for _ in range(3)] == [200] * 3
    found = proofs(server, "/private")
    assert len({proof.jti for proof in found}) == 3
    assert len({proof.jkt for proof in (*found, *proofs(server, "/auth/login"))}) == 1
    assert all(headers["authorization"].startswith("DPoP ") for path, headers in server.gate.seen if path == "/private")


async def test_the_same_of_an_async_client(server, client):
    one = client(alice(server))
    assert (await one.get("/private")).json()["user"] == "alice"
    server.clock.advance(601)
    assert (await one.get("/private")).json()["user"] == "alice"


def test_only_the_first_request_to_an_origin_is_repeated_for_its_nonce(server, blocking):
    client = blocking(alice(server))
    for _ in range(10):
        client.get("/private")
        server.clock.advance(50)
    assert server.gate.asked == {"/auth/login": 2, "/private": 10}
    server.clock.advance(600)  # the last nonce is too old, and so is the token
    assert client.get("/private").status_code == 200
    assert server.gate.asked == {"/auth/login": 2, "/auth/token": 2, "/private": 11}


def test_each_origin_has_a_nonce_of_its_own(server, blocking):
    with serving(server.clock) as other:
        client = blocking(alice(server, origins=[other.origin]))
        client.get("/private")
        assert client.get(f"{other.origin}/private").status_code == 401  # it knows neither key nor session
        client.get("/private")
    mine = {proof.nonce for proof in proofs(server, "/private")}
    assert len(mine) == 1
    assert mine.isdisjoint({proof.nonce for proof in proofs(other, "/private")})


def test_a_nonce_that_is_wanted_again_is_the_answer(server, blocking):
    client = blocking(alice(server))
    server.gate.failing["/private"] = 401, {"www-authenticate": 'DPoP error="use_dpop_nonce"', "dpop-nonce": "n"}
    assert client.get("/private").status_code == 401
    assert [proof.nonce for proof in proofs(server, "/private")][-1] == "n"
    assert server.gate.asked["/private"] == 2


def chunks():
    yield b"six by"
    yield b"tes"


def test_a_streamed_body_is_not_repeated_for_a_nonce_and_the_next_try_has_it(server, blocking):
    client = blocking(alice(server))
    client.get("/private")
    server.clock.advance(400)
    answer = client.post("/private", content=chunks())
    assert (answer.status_code, server.gate.asked["/private"]) == (401, 2)
    assert client.post("/private", content=chunks()).json()["length"] == 9


async def test_many_requests_at_the_end_of_a_token_make_one_refresh(server, client):
    one = client(alice(server))
    await one.get("/private")
    server.clock.advance(601)
    came: Counter[int] = Counter()

    async def ask():
        came[(await one.get("/private")).status_code] += 1

    async with anyio.create_task_group() as group:
        for _ in range(40):
            group.start_soon(ask)
    assert came == {200: 40}
    assert server.refreshes == 2  # the first one was told a nonce
    assert len({proof.jkt for proof in proofs(server, "/auth/token")}) == 1


@pytest.mark.parametrize("wrong", [3600.0, -3600.0])
def test_a_clock_that_is_an_hour_wrong_costs_no_request(server, blocking, wrong):
    client = blocking(alice(server, clock=lambda: server.clock() + wrong))
    for _ in range(3):
        answer = client.get("/private")
        assert (answer.status_code, answer.history) == (200, [])
        server.clock.advance(601)


def test_a_redirect_on_the_same_origin_gets_a_proof_of_its_own(server, blocking):
    client = blocking(alice(server), follow_redirects=True)
    assert client.get("/away", params={"to": "/private", "status": "302"}).json()["user"] == "alice"
    assert server.gate.asked["/away"] == 1


def test_a_lost_answer_is_asked_for_with_another_proof(server, blocking):
    client = blocking(alice(server))
    client.get("/private")
    server.clock.advance(601)
    server.gate.lost["/auth/token"] = 2  # one that names a nonce, one with the pair
    assert client.get("/private").status_code == 200
    assert len({proof.jti for proof in proofs(server, "/auth/token")}) == server.refreshes


# ------------------------------------------------------------------ whose key


def test_a_key_of_ones_own_is_used_and_kept_nowhere(server, blocking, tmp_path):
    key, path = generate("Ed25519"), tmp_path / "tokens.json"
    client = blocking(alice(server, dpop=key, storage=TokenFile(path)))
    assert client.get("/private").status_code == 200
    assert proofs(server, "/private")[0].jkt == thumbprint(key)
    assert json.loads(path.read_text())["key"] == ""
    assert key["d"] not in path.read_text()


def test_a_key_that_was_made_goes_with_the_pair(server, blocking, tmp_path):
    path = tmp_path / "tokens.json"
    blocking(alice(server, storage=TokenFile(path))).get("/private")
    server.clock.advance(601)
    other = blocking(ClientAuth(server.url, storage=TokenFile(path), clock=server.clock))
    assert other.get("/private").status_code == 200
    assert (server.logins, server.refreshes) == (2, 2)
    assert len({proof.jkt for proof in proofs(server, "/private")}) == 1


def test_a_pair_that_was_bound_elsewhere_is_used_with_its_key(server, blocking):
    key = generate("ES256")
    pair = server.issue(jkt=thumbprint(key))
    client = blocking(ClientAuth(server.url, tokens=pair, dpop=key, clock=server.clock))
    assert client.get("/private").status_code == 200
    server.clock.advance(601)
    assert client.get("/private").status_code == 200
    with pytest.raises(ValueError, match="bound to a key"):
        ClientAuth(server.url, tokens=pair)


def test_tokens_that_are_bound_to_nothing_are_not_taken_instead(clock, library):
    with serving(clock, dpop="off") as server, library.Client(auth=alice(server)) as client:
        with pytest.raises(TokenEndpointError, match="DPOP"):
            client.get(f"{server.origin}/private")
        assert server.gate.asked["/private"] == 0


def test_a_new_login_has_a_new_key(server, blocking):
    storage = TokenMemory()
    auth = alice(server, storage=storage)
    keys = set()
    for _ in range(2):
        auth.login("alice", PASSWORDS["alice"])
        keys.add(storage.load().key)
    assert len(keys) == 2
    assert "key" not in repr(storage.load()).replace("keys", "")
