"""The session's cookies on the wire: their names, what is accepted as one, who clears them and when, and what goes out
beside them (sessions.md 1, 4, 7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from seats import ALICE, BOB, PASSWORD, add_users, browser, call, cookie_of, handled, http_scope, new_auth, set_cookies
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from asgi_auth import Auth, AuthMiddleware
from asgi_auth.errors import CookieNotKept
from asgi_auth.secret import digest
from asgi_auth.stores import Loaded

HTTPS = "https://app.example.com"
BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
MODES = ["cors", "no-cors", "same-origin", "websocket"]


def site(auth: Auth, **hooks: Any) -> AuthMiddleware:
    """`/login/x`, `/logout`, `/rotate`, `/write`, `/read`, `/`; and what a test adds."""

    async def page(request: Request) -> Response:
        verb, *rest = request.url.path.strip("/").split("/")
        if verb in hooks:
            await hooks[verb](request)
        elif verb == "login":
            await auth.login(request, {"alice": ALICE, "bob": BOB}[rest[0]])
        elif verb == "logout":
            await auth.logout(request)
        elif verb == "rotate":
            await auth.rotate(request)
        elif verb == "write":
            request.session["a"] = 1
        elif verb == "read":
            return JSONResponse(dict(request.session))
        return JSONResponse({"user": request.user.identity})

    return AuthMiddleware(handled(page), auth)


async def logged_in(app: Any, base_url: str = "http://testserver", name: str = "alice") -> tuple[str, str]:
    """The name and the value of a cookie that opens `alice`'s session."""
    async with browser(app, base_url) as client:
        await client.get(f"/login/{name}")
        name, _, value = cookie_of(client)["cookie"].partition("=")
    return name, value


async def user(app: Any, cookie: Any, **scope: Any) -> str:
    lines = [cookie] if isinstance(cookie, (str, bytes)) else cookie
    reply = await call(app, http_scope("/", headers=[("cookie", line) for line in lines], **scope))
    return str(reply.json()["user"])


# ---------------------------------------------------------------------- names and attributes


@pytest.mark.parametrize(
    ("base_url", "options", "expected"),
    [
        (HTTPS, {}, "__Host-session=*; Path=/; HttpOnly; SameSite=Lax; Secure"),
        (HTTPS, {"session_samesite": "strict"}, "__Host-session=*; Path=/; HttpOnly; SameSite=Strict; Secure"),
        (
            HTTPS,
            {"session_domain": "example.com"},
            "__Secure-session=*; Path=/; Domain=example.com; HttpOnly; SameSite=Lax; Secure",
        ),
        (HTTPS, {"session_path": "/app"}, "__Secure-session=*; Path=/app; HttpOnly; SameSite=Lax; Secure"),
        (HTTPS, {"session_cookie": "sid"}, "sid=*; Path=/; HttpOnly; SameSite=Lax; Secure"),
        ("http://localhost:8000", {}, "session-####=*; Path=/; HttpOnly; SameSite=Lax"),
        ("http://127.0.0.1:8000", {}, "session-####=*; Path=/; HttpOnly; SameSite=Lax"),
        ("http://[::1]:8000", {}, "session-####=*; Path=/; HttpOnly; SameSite=Lax"),
        ("http://box.lan", {"insecure_http": True}, "session-####=*; Path=/; HttpOnly; SameSite=Lax"),
        ("http://box.lan", {"insecure_http": True, "session_cookie": "sid"}, "sid=*; Path=/; HttpOnly; SameSite=Lax"),
        ("http://localhost", {"url": HTTPS}, "__Host-session=*; Path=/; HttpOnly; SameSite=Lax; Secure"),
    ],
)
async def test_the_cookie_is_the_safest_that_the_request_allows(
    base_url: str, options: dict[str, Any], expected: str
) -> None:
    auth = new_auth(**options)
    async with browser(site(auth), base_url) as client:
        (login,) = set_cookies(await client.get("/login/alice"))
        (visitor,) = set_cookies(await client.get("/write", headers={"cookie": ""}))
    name, _, attributes = expected.partition("=*")
    name = name.replace("####", auth.parts.ring[:4])
    got, _, rest = login.partition("=")
    assert got == name
    assert "; " + rest.partition("; ")[2] == attributes
    assert visitor.split("=")[0] == f"{name}-anonymous"
    # A visitor's data opens nothing, so it may come along where a Strict session stays behind.
    assert "; " + visitor.partition("; ")[2] == attributes.replace("SameSite=Strict", "SameSite=Lax")


