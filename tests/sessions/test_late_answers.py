"""Answers that come late in a browser that is somebody else's by then: they neither clear nor overwrite its cookie."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

import anyio
import pytest
from seats import (
    ALICE,
    BOB,
    PASSWORD,
    add_users,
    browser,
    call,
    cookie_of,
    handled,
    http_scope,
    living,
    new_auth,
    set_cookies,
)
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from asgi_auth import Auth, AuthMiddleware, Settings
from asgi_auth.stores import Store
from asgi_auth.stores.opening import open_store


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


# ---------------------------------------------------------------------- whoever does not let go of a dead cookie


class Counting:
    """A store that counts what is asked of it about sessions; what keeps the view current is not counted."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        if name in ("load", "load_all", "sessions", "touch", "end", "supersede", "create", "hit"):
            self.calls["load" if name == "load_all" else name] += 1
        return getattr(self._store, name)


@pytest.mark.parametrize("mode", [None, "cors"], ids=["script", "page"])
async def test_a_thousand_polls_with_an_ended_session_cost_one_store_call(any_store: str, mode: str | None) -> None:
    """A tab that was forgotten, a script that keeps no cookies: their session was ended by another process."""
    store = open_store(any_store, timeout=5.0)
    counting = Counting(store)
    here = Auth(Settings(store=any_store), store=cast(Store, counting))
    elsewhere = Auth(Settings(store=any_store), store=store)
    app = AuthMiddleware(handled(House(any_store).page), here)
    headers = [] if mode is None else [("sec-fetch-mode", mode)]
    async with living(app), elsewhere:
        async with browser(AuthMiddleware(handled(House(any_store).page), elsewhere)) as client:
            await client.get("/alice")
            headers.append(("cookie", cookie_of(client)["cookie"]))
        assert (await call(app, http_scope("/", headers=headers))).json()["user"] == "alice"
        (session,) = await elsewhere.sessions("alice")
        if mode is None:  # the feed says which, and the store is asked whether the cookie may be cleared
            await elsewhere.revoke(session.id, wait=True)
        else:  # the feed says whose, and the store which
            await elsewhere.revoke_user("alice", wait=True)
        counting.calls.clear()
        cleared = 0
        for _ in range(1000):
            reply = await call(app, http_scope("/", headers=headers))
            assert reply.json()["user"] == ""
            cleared += len(reply.all("set-cookie"))
        assert counting.calls == {"load": 1}
        assert cleared == (mode is None)
        # A person who comes back with it is rid of it, whatever a script was told before.
        navigation = [("cookie", headers[-1][1]), ("sec-fetch-mode", "navigate")]
        assert len((await call(app, http_scope("/", headers=navigation))).all("set-cookie")) == 1
