"""The contract that the three examples share, to the letter: routes, statuses, headers, bodies, in both modes."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx2
import pytest
from example_server import PASSWORDS, Example, browser, log_in, tokens
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from examples.shared import PAGE_HEADERS, page_file

REFUSAL_HEADERS = {
    "content-type": "application/json",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "cross-origin-resource-policy": "same-origin",
}
NOBODY = {"error": "login_required", "error_description": "Log in first"}
NOT_ALLOWED = {"error": "insufficient_scope", "error_description": "The scope does not allow this"}
CHALLENGE = 'Bearer realm="asgi-auth"'
CHALLENGES = f'{CHALLENGE}, DPoP realm="asgi-auth", algs="ES256 Ed25519 EdDSA PS256 RS256"'
SCOPE_CHALLENGE = (
    f'{CHALLENGE}, error="insufficient_scope", error_description="The scope does not allow this", scope="admin"'
)


@pytest.fixture
def client(example: Example) -> Iterator[httpx2.Client]:
    """A browser that has never been here."""
    with browser(example) as client:
        yield client


class Known(NamedTuple):
    cookies: dict[str, str]
    bearer: str

    def carry(self, client: httpx2.Client, mode: str) -> None:
        if mode == "cookie":
            client.cookies.update(self.cookies)
        else:
            client.headers["authorization"] = self.bearer

    def headers(self, mode: str) -> dict[str, str]:
        if mode == "token":
            return {"Authorization": self.bearer}
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}


@pytest.fixture(scope="module")
def known(example: Example) -> dict[str, Known]:
    """Logins of both users in both modes, for tests that leave them as they are: a password takes its time."""
    users = {}
    for user in PASSWORDS:
        with browser(example) as client:
            assert log_in(client, user).status_code == 200
            users[user] = Known(dict(client.cookies), f"Bearer {tokens(client, user)['access_token']}")
    return users


def headers_of(answer: httpx2.Response) -> dict[str, str]:
    """The headers, without those of the server."""
    return {name: value for name, value in answer.headers.items() if name not in ("date", "server", "content-length")}


# ---------------------------------------------------------------------- the page


@pytest.mark.parametrize(
    ("path", "name"), [("/", "index.html"), ("/page/page.js", "page.js"), ("/page/page.css", "page.css")]
)
def test_the_page_is_served_with_its_policy(client: httpx2.Client, path: str, name: str) -> None:
    answer = client.get(path)
    content, media_type = page_file(name)
    assert (answer.status_code, answer.content) == (200, content)
    assert headers_of(answer) == {"content-type": media_type} | {
        header.lower(): value for header, value in PAGE_HEADERS.items()
    }


@pytest.mark.parametrize(
    "path",
    [
        "/page/",
        "/page/x",
        "/page/page.js/",
        "/page/../shared.py",
        "/page/%2e%2e/shared.py",
        "/page/..%2fshared.py",
        "/page/..%5cshared.py",
        "/page/%2fetc%2fpasswd",
        "/page//etc/passwd",
        "/page/page.js%00.html",
    ],
)
def test_nothing_but_the_page_is_served(example: Example, path: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(example.url).netloc, timeout=10)  # sends the path as it is
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status in (404, 307)
        assert b"root:" not in (body := answer.read())
        assert b"add_demo_users" not in body
    finally:
        connection.close()


# ---------------------------------------------------------------------- who may enter


@pytest.mark.parametrize(("mode", "backend"), [("cookie", "session"), ("token", "jwt")])
@pytest.mark.parametrize(
    ("path", "user", "status"),
    [
        ("/public", None, 200),
        ("/public", "alice", 200),
        ("/private", None, 401),
        ("/private", "alice", 200),
        ("/private", "bob", 200),
        ("/admin", None, 401),
        ("/admin", "alice", 403),
        ("/admin", "bob", 200),
        ("/stream", None, 401),
    ],
)
def test_who_may_enter(
    client: httpx2.Client,
    known: dict[str, Known],
    mode: str,
    backend: str,
    path: str,
    user: str | None,
    status: int,
) -> None:
    if user is not None:
        known[user].carry(client, mode)
    answer = client.get(path)
    assert answer.status_code == status
    if status == 200:
        assert answer.json() == {"user": user, "backend": backend if user else None}
        guarded = {"cache-control": "private, no-store"} if path != "/public" else {}
        assert headers_of(answer) == {"content-type": "application/json"} | guarded
    else:
        assert answer.json() == (NOBODY if status == 401 else NOT_ALLOWED)
        challenge = CHALLENGES if status == 401 else SCOPE_CHALLENGE
        assert headers_of(answer) == REFUSAL_HEADERS | {"www-authenticate": challenge}


@pytest.mark.parametrize("path", ["/", "/public", "/private", "/data", "/unknown"])
def test_a_token_that_does_not_verify_is_refused_everywhere(
    client: httpx2.Client, known: dict[str, Known], path: str
) -> None:
    known["alice"].carry(client, "cookie")
    answer = client.get(path, headers={"Authorization": "Bearer abc.def.ghi"})
    assert answer.status_code == 401
    assert answer.json() == {"error": "invalid_token", "error_description": "The access token is invalid"}
    assert answer.headers.get_list("www-authenticate")[0] == (
        f'{CHALLENGE}, error="invalid_token", error_description="The access token is invalid"'
    )


def test_two_authorization_headers_are_a_bad_request(client: httpx2.Client) -> None:
    answer = client.get("/public", headers=[("Authorization", "Bearer a"), ("Authorization", "Bearer b")])
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert 'error="invalid_request"' in answer.headers["www-authenticate"]


def test_another_scheme_is_left_to_the_application(client: httpx2.Client) -> None:
    answer = client.get("/public", headers={"Authorization": "Basic YWxpY2U6d29uZGVybGFuZA=="})
    assert (answer.status_code, answer.json()) == (200, {"user": None, "backend": None})


def test_an_unsafe_request_of_another_site_is_refused_if_a_cookie_carries_it(
    client: httpx2.Client, known: dict[str, Known]
) -> None:
    known["alice"].carry(client, "cookie")
    answer = client.put("/data/x", json=1, headers={"Origin": "https://evil.example"})
    assert (answer.status_code, answer.json()["error"]) == (403, "cross_origin")
    assert client.get("/data").json() == {}


# ---------------------------------------------------------------------- session data


def test_a_visitor_gets_a_session_at_the_first_write_and_takes_its_data_along(client: httpx2.Client) -> None:
    assert client.get("/data").json() == {}
    assert not client.cookies
    written = client.put("/data/colour", json="green")
    assert (written.status_code, written.content) == (204, b"")
    (name,) = client.cookies
    assert name.startswith("session-")
    assert name.endswith("-anonymous")
    assert written.headers["set-cookie"].split("; ", 1)[1] == "Path=/; HttpOnly; SameSite=Lax"
    assert written.headers["cache-control"] == 'no-cache="Set-Cookie", private'
    assert written.headers["vary"] == "Cookie"
    assert client.get("/private").status_code == 401
    log_in(client, "alice")
    assert list(client.cookies) == [name.removesuffix("-anonymous")]
    read = client.get("/data")
    assert (read.json(), read.headers["vary"]) == ({"colour": "green"}, "Cookie")


@pytest.mark.parametrize("value", [None, True, 0, -1.5, "", "ü\u0000\U0001f600", [], {"a": [1, {"b": None}]}])
def test_any_json_value_comes_back_as_it_was(client: httpx2.Client, value: object) -> None:
    assert client.put("/data/value", content=json.dumps(value)).status_code == 204
    assert client.get("/data").json() == {"value": value}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"green",
        b'"a" "b"',
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"\xff",
        b'"\\ud800"',
        b"9" * 5_000,
        b"[" * 500 + b"]" * 500,
        b"[" * 950 + b"]" * 950,
        b"[" * 990 + b"]" * 990,
        b"[" * 100_000,
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    ],
    ids=lambda body: f"{body[:12]!r} {len(body)}",
)
def test_what_is_no_json_or_too_deep_is_a_bad_request(client: httpx2.Client, body: bytes) -> None:
    answer = client.put("/data/value", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"] == "invalid_request"
    assert answer.json()["error_description"]
    assert client.get("/data").json() == {}


def test_more_data_than_a_session_may_have_is_too_large(client: httpx2.Client) -> None:
    assert client.put("/data/small", json=1).status_code == 204
    answer = client.put("/data/large", json="x" * 65_536)
    assert (answer.status_code, answer.json()["error"]) == (413, "content_too_large")
    assert client.get("/data").json() == {"small": 1}


def test_a_token_has_no_session_data(client: httpx2.Client, known: dict[str, Known]) -> None:
    known["alice"].carry(client, "token")
    answer = client.put("/data/colour", json="green")
    assert answer.status_code == 400
    assert answer.json() == {
        "error": "invalid_request",
        "error_description": "a bearer token carries no session data",
    }
    read = client.get("/data")
    assert (read.status_code, read.json()) == (200, {})


# ---------------------------------------------------------------------- logging in and out


def test_a_login_tells_who_and_sets_one_cookie(client: httpx2.Client) -> None:
    answer = log_in(client, "alice")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert body["user"] == {"id": "alice", "display_name": "alice", "scopes": ["read"], "claims": {}}
    assert set(body["session"]) == {
        "id", "created_at", "last_seen_at", "expires_at", "idle_expires_at", "authenticated_at", "amr", "backend",
        "client", "current",
    }  # fmt: skip
    assert body["session"]["amr"] == ["pwd"]
    assert body["session"]["backend"] == "session"
    assert body["session"]["client"]["address"] == "127.0.0.1"
    assert body["session"]["current"] is True
    (cookie,) = answer.headers.get_list("set-cookie")
    assert cookie.startswith("session-")
    assert cookie.split("; ", 1)[1] == "Path=/; HttpOnly; SameSite=Lax"
    me = client.get("/auth/me").json()
    assert (me["user"], me["session"]["id"], me["backend"]) == (body["user"], body["session"]["id"], "session")


def test_only_remember_gives_the_cookie_a_lifetime(client: httpx2.Client) -> None:
    assert "Max-Age=2592000" in log_in(client, "alice", remember=True).headers["set-cookie"]


def test_a_form_with_next_is_sent_on_to_it(client: httpx2.Client) -> None:
    form = {"username": "bob", "password": PASSWORDS["bob"], "next": "/"}
    answer = client.post("/auth/login", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert client.get("/admin").status_code == 200


@pytest.mark.parametrize(("username", "password"), [("alice", "builder"), ("nobody", "wonderland")])
def test_a_wrong_name_and_a_wrong_password_look_the_same(client: httpx2.Client, username: str, password: str) -> None:
    answer = client.post("/auth/login", json={"username": username, "password": password})
    assert answer.status_code == 401
    assert answer.json() == {
        "error": "invalid_credentials",
        "error_description": "The user name or the password is wrong",
    }
    assert headers_of(answer) == REFUSAL_HEADERS | {"www-authenticate": CHALLENGES}


def test_logging_out_ends_the_session_and_clears_the_cookie(client: httpx2.Client) -> None:
    log_in(client, "alice")
    kept = dict(client.cookies)
    answer = client.post("/auth/logout")
    assert (answer.status_code, answer.content) == (204, b"")
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert not client.cookies
    client.cookies.update(kept)
    refused = client.get("/private")
    assert (refused.status_code, refused.json()) == (401, NOBODY | {"reason": "ended"})
    assert client.post("/auth/logout").status_code == 204


def test_tokens_are_what_the_rfcs_say(client: httpx2.Client) -> None:
    form = {"grant_type": "password", "username": "bob", "password": PASSWORDS["bob"], "scope": "read"}
    answer = client.post("/auth/token", data=form)
    assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")
    pair = answer.json()
    assert set(pair) == {"access_token", "token_type", "expires_in", "refresh_token", "scope"}
    assert (pair["token_type"], pair["expires_in"], pair["scope"]) == ("Bearer", 600, "read")
    header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in pair["access_token"].split(".")[:2])
    assert (header["typ"], header["alg"]) == ("at+jwt", "ES256")
    assert set(claims) == {
        "iss", "sub", "aud", "exp", "iat", "nbf", "jti", "client_id", "sid", "scope", "auth_time", "amr", "ver",
    }  # fmt: skip
    assert (claims["sub"], claims["scope"], claims["amr"]) == ("bob", "read", ["pwd"])
    keys = client.get("/.well-known/jwks.json").json()["keys"]
    assert header["kid"] in {key["kid"] for key in keys}
    assert all("d" not in key for key in keys)
    # Granted read and no more, whatever bob may do.
    assert client.get("/admin", headers={"Authorization": f"Bearer {pair['access_token']}"}).status_code == 403


def test_the_used_refresh_token_gets_the_same_successor_again(client: httpx2.Client) -> None:
    first = tokens(client, "alice")["refresh_token"]
    form = {"grant_type": "refresh_token", "refresh_token": first}
    second, again = (client.post("/auth/token", data=form).json() for _ in range(2))
    assert second["refresh_token"] == again["refresh_token"] != first
    assert second["access_token"] != again["access_token"]


def test_both_modes_stand_in_one_list_and_end_there(client: httpx2.Client, example: Example) -> None:
    log_in(client, "bob")
    pair = tokens(client, "bob")
    with browser(example) as program:
        program.headers["authorization"] = f"Bearer {pair['access_token']}"
        mine, other = (one.get("/auth/me").json()["session"]["id"] for one in (client, program))
        listed = {one["id"]: one for one in client.get("/auth/sessions").json()["sessions"]}
        assert (listed[mine]["current"], listed[mine]["backend"]) == (True, "session")
        assert (listed[other]["current"], listed[other]["backend"]) == (False, "jwt")
        assert client.delete(f"/auth/sessions/{other}").status_code == 204
        refused = program.get("/private")
        assert (refused.status_code, refused.json()["error_description"]) == (401, "The access token was revoked")
        grant = {"grant_type": "refresh_token", "refresh_token": pair["refresh_token"]}
        assert client.post("/auth/token", data=grant).json()["error"] == "invalid_grant"
        assert client.delete("/auth/sessions").status_code == 204
        assert [one["id"] for one in client.get("/auth/sessions").json()["sessions"]] == [mine]


def test_another_users_session_does_not_exist(client: httpx2.Client, example: Example) -> None:
    sid = log_in(client, "bob").json()["session"]["id"]
    with browser(example) as other:
        log_in(other, "alice")
        assert other.delete(f"/auth/sessions/{sid}").status_code == 404
    assert client.get("/private").status_code == 200


# ---------------------------------------------------------------------- live connections


@pytest.mark.parametrize("mode", ["cookie", "token"])
def test_the_stream_sends_events_that_count(client: httpx2.Client, known: dict[str, Known], mode: str) -> None:
    known["alice"].carry(client, mode)
    with client.stream("GET", "/stream") as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].partition(";")[0] == "text/event-stream"
        assert answer.headers["cache-control"] == "private, no-store"
        events = []
        for line in answer.iter_lines():
            if line.startswith("data: "):
                events.append(json.loads(line.removeprefix("data: ")))
            if len(events) == 3:
                break
    assert events == [{"user": "alice", "number": number} for number in (1, 2, 3)]


def socket_of(example: Example) -> str:
    return example.url.replace("http", "ws", 1) + "/ws"


@pytest.mark.parametrize("mode", ["cookie", "token"])
def test_the_websocket_greets_somebody_and_echoes(example: Example, known: dict[str, Known], mode: str) -> None:
    headers = known["alice"].headers(mode)
    with connect(socket_of(example), additional_headers=headers, origin=example.url) as websocket:  # type: ignore[arg-type]
        assert json.loads(websocket.recv(timeout=10)) == {"user": "alice"}
        for text in ("hello", "", "ü\U0001f600"):
            websocket.send(text)
            assert websocket.recv(timeout=10) == text


@pytest.mark.parametrize(
    ("credential", "origin", "status", "error"),
    [
        ("none", None, 401, "login_required"),
        ("cookie", "https://evil.example", 403, "cross_origin"),
        ("bad token", None, 401, "invalid_token"),
    ],
)
def test_the_websocket_is_refused_with_a_status_and_the_reason(
    example: Example, known: dict[str, Known], credential: str, origin: str | None, status: int, error: str
) -> None:
    headers = {"none": {}, "cookie": known["alice"].headers("cookie"), "bad token": {"Authorization": "Bearer a.b.c"}}
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(socket_of(example), additional_headers=headers[credential], origin=origin),  # type: ignore[arg-type]
    ):
        pass
    answer = refused.value.response
    assert answer.status_code == status
    assert answer.body is not None
    assert json.loads(answer.body)["error"] == error
    assert answer.headers["Cache-Control"] == "no-store"
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)


# ---------------------------------------------------------------------- the start


def test_the_log_says_which_demo_users_were_added_and_no_password(example: Example) -> None:
    text = example.log.read_text()
    for user, password in PASSWORDS.items():
        assert f"added the demo user {user} " in text
        assert password not in text
    assert text.count("store sqlite:///") == 1