@pytest.mark.parametrize(
    ("base_url", "options", "headers", "cure"),
    [
        ("http://app.example.com", {}, {}, "TRUSTED_PROXIES"),
        ("http://192.168.1.5:8000", {}, {}, "INSECURE_HTTP"),
        ("http://127.0.0.1", {}, {"origin": HTTPS}, "TRUSTED_PROXIES"),  # nginx's default
        (HTTPS, {"session_domain": "example.org"}, {}, "SESSION_DOMAIN"),
    ],
)
async def test_a_cookie_that_cannot_stick_says_so_where_it_is_made(
    base_url: str, options: dict[str, Any], headers: dict[str, str], cure: str
) -> None:
    auth = new_auth(**options)
    await add_users(auth)
    looked = []
    verify = auth.parts.directory.verify

    async def counting(*args: Any) -> Any:
        looked.append(args)
        return await verify(*args)

    auth.parts.directory.verify = counting  # type: ignore[method-assign]
    body = {"username": "alice", "password": PASSWORD}
    async with browser(site(auth), base_url) as client:
        if "origin" not in headers:  # there, Origin differs from Host
            answer = await client.post("/auth/login", json=body, headers=headers)
            assert answer.status_code == 400
            assert answer.json()["error"] == "cookie_not_kept"
            assert cure in answer.json()["error_description"]
            assert set_cookies(answer) == []
        answer = await client.get("/login/alice", headers=headers)
        assert answer.json()["error"] == "cookie_not_kept"
        assert cure in answer.text
    assert looked == []  # before the password
    assert await auth.sessions("alice") == []


async def test_a_visitors_write_says_so_too() -> None:
    from asgi_auth import NoSessionData

    errors = []

    async def write(request: Request) -> None:
        try:
            request.session["a"] = 1
        except NoSessionData as error:
            errors.append(str(error))

    auth = new_auth()
    await auth.opened()
    async with browser(site(auth, write=write), "http://app.example.com") as client:
        assert set_cookies(await client.get("/write")) == []
    assert "TRUSTED_PROXIES" in errors[0]


async def test_login_raises_before_anything_is_made() -> None:
    raised = []

    async def hook(request: Request) -> None:
        try:
            await auth.login(request, ALICE)
        except CookieNotKept as error:
            raised.append(error)

    auth = new_auth()
    async with browser(site(auth, hook=hook), "http://app.example.com") as client:
        assert (await client.get("/hook")).json() == {"user": ""}
    assert len(raised) == 1
    assert await auth.sessions("alice") == []


async def test_remember_keeps_the_cookie_for_what_is_left_of_the_lifetime(clock: Any) -> None:
    async def remember(request: Request) -> None:
        await auth.login(request, ALICE, remember=True)

    auth = new_auth(clock=clock, session_lifetime="10d")
    async with browser(site(auth, remember=remember)) as client:
        (cookie,) = set_cookies(await client.get("/remember"))
        assert "Max-Age=864000;" in cookie
        clock.advance(86_400 - 1)
        (cookie,) = set_cookies(await client.get("/rotate"))
        assert "Max-Age=777601;" in cookie
        (cookie,) = set_cookies(await client.get("/login/alice"))
        assert "Max-Age" not in cookie


# ---------------------------------------------------------------------- what is a cookie of ours


async def test_only_the_exact_bytes_we_issued_verify() -> None:
    app = site(new_auth())
    name, value = await logged_in(app)
    assert await user(app, f"{name}={value}") == "alice"
    assert await user(app, f" {name} = {value} ; other=1") == "alice"  # as browsers and RFC 6265bis read it
    spellings = [
        f'"{value}"',
        value.replace(value[0], f"%{ord(value[0]):02X}", 1),
        value.replace(value[0], f"\\{ord(value[0]):03o}", 1),
        f'"\\{ord(value[0]):03o}{value[1:]}"',
        value + "=",
        value + ".",
        value + "\x00",
        value + "\xa0",
        value.replace(".", "%2E", 1),
        value.swapcase(),
        value[:-1],
        value + "A",
        value.rpartition(".")[0],
        *(value[:-1] + BASE64URL[BASE64URL.index(value[-1]) ^ unused] for unused in (1, 2, 3)),
        value.replace("-", "+").replace("_", "/") + ("!" if not {"-", "_"} & set(value) else ""),
        "",
    ]
    for spelling in spellings:
        assert await user(app, f"{name}={spelling}") == "", spelling
    assert await user(app, f"{name.upper()}={value}") == ""
    assert await user(app, f"x{name}={value}") == ""


