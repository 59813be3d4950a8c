"""What a login is worth: methods, classes and age (RFC 9470), pending logins, elevation, secrets that grow old."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from seats import (
    ALICE,
    PASSWORD,
    add_users,
    browser,
    call,
    cookie_of,
    handled,
    http_scope,
    new_auth,
    set_cookies,
)
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from asgi_auth import Auth, AuthMiddleware, Login, LoginRefused, SessionEnd, User, require
from asgi_auth.errors import InvalidGrant, InvalidScope, LoginRequired
from asgi_auth.guards import Requirement
from asgi_auth.passwords import PasswordHasher
from asgi_auth.tokens.grants import TokenPair


async def enter(request: Request) -> Response:
    """Log in as the query says."""
    query = request.query_params
    options: dict[str, Any] = {name: query[name] for name in ("acr", "lifetime") if name in query}
    session = await Auth.of(request).login(
        request,
        User("alice", scopes=frozenset(query.get("scopes", "read").split())),
        amr=query.get("amr", "pwd").split(),
        pending="pending" in query,
        remember="remember" in query,
        **options,
    )
    return PlainTextResponse(session.id)


async def elevate(request: Request) -> Response:
    query = request.query_params
    got = await Auth.of(request).elevate(request, amr=query.get("amr", "otp").split(), acr=query.get("acr", ""))
    return JSONResponse(got.public() if isinstance(got, TokenPair) else {"id": got.id})


async def who(request: Request) -> Response:
    user = request.user
    return JSONResponse(
        {
            "authenticated": user.is_authenticated,
            "id": user.id,
            "name": user.display_name,
            "scopes": list(request.auth.scopes),
            "amr": list(request.auth.amr),
            "acr": request.auth.acr,
            "cart": request.session.get("cart"),
        }
    )


async def put(request: Request) -> Response:
    request.session["cart"] = [1]
    return Response()


GUARDS = {
    "anybody": require(),
    "write": require("write"),
    "fresh": require(fresh="5m"),
    "otp": require(amr="otp"),
    "both": require(amr={"pwd", "otp"}, fresh=300),
    "aal2": require(acr=["aal2", "aal3"]),
    "all": require("write", fresh="5m", amr="otp", acr="aal2"),
    "pending": require(pending=True),
}


async def inside(request: Request) -> Response:
    return PlainTextResponse("in")


@require("read")
async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close()


async def fails(request: Request) -> Response:
    raise ZeroDivisionError


async def leave(request: Request) -> Response:
    await Auth.of(request).logout(request)
    return Response()


ROUTES = [
    Route("/fails", fails),
    Route("/leave", leave),
    Route("/enter", enter),
    Route("/elevate", elevate),
    Route("/who", who),
    Route("/code", require(pending=True)(who)),
    Route("/put", put, methods=["POST"]),
    WebSocketRoute("/ws", socket),
    *(Route(f"/{name}", guard(inside)) for name, guard in GUARDS.items()),
]


@pytest.fixture
async def auth(clock: Any, anyio_backend: Any) -> AsyncIterator[Auth]:
    async with new_auth(clock=clock) as auth:
        yield auth


@pytest.fixture
async def client(auth: Auth) -> AsyncIterator[Any]:
    async with browser(AuthMiddleware(Starlette(routes=ROUTES), auth)) as client:
        yield client


def challenge(answer: Any) -> str:
    return str(answer.headers.get_list("www-authenticate")[0])


WEAK = "insufficient_user_authentication"


# ---------------------------------------------------------------------- step-up


@pytest.mark.parametrize(
    ("login", "later", "path", "error", "parameters"),
    [
        ("", 0, "anybody", None, {}),
        ("", 0, "fresh", None, {}),
        ("", 300, "fresh", None, {}),
        ("", 301, "fresh", WEAK, {"max_age": "300"}),
        ("", 0, "otp", WEAK, {}),
        ("amr=pwd otp", 0, "otp", None, {}),
        ("amr=pwd otp", 3000, "otp", None, {}),
        ("amr=otp", 0, "both", WEAK, {"max_age": "300"}),
        ("amr=pwd otp", 300, "both", None, {}),
        ("amr=pwd otp", 301, "both", WEAK, {"max_age": "300"}),
        ("", 0, "aal2", WEAK, {"acr_values": "aal2 aal3"}),
        ("acr=aal1", 0, "aal2", WEAK, {"acr_values": "aal2 aal3"}),
        ("acr=aal3", 0, "aal2", None, {}),
        ("scopes=read write", 0, "write", None, {}),
        ("", 0, "write", "insufficient_scope", {"scope": "write"}),
        ("", 0, "all", WEAK, {"scope": "write", "max_age": "300", "acr_values": "aal2"}),
        ("scopes=write", 0, "all", WEAK, {"max_age": "300", "acr_values": "aal2"}),
        ("scopes=write&amr=pwd otp&acr=aal2", 0, "all", None, {}),
        ("amr=otp&acr=aal2", 0, "all", "insufficient_scope", {"scope": "write"}),
        ("", 0, "pending", None, {}),
    ],
)
@pytest.mark.parametrize("backend", ["session", "jwt"])
async def test_step_up_table(
    auth: Auth, client: Any, clock: Any, backend: str, login: str, later: float, path: str, error: Any, parameters: Any
) -> None:
    headers = {}
    if backend == "session":
        await client.get(f"/enter?{login}")
    else:
        asked = dict(part.split("=", 1) for part in login.split("&") if part)
        user = User("alice", scopes=frozenset(asked.get("scopes", "read").split()))
        pair = await auth.issue(user, amr=asked.get("amr", "pwd").split(), acr=asked.get("acr", ""))
        if later > 500:  # the token would have expired
            clock.advance(later - 500)
            pair = await auth.refresh(pair.refresh_token)
            later = 500
        headers = {"authorization": f"Bearer {pair.access_token}"}
    clock.advance(later)
    answer = await client.get(f"/{path}", headers=headers)
    if error is None:
        assert answer.text == "in"
        return
    assert answer.status_code == (403 if error == "insufficient_scope" else 401)
    assert answer.json()["error"] == error
    said = challenge(answer)
    assert f'error="{error}"' in said
    for name in ("scope", "max_age", "acr_values"):
        assert (f'{name}="{parameters[name]}"' in said) if name in parameters else (f"{name}=" not in said)


async def test_nobody_gets_no_acr_values(client: Any) -> None:
    answer = await client.get("/all")
    assert answer.status_code == 401
    assert answer.json()["error"] == "login_required"
    assert challenge(answer) == 'Bearer realm="asgi-auth"'


async def test_a_session_is_as_old_as_it_is_however_often_it_is_recognised_at_once(client: Any, clock: Any) -> None:
    await client.get("/enter")
    for _ in range(6):
        assert (await client.get("/fresh")).text == "in"
        clock.advance(50)
    assert (await client.get("/fresh")).text == "in"
    clock.advance(1)
    assert (await client.get("/fresh")).status_code == 401


@pytest.mark.parametrize("wrong", [{"fresh": "5x"}, {"amr": "a b"}, {"acr": ['a"']}, {"pending": True, "fresh": 1}])
def test_a_requirement_that_is_none_is_refused_where_it_is_written(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        require(**wrong)


def test_a_pending_requirement_asks_for_nothing_else() -> None:
    with pytest.raises(ValueError, match="not logged in completely"):
        Requirement.of("read", pending=True)


# ---------------------------------------------------------------------- elevation


async def test_elevate_does_not_extend_the_lifetime(auth: Auth, client: Any, clock: Any) -> None:
    await client.get("/enter?remember=1")
    [before] = await auth.sessions("alice")
    clock.advance(600)
    answer = await client.get("/elevate?acr=aal2")
    [after] = await auth.sessions("alice")
    assert after.id == before.id
    assert (after.expires_at, after.idle_expires_at) >= (before.expires_at, before.idle_expires_at)
    assert after.expires_at == before.expires_at
    assert after.authenticated_at == before.authenticated_at + 600
    assert (after.amr, after.acr) == (("pwd", "otp"), "aal2")
    [cookie] = set_cookies(answer)
    assert f"Max-Age={int(before.expires_at - clock.now)};" in cookie


async def test_an_elevated_session_opens_what_asked_for_it_at_once(client: Any, clock: Any) -> None:
    await client.get("/enter")
    clock.advance(301)
    assert (await client.get("/both")).status_code == 401
    await client.get("/elevate?acr=aal2")
    assert (await client.get("/otp")).text == "in"
    assert (await client.get("/aal2")).text == "in"
    assert (await client.get("/fresh")).text == "in"
    assert (await client.get("/both")).status_code == 401, "the password was used too long ago"
    await client.get("/elevate?amr=pwd")
    assert (await client.get("/both")).text == "in"
    assert (await client.get("/who")).json()["amr"] == ["otp", "pwd"]


async def test_the_cookie_before_an_elevation_is_dead_at_once(client: Any) -> None:
    await client.get("/enter")
    before = cookie_of(client)
    await client.get("/elevate")
    assert cookie_of(client) != before
    client.cookies.clear()
    assert (await client.get("/anybody", headers=before)).status_code == 401


async def test_nobody_is_not_elevated(auth: Auth, client: Any) -> None:
    answer = await client.get("/elevate")
    assert answer.status_code == 401
    assert answer.json()["error"] == "login_required"


async def test_a_session_that_ended_is_not_elevated(auth: Auth, client: Any, clock: Any) -> None:
    await client.get("/enter")
    clock.advance(25 * 3600)
    assert (await client.get("/elevate")).status_code == 401


async def test_in_jwt_mode_an_elevation_gives_a_new_pair_and_kills_the_refresh_token(
    auth: Auth, client: Any, clock: Any
) -> None:
    pair = await auth.issue(ALICE, amr=["pwd"])
    clock.advance(301)
    headers = {"authorization": f"Bearer {pair.access_token}"}
    assert (await client.get("/both", headers=headers)).status_code == 401
    got = (await client.get("/elevate?acr=aal2", headers=headers)).json()
    headers = {"authorization": f"Bearer {got['access_token']}"}
    assert (await client.get("/aal2", headers=headers)).text == "in"
    assert (await client.get("/fresh", headers=headers)).text == "in"
    assert (await client.get("/both", headers=headers)).status_code == 401, "the password was used too long ago"
    with pytest.raises(Exception, match="invalid, expired or revoked"):
        await auth.refresh(pair.refresh_token)
    again = await auth.refresh(got["refresh_token"])
    headers = {"authorization": f"Bearer {again.access_token}"}
    assert (await client.get("/who", headers=headers)).json()["amr"] == ["pwd", "otp"]
    assert (await client.get("/both", headers=headers)).status_code == 401, "a refresh proves nothing"


async def test_a_token_that_is_good_for_less_does_not_become_a_pair_for_all_that_was_granted(
    auth: Auth, client: Any
) -> None:
    pair = await auth.issue(User("alice", scopes=frozenset({"read", "write"})))
    narrow = await auth.refresh(pair.refresh_token, scopes="read")
    got = await client.get("/elevate", headers={"authorization": f"Bearer {narrow.access_token}"})
    assert (got.status_code, got.json()["error"]) == (403, "insufficient_scope")
    assert 'scope="read write"' in challenge(got)
    own = await auth.refresh(narrow.refresh_token)  # nothing has changed for the client
    got = await client.get("/elevate", headers={"authorization": f"Bearer {own.access_token}"})
    assert got.json()["scope"] == "read write"


async def test_of_elevations_and_refreshes_at_once_one_makes_the_next_token_and_the_session_lives(
    any_store: str,
) -> None:
    """The others are told that their token is old, and not left with one that looks stolen."""
    auth = new_auth(any_store)
    async with auth, browser(AuthMiddleware(Starlette(routes=ROUTES), auth)) as client:
        pair = await auth.issue(ALICE)
        elevated: list[Any] = []
        refreshed: list[str] = []

        async def elevate_it() -> None:
            elevated.append(await client.get("/elevate", headers={"authorization": f"Bearer {pair.access_token}"}))

        async def refresh_it() -> None:
            with suppress(InvalidGrant):
                refreshed.append((await auth.refresh(pair.refresh_token)).refresh_token)

        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(elevate_it)
                group.start_soon(refresh_it)
        got = [answer.json()["refresh_token"] for answer in elevated if answer.status_code == 200]
        assert len({*got, *refreshed}) == 1
        assert {one.json()["error"] for one in elevated if one.status_code != 200} <= {"invalid_token"}
        with suppress(InvalidGrant):
            refreshed.append((await auth.refresh(pair.refresh_token)).refresh_token)
        assert await auth.refresh([*got, *refreshed][0])
        assert len(await auth.sessions("alice")) == 1


async def test_a_logout_that_comes_after_an_elevation_ends_the_session(auth: Auth) -> None:
    """It was sent before, so with the secret of before; the elevation's answer is on its way."""
    app = AuthMiddleware(Starlette(routes=ROUTES), auth)
    async with browser(app) as client, browser(app) as late:
        await client.get("/enter")
        before = cookie_of(client)
        await client.get("/elevate")
        answer = await late.post("/auth/logout", headers=before)
        assert (answer.status_code, set_cookies(answer)) == (204, [])
        assert await auth.sessions("alice") == []
        assert (await client.get("/anybody")).status_code == 401


