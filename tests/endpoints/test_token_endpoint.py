"""`POST /token` (RFC 6749 §2.3, §4.3, §5, §6): what it gives, what it refuses, and what it takes no notice of."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from endpoint_house import PASSWORDS, House, bearer, set_cookies

from asgi_auth.tokens.jose import decode_base64url

GRANT = {"grant_type": "password", "username": "alice", "password": PASSWORDS["alice"]}


def basic(text: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(text.encode()).decode()}


def claims_of(token: str) -> dict[str, Any]:
    return json.loads(decode_base64url(token.split(".")[1].encode()))


def header_of(token: str) -> dict[str, Any]:
    return json.loads(decode_base64url(token.split(".")[0].encode()))


@pytest.mark.parametrize("as_json", [False, True])
async def test_token_answer_to_the_letter(house: House, as_json: bool) -> None:
    answer = await house.client.post("/auth/token", **({"json": GRANT} if as_json else {"data": GRANT}))
    assert answer.status_code == 200
    pair = answer.json()
    assert pair == {
        "access_token": pair["access_token"],
        "token_type": "Bearer",
        "expires_in": 600,
        "refresh_token": pair["refresh_token"],
        "scope": "read",
    }
    assert type(pair["expires_in"]) is int
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["pragma"] == "no-cache"
    assert answer.headers["content-type"] == "application/json"
    assert not set_cookies(answer)
    again = (await house.refresh(pair["refresh_token"])).json()
    assert set(again) == set(pair)
    assert again["scope"] == "read"


async def test_access_token_claims_over_http(house: House) -> None:
    pair = await house.tokens("bob", client_id="cli")
    now = int(house.clock())
    claims = claims_of(pair["access_token"])
    assert claims == {
        "iss": "asgi-auth",
        "sub": "bob",
        "aud": "asgi-auth",
        "exp": now + 600,
        "iat": now,
        "nbf": now,
        "jti": claims["jti"],
        "client_id": "cli",
        "sid": claims["sid"],
        "scope": "admin read",
        "auth_time": now,
        "amr": ["pwd"],
        "ver": 1,
    }
    assert claims["jti"].startswith("1.")
    header = header_of(pair["access_token"])
    assert header == {"alg": "ES256", "typ": "at+jwt", "kid": header["kid"]}
    again = claims_of((await house.refresh(pair["refresh_token"], client_id="cli")).json()["access_token"])
    assert again["jti"].startswith("2.")
    assert (again["sid"], again["client_id"]) == (claims["sid"], "cli")


WRONG_PASSWORD = {**GRANT, "password": "wrong"}
UNKNOWN = {**GRANT, "username": "nobody"}


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({}, "invalid_request"),
        ({"grant_type": ""}, "invalid_request"),
        ({"username": "alice", "password": PASSWORDS["alice"]}, "invalid_request"),
        ({"grant_type": "authorization_code", "code": "x"}, "unsupported_grant_type"),
        ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
        ({"grant_type": "implicit"}, "unsupported_grant_type"),
        ({"grant_type": "Password", **{k: GRANT[k] for k in ("username", "password")}}, "unsupported_grant_type"),
        ({"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "x"}, "unsupported_grant_type"),
        (WRONG_PASSWORD, "invalid_grant"),
        (UNKNOWN, "invalid_grant"),
        ({"grant_type": "password", "username": "alice"}, "invalid_request"),
        ({"grant_type": "password", "password": "x"}, "invalid_request"),
        ({**GRANT, "scope": "admin"}, "invalid_scope"),
        ({**GRANT, "scope": "read admin"}, "invalid_scope"),
        ({**GRANT, "scope": 'a"b'}, "invalid_scope"),
        ({**GRANT, "scope": "a\tb"}, "invalid_scope"),
        ({**GRANT, "client_id": "é"}, "invalid_request"),
        ({**GRANT, "client_id": "x" * 256}, "invalid_request"),
        ({**GRANT, "client_id": "a\nb"}, "invalid_request"),
        ({"grant_type": "refresh_token"}, "invalid_request"),
        ({"grant_type": "refresh_token", "refresh_token": ""}, "invalid_request"),
        ({"grant_type": "refresh_token", "refresh_token": "x"}, "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": "é" * 100}, "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": "\ud7ff\u200b"}, "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": "A" * 15_000}, "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": f"00{'a' * 22}.1.{'A' * 43}.{'A' * 43}"}, "invalid_grant"),
    ],
)
async def test_token_errors_table(house: House, form: Any, error: str) -> None:
    """RFC 6749 §5.2: 400 for all of them, and a wrong password looks like an unknown user."""
    for body in ({"data": form}, {"json": form}):
        answer = await house.client.post("/auth/token", **body)
        assert (answer.status_code, answer.json()["error"]) == (400, error)
        assert answer.headers["cache-control"] == "no-store"
        assert "www-authenticate" not in answer.headers
        assert not set_cookies(answer)
    assert await house.auth.sessions("alice") == []


async def test_a_wrong_password_and_an_unknown_user_get_the_same_answer(house: House) -> None:
    answers = [await house.client.post("/auth/token", data=form) for form in (WRONG_PASSWORD, UNKNOWN)]
    assert answers[0].content == answers[1].content
    assert answers[0].headers == answers[1].headers


@pytest.mark.parametrize(
    "form",
    [
        b"grant_type=password&grant_type=refresh_token",
        b"grant_type=password&username=alice&username=bob&password=x",
        b"grant_type=password&grant_type=password",
        b"a=1&a=2&grant_type=password",
        b"grant_type=password&grant_type=",
        b"grant_type=password&username=a%00b&password=c",
        b"grant_type=password&username=%ff&password=c",
        b"grant_type=password&username=\xff&password=c",
        b"&".join(b"p%d=1" % number for number in range(200)),
    ],
)
async def test_doubled_and_malformed_parameters_are_400(house: House, form: bytes) -> None:
    answer = await house.raw(
        "POST", "/auth/token", headers=[("content-type", "application/x-www-form-urlencoded")], body=form
    )
    assert (answer.status, answer.json()["error"]) == (400, "invalid_request")


async def test_an_empty_parameter_counts_as_absent_and_an_unknown_one_is_ignored(house: House) -> None:
    form = {**GRANT, "scope": "", "client_id": "", "client_secret": "", "audience": "x", "resource": "y", "": "z"}
    answer = await house.client.post("/auth/token", data=form)
    assert (answer.status_code, claims_of(answer.json()["access_token"])["client_id"]) == (200, "asgi-auth")


async def test_parameters_in_the_query_are_never_read(house: House) -> None:
    answer = await house.client.post("/auth/token", params=GRANT, data={})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    answer = await house.client.post("/auth/token", params={"grant_type": "refresh_token"}, data=GRANT)
    assert answer.status_code == 200


# ---------------------------------------------------------------------- clients


@pytest.mark.parametrize(
    ("headers", "form"),
    [
        (basic("cli:secret"), {}),
        (basic(":secret"), {}),
        (basic("cli: "), {}),
        (basic("cli::"), {}),
        ({"authorization": "Basic"}, {}),
        ({"authorization": "Basic !"}, {}),
        ({"authorization": "Basic Og== Og=="}, {}),
        ({"authorization": "basic /////w=="}, {}),
        ({}, {"client_secret": "secret"}),
        ({}, {"client_id": "cli", "client_secret": "secret"}),
        (basic(":"), {"client_secret": "secret"}),
    ],
)
async def test_a_client_secret_is_invalid_client(house: House, headers: Any, form: Any) -> None:
    answer = await house.client.post("/auth/token", data={**GRANT, **form}, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert answer.headers["www-authenticate"] == 'Basic realm="asgi-auth"'
    assert await house.auth.sessions("alice") == []


async def test_two_basic_headers_are_refused(house: House) -> None:
    headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("authorization", "Basic Og=="),
        ("authorization", "Basic Og=="),
    ]
    body = f"grant_type=password&username=alice&password={PASSWORDS['alice'].replace(' ', '+')}".encode()
    assert (await house.raw("POST", "/auth/token", headers=headers, body=body)).status == 401
    assert (await house.raw("POST", "/auth/token", headers=headers[:2], body=body)).status == 200


@pytest.mark.parametrize(
    ("headers", "form", "client_id"),
    [
        ({}, {}, "asgi-auth"),
        ({"authorization": "Basic Og=="}, {}, "asgi-auth"),
        ({"authorization": "BASIC  Og=="}, {}, "asgi-auth"),
        ({"authorization": "Basic Og=="}, {"client_id": "cli"}, "cli"),
        (basic("cli:"), {}, "cli"),
        (basic("cli"), {}, "cli"),
        (basic("my%20app%3Aone:"), {}, "my app:one"),
        (basic("cli:"), {"client_id": "cli"}, "cli"),
        ({"authorization": "Bearer whatever"}, {"client_id": "cli"}, "cli"),
    ],
)
async def test_a_client_is_named_by_basic_without_a_secret_or_in_the_form(
    house: House, headers: Any, form: Any, client_id: str
) -> None:
    answer = await house.client.post("/auth/token", data={**GRANT, **form}, headers=headers)
    assert claims_of(answer.json()["access_token"])["client_id"] == client_id


async def test_two_ids_that_differ_are_400(house: House) -> None:
    answer = await house.client.post("/auth/token", data={**GRANT, "client_id": "a"}, headers=basic("b:"))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("other", ["asgi-auth", "CLI", "cli ", "cl"])
async def test_a_refresh_token_is_bound_to_its_client(house: House, other: str) -> None:
    """Another client gets nothing, and does no harm either."""
    pair = await house.tokens(client_id="cli")
    for _ in range(2):
        answer = await house.refresh(pair["refresh_token"], client_id=other)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert (await house.refresh(pair["refresh_token"], client_id="cli")).status_code == 200


# ---------------------------------------------------------------------- the grant


@pytest.mark.parametrize("as_json", [False, True])
async def test_password_grant_off_is_unsupported_grant_type_whatever_the_password(houses: Any, as_json: bool) -> None:
    house = await houses(password_grant="off", login_rate="1/minute")
    for form in [GRANT, WRONG_PASSWORD, WRONG_PASSWORD, WRONG_PASSWORD]:
        answer = await house.client.post("/auth/token", **({"json": form} if as_json else {"data": form}))
        assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_grant_type")
    login = {"username": "alice", "password": PASSWORDS["alice"], "mode": "jwt"}
    assert (await house.client.post("/auth/login", json=login)).status_code == 200


async def test_with_the_backend_jwt_off_there_is_no_grant_at_all(houses: Any) -> None:
    house = await houses(backends="session")
    for form in (GRANT, {"grant_type": "refresh_token", "refresh_token": "x"}):
        answer = await house.client.post("/auth/token", data=form)
        assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_grant_type")


@pytest.mark.parametrize(("policy", "status"), [("evict", 200), ("refuse", 400)])
async def test_the_session_limit_at_the_token_endpoint(houses: Any, policy: str, status: int) -> None:
    house = await houses(session_limit=1, session_limit_policy=policy)
    first = await house.tokens()
    answer = await house.client.post("/auth/token", data=GRANT)
    assert answer.status_code == status
    if status == 400:
        assert answer.json()["error"] == "invalid_grant"
    alive = await house.get("/whoami", first["access_token"])
    assert alive.status_code == (401 if policy == "evict" else 200)


async def test_a_disabled_user_gets_no_tokens(house: House) -> None:
    await house.auth.disable_user("alice")
    answer = await house.client.post("/auth/token", data=GRANT)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    await house.auth.enable_user("alice")
    assert (await house.client.post("/auth/token", data=GRANT)).status_code == 200


# ---------------------------------------------------------------------- scopes


async def test_scopes_at_login_refresh_and_update_user(house: House) -> None:
    """Granted ∩ what the user has ∩ what is asked; a login without `scope` has whatever the user has at any time."""
    everything, narrow = await house.tokens("bob"), await house.tokens("bob", scope="read")
    assert (everything["scope"], narrow["scope"]) == ("admin read", "read")
    await house.auth.update_user("bob", scopes="read write")
    everything = (await house.refresh(everything["refresh_token"])).json()
    narrow = (await house.refresh(narrow["refresh_token"])).json()
    assert (everything["scope"], narrow["scope"]) == ("read write", "read")
    asked = (await house.refresh(everything["refresh_token"], scope="write")).json()
    assert asked["scope"] == "write"
    assert (await house.refresh(asked["refresh_token"])).json()["scope"] == "read write"
    await house.auth.update_user("bob", scopes="write")
    assert (await house.refresh(narrow["refresh_token"])).json()["scope"] == ""


@pytest.mark.parametrize("asked", ["write", "read write", "admin", "authenticated"])
async def test_asking_for_more_than_was_granted_is_invalid_scope_and_uses_nothing_up(house: House, asked: str) -> None:
    pair = await house.tokens("bob", scope="read")
    await house.auth.update_user("bob", scopes="read write admin")
    answer = await house.refresh(pair["refresh_token"], scope=asked)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")
    assert (await house.refresh(pair["refresh_token"])).status_code == 200


async def test_a_cut_scope_does_not_grow_back(house: House) -> None:
    """The token's own scope decides, not what its user may do otherwise."""
    pair = await house.tokens("bob", scope="read")
    answer = await house.get("/admin", pair["access_token"])
    assert answer.status_code == 403
    assert answer.headers["www-authenticate"] == (
        'Bearer realm="asgi-auth", error="insufficient_scope", '
        'error_description="The scope does not allow this", scope="admin"'
    )
    cut = (await house.refresh((await house.tokens("bob"))["refresh_token"], scope="read")).json()
    assert (await house.get("/admin", cut["access_token"])).status_code == 403
    for token in (pair["access_token"], cut["access_token"]):
        assert (await house.get("/auth/me", token)).json()["user"]["scopes"] == ["read"]


