"""Requests through the middleware: known credentials cost no trip, garbage is kept nowhere, a browser reads its own
writes in every process."""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager

import pytest
from redis_helpers import opened
from seats import ALICE, BOB, add_users, browser, call, cookie_of, handled, http_scope, living, new_auth
from starlette.responses import JSONResponse
from view_helpers import Stage, hurry, is_current, until, until_told

from asgi_auth import Auth, AuthMiddleware, Settings
from asgi_auth.stores import Keep
from asgi_auth.stores.redis import RedisStore

OF_THE_FEED = {"hset", "xrange", "hdel", "ssubscribe", "sunsubscribe"}
OURS = {"info", "hello"}


async def page(request):
    path = request.url.path.strip("/")
    auth = Auth.of(request)
    if path == "login":
        await auth.login(request, ALICE)
    elif path.startswith("write"):
        request.session["a"] = path
    elif path == "read":
        return JSONResponse({"user": request.user.identity, "data": dict(request.session)})
    elif path == "scopes":
        return JSONResponse({"scopes": sorted(request.auth.scopes)})
    elif path == "logout":
        await auth.logout(request)
    return JSONResponse({"user": request.user.identity})


class House:
    def __init__(self, url, *, store=None, **settings) -> None:
        self.auth = Auth(Settings(store=url, **settings), store=store) if store else new_auth(url, **settings)
        self.app = AuthMiddleware(handled(page), self.auth)

    @asynccontextmanager
    async def open(self):
        async with living(self.app):
            await until(lambda: is_current(self.view))
            yield self

    @property
    def view(self):
        return self.auth.parts.view

    async def cookie(self):
        """The Cookie header of a new login."""
        async with browser(self.app) as client:
            assert (await client.get("/login")).status_code == 200
            return cookie_of(client)

    async def bearer(self):
        return {"authorization": f"Bearer {(await self.auth.issue(ALICE)).access_token}"}

    async def get(self, headers, path="/", method="GET"):
        return await call(self.app, http_scope(path, method, headers=list(headers.items())))

    async def user(self, headers):
        return (await self.get(headers)).json()["user"]


@pytest.fixture
async def house(redis_url, anyio_backend):
    async with House(redis_url).open() as house:
        yield house


def commands(url):
    """How often each command was run, less those of the feed and of this very look."""
    with opened(url) as control:
        told = control.info("commandstats")
    names = {name.removeprefix("cmdstat_"): values["calls"] for name, values in told.items()}
    return {name: calls for name, calls in names.items() if name not in OF_THE_FEED | OURS and "client" not in name}


@pytest.mark.parametrize("kind", ["cookie", "bearer"])
async def test_a_thousand_warm_requests_make_no_call_to_the_store(redis_url, anyio_backend, kind):
    """With a lease that outlasts them on any machine: they leave the event loop no time for a beat."""
    async with House(redis_url, staleness=60).open() as house:
        headers = await getattr(house, kind)()
        for _ in range(2):
            assert await house.user(headers) == "alice"
        before = commands(redis_url)
        for _ in range(1000):
            assert await house.user(headers) == "alice"
        assert commands(redis_url) == before


async def test_anonymous_requests_make_none_either(redis_url, anyio_backend):
    async with House(redis_url, staleness=60).open() as house:
        await house.user({})
        before = commands(redis_url)
        for headers in ({}, {"cookie": "theme=dark; other=1"}, {"authorization": "Basic eDp5"}):
            for _ in range(100):
                assert await house.user(headers) == ""
        assert commands(redis_url) == before


@pytest.mark.parametrize("staleness", [0, 60])
async def test_what_ended_is_nobodys_with_the_next_request_of_this_process(redis_url, anyio_backend, staleness):
    house = House(redis_url, staleness=staleness)
    async with living(house.app):
        cookie, bearer = await house.cookie(), await house.bearer()
        for headers in (cookie, bearer):
            for _ in range(3):
                assert await house.user(headers) == "alice"
        for session in await house.auth.sessions("alice"):
            await house.auth.revoke(session.id)
        assert await house.user(cookie) == ""
        assert (await house.get(bearer)).status == 401


