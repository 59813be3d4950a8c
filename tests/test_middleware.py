"""The way of one request through the middleware, message by message: what it fills in, what it lets pass, what it
never does. The cookies and data of sessions are in `sessions/`, the frameworks in `test_frameworks`."""

from __future__ import annotations

import base64
import logging
from contextlib import suppress
from typing import Any

import anyio
import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from seats import (
    ALICE,
    PASSWORD,
    Boom,
    Reply,
    add_users,
    browser,
    call,
    cookie_of,
    handled,
    http_scope,
    new_auth,
    set_cookies,
    socket_scope,
)
from starlette.authentication import AuthCredentials, AuthenticationBackend, BaseUser, SimpleUser
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from asgi_auth import Auth, AuthMiddleware, NoSessionData
from asgi_auth.errors import CredentialError, LoginRequired
from asgi_auth.guards import Requirement, check


async def _page(request: Request) -> Response:
    """Logs in, out, writes, reads: by its path."""
    auth = Auth.of(request)
    name = request.url.path.strip("/")
    if name == "login":
        await auth.login(request, ALICE)
    elif name == "write":
        request.session["a"] = [1]
    elif name == "read":
        return JSONResponse(dict(request.session))
    return JSONResponse({"user": request.user.identity})


def _app(auth: Auth) -> AuthMiddleware:
    return AuthMiddleware(handled(_page), auth)


# ---------------------------------------------------------------------- what the scope holds


async def test_the_scope_satisfies_starlettes_types_for_nobody_and_somebody() -> None:
    auth = new_auth()
    seen: list[Any] = []

    async def page(request: Request) -> Response:
        seen.append((request.scope["user"], request.scope["auth"], request.scope["session"]))
        if request.url.path == "/login":
            await auth.login(request, ALICE, amr=["pwd", "otp"])
        return Response()

    async with browser(AuthMiddleware(handled(page), auth)) as client:
        await client.get("/")
        await client.get("/login")
        await client.get("/")
    nobody, _, somebody = seen
    for user, credentials, session in seen:
        assert isinstance(user, BaseUser)
        assert isinstance(credentials, AuthCredentials)
        assert len(session) == 0
    assert (nobody[0].id, nobody[0].identity, nobody[0].display_name) == (None, "", "")
    assert not nobody[0].is_authenticated
    assert nobody[1].scopes == []
    assert (nobody[1].session_id, nobody[1].backend, nobody[1].expires_at) == (None, None, None)
    assert somebody[0].is_authenticated
    assert (somebody[0].id, somebody[0].identity, somebody[0].scopes) == ("alice", "alice", {"read"})
    (session,) = await auth.sessions("alice")
    assert somebody[1].session_id == session.id
    assert somebody[1].backend == "session"
    assert somebody[1].expires_at == session.idle_expires_at
    assert somebody[1].authenticated_at == session.authenticated_at
    assert set(somebody[1].amr) == {"pwd", "otp"}


@pytest.mark.parametrize("kind", ["lifespan2", "mqtt", "http.custom"])
async def test_other_scope_types_pass_untouched(kind: str) -> None:
    scope = {"type": kind, "anything": object()}
    got: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        got.append((scope, receive, send))

    receive, send = object(), object()
    await AuthMiddleware(app, new_auth())(scope, receive, send)  # type: ignore[arg-type]
    assert got == [(scope, receive, send)]
    assert list(scope) == ["type", "anything"]


async def test_the_scope_itself_is_filled_for_access_logs_further_out() -> None:
    auth = new_auth()
    scope = http_scope("/login")
    await call(_app(auth), scope)
    assert scope["user"].identity == "alice"


async def test_a_user_from_further_out_is_replaced_in_a_copy() -> None:
    auth, theirs = new_auth(), SimpleUser("theirs")
    scope = http_scope("/login", user=theirs, auth=AuthCredentials(["x"]))
    reply = await call(_app(auth), scope)
    assert reply.json() == {"user": "alice"}
    assert scope["user"] is theirs
    assert scope["auth"].scopes == ["x"]


