"""Moving in from Starlette's `SessionMiddleware`: what the real one signed goes on as a session of ours, once."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from seats import ALICE, PASSWORD, add_users, handled, new_auth, set_cookies
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from asgi_auth import Auth, AuthMiddleware, Login, Settings, User
from asgi_auth.errors import ConfigurationError
from asgi_auth.startup import risks

SECRET = "the secret that it always had"
SITE = "https://app.example.com"


def before(**options: Any) -> Any:
    """The application as it was: a session in a cookie, `user_id` in it for whoever has logged in."""

    async def put(request: Request) -> Response:
        request.session.update(await request.json())
        return Response(status_code=204)

    middleware = [Middleware(SessionMiddleware, secret_key=SECRET, **options)]
    return Starlette(routes=[Route("/put", put, methods=["POST"])], middleware=middleware)


def after(auth: Auth) -> Any:
    """The application as it is now."""

    async def page(request: Request) -> Response:
        verb = request.url.path.strip("/")
        if verb == "login":
            await auth.login(request, User("bob"))
        elif verb == "fail":
            raise RuntimeError
        return JSONResponse(
            {
                "user": request.user.identity,
                "data": dict(request.session),
                "session": request.auth.session_id,
                "amr": list(request.auth.amr),
            }
        )

    return AuthMiddleware(handled(page), auth)


def moving_auth(store: str = "memory://", *, user_key: str | None = "user_id", clock: Any = None, **more: Any) -> Auth:
    old = {"secret_key": SECRET, "user_key": user_key, **more.pop("old", {})}
    return new_auth(store, clock=clock, starlette_sessions=old, **more)


async def old_cookies(*, name: str = "session", data: Any = None, **options: Any) -> dict[str, str]:
    """What a browser brings along that was here before."""
    app = before(session_cookie=name, **options)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=SITE) as client:
        await client.post("/put", json={"user_id": "alice", "cart": [1, 2]} if data is None else data)
        return dict(client.cookies)


def browser(app: Any, cookies: dict[str, str] | None = None) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    client = httpx2.AsyncClient(transport=transport, base_url=SITE)
    for name, value in (cookies or {}).items():
        client.cookies.set(name, value, domain="app.example.com", path="/")
    return client


async def test_an_old_session_goes_on_as_a_login_of_ours(any_store: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="asgi_auth.security")
    auth = moving_auth(any_store)
    await add_users(auth)
    async with auth, browser(after(auth), await old_cookies()) as client:
        answer = await client.get("/")
        assert answer.json()["user"] == "alice"
        assert answer.json()["data"] == {"user_id": "alice", "cart": [1, 2]}
        assert answer.json()["amr"] == []  # nobody saw how
        gone, ours = set_cookies(answer)
        assert gone.startswith("session=; Max-Age=0;")
        assert ours.startswith("__Host-session=")
        assert "Max-Age" in ours  # it outlives the browser's end, as it did
        assert list(client.cookies) == ["__Host-session"]
        again = await client.get("/")
        assert again.json() == answer.json()
        assert set_cookies(again) == []
        (session,) = await auth.sessions("alice")
        assert session.id == answer.json()["session"]
        assert session.created_at - session.authenticated_at > auth.settings.session_lifetime
    events = [json.loads(one.getMessage())["event"] for one in caplog.records if one.name == "asgi_auth.security"]
    assert "authn_login_success:alice" in events
    assert "session_created:alice" in events
    assert "login_new_device:alice" not in events  # a day of moving sends no mails


async def test_what_moved_in_is_fresh_for_nothing() -> None:
    auth = moving_auth(fresh="365d", session_lifetime="365d")
    await add_users(auth)
    async with browser(after(auth), await old_cookies()) as client:
        await auth.issue(ALICE)
        answer = await client.delete("/auth/sessions")
        assert answer.status_code == 401
        assert answer.json()["error"] == "insufficient_user_authentication"


async def test_an_old_session_begins_one_of_ours_only_once(any_store: str) -> None:
    """Its cookie may be anywhere, and Starlette would have taken it for two weeks."""
    auth, cookies = moving_auth(any_store), await old_cookies()
    await add_users(auth)
    async with auth:
        async with browser(after(auth), cookies) as client:
            await client.get("/")
            assert (await client.post("/auth/logout")).status_code == 204
            assert len(client.cookies) == 0
        async with browser(after(auth), cookies) as thief:
            answer = await thief.get("/")
            assert answer.json()["user"] == ""
            assert answer.json()["data"] == {}
            assert len(set_cookies(answer)) == 1  # the old one goes
        assert await auth.sessions("alice") == []


async def test_long_after_its_end_it_begins_none_either(clock: Any) -> None:
    cookies = await old_cookies(max_age=None)
    auth = moving_auth(clock=clock, old={"max_age": None})
    await add_users(auth)
    async with browser(after(auth), cookies) as client:
        assert (await client.get("/")).json()["user"] == "alice"
    await auth.revoke_user("alice")
    clock.advance(40 * 86_400)  # no store remembers that end
    async with browser(after(auth), cookies) as thief:
        assert (await thief.get("/")).json()["user"] == ""


async def test_requests_at_once_and_lost_answers_get_the_same_session(any_store: str) -> None:
    cookies = await old_cookies()
    auths = [moving_auth(any_store, secret="s" * 32) for _ in range(2)]
    if any_store.startswith("memory:"):
        auths[1] = auths[0]
    await add_users(auths[0])
    found: list[Any] = []

    async def ask(auth: Auth, path: str) -> None:
        async with browser(after(auth), cookies) as client:
            answer = await client.get(path)
            found.append((answer.json()["session"], set_cookies(answer)[-1].partition(";")[0]))

    async with auths[0], auths[1]:
        async with browser(after(auths[0]), cookies) as client:
            assert (await client.get("/fail")).status_code == 500  # the cookie never arrived
        async with anyio.create_task_group() as group:
            for number in range(8):
                group.start_soon(ask, auths[number % 2], "/")
        assert len({session for session, _ in found}) == 1
        assert len({cookie for _, cookie in found}) == 1
        assert len(await auths[0].sessions("alice")) == 1


@pytest.mark.parametrize("how", ["revoke_user", "set_password", "disable_user", "delete_user", "revoke_all"])
async def test_whose_sessions_were_ended_moves_no_others_in(how: str, any_store: str) -> None:
    """An old session is in no list that could be ended, and whoever has stolen it counts on that."""
    auth, cookies = moving_auth(any_store), await old_cookies()
    async with auth:
        await add_users(auth)
        if how == "revoke_user":
            await auth.revoke_user("alice")
        elif how == "set_password":
            await auth.set_password("alice", "another hole under it")
        elif how == "disable_user":
            await auth.disable_user("alice")
            await auth.enable_user("alice")
        elif how == "delete_user":
            await auth.delete_user("alice")
            await auth.create_user("alice", PASSWORD, id="alice")
        else:
            await auth.revoke_all()
        async with browser(after(auth), cookies) as thief:
            answer = await thief.get("/")
            assert (answer.json()["user"], answer.json()["data"]) == ("", {})
        assert await auth.sessions("alice") == []


async def test_an_old_session_that_could_not_be_moved_in_may_come_again() -> None:
    auth = moving_auth()
    failing = True

    @auth.on("login")
    async def ask(login: Login) -> None:
        if failing:
            raise RuntimeError

    async with auth, browser(after(auth), await old_cookies()) as client:
        await add_users(auth)
        answer = await client.get("/")
        assert (answer.status_code, set_cookies(answer)) == (503, [])
        failing = False
        assert (await client.get("/")).json()["user"] == "alice"


async def test_another_spelling_of_an_old_cookie_is_none() -> None:
    """Base64 has several for the same signature: each would be a cookie that was never used."""
    auth, cookies = moving_auth(), await old_cookies()
    await add_users(auth)
    async with browser(after(auth), cookies) as client:
        assert (await client.get("/")).json()["user"] == "alice"
        await client.post("/auth/logout")
    text = cookies["session"]
    last = [text[:-1] + character for character in string.ascii_letters + string.digits + "-_"]
    for spelled in (*last, text + "=", text + "!", text[:-3] + "%" + text[-3:]):
        async with browser(after(auth)) as thief:
            answer = await thief.get("/", headers={"cookie": f"session={spelled}"})
            assert answer.json()["user"] == "", spelled


@pytest.mark.parametrize("user_key", [None, "uid"])
async def test_a_session_of_nobody_goes_on_as_a_visitors_data(any_store: str, user_key: str | None) -> None:
    auth = moving_auth(any_store, user_key=user_key)
    async with auth, browser(after(auth), await old_cookies(data={"cart": [1], "x": None})) as client:
        answer = await client.get("/")
        assert answer.json() == {"user": "", "data": {"cart": [1], "x": None}, "session": None, "amr": []}
        assert list(client.cookies) == ["__Host-session-anonymous"]
        assert (await client.get("/")).json()["data"] == {"cart": [1], "x": None}
        answer = await client.get("/login")  # which takes it over
        assert answer.json()["user"] == "bob"
        assert answer.json()["data"] == {"cart": [1], "x": None}


@pytest.mark.parametrize("state", ["unknown", "disabled", "deleted"])
async def test_a_user_who_may_not_log_in_moves_nothing_in(state: str, caplog: pytest.LogCaptureFixture) -> None:
    auth = moving_auth()
    await add_users(auth)
    if state == "disabled":
        await auth.disable_user("alice")
    elif state == "deleted":
        await auth.delete_user("alice")
    data = {"user_id": "nobody" if state == "unknown" else "alice", "cart": [1]}
    async with browser(after(auth), await old_cookies(data=data)) as client:
        answer = await client.get("/")
        assert (answer.json()["user"], answer.json()["data"]) == ("", {})
        assert len(client.cookies) == 0
    assert f"nobody here has the id {data['user_id']!r}" in caplog.text  # or a wrong directory would log all out


async def test_a_directory_of_the_applications_own_is_asked_by_id() -> None:
    class People:
        async def verify(self, username: str, password: str) -> User | None:
            return None

        async def by_id(self, user_id: str) -> User | None:
            return User(user_id, scopes=frozenset({"read"})) if user_id == "42" else None

    from asgi_auth.directory import CallableDirectory

    people = People()
    auth = moving_auth(directory=CallableDirectory(people.verify, people.by_id))
    for user_id, found in ((42, "42"), ("43", "")):
        async with browser(after(auth), await old_cookies(data={"user_id": user_id})) as client:
            assert (await client.get("/")).json()["user"] == found


@pytest.mark.parametrize("wrong", ["secret", "name", "old", "doubled", "garbage", "empty", "off"])
async def test_what_starlette_would_not_take_moves_nothing_in(wrong: str, clock: Any) -> None:
    """And is left alone: it may be another application's."""
    cookies = await old_cookies(data={} if wrong == "empty" else None)
    options: dict[str, Any] = {"old": {}}
    if wrong == "secret":
        options["old"]["secret_key"] = "another secret"
    elif wrong == "name":
        options["old"]["session_cookie"] = "theirs"
    elif wrong == "garbage":
        cookies = {"session": cookies["session"][:-1] + "x"}
    auth = moving_auth(**options) if wrong != "off" else new_auth()
    if wrong == "old":
        from datetime import datetime, timezone

        clock.now = datetime.now(timezone.utc).timestamp() + 15 * 86_400
        auth = moving_auth(clock=clock)
    await add_users(auth)
    line = "; ".join(f"{name}={value}" for name, value in cookies.items())
    async with browser(after(auth)) as client:
        answer = await client.get("/", headers={"cookie": f"{line}; {line}" if wrong == "doubled" else line})
        assert (answer.json()["user"], answer.json()["data"]) == ("", {})
        assert set_cookies(answer) == []


