"""The verbs of `Auth`, as an application calls them, on asyncio and on trio."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import argon2.profiles
import httpx2
import pytest

import asgi_auth
from asgi_auth import Auth, AuthError, AuthMiddleware, ConfigurationError, Settings, StoreUnavailable, User
from asgi_auth.directory import CallableDirectory, StoreDirectory
from asgi_auth.errors import (
    CookieNotKept,
    InvalidCredentials,
    InvalidGrant,
    InvalidScope,
    LoginRequired,
    NameTaken,
    SessionLimit,
    UnknownUser,
    WeakPassword,
)
from asgi_auth.passwords import PasswordHasher
from asgi_auth.stores import Store
from asgi_auth.stores.opening import open_store

PASSWORD = "a hole under the hedge"
ALICE = User("alice", "Alice", frozenset({"read"}))
Handler = Callable[[Auth, Any, Any], Awaitable[Any]]


def make(clock: Any, *, store: Store | None = None, **settings: Any) -> Auth:
    store = store or open_store("memory://", timeout=5.0, clock=clock)
    directory = StoreDirectory(store, PasswordHasher(parameters=argon2.profiles.CHEAPEST))
    return Auth(Settings(store="memory://", **settings), store=store, directory=directory, clock=clock)


@pytest.fixture
async def auth(clock: Any, anyio_backend: Any) -> AsyncIterator[Auth]:
    async with make(clock) as auth:
        yield auth


class Site:
    """An application whose one handler the test gives; a client that keeps cookies."""

    def __init__(self, auth: Auth, *, base_url: str = "http://testserver") -> None:
        self.auth = auth
        self.handler: Handler | None = None
        self.app = AuthMiddleware(self._app, auth)
        self._base_url = base_url
        self.client = self.stranger()

    def stranger(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=self.app), base_url=self._base_url)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        answer: Any = None
        if self.handler is not None:
            answer = await self.handler(self.auth, scope, send)
        if answer is None:
            answer = scope["user"].identity or None
        body = json.dumps(answer).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async def ask(self, handler: Handler | None = None, client: httpx2.AsyncClient | None = None) -> httpx2.Response:
        self.handler = handler
        return await (client or self.client).get("/")

    async def who(self, client: httpx2.AsyncClient | None = None, **headers: str) -> Any:
        self.handler = None
        answer = await (client or self.client).get("/", headers=headers)
        return answer.json() if answer.status_code == 200 else answer.json()["error_description"]


@pytest.fixture
async def site(auth: Auth) -> AsyncIterator[Site]:
    site = Site(auth)
    yield site
    await site.client.aclose()


def our_cookies(answer: httpx2.Response) -> list[str]:
    return answer.headers.get_list("set-cookie")


async def login(auth: Auth, scope: Any, send: Any) -> Any:
    return (await auth.login(scope, ALICE, amr=["pwd"])).id


def raising(error: type[Exception], verb: Handler) -> Handler:
    """A handler that expects this error of a verb, and says what it read."""

    async def handler(auth: Auth, scope: Any, send: Any) -> Any:
        with pytest.raises(error) as raised:
            await verb(auth, scope, send)
        return str(raised.value)

    return handler


# ---------------------------------------------------------------------- login, logout, rotate


async def test_login_makes_a_session_and_the_request_goes_on_as_that_user(site: Site) -> None:
    async def handler(auth: Auth, scope: Any, send: Any) -> Any:
        assert scope["user"].is_authenticated is False
        session = await auth.login(scope, ALICE, amr=["pwd", "otp"])
        assert scope["user"].id == session.user_id == "alice"
        assert scope["auth"].session_id == session.id
        assert session.amr == ("pwd", "otp")
        return None

    assert (await site.ask(handler)).json() == "alice"
    assert await site.who() == "alice"


async def test_login_takes_whatever_has_a_scope(site: Site) -> None:
    class Request:
        def __init__(self, scope: Any) -> None:
            self.scope = scope

    async def handler(auth: Auth, scope: Any, send: Any) -> Any:
        await auth.login(Request(scope), ALICE)

    assert (await site.ask(handler)).json() == "alice"


async def test_login_makes_the_user_known_and_another_login_updates_the_row(site: Site) -> None:
    await site.ask(login)
    pair = await site.auth.issue(ALICE)

    async def again(auth: Auth, scope: Any, send: Any) -> Any:
        await auth.login(scope, User("alice", "Alice", frozenset({"write"})))

    await site.ask(again)
    row = await (await site.auth.opened()).store.user("alice")
    assert row is not None
    assert row.scopes == {"write"}
    assert await site.who(site.stranger(), authorization=f"Bearer {pair.access_token}") == (
        "The access token is out of date"
    )


async def test_a_second_login_in_one_request_ends_the_first(site: Site) -> None:
    async def twice(auth: Auth, scope: Any, send: Any) -> Any:
        await auth.login(scope, ALICE)
        await auth.login(scope, User("bob"))

    answer = await site.ask(twice)
    assert len(our_cookies(answer)) == 1
    assert await site.who() == "bob"
    assert await site.auth.sessions("alice") == []


async def test_never_two_set_cookie_of_ours_and_the_last_verb_wins(site: Site) -> None:
    async def in_and_out(auth: Auth, scope: Any, send: Any) -> Any:
        await auth.login(scope, ALICE)
        await auth.logout(scope)

    async def out_and_in(auth: Auth, scope: Any, send: Any) -> Any:
        await auth.logout(scope)
        await auth.login(scope, ALICE)

    async def in_and_rotate(auth: Auth, scope: Any, send: Any) -> Any:
        await auth.login(scope, ALICE)
        await auth.rotate(scope)

    for handler, user in ((in_and_out, None), (out_and_in, "alice"), (in_and_rotate, "alice"), (in_and_out, None)):
        answer = await site.ask(handler)
        names = [cookie.partition("=")[0] for cookie in our_cookies(answer)]
        assert len(names) == len(set(names)) == 1
        assert answer.json() == user
        assert await site.who() == user
        assert len(await site.auth.sessions("alice")) == (1 if user else 0)


async def test_login_then_an_exception_leaves_no_orphan_session(site: Site) -> None:
    async def failing(auth: Auth, scope: Any, send: Any) -> Any:
        await auth.login(scope, ALICE)
        raise ZeroDivisionError("the application's own")

    with pytest.raises(ZeroDivisionError):
        await site.ask(failing)
    assert await site.auth.sessions("alice") == []


@pytest.mark.parametrize("verb", ["login", "logout", "rotate"])
async def test_after_the_answer_began_it_is_too_late_and_nothing_happens(site: Site, verb: str) -> None:
    await site.ask(login)
    before = await site.auth.sessions("alice")
    told: list[str] = []

    async def late(auth: Auth, scope: Any, send: Any) -> Any:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        verbs: dict[str, Any] = {
            "login": lambda: auth.login(scope, User("bob")),
            "logout": lambda: auth.logout(scope),
            "rotate": lambda: auth.rotate(scope),
        }
        with pytest.raises(AuthError) as raised:
            await verbs[verb]()
        told.append(str(raised.value))
        await send({"type": "http.response.body"})
        raise _AlreadyAnswered

    with pytest.raises(_AlreadyAnswered):
        await site.ask(late)
    assert "before its first byte" in told[0]
    assert await site.auth.sessions("alice") == before
    assert await site.auth.sessions("bob") == []


class _AlreadyAnswered(Exception):
    pass


async def test_login_where_no_middleware_ran_says_so(auth: Auth) -> None:
    with pytest.raises(RuntimeError, match="AuthMiddleware"):
        await auth.login({"type": "http"}, ALICE)
    with pytest.raises(RuntimeError, match="AuthMiddleware"):
        Auth.of({"type": "http"})


async def test_the_auth_of_a_request_is_the_one_that_answers_for_it(site: Site) -> None:
    async def handler(auth: Auth, scope: Any, send: Any) -> Any:
        assert Auth.of(scope) is auth

    await site.ask(handler)


async def test_another_auth_than_the_one_that_answers_says_so(site: Site, clock: Any) -> None:
    async def handler(auth: Auth, scope: Any, send: Any) -> Any:
        async with make(clock) as other:
            with pytest.raises(RuntimeError, match=r"Auth\.of"):
                await other.login(scope, ALICE)

    await site.ask(handler)
    assert await site.auth.sessions("alice") == []


async def test_a_users_own_limit_counts_instead_of_the_setting(clock: Any, anyio_backend: Any) -> None:
    async with make(clock, session_limit=1) as auth:
        two = User("alice", session_limit=2)
        for _ in range(3):
            await auth.issue(two)
        assert len(await auth.sessions("alice")) == 2
        await auth.update_user(User("alice", session_limit=0))
        for _ in range(3):
            await auth.issue(User("alice", session_limit=0))
        assert len(await auth.sessions("alice")) == 5


@pytest.mark.parametrize("limit", [-1, 1.5, "2", True])
def test_a_users_limit_is_a_whole_number(limit: Any) -> None:
    with pytest.raises(ValueError, match="session_limit"):
        User("alice", session_limit=limit)


async def test_a_token_that_we_would_refuse_is_never_made(auth: Auth) -> None:
    many = User("alice", scopes=frozenset(f"scope:number:{number}" for number in range(1000)))
    with pytest.raises(InvalidScope):
        await auth.issue(many)
    assert await auth.sessions("alice") == []


@pytest.mark.parametrize("client_id", ["", "an app\n", "\ud800", "ż", "a" * 256])
async def test_nothing_is_issued_to_a_client_that_cannot_name_itself(auth: Auth, client_id: str) -> None:
    with pytest.raises(ValueError, match="client_id"):
        await auth.issue(ALICE, client_id=client_id)
    assert await auth.sessions("alice") == []


async def test_login_of_a_disabled_user_is_refused(site: Site) -> None:
    await site.ask(login)
    await site.auth.disable_user("alice")
    answer = await site.ask(raising(InvalidCredentials, login))
    assert answer.status_code == 200
    assert our_cookies(answer) == [] or "Max-Age=0" in our_cookies(answer)[0]
    assert await site.auth.sessions("alice") == []


async def test_login_says_when_the_browser_would_drop_the_cookie(auth: Auth) -> None:
    site = Site(auth, base_url="http://app.example.com")
    answer = await site.ask(raising(CookieNotKept, login))
    assert "ASGI_AUTH_INSECURE_HTTP" in answer.json()
    assert await auth.sessions("alice") == []


@pytest.mark.parametrize("policy", ["evict", "refuse"])
async def test_the_session_limit_holds_in_both_modes(clock: Any, policy: str, anyio_backend: Any) -> None:
    async with make(clock, session_limit=2, session_limit_policy=policy) as auth:
        site = Site(auth)
        await site.ask(login)
        await auth.issue(ALICE)
        clock.advance(1)
        if policy == "refuse":
            with pytest.raises(SessionLimit):
                await auth.issue(ALICE)
            await site.ask(raising(SessionLimit, login), site.stranger())
            await site.ask(login)  # which takes the place of this browser's own
        else:
            await auth.issue(ALICE)
        assert len(await auth.sessions("alice")) == 2


async def test_a_limit_of_one_holds_for_fifty_logins_at_once(clock: Any, anyio_backend: Any) -> None:
    async with make(clock, session_limit=1) as auth:
        await auth.issue(ALICE)
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(auth.issue, ALICE)
        assert len(await auth.sessions("alice")) == 1


async def test_of_forty_logins_at_once_forty_are_listed_and_revoke_user_ends_forty(auth: Auth) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(40):
            tasks.start_soon(auth.issue, ALICE)
    assert len(await auth.sessions("alice")) == 40
    assert await auth.revoke_user("alice") == 40
    assert await auth.sessions("alice") == []


async def test_logout_is_for_nobody_too(site: Site) -> None:
    async def logout(auth: Auth, scope: Any, send: Any) -> Any:
        await auth.logout(scope)

    assert our_cookies(await site.ask(logout)) == []
    await site.ask(login)
    assert (await site.ask(logout)).json() is None
    assert await site.auth.sessions("alice") == []


async def rotate(auth: Auth, scope: Any, send: Any) -> Any:
    await auth.rotate(scope)


async def test_after_rotation_the_old_secret_is_dead_once_the_grace_is_over(site: Site, clock: Any) -> None:
    session = (await site.ask(login)).json()
    old = dict(site.client.cookies)
    clock.advance(60)
    await site.ask(rotate)
    assert dict(site.client.cookies) != old
    late = site.stranger()
    late.cookies.update(old)
    clock.advance(9)
    assert await site.who(late) == "alice"
    clock.advance(1)
    assert await site.who(late) is None
    assert await site.who() == "alice"
    [now] = await site.auth.sessions("alice")
    assert now.id == session


async def test_rotation_does_not_extend_the_lifetime(site: Site, clock: Any) -> None:
    await site.ask(login)
    [before] = await site.auth.sessions("alice")
    clock.advance(30)
    await site.ask(rotate)
    [after] = await site.auth.sessions("alice")
    assert (after.expires_at, after.idle_expires_at) == (before.expires_at, before.idle_expires_at)


async def test_without_grace_the_old_secret_is_dead_at_once(site: Site) -> None:
    await site.ask(login)
    old = dict(site.client.cookies)

    async def at_once(auth: Auth, scope: Any, send: Any) -> Any:
        await auth.rotate(scope, grace=0)

    await site.ask(at_once)
    late = site.stranger()
    late.cookies.update(old)
    assert await site.who(late) is None


async def test_only_a_session_of_a_cookie_can_be_rotated(site: Site) -> None:
    assert (await site.ask(raising(LoginRequired, rotate))).status_code == 200
    pair = await site.auth.issue(ALICE)
    site.handler = raising(LoginRequired, rotate)
    answer = await site.client.get("/", headers={"authorization": f"Bearer {pair.access_token}"})
    assert answer.status_code == 200


# ---------------------------------------------------------------------- tokens


async def test_issue_and_refresh(auth: Auth) -> None:
    pair = await auth.issue(ALICE, client_id="cli", amr=["hwk"])
    assert (pair.expires_in, pair.scope, pair.session.user_id, pair.session.amr) == (600, "read", "alice", ("hwk",))
    again = await auth.refresh(pair.refresh_token)
    assert again.session.id == pair.session.id
    assert (await auth.refresh(pair.refresh_token, client_id="cli")).refresh_token == again.refresh_token
    with pytest.raises(InvalidGrant):
        await auth.refresh(pair.refresh_token, client_id="other")


async def test_scopes_of_issue_and_refresh(auth: Auth) -> None:
    user = User("alice", scopes=frozenset({"read", "write"}))
    with pytest.raises(InvalidScope):
        await auth.issue(user, scopes="read admin")
    with pytest.raises(ValueError, match="no scope"):
        await auth.issue(user, scopes=['a"b'])
    pair = await auth.issue(user, scopes=["read"])
    assert pair.scope == "read"
    with pytest.raises(InvalidScope):
        await auth.refresh(pair.refresh_token, scopes="write")
    assert (await auth.refresh((await auth.issue(user)).refresh_token, scopes="write")).scope == "write"


@pytest.mark.parametrize("token", ["", "x", "é", "\ud800", "a.1.b.c", "x" * 100_000])
async def test_a_refresh_token_that_is_none_is_an_invalid_grant(auth: Auth, token: str) -> None:
    with pytest.raises(InvalidGrant):
        await auth.refresh(token)


async def test_no_repr_shows_a_token(auth: Auth) -> None:
    pair = await auth.issue(ALICE)
    for shown in (repr(pair), str(pair), repr(pair.session), repr(auth.settings)):
        assert pair.refresh_token not in shown
        assert pair.access_token not in shown


# ---------------------------------------------------------------------- revocation


async def test_revoke_says_whether_the_session_was_alive(auth: Auth) -> None:
    pair = await auth.issue(ALICE)
    assert await auth.revoke(pair.session.id) is True
    assert await auth.revoke(pair.session.id) is False
    with pytest.raises(InvalidGrant):
        await auth.refresh(pair.refresh_token)


@pytest.mark.parametrize("session_id", ["", "00", "x" * 9000, "\x00", "é", "*"])
async def test_revoking_what_is_no_session_does_nothing(auth: Auth, session_id: str) -> None:
    pair = await auth.issue(ALICE)
    assert await auth.revoke(session_id) is False
    await auth.refresh(pair.refresh_token)


async def test_revoke_user_keeps_the_one_that_is_named(auth: Auth) -> None:
    pairs = [await auth.issue(ALICE) for _ in range(3)]
    bob = await auth.issue(User("bob"))
    assert await auth.revoke_user("alice", keep=pairs[1].session.id) == 2
    [left] = await auth.sessions("alice")
    assert left.id == pairs[1].session.id
    await auth.refresh(pairs[1].refresh_token)
    await auth.refresh(bob.refresh_token)
    assert await auth.revoke_user("alice", keep=bob.session.id) == 1
    assert await auth.sessions("alice") == []
    assert await auth.revoke_user("nobody") == 0


async def test_revoke_all_ends_everybody_and_nobody_who_comes_after(auth: Auth) -> None:
    before = [await auth.issue(ALICE), await auth.issue(User("bob"))]
    await auth.revoke_all()
    after = await auth.issue(ALICE)
    for pair in before:
        with pytest.raises(InvalidGrant):
            await auth.refresh(pair.refresh_token)
    await auth.refresh(after.refresh_token)


async def test_revoke_user_racing_a_login_is_decided_by_order_not_by_time(auth: Auth) -> None:
    """All in one instant of the clock: before it dead, after it alive."""
    first = await auth.issue(ALICE)
    await auth.revoke_user("alice")
    second = await auth.issue(ALICE)
    with pytest.raises(InvalidGrant):
        await auth.refresh(first.refresh_token)
    await auth.refresh(second.refresh_token)


# ---------------------------------------------------------------------- users


async def test_create_user_gives_a_random_id_and_names_are_one_each(auth: Auth) -> None:
    user = await auth.create_user("Alice", PASSWORD, scopes="read", claims={"team": [1]})
    assert (len(user.id), user.display_name, user.scopes, user.claims) == (32, "Alice", {"read"}, {"team": [1]})
    for name in ("alice", "ALICE", "ＡＬＩＣＥ"):
        with pytest.raises(NameTaken):
            await auth.create_user(name, PASSWORD)
    with pytest.raises(NameTaken):
        await auth.create_user("bob", PASSWORD, id=user.id)
    with pytest.raises(WeakPassword):
        await auth.create_user("bob", "short")
    assert (await auth.create_user("bob", "short", check=False)).display_name == "bob"


async def test_update_user_by_id_changes_what_is_given_alone(auth: Auth) -> None:
    await auth.create_user("alice", PASSWORD, id="alice", scopes="read", claims={"a": 1}, display_name="Alice")
    user = await auth.update_user("alice", scopes="write")
    assert (user.display_name, user.scopes, user.claims) == ("Alice", {"write"}, {"a": 1})
    user = await auth.update_user("alice", claims={})
    assert (user.scopes, user.claims) == ({"write"}, {})
    user = await auth.update_user(User("alice", "A.", frozenset({"x"}), {"b": 2}))
    assert (user.display_name, user.scopes, user.claims) == ("A.", {"x"}, {"b": 2})


@pytest.mark.parametrize("verb", ["set_password", "update_user", "disable_user", "enable_user", "delete_user"])
async def test_verbs_on_nobody_raise_unknown_user(auth: Auth, verb: str) -> None:
    arguments = {"set_password": (PASSWORD,)}.get(verb, ())
    with pytest.raises(UnknownUser):
        await getattr(auth, verb)("nobody", *arguments)
    await auth.create_user("gone", PASSWORD, id="gone")
    await auth.delete_user("gone")
    with pytest.raises(UnknownUser):
        await getattr(auth, verb)("gone", *arguments)


async def test_a_user_who_comes_back_under_the_same_id_has_none_of_the_old_sessions(auth: Auth) -> None:
    await auth.create_user("alice", PASSWORD, id="alice")
    old = await auth.issue(User("alice"))
    await auth.delete_user("alice")
    await auth.create_user("alice", PASSWORD, id="alice")
    assert await auth.sessions("alice") == []
    with pytest.raises(InvalidGrant):
        await auth.refresh(old.refresh_token)


async def test_the_verbs_of_the_built_in_directory_say_when_there_is_another(clock: Any, anyio_backend: Any) -> None:
    async def verify(username: str, password: str) -> User | None:
        return None

    auth = Auth(Settings(store="memory://"), directory=CallableDirectory(verify), clock=clock)
    for verb in (auth.create_user, auth.set_password):
        with pytest.raises(ConfigurationError, match="ASGI_AUTH_USERS"):
            await verb("alice", PASSWORD)
    await auth.aclose()


# ---------------------------------------------------------------------- the whole


async def test_a_store_of_ones_own_is_used_instead_of_the_one_that_is_named(
    clock: Any, tmp_path: Path, anyio_backend: Any
) -> None:
    store = open_store("memory://", timeout=1.0, clock=clock)
    path = tmp_path / "never-made.sqlite3"
    async with Auth(Settings(store=f"sqlite:///{path}"), store=store, clock=clock) as auth:
        pair = await auth.issue(ALICE)
        assert await store.load(pair.session.id) is not None
    assert not path.exists()


async def test_two_auths_over_one_store_know_each_others_sessions(clock: Any, anyio_backend: Any) -> None:
    store = open_store("memory://", timeout=1.0, clock=clock)
    async with make(clock, store=store) as one, make(clock, store=store) as other:
        pair = await one.issue(ALICE)
        await other.refresh(pair.refresh_token)
        await other.revoke_user("alice")
        with pytest.raises(InvalidGrant):
            await one.refresh(pair.refresh_token)


async def test_ready_returns_or_raises(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    await auth.ready()

    async def silent() -> Any:
        raise StoreUnavailable("no answer")

    monkeypatch.setattr((await auth.opened()).store, "keys", silent)
    with pytest.raises(StoreUnavailable):
        await auth.ready()


async def test_a_closed_auth_opens_again(auth: Auth) -> None:
    pair = await auth.issue(ALICE)
    await auth.aclose()
    await auth.aclose()
    assert (await auth.refresh(pair.refresh_token)).session.id == pair.session.id


async def test_making_one_never_raises_and_every_verb_says_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, anyio_backend: Any
) -> None:
    monkeypatch.setenv("ASGI_AUTH_STORE", "nonsense://")
    auth = Auth()
    with pytest.raises(ConfigurationError, match="ASGI_AUTH_STORE"):
        _ = auth.settings
    for verb in (auth.opened, auth.ready, auth.revoke_all):
        with pytest.raises(ConfigurationError, match="ASGI_AUTH_STORE"):
            await verb()
    answer = await Site(auth).ask()
    assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")
    assert "ASGI_AUTH" not in answer.text


async def test_settings_given_wrong_raise_at_once() -> None:
    with pytest.raises(ConfigurationError, match="ASGI_AUTH_SESSION_IDLE"):
        Settings(session_idle="soon")


async def test_the_public_names_are_there() -> None:
    assert sorted(asgi_auth.__all__) == sorted(set(asgi_auth.__all__))
    for name in asgi_auth.__all__:
        assert getattr(asgi_auth, name) is not None


def test_one_auth_works_in_two_event_loops_in_turn(clock: Any) -> None:
    auth = make(clock)

    async def issue() -> Any:
        return await auth.issue(ALICE)

    pair = anyio.run(issue)

    async def refresh() -> Any:
        return await auth.refresh(pair.refresh_token)

    assert anyio.run(refresh, backend="trio").session.id == pair.session.id
