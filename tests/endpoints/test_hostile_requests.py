"""What a hostile client sends: bodies, methods, headers. Whatever it is, the answer is a 4xx in JSON, never a 500."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

import pytest
from endpoint_house import PASSWORDS, House, Reply, bearer, cookie_header
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asgi_auth.http.credentials import MOST

JSON, FORM = "application/json", "application/x-www-form-urlencoded"
TAKE_BODIES = ["/auth/login", "/auth/token", "/auth/revoke", "/auth/introspect", "/auth/password"]
TAKE_FORMS = TAKE_BODIES[:4]

METHODS = {
    "/auth/login": "POST",
    "/auth/logout": "POST",
    "/auth/password": "POST",
    "/auth/token": "POST",
    "/auth/revoke": "POST",
    "/auth/introspect": "POST",
    "/auth/me": "GET, HEAD",
    "/auth/sessions": "GET, DELETE, HEAD",
    "/auth/sessions/00abc": "DELETE",
    "/.well-known/jwks.json": "GET, HEAD",
    "/.well-known/oauth-authorization-server": "GET, HEAD",
}

BODIES: list[tuple[str, bytes, int]] = [
    (JSON, b"", 400),
    (JSON, b"{", 400),
    (JSON, b"nonsense", 400),
    (JSON, b"null", 400),
    (JSON, b"[]", 400),
    (JSON, b'"text"', 400),
    (JSON, b"1", 400),
    (JSON, b"{}", 400),
    (JSON, b"{} {}", 400),
    (JSON, b'{"a":1,}', 400),
    (JSON, b"{'a':1}", 400),
    (JSON, b'{"username":"alice","username":"bob"}', 400),
    (JSON, b'{"a":{"b":1,"b":2}}', 400),
    (JSON, b'{"a":NaN}', 400),
    (JSON, b'{"a":-Infinity}', 400),
    (JSON, b'{"a":1e999}', 400),
    (JSON, b'{"a":' + b"9" * 5000 + b"}", 400),
    (JSON, b"[" * 8000, 400),
    (JSON, b'{"a":' * 2500 + b"1" + b"}" * 2500, 400),
    (JSON, b'{"a":"' + b'\\"' * 8000, 400),
    (JSON, b"\xef\xbb\xbf{}", 400),
    (JSON, '{"a":"b"}'.encode("utf-16"), 400),
    (JSON, b'{"username":"\xff"}', 400),
    (JSON, b'{"username":"\\ud800","password":"x"}', 400),
    (JSON, b'{"username":"a\\u0000b","password":"x","token":"a\\u0000b","grant_type":"\\u0000"}', 400),
    (JSON, b'{"username":"a\x00b"}', 400),
    (JSON, b'{"username":1,"password":true,"token":[],"grant_type":{},"current_password":0}', 400),
    (JSON, b'{"username":null,"password":null,"token":null,"grant_type":null,"current_password":null}', 400),
    (JSON, b'{"username":["alice"],"password":"x","token":["x"],"grant_type":["password"]}', 400),
    (JSON, b'{"a":"' + b"x" * 3_000_000 + b'"}', 413),
    (FORM, b"x" * 3_000_000, 413),
    (FORM, b"a=1&" * 4000, 400),
    (FORM, b"%", 400),
    (FORM, b"username=%ff&password=%fe&token=%fd&grant_type=%fc", 400),
    (FORM, b"username=a%00&password=b%00&token=c%00&grant_type=d%00", 400),
    (FORM, b"username=alice&username=bob", 400),
    (FORM, b'{"username":"alice"}', 400),
    ("", b"{}", 400),
    ("text/plain", b'{"username":"alice","password":"x","token":"x"}', 400),
    ("multipart/form-data; boundary=x", b"--x--", 400),
    ("application/json; charset=utf-16", b"{}", 400),
    ("application/jsonx", b"{}", 400),
    ("application/xml", b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>", 400),
    ("\xff\xfe", b"{}", 400),
]


async def caller(house: House) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {(await house.tokens('ian'))['access_token']}")]


def is_a_refusal(answer: Reply, status: int, error: str | None = None) -> None:
    assert answer.status == status, (answer.status, answer.body)
    assert answer.all("content-type") == ["application/json"]
    assert answer.all("x-content-type-options") == ["nosniff"]
    assert answer.all("cache-control") == ["no-store"]
    told = answer.json()
    assert set(told) <= {"error", "error_description", "reason"}
    assert error is None or told["error"] == error
    assert told["error_description"]


@pytest.mark.parametrize("path", TAKE_BODIES)
async def test_bodies_table(house: House, path: str) -> None:
    """× endpoints × JSON, form. Broken, deep, huge, half in another encoding: a 4xx that says so."""
    who = await caller(house)
    for content_type, body, status in BODIES:
        headers = [*who, ("content-type", content_type.encode("latin-1"))]
        answer = await house.raw("POST", path, headers=headers, body=body)
        if content_type == FORM and path not in TAKE_FORMS:
            status = 413 if status == 413 else 400
        is_a_refusal(answer, status, "content_too_large" if status == 413 else "invalid_request")


@pytest.mark.parametrize("path", TAKE_BODIES)
async def test_a_body_without_end_is_not_read_to_its_end(house: House, path: str) -> None:
    who = await caller(house)
    chunks = [b"x" * 1000] * 10_000
    answer = await house.raw("POST", path, headers=[*who, ("content-type", JSON)], chunks=chunks)
    is_a_refusal(answer, 413, "content_too_large")
    announced = [*who, ("content-type", JSON), ("content-length", "9" * 400)]
    is_a_refusal(await house.raw("POST", path, headers=announced, chunks=chunks), 413)


@pytest.mark.parametrize("path", ["/whoami", "/auth/me", "/auth/login", "/auth/token", "/.well-known/jwks.json"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("authorization", b"," * MOST),
        ("authorization", b'Bearer ""' + b'""' * MOST),
        ("cookie", b"session=1" + b";" * MOST),
        ("dpop", b"." * MOST),
        ("forwarded", b"for=1;" * MOST),
    ],
)
async def test_headers_without_end_are_not_read(house: House, path: str, name: str, value: bytes) -> None:
    """uvicorn's own parser has no limit, and what is in them takes a hundred times as long to read as to send."""
    await house.raw("GET", "/whoami")
    method = "POST" if path in TAKE_BODIES else "GET"
    answer = await house.raw(method, path, headers=[(name, value)])
    if path == "/whoami" and name not in ("authorization", "cookie"):
        assert answer.status == 200  # nobody's, so that nothing of it is looked at
    else:
        is_a_refusal(answer, 431, "headers_too_large")
    assert (await house.raw("GET", "/whoami", headers=[("x-of-the-application", value)])).status == 200


