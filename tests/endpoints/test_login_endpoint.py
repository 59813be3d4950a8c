"""`POST /login` and `/logout` (design.md 5 and 10): what a name and a password get, and what each refusal says."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import statistics
import time
from typing import Any

import anyio
import argon2.profiles
import pytest
from endpoint_house import PASSWORDS, House, cookie_header, hasher, set_cookies

from asgi_auth import User
from asgi_auth.directory import CallableDirectory, StoreDirectory
from asgi_auth.passwords import PasswordHasher
from asgi_auth.stores.opening import open_store

ALICE = {"username": "alice", "password": PASSWORDS["alice"]}
SESSION = re.compile(r"session-[0-9a-f]{4}")


async def test_a_login_answers_user_and_session_and_one_cookie(house: House) -> None:
    answer = await house.client.post("/auth/login", json=ALICE, headers={"user-agent": "Netscape 4"})
    assert answer.status_code == 200
    now = house.clock()
    session = answer.json()["session"]
    assert answer.json()["user"] == {"id": "alice", "display_name": "Alice", "scopes": ["read"], "claims": {}}
    assert session == {
        "id": session["id"],
        "created_at": now,
        "last_seen_at": now,
        "expires_at": now + 30 * 86_400,
        "idle_expires_at": now + 86_400,
        "authenticated_at": now,
        "amr": ["pwd"],
        "backend": "session",
        "client": {"address": "127.0.0.1", "user_agent": "Netscape 4", "device": "Netscape"},
        "current": True,
    }
    [cookie] = set_cookies(answer)
    assert SESSION.match(cookie)
    assert cookie.endswith("; Path=/; HttpOnly; SameSite=Lax")
    assert answer.headers["cache-control"] == "no-store"
    assert "cookie" in answer.headers["vary"].lower()


async def test_a_form_logs_in_as_json_does(house: House) -> None:
    answer = await house.client.post("/auth/login", data=ALICE)
    assert (answer.status_code, answer.json()["user"]["id"]) == (200, "alice")
    assert (await house.client.get("/whoami")).json()["user"] == "alice"


async def test_names_are_compared_in_their_plain_form(house: House) -> None:
    answer = await house.client.post("/auth/login", json={**ALICE, "username": "ＡLICE"})
    assert answer.json()["user"]["id"] == "alice"


async def test_without_remember_the_cookie_has_no_max_age(house: House) -> None:
    [cookie] = set_cookies(await house.client.post("/auth/login", json=ALICE))
    assert "max-age" not in cookie.lower()
    assert "expires" not in cookie.lower()


@pytest.mark.parametrize("body", [{"json": {**ALICE, "remember": True}}, {"data": {**ALICE, "remember": "on"}}])
async def test_remember_keeps_the_cookie_for_what_is_left_of_the_lifetime(house: House, body: Any) -> None:
    [cookie] = set_cookies(await house.client.post("/auth/login", **body))
    assert f"; Max-Age={30 * 86_400};" in cookie


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"json": {**ALICE, "remember": False}}, 200),
        ({"data": {**ALICE, "remember": "true"}}, 200),
        ({"data": {**ALICE, "remember": "1"}}, 200),
        ({"data": {**ALICE, "remember": "yes"}}, 400),
        ({"json": {**ALICE, "remember": "true"}}, 400),
        ({"json": {**ALICE, "remember": 1}}, 400),
        ({"json": {**ALICE, "remember": None}}, 400),
    ],
)
async def test_remember_is_a_boolean_and_in_forms_one_of_three_words(house: House, body: Any, status: int) -> None:
    assert (await house.client.post("/auth/login", **body)).status_code == status


async def test_the_cookie_tells_nothing(house: House) -> None:
    """No user, no name, no time: what is in it is random, but for the ring's id and the public sid."""
    first = await house.login("alice")
    value = cookie_header(house.client).partition("=")[2]
    ring, sid, secret, signature = value.split(".")
    assert sid == first["session"]["id"]
    other = house.stranger()
    await house.login("alice", client=other)
    parts = cookie_header(other).partition("=")[2].split(".")
    assert parts[0] == ring
    assert not {sid, secret, signature} & set(parts)
    for told in ("alice", "Alice", str(int(house.clock())), "read"):
        assert told not in value