async def test_another_process_hears_of_it(redis_url, anyio_backend):
    async with House(redis_url, staleness=60).open() as house, House(redis_url, staleness=60).open() as other:
        cookie, bearer = await house.cookie(), await house.bearer()
        for headers in (cookie, bearer):
            for _ in range(3):
                assert await other.user(headers) == "alice"
        await house.auth.revoke_user("alice")

        async def heard():
            return await other.user(cookie) == "" and (await other.get(bearer)).status == 401

        await until_told(heard)


# STALENESS=0: the store is asked, on the short way too


@asynccontextmanager
async def two_that_ask(url):
    house, other = House(url, staleness=0), House(url, staleness=0)
    async with living(house.app), living(other.app):
        yield house, other


ELSEWHERE = {
    "revoke": lambda auth, session: auth.revoke(session.id),
    "revoke_user": lambda auth, session: auth.revoke_user("alice"),
    "revoke_all": lambda auth, session: auth.revoke_all(),
    "disable_user": lambda auth, session: auth.disable_user("alice"),
    "rotate": lambda auth, session: auth.parts.store.end_user("alice", "password", keep=Keep(session.id, "0" * 64)),
}


@pytest.mark.parametrize("change", ELSEWHERE)
async def test_without_staleness_the_next_request_knows_what_was_done_elsewhere(redis_url, anyio_backend, change):
    async with two_that_ask(redis_url) as (house, other):
        cookie = await house.cookie()
        for _ in range(4):
            assert await other.user(cookie) == "alice"
        (session,) = await house.auth.sessions("alice")
        await ELSEWHERE[change](house.auth, session)
        for _ in range(2):
            assert await other.user(cookie) == ""


async def test_without_staleness_the_next_request_has_the_users_new_rights(redis_url, anyio_backend):
    async with two_that_ask(redis_url) as (house, other):
        cookie, bearer = await house.cookie(), await house.bearer()
        for _ in range(3):
            assert (await other.get(cookie, "/scopes")).json()["scopes"] == ["authenticated", "read"]
            assert (await other.get(bearer, "/scopes")).status == 200
        await house.auth.update_user("alice", scopes={"write"})
        assert (await other.get(cookie, "/scopes")).json()["scopes"] == ["authenticated", "write"]
        assert (await other.get(bearer, "/scopes")).status == 401


async def test_without_staleness_the_next_request_reads_what_was_written_elsewhere(redis_url, anyio_backend):
    async with two_that_ask(redis_url) as (house, other):
        cookie = await house.cookie()
        for path in ("/write1", "/write2"):
            assert (await house.get(cookie, path)).status == 200
            for _ in range(2):
                assert (await other.get(cookie, "/read")).json()["data"] == {"a": path[1:]}


async def test_without_staleness_a_session_dies_when_its_idle_time_is_over(redis_url, clock, anyio_backend):
    house = House(redis_url, clock=clock, staleness=0, session_idle=1000)
    async with living(house.app):
        cookie = await house.cookie()
        for _ in range(30):
            clock.advance(100)
            assert await house.user(cookie) == "alice"
        clock.advance(1000)
        assert await house.user(cookie) == ""


# Garbage


def garbage(known, number):
    """Cookies and tokens that nobody issued, each another one."""
    cookie, bearer = known
    name, _, text = cookie["cookie"].partition("=")
    token = bearer["authorization"].removeprefix("Bearer ")
    for _ in range(number):
        noise = secrets.token_urlsafe(32)
        yield {"cookie": f"{name}={noise}"}
        yield {"cookie": f"{name}={text[:-43]}{noise}"}
        yield {"cookie": f"{name}={text.replace(text[9:20], noise[:11])}"}
        yield {"authorization": f"Bearer {noise}"}
        yield {"authorization": f"Bearer {token[:-43]}{noise}"}
        yield {"authorization": f"Bearer {noise}.{noise}.{noise}"}


