"""`GET /me`, `GET` and `DELETE /sessions` (design.md 5 and 10), and what a change of the user does to both modes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from endpoint_house import PASSWORDS, House, bearer, build, cookie_header, set_cookies

from asgi_auth.stores.opening import open_store
from asgi_auth.tokens.jose import decode_base64url


async def test_me_by_cookie_is_user_session_and_backend(house: House) -> None:
    login = await house.login("bob")
    answer = await house.client.get("/auth/me")
    assert answer.json() == {"user": login["user"], "session": login["session"], "backend": "session"}
    assert answer.headers["cache-control"] == "no-store"


async def test_me_by_bearer_asks_the_store_for_name_and_claims(house: House) -> None:
    await house.auth.update_user("bob", claims={"team": "walls"}, display_name="Bob the Builder")
    pair = await house.tokens("bob", scope="read")
    answer = (await house.get("/auth/me", pair["access_token"])).json()
    assert answer["user"] == {
        "id": "bob",
        "display_name": "Bob the Builder",
        "scopes": ["read"],
        "claims": {"team": "walls"},
    }
    assert answer["backend"] == answer["session"]["backend"] == "jwt"
    assert answer["session"]["idle_expires_at"] == answer["session"]["expires_at"] == house.clock() + 30 * 86_400
    in_the_app = (await house.get("/whoami", pair["access_token"])).json()
    assert in_the_app["session"] == answer["session"]["id"]
    assert in_the_app["expires_at"] == house.clock() + 600


async def test_me_is_401_for_nobody(house: House) -> None:
    for _ in range(2):
        answer = await house.client.get("/auth/me")
        assert (answer.status_code, answer.json()["error"]) == (401, "login_required")
        assert answer.headers.get_list("www-authenticate")[0] == 'Bearer realm="asgi-auth"'


async def test_head_is_get_without_a_body_in_status(house: House) -> None:
    await house.login()
    assert (await house.client.head("/auth/me")).status_code == 200
    assert (await house.stranger().head("/auth/me")).status_code == 401


async def test_me_and_sessions_never_count_as_activity(house: House) -> None:
    login = await house.login()
    for path in ("/auth/me", "/auth/sessions"):
        house.clock.advance(3600)
        await house.client.get(path)
    [session] = await house.auth.sessions("alice")
    assert session.last_seen_at == login["session"]["created_at"]
    assert session.idle_expires_at == login["session"]["idle_expires_at"]
    await house.client.get("/whoami")
    [session] = await house.auth.sessions("alice")
    assert session.last_seen_at == house.clock()
    assert (await house.client.get("/auth/me")).json()["session"]["idle_expires_at"] == house.clock() + 86_400


@pytest.mark.parametrize(
    "headers", [{"auth-passive": "1"}, {"sec-purpose": "prefetch"}, {"sec-purpose": "prefetch;prerender"}]
)
async def test_a_request_that_says_nobody_is_there_is_no_activity(house: House, headers: Any) -> None:
    login = await house.login()
    house.clock.advance(3600)
    assert (await house.client.get("/whoami", headers=headers)).json()["user"] == "alice"
    [session] = await house.auth.sessions("alice")
    assert session.last_seen_at == login["session"]["created_at"]


async def test_sessions_lists_both_modes_the_latest_first(house: House) -> None:
    first = await house.login()
    house.clock.advance(1)
    pair = await house.tokens(client=house.stranger(address="2001:db8:1:2:3::4"))
    house.clock.advance(1)
    await house.login("bob", client=house.stranger())
    listed = (await house.client.get("/auth/sessions")).json()["sessions"]
    assert [session["backend"] for session in listed] == ["jwt", "session"]
    assert [session["current"] for session in listed] == [False, True]
    assert listed[1] == first["session"]
    assert listed[0]["client"]["address"] == "2001:db8:1::/48"
    by_token = (await house.get("/auth/sessions", pair["access_token"])).json()["sessions"]
    assert [session["current"] for session in by_token] == [True, False]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("path", ["/auth/sessions", "/auth/sessions/00" + "a" * 22, "/auth/me"])
async def test_nobody_lists_or_ends_anything(house: House, method: str, path: str) -> None:
    answer = await house.client.request(method, path)
    assert answer.status_code in (401, 405)
    if answer.status_code == 401:
        assert answer.json()["error"] == "login_required"


# ---------------------------------------------------------------------- ending


async def test_a_session_ends_by_its_id_and_its_cookie_opens_nothing_more(house: House) -> None:
    other = house.stranger()
    there = await house.login(client=other)
    await house.login()
    answer = await house.client.delete(f"/auth/sessions/{there['session']['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert not set_cookies(answer)
    answer = await other.get("/auth/me")
    assert (answer.status_code, answer.json()["reason"]) == (401, "ended")
    again = await house.client.delete(f"/auth/sessions/{there['session']['id']}")
    assert again.status_code == 404


async def test_ending_ones_own_session_clears_its_cookie_however_old_the_login(house: House) -> None:
    login = await house.login()
    house.clock.advance(3600)
    answer = await house.client.delete(f"/auth/sessions/{login['session']['id']}")
    assert answer.status_code == 204
    assert not house.client.cookies


async def test_another_users_session_id_is_404(house: House) -> None:
    """As an unknown one is, to the byte; and nothing happens to it."""
    bob = house.stranger()
    there = await house.login("bob", client=bob)
    token = await house.tokens("bob")
    by_token = json.loads(_payload(token["access_token"]))["sid"]
    await house.login("alice")
    unknown = await house.client.delete("/auth/sessions/00" + "a" * 22)
    assert unknown.status_code == 404
    for sid in (there["session"]["id"], by_token):
        answer = await house.client.delete(f"/auth/sessions/{sid}")
        assert (answer.status_code, answer.content) == (404, unknown.content)
        assert answer.headers == unknown.headers
    assert (await bob.get("/whoami")).json()["user"] == "bob"
    assert (await house.get("/whoami", token["access_token"])).status_code == 200


async def test_a_visitors_session_is_nobodys_to_end(house: House) -> None:
    visitor = house.stranger()
    await visitor.put("/data/a", json=1)
    sid = cookie_header(visitor).split(".")[1]
    await house.login()
    assert (await house.client.delete(f"/auth/sessions/{sid}")).status_code == 404
    assert (await visitor.get("/data")).json() == {"a": 1}


@pytest.mark.parametrize("url", ["memory://", "sqlite"])
@pytest.mark.parametrize(
    "sid",
    [
        "..",
        "%00",
        "00",
        "*",
        "'; drop table sessions; --",
        "a" * 8000,
        "\ufffd" * 30,
        "\ud800" * 24,
        "\x00" * 24,
        "é" * 24,
        "00" + "a" * 21 + "\n",
        "zz" + "a" * 22,
        "{0}",
        "s:00",
        " ",
        "00aaaaaaaaaaaaaaaaaaaaaa}{",
    ],
)
async def test_an_odd_session_id_is_404(houses: Any, sid: str, url: str, tmp_path: Path) -> None:
    house = await houses(store_url=url if "://" in url else f"sqlite:///{tmp_path / 's.sqlite3'}")
    await house.login()
    headers = [("cookie", cookie_header(house.client))]
    answer = await house.raw("DELETE", f"/auth/sessions/{sid}", headers=headers, raw_path=b"/x")
    assert answer.status == 404
    assert (await house.client.get("/whoami")).json()["user"] == "alice"


@pytest.mark.parametrize("path", ["/auth/sessions/", "/auth/sessions/a/b", "/auth/sessions//", "/auth/me/", "/auth"])
async def test_what_is_not_in_the_table_reaches_the_app(house: House, path: str) -> None:
    await house.login()
    answer = await house.client.delete(path)
    assert (answer.status_code, answer.text) == (404, "Not Found")
    assert len(await house.auth.sessions("alice")) == 1


async def test_delete_sessions_ends_all_others_in_both_modes(house: House) -> None:
    other, pair = house.stranger(), await house.tokens()
    await house.login(client=other)
    bob = house.stranger()
    await house.login("bob", client=bob)
    mine = await house.login()
    answer = await house.client.delete("/auth/sessions")
    assert answer.status_code == 204
    assert [session.id for session in await house.auth.sessions("alice")] == [mine["session"]["id"]]
    assert (await other.get("/whoami")).json()["user"] is None
    assert (await house.get("/whoami", pair["access_token"])).status_code == 401
    assert (await house.refresh(pair["refresh_token"])).status_code == 400
    assert (await house.client.get("/whoami")).json()["user"] == "alice"
    assert (await bob.get("/whoami")).json()["user"] == "bob"


async def test_delete_all_sessions_ends_this_one_as_well(house: House) -> None:
    await house.tokens()
    await house.login()
    answer = await house.client.delete("/auth/sessions?all=true")
    assert answer.status_code == 204
    assert await house.auth.sessions("alice") == []
    assert not house.client.cookies


async def test_delete_sessions_by_bearer_keeps_the_refresh_token(house: House) -> None:
    await house.login()
    pair = await house.tokens()
    assert (await house.stranger().delete("/auth/sessions", headers=bearer(pair["access_token"]))).status_code == 204
    assert (await house.client.get("/whoami")).json()["user"] is None
    assert (await house.refresh(pair["refresh_token"])).status_code == 200


@pytest.mark.parametrize("query", ["all=1", "all=", "all=true&all=false", "all=yes"])
async def test_a_malformed_query_ends_nothing(house: House, query: str) -> None:
    await house.login()
    await house.tokens()
    assert (await house.client.delete(f"/auth/sessions?{query}")).status_code == 400
    assert len(await house.auth.sessions("alice")) == 2


async def _by_cookie(house: House) -> Any:
    await house.login()
    return {"headers": {"cookie": cookie_header(house.client)}}


async def _by_token(house: House) -> Any:
    return {"headers": bearer((await house.tokens())["access_token"])}


@pytest.mark.parametrize("who", [_by_cookie, _by_token])
async def test_ending_other_sessions_needs_a_fresh_login(houses: Any, who: Any) -> None:
    house = await houses(fresh="5m")
    there = await house.login(client=house.stranger())
    request = await who(house)
    house.clock.advance(301)
    for path in ("/auth/sessions", "/auth/sessions?all=true", f"/auth/sessions/{there['session']['id']}"):
        answer = await house.stranger().delete(path, **request)
        assert (answer.status_code, answer.json()["error"]) == (401, "insufficient_user_authentication")
        assert answer.headers.get_list("www-authenticate")[0] == (
            'Bearer realm="asgi-auth", error="insufficient_user_authentication", '
            'error_description="Log in again: this needs a recent login", max_age="300"'
        )
    assert len(await house.auth.sessions("alice")) == 2
    assert (await house.stranger().get("/auth/sessions", **request)).status_code == 200
    assert (await house.stranger().post("/auth/logout", **request)).status_code == 204


async def test_a_refresh_does_not_make_a_login_fresh(houses: Any) -> None:
    house = await houses(fresh="5m")
    pair = await house.tokens()
    house.clock.advance(301)
    pair = (await house.refresh(pair["refresh_token"])).json()
    answer = await house.stranger().delete("/auth/sessions", headers=bearer(pair["access_token"]))
    assert answer.json()["error"] == "insufficient_user_authentication"


# ---------------------------------------------------------------------- what is never told


async def test_no_answer_contains_a_credential_of_another_session(house: House) -> None:
    """Nor of this one, but where it is handed out."""
    other = house.stranger()
    await house.login(client=other)
    pair = await house.tokens()
    await house.login()
    secrets = [value.split(".")[2] for value in (cookie_header(other), cookie_header(house.client))]
    secrets += [pair["access_token"].split(".")[2], *pair["refresh_token"].split(".")[2:]]
    for path in ("/auth/me", "/auth/sessions", "/whoami"):
        for answer in (await house.client.get(path), await house.get(path, pair["access_token"])):
            everything = answer.text + str(answer.headers.multi_items())
            assert not [secret for secret in secrets if secret in everything]
            assert "digest" not in everything
            assert "nonce" not in everything


async def test_the_session_secret_leaves_only_in_set_cookie(house: House) -> None:
    answer = await house.client.post("/auth/login", json={"username": "alice", "password": PASSWORDS["alice"]})
    secret = cookie_header(house.client).split(".")[2]
    assert secret not in answer.text
    assert [name for name, value in answer.headers.multi_items() if secret in value] == ["set-cookie"]


# ---------------------------------------------------------------------- reasons


@pytest.mark.parametrize(
    ("settings", "seconds", "reason"),
    [
        ({"session_idle": "10m"}, 601, "expired"),
        ({"session_idle": "1h", "session_lifetime": "1h"}, 3601, "expired"),
    ],
)
async def test_the_holder_of_an_expired_cookie_is_told_expired(
    houses: Any, settings: Any, seconds: float, reason: str
) -> None:
    house = await houses(**settings)
    await house.login()
    house.clock.advance(seconds)
    for path in ("/auth/me", "/private"):
        answer = await house.raw("GET", path, headers=[("cookie", cookie_header(house.client))])
        assert answer.status == 401
        assert answer.json() == {"error": "login_required", "error_description": "Log in first", "reason": reason}


async def _revoked(house: House, sid: str) -> None:
    await house.auth.revoke(sid)


async def _disabled(house: House, sid: str) -> None:
    await house.auth.disable_user("alice")


async def _password(house: House, sid: str) -> None:
    await house.auth.set_password("alice", "a looking glass house")


async def _deleted(house: House, sid: str) -> None:
    await house.auth.delete_user("alice")


async def _everybody(house: House, sid: str) -> None:
    await house.auth.revoke_all()


async def _logged_out(house: House, sid: str) -> None:
    await house.stranger().post("/auth/logout", headers={"cookie": cookie_header(house.client)})


@pytest.mark.parametrize("end", [_revoked, _disabled, _password, _deleted, _everybody, _logged_out])
async def test_the_holder_of_an_ended_cookie_is_told_ended_and_nothing_finer(house: House, end: Any) -> None:
    login = await house.login()
    await end(house, login["session"]["id"])
    for path in ("/auth/me", "/private"):
        answer = await house.raw("GET", path, headers=[("cookie", cookie_header(house.client))])
        assert answer.status == 401
        assert answer.json() == {"error": "login_required", "error_description": "Log in first", "reason": "ended"}
        assert answer.all("www-authenticate")[0] == 'Bearer realm="asgi-auth"'


def _other_end(value: str) -> str:
    return value[:-1] + ("A" if value[-1] != "A" else "B")


@pytest.mark.parametrize("spoil", [_other_end, lambda value: "garbage", lambda value: value + "="])
async def test_the_holder_of_a_forged_cookie_is_told_nothing(house: House, spoil: Any) -> None:
    await house.login()
    name, _, value = cookie_header(house.client).partition("=")
    answer = await house.raw("GET", "/auth/me", headers=[("cookie", f"{name}={spoil(value)}")])
    assert answer.json() == {"error": "login_required", "error_description": "Log in first"}


@pytest.mark.parametrize("mode", ["session", "jwt"])
@pytest.mark.parametrize("which", ["idle", "absolute"])
async def test_idle_and_absolute_end(houses: Any, mode: str, any_store: str, which: str) -> None:
    """In cookie mode activity moves the idle end; in JWT mode a refresh does. Nothing moves the absolute one."""
    house = await houses(
        store_url=any_store,
        session_idle="20m",
        refresh_lifetime="20m",
        session_lifetime="1h",
    )
    pair: Any = None
    if mode == "session":
        await house.login()
    else:
        pair = await house.tokens()

    async def alive() -> bool:
        nonlocal pair
        if mode == "session":
            return bool((await house.client.get("/whoami")).json()["user"])
        answer = await house.refresh(pair["refresh_token"])
        pair = answer.json() if answer.status_code == 200 else pair
        return answer.status_code == 200

    if which == "idle":
        house.clock.advance(1199)
        assert await alive()
        house.clock.advance(1200)
        assert not await alive()
        return
    for _ in range(3):
        house.clock.advance(1190)
        assert await alive()
    house.clock.advance(31)
    assert not await alive()


# ---------------------------------------------------------------------- changes of the user, in both modes


async def test_update_user_reaches_cookies_and_tokens(house: House) -> None:
    await house.login("bob")
    pair = await house.tokens("bob")
    assert (await house.client.get("/admin")).status_code == 200
    await house.auth.update_user("bob", scopes="read")
    assert (await house.client.get("/admin")).status_code == 403
    assert (await house.client.get("/whoami")).json()["scopes"] == ["authenticated", "read"]
    answer = await house.get("/admin", pair["access_token"])
    assert (answer.status_code, answer.json()["error_description"]) == (401, "The access token is out of date")
    pair = (await house.refresh(pair["refresh_token"])).json()
    assert (await house.get("/admin", pair["access_token"])).status_code == 403
    assert (await house.client.get("/auth/me")).json()["user"]["scopes"] == ["read"]


async def test_an_update_that_changes_nothing_puts_no_token_out_of_date(house: House) -> None:
    pair = await house.tokens()
    await house.auth.update_user("alice", scopes=["read"])
    assert (await house.get("/whoami", pair["access_token"])).status_code == 200


async def test_disable_user_ends_both_modes(house: House) -> None:
    await house.login()
    pair = await house.tokens()
    await house.auth.disable_user("alice")
    assert (await house.client.get("/whoami")).json()["user"] is None
    assert (await house.get("/whoami", pair["access_token"])).status_code == 401
    assert (await house.refresh(pair["refresh_token"])).status_code == 400
    await house.auth.enable_user("alice")
    assert (await house.get("/whoami", pair["access_token"])).status_code == 401
    assert (await house.refresh(pair["refresh_token"])).status_code == 400


async def test_revoke_all_ends_every_session_and_token(house: House) -> None:
    await house.login()
    bob, visitor = house.stranger(), house.stranger()
    await house.login("bob", client=bob)
    await visitor.put("/data/a", json=1)
    pairs = [await house.tokens(), await house.tokens("bob")]
    await house.auth.revoke_all()
    for client in (house.client, bob):
        assert (await client.get("/whoami")).json()["user"] is None
    assert (await visitor.get("/data")).json() == {}
    for pair in pairs:
        assert (await house.get("/whoami", pair["access_token"])).status_code == 401
        assert (await house.refresh(pair["refresh_token"])).status_code == 400
    await house.login()
    assert (await house.client.get("/whoami")).json()["user"] == "alice"


async def test_after_logout_the_access_token_is_refused_in_every_process(houses: Any, tmp_path: Path) -> None:
    """Two `Auth`s over one store stand for two processes."""
    url = f"sqlite:///{tmp_path / 'store.sqlite3'}"
    here, there = await houses(store_url=url), await houses(store_url=url, users=False)
    pair = await here.tokens()
    assert (await there.get("/whoami", pair["access_token"])).status_code == 200
    await here.client.post("/auth/logout", headers=bearer(pair["access_token"]))
    answer = await there.get("/whoami", pair["access_token"])
    assert (answer.status_code, answer.json()["error_description"]) == (401, "The access token was revoked")


async def test_a_key_rotated_elsewhere_is_known_here(houses: Any, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.sqlite3'}"
    here, there = await houses(store_url=url), await houses(store_url=url, users=False)
    old = await here.tokens()
    await there.get("/whoami", old["access_token"])
    await (await here.auth.opened()).keys.rotate()
    new = await here.tokens()
    assert (await there.get("/whoami", new["access_token"])).status_code == 200
    assert (await there.get("/whoami", old["access_token"])).status_code == 200


async def test_the_package_makes_no_user(clock: Any) -> None:
    store = open_store("memory://", timeout=5.0, clock=clock)
    house = await build(clock, store=store, users=False)
    await house.auth.opened()
    await house.client.get("/whoami")
    await house.client.post("/auth/login", json={"username": "admin", "password": "admin"})
    assert await store.users() == []
    await house.aclose()


def _payload(token: str) -> bytes:
    return decode_base64url(token.split(".")[1].encode())