@pytest.mark.parametrize("verb", ["login", "logout"])
async def test_a_late_answer_to_an_elevation_undoes_no_login_and_no_logout(auth: Auth, verb: str) -> None:
    elevated, go_on = anyio.Event(), anyio.Event()
    late: list[Any] = []

    async def slow(request: Request) -> Response:
        await auth.elevate(request, amr="otp")
        elevated.set()
        await go_on.wait()
        return Response()

    app = AuthMiddleware(Starlette(routes=[*ROUTES, Route("/slow", slow)]), auth)
    await add_users(auth)
    async with browser(app) as client, browser(app) as other_tab:
        await client.get("/enter")
        before = cookie_of(client)

        async def step_up() -> None:
            late.append(await client.get("/slow"))

        async with anyio.create_task_group() as group:
            group.start_soon(step_up)
            await elevated.wait()
            body = {"username": "bob", "password": PASSWORD} if verb == "login" else None
            assert (await other_tab.post(f"/auth/{verb}", headers=before, json=body)).is_success
            go_on.set()
        assert (late[0].status_code, set_cookies(late[0])) == (200, [])
        assert await auth.sessions("alice") == []


async def test_ten_elevations_at_once_leave_one_secret(auth: Auth, client: Any) -> None:
    await client.get("/enter")
    headers = cookie_of(client)
    client.cookies.clear()
    statuses = []

    async def one() -> None:
        async with browser(AuthMiddleware(Starlette(routes=ROUTES), auth)) as other:
            statuses.append((await other.get("/elevate", headers=headers)).status_code)

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(one)
    assert sorted(statuses) == [200, *[401] * 9]