@pytest.fixture
def issued() -> tuple[AuthMiddleware, str, str]:
    """An application, and the name and value of a cookie that it issued."""
    app = site(new_auth())
    return app, *anyio.run(logged_in, app)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 120), byte=st.integers(0x21, 0x7E))
def test_no_byte_of_it_can_be_another(issued: tuple[AuthMiddleware, str, str], at: int, byte: int) -> None:
    app, name, value = issued
    other = value[:at] + chr(byte) + value[at + 1 :]
    assert anyio.run(user, app, f"{name}={other}") == ("alice" if other == value else "")


@pytest.mark.parametrize("join", ["apart", "one line", "split in the middle"])
async def test_the_cookie_is_found_in_any_of_several_cookie_headers(join: str) -> None:
    app = site(new_auth())
    name, value = await logged_in(app)
    mine = f"{name}={value}"
    lines = {
        "apart": ["a=1", "b=2", mine, "c=3"],
        "one line": [f"a=1; b=2;{mine};c=3"],
        "split in the middle": ["a=1; b=2", f"{mine}; c=3"],
    }[join]
    assert await user(app, lines) == "alice"


async def test_app_and_middleware_never_see_different_session_cookies() -> None:
    """Frameworks take the first or the last of two; we take neither, wherever they stand."""
    auth = new_auth()
    app = site(auth)
    name, alice = await logged_in(app)
    _, bob = await logged_in(app, name="bob")
    for pair in ((alice, bob), (bob, alice), (alice, alice), (alice, "garbage"), ("", alice)):
        for lines in ([f"{name}={pair[0]}; {name}={pair[1]}"], [f"{name}={one}" for one in pair]):
            reply = await call(app, http_scope("/", headers=[("cookie", line) for line in lines]))
            assert reply.json() == {"user": ""}
            assert reply.all("set-cookie") == []  # logged, not cleared: nobody knows whose it is
    assert len(await auth.sessions("alice")) == len(await auth.sessions("bob")) == 1


async def test_a_doubled_visitors_cookie_is_refused_too() -> None:
    app = site(new_auth())
    async with browser(app) as client:
        await client.get("/write")
        line = cookie_of(client)["cookie"]
    assert (await call(app, http_scope("/read", headers=[("cookie", line)]))).json() == {"a": 1}
    assert (await call(app, http_scope("/read", headers=[("cookie", f"{line}; {line}")]))).json() == {}


async def test_a_visitors_cookie_opens_no_session_and_a_sessions_no_visitor() -> None:
    auth = new_auth()
    app = site(auth)
    name, value = await logged_in(app)
    async with browser(app) as client:
        await client.get("/write")
        visitors = cookie_of(client)["cookie"].partition("=")[2]
    assert await user(app, f"{name}={visitors}") == ""
    reply = await call(app, http_scope("/read", headers=[("cookie", f"{name}-anonymous={value}")]))
    assert reply.json() == {}
    assert await user(app, f"{name}={value}") == "alice"


async def test_two_apps_on_one_host_do_not_log_each_other_out() -> None:
    """Cookies know no ports: two applications see one another's. On plain http their names differ, and on https, where
    they are the same, another ring's cookie is left alone."""
    for base_url in ("http://localhost", HTTPS):
        one, two = (site(new_auth(secret=letter * 32)) for letter in "ab")
        async with browser(one, base_url) as client:
            await client.get("/login/alice")
            theirs = cookie_of(client)
        async with browser(two, base_url) as client:
            answer = await client.get("/", headers=theirs)
            assert answer.json() == {"user": ""}
            assert set_cookies(answer) == []
            answer = await client.get("/logout", headers=theirs)
            assert set_cookies(answer) == []
        async with browser(one, base_url) as client:
            assert (await client.get("/", headers=theirs)).json() == {"user": "alice"}

    # By plain http one browser is logged in to both; on https, too, where one of them has a SESSION_COOKIE.
    apps = {letter: site(new_auth(secret=letter * 32)) for letter in "ab"}
    jar: dict[str, str] = {}
    for letter, name in (("a", "alice"), ("b", "bob")):
        async with browser(apps[letter], "http://localhost") as client:
            await client.get(f"/login/{name}", headers={"cookie": "; ".join(f"{k}={v}" for k, v in jar.items())})
            jar.update(client.cookies)
    whole = "; ".join(f"{name}={value}" for name, value in jar.items())
    assert [await user(app, whole) for app in apps.values()] == ["alice", "bob"]