@pytest.mark.parametrize("length", ["-1", "abc", "", "1e9", "0x10", "5, 5", "٣"])
async def test_a_content_length_that_lies_changes_nothing(house: House, length: str) -> None:
    body = json.dumps({"username": "alice", "password": PASSWORDS["alice"]}).encode()
    headers = [("content-type", JSON), ("content-length", length)]
    assert (await house.raw("POST", "/auth/login", headers=headers, body=body)).status == 200


async def test_a_client_that_goes_away_makes_no_session(house: House) -> None:
    body = json.dumps({"username": "alice", "password": PASSWORDS["alice"]}).encode()
    for chunks in ([], [body[:10]], [body]):
        answer = await house.raw("POST", "/auth/login", headers=[("content-type", JSON)], chunks=chunks, leaves=True)
        assert answer.status == 400
    assert await house.auth.sessions("alice") == []


async def test_a_body_in_many_pieces_is_one_body(house: House) -> None:
    body = json.dumps({"username": "alice", "password": PASSWORDS["alice"]}).encode()
    chunks = [bytes([byte]) for byte in body]
    assert (await house.raw("POST", "/auth/login", headers=[("content-type", JSON)], chunks=chunks)).status == 200


async def test_two_content_types_are_refused(house: House) -> None:
    headers = [("content-type", JSON), ("content-type", FORM)]
    is_a_refusal(await house.raw("POST", "/auth/login", headers=headers, body=b"{}"), 400, "invalid_request")


# ---------------------------------------------------------------------- methods