async def test_the_cookie_stays_under_200_bytes(house: House) -> None:
    await house.login("alice")
    assert len(cookie_header(house.client)) < 200


async def test_behind_https_the_cookie_is_a_host_cookie(houses: Any) -> None:
    house = await houses()
    client = house.stranger(base_url="https://app.example.com")
    [cookie] = set_cookies(await client.post("/auth/login", json=ALICE))
    assert cookie.startswith("__Host-session=")
    assert cookie.endswith("; Path=/; HttpOnly; SameSite=Lax; Secure")


# ---------------------------------------------------------------------- refusals


@pytest.mark.parametrize("username", ["alice", "nobody", "gone", "disabled", "elsewhere", "a\tname", "x" * 300])
async def test_unknown_and_known_users_look_alike(house: House, username: str) -> None:
    """Status, body and headers; the time has a test of its own."""
    await house.auth.create_user("disabled", PASSWORDS["alice"], id="disabled")
    await house.auth.disable_user("disabled")
    await house.auth.create_user("gone", PASSWORDS["alice"], id="gone")
    await house.auth.delete_user("gone")
    await house.auth.issue(User("elsewhere"))
    password = PASSWORDS["alice"] if username != "alice" else "not this one, no"
    for body in ({"json": {"username": username, "password": password}}, {}):
        if not body:
            body = {"data": {"username": username, "password": password, "mode": "jwt"}}
        answer = await house.client.post("/auth/login", **body)
        assert answer.status_code == 401
        assert answer.json() == {
            "error": "invalid_credentials",
            "error_description": "The user name or the password is wrong",
        }
        assert answer.headers.get_list("www-authenticate")[0] == 'Bearer realm="asgi-auth"'
        assert sorted(set(answer.headers)) == [
            "cache-control",
            "content-length",
            "content-type",
            "cross-origin-resource-policy",
            "www-authenticate",
            "x-content-type-options",
        ]


async def test_known_and_unknown_users_take_the_same_time(houses: Any, clock: Any) -> None:
    """A statistical test with a wide margin: what it must catch, a hash that is not made, is 20 times as fast."""
    store = open_store("memory://", timeout=5.0, clock=clock)
    costly = PasswordHasher(parameters=dataclasses.replace(argon2.profiles.CHEAPEST, time_cost=40, memory_cost=1024))
    house = await houses(store=store, directory=StoreDirectory(store, costly), login_rate="1000/minute")
    times: dict[str, list[float]] = {"alice": [], "nobody": []}
    for _ in range(9):
        for name, taken in times.items():
            began = time.perf_counter()
            answer = await house.client.post("/auth/login", json={"username": name, "password": "wrong, and long"})
            taken.append(time.perf_counter() - began)
            assert answer.status_code == 401
    known, unknown = (statistics.median(taken) for taken in times.values())
    assert 0.4 < known / unknown < 2.5


async def test_a_known_and_an_unknown_name_are_throttled_alike(houses: Any) -> None:
    house = await houses(login_rate="3/minute")
    seen = []
    for name in ("alice", "nobody"):
        client = house.stranger(address=f"192.0.2.{len(seen) + 1}")
        answers = [await client.post("/auth/login", json={"username": name, "password": "wrong"}) for _ in range(6)]
        seen.append([(answer.status_code, answer.text, answer.headers.get("retry-after")) for answer in answers])
    assert seen[0] == seen[1]
    assert [status for status, _, _ in seen[0]] == [401, 401, 401, 401, 429, 429]


async def test_the_eleventh_failures_successor_is_429_even_with_the_right_password(house: House) -> None:
    for _ in range(11):
        answer = await house.client.post("/auth/login", json={"username": "alice", "password": "wrong"})
        assert answer.status_code == 401
    answer = await house.client.post("/auth/login", json=ALICE)
    assert answer.status_code == 429
    assert answer.json()["error"] == "too_many_requests"
    assert int(answer.headers["retry-after"]) == 60
    assert not set_cookies(answer)
    house.clock.advance(60)
    assert (await house.client.post("/auth/login", json=ALICE)).status_code == 200