# ---------------------------------------------------------------------- pending


async def test_pending_opens_nothing_but_logout(auth: Auth, client: Any, clock: Any) -> None:
    await client.get("/enter?pending=1&scopes=read write")
    for path in set(GUARDS) - {"pending"}:
        answer = await client.get(f"/{path}")
        assert answer.status_code == 401, path
        assert answer.json()["error"] == "login_required"
        assert answer.json()["reason"] == "pending"
    for path in ("/auth/me", "/auth/sessions"):
        assert (await client.get(path)).status_code == 401, path
    assert (await client.post("/auth/password", json={"current_password": "a", "new_password": "b"})).status_code == 401
    assert (await client.delete("/auth/sessions")).status_code == 401
    seen = (await client.get("/who")).json()
    nothing = {"id": None, "name": "", "scopes": [], "amr": [], "acr": None, "cart": None}
    assert seen == {"authenticated": False, **nothing}
    assert (await client.get("/pending")).text == "in"
    seen = (await client.get("/code")).json()  # where the login is completed it must be known whose
    assert seen == {"authenticated": False, **nothing, "id": "alice", "name": "alice"}
    assert (await client.post("/auth/logout")).status_code == 204
    assert (await client.get("/pending")).status_code == 401


async def test_what_somebody_sees_whose_login_is_pending_is_private(client: Any) -> None:
    await client.get("/enter?pending=1")
    assert (await client.get("/pending")).headers["cache-control"] == "private, no-store"