async def test_another_rings_cookie_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture, clock: Any) -> None:
    one, two = (new_auth(secret=letter * 32, clock=clock) for letter in "ab")
    name, value = await logged_in(site(one), HTTPS)
    app = site(two)
    caplog.clear()
    for _ in range(5):
        await user(app, f"{name}={value}", scheme="https")
    assert caplog.text.count("of another key ring") == 1
    clock.advance(61)
    await user(app, f"{name}={value}", scheme="https")
    assert caplog.text.count("of another key ring") == 2
    assert value not in caplog.text


async def test_a_rotated_secret_still_opens_what_it_signed_and_a_removed_one_nothing() -> None:
    from asgi_auth.stores.memory import MemoryStore

    store = MemoryStore()
    old, new = "o" * 32, "n" * 32

    def over(*secrets: str) -> AuthMiddleware:
        from asgi_auth import Settings

        return site(Auth(Settings(store="memory://", backends="session", secret=list(secrets)), store=store))

    name, value = await logged_in(over(old))
    assert await user(over(old, new), f"{name}={value}") == "alice"
    assert await user(over(new, old), f"{name}={value}") == "alice"
    assert await user(over(new), f"{name}={value}") == ""
    name, value = await logged_in(over(new, old))
    assert await user(over(new), f"{name}={value}") == "alice"
    assert await user(over(old), f"{name}={value}") == ""


# ---------------------------------------------------------------------- who clears it


def clears(cookies: Sequence[str], name: str) -> bool:
    return any(cookie.startswith(f"{name}=;") and "Max-Age=0" in cookie for cookie in cookies)


@pytest.mark.parametrize("dead", ["revoked", "expired", "unknown", "forged"])
async def test_an_invalid_session_cookie_is_cleared(dead: str, clock: Any) -> None:
    auth = new_auth(clock=clock)
    app = site(auth)
    name, value = await logged_in(app)
    if dead == "revoked":
        await auth.revoke_user("alice")
    elif dead == "expired":
        clock.advance(90_000)
    elif dead == "unknown":
        value = auth.parts.codec.encode("00" + "x" * 22, "s" * 43)
    else:
        value = value[:-2] + "xx"
    line = [("cookie", f"{name}={value}")]
    for mode in ([], [("sec-fetch-mode", "navigate")]):
        reply = await call(app, http_scope("/", headers=[*line, *mode]))
        assert reply.json() == {"user": ""}
        assert clears(reply.all("set-cookie"), name), mode
        (cookie,) = reply.all("set-cookie")
        assert cookie.endswith("; Path=/; HttpOnly; SameSite=Lax")  # else the browser ignores it
        assert 'no-cache="Set-Cookie"' in reply.all("cache-control")[0]
    for mode in MODES:
        reply = await call(app, http_scope("/", headers=[*line, ("sec-fetch-mode", mode)]))
        assert reply.all("set-cookie") == [], mode


async def test_a_dead_cookie_over_https_is_cleared_with_its_prefix_and_secure() -> None:
    auth = new_auth()
    app = site(auth)
    name, value = await logged_in(app, HTTPS)
    await auth.revoke_user("alice")
    reply = await call(app, http_scope("/", headers=[("cookie", f"{name}={value}")], scheme="https"))
    (cookie,) = reply.all("set-cookie")
    assert cookie.startswith("__Host-session=; Max-Age=0; ")
    assert cookie.endswith("; Path=/; HttpOnly; SameSite=Lax; Secure")


class Slow:
    """A request that waits inside the application until it is let go."""

    def __init__(self) -> None:
        self.arrived, self.go = anyio.Event(), anyio.Event()

    async def __call__(self, request: Request) -> None:
        self.arrived.set()
        await self.go.wait()


