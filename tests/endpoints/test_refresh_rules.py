"""Refresh tokens over HTTP (design.md 5): used once, given again while nobody has seen the successor, theft after."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import anyio
import pytest
from endpoint_house import House, bearer, cookie_header

from asgi_auth import User
from asgi_auth.directory import CallableDirectory
from asgi_auth.errors import StoreUnavailable
from asgi_auth.tokens.jose import decode_base64url


def claims_of(token: str) -> dict[str, Any]:
    return json.loads(decode_base64url(token.split(".")[1].encode()))


async def refreshed(house: House, pair: Any, **more: Any) -> Any:
    answer = await house.refresh(pair["refresh_token"], **more)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def refused(house: House, pair: Any, **more: Any) -> None:
    answer = await house.refresh(pair["refresh_token"], **more)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant"), answer.text


async def dead(house: House, *pairs: Any) -> None:
    """Neither an access nor a refresh token of these opens anything."""
    for pair in pairs:
        answer = await house.get("/whoami", pair["access_token"])
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
        await refused(house, pair)


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store_url(request: Any, tmp_path: Path) -> str:
    if request.param == "redis":
        url: str = request.getfixturevalue("redis_url")
        return url
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'store.sqlite3'}"


@pytest.fixture
async def either(houses: Any, store_url: str) -> House:
    """A house on each of the stores."""
    return await houses(store_url=store_url)


# ---------------------------------------------------------------------- given again


async def test_a_lost_answer_is_given_again_with_a_fresh_access_token(either: House) -> None:
    first = await either.tokens()
    answers = [await refreshed(either, first) for _ in range(3)]
    assert len({answer["refresh_token"] for answer in answers}) == 1
    assert len({answer["access_token"] for answer in answers}) == 3
    assert answers[0]["refresh_token"] != first["refresh_token"]
    for answer in answers:
        assert (await either.get("/whoami", answer["access_token"])).json()["user"] == "alice"


async def test_sixteen_refreshes_at_once_make_one_successor(either: House) -> None:
    first = await either.tokens()
    answers: list[Any] = []

    async def one() -> None:
        answers.append(await refreshed(either, first))

    async with anyio.create_task_group() as tasks:
        for _ in range(16):
            tasks.start_soon(one)
    assert len({answer["refresh_token"] for answer in answers}) == 1
    assert len({answer["access_token"] for answer in answers}) == 16
    assert len(await either.auth.sessions("alice")) == 1
    following = await refreshed(either, answers[7])
    assert (await either.get("/whoami", following["access_token"])).status_code == 200


async def test_until_the_successor_is_seen_it_is_given_again_for_an_hour_and_the_grace(house: House) -> None:
    first = await house.tokens()
    second = await refreshed(house, first)
    house.clock.advance(3609)
    assert (await refreshed(house, first))["refresh_token"] == second["refresh_token"]
    house.clock.advance(1)
    await refused(house, first)
    await refused(house, second)


async def test_giving_it_again_does_not_extend_the_hour(house: House) -> None:
    first = await house.tokens()
    await refreshed(house, first)
    for _ in range(5):
        house.clock.advance(700)
        await refreshed(house, first)
    house.clock.advance(110)
    await refused(house, first)


async def _by_its_access_token(house: House, pair: Any) -> None:
    assert (await house.get("/whoami", pair["access_token"])).status_code == 200


async def _by_me(house: House, pair: Any) -> None:
    assert (await house.get("/auth/me", pair["access_token"])).status_code == 200


@pytest.mark.parametrize("seen", [_by_its_access_token, _by_me])
async def test_once_the_successor_is_seen_its_predecessor_has_the_grace_and_no_more(either: House, seen: Any) -> None:
    first = await either.tokens()
    second = await refreshed(either, first)
    await seen(either, second)
    either.clock.advance(9)
    assert (await refreshed(either, first))["refresh_token"] == second["refresh_token"]
    await _by_its_access_token(either, await refreshed(either, first))  # seen again: not extended
    either.clock.advance(2)
    await refused(either, first)
    await dead(either, first, second)
    assert await either.auth.sessions("alice") == []


async def test_the_predecessors_access_token_confirms_nothing(house: House) -> None:
    """Only the successor's own tokens say that the answer arrived."""
    first = await house.tokens()
    second = await refreshed(house, first)
    await _by_its_access_token(house, first)
    house.clock.advance(60)
    assert (await refreshed(house, first))["refresh_token"] == second["refresh_token"]