async def test_a_pending_login_ends_after_ten_minutes_whatever_happens(client: Any, clock: Any) -> None:
    await client.get("/enter?pending=1")
    for _ in range(9):
        clock.advance(60)
        assert (await client.get("/pending")).text == "in"
    clock.advance(60)
    assert (await client.get("/pending")).status_code == 401


async def test_a_logout_ends_a_pending_login_for_whoever_has_its_cookie(client: Any) -> None:
    await client.get("/enter?pending=1")
    cookie = cookie_of(client)
    await client.post("/auth/logout")
    assert (await client.get("/pending", headers=cookie)).status_code == 401


async def test_an_elevation_completes_a_pending_login_as_another_session(auth: Auth, client: Any, clock: Any) -> None:
    first = (await client.get("/enter?pending=1&remember=1&acr=aal1")).text
    assert await auth.sessions("alice") == []
    await client.post("/put", headers={"sec-fetch-site": "same-origin"})
    before = cookie_of(client)
    clock.advance(60)
    answer = await client.get("/elevate?acr=aal2")
    [session] = await auth.sessions("alice")
    assert session.id == answer.json()["id"] != first
    assert session.amr == ("pwd", "otp")
    assert session.expires_at == clock.now + auth.settings.session_lifetime
    assert "Max-Age=" in set_cookies(answer)[-1], "it was asked to be remembered"
    seen = (await client.get("/who")).json()
    assert seen["authenticated"] is True
    assert seen["cart"] == [1]
    assert (await client.get("/aal2")).text == "in"
    client.cookies.clear()
    assert (await client.get("/pending", headers=before)).status_code == 401