@pytest.mark.parametrize("verb", ["/login/alice", "/login/bob"])
@pytest.mark.parametrize("ended", ["revoked", "expired", "forgotten"])
async def test_an_answer_under_way_does_not_clear_what_a_login_set_meanwhile(verb: str, ended: str, clock: Any) -> None:
    slow, auth = Slow(), new_auth(clock=clock)
    app = site(auth, slow=slow)
    name, value = await logged_in(app)
    if ended == "revoked":
        await auth.revoke_user("alice")
    elif ended == "expired":
        clock.advance(87_000)
    else:  # the tombstone too
        await auth.revoke_user("alice")
        clock.advance(4 * 3600)
        await auth.parts.store.sweep()
        assert await auth.parts.store.load(value.split(".")[1]) is None
    cookie = {"cookie": f"{name}={value}"}
    late: list[httpx2.Response] = []

    async def ask(client: httpx2.AsyncClient) -> None:
        late.append(await client.get("/slow", headers=cookie))

    async with browser(app) as client, anyio.create_task_group() as group:
        group.start_soon(ask, client)
        await slow.arrived.wait()
        async with browser(app) as other:
            await other.get(verb, headers=cookie)
        slow.go.set()
    assert set_cookies(late[0]) == []


async def test_an_answer_under_way_does_not_clear_what_a_rotation_set_meanwhile() -> None:
    slow, auth = Slow(), new_auth()
    app = site(auth, slow=slow)
    name, value = await logged_in(app)
    late: list[httpx2.Response] = []

    async def ask(client: httpx2.AsyncClient) -> None:
        late.append(await client.get("/slow", headers={"cookie": f"{name}={value}"}))

    async with browser(app) as client, anyio.create_task_group() as group:
        group.start_soon(ask, client)
        await slow.arrived.wait()
        async with browser(app) as other:
            await other.get("/rotate", headers={"cookie": f"{name}={value}"})
        slow.go.set()
    assert late[0].json() == {"user": "alice"}
    assert set_cookies(late[0]) == []


async def test_an_anonymous_answer_under_way_does_not_touch_a_login() -> None:
    """Half of it by the cookies' names, half by the store: what it writes goes to a visitor's session that is over."""
    slow, auth = Slow(), new_auth()

    async def late_write(request: Request) -> None:
        await slow(request)
        request.session["late"] = True

    app = site(auth, late=late_write)
    async with browser(app) as client:
        await client.get("/write")
        visitor = cookie_of(client)
        answers: list[httpx2.Response] = []

        async def ask() -> None:
            async with browser(app) as other:
                answers.append(await other.get("/late", headers=visitor))

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await slow.arrived.wait()
            await client.get("/login/alice")
            slow.go.set()
        assert set_cookies(answers[0]) == []
        assert (await client.get("/read")).json() == {"a": 1}
        assert (await client.get("/")).json() == {"user": "alice"}


async def test_a_login_clears_the_visitors_cookie_and_sends_the_sessions_last() -> None:
    auth = new_auth()
    async with browser(site(auth)) as client:
        await client.get("/write")
        visitor = next(iter(client.cookies))
        first, second = set_cookies(await client.get("/login/alice"))
        assert first.startswith(f"{visitor}=; Max-Age=0")
        assert second.split("=")[0] == visitor.removesuffix("-anonymous")
        assert visitor not in client.cookies


async def test_never_two_set_cookie_of_ours() -> None:
    auth = new_auth()

    def chain(*verbs: str) -> Any:
        async def run(request: Request) -> None:
            for verb in verbs:
                if verb == "alice":
                    await auth.login(request, ALICE)
                elif verb == "bob":
                    await auth.login(request, BOB)
                elif verb == "logout":
                    await auth.logout(request)
                elif verb == "rotate":
                    await auth.rotate(request)
                elif verb == "write":
                    request.session["x"] = verb

        return run

    last = {"alice": "alice", "bob": "bob", "logout": "", "rotate": "alice"}
    chains = [
        ["alice", "logout"],
        ["logout", "alice"],
        ["alice", "bob"],
        ["alice", "rotate"],
        ["write", "alice"],
        ["alice", "write", "logout"],
        ["bob", "logout", "write", "alice"],
        ["alice", "rotate", "rotate", "logout", "bob"],
    ]
    app = site(auth, **{f"c{number}": chain(*verbs) for number, verbs in enumerate(chains)})
    for start in (None, "/login/bob", "/write", "dead"):
        for number, verbs in enumerate(chains):
            async with browser(app) as client:
                if start == "dead":
                    await client.get("/login/bob")
                    await auth.revoke_user("bob")
                elif start:
                    await client.get(start)
                cookies = set_cookies(await client.get(f"/c{number}"))
                names = [cookie.split("=")[0] for cookie in cookies]
                assert len(names) == len(set(names)), (start, verbs, cookies)
                expected = last[[verb for verb in verbs if verb != "write"][-1]]
                assert (await client.get("/")).json() == {"user": expected}, (start, verbs)