async def test_a_replaced_user_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    class Theirs(AuthenticationBackend):
        async def authenticate(self, conn: Any) -> Any:
            return AuthCredentials(["authenticated"]), SimpleUser("mallory")

    auth = new_auth()
    app = AuthMiddleware(AuthenticationMiddleware(handled(_page), backend=Theirs()), auth)
    for _ in range(3):
        await call(app, http_scope("/"))
    assert [r.message for r in caplog.records if "replaced scope['user']" in r.message] != []
    assert len([r for r in caplog.records if "replaced scope['user']" in r.message]) == 1


async def test_a_login_inside_is_no_replaced_user(caplog: pytest.LogCaptureFixture) -> None:
    await call(_app(new_auth()), http_scope("/login"))
    assert "replaced" not in caplog.text


async def test_an_outer_session_keeps_its_own_data_and_never_sees_ours(caplog: pytest.LogCaptureFixture) -> None:
    auth = new_auth()

    async def page(request: Request) -> Response:
        if request.url.path == "/login":
            await auth.login(request, ALICE)
        request.session["theirs"] = "signed"
        request.scope["asgi_auth"].data["ours"] = "secret"
        return JSONResponse([dict(request.session), dict(request.scope["asgi_auth"].data)])

    app = SessionMiddleware(AuthMiddleware(handled(page), auth), secret_key="x" * 32)
    async with browser(app) as client:
        for path in ("/", "/login", "/"):
            answer = await client.get(path)
            assert answer.json() == [{"theirs": "signed"}, {"ours": "secret"}]
        assert "c2VjcmV0" not in client.cookies["session"]  # base64 of ours
        payload = client.cookies["session"].split(".")[0]
        assert base64.b64decode(payload + "==") == b'{"theirs": "signed"}'
    assert len([r for r in caplog.records if "another middleware's session" in r.message]) == 1


async def test_another_middlewares_session_is_neither_read_nor_saved(caplog: pytest.LogCaptureFixture) -> None:
    """An inner SessionMiddleware puts its own mapping into our place: it stays theirs, and is named once."""
    auth = new_auth()

    async def page(request: Request) -> Response:
        if request.url.path == "/login":
            await auth.login(request, ALICE)
        request.session["theirs"] = 1
        return JSONResponse(dict(request.scope["asgi_auth"].data))

    app = AuthMiddleware(SessionMiddleware(handled(page), secret_key="x" * 32), auth)
    async with browser(app) as client:
        await client.get("/login")
        assert (await client.get("/")).json() == {}
        assert "session" in client.cookies
    assert len([r for r in caplog.records if "another middleware's session" in r.message]) == 1


# ---------------------------------------------------------------------- what passes


FOREIGN = [
    {"type": "http.response.debug", "info": {"template": object()}},
    {"type": "http.response.push", "path": "/x", "headers": []},
    {"type": "http.response.early_hint", "links": [b"</a>"]},
]
ENDINGS = [
    {"type": "http.response.zerocopysend", "file": 3},
    {"type": "http.response.pathsend", "path": "/etc/hostname"},
    {"type": "http.response.trailers", "headers": [(b"x", b"y")], "more_trailers": False},
]


async def test_foreign_messages_pass_untouched() -> None:
    messages = [*FOREIGN, {"type": "http.response.start", "status": 200, "headers": [], "trailers": True}, *ENDINGS]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    reply = await call(AuthMiddleware(app, new_auth()), http_scope())
    assert reply.messages == messages
    assert all(
        got is sent for got, sent in zip(reply.messages, messages, strict=True) if got["type"] != "http.response.start"
    )


async def test_foreign_messages_pass_untouched_on_a_websocket() -> None:
    messages = [
        {"type": "http.response.start", "status": 404, "headers": [(b"x", b"y")]},  # Sanic, on an unknown path
        {"type": "http.response.body", "body": b"no"},
    ]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    reply = await call(AuthMiddleware(app, new_auth()), socket_scope())
    assert reply.messages == messages


@pytest.mark.parametrize("headers", [..., None, (), [], ((b"Vary", b"Accept"),), [[b"vary", b"Accept"]]])
async def test_headers_may_be_absent_or_a_tuple(headers: Any) -> None:
    auth = new_auth()
    start = {"type": "http.response.start", "status": 200} | ({} if headers is ... else {"headers": headers})

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await auth.login(scope, ALICE)
        await send(start)
        await send({"type": "http.response.body"})

    reply = await call(AuthMiddleware(app, auth), http_scope())
    assert len(reply.all("set-cookie")) == 1
    assert "Cookie" in ", ".join(reply.all("vary"))
    assert start.get("headers", ...) is headers  # the application's own message stays as it was