async def test_ten_failures_and_a_success_begin_anew(house: House) -> None:
    for _ in range(3):
        for _ in range(10):
            await house.client.post("/auth/login", json={"username": "alice", "password": "wrong"})
        assert (await house.client.post("/auth/login", json=ALICE)).status_code == 200


async def test_another_address_is_not_stopped_by_failures_here(house: House) -> None:
    for _ in range(12):
        await house.client.post("/auth/login", json={"username": "alice", "password": "wrong"})
    assert (await house.stranger(address="198.51.100.1").post("/auth/login", json=ALICE)).status_code == 200


async def test_a_forwarded_address_from_a_stranger_wins_no_further_attempts(house: House) -> None:
    for attempt in range(12):
        made_up = {"x-forwarded-for": f"203.0.113.{attempt}", "forwarded": f"for=203.0.113.{attempt}"}
        answer = await house.client.post(
            "/auth/login", json={"username": "alice", "password": "wrong"}, headers=made_up
        )
    assert answer.status_code == 429


async def test_three_doors_share_one_count(houses: Any) -> None:
    """`/login`, `/token` and `/password`, whatever the spelling of the name and the mode."""
    house = await houses(login_rate="5/minute")
    await house.login("alice")
    wrong = {"username": "alice", "password": "wrong"}
    doors = [
        lambda: house.stranger().post("/auth/login", json=wrong),
        lambda: house.stranger().post("/auth/token", data={"grant_type": "password", **wrong, "username": "ALICE"}),
        lambda: house.client.post(
            "/auth/password", json={"current_password": "wrong", "new_password": "quite another password"}
        ),
        lambda: house.stranger().post("/auth/login", json={**wrong, "mode": "jwt"}),
        lambda: house.stranger().post("/auth/login", data={**wrong, "username": "Alice"}),
        lambda: house.stranger().post("/auth/token", json={"grant_type": "password", **wrong}),
    ]
    assert [(await door()).status_code for door in doors] == [401, 400, 401, 401, 401, 400]
    for door in doors:
        answer = await door()
        assert answer.status_code == 429
        assert answer.json()["error"] == "too_many_requests"
        assert int(answer.headers["retry-after"]) > 0


async def test_busy_hashing_is_429_and_counts_for_nothing(houses: Any, clock: Any) -> None:
    store = open_store("memory://", timeout=5.0, clock=clock)
    busy = hasher(workers=1, queue=0)
    house = await houses(store=store, directory=StoreDirectory(store, busy), login_rate="1/minute")
    with busy._places:
        for _ in range(4):
            answer = await house.client.post("/auth/login", json=ALICE)
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert (await house.client.post("/auth/login", json=ALICE)).status_code == 200


async def test_many_logins_at_once_never_pass_the_limit(houses: Any) -> None:
    house = await houses(login_rate="5/minute")
    statuses: list[int] = []

    async def attempt() -> None:
        answer = await house.stranger().post("/auth/login", json={"username": "alice", "password": "wrong"})
        statuses.append(answer.status_code)

    async with anyio.create_task_group() as tasks:
        for _ in range(30):
            tasks.start_soon(attempt)
    assert statuses.count(401) == 6
    assert statuses.count(429) == 24


@pytest.mark.parametrize("password", ["x" * 1025, "é" * 513, "x" * 15_000])
async def test_a_password_of_more_than_1024_bytes_is_400_and_no_attempt(houses: Any, password: str) -> None:
    house = await houses(login_rate="1/minute")
    for _ in range(4):
        answer = await house.client.post("/auth/login", json={"username": "alice", "password": password})
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert (await house.client.post("/auth/login", json=ALICE)).status_code == 200


@pytest.mark.parametrize("mode", ["cookie", "JWT", "jwt ", 1, None, True, ["jwt"]])
async def test_an_unknown_mode_is_400(house: House, mode: Any) -> None:
    answer = await house.client.post("/auth/login", json={**ALICE, "mode": mode})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(("backends", "mode"), [("session", "jwt"), ("jwt", "session"), ("jwt", None)])
