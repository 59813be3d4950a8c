"""What others got wrong with sessions, each with the test that keeps us out (sessions.md), through the middleware. What
stores decide alone is in `stores/`, what cookies do in `test_cookies_of_sessions`."""

from __future__ import annotations

import json
import logging
from typing import Any

import anyio
import httpx2
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

from asgi_auth import Auth, AuthMiddleware
from asgi_auth.errors import LoginRequired, StoreUnavailable
from asgi_auth.stores import Loaded


class Gate:
    """Holds a request inside the application."""

    def __init__(self) -> None:
        self.arrived, self.go = anyio.Event(), anyio.Event()

    async def __call__(self) -> None:
        self.arrived.set()
        await self.go.wait()


def site(auth: Auth, gate: Gate | None = None) -> AuthMiddleware:
    async def page(request: Request) -> Response:
        verb, *rest = request.url.path.strip("/").split("/")
        if verb == "held" and gate is not None:
            await gate()
            verb, *rest = rest
        if verb == "login":
            await auth.login(request, {"alice": ALICE, "bob": BOB}[rest[0]])
        elif verb == "logout":
            await auth.logout(request)
        elif verb == "rotate":
            await auth.rotate(request, grace=float(rest[0]) if rest else 10.0)
        elif verb == "elevate":
            await auth.elevate(request, amr="otp")
        elif verb == "write":
            request.session[rest[0]] = 1
        elif verb == "read":
            return JSONResponse(dict(request.session))
        return JSONResponse({"user": request.user.identity, "session": request.auth.session_id})

    return AuthMiddleware(handled(page), auth)


async def who(client: httpx2.AsyncClient, cookie: dict[str, str]) -> str:
    return str((await client.get("/", headers=cookie)).json()["user"])


# ---------------------------------------------------------------------- ids and secrets


async def test_every_login_and_elevation_gives_a_new_id(any_store: str) -> None:
    auth = new_auth(any_store)
    await add_users(auth)
    async with browser(site(auth)) as client:
        seen = set()
        for ask in (
            client.get("/login/alice"),
            client.get("/login/alice"),
            client.get("/login/bob"),
            client.post("/auth/login", json={"username": "alice", "password": PASSWORD}),
            client.post("/auth/login", json={"username": "alice", "password": PASSWORD}),
        ):
            (cookie,) = set_cookies(await ask)
            _, sid, secret, _ = cookie.partition("=")[2].partition(";")[0].split(".")
            seen |= {sid, secret}
        assert len(seen) == 10
        for _ in range(2):  # the session stays, under another secret
            (cookie,) = set_cookies(await client.get("/elevate"))
            seen.add(cookie.partition("=")[2].partition(";")[0].split(".")[2])
        assert len(seen) == 12
        # One browser, one seat.
        assert len(await auth.sessions("alice")) == 1
        assert await auth.sessions("bob") == []
    await auth.aclose()


async def test_after_rotation_the_old_id_is_dead_once_the_grace_is_over(any_store: str, clock: Any) -> None:
    auth = new_auth(any_store, clock=clock)
    async with browser(site(auth)) as client:
        await client.get("/login/alice")
        old = cookie_of(client)
        (before,) = await auth.sessions("alice")
        await client.get("/rotate")
        new = cookie_of(client)
        assert old != new
        assert [one.id for one in await auth.sessions("alice")] == [before.id]
        async with browser(site(auth)) as other:
            clock.advance(9)
            assert await who(other, old) == "alice"
            clock.advance(2)
            assert await who(other, old) == ""
            assert await who(other, new) == "alice"
        # Without a grace, dead at once.
        await client.get("/rotate/0")
        async with browser(site(auth)) as other:
            assert await who(other, new) == ""
        assert await who(client, {}) == "alice"
    await auth.aclose()


