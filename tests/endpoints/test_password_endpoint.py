"""`POST /password` (sessions.md 6): the current password, a new one, and what becomes of the user's sessions."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest
from endpoint_house import PASSWORDS, House, bearer, cookie_header, set_cookies

from asgi_auth import User
from asgi_auth.directory import CallableDirectory

NEW = "a looking glass house"
CHANGE = {"current_password": PASSWORDS["alice"], "new_password": NEW}


async def test_password_change_ends_all_others(house: House) -> None:
    """In both modes; this one stays and gets a new secret, without grace."""
    other, pair = house.stranger(), await house.tokens()
    await house.login(client=other)
    bob = house.stranger()
    await house.login("bob", client=bob)
    mine = await house.login()
    await house.client.put("/data/cart", json=["book"])
    old = cookie_header(house.client)
    answer = await house.client.post("/auth/password", json=CHANGE)
    assert (answer.status_code, answer.content) == (204, b"")
    assert len(set_cookies(answer)) == 1
    assert cookie_header(house.client) != old
    [session] = await house.auth.sessions("alice")
    assert session.id == mine["session"]["id"]
    assert (await house.client.get("/data")).json() == {"cart": ["book"]}
    assert (await house.raw("GET", "/whoami", headers=[("cookie", old)])).json()["user"] is None
    assert (await other.get("/whoami")).json()["user"] is None
    assert (await house.get("/whoami", pair["access_token"])).status_code == 401
    assert (await house.refresh(pair["refresh_token"])).status_code == 400
    assert (await bob.get("/whoami")).json()["user"] == "bob"


async def test_the_new_password_logs_in_and_the_old_one_does_not(house: House) -> None:
    await house.login()
    await house.client.post("/auth/password", json=CHANGE)
    client = house.stranger()
    for password, status in ((PASSWORDS["alice"], 401), (NEW, 200)):
        answer = await client.post("/auth/login", json={"username": "alice", "password": password})
        assert answer.status_code == status


async def test_by_bearer_the_session_keeps_its_refresh_token(house: House) -> None:
    await house.login()
    pair = await house.tokens()
    answer = await house.stranger().post("/auth/password", json=CHANGE, headers=bearer(pair["access_token"]))
    assert answer.status_code == 204
    assert not set_cookies(answer)
    assert (await house.client.get("/whoami")).json()["user"] is None
    answer = await house.get("/whoami", pair["access_token"])
    assert answer.json()["error_description"] == "The access token is out of date"
    again = await house.refresh(pair["refresh_token"])
    assert again.status_code == 200
    assert (await house.get("/whoami", again.json()["access_token"])).status_code == 200


async def test_a_remembered_cookie_stays_remembered_for_what_is_left(house: House) -> None:
    await house.login(remember=True)
    house.clock.advance(3600)
    [cookie] = set_cookies(await house.client.post("/auth/password", json=CHANGE))
    assert f"; Max-Age={30 * 86_400 - 3600};" in cookie


async def test_a_password_change_moves_neither_lifetime_nor_auth_time(house: House) -> None:
    login = await house.login()
    house.clock.advance(3600)
    await house.client.post("/auth/password", json=CHANGE)
    [session] = await house.auth.sessions("alice")
    assert session.expires_at == login["session"]["expires_at"]
    assert session.authenticated_at == login["session"]["authenticated_at"]


async def test_a_wrong_current_password_is_401_and_changes_nothing(house: House) -> None:
    other = house.stranger()
    await house.login(client=other)
    await house.login()
    before = cookie_header(house.client)
    answer = await house.client.post("/auth/password", json={**CHANGE, "current_password": "wrong"})
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_credentials")
    assert answer.headers.get_list("www-authenticate")[0] == 'Bearer realm="asgi-auth"'
    assert cookie_header(house.client) == before
    assert (await other.get("/whoami")).json()["user"] == "alice"
    await house.login(client=house.stranger())


@pytest.mark.parametrize(
    "new",
    [
        "short",
        "x" * 14,
        "x" * 1025,
        "aaaaaaaaaaaaaaaaaaaa",
        "passwordpassword",
        "alicealicealice",
        "\ud800" * 20,
        "",
        None,
        1,
        ["a looking glass house"],
    ],
)
async def test_a_new_password_that_is_none_is_400_and_says_why(house: House, new: Any) -> None:
    await house.login()
    body = json.dumps({**CHANGE, "new_password": new}).encode()
    answer = await house.client.post("/auth/password", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert len(answer.json()["error_description"]) > 20 or new == ""
    assert (await house.client.get("/whoami")).json()["user"] == "alice"
    await house.login(client=house.stranger())


async def test_weak_new_passwords_are_no_failed_logins(houses: Any) -> None:
    house = await houses(login_rate="1/minute")
    await house.login()
    for _ in range(4):
        answer = await house.client.post("/auth/password", json={**CHANGE, "new_password": "short"})
        assert answer.status_code == 400
    assert (await house.client.post("/auth/password", json=CHANGE)).status_code == 204


async def test_guessing_the_current_password_is_throttled_like_a_login(house: House) -> None:
    await house.login()
    for _ in range(11):
        answer = await house.client.post("/auth/password", json={**CHANGE, "current_password": "wrong"})
        assert answer.status_code == 401
    answer = await house.client.post("/auth/password", json=CHANGE)
    assert (answer.status_code, answer.json()["error"]) == (429, "too_many_requests")
    assert (await house.client.get("/whoami")).json()["user"] == "alice"


async def test_nobody_changes_a_password(house: House) -> None:
    answer = await house.client.post("/auth/password", json=CHANGE)
    assert (answer.status_code, answer.json()["error"]) == (401, "login_required")


@pytest.mark.parametrize("body", [b"not json", b"x" * 20_000, b""])
async def test_nobody_is_told_before_the_body_is_looked_at(house: House, body: bytes) -> None:
    assert (await house.raw("POST", "/auth/password", body=body)).status == 401


async def test_a_form_changes_no_password(house: House) -> None:
    """JSON alone, which no page of another site can send without asking."""
    await house.login()
    answer = await house.client.post("/auth/password", data=CHANGE)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_with_a_directory_of_the_applications_own_there_is_nothing_here(houses: Any) -> None:
    async def verify(username: str, password: str) -> User | None:
        return User(username)

    house = await houses(directory=CallableDirectory(verify), users=False)
    await house.login()
    answer = await house.client.post("/auth/password", json=CHANGE)
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


async def test_another_user_is_never_meant(house: House) -> None:
    await house.login()
    body = {**CHANGE, "username": "bob", "user_id": "bob", "id": "bob"}
    assert (await house.client.post("/auth/password", json=body)).status_code == 204
    await house.login("bob", client=house.stranger())


async def test_of_two_changes_at_once_one_wins_and_nobody_gets_a_500(house: House) -> None:
    clients = [house.stranger(), house.stranger()]
    for client in clients:
        await house.login(client=client)
    statuses = []

    async def change(client: Any, new: str) -> None:
        body = {**CHANGE, "new_password": new}
        statuses.append((await client.post("/auth/password", json=body)).status_code)

    async with anyio.create_task_group() as tasks:
        for client, new in zip(clients, ("the first of two houses", "the second of two houses"), strict=True):
            tasks.start_soon(change, client, new)
    assert sorted(statuses) == [204, 401]
    assert len(await house.auth.sessions("alice")) == 1


async def test_who_is_deleted_while_the_password_is_hashed_is_nobody(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.login()
    directory: Any = (await house.auth.opened()).directory
    change_password = directory.change_password

    async def slowly(user_id: str, *passwords: str, **more: Any) -> Any:
        await house.auth.delete_user(user_id)
        return await change_password(user_id, *passwords, **more)

    monkeypatch.setattr(directory, "change_password", slowly)
    answer = await house.client.post("/auth/password", json=CHANGE)
    assert (answer.status_code, answer.json()["reason"]) == (401, "ended")


async def test_a_login_under_way_with_the_old_password_makes_no_session(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The password was right when it was looked at; when the session is made it is not any more."""
    checked, changed = anyio.Event(), anyio.Event()
    users = (await house.auth.opened()).users
    authenticate = users.authenticate

    async def slowly(username: str, password: str) -> Any:
        row = await authenticate(username, password)
        checked.set()
        await changed.wait()
        return row

    monkeypatch.setattr(users, "authenticate", slowly)
    answers = []

    async def login() -> None:
        body = {"username": "alice", "password": PASSWORDS["alice"]}
        answers.append(await house.client.post("/auth/login", json=body))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(login)
        await checked.wait()
        await house.auth.set_password("alice", NEW)
        changed.set()
    assert (answers[0].status_code, answers[0].json()["error"]) == (401, "invalid_credentials")
    assert await house.auth.sessions("alice") == []


async def test_set_password_ends_every_session(house: House) -> None:
    await house.login()
    pair = await house.tokens()
    await house.auth.set_password("alice", NEW)
    assert (await house.client.get("/whoami")).json()["user"] is None
    assert (await house.get("/whoami", pair["access_token"])).status_code == 401
    assert (await house.refresh(pair["refresh_token"])).status_code == 400
    assert await house.auth.sessions("alice") == []


async def test_login_logout_and_password_change_have_no_grace(house: House) -> None:
    """The old secret is dead at once; the grace is for `rotate` alone."""
    login = {"username": "alice", "password": PASSWORDS["alice"]}
    changes = [("/auth/login", login), ("/auth/password", CHANGE), ("/auth/logout", None)]
    await house.login()
    for path, body in changes:
        old = cookie_header(house.client)
        assert (await house.client.post(path, json=body)).is_success
        answer = await house.raw("GET", "/whoami", headers=[("cookie", old)])
        assert answer.json()["user"] is None, path