async def test_a_mode_whose_backend_is_off_is_400(houses: Any, backends: str, mode: str | None) -> None:
    house = await houses(backends=backends)
    answer = await house.client.post("/auth/login", json={**ALICE, **({"mode": mode} if mode else {})})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_unknown_members_change_nothing(house: House) -> None:
    """No mass assignment (ASVS 15.3.3)."""
    more = {"scopes": ["admin"], "scope": "admin", "id": "bob", "amr": ["otp"], "user": {"id": "bob"}, "idle": 9**9}
    answer = await house.client.post("/auth/login", json={**ALICE, **more})
    assert answer.json()["user"]["scopes"] == ["read"]
    assert (await house.client.get("/whoami")).json()["scopes"] == ["authenticated", "read"]


# ---------------------------------------------------------------------- mode jwt


async def test_mode_jwt_answers_as_the_token_endpoint_and_sets_no_cookie(house: House) -> None:
    answer = await house.client.post("/auth/login", json={**ALICE, "mode": "jwt", "scope": "read", "client_id": "cli"})
    assert answer.status_code == 200
    assert set(answer.json()) == {"access_token", "token_type", "expires_in", "refresh_token", "scope"}
    assert answer.headers["pragma"] == "no-cache"
    assert not set_cookies(answer)
    assert (await house.refresh(answer.json()["refresh_token"])).status_code == 400
    assert (await house.refresh(answer.json()["refresh_token"], client_id="cli")).status_code == 200


async def test_mode_jwt_leaves_a_cookie_session_alone(house: House) -> None:
    await house.login("alice")
    await house.client.post("/auth/login", json={**ALICE, "mode": "jwt"})
    assert (await house.client.get("/whoami")).json()["backend"] == "session"


@pytest.mark.parametrize("scope", ["admin", "read admin", 'a"b', "a\\b", "é"])
async def test_a_scope_the_user_has_not_is_invalid_scope(house: House, scope: str) -> None:
    answer = await house.client.post("/auth/login", json={**ALICE, "mode": "jwt", "scope": scope})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")
    assert await house.auth.sessions("alice") == []


async def test_mode_jwt_works_with_the_password_grant_off(houses: Any) -> None:
    house = await houses(password_grant="off")
    answer = await house.client.post("/auth/login", json={**ALICE, "mode": "jwt"})
    assert (await house.get("/whoami", answer.json()["access_token"])).json()["user"] == "alice"


# ---------------------------------------------------------------------- next


@pytest.mark.parametrize("target", ["/", "/here", "/a/b?c=d&e=f#g", "/%C3%A9", "/a?u=https://example.com"])
async def test_a_form_with_next_is_sent_on(house: House, target: str) -> None:
    answer = await house.client.post("/auth/login", data={**ALICE, "next": target})
    assert (answer.status_code, answer.headers["location"], answer.content) == (303, target, b"")
    assert len(set_cookies(answer)) == 1
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "https://evil.example",
        "https:evil.example",
        "javascript:alert(1)",
        "evil",
        " /here",
        "/\thttps://evil.example",
        "/\r\nset-cookie: a=b",
        "/%0d%0aset-cookie:a=b",
        "/%2f/evil.example",
        "/%2fevil.example",
        "/%5cevil.example",
        "/%252fevil.example",
        "/.//evil.example",
        "/..//evil.example",
        "/é",
        "/" + "a" * 3000,
        "http://testserver/",
        "/@evil.example/../\\evil.example",
    ],
)
async def test_a_bad_next_is_400_before_the_password_is_looked_at(houses: Any, target: str) -> None:
    house = await houses(login_rate="1/minute")
    for _ in range(3):
        answer = await house.client.post("/auth/login", data={**ALICE, "password": "wrong", "next": target})
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    answer = await house.client.post("/auth/login", data={**ALICE, "next": target})
    assert answer.status_code == 400
    assert not set_cookies(answer)


async def test_next_in_json_sends_nobody_anywhere(house: House) -> None:
    answer = await house.client.post("/auth/login", json={**ALICE, "next": "https://evil.example"})
    assert answer.status_code == 200
    assert "location" not in answer.headers


async def test_a_failed_form_login_is_401_whatever_next_says(house: House) -> None:
    answer = await house.client.post("/auth/login", data={**ALICE, "password": "wrong", "next": "/here"})
    assert answer.status_code == 401


# ---------------------------------------------------------------------- cookies that would not be kept