@pytest.mark.parametrize("how", ["logout", "revoke", "revoke_user", "set_password", "revoke_all", "elevate"])
async def test_a_pending_login_that_ended_meanwhile_is_not_completed(auth: Auth, how: str) -> None:
    """A code takes time to check: by then the login may be over, or complete already."""
    first = ""

    async def code(request: Request) -> Response:
        if how in ("logout", "elevate") and "again" not in request.query_params:
            async with browser(app) as other:
                path = {"logout": "/leave", "elevate": "/check?again=1"}[how]
                cookie = {"cookie": request.headers["cookie"]}
                assert (await other.get(path, headers=cookie)).status_code == 200
        elif how == "revoke":
            assert await auth.revoke(first)
        elif how == "revoke_user":
            await auth.revoke_user("alice")
        elif how == "set_password":
            await auth.set_password("alice", "another hole under it")
        elif how == "revoke_all":
            await auth.revoke_all()
        await Auth.of(request).elevate(request, amr="otp")
        return PlainTextResponse("in")

    app = AuthMiddleware(Starlette(routes=[*ROUTES, Route("/check", code)]), auth)
    await add_users(auth)
    async with browser(app) as client:
        first = (await client.get("/enter?pending=1")).text
        answer = await client.get("/check")
        assert (answer.status_code, answer.json()["error"]) == (401, "login_required")
        assert (await client.get("/anybody")).status_code == 401
    assert len(await auth.sessions("alice")) == (1 if how == "elevate" else 0)


async def test_a_pending_login_evicts_nobody(clock: Any) -> None:
    async with new_auth(clock=clock, session_limit=1) as auth:
        app = AuthMiddleware(Starlette(routes=ROUTES), auth)
        async with browser(app) as hers, browser(app) as thief:
            await hers.get("/enter")
            await thief.get("/enter?pending=1")
            assert (await hers.get("/anybody")).text == "in"
            await thief.get("/elevate")
            assert (await hers.get("/anybody")).status_code == 401


async def test_a_visitors_data_passes_through_a_pending_login(client: Any) -> None:
    await client.post("/put", headers={"sec-fetch-site": "same-origin"})
    await client.get("/enter?pending=1")
    await client.get("/elevate")
    assert (await client.get("/who")).json()["cart"] == [1]


# ---------------------------------------------------------------------- lifetimes and secrets


async def test_a_login_may_have_a_shorter_lifetime(auth: Auth, client: Any, clock: Any) -> None:
    await client.get("/enter?lifetime=8h")
    [session] = await auth.sessions("alice")
    assert session.expires_at == clock.now + 8 * 3600
    pair = await auth.issue(ALICE, lifetime=100)
    assert pair.session.expires_at == clock.now + 100


@pytest.mark.parametrize("lifetime", ["31d", 0, "soon"])
async def test_no_login_lives_longer_than_the_settings_say(auth: Auth, lifetime: Any) -> None:
    with pytest.raises(ValueError, match=r"lifetime|duration"):
        await auth.issue(ALICE, lifetime=lifetime)


@pytest.fixture
async def rotating(clock: Any, anyio_backend: Any) -> AsyncIterator[Any]:
    auth = new_auth(clock=clock, session_rotate="1h")
    async with auth, browser(AuthMiddleware(Starlette(routes=ROUTES), auth)) as client:
        yield client


NAVIGATES = {"sec-fetch-mode": "navigate"}