@pytest.mark.parametrize("spelling", [bytes.lower, bytes.upper, bytes.title])
async def test_headers_the_app_set_are_found_whatever_their_case(spelling: Any) -> None:
    auth = new_auth()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await auth.login(scope, ALICE)
        headers = [(spelling(b"vary"), b"Accept, Cookie"), (spelling(b"cache-control"), b"public, max-age=60")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    reply = await call(AuthMiddleware(app, auth), http_scope())
    assert reply.all("vary") == ["Accept, Cookie"]
    (cache,) = reply.all("cache-control")
    assert "private" in cache
    assert "public" not in cache


async def test_a_file_response_saves_the_session_and_keeps_private() -> None:
    auth = new_auth()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/read":
            await JSONResponse(dict(scope["session"]))(scope, receive, send)
            return
        scope["session"]["file"] = True
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.pathsend", "path": "/etc/hostname"})
        scope["session"]["after"] = True

    middleware = AuthMiddleware(app, auth)
    reply = await call(middleware, http_scope("/file"))
    assert reply.messages[-1] == {"type": "http.response.pathsend", "path": "/etc/hostname"}
    (cookie,) = reply.all("set-cookie")
    assert "private" in reply.all("cache-control")[0]
    assert reply.all("vary") == ["Cookie"]
    back = await call(middleware, http_scope("/read", headers=[("cookie", cookie.split(";")[0])]))
    assert back.json() == {"file": True, "after": True}


async def test_the_middleware_never_calls_receive_for_itself() -> None:
    auth = new_auth()
    await add_users(auth)
    middleware = _app(auth)

    async def receive() -> Any:
        pytest.fail("the middleware read the body")

    async def ask(path: str, method: str = "POST", headers: Any = ()) -> int:
        reply = Reply()

        async def send(message: Any) -> None:
            reply.messages.append(message)

        await middleware(http_scope(path, method, headers), receive, send)
        return reply.status

    async with browser(middleware) as client:
        await client.get("/login")
        cookie = list(cookie_of(client).items())
    assert await ask("/", headers=cookie) == 200
    assert await ask("/write", headers=cookie) == 200
    assert await ask("/", headers=[("authorization", "Bearer nonsense")]) == 401
    assert await ask("/", headers=[("authorization", "Bearer")]) == 400
    assert await ask("/", headers=[*cookie, ("sec-fetch-site", "cross-site")]) == 403
    assert await ask("/auth/me", "GET") == 401
    assert await ask("/auth/login", headers=[("content-length", "99999")]) == 413
    assert await ask("/auth/login", "GET") == 405


async def test_the_body_reaches_the_application_whole() -> None:
    async def page(request: Request) -> Response:
        return Response(await request.body())

    async with browser(AuthMiddleware(handled(page), new_auth())) as client:
        assert (await client.post("/", content=b"x" * 300_000)).content == b"x" * 300_000


class _Stop(BaseException):
    pass


@pytest.mark.parametrize("error", [Boom(), ValueError("x"), KeyError("a"), TimeoutError(), _Stop()], ids=repr)
@pytest.mark.parametrize("kind", ["http", "http, started", "websocket", "websocket, accepted", "lifespan"])
async def test_the_apps_exception_leaves_as_it_is(kind: str, error: BaseException) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if kind == "http, started":
            await send({"type": "http.response.start", "status": 200, "headers": []})
        elif kind == "websocket, accepted":
            await receive()
            await send({"type": "websocket.accept"})
        elif kind == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
        raise error

    scope: Any = {
        "http": http_scope(),
        "websocket": socket_scope(),
        "lifespan": {"type": "lifespan", "asgi": {"version": "3.0"}},
    }[kind.split(",")[0]]
    auth = new_auth()
    for app_ in (AuthMiddleware(app, auth), AuthMiddleware(AuthMiddleware(app, auth), auth)):
        incoming = [{"type": "lifespan.startup"}] if kind == "lifespan" else None
        with pytest.raises(type(error)) as caught:
            await call(app_, dict(scope), incoming=incoming)
        assert caught.value is error


async def test_a_second_start_after_a_refusal_of_ours_goes_nowhere() -> None:
    auth = new_auth()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        check(scope, Requirement(frozenset({"admin"})))
        for _ in range(2):
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b"theirs"})

    reply = await call(AuthMiddleware(app, auth), http_scope())
    assert [m["type"] for m in reply.messages] == ["http.response.start", "http.response.body"]