@pytest.mark.parametrize(
    ("base_url", "settings", "told"),
    [
        ("http://app.example.com", {}, "ASGI_AUTH_INSECURE_HTTP"),
        ("https://example.org", {"session_domain": "example.com"}, "ASGI_AUTH_SESSION_DOMAIN"),
    ],
)
async def test_a_cookie_that_would_be_dropped_is_told_before_the_password_is_looked_at(
    houses: Any, base_url: str, settings: Any, told: str
) -> None:
    house = await houses(login_rate="1/minute", **settings)
    client = house.stranger(base_url=base_url)
    for password in ("wrong", "wrong", "wrong", PASSWORDS["alice"]):
        answer = await client.post("/auth/login", json={**ALICE, "password": password})
        assert (answer.status_code, answer.json()["error"]) == (400, "cookie_not_kept")
        assert told in answer.json()["error_description"]
        assert not set_cookies(answer)
    assert await house.auth.sessions("alice") == []


async def test_insecure_http_keeps_cookies_on_any_host(houses: Any) -> None:
    house = await houses(insecure_http=True)
    client = house.stranger(base_url="http://box.lan")
    await house.login("alice", client=client)
    assert (await client.get("/whoami")).json()["user"] == "alice"


async def test_tokens_need_no_cookie_to_be_kept(house: House) -> None:
    client = house.stranger(base_url="http://app.example.com")
    assert (await client.post("/auth/login", json={**ALICE, "mode": "jwt"})).status_code == 200


# ---------------------------------------------------------------------- what the browser brought


async def test_every_login_gives_a_new_id_and_secret_and_ends_the_old_session(house: House) -> None:
    first = await house.login("alice")
    old = cookie_header(house.client)
    second = await house.login("alice")
    assert first["session"]["id"] != second["session"]["id"]
    assert [session.id for session in await house.auth.sessions("alice")] == [second["session"]["id"]]
    answer = await house.raw("GET", "/whoami", headers=[("cookie", old)])
    assert answer.json()["user"] is None


async def test_a_login_as_another_user_ends_the_session_and_drops_its_data(house: House) -> None:
    await house.login("alice")
    await house.client.put("/data/cart", json=["book"])
    await house.login("bob")
    assert (await house.client.get("/data")).json() == {}
    assert await house.auth.sessions("alice") == []


async def test_a_login_again_keeps_the_data(house: House) -> None:
    await house.login("alice")
    await house.client.put("/data/cart", json=["book"])
    await house.login("alice")
    assert (await house.client.get("/data")).json() == {"cart": ["book"]}


async def test_a_visitors_data_is_carried_over_and_its_cookie_cleared(house: House) -> None:
    await house.client.put("/data/cart", json=["book"])
    visitor = cookie_header(house.client)
    answer = await house.client.post("/auth/login", json=ALICE)
    names = [cookie.partition("=")[0] for cookie in set_cookies(answer)]
    assert len(names) == len(set(names)) == 2
    assert (await house.client.get("/data")).json() == {"cart": ["book"]}
    again = await house.raw("GET", "/data", headers=[("cookie", visitor)])
    assert again.json() == {}


async def test_a_visitors_cookie_is_no_session_and_a_session_no_visitors(house: House) -> None:
    await house.client.put("/data/a", json=1)
    name, _, value = cookie_header(house.client).partition("=")
    as_session = await house.raw("GET", "/whoami", headers=[("cookie", f"{name.removesuffix('-anonymous')}={value}")])
    assert as_session.json()["user"] is None
    other = house.stranger()
    await house.login("alice", client=other)
    name, _, value = cookie_header(other).partition("=")
    as_visitor = await house.raw("GET", "/data", headers=[("cookie", f"{name}-anonymous={value}")])
    assert as_visitor.json() == {}


async def test_a_stolen_sid_lets_nobody_take_over_or_end_a_session_at_login(house: House) -> None:
    """A session cookie with a right sid and a made-up secret is nobody's."""
    await house.login("alice")
    name, _, value = cookie_header(house.client).partition("=")
    ring, sid, _, signature = value.split(".")
    forged = f"{name}={ring}.{sid}.{'A' * 43}.{signature}"
    answer = await house.raw(
        "POST",
        "/auth/login",
        headers=[("cookie", forged), ("content-type", "application/json")],
        body=json.dumps({"username": "bob", "password": PASSWORDS["bob"]}).encode(),
    )
    assert answer.status == 200
    assert (await house.client.get("/whoami")).json()["user"] == "alice"