async def test_a_reused_refresh_token_ends_the_session_and_says_so(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    first = await house.tokens()
    second = await refreshed(house, first)
    third = await refreshed(house, second)
    house.clock.advance(11)
    with caplog.at_level(logging.INFO, logger="asgi_auth.security"):
        await refused(house, first)
    events = [json.loads(record.getMessage()) for record in caplog.records if record.name == "asgi_auth.security"]
    [reuse] = [event for event in events if event["event"].startswith("authn_token_reuse")]
    sid = claims_of(first["access_token"])["sid"]
    assert (reuse["event"], reuse["level"]) == (f"authn_token_reuse:alice,{sid}", "CRITICAL")
    await dead(house, first, second, third)


async def test_two_generations_back_is_theft_at_once(house: House) -> None:
    first = await house.tokens()
    third = await refreshed(house, await refreshed(house, first))
    await refused(house, first)
    await dead(house, third)


async def test_reuse_ends_that_session_alone(house: House) -> None:
    first, other = await house.tokens(), await house.tokens()
    await refreshed(house, await refreshed(house, first))
    await refused(house, first)
    await refreshed(house, other)


async def test_grace_zero_is_strict_rotation(houses: Any) -> None:
    """RFC 9700 §4.14.2 to the letter."""
    house = await houses(refresh_grace=0, refresh_redelivery=0)
    first = await house.tokens()
    second = await refreshed(house, first)
    await refused(house, first)
    await dead(house, first, second)


async def test_grace_zero_alone_ends_redelivery_when_the_successor_is_seen(houses: Any) -> None:
    house = await houses(refresh_grace=0)
    first = await house.tokens()
    second = await refreshed(house, first)
    await refreshed(house, first)
    await _by_its_access_token(house, second)
    await refused(house, first)


async def test_the_successor_is_given_again_for_the_same_scope_only(house: House) -> None:
    first = await house.tokens("bob")
    second = await refreshed(house, first, scope="read")
    for scope in ({"scope": "admin"}, {"scope": "read admin"}, {}):
        answer = await house.refresh(first["refresh_token"], **scope)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")
    assert (await refreshed(house, first, scope="read"))["refresh_token"] == second["refresh_token"]


async def test_the_successor_is_given_again_to_the_same_client_only(house: House) -> None:
    first = await house.tokens(client_id="cli")
    await refreshed(house, first, client_id="cli")
    await refused(house, first, client_id="other")
    await refreshed(house, first, client_id="cli")


# ---------------------------------------------------------------------- ends


async def test_no_refresh_outlives_the_session_lifetime(houses: Any) -> None:
    house = await houses(session_lifetime="1h")
    pair, end = await house.tokens(), house.clock() + 3600
    for _ in range(8):
        house.clock.advance(420)
        pair = await refreshed(house, pair)
        assert claims_of(pair["access_token"])["exp"] <= end
        assert house.clock() + pair["expires_in"] <= end
    house.clock.advance(end - house.clock() + 0.001)
    await refused(house, pair)
    assert (await house.get("/whoami", pair["access_token"])).status_code == 401


async def test_a_refresh_token_dies_when_it_lies_idle(houses: Any) -> None:
    house = await houses(refresh_lifetime="1h")
    pair = await house.tokens()
    house.clock.advance(3599)
    pair = await refreshed(house, pair)
    house.clock.advance(3601)
    await refused(house, pair)


async def test_deleting_a_session_kills_its_refresh_token(house: House) -> None:
    pair = await house.tokens()
    sid = claims_of(pair["access_token"])["sid"]
    await house.login("alice")
    assert (await house.client.delete(f"/auth/sessions/{sid}")).status_code == 204
    await dead(house, pair)


async def test_deleting_the_session_kills_what_would_be_given_again(house: House) -> None:
    first = await house.tokens()
    second = await refreshed(house, first)
    await house.auth.revoke(claims_of(first["access_token"])["sid"])
    await dead(house, first, second)


async def test_refresh_moves_neither_auth_time_nor_amr(house: House) -> None:
    pair = await house.tokens()
    at_login = claims_of(pair["access_token"])
    for _ in range(3):
        house.clock.advance(300)
        pair = await refreshed(house, pair)
        now = claims_of(pair["access_token"])
        assert (now["auth_time"], now["amr"], now["sid"]) == (at_login["auth_time"], ["pwd"], at_login["sid"])
        assert now["iat"] == int(house.clock())
    [session] = await house.auth.sessions("alice")
    assert (session.authenticated_at, session.created_at) == (at_login["auth_time"], at_login["auth_time"])
    assert session.last_seen_at == house.clock()


async def test_bearer_calls_and_refreshes_do_not_move_a_cookie_sessions_idle_end(house: House) -> None:
    login = await house.login("alice")
    pair = await house.tokens()
    house.clock.advance(3600)
    pair = await refreshed(house, pair)
    await _by_its_access_token(house, pair)
    answer = await house.client.get("/auth/me")
    assert answer.json()["session"]["idle_expires_at"] == login["session"]["idle_expires_at"]


async def test_an_access_token_expires_by_the_clock_and_its_leeway(house: House) -> None:
    pair = await house.tokens()
    house.clock.advance(629)
    assert (await house.get("/whoami", pair["access_token"])).status_code == 200
    house.clock.advance(1)
    answer = await house.get("/whoami", pair["access_token"])
    assert answer.json() == {"error": "invalid_token", "error_description": "The access token expired"}
    await refreshed(house, pair)


# ---------------------------------------------------------------------- what the user has become


async def test_after_update_user_a_token_is_out_of_date_and_refreshes_into_the_new_rights(either: House) -> None:
    pair = await either.tokens()
    await either.auth.update_user("alice", scopes="read write")
    answer = await either.get("/whoami", pair["access_token"])
    assert (answer.status_code, answer.json()["error_description"]) == (401, "The access token is out of date")
    pair = await refreshed(either, pair)
    assert pair["scope"] == "read write"
    assert (await either.get("/whoami", pair["access_token"])).status_code == 200


async def _password(house: House) -> None:
    await house.auth.set_password("alice", "a looking glass house")


async def _disable(house: House) -> None:
    await house.auth.disable_user("alice")


async def _disable_and_enable(house: House) -> None:
    await house.auth.disable_user("alice")
    await house.auth.enable_user("alice")


async def _delete(house: House) -> None:
    await house.auth.delete_user("alice")


async def _delete_and_come_back(house: House) -> None:
    await house.auth.delete_user("alice")
    await house.auth.create_user("alice", "a looking glass house", id="alice", scopes="read")


async def _revoke_user(house: House) -> None:
    await house.auth.revoke_user("alice")


async def _revoke_all(house: House) -> None:
    await house.auth.revoke_all()


@pytest.mark.parametrize(
    "end", [_password, _disable, _disable_and_enable, _delete, _delete_and_come_back, _revoke_user, _revoke_all]
)
async def test_what_ends_a_user_ends_tokens_old_and_new(either: House, end: Any) -> None:
    first = await either.tokens()
    second = await refreshed(either, first)
    await end(either)
    await dead(either, first, second)


async def test_a_user_who_left_the_directory_cannot_refresh_and_is_logged_out(houses: Any) -> None:
    here: dict[str, User] = {"alice": User("alice", scopes=frozenset({"read"}))}

    class People:
        async def verify(self, username: str, password: str) -> User | None:
            return here.get(username)

        async def by_id(self, user_id: str) -> User | None:
            return here.get(user_id)

    people = People()
    house = await houses(directory=CallableDirectory(people.verify, people.by_id), users=False)
    pair = await house.tokens()
    here["alice"] = User("alice", scopes=frozenset({"read", "more"}))
    pair = await refreshed(house, pair)
    assert pair["scope"] == "more read"
    del here["alice"]
    await refused(house, pair)
    here["alice"] = User("alice")
    await dead(house, pair)
    assert await house.auth.sessions("alice") == []


async def test_a_directory_that_says_the_same_again_leaves_access_tokens_alone(houses: Any, tmp_path: Any) -> None:
    async def verify(username: str, password: str) -> User | None:
        return User(username, scopes=frozenset({"read"}))

    async def by_id(user_id: str) -> User | None:
        return User(user_id, scopes=frozenset({"read"}))

    url = f"sqlite:///{tmp_path / 'x.sqlite3'}"
    house = await houses(store_url=url, directory=CallableDirectory(verify, by_id), users=False, user_refresh="5m")
    token = (await house.tokens())["access_token"]
    house.clock.advance(301)
    assert (await house.get("/private", token)).status_code == 200


async def test_refresh_and_revoke_at_once_leave_nothing_alive(either: House) -> None:
    """Refresh and revoke are one order: nothing is born after its session's end."""
    for _ in range(20):
        first = await either.tokens()
        born: list[Any] = []

        async def refresh(pair: Any = first, born: list[Any] = born) -> None:
            answer = await either.refresh(pair["refresh_token"])
            if answer.status_code == 200:
                born.append(answer.json())

        async def revoke(pair: Any = first) -> None:
            await either.stranger().post("/auth/revoke", data={"token": pair["refresh_token"]})

        async with anyio.create_task_group() as tasks:
            for work in (refresh, revoke, refresh):
                tasks.start_soon(work)
        for pair in (first, *born):
            assert (await either.get("/whoami", pair["access_token"])).status_code == 401
            await refused(either, pair)


async def test_a_refresh_carries_no_cookie_and_touches_none(house: House) -> None:
    """A losing or failed refresh never clears a cookie that somebody may just have set."""
    await house.login("alice")
    before = cookie_header(house.client)
    pair = await house.tokens()
    for token in (pair["refresh_token"], "garbage"):
        form = {"grant_type": "refresh_token", "refresh_token": token}
        answer = await house.client.post("/auth/token", data=form, headers=bearer("garbage"))
        assert "set-cookie" not in answer.headers
    assert cookie_header(house.client) == before


async def test_tokens_survive_a_restart_and_rotated_ones_stay_dead(houses: Any, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.sqlite3'}"
    before = await houses(store_url=url)
    first = await before.tokens()
    second = await refreshed(before, first)
    third = await refreshed(before, second)
    await before.auth.aclose()
    after = await houses(store_url=url, users=False)
    assert (await after.get("/whoami", third["access_token"])).json()["user"] == "alice"
    await refused(after, first)
    await dead(after, third)


async def test_without_a_key_to_sign_with_no_refresh_token_is_used_up(
    either: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await either.tokens()

    async def silent() -> Any:
        raise StoreUnavailable("no answer")

    with monkeypatch.context() as patched:
        patched.setattr(either.store, "keys", silent)
        assert (await either.refresh(first["refresh_token"])).status_code == 503
    either.clock.advance(2 * 3600)
    await refreshed(either, first)


async def test_rights_too_many_for_a_token_use_no_refresh_token_up(house: House) -> None:
    first = await house.tokens()
    await house.auth.update_user("alice", scopes=[f"projects:{number}:administrator" for number in range(300)])
    answer = await house.refresh(first["refresh_token"])
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")
    house.clock.advance(2 * 3600)
    await house.auth.update_user("alice", scopes=["read"])
    assert (await refreshed(house, first))["scope"] == "read"