async def test_an_application_that_answers_nothing_saves_nothing() -> None:
    """The server makes a 500 of it, so what it wrote is dropped and no visitor's session is left behind."""
    auth = new_auth()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["session"]["a"] = 1

    created = []
    await auth.opened()
    create = auth.parts.store.create

    async def counting(*args: Any, **kwargs: Any) -> Any:
        created.append(args)
        return await create(*args, **kwargs)

    auth.parts.store.create = counting  # type: ignore[method-assign]
    assert (await call(AuthMiddleware(app, auth), http_scope())).messages == []
    assert created == []


# ---------------------------------------------------------------------- credentials


@pytest.mark.parametrize(
    "lines",
    [
        ["Bearer a,Bearer b"],
        ["Bearer a, Bearer b"],
        ["Bearer a", "Bearer b"],
        ["Basic x", "Bearer b"],
        ["Bearer"],
        ["Bearer a b"],
        ["DPoP a", "Bearer b"],
    ],
)
async def test_joined_authorization_is_invalid_request(lines: list[str]) -> None:
    reply = await call(_app(new_auth()), http_scope("/", headers=[("authorization", line) for line in lines]))
    assert reply.status == 400
    assert reply.json()["error"] == "invalid_request"
    assert 'error="invalid_request"' in reply.all("www-authenticate")[0]


@pytest.mark.parametrize("line", ["Basic dXNlcjpwYXNz", "Digest a=b", "Negotiate x", ""])
async def test_other_schemes_are_left_to_the_application(line: str) -> None:
    reply = await call(_app(new_auth()), http_scope("/", headers=[("authorization", line)]))
    assert reply.status == 200


async def test_bearer_alone_decides_and_never_falls_back_to_the_cookie() -> None:
    auth = new_auth()
    app = _app(auth)
    async with browser(app) as client:
        await client.get("/login")
        answer = await client.get("/", headers={"authorization": "Bearer nonsense"})
        assert answer.status_code == 401
        assert answer.json()["error"] == "invalid_token"
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
        assert set_cookies(answer) == []
        assert (await client.get("/")).json() == {"user": "alice"}


async def test_bearer_is_the_applications_while_the_backend_is_off() -> None:
    reply = await call(_app(new_auth(backends="session")), http_scope(headers=[("authorization", "Bearer x")]))
    assert reply.status == 200


async def test_cookies_mean_nothing_while_the_backend_is_off() -> None:
    auth = new_auth(backends="jwt")
    app = _app(auth)
    reply = await call(app, http_scope("/", headers=[("cookie", "__Host-session=x; session-0000=y")]))
    assert reply.json() == {"user": ""}
    assert reply.all("set-cookie") == []


async def test_a_bearers_data_reads_as_empty_and_a_write_raises() -> None:
    auth = new_auth()
    await add_users(auth)

    async def page(request: Request) -> Response:
        with pytest.raises(NoSessionData, match="bearer"):
            request.session["a"] = 1
        return JSONResponse(dict(request.session))

    pair = await auth.issue(ALICE)
    headers = [("authorization", f"Bearer {pair.access_token}")]
    assert (await call(AuthMiddleware(handled(page), auth), http_scope(headers=headers))).json() == {}


async def test_preflights_are_never_refused() -> None:
    auth = new_auth(protect="/*=admin")
    preflight = [("origin", "https://elsewhere.example"), ("access-control-request-method", "POST")]
    bad = [
        [],
        [("authorization", "Bearer nonsense")],
        [("authorization", "Bearer a,Bearer b")],
        [("cookie", "__Host-session=x; session-0000=y")],
        [("sec-fetch-site", "cross-site")],
    ]
    for more in bad:
        reply = await call(_app(auth), http_scope("/x", "OPTIONS", [*preflight, *more]))
        assert reply.status == 200, more
        assert reply.json() == {"user": ""}
        assert reply.all("set-cookie") == []
    assert (await call(_app(auth), http_scope("/x", "OPTIONS"))).status == 401  # no preflight