async def test_another_sites_page_moves_nobody_in() -> None:
    auth = moving_auth()
    await add_users(auth)
    async with browser(after(auth), await old_cookies(same_site="none", https_only=True)) as client:
        answer = await client.post("/", headers={"sec-fetch-site": "cross-site", "origin": "https://evil.example"})
        assert (answer.status_code, answer.json()["error"]) == (403, "cross_origin")
        assert (await client.get("/")).json()["user"] == "alice"


@pytest.mark.parametrize("path", ["/auth/login", "/login"])
async def test_whoever_logs_in_has_left_the_old_session_behind(path: str) -> None:
    auth, cookies = moving_auth(), await old_cookies()
    await add_users(auth)
    async with browser(after(auth), cookies) as client:
        if path == "/login":  # moves alice in first, whose session bob's then replaces
            await client.get(path)
        else:
            body = {"username": "bob", "password": PASSWORD}
            answer = await client.post(path, json=body)
            assert any(cookie.startswith("session=; Max-Age=0") for cookie in set_cookies(answer))
        assert (await client.get("/")).json()["user"] == "bob"
        assert (await client.post("/auth/logout")).status_code == 204
    async with browser(after(auth), cookies) as client:
        assert (await client.get("/")).json()["user"] == ""


@pytest.mark.parametrize("path", ["/auth/login", "/auth/logout"])
@pytest.mark.parametrize("slow", ["hook", "page"])
async def test_a_late_answer_moves_nobody_in_who_has_left_the_old_session_behind(
    any_store: str, slow: str, path: str
) -> None:
    """The browser had the old cookie alone when it logged in, or out: nothing else tells which session it left."""
    auth, cookies = moving_auth(any_store), await old_cookies()
    arrived, go_on = anyio.Event(), anyio.Event()
    late: list[httpx2.Response] = []

    async def wait() -> None:
        arrived.set()
        await go_on.wait()

    @auth.on("login")
    async def ask(login: Login) -> None:
        if slow == "hook" and login.user.id == "alice":
            await wait()

    async def page(request: Request) -> Response:
        if slow == "page":
            await wait()
        return Response()

    app = AuthMiddleware(handled(page), auth)

    async def first() -> None:
        async with browser(app, cookies) as client:
            late.append(await client.get("/"))

    async with auth:
        await add_users(auth)
        async with anyio.create_task_group() as group:
            group.start_soon(first)
            await arrived.wait()
            async with browser(app, cookies) as client:
                body = {"username": "bob", "password": PASSWORD} if path == "/auth/login" else None
                assert (await client.post(path, json=body)).is_success
            go_on.set()
        assert late[0].status_code == 200
        assert [cookie for cookie in set_cookies(late[0]) if not cookie.startswith("session=; Max-Age=0")] == []
        assert await auth.sessions("alice") == []