async def test_a_navigation_gets_a_new_secret_when_the_old_one_is_old(rotating: Any, clock: Any) -> None:
    await rotating.get("/enter?remember=1")
    before = cookie_of(rotating)
    clock.advance(3599)
    assert set_cookies(await rotating.get("/anybody", headers=NAVIGATES)) == []
    clock.advance(1)
    for headers in ({}, {"sec-fetch-mode": "cors"}, {"accept": "application/json"}):
        assert set_cookies(await rotating.get("/anybody", headers=headers)) == []
    [cookie] = set_cookies(await rotating.get("/anybody", headers=NAVIGATES))
    assert f"Max-Age={30 * 86400 - 3600};" in cookie, "it ends when it would have ended"
    assert cookie_of(rotating) != before
    assert set_cookies(await rotating.get("/anybody", headers=NAVIGATES)) == []
    kept = dict(rotating.cookies)
    rotating.cookies.clear()
    assert (await rotating.get("/anybody", headers=before)).text == "in", "what was under way"
    clock.advance(10)
    assert (await rotating.get("/anybody", headers=before)).status_code == 401
    rotating.cookies.update(kept)
    assert (await rotating.get("/anybody")).text == "in"


async def test_old_browsers_navigate_by_what_they_accept(rotating: Any, clock: Any) -> None:
    await rotating.get("/enter")
    clock.advance(3600)
    assert set_cookies(await rotating.get("/anybody", headers={"accept": "text/html,application/xhtml+xml"}))


@pytest.mark.parametrize("seat", ["outermost", "added"])
async def test_a_page_that_fails_costs_nobody_the_session(clock: Any, seat: str) -> None:
    """Added, it never sees the framework's error page, and a secret for that would reach nobody."""
    auth = new_auth(clock=clock, session_rotate="1h")
    app: Any = Starlette(routes=ROUTES)
    if seat == "added":
        app.add_middleware(AuthMiddleware, auth=auth)
    else:
        app = AuthMiddleware(app, auth)
    async with auth, browser(app) as client:
        await client.get("/enter")
        clock.advance(3600)
        answer = await client.get("/fails", headers=NAVIGATES)
        assert answer.status_code == 500
        assert len(set_cookies(answer)) == (seat == "outermost")
        clock.advance(60)
        assert (await client.get("/anybody")).text == "in"
        assert len(set_cookies(await client.get("/anybody", headers=NAVIGATES))) == (seat == "added")


async def test_a_logout_on_an_old_secret_leaves_none(rotating: Any, clock: Any) -> None:
    await rotating.get("/enter")
    clock.advance(3600)
    [cookie] = set_cookies(await rotating.get("/leave", headers=NAVIGATES))
    assert "Max-Age=0" in cookie


async def test_a_late_request_with_the_secret_of_before_gets_no_cookie(rotating: Any, clock: Any) -> None:
    await rotating.get("/enter")
    before = cookie_of(rotating)
    clock.advance(3600)
    await rotating.get("/anybody", headers=NAVIGATES)
    rotating.cookies.clear()
    answer = await rotating.get("/anybody", headers={**before, **NAVIGATES})
    assert answer.text == "in"
    assert set_cookies(answer) == []


# ---------------------------------------------------------------------- password change


async def test_password_change_asks_for_every_factor_of_the_session(auth: Auth, client: Any, clock: Any) -> None:
    await add_users(auth)
    change = {"current_password": PASSWORD, "new_password": "another hole under it"}
    await client.get("/enter?amr=pwd otp&acr=aal2")
    clock.advance(15 * 60 + 1)
    answer = await client.post("/auth/password", json=change)
    assert answer.status_code == 401
    assert answer.json()["error"] == WEAK
    assert 'max_age="900"' in challenge(answer)
    await client.get("/elevate?amr=otp")
    assert (await client.post("/auth/password", json=change)).status_code == 204
    assert (await client.get("/anybody")).text == "in"


async def test_password_change_of_a_login_by_password_asks_for_that_alone(auth: Auth, client: Any, clock: Any) -> None:
    await add_users(auth)
    await client.get("/enter")
    clock.advance(10 * 3600)
    change = {"current_password": PASSWORD, "new_password": "another hole under it"}
    assert (await client.post("/auth/password", json=change)).status_code == 204


# ---------------------------------------------------------------------- what an application is told


