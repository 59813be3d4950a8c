"""How tokens that are bound to a key are got and refreshed (RFC 9449 §5, §8)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest
from dpop_device import APP, CHALLENGE, GRANT, KEY, THIEF, Device, refused
from endpoint_house import PASSWORDS, House
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from test_token_endpoint import claims_of

from asgi_auth import User
from asgi_auth.errors import InvalidGrant
from asgi_auth.tokens.dpop import make_proof
from asgi_auth.tokens.keys import SigningKey


async def test_dpop_token_request(device: Device) -> None:
    """RFC 9449 §5: `token_type` DPoP, `cnf` in the access token, the refresh token bound to the key."""
    pair = await device.log_in()
    assert pair["token_type"] == "DPoP"
    assert claims_of(pair["access_token"])["cnf"] == {"jkt": KEY.kid}
    again = await device.ask_token(grant_type="refresh_token", refresh_token=pair["refresh_token"])
    assert again.json()["token_type"] == "DPoP"
    assert claims_of(again.json()["access_token"])["cnf"] == {"jkt": KEY.kid}
    assert again.headers["cache-control"] == "no-store"


async def test_without_a_proof_a_token_serves_any_bearer(house: House) -> None:
    pair = await house.tokens()
    assert pair["token_type"] == "Bearer"
    assert "cnf" not in claims_of(pair["access_token"])


async def test_a_nonce_is_wanted_once(device: Device) -> None:
    """RFC 9449 §8: 400 `use_dpop_nonce` with one `DPoP-Nonce`; then the same one will do until it is old."""
    answer = await device.send("POST", "/auth/token", data=GRANT, headers={"dpop": device.proof("POST", "/auth/token")})
    assert refused(answer) == (400, "use_dpop_nonce")
    assert len(answer.headers.get_list("dpop-nonce")) == 1
    assert answer.headers["cache-control"] == "no-store"
    assert "www-authenticate" not in answer.headers
    for _ in range(3):
        answer = await device.send(
            "POST", "/auth/token", data=GRANT, headers={"dpop": device.proof("POST", "/auth/token")}
        )
        assert answer.status_code == 200
        assert "dpop-nonce" not in answer.headers


TOKEN_PROOFS: dict[str, Any] = {
    "junk": lambda device: ["junk"],
    "two proofs": lambda device: [device.proof("POST", "/auth/token") for _ in range(2)],
    "another method": lambda device: [device.proof("GET", "/auth/token")],
    "another path": lambda device: [device.proof("POST", "/auth/login")],
    "another host": lambda device: [device.proof("POST", "", url="http://evil.example/auth/token")],
}


@pytest.mark.parametrize("why", TOKEN_PROOFS)
async def test_a_bad_proof_gets_no_token_and_tries_no_password(device: Device, why: str) -> None:
    """RFC 9449 §5: 400 `invalid_dpop_proof`."""
    await device.log_in()
    for form in (GRANT, {"grant_type": "refresh_token", "refresh_token": device.pair["refresh_token"]}):
        headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            *(("dpop", one) for one in TOKEN_PROOFS[why](device)),
        ]
        body = httpx2.QueryParams(form)
        answer = await device.house.raw("POST", "/auth/token", headers=headers, body=str(body).encode())
        assert refused(answer) == (400, "invalid_dpop_proof")
        assert answer.all("dpop-nonce") == []
    again = await device.ask_token(grant_type="refresh_token", refresh_token=device.pair["refresh_token"])
    assert again.status_code == 200


@pytest.mark.parametrize("by", ["another key", "no key"])
async def test_a_bound_refresh_token_is_for_its_key_alone(device: Device, house: House, by: str) -> None:
    """Nothing is consumed: the thief's try logs nobody out."""
    pair = await device.log_in()
    if by == "no key":
        answer = await house.refresh(pair["refresh_token"])
    else:
        thief = Device(house, THIEF, device.nonce)
        answer = await thief.ask_token(grant_type="refresh_token", refresh_token=pair["refresh_token"])
    assert refused(answer) == (400, "invalid_grant")
    again = await device.ask_token(grant_type="refresh_token", refresh_token=pair["refresh_token"])
    assert again.status_code == 200