async def test_the_old_secret_cannot_rotate_or_log_anybody_in_within_its_grace(clock: Any) -> None:
    auth = new_auth(clock=clock)
    app = site(auth)
    async with browser(app) as client, browser(app) as thief:
        await client.get("/login/alice")
        old = cookie_of(client)
        await client.get("/rotate")
        answer = await thief.get("/rotate", headers=old)
        assert answer.status_code == 401
        assert set_cookies(answer) == []
        assert await who(client, {}) == "alice"


async def test_of_many_rotations_at_once_one_wins_and_nobody_is_logged_out(any_store: str) -> None:
    auth = new_auth(any_store)
    app = site(auth)
    async with browser(app) as client:
        await client.get("/login/alice")
        cookie = cookie_of(client)
        answers: list[httpx2.Response] = []

        async def rotate() -> None:
            async with browser(app) as one:
                answers.append(await one.get("/rotate", headers=cookie))

        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(rotate)
        won = [answer for answer in answers if set_cookies(answer)]
        assert [answer.status_code for answer in won] == [200]
        fresh = set_cookies(won[0])[0].partition(";")[0]
        assert await who(client, {"cookie": fresh}) == "alice"
        assert {answer.status_code for answer in answers} <= {200, 401}
    await auth.aclose()


# ---------------------------------------------------------------------- nothing comes back


@pytest.mark.parametrize("act", ["write/late", "rotate", "logout", ""])
@pytest.mark.parametrize("end", ["revoke", "logout", "replaced", "disabled", "password", "everybody"])
async def test_a_request_under_way_cannot_revive_an_ended_session(act: str, end: str, clock: Any) -> None:
    gate, auth = Gate(), new_auth(clock=clock)
    await add_users(auth)
    app = site(auth, gate)
    async with browser(app) as client, browser(app) as other:
        await client.get("/login/alice")
        cookie = cookie_of(client)
        clock.advance(600)  # a touch is due
        answers: list[httpx2.Response] = []

        async def held() -> None:
            async with browser(app) as one:
                answers.append(await one.get(f"/held/{act}", headers=cookie))

        async with anyio.create_task_group() as group:
            group.start_soon(held)
            await gate.arrived.wait()
            if end == "revoke":
                await auth.revoke((await auth.sessions("alice"))[0].id)
            elif end == "logout":
                await other.get("/logout", headers=cookie)
            elif end == "replaced":
                await other.get("/login/bob", headers=cookie)
            elif end == "disabled":
                await auth.disable_user("alice")
            elif end == "password":
                await auth.set_password("alice", "another hole under the hedge")
            else:
                await auth.revoke_all()
            gate.go.set()
        assert await who(client, cookie) == ""
        assert await auth.sessions("alice") == []
        for set_cookie in set_cookies(answers[0]):
            assert await who(client, {"cookie": set_cookie.partition(";")[0]}) == ""
        found = await auth.parts.store.load(cookie["cookie"].split(".")[1])
        assert not isinstance(found, Loaded)


async def test_a_login_under_way_does_not_outlive_a_password_change_or_a_disable() -> None:
    """The password was right when it was looked at; hashing takes long, and the session must not be made after all."""
    auth = new_auth()
    await add_users(auth)
    app = site(auth)
    directory = auth.parts.directory
    verify = directory.verify

    for name, change in (
        ("alice", lambda: auth.disable_user("alice")),
        ("bob", lambda: auth.set_password("bob", "another hole under the hedge")),
    ):
        for path, status in (("/auth/login", 401), ("/auth/token", 400)):

            async def slow(username: str, password: str, change: Any = change) -> Any:
                found = await verify(username, password)
                await change()
                return found

            directory.verify = slow  # type: ignore[method-assign]
            async with browser(app) as client:
                form = {"grant_type": "password", "username": name, "password": PASSWORD}
                assert (await client.post(path, data=form)).status_code == status
            assert await auth.sessions(name) == []
            directory.verify = verify  # type: ignore[method-assign]
            if name == "alice":
                await auth.enable_user("alice")
            else:
                await auth.set_password("bob", PASSWORD)