@pytest.mark.parametrize(
    "header",
    [
        "Bearer garbage",
        "Bearer",
        "Bearer a b",
        "Basic YWxpY2U6c2VjcmV0",
        "Basic !!!",
        "DPoP abc",
        "",
        "Digest " + '"' * 50,
    ],
)
async def test_no_credential_at_login_is_a_reason_to_refuse(house: House, header: str) -> None:
    """In either mode: a site behind a proxy's Basic sends that with every request."""
    answer = await house.client.post("/auth/login", json=ALICE, headers={"authorization": header})
    assert (answer.status_code, answer.json()["user"]["id"]) == (200, "alice")
    answer = await house.client.post("/auth/login", json={**ALICE, "mode": "jwt"}, headers={"authorization": header})
    assert (answer.status_code, answer.json()["token_type"]) == (200, "Bearer")


async def test_an_expired_token_does_not_keep_its_client_from_refreshing(house: House) -> None:
    pair = await house.tokens()
    house.clock.advance(700)
    answer = await house.client.post(
        "/auth/token",
        data={"grant_type": "refresh_token", "refresh_token": pair["refresh_token"]},
        headers=[("authorization", f"Bearer {pair['access_token']}")],
    )
    assert answer.status_code == 200


async def test_doubled_cookies_do_not_keep_anybody_from_logging_in(house: House) -> None:
    await house.login("alice")
    one = cookie_header(house.client)
    answer = await house.raw(
        "POST",
        "/auth/login",
        headers=[("cookie", one), ("cookie", one), ("content-type", "application/json")],
        body=json.dumps(ALICE).encode(),
    )
    assert answer.status == 200
    assert len(await house.auth.sessions("alice")) == 2


@pytest.mark.parametrize(("policy", "status", "left"), [("evict", 200, 2), ("refuse", 409, 2)])
async def test_the_session_limit_holds_at_login(houses: Any, policy: str, status: int, left: int) -> None:
    house = await houses(session_limit=2, session_limit_policy=policy)
    for _ in range(2):
        await house.login("alice", client=house.stranger())
    answer = await house.stranger().post("/auth/login", json=ALICE)
    assert answer.status_code == status
    if status == 409:
        assert answer.json()["error"] == "session_limit"
        assert not set_cookies(answer)
    assert len(await house.auth.sessions("alice")) == left


# ---------------------------------------------------------------------- logout


async def test_logout_ends_the_session_and_clears_the_cookie(house: House) -> None:
    await house.login("alice")
    old = cookie_header(house.client)
    answer = await house.client.post("/auth/logout")
    assert (answer.status_code, answer.content) == (204, b"")
    assert not house.client.cookies
    assert "content-length" not in answer.headers
    assert await house.auth.sessions("alice") == []
    assert (await house.raw("GET", "/whoami", headers=[("cookie", old)])).json()["user"] is None


async def test_logout_by_bearer_ends_access_and_refresh_token(house: House) -> None:
    pair = await house.tokens()
    answer = await house.client.post("/auth/logout", headers={"authorization": f"Bearer {pair['access_token']}"})
    assert answer.status_code == 204
    assert not set_cookies(answer)
    assert (await house.get("/whoami", pair["access_token"])).status_code == 401
    assert (await house.refresh(pair["refresh_token"])).json()["error"] == "invalid_grant"


async def test_logout_is_204_for_nobody_too_and_again(house: House) -> None:
    assert (await house.client.post("/auth/logout")).status_code == 204
    await house.login("alice")
    for _ in range(2):
        assert (await house.client.post("/auth/logout")).status_code == 204


async def test_a_bad_bearer_at_logout_is_401(house: House) -> None:
    answer = await house.client.post("/auth/logout", headers={"authorization": "Bearer nonsense"})
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")


@pytest.mark.parametrize("mode", ["navigate", "cors", None])
async def test_logout_clears_a_dead_cookie_whoever_asks(house: House, mode: str | None) -> None:
    session = await house.login("alice")
    await house.auth.revoke(session["session"]["id"])
    headers = {"sec-fetch-mode": mode, "sec-fetch-site": "same-origin"} if mode else {}
    answer = await house.client.post("/auth/logout", headers=headers)
    assert answer.status_code == 204
    assert not house.client.cookies