@pytest.mark.parametrize(
    ("options", "attributes"),
    [
        ({}, "; Path=/; HttpOnly; SameSite=Lax"),
        (
            {"domain": "example.com", "path": "/app", "same_site": "strict", "https_only": True},
            "; Path=/app; Domain=example.com; HttpOnly; SameSite=Strict; Secure",
        ),
    ],
)
async def test_the_old_cookie_goes_as_it_was_set(options: dict[str, Any], attributes: str) -> None:
    auth = moving_auth(old={"session_cookie": "mine", **options})
    await add_users(auth)
    cookies = await old_cookies(name="mine")
    async with browser(after(auth), cookies) as client:
        gone = set_cookies(await client.get("/"))[0]
        assert gone.startswith("mine=; Max-Age=0; ")
        assert gone.endswith(attributes)


async def test_a_cookie_of_ours_wins_over_an_old_one() -> None:
    auth, cookies = moving_auth(), await old_cookies()
    await add_users(auth)
    async with browser(after(auth)) as client:
        await client.get("/login")
        (ours,) = (f"{name}={value}" for name, value in client.cookies.items())
        old = f"session={cookies['session']}"
        answer = await client.get("/", headers={"cookie": f"{old}; {ours}"})
        assert answer.json()["user"] == "bob"
        assert set_cookies(answer) == []