async def test_a_refresh_token_of_any_bearer_is_not_bound_later(device: Device, house: House) -> None:
    pair = await house.tokens()
    answer = await device.ask_token(grant_type="refresh_token", refresh_token=pair["refresh_token"])
    assert refused(answer) == (400, "invalid_grant")
    assert (await house.refresh(pair["refresh_token"])).status_code == 200


async def test_a_token_request_that_was_seen_gets_nothing_again(device: Device) -> None:
    await device.log_in()
    headers = {"dpop": device.proof("POST", "/auth/token")}
    form = {"grant_type": "refresh_token", "refresh_token": device.pair["refresh_token"]}
    assert (await device.send("POST", "/auth/token", data=form, headers=headers)).status_code == 200
    answer = await device.send("POST", "/auth/token", data=form, headers=headers)
    assert refused(answer) == (400, "invalid_dpop_proof")


async def test_a_lost_answer_is_given_again_to_the_same_key(device: Device) -> None:
    await device.log_in()
    form = {"grant_type": "refresh_token", "refresh_token": device.pair["refresh_token"]}
    answers = [await device.ask_token(**form) for _ in range(2)]
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1


async def test_a_request_that_is_nobodys_leaves_no_row(houses: Any, tmp_path: Path) -> None:
    """Whoever has neither a password nor a token cannot fill the store with proofs."""
    device = Device(await houses(store_url=f"sqlite:///{tmp_path}/s.sqlite3"))
    await device.log_in()

    def kept() -> int:
        with closing(sqlite3.connect(tmp_path / "s.sqlite3")) as rows:
            return int(rows.execute("SELECT count(*) FROM counters WHERE key LIKE 'seen:dpop%'").fetchone()[0])

    assert kept() == 1
    for form in (
        {**GRANT, "password": "wrong, and long enough"},
        {"grant_type": "refresh_token", "refresh_token": "a.1.b.c"},
        {"grant_type": "refresh_token", "refresh_token": device.pair["refresh_token"][:-4] + "AAAA"},
    ):
        assert refused(await device.ask_token(**form)) == (400, "invalid_grant")
    assert refused(await device.call("GET", "/whoami", token="abc.def.ghi")) == (401, "invalid_token")
    assert refused(await device.call("GET", "/whoami", key=THIEF)) == (401, "invalid_dpop_proof")
    assert kept() == 1
    assert (await device.call("GET", "/whoami")).status_code == 200
    assert kept() == 2


async def test_login_in_jwt_mode_binds_too(device: Device) -> None:
    body = {"username": "alice", "password": PASSWORDS["alice"], "mode": "jwt"}
    answer = await device.ask_token("/auth/login", **body)
    assert (answer.status_code, answer.json()["token_type"]) == (200, "DPoP")
    device.pair = answer.json()
    assert (await device.call("GET", "/private")).json() == {"user": "alice"}


async def test_a_refresh_token_in_a_cookie_is_for_its_key_too(houses: Any) -> None:
    house = await houses(refresh_cookie="on", url=APP, base_url=APP)
    nonce = house.auth.parts.proofs.fresh_nonce()

    def by(key: SigningKey, path: str) -> dict[str, str]:
        return {"dpop": make_proof(key, "POST", APP + path, now=0, nonce=nonce), "sec-fetch-site": "same-origin"}

    body = {"username": "alice", "password": PASSWORDS["alice"], "mode": "jwt"}
    login = await house.client.post("/auth/login", json=body, headers=by(KEY, "/auth/login"))
    assert (login.json()["token_type"], "refresh_token" in login.json()) == ("DPoP", False)
    form = {"grant_type": "refresh_token"}
    for headers in (by(THIEF, "/auth/token"), {"sec-fetch-site": "same-origin"}):
        refusal = await house.client.post("/auth/token", data=form, headers=headers)
        assert refused(refusal) == (400, "invalid_grant")
    again = await house.client.post("/auth/token", data=form, headers=by(KEY, "/auth/token"))
    assert again.json()["token_type"] == "DPoP"


