"""A directory of the application's own: asked again about users in use, slow, failing, gone (`USER_REFRESH`)."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import anyio
import pytest
from seats import ALICE, browser, cookie_of, handled, new_auth, set_cookies
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from asgi_auth import Auth, AuthMiddleware, User
from asgi_auth.directory import CallableDirectory


class People:
    """The application's own users: one, who may change."""

    def __init__(self) -> None:
        self.alice: User | None = ALICE
        self.asked = 0
        self.error: Exception | None = None

    async def verify(self, username: str, password: str) -> User | None:
        return self.alice if (username, password) == ("alice", "right") else None

    async def by_id(self, user_id: str) -> User | None:
        self.asked += 1
        await anyio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error
        return self.alice


async def page(request: Request) -> Response:
    return JSONResponse({"user": request.user.identity, "scopes": sorted(request.auth.scopes)})


class House:
    def __init__(self, clock: Any, *, by_id: bool = True, **settings: Any) -> None:
        self.people = People()
        directory = CallableDirectory(self.people.verify, self.people.by_id if by_id else None)
        self.auth: Auth = new_auth(clock=clock, directory=directory, **settings)
        self.app = AuthMiddleware(handled(page), self.auth)

    async def both(self) -> tuple[dict[str, str], dict[str, str]]:
        """alice's cookie and her token."""
        async with browser(self.app) as client:
            body = {"username": "alice", "password": "right"}
            assert (await client.post("/auth/login", json=body)).status_code == 200
            form = {"grant_type": "password", **body}
            pair = (await client.post("/auth/token", data=form)).json()
            return cookie_of(client), {"authorization": f"Bearer {pair['access_token']}"}

    async def get(self, headers: dict[str, str]) -> Any:
        async with browser(self.app) as client:
            return await client.get("/", headers=headers)


async def test_a_user_in_use_is_asked_for_again_only_once_in_a_while(clock: Any) -> None:
    house = House(clock, access_lifetime="1h")
    cookie, bearer = await house.both()
    for _ in range(3):
        for headers in (cookie, bearer):
            assert (await house.get(headers)).json()["user"] == "alice"
    assert house.people.asked == 0
    for times in (1, 2, 3):
        clock.advance(301)
        for headers in (bearer, cookie, bearer):
            answer = await house.get(headers)
            assert answer.status_code == 200, answer.text  # nothing has changed, so nobody has to refresh
            assert answer.json()["user"] == "alice"
        assert house.people.asked == times


async def test_a_change_reaches_the_cookie_at_once_and_the_token_with_its_refresh(clock: Any) -> None:
    house = House(clock, access_lifetime="1h")
    cookie, bearer = await house.both()
    house.people.alice = replace(ALICE, scopes=frozenset({"read", "admin"}))
    assert (await house.get(cookie)).json()["scopes"] == ["authenticated", "read"]
    clock.advance(301)
    assert (await house.get(cookie)).json()["scopes"] == ["admin", "authenticated", "read"]
    answer = await house.get(bearer)
    assert answer.status_code == 401
    assert answer.json()["error_description"] == "The access token is out of date"


@pytest.mark.parametrize("first", ["cookie", "bearer"])
async def test_a_user_who_is_gone_loses_all_sessions(clock: Any, first: str) -> None:
    house = House(clock, access_lifetime="1h")
    cookie, bearer = await house.both()
    house.people.alice = None
    clock.advance(301)
    for headers in (cookie, bearer) if first == "cookie" else (bearer, cookie):
        answer = await house.get(headers)
        if headers is cookie:
            assert answer.json()["user"] == ""
            assert "Max-Age=0" in set_cookies(answer)[0]
        else:
            assert answer.status_code == 401
            assert answer.json()["error_description"] == "The access token was revoked"
    assert await house.auth.sessions("alice") == []
    house.people.alice = ALICE  # back, with the same id
    assert (await house.get(cookie)).json()["user"] == ""
    assert (await house.get(bearer)).status_code == 401


async def test_the_end_of_a_gone_users_sessions_is_logged(clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "asgi_auth.security")
    house = House(clock)
    cookie, _ = await house.both()
    house.people.alice = None
    clock.advance(301)
    await house.get(cookie)
    told = [record.getMessage() for record in caplog.records if "session_expired:alice,disabled" in record.getMessage()]
    assert len(told) == 2


async def test_a_gone_users_cookie_is_cleared_as_any_dead_one_is(clock: Any) -> None:
    house = House(clock)
    cookie, _ = await house.both()
    house.people.alice = None
    clock.advance(301)
    answer = await house.get({**cookie, "sec-fetch-mode": "cors"})
    assert answer.json()["user"] == ""
    assert set_cookies(answer) == []


@pytest.mark.parametrize("error", [RuntimeError("db"), TimeoutError(), KeyError("alice")])
async def test_a_directory_that_fails_is_503_and_says_nothing_of_it(
    clock: Any, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    house = House(clock, access_lifetime="1h")
    cookie, bearer = await house.both()
    clock.advance(301)
    house.people.error = error
    for headers in (cookie, bearer):
        answer = await house.get(headers)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert set_cookies(answer) == []
    assert type(error).__name__ in caplog.text
    assert (await house.get({})).status_code == 200
    house.people.error = None
    assert (await house.get(cookie)).json()["user"] == "alice"


async def test_while_one_request_asks_the_others_go_on(clock: Any) -> None:
    house = House(clock)
    cookie, _ = await house.both()
    clock.advance(301)
    asked, answer = anyio.Event(), anyio.Event()
    by_id = house.people.by_id

    async def slow(user_id: str) -> User | None:
        asked.set()
        await answer.wait()
        return await by_id(user_id)

    house.auth.parts.directory._by_id = slow  # type: ignore[attr-defined]
    async with anyio.create_task_group() as group:
        group.start_soon(house.get, cookie)
        await asked.wait()
        for _ in range(3):
            assert (await house.get(cookie)).json()["user"] == "alice"
        answer.set()
    assert house.people.asked == 1


async def test_zero_means_never_and_a_refresh_asks_all_the_same(clock: Any) -> None:
    house = House(clock, user_refresh="0", access_lifetime="1h")
    cookie, _ = await house.both()
    clock.advance(3000)
    assert (await house.get(cookie)).json()["user"] == "alice"
    assert house.people.asked == 0
    pair = await house.auth.issue(ALICE)
    await house.auth.refresh(pair.refresh_token)
    assert house.people.asked == 1


async def test_without_by_id_nobody_is_asked(clock: Any) -> None:
    house = House(clock, by_id=False, access_lifetime="1h")
    cookie, bearer = await house.both()
    clock.advance(3000)
    for headers in (cookie, bearer):
        assert (await house.get(headers)).json()["user"] == "alice"
    assert house.people.asked == 0