async def test_data_that_cannot_be_kept_is_left_and_told(caplog: pytest.LogCaptureFixture) -> None:
    auth = moving_auth(session_max_size=10)
    await add_users(auth)
    async with browser(after(auth), await old_cookies()) as client:
        answer = await client.get("/")
        assert (answer.json()["user"], answer.json()["data"]) == ("alice", {})
    assert "SESSION_MAX_SIZE" in caplog.text


async def test_a_store_that_is_down_moves_nobody_in_and_forgets_nobody(tmp_path: Path) -> None:
    auth = moving_auth(f"sqlite:///{tmp_path / 'missing' / 'store.sqlite3'}")
    async with browser(after(auth), await old_cookies()) as client:
        answer = await client.get("/")
        assert answer.status_code == 503
        assert set_cookies(answer) == []


def test_the_setting_is_a_record_with_the_middlewares_own_names() -> None:
    settings = Settings(starlette_sessions='{"secret_key": "s3cret-of-old", "max_age": "7d", "user_key": "uid"}')
    old = settings.starlette_sessions
    assert old is not None
    assert (old.secret_key, old.session_cookie, old.max_age, old.user_key) == (
        "s3cret-of-old",
        "session",
        604_800,
        "uid",
    )
    assert "s3cret-of-old" not in repr(settings) + repr(old) + str(settings.describe())


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("{", "no JSON"),
        ("[]", "a record"),
        ("{}", "no secret_key"),
        ('{"secret_key": ""}', "empty secret_key"),
        ('{"secret_key": 7}', "another type"),
        ('{"secret_key": "hush-hush", "max_age": true}', "another type"),
        ('{"secret_key": "hush-hush", "secret": 1}', "no member 'secret'"),
        ('{"secret_key": "hush-hush", "session_cookie": "a b"}', "name"),
        ('{"secret_key": "hush-hush", "same_site": "loose"}', "same_site"),
    ],
)
def test_a_record_that_cannot_be_names_its_fault(value: str, what: str) -> None:
    with pytest.raises(ConfigurationError, match=what) as caught:
        Settings(starlette_sessions=value)
    assert "hush-hush" not in str(caught.value)


def test_an_old_secret_that_still_counts_is_a_risk() -> None:
    assert any("STARLETTE_SESSIONS" in risk for risk in risks(Settings(starlette_sessions={"secret_key": SECRET})))
    assert not any("STARLETTE_SESSIONS" in risk for risk in risks(Settings()))


@pytest.mark.parametrize("more", [{"backends": "jwt"}, {"session_cookie": "session"}])
def test_old_sessions_that_could_become_nothing_stop_the_start(more: Any) -> None:
    with pytest.raises(ConfigurationError, match="STARLETTE_SESSIONS"):
        Settings(starlette_sessions={"secret_key": SECRET}, **more)