async def test_required_makes_and_takes_no_other_tokens(houses: Any) -> None:
    free = await houses()
    loose = (await free.tokens())["access_token"]
    house = await houses(dpop="required", store=free.store, directory=free.auth.parts.directory, users=False)
    answer = await house.client.post("/auth/token", data=GRANT)
    assert refused(answer) == (400, "invalid_dpop_proof")
    answer = await house.client.post("/auth/login", json={**GRANT, "mode": "jwt"})
    assert refused(answer) == (400, "invalid_dpop_proof")
    for _ in range(2):  # the second time it could be remembered
        answer = await house.get("/whoami", loose)
        assert refused(answer) == (401, "invalid_token")
        assert answer.headers.get_list("www-authenticate")[0].startswith("DPoP ")
    answer = await house.client.get("/private")
    assert answer.headers.get_list("www-authenticate") == [CHALLENGE]
    with pytest.raises(ValueError, match="jkt"):
        await house.auth.issue(User(id="alice"))

    device = Device(house)
    await device.log_in()
    assert (await device.call("GET", "/private")).status_code == 200
    assert (await house.client.post("/auth/login", json={**GRANT})).status_code == 200, "cookies are as ever"


async def test_off_looks_at_no_proof_and_takes_no_bound_token(houses: Any) -> None:
    bound = await houses()
    device = Device(bound)
    await device.log_in()
    house = await houses(dpop="off", store=bound.store, directory=bound.auth.parts.directory, users=False)
    pair = (await house.client.post("/auth/token", data=GRANT, headers={"dpop": "junk"})).json()
    assert pair["token_type"] == "Bearer"
    token = device.pair["access_token"]
    assert refused(await house.get("/whoami", token)) == (401, "invalid_token")
    answer = await house.client.get("/whoami", headers={"authorization": f"DPoP {token}"})
    assert answer.json()["user"] is None, "that scheme is the application's"
    answer = await house.client.get("/private")
    assert answer.headers.get_list("www-authenticate") == ['Bearer realm="asgi-auth"']
    assert refused(await house.refresh(device.pair["refresh_token"])) == (400, "invalid_grant")
    with pytest.raises(ValueError, match="off"):
        await house.auth.issue(User(id="alice"), jkt=KEY.kid)


async def test_an_endpoint_of_the_application_binds_by_the_proof_of_its_request(houses: Any) -> None:
    async def issue(request: Request) -> Response:
        user = User(id="alice", scopes=frozenset({"read"}))
        return JSONResponse((await house.auth.issue(user, jkt=await house.auth.proof(request))).public())

    async def renew(request: Request) -> Response:
        jkt = await house.auth.proof(request)
        try:
            return JSONResponse((await house.auth.refresh(await request.json(), jkt=jkt)).public())
        except InvalidGrant as error:
            return JSONResponse({"error": error.code}, error.status)

    routes = [Route("/issue", issue, methods=["POST"]), Route("/renew", renew, methods=["POST"])]
    house = await houses(app=Starlette(routes=routes))
    device = Device(house)
    wanted = await device.send("POST", "/issue", headers={"dpop": device.proof("POST", "/issue")})
    assert refused(wanted) == (400, "use_dpop_nonce")
    proof = {"dpop": device.proof("POST", "/issue")}
    pair = (await device.send("POST", "/issue", headers=proof)).json()
    assert claims_of(pair["access_token"])["cnf"] == {"jkt": KEY.kid}
    assert refused(await device.send("POST", "/issue", headers=proof)) == (400, "invalid_dpop_proof")
    assert (await device.send("POST", "/issue")).json()["token_type"] == "Bearer"
    token = pair["refresh_token"]
    assert refused(await device.send("POST", "/renew", json=token)) == (400, "invalid_grant")
    proof = {"dpop": device.proof("POST", "/renew", key=THIEF)}
    assert refused(await device.send("POST", "/renew", json=token, headers=proof)) == (400, "invalid_grant")
    proof = {"dpop": device.proof("POST", "/renew")}
    assert (await device.send("POST", "/renew", json=token, headers=proof)).json()["token_type"] == "DPoP"


async def test_issue_in_python_binds(house: House, device: Device) -> None:
    pair = await house.auth.issue(User(id="alice", scopes={"read"}), jkt=KEY.kid)
    assert (pair.token_type, pair.jkt) == ("DPoP", KEY.kid)
    await device.log_in()  # for a nonce
    device.pair = pair.public()
    assert (await device.call("GET", "/private")).status_code == 200
    again = await house.auth.refresh(pair.refresh_token)
    assert again.token_type == "DPoP"
    assert refused(await house.refresh(again.refresh_token)) == (400, "invalid_grant")
    for bad in ("x", KEY.kid + "=", "é" * 43):
        with pytest.raises(ValueError, match="jkt"):
            await house.auth.issue(User(id="alice"), jkt=bad)