async def test_a_login_that_is_cancelled_leaves_no_orphan() -> None:
    auth = new_auth()

    async def page(request: Request) -> Response:
        await auth.login(request, ALICE)
        scope.cancel()
        await anyio.sleep_forever()
        return Response()

    with anyio.CancelScope() as scope:
        await call(AuthMiddleware(handled(page), auth), http_scope())
    assert await auth.sessions("alice") == []


async def test_a_rotation_under_way_does_not_outlive_the_session() -> None:
    auth, raised = new_auth(), []

    async def page(request: Request) -> Response:
        if request.url.path == "/login":
            await auth.login(request, ALICE)
        else:
            await auth.revoke_user("alice")
            try:
                await auth.rotate(request)
            except LoginRequired as error:
                raised.append(error)
        return Response()

    async with browser(AuthMiddleware(handled(page), auth)) as client:
        await client.get("/login")
        assert set_cookies(await client.get("/rotate")) == []
    assert len(raised) == 1


# ---------------------------------------------------------------------- activity


async def seen_at(auth: Auth) -> float:
    return (await auth.sessions("alice"))[0].last_seen_at


async def test_a_store_that_cannot_note_activity_keeps_nobody_out(clock: Any) -> None:
    """Full or locked, it still told who it is; a visitor's answers need it even less."""
    auth = new_auth(clock=clock)
    app = site(auth)

    async def full(sids: Any) -> None:
        raise StoreUnavailable("no room")

    async with browser(app) as client, browser(app) as visitor:
        await client.get("/login/alice")
        await visitor.get("/write/a")
        auth.parts.store.touch = full  # type: ignore[method-assign]
        clock.advance(600)
        assert await who(client, cookie_of(client)) == "alice"
        assert (await visitor.get("/read")).json() == {"a": 1}


async def test_touch_changes_no_data_and_writes_at_most_once_per_interval(any_store: str, clock: Any) -> None:
    auth = new_auth(any_store, clock=clock)
    app = site(auth)
    async with browser(app) as client:
        await client.get("/login/alice")
        await client.get("/write/a")
        start, touches = clock.now, []
        store = auth.parts.store
        touch = store.touch

        async def counting(sids: Any) -> None:
            touches.append(clock.now - start)
            await touch(sids)

        store.touch = counting  # type: ignore[method-assign]
        for _ in range(40):
            clock.advance(10)
            await client.get("/")
            if clock.now - start == 100:
                await client.get("/write/b")
        assert touches == [60, 120, 180, 240, 300, 360]
        assert (await client.get("/read")).json() == {"a": 1, "b": 1}
        session = (await auth.sessions("alice"))[0]
        assert session.last_seen_at == start + 360
        assert session.idle_expires_at == start + 360 + 86_400
    await auth.aclose()


async def test_a_short_idle_time_is_written_more_often(clock: Any) -> None:
    auth = new_auth(clock=clock, session_idle="100s")
    async with browser(site(auth)) as client:
        await client.get("/login/alice")
        for _ in range(60):
            clock.advance(6)  # more than a twentieth
            assert await who(client, {}) == "alice"
        clock.advance(101)
        assert await who(client, {}) == ""


async def test_nothing_extends_the_lifetime(clock: Any) -> None:
    auth = new_auth(clock=clock, session_idle="1h", session_lifetime="3h")
    async with browser(site(auth)) as client:
        await client.get("/login/alice")
        for _ in range(5):
            clock.advance(1800)
            assert await who(client, {}) == "alice"
            await client.get("/rotate")
        clock.advance(1800)
        assert await who(client, {}) == ""


@pytest.mark.parametrize(
    ("path", "headers", "counts"),
    [
        ("/", {}, True),
        ("/auth/me", {}, False),
        ("/auth/sessions", {}, False),
        ("/", {"sec-purpose": "prefetch"}, False),
        ("/", {"sec-purpose": "prefetch;prerender"}, False),
        ("/", {"auth-passive": "1"}, False),
        ("/", {"auth-passive": "0"}, True),
        ("/poll", {}, False),
        ("/poll/x", {}, True),
        ("/news/today", {}, False),
    ],
)
async def test_what_counts_as_activity(path: str, headers: dict[str, str], counts: bool, clock: Any) -> None:
    auth = new_auth(clock=clock, passive_paths="/poll, /news/*")
    async with browser(site(auth)) as client:
        await client.get("/login/alice")
        start = clock.now
        clock.advance(3600)
        assert (await client.get(path, headers=headers)).status_code == 200
        assert await seen_at(auth) == (start + 3600 if counts else start)