@pytest.mark.parametrize(("path", "allowed"), METHODS.items())
async def test_endpoints_methods_table(houses: Any, path: str, allowed: str) -> None:
    house = await houses(jwt_issuer="https://id.example.com")
    await house.login()
    mine = [("cookie", cookie_header(house.client))]
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "post", "X", ""):
        answer = await house.raw(method, path, headers=mine if method not in allowed else ())
        if method in allowed.split(", "):
            assert answer.status != 405
        else:
            is_a_refusal(answer, 405, "method_not_allowed")
            assert answer.all("allow") == [allowed]
    assert len(await house.auth.sessions("alice")) == 1


async def test_safe_methods_of_ours_write_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    login = await house.login()
    house.clock.advance(7200)
    written: list[str] = []
    for verb in ("create", "write_data", "touch", "rotate", "end", "end_user", "exchange", "save_user", "put_keys"):
        monkeypatch.setattr(house.store, verb, lambda *_, verb=verb, **__: written.append(verb))
    for path in METHODS:
        for method in ("GET", "HEAD", "OPTIONS"):
            await house.client.request(method, path, headers={"sec-fetch-site": "cross-site"})
    assert written == []
    monkeypatch.undo()
    [session] = await house.auth.sessions("alice")
    assert session.last_seen_at == login["session"]["last_seen_at"]


# ---------------------------------------------------------------------- headers


LONG = b"a" * 200_000
HEADERS: list[list[tuple[bytes, bytes]]] = [
    [(b"authorization", b"Bearer " + LONG)],
    [(b"authorization", b"Bearer " + b"." * 100_000)],
    [(b"authorization", b"Bearer \x00")],
    [(b"authorization", b"Bearer \xff\xfe")],
    [(b"authorization", b"\xff")],
    [(b"authorization", b'Digest "' + b'\\"' * 40_000)],
    [(b"authorization", b"Digest " + b'"' * 60_001)],
    [(b"authorization", b"Digest " + b"," * 60_000)],
    [(b"authorization", b"Basic " + LONG)],
    [(b"authorization", b"Bearer a")] * 500,
    [(b"cookie", b"session=" + LONG)],
    [(b"cookie", b"session-0000=a; " * 5000)],
    [(b"cookie", b"session" + b"=" * 50_000)],
    [(b"cookie", b";" * 100_000 + b"session")],
    [(b"cookie", b"session-0000=\x00\xff; session\r\n=a")],
    [(b"cookie", b"session=a")] * 2000,
    [(b"origin", LONG), (b"cookie", b"session=a")],
    [(b"origin", b"\xff\x00")],
    [(b"sec-fetch-site", LONG)],
    [(b"forwarded", b" " * 60_000 + b"x")],
    [(b"forwarded", b'for="' + b'\\"' * 30_000)],
    [(b"forwarded", b";," * 30_000)],
    [(b"x-forwarded-for", b"127.0.0.1," * 10_000)],
    [(b"x-forwarded-host", b"a." * 30_000)],
    [(b"user-agent", LONG + b"\xff\x00\r\n")],
    [(b"x-request-id", b"\x1b[2J" * 1000)],
    [(b"host", b"a")] * 50,
    [(b"content-type", LONG)],
    [(b"content-type", b"application/json;charset" + b" " * 60_000)],
]


@pytest.mark.parametrize("headers", HEADERS, ids=range(len(HEADERS)))
async def test_huge_and_broken_headers_make_no_500_and_take_no_time(houses: Any, headers: Any) -> None:
    """64 KiB is what servers let through; a quadratic reader would take half a minute for it."""
    house = await houses(trusted_proxies="127.0.0.1", trusted_origins="https://www.example.com")
    for method, path in (("GET", "/whoami"), ("GET", "/auth/me"), ("POST", "/auth/logout"), ("POST", "/auth/token")):
        began = time.perf_counter()
        answer = await house.raw(method, path, headers=headers)
        assert time.perf_counter() - began < 5
        assert answer.status < 500
        if answer.status >= 400:
            is_a_refusal(answer, answer.status)


@pytest.mark.parametrize(
    "query", [b"%ff", b"a" * 100_000, b"&" * 50_000, b"clear=%00", b"\xff=\xfe", b"a=1;clear=true"]
)
async def test_odd_queries_make_no_500(house: House, query: bytes) -> None:
    for method, path in (("POST", "/auth/logout"), ("DELETE", "/auth/sessions"), ("GET", "/auth/me")):
        assert (await house.raw(method, path, query=query)).status < 500