# ---------------------------------------------------------------------- whatever comes in


CERTAIN = {"type", "path", "headers"}
OPTIONAL = sorted(set(http_scope()) - CERTAIN)


@pytest.fixture
def open_auth() -> Auth:
    return new_auth(protect="/private=read")


@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    dropped=st.sets(st.sampled_from(OPTIONAL)),
    nones=st.sets(st.sampled_from(["asgi", "extensions", "state", "client", "server", "scheme", "root_path"])),
    path=st.sampled_from(["/", "/write", "/read", "/login", "/private", "/auth/me", "/auth/login", "/auth/token", ""]),
    websocket=st.booleans(),
)
def test_a_minimal_scope_is_enough(
    open_auth: Auth, dropped: set[str], nones: set[str], path: str, websocket: bool
) -> None:
    scope = (socket_scope if websocket else http_scope)(path)
    for name in dropped:
        scope.pop(name, None)
    for name in nones & scope.keys():
        scope[name] = None
    reply = _run(call, AuthMiddleware(_tiny, open_auth), scope, pick=_body_once(websocket))
    assert reply.messages


def _body_once(websocket: bool) -> Any:
    return None if websocket else [{"type": "http.request", "body": b"{}", "more_body": False}]


async def _tiny(scope: Any, receive: Any, send: Any) -> None:
    """An application that needs no more of the scope than the middleware may."""
    auth = Auth.of(scope)
    if scope["path"] == "/login":
        with suppress(CredentialError):
            await auth.login(scope, ALICE)
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def _run(function: Any, app: Any, scope: Any, *, pick: Any = None) -> Reply:
    async def run() -> Any:
        return await function(app, scope, incoming=pick)

    return anyio.run(run)  # type: ignore[no-any-return]


NAMES = [b"cookie", b"authorization", b"origin", b"host", b"sec-fetch-site", b"sec-fetch-mode", b"forwarded",
         b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"content-length", b"content-type",
         b"sec-purpose", b"auth-passive", b"user-agent", b"access-control-request-method", b"x-request-id"]  # fmt: skip
PIECES = [b"Bearer ", b"__Host-session=", b"__Host-session-anonymous=", b"session-", b"; ", b",", b".", b"=", b'"',
          b"\x00", b"\xff\xfe", b"eyJhbGciOiJub25lIn0.e30.", b"e30.e30.e30", b"null", b"https://testserver", b"::1",
          b"[::1]:99999", b"for=", b"cross-site", b"navigate", b"9" * 30, b"\xc3\xa9", b"%41", b"a" * 300]  # fmt: skip
VALUES = st.one_of(st.binary(max_size=40), st.lists(st.sampled_from(PIECES), max_size=8).map(b"".join))


@settings(deadline=None, max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    headers=st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=6),
    path=st.one_of(
        st.sampled_from(["/", "/read", "/write", "/private", "/auth/me", "/auth/sessions", "/auth/logout", "/auth/x"]),
        st.text(max_size=20).map("/".__add__),
        st.text(max_size=12).map("/auth/sessions/".__add__),
    ),
    method=st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "DELETE", "PUT", "BREW"]),
    scheme=st.sampled_from(["http", "https", "ws"]),
    websocket=st.booleans(),
)
def test_hostile_headers_and_cookies_are_answered_and_open_nothing(
    open_auth: Auth, headers: list[tuple[bytes, bytes]], path: str, method: str, scheme: str, websocket: bool
) -> None:
    entered: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        entered.append(scope["user"].is_authenticated)
        await _tiny(scope, receive, send)

    scope = http_scope(path, method, headers, scheme=scheme)
    if websocket:
        scope = socket_scope(path, headers, scheme=scheme)
    reply = _run(call, AuthMiddleware(app, open_auth), scope, pick=_body_once(websocket))
    assert reply.messages
    assert entered in ([], [False])
    if path == "/private" and method != "OPTIONS":
        assert entered == []


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.one_of(st.binary(max_size=60), st.sampled_from([b"{", b"[]", b'{"username":1}', b"a=b&a=c", b"\xff"])),
    kind=st.sampled_from([b"application/json", b"application/x-www-form-urlencoded", b"text/plain", b"", b"a/b;c=d"]),
    path=st.sampled_from(["/auth/login", "/auth/token", "/auth/revoke", "/auth/introspect", "/auth/password"]),
    query=st.binary(max_size=20),
)
def test_hostile_bodies_are_refused_and_never_raise(
    open_auth: Auth, body: bytes, kind: bytes, path: str, query: bytes
) -> None:
    scope = http_scope(path, "POST", [(b"content-type", kind)], query_string=query)
    message = {"type": "http.request", "body": body, "more_body": False}
    reply = _run(call, AuthMiddleware(_tiny, open_auth), scope, pick=[message])
    assert 400 <= reply.status < 500