async def test_a_login_hook_may_refuse(clock: Any) -> None:
    auth = new_auth(clock=clock)
    seen: list[Login] = []

    @auth.on("login")
    async def not_today(login: Login) -> None:
        seen.append(login)
        raise LoginRefused("Your account is locked")

    async with auth, browser(AuthMiddleware(Starlette(routes=ROUTES), auth)) as client:
        await add_users(auth)
        answer = await client.post("/auth/login", json={"username": "alice", "password": PASSWORD})
        assert (answer.status_code, answer.json()["error"]) == (403, "access_denied")
        assert answer.json()["error_description"] == "Your account is locked"
        assert set_cookies(answer) == []
        form = {"grant_type": "password", "username": "alice", "password": PASSWORD}
        answer = await client.post("/auth/token", data=form)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
        assert (await client.get("/enter")).status_code == 403
        with pytest.raises(LoginRefused):
            await auth.issue(ALICE)
        assert await auth.sessions("alice") == []
    assert [(one.user.id, one.backend, one.amr, one.pending) for one in seen[:2]] == [
        ("alice", "session", ("pwd",), False),
        ("alice", "jwt", ("pwd",), False),
    ]
    assert seen[0].scope is not None
    assert seen[-1].scope is None


async def test_a_login_hook_may_change_claims_and_scopes(clock: Any) -> None:
    auth = new_auth(clock=clock)

    @auth.on("login")
    async def enrich(login: Login) -> User:
        return User(login.user.id, scopes=login.user.scopes | {"extra"}, claims={"team": "blue"})

    async with auth, browser(AuthMiddleware(Starlette(routes=ROUTES), auth)) as client:
        await add_users(auth)
        answer = await client.post("/auth/login", json={"username": "alice", "password": PASSWORD})
        assert answer.json()["user"]["claims"] == {"team": "blue"}
        assert answer.json()["user"]["scopes"] == ["extra", "read"]
        assert (await client.get("/who")).json()["scopes"] == ["authenticated", "extra", "read"]


@pytest.mark.parametrize("mode", ["session", "jwt"])
async def test_an_old_password_makes_no_session_after_its_change_however_long_a_login_hook_takes(
    clock: Any, mode: str
) -> None:
    auth = new_auth(clock=clock)

    @auth.on("login")
    async def slow(login: Login) -> User:
        await auth.set_password("alice", "another hole under it")
        return User(login.user.id, scopes=login.user.scopes | {"extra"})

    async with auth, browser(AuthMiddleware(Starlette(routes=ROUTES), auth)) as client:
        await add_users(auth)
        answer = await client.post("/auth/login", json={"username": "alice", "password": PASSWORD, "mode": mode})
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_credentials")
        assert await auth.sessions("alice") == []


@pytest.mark.parametrize(
    "given",
    [
        RuntimeError("secret of hers"),
        User("bob"),
        User("alice", claims={"a": object()}),
        User("alice", claims={"a": float("nan")}),
        User("alice", display_name="\ud800"),
        SimpleNamespace(id="alice"),
        {"id": "alice"},
        True,
    ],
)
async def test_a_login_hook_that_fails_lets_nobody_in(clock: Any, given: Any, caplog: Any) -> None:
    auth = new_auth(clock=clock)

    @auth.on("login")
    async def broken(login: Login) -> User:
        if isinstance(given, RuntimeError):
            raise given
        return given  # type: ignore[no-any-return]

    async with auth, browser(AuthMiddleware(Starlette(routes=ROUTES), auth)) as client:
        await add_users(auth)
        answer = await client.post("/auth/login", json={"username": "alice", "password": PASSWORD})
        assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")
        assert (await client.get("/enter")).status_code == 503
        assert await auth.sessions("alice") == []
    assert "secret of hers" not in caplog.text


async def test_session_ended_tells_each_end_once_with_its_reason(clock: Any) -> None:
    auth = new_auth(clock=clock, session_limit=2)
    told: list[tuple[str, str]] = []

    @auth.on("session_ended")
    async def fails_first(end: SessionEnd) -> None:
        raise RuntimeError

    @auth.on("session_ended")
    async def tell(end: SessionEnd) -> None:
        told.append((end.user_id, end.reason))

    app = AuthMiddleware(Starlette(routes=ROUTES), auth)
    async with auth, browser(app) as one, browser(app) as two:
        await add_users(auth)
        await one.get("/enter")
        await one.get("/enter")
        assert told == [("alice", "replaced")]
        await one.post("/auth/logout")
        assert told.pop() == ("alice", "logout")
        await one.get("/enter")
        await two.get("/enter")
        await auth.issue(ALICE)
        assert told.pop() == ("alice", "evicted")
        [newest, _] = await auth.sessions("alice")
        assert await auth.revoke(newest.id)
        assert told.pop() == ("alice", "revoked")
        assert not await auth.revoke(newest.id)
        await two.get("/enter")
        told.clear()
        await auth.set_password("alice", "another hole under it")
        assert set(told) == {("alice", "password")}
        told.clear()
        pair = await auth.issue(ALICE)
        for _ in range(3):
            pair = await auth.refresh(pair.refresh_token)
        await one.get("/enter")
        told.clear()
        await auth.disable_user("alice")
        assert told == [("alice", "disabled")] * 2


