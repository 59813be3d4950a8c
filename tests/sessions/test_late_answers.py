"""Answers that come late in a browser that is somebody else's by then: they neither clear nor overwrite its cookie."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from seats import ALICE, BOB, PASSWORD, add_users, browser, handled, new_auth, set_cookies
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from asgi_auth import Auth, AuthMiddleware


class House:
    """An application whose verbs wait until they are let go."""

    def __init__(self, store: str) -> None:
        self.auth = new_auth(store)
        self.entered, self.go = anyio.Event(), anyio.Event()
        self.app = AuthMiddleware(handled(self.page), self.auth)

    async def page(self, request: Request) -> Response:
        verb = request.url.path.strip("/")
        auth = Auth.of(request)
        if verb in ("alice", "bob"):
            await auth.login(request, {"alice": ALICE, "bob": BOB}[verb])
        elif verb == "slow-logout":
            self.entered.set()
            await self.go.wait()
            await auth.logout(request)
        elif verb == "cart":
            request.session["cart"] = ["before"]
        elif verb == "login-over-cart":
            cart = request.session["cart"]
            await auth.login(request, ALICE)
            cart.append("after")
        elif verb == "login-and-write":
            await auth.login(request, ALICE)
            request.session["written"] = True
        return JSONResponse({"user": request.user.identity, "data": dict(request.session)})


async def test_a_late_logout_leaves_the_cookie_of_who_logged_in_meanwhile(any_store: str) -> None:
    house = House(any_store)
    async with house.auth, browser(house.app) as client:
        await client.get("/alice")
        answers: list[Any] = []

        async def log_out() -> None:
            answers.append(await client.get("/slow-logout"))

        async with anyio.create_task_group() as group:
            group.start_soon(log_out)
            await house.entered.wait()
            await client.get("/bob")
            house.go.set()
        assert set_cookies(answers[0]) == []
        assert (await client.get("/")).json()["user"] == "bob"
        assert len(await house.auth.sessions("bob")) == 1


@pytest.mark.parametrize("path", ["current", "?all=true"])
async def test_a_late_end_of_the_own_session_leaves_it_too(path: str) -> None:
    house = House("memory://")
    async with house.auth, browser(house.app) as client:
        await client.get("/alice")
        (session,) = await house.auth.sessions("alice")
        store = house.auth.parts.store
        address = "/auth/sessions" + (path if path != "current" else f"/{session.id}")

        ends = {"current": "end", "?all=true": "end_user"}[path]
        original = getattr(store, ends)

        async def late(*args: Any, **more: Any) -> Any:
            setattr(store, ends, original)
            await client.get("/bob")
            return await original(*args, **more)

        setattr(store, ends, late)
        answer = await client.delete(address)
        assert answer.status_code == 204
        assert set_cookies(answer) == []
        assert (await client.get("/")).json()["user"] == "bob"


async def test_a_late_password_change_sets_no_cookie_of_a_session_that_was_replaced() -> None:
    house = House("memory://")
    await add_users(house.auth)
    async with house.auth, browser(house.app) as client:
        await client.get("/alice")
        directory: Any = house.auth.parts.directory
        original = directory.change_password

        async def late(*args: Any, **more: Any) -> Any:
            await client.get("/bob")
            return await original(*args, **more)

        directory.change_password = late
        body = {"current_password": PASSWORD, "new_password": "another long pass phrase"}
        answer = await client.post("/auth/password", json=body)
        assert answer.status_code == 204
        assert set_cookies(answer) == []
        assert (await client.get("/")).json()["user"] == "bob"


async def test_who_logs_in_on_a_cross_site_callback_may_write_data() -> None:
    house = House("memory://")
    async with house.auth, browser(house.app, "https://app.test") as client:
        crossed = {"sec-fetch-site": "cross-site", "origin": "https://provider.example"}
        answer = await client.post("/login-and-write", headers=crossed)
        assert answer.json() == {"user": "alice", "data": {"written": True}}
        assert (await client.get("/")).json()["data"] == {"written": True}


async def test_a_value_that_was_read_before_a_login_may_be_changed_after_it() -> None:
    house = House("memory://")
    async with house.auth, browser(house.app) as client:
        await client.get("/cart")
        await client.get("/login-over-cart")
        assert (await client.get("/")).json() == {"user": "alice", "data": {"cart": ["before", "after"]}}
