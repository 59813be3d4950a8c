"""Other origins over HTTP and WebSocket: who may send unsafe requests with a cookie, and who may read our answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from endpoint_house import PASSWORDS, House, Reply, ask, bearer, cookie_header

TRUSTED = "https://www.example.com"
EVIL = "https://evil.example"
LOGIN = json.dumps({"username": "alice", "password": PASSWORDS["alice"]}).encode()
JSON = ("content-type", "application/json")

# Sec-Fetch-Site (None: absent), Origin, let in: requirements.md section 4, row by row.
TABLE: list[tuple[Any, Any, bool]] = [
    ("same-origin", None, True),
    ("same-origin", "null", True),
    ("same-origin", EVIL, True),
    ("none", None, True),
    ("none", "null", True),
    ("same-site", None, False),
    ("same-site", "http://testserver:81", False),
    ("same-site", TRUSTED, True),
    ("cross-site", None, False),
    ("cross-site", EVIL, False),
    ("cross-site", "http://testserver", False),
    ("cross-site", TRUSTED, True),
    ("cross-site", TRUSTED + "/", False),
    ("cross-site", TRUSTED.upper(), False),
    ("cross-site", TRUSTED + ".evil.example", False),
    ("cross-site", "null", False),
    ("", None, False),
    ("SAME-ORIGIN", None, False),
    ("same-origin, same-origin", None, False),
    ("unknown", None, False),
    (("same-origin", "same-origin"), None, False),
    (("same-origin", "cross-site"), None, False),
    (None, None, True),
    (None, "http://testserver", True),
    (None, "https://testserver", True),
    (None, "http://TESTSERVER", False),
    (None, "http://testserver:80", False),
    (None, "http://testserver.evil.example", False),
    (None, "http://eviltestserver", False),
    (None, TRUSTED, True),
    (None, EVIL, False),
    (None, "null", False),
    (None, "", False),
    (None, "http://", False),
    (None, "http://testserver/", False),
    (None, "testserver", False),
    (None, ("http://testserver", "http://testserver"), False),
    (None, ("http://testserver", EVIL), False),
]


def fetched(site: Any, origin: Any) -> list[tuple[str, str]]:
    def several(name: str, value: Any) -> list[tuple[str, str]]:
        found = value if isinstance(value, tuple) else () if value is None else (value,)
        return [(name, one) for one in found]

    return several("sec-fetch-site", site) + several("origin", origin)


@pytest.fixture
async def trusting(houses: Any) -> House:
    # By https, since on plain http an Origin that is not loopback says that the browser is elsewhere.
    house = await houses(trusted_origins=TRUSTED, base_url="https://testserver")
    await house.login()
    return house


@pytest.mark.parametrize(("site", "origin", "allowed"), TABLE)
async def test_cross_origin_table(trusting: House, site: Any, origin: Any, allowed: bool) -> None:
    """For the app's paths and ours, for a session's cookie and a visitor's, and for `/login` without any."""
    headers = fetched(site, origin)
    mine = [("cookie", cookie_header(trusting.client))]
    visitor = trusting.stranger()
    await visitor.put("/data/a", json=1)
    theirs = [("cookie", cookie_header(visitor))]
    asked = [
        await trusting.raw("POST", "/private", headers=[*mine, *headers]),
        await trusting.raw("POST", "/whoami", headers=[*theirs, *headers]),
        await trusting.raw("POST", "/auth/login", headers=[JSON, *headers], body=LOGIN),
        await trusting.raw("DELETE", "/auth/sessions", headers=[*mine, *headers]),
        await trusting.raw("POST", "/auth/logout", headers=[*mine, *headers]),
    ]
    for answer, good in zip(asked, (200, 200, 200, 204, 204), strict=True):
        assert answer.status == (good if allowed else 403), answer.body
        if not allowed:
            assert answer.json()["error"] == "cross_origin"
            assert not answer.all("set-cookie")
            assert answer.all("cache-control") == ["no-store"]
    assert bool((await trusting.client.get("/whoami")).json()["user"]) is not allowed


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize(("site", "origin", "allowed"), [row for row in TABLE if not row[2]][:8])
async def test_safe_methods_are_let_in_from_anywhere(
    trusting: House, method: str, site: Any, origin: Any, allowed: bool
) -> None:
    headers = [("cookie", cookie_header(trusting.client)), *fetched(site, origin)]
    assert (await trusting.raw(method, "/whoami", headers=headers)).status != 403


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "get", "PROPFIND", "G ET", ""])
async def test_every_other_method_is_unsafe(trusting: House, method: str) -> None:
    headers = [("cookie", cookie_header(trusting.client)), ("sec-fetch-site", "cross-site")]
    assert (await trusting.raw(method, "/whoami", headers=headers)).status == 403