async def test_the_scope_authenticated_is_in_no_token(house: House) -> None:
    await house.auth.update_user("alice", scopes="read authenticated")
    pair = await house.tokens()
    assert (await house.get("/whoami", pair["access_token"])).json()["scopes"].count("authenticated") == 1


# ---------------------------------------------------------------------- where tokens are read


async def test_a_token_in_the_query_is_never_read(house: House) -> None:
    token = (await house.tokens("bob"))["access_token"]
    for name in ("access_token", "token", "bearer", "authorization", "jwt"):
        answer = await house.client.get("/whoami", params={name: token})
        assert answer.json()["user"] is None
        answer = await house.client.get("/auth/me", params={name: token})
        assert answer.status_code == 401
        answer = await house.client.post("/whoami", data={name: token})
        assert answer.json()["user"] is None
        answer = await house.client.get("/whoami", headers={"cookie": f"{name}={token}; session={token}"})
        assert answer.json()["user"] is None


async def test_a_refresh_token_is_no_access_token_and_an_access_token_no_refresh_token(house: House) -> None:
    pair = await house.tokens()
    assert (await house.get("/whoami", pair["refresh_token"])).status_code == 401
    assert (await house.refresh(pair["access_token"])).json()["error"] == "invalid_grant"


async def test_every_byte_of_a_token_counts(house: House) -> None:
    """Accepted first, so that a cache could be wrong about what comes after."""
    pair = await house.tokens()
    token = pair["access_token"]
    assert (await house.get("/whoami", token)).status_code == 200
    for place in range(0, len(token), 7):
        changed = "B" if token[place] == "A" else "A"
        if token[place] == ".":
            continue
        answer = await house.get("/whoami", token[:place] + changed + token[place + 1 :])
        assert answer.status_code == 401, place
    assert (await house.get("/whoami", token)).status_code == 200


