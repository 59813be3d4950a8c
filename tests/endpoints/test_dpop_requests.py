"""What a token that is bound to a key is worth, with its proof and without (RFC 9449 §7, §9)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from dpop_device import ALGS, CHALLENGE, KEY, ORIGIN, THIEF, Changes, Device, refused
from endpoint_house import PASSWORDS, House, bearer
from foreign_tokens import trusting
from test_token_endpoint import claims_of

from asgi_auth.proofs import NONCE_LIFETIME, NONCE_RENEWED


async def test_dpop_resource_request(device: Device) -> None:
    """RFC 9449 §7: a bound token with a proof of its key, made for this request, each proof once."""
    await device.log_in()
    for path in ("/whoami", "/private", "/auth/me", "/auth/sessions"):
        answer = await device.call("GET", path)
        assert answer.status_code == 200
        assert "dpop-nonce" not in answer.headers
    answer = await device.call("GET", "/whoami", query="?a=1")
    assert (answer.json()["user"], answer.json()["backend"]) == ("alice", "jwt")
    assert answer.json()["session"] == claims_of(device.pair["access_token"])["sid"]


RESOURCE_TABLE: list[tuple[str, Changes, str]] = [
    ("a proof of another key", {"key": THIEF}, "invalid_dpop_proof"),
    ("no ath", {"access_token": None}, "invalid_dpop_proof"),
    ("ath of another token", {"access_token": "another"}, "invalid_dpop_proof"),
    ("another method", {"method": "POST"}, "invalid_dpop_proof"),
    ("another path", {"url": ORIGIN + "/whoami"}, "invalid_dpop_proof"),
    ("another host", {"url": "http://evil.example/private"}, "invalid_dpop_proof"),
    ("another scheme", {"url": "https://testserver/private"}, "invalid_dpop_proof"),
    ("no nonce", {"nonce": None}, "use_dpop_nonce"),
    ("a nonce of somebody else", {"nonce": "eyJ7S_zG.eyJH0-Z.HX4w-7v"}, "use_dpop_nonce"),
    ("a token that is none", {"token": "abc.def.ghi"}, "invalid_token"),
]


@pytest.mark.parametrize(("why", "changes", "error"), RESOURCE_TABLE)
@pytest.mark.parametrize("path", ["/private", "/auth/me", "/unguarded"])
async def test_dpop_resource_errors_table(device: Device, path: str, why: str, changes: Changes, error: str) -> None:
    """RFC 9449 §7.1: 401, the error in the challenge of the scheme that was used, and nowhere else."""
    await device.log_in()
    changes = dict(changes)
    if "url" in changes and path != "/private" and why != "another path":
        changes["url"] = changes["url"].replace("/private", path)
    headers = device.credentials("GET", path, **{k: v for k, v in changes.items() if k != "method"})
    if "method" in changes:
        headers["dpop"] = device.proof(changes["method"], path, access_token=device.pair["access_token"])
    answer = await device.house.stranger().get(path, headers=headers)
    assert refused(answer) == (401, error)
    plain, told = answer.headers.get_list("www-authenticate")
    assert plain == 'Bearer realm="asgi-auth"'
    assert told.startswith(f'DPoP realm="asgi-auth", error="{error}", error_description="')
    assert told.endswith(ALGS)
    assert (answer.headers.get("dpop-nonce") is not None) == (error == "use_dpop_nonce")


@pytest.mark.parametrize("count", [0, 2])
async def test_one_proof_in_one_header(device: Device, count: int) -> None:
    await device.log_in()
    token = device.pair["access_token"]
    proofs = [("dpop", device.proof("GET", "/private", access_token=token)) for _ in range(count)]
    answer = await device.house.raw("GET", "/private", headers=[("authorization", f"DPoP {token}"), *proofs])
    assert refused(answer) == (401, "invalid_dpop_proof")


async def test_a_bound_token_as_bearer_is_worth_nothing(device: Device) -> None:
    """spring-security#16937. Nor when it is remembered, nor with its proof beside it."""
    await device.log_in()
    token = device.pair["access_token"]
    for _ in range(3):
        assert (await device.call("GET", "/private")).status_code == 200
        for headers in (
            bearer(token),
            {"authorization": f"bearer  {token}"},
            {"authorization": token},
            device.credentials("GET", "/private", scheme="Bearer"),
        ):
            answer = await device.house.stranger().get("/private", headers=headers)
            assert answer.status_code == 401, headers
    answer = await device.house.get("/private", token)
    told, plain = answer.headers.get_list("www-authenticate")
    assert told.startswith('Bearer realm="asgi-auth", error="invalid_token"')
    assert plain == CHALLENGE