@pytest.mark.parametrize(
    "path",
    [
        "/auth/login/",
        "/auth//login",
        "/auth/LOGIN",
        "/AUTH/login",
        "/auth/login;a=b",
        "/auth/./login",
        "/auth/me/../login",
        "/auth",
        "/auth/",
        "//auth/login",
        "/authx/login",
        "/.well-known/jwks.json/",
        "/x/.well-known/jwks.json",
    ],
)
async def test_other_spellings_of_our_paths_reach_the_app(house: House, path: str) -> None:
    assert (await house.raw("POST", path)).body == b"Not Found"


async def test_a_scope_without_what_servers_need_not_send_works(house: House) -> None:
    answer = await house.raw("GET", "/whoami", host=None, client=None, server=None)
    assert answer.json()["user"] is None
    answer = await house.raw("GET", "/auth/me", host=None, client=None, server=None)
    assert answer.status == 401


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    path=st.sampled_from([*METHODS, "/whoami", "/auth/sessions/\ud800", "/private"]),
    method=st.sampled_from(["GET", "POST", "DELETE", "OPTIONS", "HEAD"]),
    headers=st.lists(
        st.tuples(
            st.sampled_from(
                [b"authorization", b"cookie", b"origin", b"sec-fetch-site", b"content-type", b"forwarded", b"host"]
            ),
            st.one_of(
                st.binary(max_size=60),
                st.sampled_from([b"Bearer a.b.c", b"Basic Og==", JSON.encode(), FORM.encode(), b"same-origin"]),
            ),
        ),
        max_size=4,
    ),
    body=st.one_of(st.binary(max_size=80), st.sampled_from([b'{"token":"x"}', b"token=x", b'{"username":{}}'])),
)
async def test_whatever_comes_is_answered(house: House, path: str, method: str, headers: Any, body: bytes) -> None:
    answer = await house.raw(method, path, headers=headers, body=body)
    assert 200 <= answer.status < 500


# ---------------------------------------------------------------------- who gets in


TOKENS = ["", "a", "a.b", "a.b.c", "a.b.c.d.e", "..", "...", "null", "eyJhbGciOiJub25lIn0.e30.", "=", "a" * 9000]


@pytest.mark.parametrize(
    ("lines", "status", "error"),
    [
        ([], 401, "login_required"),
        (["Basic Og=="], 401, "login_required"),
        (["Digest a=b"], 401, "login_required"),
        ([""], 401, "login_required"),
        (["Token {}"], 401, "login_required"),
        (["{}"], 401, "login_required"),
        (["Bearer {}"], 200, None),
        (["bearer {}"], 200, None),
        (["BEARER    {}"], 200, None),
        (["Bearer {} "], 200, None),
        (["Bearer"], 400, "invalid_request"),
        (["Bearer "], 400, "invalid_request"),
        (["Bearer{}"], 401, "login_required"),
        (["Bearer\t{}"], 400, "invalid_request"),
        (["Bearer {} x"], 400, "invalid_request"),
        (["Bearer {},"], 400, "invalid_request"),
        (['Bearer token="{}"'], 400, "invalid_request"),
        (["Bearer {}", "Bearer {}"], 400, "invalid_request"),
        (["Bearer {}", "Basic Og=="], 400, "invalid_request"),
        (["Basic Og==", "Bearer {}"], 400, "invalid_request"),
        (["Basic Og==, Bearer {}"], 400, "invalid_request"),
        (["Bearer x"], 401, "invalid_token"),
        (["Bearer {}x"], 401, "invalid_token"),
        (["Bearer {}="], 401, "invalid_token"),
        (["Basic {}"], 401, "login_required"),
    ],
)
@pytest.mark.parametrize("path", ["/private", "/auth/me", "/auth/sessions"])
async def test_authorization_table(house: House, path: str, lines: list[str], status: int, error: str | None) -> None:
    """RFC 6750 §2.1: `Bearer` in any case, spaces, a b64token; anything else of that scheme is malformed."""
    token = (await house.tokens())["access_token"]
    headers = [("authorization", line.replace("{}", token)) for line in lines]
    answer = await house.raw("GET", path, headers=headers)
    assert answer.status == status
    if error is None:
        return
    assert answer.json()["error"] == error
    challenge = answer.all("www-authenticate")[0]
    if error == "login_required":
        assert challenge == 'Bearer realm="asgi-auth"'
    else:
        assert challenge.startswith(f'Bearer realm="asgi-auth", error="{error}", error_description="')