async def test_a_bearer_token_or_no_credential_at_all_is_not_asked_where_it_comes_from(trusting: House) -> None:
    token = (await trusting.tokens())["access_token"]
    headers = fetched("cross-site", EVIL)
    both = [("cookie", cookie_header(trusting.client)), ("authorization", f"Bearer {token}")]
    for credential in ([("authorization", f"Bearer {token}")], both):
        answer = await trusting.raw("POST", "/private", headers=[*credential, *headers])
        assert (answer.status, answer.json()) == (200, {"user": "alice"})
    assert (await trusting.raw("POST", "/whoami", headers=headers)).json()["user"] is None
    assert (await trusting.raw("POST", "/auth/logout", headers=headers)).status == 204


async def test_a_garbage_bearer_does_not_take_the_protection_off_a_cookie(trusting: House) -> None:
    mine = ("cookie", cookie_header(trusting.client))
    for authorization in ("Bearer garbage", "Bearer", "Basic Og==", "bearer", "Negotiate x"):
        headers = [mine, ("authorization", authorization), *fetched("cross-site", EVIL)]
        answer = await trusting.raw("POST", "/private", headers=headers)
        assert answer.status in (400, 401, 403), authorization


async def test_without_a_host_an_origin_is_refused(trusting: House) -> None:
    headers = [("cookie", cookie_header(trusting.client)), ("origin", "http://testserver")]
    assert (await trusting.raw("POST", "/private", headers=headers, host=None)).status == 403
    twice = [("host", "testserver"), *headers]
    assert (await trusting.raw("POST", "/private", headers=twice)).status == 403


async def test_cross_origin_refusal_names_the_header_and_the_setting(trusting: House) -> None:
    mine = ("cookie", cookie_header(trusting.client))
    for headers, told in ((fetched("cross-site", None), "Sec-Fetch-Site"), (fetched(None, EVIL), "Origin")):
        answer = await trusting.raw("POST", "/private", headers=[mine, *headers])
        assert answer.json()["error_description"].startswith(told)
        assert "ASGI_AUTH_TRUSTED_ORIGINS" in answer.json()["error_description"]


async def test_forwarded_headers_from_a_stranger_change_nothing(trusting: House) -> None:
    headers = [
        ("cookie", cookie_header(trusting.client)),
        ("origin", EVIL),
        ("x-forwarded-host", "evil.example"),
        ("forwarded", "host=evil.example;proto=https"),
    ]
    assert (await trusting.raw("POST", "/private", headers=headers)).status == 403


async def test_the_host_that_a_trusted_proxy_names_counts(houses: Any) -> None:
    house = await houses(trusted_proxies="127.0.0.1")
    client = house.stranger()
    forwarded = {"x-forwarded-host": "app.example.com", "x-forwarded-proto": "https", "x-forwarded-for": "192.0.2.1"}
    for origin, status in (("https://app.example.com", 200), ("http://testserver", 403), (EVIL, 403)):
        headers = {**forwarded, "origin": origin, "content-type": "application/json"}
        answer = await client.post("/auth/login", content=LOGIN, headers=headers)
        assert answer.status_code == status
        if status == 200:
            assert answer.headers["set-cookie"].startswith("__Host-session=")
            assert answer.json()["session"]["client"]["address"] == "192.0.2.0/24"


async def test_a_cross_origin_write_makes_and_changes_no_visitors_data(trusting: House) -> None:
    from asgi_auth import NoSessionData

    with pytest.raises(NoSessionData, match="another origin"):
        await trusting.raw("PUT", "/data/a", headers=fetched("cross-site", EVIL), body=b"1")


async def test_a_refused_login_looks_at_no_password(houses: Any) -> None:
    house = await houses(login_rate="1/minute")
    wrong = json.dumps({"username": "alice", "password": "wrong"}).encode()
    for _ in range(4):
        answer = await house.raw("POST", "/auth/login", headers=[JSON, *fetched("cross-site", EVIL)], body=wrong)
        assert answer.status == 403
    assert (await house.raw("POST", "/auth/login", headers=[JSON], body=LOGIN)).status == 200