async def test_me_tells_when_the_session_ends_without_extending_it(clock: Any) -> None:
    auth = new_auth(clock=clock)
    async with browser(site(auth)) as client:
        await client.get("/login/alice")
        start = clock.now
        for _ in range(3):
            clock.advance(3600)
            session = (await client.get("/auth/me")).json()["session"]
            assert session["idle_expires_at"] == start + 86_400
            assert session["expires_at"] == start + 30 * 86_400


# ---------------------------------------------------------------------- limits


async def test_at_the_limit_the_least_recently_seen_goes(any_store: str, clock: Any) -> None:
    auth = new_auth(any_store, clock=clock, session_limit=3)
    app = site(auth)
    clients = [browser(app) for _ in range(3)]
    for client in clients:
        await client.get("/login/alice")
        clock.advance(100)
    await clients[0].get("/")  # seen last now
    pair = await auth.issue(ALICE)  # both modes count
    assert [await who(client, {}) for client in clients] == ["alice", "", "alice"]
    clock.advance(100)
    await auth.issue(ALICE)
    assert len(await auth.sessions("alice")) == 3
    assert pair.session.id in {session.id for session in await auth.sessions("alice")}
    for client in clients:
        await client.aclose()
    await auth.aclose()


async def test_at_the_limit_with_refuse_the_new_one_is_409_and_a_login_over_ones_own_is_not(any_store: str) -> None:
    auth = new_auth(any_store, session_limit=1, session_limit_policy="refuse")
    await add_users(auth)
    body = {"username": "alice", "password": PASSWORD}
    app = site(auth)
    async with browser(app) as client, browser(app) as other:
        assert (await client.post("/auth/login", json=body)).status_code == 200
        assert (await client.post("/auth/login", json=body)).status_code == 200
        refused = await other.post("/auth/login", json=body)
        assert refused.status_code == 409
        assert refused.json()["error"] == "session_limit"
        assert set_cookies(refused) == []
        assert (await other.post("/auth/token", data={"grant_type": "password", **body})).json()[
            "error"
        ] == "invalid_grant"
        await client.get("/logout")
        assert (await other.post("/auth/login", json=body)).status_code == 200
    await auth.aclose()


# ---------------------------------------------------------------------- what a user may do


async def test_a_users_change_reaches_open_sessions_with_the_next_request(any_store: str) -> None:
    auth = new_auth(any_store)
    app = site(auth)

    async with browser(app) as client:
        await client.get("/login/alice")
        pair = await auth.issue(ALICE)
        bearer = {"authorization": f"Bearer {pair.access_token}"}
        await auth.update_user("alice", scopes="read admin", claims={"team": "x"})
        me = (await client.get("/auth/me")).json()
        assert me["user"]["scopes"] == ["admin", "read"]
        assert me["user"]["claims"] == {"team": "x"}
        async with browser(app) as other:
            stale = await other.get("/", headers=bearer)
            assert stale.status_code == 401
            assert stale.json()["error_description"] == "The access token is out of date"
        fresh = await auth.refresh(pair.refresh_token)
        assert fresh.scope == "admin read"
        await auth.disable_user("alice")
        assert await who(client, {}) == ""
        await auth.enable_user("alice")
        assert await who(client, {}) == ""  # what ended stays ended
    await auth.aclose()