async def test_a_login_that_reached_nobody_is_told_as_an_end(auth: Auth) -> None:
    told: list[tuple[str, str]] = []

    @auth.on("session_ended")
    async def tell(end: SessionEnd) -> None:
        told.append((end.user_id, end.reason))

    async def raises(request: Request) -> Response:
        await auth.login(request, ALICE)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await call(AuthMiddleware(handled(raises), auth), http_scope())
    assert told == [("alice", "revoked")]
    with pytest.raises(InvalidScope):
        await auth.issue(User("bob", scopes=frozenset(f"{'s' * 60}{number}" for number in range(400))))
    assert told == [("alice", "revoked"), ("bob", "revoked")]


@pytest.mark.parametrize("how", ["in the application", "/auth/login", "/auth/token"])
async def test_a_login_that_is_cancelled_while_others_ends_are_told_leaves_no_session(clock: Any, how: str) -> None:
    auth = new_auth(clock=clock, session_limit=1)
    waits = True

    @auth.on("session_ended")
    async def hangs(end: SessionEnd) -> None:
        if waits:
            scope.cancel()
            await anyio.sleep_forever()

    async def page(request: Request) -> Response:
        await auth.login(request, ALICE)
        return Response()

    async with auth:
        await add_users(auth)
        await auth.issue(ALICE)
        with anyio.CancelScope() as scope:
            async with browser(AuthMiddleware(handled(page), auth)) as client:
                body = {"username": "alice", "password": PASSWORD, "grant_type": "password"}
                await (client.get("/") if how[0] != "/" else client.post(how, data=body))
        waits = False
        assert scope.cancelled_caught
        assert await auth.sessions("alice") == []


async def test_an_end_that_came_before_a_new_password_is_not_told_again(clock: Any, monkeypatch: Any) -> None:
    auth = new_auth(clock=clock)
    told: list[tuple[str, str]] = []

    @auth.on("session_ended")
    async def tell(end: SessionEnd) -> None:
        told.append((end.id, end.reason))

    async with auth, browser(AuthMiddleware(Starlette(routes=ROUTES), auth)) as client:
        await add_users(auth)
        other = await auth.issue(ALICE)
        first = (await client.get("/enter")).text
        hash_password = PasswordHasher.hash

        async def slowly(self: PasswordHasher, password: str) -> str:
            await client.post("/auth/logout")
            return await hash_password(self, password)

        monkeypatch.setattr(PasswordHasher, "hash", slowly)
        await auth.set_password("alice", "another hole under it")
        assert told == [(first, "logout"), (other.session.id, "password")]


async def test_a_refresh_token_that_came_twice_is_told_as_an_end(clock: Any) -> None:
    auth = new_auth(clock=clock)
    told: list[SessionEnd] = []

    @auth.on("session_ended")
    async def tell(end: SessionEnd) -> None:
        told.append(end)

    async with auth:
        pair = await auth.issue(ALICE)
        again = await auth.refresh((await auth.refresh(pair.refresh_token)).refresh_token)
        with pytest.raises(Exception, match="invalid, expired"):
            await auth.refresh(pair.refresh_token)
        assert told == [SessionEnd(again.session.id, "alice", "reuse")]


def test_an_event_that_nobody_knows_is_refused_where_it_is_written(clock: Any) -> None:
    with pytest.raises(ValueError, match="login and session_ended"):
        new_auth(clock=clock).on("logout")  # type: ignore[arg-type]


async def test_the_verbs_say_who_is_not_there(auth: Auth) -> None:
    raised = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for verb in (auth.rotate(scope), auth.elevate(scope, amr="otp")):
            try:
                await verb
            except LoginRequired as error:
                raised.append(error.code)
        await PlainTextResponse("")(scope, receive, send)

    async with browser(AuthMiddleware(app, auth)) as client:
        await client.get("/")
    assert raised == ["login_required"] * 2