async def test_a_logout_clears_the_cookies_that_came_and_no_others() -> None:
    auth = new_auth()
    app = site(auth)
    async with browser(app) as client:
        assert set_cookies(await client.get("/logout")) == []
        await client.get("/login/alice")
        (cookie,) = set_cookies(await client.get("/logout"))
        assert "=; Max-Age=0" in cookie
        await client.get("/write")
        (cookie,) = set_cookies(await client.get("/logout"))
        assert "-anonymous=; Max-Age=0" in cookie


async def test_a_dead_visitors_cookie_is_replaced_by_the_next_write_and_else_left() -> None:
    auth = new_auth()
    app = site(auth)
    async with browser(app) as client:
        await client.get("/write")
        await auth.revoke_all()
        assert (await client.get("/read")).json() == {}
        assert set_cookies(await client.get("/read")) == []
        (cookie,) = set_cookies(await client.get("/write"))
        assert "-anonymous=" in cookie
        assert (await client.get("/read")).json() == {"a": 1}


# ---------------------------------------------------------------------- answers to somebody are private


async def test_what_carries_our_cookie_is_private_and_varies() -> None:
    auth = new_auth()
    async with browser(site(auth)) as client:
        for path in ("/write", "/login/alice", "/rotate", "/logout"):
            answer = await client.get(path)
            assert set_cookies(answer), path
            assert answer.headers["cache-control"] == 'no-cache="Set-Cookie", private'
            assert answer.headers["vary"] == "Cookie"


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        ("public, max-age=60", 'no-cache="Set-Cookie", private, max-age=60'),
        ("private", "private"),
        ("no-store", "no-store"),
        ("PRIVATE, max-age=1", "PRIVATE, max-age=1"),
        ("no-cache", "private, no-cache"),
        ("s-maxage=60, public", 'no-cache="Set-Cookie", private'),
    ],
)
async def test_what_the_application_said_of_caching_counts(said: str, sent: str) -> None:
    auth = new_auth()

    async def page(request: Request) -> Response:
        await auth.login(request, ALICE)
        return Response(headers={"cache-control": said, "cdn-cache-control": "max-age=60"})

    reply = await call(AuthMiddleware(handled(page), auth), http_scope())
    assert reply.all("cache-control") == [sent]
    assert reply.all("cdn-cache-control") == []


async def test_an_answer_whose_request_read_or_wrote_data_varies_by_cookie_and_others_do_not() -> None:
    auth = new_auth()
    async with browser(site(auth)) as client:
        await client.get("/login/alice")
        assert "vary" not in (await client.get("/")).headers
        read = await client.get("/read")
        assert read.headers["vary"] == "Cookie"
        assert "cache-control" not in read.headers
        assert (await client.get("/write")).headers["vary"] == "Cookie"
    assert "vary" not in (await browser(site(auth)).get("/")).headers
    assert (await browser(site(auth)).get("/read")).headers["vary"] == "Cookie"


# ---------------------------------------------------------------------- what is stored of it


async def test_no_secret_of_a_cookie_is_stored(any_store: str) -> None:
    auth = new_auth(any_store)
    _, value = await logged_in(site(auth))
    sid, secret = value.split(".")[1:3]
    loaded = await auth.parts.store.load(sid)
    assert isinstance(loaded, Loaded)
    assert loaded.record.digest == digest(secret)
    assert secret not in repr(loaded)
    await auth.aclose()


async def test_the_owner_of_the_store_learns_nothing_that_logs_in(tmp_path: Any) -> None:
    auth = new_auth(f"sqlite:///{tmp_path}/s.sqlite3", secret="s" * 32)
    app = site(auth)
    name, value = await logged_in(app)
    await auth.aclose()
    dump = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    _, sid, secret, signature = value.split(".")
    assert sid.encode() in dump
    assert secret.encode() not in dump
    assert signature.encode() not in dump
    loaded = await auth.parts.store.load(sid)
    assert isinstance(loaded, Loaded)
    for guess in (loaded.record.digest[:43], secret[::-1]):
        forged = auth.parts.codec.encode(sid, guess)
        assert await user(app, f"{name}={forged}") == ""
    await auth.aclose()