async def _expired(house: House, token: str) -> str:
    house.clock.advance(700)
    return token


async def _out_of_date(house: House, token: str) -> str:
    await house.auth.update_user("alice", scopes="other")
    return token


async def _revoked(house: House, token: str) -> str:
    await house.auth.revoke_user("alice")
    return token


async def _deleted(house: House, token: str) -> str:
    await house.auth.delete_user("alice")
    return token


async def _garbage(house: House, token: str) -> str:
    return token[:-6] + "AAAAAA"


async def _next_year(house: House, token: str) -> str:
    house.clock.advance(-3600)
    return token


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_expired, "The access token expired"),
        (_out_of_date, "The access token is out of date"),
        (_revoked, "The access token was revoked"),
        (_deleted, "The access token was revoked"),
        (_garbage, "The access token is invalid"),
        (_next_year, "The access token is invalid"),
    ],
)
@pytest.mark.parametrize("path", ["/whoami", "/auth/me", "/auth/logout"])
async def test_bearer_errors_table(house: House, path: str, spoil: Any, told: str) -> None:
    """One of five sentences, in the body and in the challenge, and never the cookie's identity instead."""
    await house.login("bob")
    token = await spoil(house, (await house.tokens())["access_token"])
    headers = [("cookie", cookie_header(house.client)), ("authorization", f"Bearer {token}")]
    answer = await house.raw("POST" if path.endswith("logout") else "GET", path, headers=headers)
    assert answer.status == 401
    assert answer.json() == {"error": "invalid_token", "error_description": told}
    assert answer.all("www-authenticate") == [
        f'Bearer realm="asgi-auth", error="invalid_token", error_description="{told}"',
        'DPoP realm="asgi-auth", algs="ES256 Ed25519 EdDSA PS256 RS256"',
    ]
    assert answer.all("set-cookie") == []
    assert (await house.client.get("/whoami")).json()["user"] == "bob"


async def test_a_token_for_another_audience_is_401(houses: Any) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519

    pem = (
        ed25519.Ed25519PrivateKey.generate()
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        .decode()
    )
    one = await houses(jwt_key=pem, jwt_algorithm="Ed25519", jwt_audience="one")
    two = await houses(jwt_key=pem, jwt_algorithm="Ed25519", jwt_audience="two", store=one.store, users=False)
    answer = await two.get("/whoami", (await one.tokens())["access_token"])
    assert answer.json()["error_description"] == "The access token is not for this audience"


async def test_both_credentials_the_bearer_alone_decides(house: House) -> None:
    await house.login("bob")
    token = (await house.tokens("alice"))["access_token"]
    answer = await house.client.get("/whoami", headers=bearer(token))
    assert (answer.json()["user"], answer.json()["backend"]) == ("alice", "jwt")
    assert (await house.client.get("/data", headers=bearer(token))).json() == {}
    assert (await house.client.get("/admin", headers=bearer(token))).status_code == 403


@pytest.mark.parametrize("joined", [True, False])
async def test_a_doubled_cookie_is_no_session_is_not_cleared_and_is_logged(
    house: House, joined: bool, caplog: pytest.LogCaptureFixture
) -> None:
    await house.login()
    mine = cookie_header(house.client)
    other = house.stranger()
    await house.login("bob", client=other)
    theirs = cookie_header(other)
    lines = [("cookie", f"{mine}; {theirs}")] if joined else [("cookie", mine), ("cookie", theirs)]
    with caplog.at_level(logging.INFO, logger="asgi_auth.security"):
        answer = await house.raw("GET", "/whoami", headers=lines)
    assert answer.json()["user"] is None
    assert answer.all("set-cookie") == []
    assert "doubled" in caplog.text
    assert (await house.raw("GET", "/private", headers=[("cookie", f"{mine}; {mine}")])).status == 401