@pytest.mark.parametrize("mode", [None, "cors"])
async def test_logout_clears_a_cookie_that_nobody_issued(house: House, mode: str | None) -> None:
    name = (await house.auth.opened()).cookies.plain.session_name.decode()
    headers = {"cookie": f"{name}=made.up", **({"sec-fetch-mode": mode} if mode else {})}
    answer = await house.stranger().post("/auth/logout", headers=headers)
    assert answer.status_code == 204
    assert answer.headers["set-cookie"].startswith(f"{name}=; Max-Age=0")


async def test_a_late_logout_never_clears_the_cookie_of_a_later_login(house: House) -> None:
    await house.login("alice")
    old = cookie_header(house.client)
    await house.login("alice")
    answer = await house.raw("POST", "/auth/logout", headers=[("cookie", old)])
    assert answer.status == 204
    assert not set_cookies(answer)
    assert (await house.client.get("/whoami")).json()["user"] == "alice"


async def test_after_a_logout_with_a_dead_cookie_no_answer_clears_it_any_more(house: House) -> None:
    session = await house.login("alice")
    old = [("cookie", cookie_header(house.client))]
    await house.auth.revoke(session["session"]["id"])
    assert set_cookies(await house.raw("GET", "/whoami", headers=old))
    assert set_cookies(await house.raw("POST", "/auth/logout", headers=old))
    assert not set_cookies(await house.raw("GET", "/whoami", headers=old))


async def test_logout_clear_sends_clear_site_data(house: House) -> None:
    await house.login("alice")
    answer = await house.client.post("/auth/logout?clear=true")
    assert answer.headers["clear-site-data"] == '"cache", "storage"'
    assert "clear-site-data" not in (await house.client.post("/auth/logout")).headers
    assert "clear-site-data" not in (await house.client.post("/auth/logout?clear=false")).headers


@pytest.mark.parametrize("query", ["clear=1", "clear=", "clear=true&clear=true", "clear=TRUE", "&".join(["a=b"] * 50)])
async def test_a_malformed_query_at_logout_is_400_and_ends_nothing(house: House, query: str) -> None:
    await house.login("alice")
    answer = await house.client.post(f"/auth/logout?{query}")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert (await house.client.get("/whoami")).json()["user"] == "alice"


async def test_logout_forgets_a_visitors_data(house: House) -> None:
    await house.client.put("/data/cart", json=["book"])
    visitor = cookie_header(house.client)
    await house.client.post("/auth/logout")
    assert not house.client.cookies
    assert (await house.raw("GET", "/data", headers=[("cookie", visitor)])).json() == {}


# ---------------------------------------------------------------------- somebody else's directory


@pytest.mark.parametrize(("error", "status"), [(KeyError("secret"), 503), (TimeoutError(), 503), (None, 401)])
async def test_a_directory_that_fails_is_503_and_nothing_of_it_is_told(
    houses: Any, error: Exception | None, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def verify(username: str, password: str) -> User | None:
        if error is not None:
            raise error
        return None

    house = await houses(directory=CallableDirectory(verify), users=False)
    with caplog.at_level(logging.CRITICAL, logger="asgi_auth"):
        answer = await house.client.post("/auth/login", json=ALICE)
    assert answer.status_code == status
    assert "secret" not in answer.text
    assert ("retry-after" in answer.headers) == (status == 503)


async def test_a_failing_directory_locks_nobody_out(houses: Any, caplog: pytest.LogCaptureFixture) -> None:
    failing = True

    async def verify(username: str, password: str) -> User | None:
        if failing:
            raise OSError("down")
        return User("alice", scopes=frozenset({"read"}))

    house = await houses(directory=CallableDirectory(verify), users=False, login_rate="1/minute")
    with caplog.at_level(logging.CRITICAL, logger="asgi_auth"):
        for _ in range(5):
            assert (await house.client.post("/auth/login", json=ALICE)).status_code == 503
    failing = False
    assert (await house.client.post("/auth/login", json=ALICE)).status_code == 200