async def test_a_page_of_another_site_uses_up_nobodys_attempts_at_the_token_endpoint(houses: Any) -> None:
    """A form needs no preflight, so whoever visits that page would send it from an address of their own."""
    house = await houses(login_rate="1/minute", trusted_origins=TRUSTED)
    form = [("content-type", "application/x-www-form-urlencoded")]
    guess = b"grant_type=password&username=alice&password=wrong"
    for _ in range(4):
        answer = await house.raw("POST", "/auth/token", headers=[*form, *fetched("cross-site", EVIL)], body=guess)
        assert (answer.status, answer.json()["error"]) == (403, "cross_origin")
    assert (await house.raw("POST", "/auth/login", headers=[JSON], body=LOGIN)).status == 200
    answer = await house.raw("POST", "/auth/token", headers=[*form, *fetched("cross-site", TRUSTED)], body=guess)
    assert (answer.status, answer.json()["error"]) == (400, "invalid_grant")


# ---------------------------------------------------------------------- WebSocket


async def handshake(house: House, headers: Any, *, denial: bool = True) -> Any:
    """What a server would make of it: the status of a refusal, the close code, or what the socket said."""
    sent: list[Any] = []
    asked = iter([{"type": "websocket.connect"}])

    async def receive() -> Any:
        return next(asked, {"type": "websocket.disconnect", "code": 1000})

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "wss",
        "path": "/ws",
        "raw_path": b"/ws",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"testserver"), *((name.encode(), value.encode()) for name, value in headers)],
        "client": ("127.0.0.1", 50_000),
        "server": ("testserver", 80),
        "subprotocols": [],
        "extensions": {"websocket.http.response": {}} if denial else {},
        "state": {},
    }
    await house.app(scope, receive, send)
    first = sent[0]
    if first["type"] == "websocket.accept":
        return json.loads(sent[1].get("text") or sent[1]["bytes"])["user"]
    return first["status"] if first["type"] == "websocket.http.response.start" else first["code"]


@pytest.mark.parametrize(
    ("site", "origin", "allowed"),
    [
        (None, None, True),
        (None, "http://testserver", True),
        (None, TRUSTED, True),
        (None, EVIL, False),
        (None, "null", False),
        (None, "", False),
        (None, "http://testserver:81", False),
        (None, ("http://testserver", EVIL), False),
        ("same-origin", "http://testserver", True),
        ("cross-site", EVIL, False),
        ("cross-site", None, False),
        ("same-site", "http://testserver:81", False),
        ("same-site", TRUSTED, True),
    ],
)
async def test_websocket_origin_table(trusting: House, site: Any, origin: Any, allowed: bool) -> None:
    """A handshake is a GET and yet never safe; without a cookie nobody's, it is the application's to refuse."""
    headers = [("cookie", cookie_header(trusting.client)), *fetched(site, origin)]
    assert await handshake(trusting, headers) == ("alice" if allowed else 403)
    assert await handshake(trusting, headers, denial=False) == ("alice" if allowed else 1008)
    assert await handshake(trusting, fetched(site, origin)) is None
    token = (await trusting.tokens())["access_token"]
    assert await handshake(trusting, [("authorization", f"Bearer {token}"), *fetched(site, origin)]) == "alice"


async def test_a_bad_token_at_a_handshake_is_401(trusting: House) -> None:
    assert await handshake(trusting, [("authorization", "Bearer garbage")]) == 401
    assert await handshake(trusting, [("authorization", "Bearer garbage")], denial=False) == 1008
    assert await handshake(trusting, [("authorization", "Bearer")]) == 400


# ---------------------------------------------------------------------- CORS of our own answers


CREDENTIALED = {
    "access-control-allow-origin": [TRUSTED],
    "access-control-allow-credentials": ["true"],
    "access-control-expose-headers": ["WWW-Authenticate, Retry-After, DPoP-Nonce"],
    "vary": ["Origin"],
}
NOTHING: dict[str, list[str]] = {
    "access-control-allow-origin": [],
    "access-control-allow-credentials": [],
    "access-control-expose-headers": [],
}


def shown(answer: Reply, names: Any) -> dict[str, list[str]]:
    return {name: answer.all(name) for name in names}