async def test_only_verified_credentials_reach_the_scope(house: House) -> None:
    """What an app sees of a request is what was proved, whatever a header says."""
    headers = [
        ("x-user", "bob"),
        ("remote-user", "bob"),
        ("x-forwarded-user", "bob"),
        ("x-ssl-client-s-dn", "CN=bob"),
        ("authorization", "Basic Ym9iOmJyaWNrcw=="),
        ("cookie", "session=bob; user=bob; sessionid=bob"),
    ]
    answer = await house.raw("GET", "/whoami", headers=headers)
    assert (answer.json()["user"], answer.json()["scopes"]) == (None, [])
    for token in TOKENS:
        answer = await house.raw("GET", "/whoami", headers=[("authorization", f"Bearer {token}")])
        assert answer.status in (400, 401)


async def test_an_id_that_we_did_not_issue_is_never_used(house: House) -> None:
    """Fixation: a cookie that the client made up becomes nobody's session, at no door."""
    await house.login()
    name = cookie_header(house.client).partition("=")[0]
    for made_up in ("attacker", "00" + "a" * 22, f"{'0' * 8}.{'a' * 24}.{'b' * 43}.{'c' * 43}"):
        for suffix in ("", "-anonymous"):
            cookie = [("cookie", f"{name}{suffix}={made_up}"), ("content-type", JSON)]
            body = json.dumps({"username": "bob", "password": PASSWORDS["bob"]}).encode()
            answers = [
                await house.raw("POST", "/auth/login", headers=cookie, body=body),
                await house.raw("PUT", "/data/a", headers=cookie, body=b"1"),
            ]
            for answer in answers:
                assert answer.status in (200, 204)
                assert made_up not in str(answer.all("set-cookie"))


# ---------------------------------------------------------------------- challenges


async def test_every_401_has_a_challenge(houses: Any) -> None:
    """Each door that can answer 401 is made to; `Bearer` but for a client's secret, and never one that browsers ask
    people about."""
    house = await houses(fresh="1m", protect="/whoami")
    await house.login()
    pair = await house.tokens()
    house.clock.advance(100)
    wrong = {"username": "alice", "password": "wrong"}
    change = {"current_password": "wrong", "new_password": "quite another password"}
    stranger = house.stranger()
    answers = [
        await stranger.get("/whoami"),
        await stranger.get("/private"),
        await stranger.get("/auth/me"),
        await stranger.get("/auth/sessions"),
        await stranger.delete("/auth/sessions"),
        await stranger.delete("/auth/sessions/00abc"),
        await stranger.post("/auth/password", json=change),
        await stranger.post("/auth/introspect", data={"token": "x"}),
        await stranger.post("/auth/login", json=wrong),
        await stranger.post("/auth/login", json={**wrong, "mode": "jwt"}),
        await stranger.post("/auth/logout", headers=bearer("garbage")),
        await stranger.get("/whoami", headers=bearer("garbage")),
        await house.client.post("/auth/password", json=change),
        await house.client.delete("/auth/sessions"),
        await stranger.delete("/auth/sessions", headers=bearer(pair["access_token"])),
    ]
    for answer in answers:
        assert answer.status_code == 401
        challenge = answer.headers.get_list("www-authenticate")[0]
        assert challenge.startswith('Bearer realm="asgi-auth"')
    answer = await stranger.post("/auth/token", data={"grant_type": "password", "client_secret": "x"})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Basic realm="asgi-auth"')


async def test_nobody_gets_a_challenge_without_error(houses: Any) -> None:
    house = await houses(protect="/whoami, /admin/*=admin")
    for path in ("/whoami", "/private", "/admin/x", "/auth/me", "/auth/sessions"):
        answer = await house.client.get(path)
        assert (answer.status_code, answer.json()["error"]) == (401, "login_required")
        assert answer.headers.get_list("www-authenticate")[0] == 'Bearer realm="asgi-auth"'
        assert "reason" not in answer.json()


@pytest.mark.parametrize("mode", ["cookie", "bearer"])
async def test_somebody_without_the_scope_gets_403_with_a_challenge_in_both_modes(house: House, mode: str) -> None:
    await house.login()
    headers = bearer((await house.tokens())["access_token"]) if mode == "bearer" else {}
    answer = await house.client.get("/admin", headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (403, "insufficient_scope")
    assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
    assert 'scope="admin"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("url", ["https://app.example.com", "https://app.example.com:8443"])
async def test_the_realm_is_the_host_of_url(houses: Any, url: str) -> None:
    house = await houses(url=url)
    assert (await house.client.get("/auth/me")).headers.get_list("www-authenticate")[
        0
    ] == 'Bearer realm="app.example.com"'