async def test_a_token_of_any_bearer_is_no_dpop_token(device: Device, house: House) -> None:
    await device.log_in()
    loose = (await house.tokens())["access_token"]
    for _ in range(2):
        assert (await house.get("/private", loose)).status_code == 200
        answer = await device.call("GET", "/private", token=loose)
        assert refused(answer) == (401, "invalid_token")
    answer = await house.stranger().get("/private", headers={**bearer(loose), "dpop": "junk"})
    assert answer.status_code == 200, "a proof that nobody asked for"


async def test_a_proof_is_good_for_one_request(device: Device) -> None:
    await device.log_in()
    headers = device.credentials("GET", "/private")
    assert (await device.send("GET", "/private", headers=headers)).status_code == 200
    assert refused(await device.send("GET", "/private", headers=headers)) == (401, "invalid_dpop_proof")
    device.house.clock.advance(NONCE_LIFETIME)
    assert refused(await device.send("GET", "/private", headers=headers)) == (401, "use_dpop_nonce")


async def test_a_fresh_nonce_comes_with_an_answer_of_the_application(device: Device) -> None:
    """RFC 9449 §8.2: before the old one is over, and in an answer that nobody else is given."""
    await device.log_in()
    device.house.clock.advance(NONCE_RENEWED + 1)
    before = device.nonce
    answer = await device.call("GET", "/whoami")
    assert answer.status_code == 200
    assert len(answer.headers.get_list("dpop-nonce")) == 1
    assert answer.headers["cache-control"] == "private, no-store"
    assert device.nonce != before
    assert "dpop-nonce" not in (await device.call("GET", "/whoami")).headers
    device.house.clock.advance(NONCE_RENEWED + 1)
    again = await device.ask_token(grant_type="refresh_token", refresh_token=device.pair["refresh_token"])
    assert (again.status_code, len(again.headers.get_list("dpop-nonce"))) == (200, 1)
    device.house.clock.advance(NONCE_RENEWED + 1)
    forbidden = await device.call("GET", "/admin")
    assert refused(forbidden) == (403, "insufficient_scope")
    assert len(forbidden.headers.get_list("dpop-nonce")) == 1
    assert forbidden.headers.get_list("www-authenticate") == [
        'DPoP realm="asgi-auth", error="insufficient_scope", '
        f'error_description="The scope does not allow this", scope="admin", {ALGS}'
    ]


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        (["DPoP"], "invalid_request"),
        (["DPoP {} x"], "invalid_request"),
        (["DPoP {}", "DPoP {}"], "invalid_request"),
        (["DPoP {}", "Bearer {}"], "invalid_request"),
        (["dpop {}"], ""),
    ],
)
async def test_authorization_of_the_scheme_dpop(device: Device, lines: list[str], error: str) -> None:
    await device.log_in()
    token = device.pair["access_token"]
    proof = device.proof("GET", "/private", access_token=token)
    headers = [*(("authorization", line.replace("{}", token)) for line in lines), ("dpop", proof)]
    answer = await device.house.raw("GET", "/private", headers=headers)
    if not error:
        assert answer.status == 200
        return
    assert refused(answer) == (400, error)
    [challenge] = answer.all("www-authenticate")
    assert challenge.startswith("DPoP " if len(lines) == 1 else "Bearer ")


async def test_a_bound_token_dies_with_its_session(device: Device, house: House) -> None:
    pair = await device.log_in()
    assert (await device.call("GET", "/private")).status_code == 200
    await house.auth.revoke(claims_of(pair["access_token"])["sid"])
    answer = await device.call("GET", "/private")
    assert answer.json()["error_description"] == "The access token was revoked"


async def test_our_own_endpoints_take_bound_tokens(device: Device, house: House) -> None:
    await device.log_in()
    sid = claims_of(device.pair["access_token"])["sid"]
    assert (await device.call("GET", "/auth/me")).json()["session"]["id"] == sid
    assert [one["id"] for one in (await device.call("GET", "/auth/sessions")).json()["sessions"]] == [sid]
    other = await house.tokens()
    assert (await device.call("DELETE", f"/auth/sessions/{claims_of(other['access_token'])['sid']}")).status_code == 204
    change = {"current_password": PASSWORDS["alice"], "new_password": "another hole, and a deeper one"}
    assert (await device.call("POST", "/auth/password", json=change)).status_code == 204
    answer = await device.ask_token(grant_type="refresh_token", refresh_token=device.pair["refresh_token"])
    device.pair = answer.json()
    assert (await device.call("POST", "/auth/logout")).status_code == 204
    assert (await device.call("GET", "/auth/me")).status_code == 401


async def test_introspection_says_to_which_key_a_token_is_bound(device: Device, house: House) -> None:
    pair = await device.log_in()
    caller = Device(house, THIEF, device.nonce)
    await caller.log_in(username="ian", password=PASSWORDS["ian"])
    for token, kind in ((pair["access_token"], "DPoP"), (pair["refresh_token"], None)):
        found = (await caller.call("POST", "/auth/introspect", data={"token": token})).json()
        assert found["active"] is True
        assert found["cnf"] == {"jkt": KEY.kid}
        assert found.get("token_type") == kind