async def test_a_flood_of_garbage_neither_grows_nor_evicts_what_is_known(redis_url, anyio_backend):
    async with House(redis_url, staleness=60).open() as house:
        known = await house.cookie(), await house.bearer()
        for _ in range(2):
            assert [await house.user(headers) for headers in known] == ["alice", "alice"]
        parts = house.auth.parts
        caches = parts.session_backend.known, parts.session_backend._opened, parts.jwt_backend._known
        assert [len(cache) for cache in caches] == [1, 1, 1]
        before = commands(redis_url)
        for headers in garbage(known, 100):
            answer = await house.get(headers)
            assert answer.status == 401 or answer.json() == {"user": ""}
        assert [len(cache) for cache in caches] == [1, 1, 1]
        asked = commands(redis_url)
        assert {name: asked[name] - before.get(name, 0) for name in asked if asked[name] != before.get(name, 0)} == {}
        assert [await house.user(headers) for headers in known] == ["alice", "alice"]
        assert commands(redis_url) == asked


@pytest.mark.parametrize("kind", ["cookie", "bearer"])
async def test_a_credential_that_is_dead_is_kept_nowhere(house, kind):
    headers = await getattr(house, kind)()
    await house.auth.revoke_user("alice")
    for _ in range(3):
        answer = await house.get(headers)
        assert answer.status == 401 or answer.json() == {"user": ""}
    parts = house.auth.parts
    caches = parts.session_backend.known, parts.session_backend._opened, parts.jwt_backend._known
    assert [len(cache) for cache in caches] == [0, 0, 0]


async def test_every_byte_of_a_known_credential_counts(house):
    cookie, bearer = await house.cookie(), await house.bearer()
    for _ in range(2):
        assert [await house.user(headers) for headers in (cookie, bearer)] == ["alice", "alice"]
    text, token = cookie["cookie"], bearer["authorization"]
    for changed in (text[:-1] + ("A" if text[-1] != "A" else "B"), text + "=", text + ".", text.upper()):
        assert await house.user({"cookie": changed}) == ""
    for changed in (token[:-1] + ("A" if token[-1] != "A" else "B"), token + "=", token + ".", token[:-1]):
        assert (await house.get({"authorization": changed})).status == 401


# -seen


def seen_of(client):
    return {cookie.name: cookie.value for cookie in client.cookies.jar if cookie.name.endswith("-seen")}


async def test_an_answer_after_a_write_says_which_version_it_was(house):
    async with browser(house.app) as client:
        await client.get("/login")
        assert seen_of(client) == {}
        await client.get("/write1")
        (first,) = seen_of(client).values()
        await client.get("/read")
        assert list(seen_of(client).values()) == [first]
        await client.get("/write2")
        (second,) = seen_of(client).values()
        (session,) = await house.auth.sessions("alice")
        assert first.rpartition("-")[0] == second.rpartition("-")[0] == session.id
        assert int(second.rpartition("-")[2]) > int(first.rpartition("-")[2])


async def test_a_browser_reads_its_own_write_in_a_process_that_has_not_heard_of_it(redis_url, anyio_backend):
    stage = Stage(RedisStore(redis_url, timeout=10))
    deaf = House(redis_url, store=stage, staleness=60)
    async with House(redis_url, staleness=60).open() as house, deaf.open(), browser(house.app) as client:
        await client.get("/login")
        await client.get("/write1")
        async with browser(deaf.app) as elsewhere:
            elsewhere.cookies = client.cookies
            for _ in range(2):
                assert (await elsewhere.get("/read")).json() == {"user": "alice", "data": {"a": "write1"}}
            loads = stage.loads
            await client.get("/write2")
            without = {"cookie": cookie_of(client)["cookie"]}
            parts = without["cookie"].split("; ")
            without["cookie"] = "; ".join(part for part in parts if "-seen=" not in part)
            # The copy there is older, which nobody but this browser could know.
            assert (await deaf.get(without, "/read")).json()["data"] == {"a": "write1"}
            assert stage.loads == loads
            elsewhere.cookies = client.cookies
            for _ in range(3):
                assert (await elsewhere.get("/read")).json()["data"] == {"a": "write2"}
            assert stage.loads == loads + 1