async def test_events_of_an_end_are_logged_once_with_their_reason(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    auth = new_auth()
    async with browser(site(auth)) as client:
        for verb, reason in (("/login/bob", "replaced"), ("/logout", "logout")):
            await client.get("/login/alice")
            caplog.clear()
            await client.get(verb)
            ended = [
                event
                for event in map(json.loads, (r.message for r in caplog.records if r.name == "asgi_auth.security"))
                if event["event"].startswith(("session_expired", "session_logout"))
            ]
            assert len(ended) == 1
            assert reason in (ended[0]["reason"], ended[0]["event"].split("_")[1].split(":")[0])


async def test_no_log_line_holds_a_credential(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    auth = new_auth()
    await add_users(auth)
    async with browser(site(auth)) as client:
        await client.post("/auth/login", json={"username": "alice", "password": PASSWORD})
        cookie = cookie_of(client)["cookie"].partition("=")[2]
        await client.post("/auth/login", json={"username": PASSWORD, "password": "x"})
        tokens = (
            await client.post("/auth/token", data={"grant_type": "password", "username": "bob", "password": PASSWORD})
        ).json()
        await client.get("/rotate")
        await client.get("/logout")
        async with browser(site(auth)) as other:
            await other.get("/", headers={"cookie": f"x={cookie}"})
            await other.get("/", headers={"authorization": f"Bearer {tokens['access_token']}x"})
            await other.post("/auth/revoke", data={"token": tokens["refresh_token"]})
            await other.get("/", headers={"authorization": f"Bearer {tokens['access_token']}"})
    ours = "\n".join(r.getMessage() for r in caplog.records if r.name.startswith("asgi_auth"))
    for secret in (PASSWORD, cookie, cookie.split(".")[2], tokens["access_token"], tokens["refresh_token"]):
        assert secret not in ours


WAY_BACK = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}


@pytest.mark.parametrize(
    ("same_site", "path", "headers", "warns"),
    [
        ("strict", "/?code=1&state=2", WAY_BACK, True),
        ("strict", "/?code=1", WAY_BACK, False),
        ("strict", "/?state=2", {**WAY_BACK, "sec-fetch-site": "same-origin"}, False),
        ("lax", "/?code=1&state=2", WAY_BACK, False),
    ],
)
async def test_strict_warns_when_a_callback_arrives_without_its_cookie(
    caplog: pytest.LogCaptureFixture, same_site: str, path: str, headers: dict[str, str], warns: bool
) -> None:
    async with browser(site(new_auth(session_samesite=same_site))) as client:
        for _ in range(2):
            assert (await client.get(path, headers=headers)).status_code == 200
    told = [record for record in caplog.records if "SESSION_SAMESITE" in record.getMessage()]
    assert len(told) == int(warns)


async def test_a_visitors_cookie_is_lax_under_a_strict_session() -> None:
    async with browser(site(new_auth(session_samesite="strict"))) as client:
        answer = await client.get("/write/cart")
    (cookie,) = set_cookies(answer)
    assert "SameSite=Lax" in cookie


@pytest.mark.parametrize("staleness", [0, 60])
async def test_the_last_request_before_a_silence_counts_though_it_was_a_fast_one(
    any_store: str, clock: Any, staleness: float
) -> None:
    auth = new_auth(any_store, clock=clock, staleness=staleness)
    app = site(auth)
    async with living(app), browser(app) as client:
        await client.get("/login/alice")
        await client.get("/")
        start = clock.now
        for _ in range(5):
            clock.advance(10)
            await client.get("/")
        clock.advance(5)
        await client.get("/", headers={"auth-passive": "1"})  # a poll is no person
        assert (await auth.sessions("alice"))[0].last_seen_at == start
        clock.advance(10)
        await auth.parts.activity._write(auth.parts.view.clock())
        session = (await auth.sessions("alice"))[0]
        assert session.last_seen_at == pytest.approx(start + 50)
        assert session.idle_expires_at == pytest.approx(start + 50 + 86_400)
        await client.get("/")
        clock.advance(30)
        await client.get("/")
        last = clock.now
    assert (await auth.sessions("alice"))[0].last_seen_at == pytest.approx(last)
    await auth.aclose()
