"""DPoP over HTTP (RFC 9449 §5 to §9): how bound tokens are got, and what they are worth with and without their key."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from endpoint_house import PASSWORDS, House, Reply, ask, bearer
from foreign_tokens import trusting
from test_token_endpoint import claims_of

from asgi_auth import User
from asgi_auth.proofs import NONCE_LIFETIME, NONCE_RENEWED
from asgi_auth.tokens.dpop import make_proof
from asgi_auth.tokens.keys import SigningKey, generate

GRANT = {"grant_type": "password", "username": "alice", "password": PASSWORDS["alice"]}
ORIGIN = "http://testserver"
ALGS = 'algs="ES256 Ed25519 EdDSA PS256 RS256"'
CHALLENGE = f'DPoP realm="asgi-auth", {ALGS}'
KEY = SigningKey.from_jwk(generate("ES256"))
THIEF = SigningKey.from_jwk(generate("Ed25519"))


@dataclass
class Device:
    """A client with a key, that keeps the last nonce it was given, as RFC 9449 §8.2 asks."""

    house: House
    key: SigningKey = KEY
    nonce: str | None = None
    pair: dict[str, Any] = field(default_factory=dict)

    def proof(self, method: str, path: str, **changes: Any) -> str:
        given = {"nonce": self.nonce, "now": self.house.clock(), **changes}
        return make_proof(given.pop("key", self.key), method, given.pop("url", ORIGIN + path), **given)

    async def send(self, method: str, path: str, *, headers: dict[str, str] | None = None, **more: Any) -> Any:
        answer = await self.house.stranger().request(method, path, headers=headers, **more)
        self.nonce = answer.headers.get("dpop-nonce", self.nonce)
        return answer

    async def ask_token(self, path: str = "/auth/token", **form: Any) -> httpx2.Response:
        """A token request, sent again if a nonce is wanted."""
        for _ in range(2):
            options = {"json": form} if path == "/auth/login" else {"data": form}
            answer = await self.send("POST", path, headers={"dpop": self.proof("POST", path)}, **options)
            if answer.status_code != 400 or answer.json()["error"] != "use_dpop_nonce":
                break
        return answer  # type: ignore[no-any-return]

    async def log_in(self, **form: Any) -> dict[str, Any]:
        answer = await self.ask_token(**{**GRANT, **form})
        assert answer.status_code == 200, answer.text
        self.pair = answer.json()
        return self.pair

    def credentials(self, method: str, path: str, *, scheme: str = "DPoP", **changes: Any) -> dict[str, str]:
        token = str(changes.pop("token", self.pair["access_token"]))
        proof = self.proof(method, path, **{"access_token": token, **changes})
        return {"authorization": f"{scheme} {token}", "dpop": proof}

    async def call(self, method: str, path: str, *, query: str = "", **changes: Any) -> httpx2.Response:
        body = {"json": changes.pop("json")} if "json" in changes else {}
        data = {"data": changes.pop("data")} if "data" in changes else {}
        headers = self.credentials(method, path, **changes)
        return await self.send(method, path + query, headers=headers, **body, **data)  # type: ignore[no-any-return]


@pytest.fixture
def device(house: House) -> Device:
    return Device(house)


def refused(answer: Any) -> tuple[int, str]:
    status = answer.status if isinstance(answer, Reply) else answer.status_code
    return status, str(answer.json()["error"])


# ---------------------------------------------------------------------- tokens


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


# ---------------------------------------------------------------------- requests

Changes = dict[str, Any]


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


# ---------------------------------------------------------------------- where a request goes to


async def place(houses: Any, settings: Changes, scope: Changes, headers: Any, url: str) -> Reply:
    """A request by this scope, with a proof for `url`."""
    house = await houses(**settings)
    pair = await house.auth.issue(User(id="alice", scopes={"read"}), jkt=KEY.kid)
    nonce = house.auth.parts.proofs.fresh_nonce()
    proof = make_proof(KEY, "GET", url, now=0, nonce=nonce, access_token=pair.access_token)
    given = [("authorization", f"DPoP {pair.access_token}"), ("dpop", proof), *headers]
    return await ask(house.app, "GET", scope.pop("path", "/whoami"), headers=given, **scope)


APP = "https://app.example.com"
PROXY = {"trusted_proxies": "127.0.0.1"}
HOST = [("host", "app.example.com")]


@pytest.mark.parametrize(
    ("settings", "scope", "headers", "url", "status"),
    [
        # URL decides alone
        ({"url": APP}, {}, [("host", "127.0.0.1:8000")], f"{APP}/whoami", 200),
        ({"url": APP}, {}, [("host", "evil.example")], f"{APP}/whoami", 200),
        ({"url": APP}, {}, [("host", "evil.example")], "http://evil.example/whoami", 401),
        ({"url": APP}, {}, HOST, "http://app.example.com/whoami", 401),
        ({"url": APP}, {}, HOST, f"{APP}:443/whoami", 200),
        ({"url": "https://app.example.com:8443"}, {}, HOST, f"{APP}:8443/whoami", 200),
        # without it, what a trusted proxy says
        (PROXY, {}, [*HOST, ("x-forwarded-proto", "https")], f"{APP}/whoami", 200),
        (PROXY, {"scheme": "https"}, HOST, f"{APP}/whoami", 200),
        (PROXY, {}, [("host", "inner"), ("forwarded", "proto=https;host=app.example.com")], f"{APP}/whoami", 200),
        (PROXY, {}, [*HOST, ("x-forwarded-proto", "https")], "http://app.example.com/whoami", 401),
        # without both, this machine alone: any other Host may be the client's own idea
        ({}, {}, [("host", "localhost:8000")], "http://localhost:8000/whoami", 200),
        ({}, {}, [("host", "127.0.0.1")], "http://127.0.0.1/whoami", 200),
        ({}, {"scheme": "https"}, HOST, f"{APP}/whoami", 401),
        ({}, {"scheme": "https"}, [("host", "evil.example")], "https://evil.example/whoami", 401),
        ({}, {}, [("host", "localhost"), ("host", "localhost")], "http://localhost/whoami", 401),
        ({}, {}, [], "http://localhost/whoami", 401),
        # where the application is mounted, or a proxy takes a path away
        ({"url": APP}, {"root_path": "/api", "path": "/api/whoami"}, HOST, f"{APP}/api/whoami", 200),
        ({"url": APP}, {"root_path": "/api", "path": "/whoami"}, HOST, f"{APP}/api/whoami", 200),
        ({"url": APP}, {"root_path": "/api/", "path": "/whoami"}, HOST, f"{APP}/api/whoami", 200),
        ({"url": APP}, {"root_path": "/api", "path": "/api/whoami"}, HOST, f"{APP}/whoami", 401),
        # as the application gets the path
        ({"url": APP}, {"path": "/who ami/é"}, HOST, f"{APP}/who%20ami/%C3%A9", 404),
        ({"url": APP}, {"path": "/"}, HOST, APP, 404),
        ({"url": APP}, {"path": "/whoami/"}, HOST, f"{APP}/whoami", 401),
    ],
)
async def test_a_proof_is_for_the_address_that_the_client_used(
    houses: Any, settings: Changes, scope: Changes, headers: Any, url: str, status: int
) -> None:
    answer = await place(houses, settings, dict(scope), headers, url)
    assert answer.status == status, answer.body


async def test_who_does_not_know_the_public_address_says_so(houses: Any) -> None:
    answer = await place(houses, {}, {"scheme": "https"}, HOST, f"{APP}/whoami")
    assert "ASGI_AUTH_URL" in answer.json()["error_description"]


async def test_cors_lets_a_trusted_page_send_proofs_and_read_nonces(houses: Any) -> None:
    origin = "https://spa.example.com"
    house = await houses(trusted_origins=origin, url=APP)
    asked = [("origin", origin), ("access-control-request-method", "POST"), ("access-control-request-headers", "dpop")]
    answer = await house.raw("OPTIONS", "/auth/token", headers=asked)
    assert "DPoP" in answer.all("access-control-allow-headers")[0].split(", ")
    proof = Device(house).proof("POST", "", url=f"{APP}/auth/token")
    refusal = await house.stranger().post("/auth/token", data=GRANT, headers={"dpop": proof, "origin": origin})
    assert refusal.json()["error"] == "use_dpop_nonce"
    assert "DPoP-Nonce" in refusal.headers["access-control-expose-headers"].split(", ")


async def test_metadata_names_the_algorithms(houses: Any) -> None:
    path = "/.well-known/oauth-authorization-server"
    said = (await (await houses(url=APP)).client.get(path)).json()
    assert said["dpop_signing_alg_values_supported"] == ["ES256", "Ed25519", "EdDSA", "PS256", "RS256"]
    said = (await (await houses(url=APP, dpop="off")).client.get(path)).json()
    assert "dpop_signing_alg_values_supported" not in said
    assert said["introspection_endpoint_auth_methods_supported"] == ["Bearer"]
    said = (await (await houses(url=APP, dpop="required")).client.get(path)).json()
    assert said["introspection_endpoint_auth_methods_supported"] == ["DPoP"]


async def test_no_proof_is_written_down(device: Device, caplog: pytest.LogCaptureFixture) -> None:
    await device.log_in()
    headers = device.credentials("GET", "/private", key=THIEF)
    await device.send("GET", "/private", headers=headers)
    told = [json.loads(record.message) for record in caplog.records if record.name == "asgi_auth.security"]
    assert any("another key" in str(one["reason"]) for one in told)
    for record in caplog.records:
        assert headers["dpop"][-20:] not in record.getMessage()
        assert device.pair["access_token"][-20:] not in record.getMessage()


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