async def test_a_made_up_version_costs_a_question_and_no_more(redis_url, anyio_backend):
    stage = Stage(RedisStore(redis_url, timeout=10))
    house = House(redis_url, store=stage, staleness=60)
    async with house.open(), browser(house.app) as client:
        await client.get("/login")
        await client.get("/write1")
        (session,) = await house.auth.sessions("alice")
        name = next(iter(seen_of(client)))
        known = "; ".join(f"{one.name}={one.value}" for one in client.cookies.jar if one.name != name)
        for text in (f"{session.id}-999999", f"{session.id}-{'9' * 40}", "", "x", f"{'0' * 24}-999999", "\xe9"):
            for _ in range(2):
                assert (await house.get({"cookie": f"{known}; {name}={text}"}, "/read")).json()["data"] == {
                    "a": "write1"
                }
        loads = stage.loads
        assert (await house.get({"cookie": f"{known}; {name}={session.id}-999999"}, "/read")).status == 200
        assert stage.loads == loads + 1
        assert (await house.get({"cookie": f"{known}; {name}={session.id}-1"}, "/read")).status == 200
        assert stage.loads == loads + 1


async def test_a_visitor_reads_its_own_write_too(redis_url, anyio_backend):
    stage = Stage(RedisStore(redis_url, timeout=10))
    deaf = House(redis_url, store=stage, staleness=60)
    async with House(redis_url, staleness=60).open() as house, deaf.open(), browser(house.app) as client:
        await client.get("/write1")
        assert (await deaf.get(cookie_of(client), "/read")).json()["data"] == {"a": "write1"}
        await client.get("/write2")
        assert (await deaf.get(cookie_of(client), "/read")).json()["data"] == {"a": "write2"}


# What is recognised is what it was


async def test_a_remembered_cookie_is_let_go_with_its_session(redis_url, anyio_backend):
    stage = Stage(RedisStore(redis_url, timeout=10))
    deaf = House(redis_url, store=stage, staleness=60)
    async with House(redis_url).open() as house, deaf.open():
        cookie = await house.cookie()
        for _ in range(3):
            assert await deaf.user(cookie) == "alice"
        await house.auth.update_user("alice", scopes={"other"})
        feed = stage.own_feed
        assert await deaf.user(cookie) == "alice"  # it has not heard of it
        before = feed.done
        hurry(deaf.view)
        await until(lambda: feed.done > before)
        loads = stage.loads
        assert await deaf.user(cookie) == "alice"
        assert stage.loads == loads + 1


async def test_two_browsers_are_not_taken_for_each_other(house):
    await add_users(house.auth)
    async with browser(house.app) as first, browser(house.app) as second:
        await first.get("/login")
        answer = await second.post("/auth/login", json={"username": BOB.id, "password": "a hole under the hedge"})
        assert answer.status_code == 200
        for _ in range(3):
            assert (await first.get("/")).json() == {"user": "alice"}
            assert (await second.get("/")).json() == {"user": "bob"}
        await first.get("/logout")
        assert (await first.get("/")).json() == {"user": ""}
        assert (await second.get("/")).json() == {"user": "bob"}


async def test_after_a_flush_those_that_start_later_know_the_cookies_of_those_that_ran(redis_url, anyio_backend):
    async with House(redis_url).open() as house:
        with opened(redis_url) as control:
            control.flushall()
        hurry(house.view)
        epoch = house.view._copy.history.epoch
        await until(lambda: is_current(house.view) and house.view._copy.history.epoch != epoch)
        async with House(redis_url).open() as newcomer:
            await add_users(newcomer.auth)
            assert await newcomer.user(await house.cookie()) == "alice"
            assert await house.user(await newcomer.cookie()) == "alice"
            bearer = await newcomer.bearer()
            assert await house.user(bearer) == "alice"
            assert await newcomer.user(await house.bearer()) == "alice"