async def test_elevation_keeps_the_key(houses: Any) -> None:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    async def up(request: Request) -> Response:
        pair: Any = await house.auth.elevate(request, amr="otp")
        return JSONResponse(pair.public())

    house = await houses(app=Starlette(routes=[Route("/up", up, methods=["POST"])]))
    device = Device(house)
    await device.log_in()
    answer = await device.call("POST", "/up")
    assert answer.json()["token_type"] == "DPoP"
    assert claims_of(answer.json()["access_token"])["cnf"] == {"jkt": KEY.kid}
    again = await device.ask_token(grant_type="refresh_token", refresh_token=answer.json()["refresh_token"])
    assert again.status_code == 200


@pytest.mark.parametrize("revocation", ["strict", "available", "off"])
async def test_without_the_store_no_proof_counts(houses: Any, serve: Any, revocation: str) -> None:
    """Nobody could say that it did not count before: 503, however little else is asked of the store."""
    server = serve()
    house = await houses(store_url=server.url, jwt_revocation=revocation, jwt_key=json.dumps(dict(KEY.jwk)))
    loose = (await house.tokens())["access_token"]
    device = Device(house)
    await device.log_in()
    assert (await device.call("GET", "/private")).status_code == 200
    server.kill()
    assert refused(await device.call("GET", "/private")) == (503, "unavailable")
    if revocation != "strict":
        assert (await house.get("/private", loose)).status_code == 200


async def test_a_bound_token_of_another_issuer_needs_its_proof_too(houses: Any, idp: Any) -> None:
    house = await houses(**trusting(idp))
    device = Device(house)
    await device.log_in()  # for a nonce
    token = idp.token(cnf={"jkt": KEY.kid})
    for _ in range(2):  # the second time it is remembered
        assert (await device.call("GET", "/whoami", token=token)).json()["user"] == "idp:42"
        assert refused(await house.get("/whoami", token)) == (401, "invalid_token")
        assert refused(await device.call("GET", "/whoami", token=token, key=THIEF)) == (401, "invalid_dpop_proof")
        assert refused(await device.call("GET", "/whoami", token=idp.token())) == (401, "invalid_token")
        assert (await house.get("/whoami", idp.token())).status_code == 200


async def test_required_holds_for_other_issuers_too(houses: Any, idp: Any) -> None:
    house = await houses(**trusting(idp), dpop="required")
    for _ in range(2):
        assert refused(await house.get("/whoami", idp.token())) == (401, "invalid_token")


# ---------------------------------------------------------------------- WebSockets


async def shake(house: House, headers: Any) -> list[dict[str, Any]]:
    """What a server gets of a handshake with these headers."""
    sent: list[dict[str, Any]] = []
    incoming = iter([{"type": "websocket.connect"}])

    async def receive() -> dict[str, Any]:
        return next(incoming, {"type": "websocket.disconnect", "code": 1000})

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "scheme": "ws",
        "path": "/ws",
        "query_string": b"",
        "headers": [(b"host", b"testserver"), *((name.encode(), value.encode()) for name, value in headers.items())],
        "client": ("127.0.0.1", 50_000),
        "subprotocols": [],
        "extensions": {"websocket.http.response": {}},
    }
    await house.app(scope, receive, send)
    return sent


async def test_a_handshake_takes_a_bound_token(device: Device) -> None:
    await device.log_in()
    for url in ("http://testserver/ws", "ws://testserver/ws"):
        accepted, hello, *_ = await shake(device.house, device.credentials("GET", "/ws", url=url))
        assert (accepted["type"], json.loads(hello["text"])) == ("websocket.accept", {"user": "alice"})
    device.house.clock.advance(NONCE_RENEWED + 1)
    accepted, *_ = await shake(device.house, device.credentials("GET", "/ws"))
    assert [name for name, _ in accepted["headers"]] == [b"dpop-nonce"]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"scheme": "Bearer"}, "invalid_token"),
        ({"nonce": None}, "use_dpop_nonce"),
        ({"key": THIEF}, "invalid_dpop_proof"),
        ({"url": "ws://testserver/other"}, "invalid_dpop_proof"),
    ],
)
async def test_a_handshake_is_refused_as_a_request_is(device: Device, changes: Changes, error: str) -> None:
    await device.log_in()
    start, body = await shake(device.house, device.credentials("GET", "/ws", **changes))
    assert (start["status"], json.loads(body["body"])["error"]) == (401, error)
    names = [name for name, _ in start["headers"]]
    assert names.count(b"www-authenticate") == 2
    assert names.count(b"dpop-nonce") == (error == "use_dpop_nonce")