# ---------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        (("203.0.113.9", 5000), "203.0.113.0/24"),
        (["203.0.113.9", "5000"], "203.0.113.0/24"),  # granian: ports are text
        (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1::/48"),
        (("", "0"), ""),  # granian, unix socket
        (None, ""),  # uvicorn and hypercorn, unix socket
        (("testclient", 50000), "testclient"),
        (("::ffff:203.0.113.9", 1), "203.0.113.0/24"),
    ],
)
async def test_client_addresses_of_every_server(client: Any, expected: str) -> None:
    auth = new_auth()
    reply = await call(_app(auth), http_scope("/login", client=client))
    assert reply.status == 200
    (session,) = await auth.sessions("alice")
    assert session.client.address == expected


@pytest.mark.parametrize("spoofed", [[("x-forwarded-for", "6.6.6.6")], [("forwarded", "for=6.6.6.6;proto=https")]])
async def test_a_spoofed_forwarded_for_changes_nothing(spoofed: Any) -> None:
    auth = new_auth()
    await call(_app(auth), http_scope("/login", headers=spoofed))
    (session,) = await auth.sessions("alice")
    assert session.client.address == "127.0.0.1"


async def test_a_trusted_proxys_word_counts_once() -> None:
    auth = new_auth(trusted_proxies="10.0.0.0/8")
    headers = [("x-forwarded-for", "6.6.6.6, 203.0.113.9"), ("x-forwarded-proto", "https")]
    await call(_app(auth), http_scope("/login", headers=headers, client=("10.0.0.1", 1)))
    (session,) = await auth.sessions("alice")
    assert session.client.address == "203.0.113.0/24"


def test_making_a_middleware_says_and_opens_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    auth = new_auth()
    AuthMiddleware(_tiny, auth)
    assert not caplog.records
    assert not auth.is_open


async def test_a_password_login_by_any_other_cookie_is_still_a_login() -> None:
    """`/login` and `/token` take no notice of the credentials that come along."""
    auth = new_auth()
    await add_users(auth)
    app = _app(auth)
    body = {"username": "alice", "password": PASSWORD}
    for headers in ({"authorization": "Bearer expired"}, {"cookie": "__Host-session=garbage; session-1234=x"}):
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://testserver") as client:
            assert (await client.post("/auth/login", json=body, headers=headers)).status_code == 200
            form = {"grant_type": "password", **body}
            assert (await client.post("/auth/token", data=form, headers=headers)).status_code == 200


async def test_what_a_verb_refuses_takes_the_place_of_the_whole_error_page(anyio_backend: str) -> None:
    """Frameworks make a 500 of it, in several messages, of which none may follow ours."""
    auth = new_auth()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await auth.elevate(scope, amr="otp")
        except LoginRequired:
            await send({"type": "http.response.start", "status": 500, "headers": []})
            await send({"type": "http.response.body", "body": b"Internal ", "more_body": True})
            await send({"type": "http.response.body", "body": b"Server Error"})

    reply = await call(AuthMiddleware(app, auth), http_scope("/", "POST"))
    assert [message["type"] for message in reply.messages] == ["http.response.start", "http.response.body"]
    assert (reply.status, reply.json()["error"]) == (401, "login_required")
    await auth.aclose()