@pytest.mark.parametrize("origin", [TRUSTED, EVIL, "null", TRUSTED + "/", TRUSTED + ":443", "*", "", None, "twice"])
async def test_cors_of_our_own_answers_table(houses: Any, origin: str | None) -> None:
    """Endpoints and refusals alike, good answers and bad ones, by exact text."""
    house = await houses(trusted_origins=TRUSTED, protect="/private=other")
    token = (await house.tokens())["access_token"]
    headers = fetched(None, (TRUSTED, TRUSTED) if origin == "twice" else origin)
    good = [("authorization", f"Bearer {token}")]
    asked = [
        await house.raw("GET", "/auth/me", headers=[*good, *headers]),
        await house.raw("GET", "/auth/me", headers=headers),
        await house.raw("POST", "/auth/token", headers=headers),
        await house.raw("DELETE", "/auth/login", headers=headers),
        await house.raw("POST", "/auth/logout", headers=headers),
        await house.raw("GET", "/private", headers=headers),
        await house.raw("GET", "/private", headers=[*good, *headers]),
        await house.raw("GET", "/whoami", headers=[("authorization", "Bearer garbage"), *headers]),
    ]
    assert [answer.status for answer in asked] == [200, 401, 400, 405, 204, 401, 403, 401]
    for answer in asked:
        if origin == TRUSTED:
            assert shown(answer, CREDENTIALED) == CREDENTIALED
        else:
            assert shown(answer, NOTHING) == NOTHING
            assert "Origin" in answer.all("vary")


async def test_without_trusted_origins_no_answer_speaks_of_origins(house: House) -> None:
    for path in ("/auth/me", "/auth/sessions"):
        answer = await house.raw("GET", path, headers=[("origin", TRUSTED)])
        assert shown(answer, NOTHING) == NOTHING
        assert answer.all("vary") == []


async def test_the_apps_own_answers_get_no_cors_headers(trusting: House) -> None:
    answer = await trusting.raw("GET", "/whoami", headers=[("origin", TRUSTED)])
    assert shown(answer, NOTHING) == NOTHING


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/auth/login", "POST"),
        ("/auth/me", "GET, HEAD"),
        ("/auth/sessions", "GET, DELETE, HEAD"),
        ("/auth/sessions/abc", "DELETE"),
        ("/auth/token", "POST"),
    ],
)
async def test_preflights_under_the_prefix_are_answered(trusting: House, path: str, methods: str) -> None:
    wish = [("access-control-request-method", "POST"), ("access-control-request-headers", "authorization")]
    answer = await trusting.raw("OPTIONS", path, headers=[("origin", TRUSTED), *wish])
    assert (answer.status, answer.body) == (204, b"")
    assert answer.all("access-control-allow-origin") == [TRUSTED]
    assert answer.all("access-control-allow-credentials") == ["true"]
    assert answer.all("access-control-allow-methods") == [methods]
    assert "Authorization" in answer.all("access-control-allow-headers")[0]
    refused = await trusting.raw("OPTIONS", path, headers=[("origin", EVIL), *wish])
    assert refused.status == 204
    assert not [name for name, _ in refused.headers if name.startswith(b"access-control")]
    assert answer.all("vary") == refused.all("vary") == ["Origin"]


async def test_other_preflights_reach_the_app_whatever_protects_it(houses: Any) -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["method"], scope["user"].is_authenticated))
        await send({"type": "http.response.start", "status": 299, "headers": []})
        await send({"type": "http.response.body"})

    house = await houses(app=app, protect="/*", trusted_origins=TRUSTED)
    preflight = [("origin", EVIL), ("access-control-request-method", "DELETE")]
    assert (await house.raw("OPTIONS", "/anything", headers=preflight)).status == 299
    assert (await house.raw("OPTIONS", "/anything")).status == 401
    assert (await house.raw("GET", "/anything", headers=preflight)).status == 401
    assert seen == [("OPTIONS", False)]


async def test_a_refusal_inside_cors_middleware_is_readable(houses: Any) -> None:
    """The application's CORS middleware outside ours: its headers stand on our refusals, and only once."""
    from starlette.middleware.cors import CORSMiddleware

    house = await houses()
    outside = CORSMiddleware(house.app, allow_origins=[TRUSTED], allow_credentials=True)
    answer = await ask(outside, "GET", "/private", headers=[("host", "testserver"), ("origin", TRUSTED)])
    assert answer.status == 401
    assert answer.all("access-control-allow-origin") == [TRUSTED]
    assert answer.all("www-authenticate")[0] == 'Bearer realm="asgi-auth"'


async def test_json_of_ours_cannot_be_included_by_another_site(house: House) -> None:
    token = (await house.tokens())["access_token"]
    for path in ("/auth/me", "/auth/sessions"):
        for headers in ({}, bearer(token)):
            answer = await house.client.get(path, headers=headers)
            assert answer.headers["cross-origin-resource-policy"] == "same-origin"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.text.startswith("{")
    assert "cross-origin-resource-policy" not in (await house.client.get("/.well-known/jwks.json")).headers