async def test_every_byte_of_a_refresh_token_counts(house: House) -> None:
    token = (await house.tokens())["refresh_token"]
    for place in range(0, len(token), 5):
        changed = "B" if token[place] == "A" else "A"
        answer = await house.refresh(token[:place] + changed + token[place + 1 :])
        assert answer.json().get("error") == "invalid_grant", place
    for other in (token + "=", token + "\n", " " + token, token + ".", token.replace(".1.", ".01.", 1)):
        assert (await house.refresh(other)).json().get("error") == "invalid_grant"
    assert (await house.refresh(token)).status_code == 200


@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "PS384", "ES384", "EdDSA", "Ed25519"])
async def test_tokens_of_every_family_work_over_http(houses: Any, algorithm: str) -> None:
    house = await houses(jwt_algorithm=algorithm)
    pair = await house.tokens()
    assert header_of(pair["access_token"])["alg"] == algorithm
    assert (await house.get("/whoami", pair["access_token"])).json()["user"] == "alice"
    assert (await house.refresh(pair["refresh_token"])).status_code == 200


async def test_public_keys_alone_verify_and_issue_nothing(houses: Any, clock: Any) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    public = (
        private.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )
    issuing = await houses(jwt_key=pem)
    pair = await issuing.tokens()
    verifying = await houses(jwt_key=public, store=issuing.store, users=False)
    answer = await verifying.client.get("/whoami", headers=bearer(pair["access_token"]))
    assert answer.json()["user"] == "alice"
    answer = await verifying.client.post("/auth/token", data=GRANT)
    assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_grant_type")
    form = {"grant_type": "refresh_token", "refresh_token": pair["refresh_token"]}
    answer = await verifying.client.post("/auth/token", data=form)
    assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_grant_type")
    answer = await verifying.client.post(
        "/auth/login", json={"username": "alice", "password": PASSWORDS["alice"], "mode": "jwt"}
    )
    assert answer.status_code == 400
    assert (await issuing.refresh(pair["refresh_token"])).status_code == 200
