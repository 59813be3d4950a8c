"""Four seats, three frameworks and a bare callable, three stores, with and without a lifespan: one behaviour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from seats import (
    ALICE,
    PASSWORD,
    SEATS,
    Boom,
    add_users,
    browser,
    call,
    cookie_of,
    fastapi_app,
    handled,
    http_scope,
    living,
    new_auth,
    quart_app,
    set_cookies,
    starlette_app,
)
from starlette.applications import Starlette
from starlette.authentication import requires
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from asgi_auth import Auth, AuthMiddleware, NoSessionData, Settings
from asgi_auth.context import Context
from asgi_auth.tokens.dpop import make_proof
from asgi_auth.tokens.keys import SigningKey, generate

FRAMEWORKS = ["outermost", "added", "fastapi", "quart", "mounted", "bare"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # Quart knows no other


@pytest.fixture(params=FRAMEWORKS)
def seat_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# ---------------------------------------------------------------------- every seat, every store


async def test_everything_works_without_lifespan(seat_name: str, any_store: str) -> None:
    auth = new_auth(any_store)
    seat = SEATS[seat_name](auth)
    async with browser(seat) as client, browser(seat) as stranger:
        await _the_whole_day(auth, client, stranger)
    await auth.aclose()


async def test_everything_works_with_lifespan(seat_name: str, any_store: str) -> None:
    auth = new_auth(any_store)
    seat = SEATS[seat_name](auth)
    async with living(seat.app), browser(seat) as client, browser(seat) as stranger:
        await _the_whole_day(auth, client, stranger)
    await auth.aclose()


async def _the_whole_day(auth: Auth, client: Any, stranger: Any) -> None:
    await add_users(auth)
    nobody = (await client.get("/who")).json()
    assert nobody["user"] is None
    assert nobody["is_authenticated"] is False
    assert nobody["scopes"] == []
    assert (await client.get("/private")).status_code == 401
    assert (await client.get("/put/cart")).status_code == 200
    assert (await client.get("/login/alice")).status_code == 200
    somebody = (await client.get("/who")).json()
    assert somebody["user"] == "alice"
    assert somebody["scopes"] == ["authenticated", "read"]
    assert somebody["backend"] == "session"
    assert (await client.get("/data")).json() == {"cart": "cart"}
    assert (await client.get("/private")).status_code == 200
    forbidden = await client.get("/admin")
    assert forbidden.status_code == 403
    assert forbidden.json()["error"] == "insufficient_scope"
    me = await client.get("/auth/me")
    assert me.json()["user"]["id"] == "alice"
    pair = await stranger.post("/auth/token", data={"grant_type": "password", "username": "bob", "password": PASSWORD})
    bearer = {"authorization": f"Bearer {pair.json()['access_token']}"}
    assert (await stranger.get("/who", headers=bearer)).json()["user"] == "bob"
    assert (await stranger.get("/admin", headers=bearer)).status_code == 200
    assert len((await client.get("/auth/sessions")).json()["sessions"]) == 1
    await auth.revoke_user("bob")
    assert (await stranger.get("/who", headers=bearer)).status_code == 401
    assert (await client.get("/logout")).status_code == 200
    assert (await client.get("/who")).json()["user"] is None
    assert await auth.sessions("alice") == []


ROOTS = [
    ("", ""),
    ("/api", ""),  # a proxy took the prefix away
    ("/api", "/api"),  # uvicorn, or a proxy that leaves it
    ("/a/b", "/a/b"),
]


# Quart, and what is mounted in Starlette, answer 404 to a path without its root_path: there is no such pair for them.
SEAT_ROOTS = [
    (name, *root) for name in SEATS for root in ROOTS if root[0] == root[1] or name not in ("quart", "mounted")
]


@pytest.mark.parametrize(("seat_name", "root_path", "prefix"), SEAT_ROOTS)
async def test_endpoints_answer_from_every_seat(seat_name: str, root_path: str, prefix: str) -> None:
    auth = new_auth()
    seat = SEATS[seat_name](auth)
    async with browser(seat, root_path=root_path) as client:
        client.base_url = f"http://testserver{prefix}{seat.base}"
        await add_users(auth)
        answer = await client.post("/auth/login", json={"username": "alice", "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        assert (await client.get("/auth/me")).json()["user"]["id"] == "alice"
        assert (await client.get("/who")).json()["user"] == "alice"
        assert (await client.get("/auth/token")).status_code == 405
        # The same words elsewhere are the application's.
        assert (await client.get("/authx/me")).status_code in (200, 404)


@pytest.mark.parametrize("seat_name", ["outermost", "added", "fastapi", "quart", "bare"])
async def test_well_known_documents_stand_at_the_hosts_root(seat_name: str) -> None:
    auth = new_auth()
    async with browser(SEATS[seat_name](auth)) as client:
        answer = await client.get("/.well-known/jwks.json")
        assert answer.status_code == 200
        assert answer.json()["keys"]


async def test_a_mounted_instance_serves_no_well_known_documents() -> None:
    auth = new_auth()
    async with browser(SEATS["mounted"](auth)) as client:
        assert (await client.get("/.well-known/jwks.json")).json() == {}


async def test_login_then_an_exception_leaves_no_orphan_session(seat_name: str) -> None:
    auth = new_auth()
    seat = SEATS[seat_name](auth)
    async with browser(seat) as client:
        answer = await client.get("/login-raise/alice")
        assert answer.status_code == 500
        # Where our `send` saw the error page, the login's cookie went out with it and the login stands.
        arrived = (await client.get("/who")).json()["user"] == "alice"
        assert bool(set_cookies(answer)) == arrived
        assert len(await auth.sessions("alice")) == int(arrived)


async def test_a_500_drops_data_alike_in_every_framework(seat_name: str) -> None:
    auth = new_auth()
    async with browser(SEATS[seat_name](auth)) as client:
        await client.get("/login/alice")
        await client.get("/put/kept")
        assert (await client.get("/put-500/a")).status_code == 500
        assert (await client.get("/put-raise/b")).status_code == 500
        assert (await client.get("/data")).json() == {"kept": "kept"}


async def test_a_5xx_drops_data_and_keeps_auth_verbs(seat_name: str) -> None:
    auth = new_auth()
    async with browser(SEATS[seat_name](auth)) as client:
        assert (await client.get("/login-500/alice")).status_code == 500
        assert (await client.get("/who")).json()["user"] == "alice"
        assert (await client.get("/data")).json() == {}
        assert (await client.get("/logout-raise")).status_code == 500
        assert await auth.sessions("alice") == []
        assert (await client.get("/who")).json()["user"] is None


async def test_login_in_a_mounted_app_sets_one_cookie_at_path_slash() -> None:
    auth = new_auth()
    seat = SEATS["mounted"](auth)
    outer = AuthMiddleware(seat.app, auth)
    for app in (seat.app, outer):
        async with browser(app) as client:
            cookies = set_cookies(await client.get("/app/login/alice"))
            assert len(cookies) == 1
            assert "; Path=/;" in cookies[0]
            assert (await client.get("/app/who")).json()["user"] == "alice"


async def test_installed_twice_is_the_same_as_once(seat_name: str) -> None:
    auth = new_auth()
    seat = SEATS[seat_name](auth)
    app = AuthMiddleware(AuthMiddleware(seat.app, auth), auth)
    async with living(app), browser(app) as client:
        client.base_url = f"http://testserver{seat.base}"
        answer = await client.get("/login/alice")
        assert len(set_cookies(answer)) == 1
        assert len(answer.headers.get_list("cache-control")) == 1
        assert (await client.get("/who")).json()["user"] == "alice"
        await client.get("/put/a")
        assert (await client.get("/data")).json() == {"a": "a"}
        refused = await client.get("/admin")
        assert refused.status_code == 403
        assert [one.partition(" ")[0] for one in refused.headers.get_list("www-authenticate")] == ["Bearer"]
    await auth.aclose()


async def test_an_inner_instance_does_nothing_again_though_its_user_was_taken_away() -> None:
    auth = new_auth()
    inner = AuthMiddleware(starlette_app(auth), auth)
    seen: list[Any] = []

    async def taking_away(scope: Any, receive: Any, send: Any) -> None:
        del scope["user"], scope["auth"]
        seen.append(scope["asgi_auth"])
        await inner(scope, receive, send)
        seen.extend((scope["asgi_auth"], "user" in scope))

    async with browser(AuthMiddleware(taking_away, auth)) as client:
        await client.get("/missing")
    before, after, has_user = seen
    assert after is before
    assert not has_user


async def test_two_instances_whose_settings_differ_say_so_once(caplog: pytest.LogCaptureFixture) -> None:
    auth, other = new_auth(), new_auth(fresh="1m")
    app = AuthMiddleware(AuthMiddleware(starlette_app(auth), other), auth)
    async with browser(app) as client:
        for _ in range(3):
            await client.get("/login/alice")
            assert (await client.get("/who")).json()["user"] == "alice"
    assert len([record for record in caplog.records if "differing settings" in record.getMessage()]) == 1


async def test_instances_share_one_view_and_start_nothing() -> None:
    auth = new_auth()
    instances = [AuthMiddleware(starlette_app(auth), auth) for _ in range(30)]
    assert not auth.is_open
    async with browser(instances[0]) as client:
        await client.get("/login/alice")
        headers = cookie_of(client)
    for instance in instances:
        async with browser(instance) as client:
            assert (await client.get("/who", headers=headers)).json()["user"] == "alice"
    assert len({id(instance.auth.parts.view) for instance in instances}) == 1


async def test_a_guards_refusal_looks_the_same_in_every_framework() -> None:
    seen = {}
    for name, make in SEATS.items():
        auth = new_auth()
        async with browser(make(auth)) as client:
            answer = await client.get("/private")
            # Starlette's `request.session` says that the answer depends on it, a mapping that nobody read does not.
            headers = sorted(item for item in answer.headers.multi_items() if item[0] != "vary")
            seen[answer.status_code, answer.text, tuple(headers)] = name
    assert len(seen) == 1, seen
    status, body, headers = next(iter(seen))
    assert status == 401
    assert "login_required" in body
    assert ("www-authenticate", 'Bearer realm="asgi-auth"') in headers


# ---------------------------------------------------------------------- Starlette's own words


def _pages(auth: Auth) -> Starlette:
    @requires("authenticated")
    async def private(request: Request) -> Response:
        return PlainTextResponse(request.user.display_name)

    @requires("admin", status_code=404)
    def admin(request: Request) -> Response:
        return PlainTextResponse("admin")

    @requires("authenticated", redirect="front")
    async def redirected(request: Request) -> Response:
        return PlainTextResponse("in")

    async def front(request: Request) -> Response:
        assert request.user.is_authenticated is ("authenticated" in request.auth.scopes)
        request.session["visits"] = request.session.get("visits", 0) + 1
        return JSONResponse({"visits": request.session["visits"], "user": request.user.identity})

    async def login(request: Request) -> Response:
        await auth.login(request, ALICE)
        return PlainTextResponse(request.user.identity)

    async def logout(request: Request) -> Response:
        await auth.logout(request)
        return PlainTextResponse("out")

    return Starlette(
        routes=[
            Route("/", front, name="front"),
            Route("/login", login),
            Route("/logout", logout),
            Route("/private", private),
            Route("/admin", admin),
            Route("/redirected", redirected),
        ],
        middleware=[Middleware(AuthMiddleware, auth=auth)],
    )


def _ask_as_starlettes_users_do(client: TestClient) -> None:
    assert client.get("/").json() == {"visits": 1, "user": ""}
    assert client.get("/").json() == {"visits": 2, "user": ""}
    assert client.get("/private").status_code == 403
    assert client.get("/redirected", follow_redirects=False).status_code == 303
    assert client.get("/login").text == "alice"
    assert client.get("/").json() == {"visits": 3, "user": "alice"}
    assert client.get("/private").text == "alice"
    assert client.get("/redirected", follow_redirects=False).status_code == 200
    assert client.get("/admin").status_code == 404
    assert client.get("/logout").text == "out"
    assert client.get("/private").status_code == 403


def test_testclient_without_with_works_for_every_store(any_store: str) -> None:
    """Each request has an event loop of its own here."""
    _ask_as_starlettes_users_do(TestClient(_pages(new_auth(any_store))))


def test_testclient_with_with_works_for_every_store(any_store: str) -> None:
    with TestClient(_pages(new_auth(any_store))) as client:
        _ask_as_starlettes_users_do(client)


def test_testclient_may_run_both_ways_over_one_auth(any_store: str) -> None:
    app = _pages(new_auth(any_store))
    client = TestClient(app)
    assert client.get("/").json()["visits"] == 1
    with TestClient(app) as other:
        assert other.get("/").json()["visits"] == 1
    assert client.get("/").json()["visits"] == 2


def test_testclient_on_trio_works_for_every_store(any_store: str) -> None:
    with TestClient(_pages(new_auth(any_store)), backend="trio") as client:
        _ask_as_starlettes_users_do(client)


def test_the_environment_configures_the_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASGI_AUTH_STORE", "sqlite:///here.sqlite3")

    async def page(request: Request) -> Response:
        return JSONResponse(
            {"user": request.user.identity, "same": Auth.of(request).settings.store == "sqlite:///here.sqlite3"}
        )

    app = Starlette(routes=[Route("/", page)])
    app.add_middleware(AuthMiddleware)
    with TestClient(app) as client:
        assert client.get("/").json() == {"user": "", "same": True}
    assert (tmp_path / "here.sqlite3").exists()
    assert (tmp_path / "here.sqlite3").stat().st_mode & 0o077 == 0


# ---------------------------------------------------------------------- test clients


async def test_starlette_testclient_and_httpx_asgi_transport_stay_logged_in_as_they_are() -> None:
    auth = new_auth()
    await auth.opened()
    app = AuthMiddleware(starlette_app(auth), auth)
    for host in ("http://testserver", "http://test", "http://localhost", "http://127.0.0.1:8000"):
        async with browser(app, host) as client:
            assert (await client.get("/login/alice")).status_code == 200, host
            assert (await client.get("/who")).json()["user"] == "alice", host


@pytest.mark.parametrize("kind", ["starlette", "httpx", "quart"])
async def test_every_test_client_stays_logged_in_as_it_is(kind: str) -> None:
    assert await _visits(kind, ["/login/alice", "/who"]) == "alice"


@pytest.mark.parametrize("kind", ["starlette", "httpx", "quart"])
async def test_login_over_anonymous_data_stays_logged_in(kind: str) -> None:
    """Two cookies of ours in one answer: the last one is the session's, since Quart's test client keeps only that."""
    assert await _visits(kind, ["/put/cart", "/login/alice", "/who"]) == "alice"


async def _visits(kind: str, paths: list[str]) -> str | None:
    """Who the last path says that it is."""
    auth = new_auth()
    if kind == "quart":
        app = quart_app(auth)
        app.asgi_app = AuthMiddleware(app.asgi_app, auth)  # type: ignore[method-assign]
        quart_client = app.test_client()
        for path in paths:
            quart_answer = await quart_client.get(path)
            assert quart_answer.status_code == 200
        return (await quart_answer.get_json())["user"]  # type: ignore[no-any-return]
    middleware = AuthMiddleware(starlette_app(auth), auth)
    if kind == "starlette":
        client = TestClient(middleware)
        return [client.get(path).raise_for_status() for path in paths][-1].json()["user"]  # type: ignore[no-any-return]
    async with browser(middleware) as httpx_client:
        return [(await httpx_client.get(path)).raise_for_status() for path in paths][-1].json()["user"]  # type: ignore[no-any-return]


# ---------------------------------------------------------------------- after the answer began


async def test_a_write_after_the_response_began_is_saved_or_raises() -> None:
    auth = new_auth()
    outcomes: dict[str, str] = {}

    def later(request: Request, name: str) -> None:
        try:
            request.session[name] = name
        except NoSessionData as error:
            outcomes[name] = str(error)

    async def page(request: Request) -> Response:
        if request.url.path == "/login":
            await auth.login(request, ALICE)
            return Response()
        if request.url.path == "/stream":

            async def stream() -> Any:
                yield "a"
                later(request, "stream")
                yield "b"

            return StreamingResponse(stream())
        if request.url.path == "/task":
            return Response(background=BackgroundTask(later, request, "task"))
        return JSONResponse(dict(request.session))

    async with browser(AuthMiddleware(handled(page), auth)) as client:
        # A visitor: the id could no longer reach the browser, so the write raises.
        await client.get("/stream")
        await client.get("/task")
        assert set(outcomes) == {"stream", "task"}
        assert all("begun" in text for text in outcomes.values())
        # Somebody, and a visitor who has data already.
        await client.get("/login")
        await client.get("/stream")
        await client.get("/task")
        assert (await client.get("/")).json() == {"stream": "stream", "task": "task"}


async def test_writes_after_the_app_returned_raise_and_before_are_saved() -> None:
    auth = new_auth()
    kept: list[Request] = []

    async def page(request: Request) -> Response:
        kept.append(request)
        if "user" in request.query_params:
            await auth.login(request, ALICE)
            request.session["before"] = True
        return JSONResponse(dict(request.session))

    async with browser(AuthMiddleware(handled(page), auth)) as client:
        await client.get("/?user")
        for write in (lambda session: session.update(after=True), lambda session: session.pop("before")):
            with pytest.raises(NoSessionData, match="over"):
                write(kept[0].session)
        assert (await client.get("/")).json() == {"before": True}


async def test_background_work_counts_as_each_framework_runs_it() -> None:
    """Starlette and FastAPI run it inside the call, where a write is saved; Quart 0.22 after it, where it raises."""
    auth = new_auth()
    raised = []

    def later(session: Any) -> None:
        try:
            session["task"] = True
        except NoSessionData:
            raised.append(True)

    fast = fastapi_app(auth)

    @fast.middleware("http")
    async def with_task(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        if request.url.path == "/put/x":
            response.background = BackgroundTask(later, request.session)
        return response

    async with browser(AuthMiddleware(fast, auth)) as client:
        await client.get("/login/alice")
        await client.get("/put/x")
        assert (await client.get("/data")).json() == {"x": "x", "task": True}

    quart = quart_app(auth)

    @quart.after_request
    async def with_quart_task(response: Any) -> Any:
        from quart import request

        session = request.scope["session"]  # type: ignore[index]

        async def work() -> None:
            later(session)

        if request.path == "/put/y":
            quart.add_background_task(work)
        return response

    quart.asgi_app = AuthMiddleware(quart.asgi_app, auth)  # type: ignore[method-assign]
    async with quart.test_app(), browser(quart) as client:
        await client.get("/login/alice")
        await client.get("/put/y")
        saved = (await client.get("/data")).json()
        assert saved in ({"y": "y"}, {"y": "y", "task": True})
    assert bool(raised) != ("task" in saved)


# ---------------------------------------------------------------------- users, in each framework's words


async def test_nobody_is_not_authenticated_in_each_frameworks_own_spelling(seat_name: str) -> None:
    auth = new_auth()
    async with browser(SEATS[seat_name](auth)) as client:
        nobody = (await client.get("/who")).json()
    assert nobody["is_authenticated"] is False


async def test_a_login_shows_in_the_request_that_made_it_even_if_the_scope_was_copied() -> None:
    auth = new_auth()

    async def page(request: Request) -> Response:
        await auth.login(request, ALICE)
        first = request.user.identity
        await auth.logout(request)
        return JSONResponse([first, request.user.identity])

    inner_app = handled(page)

    async def copying(scope: Any, receive: Any, send: Any) -> None:
        await inner_app(dict(scope), receive, send)

    for app in (inner_app, copying):
        async with browser(AuthMiddleware(app, auth)) as client:
            assert (await client.get("/")).json() == ["alice", ""]


async def test_starlettes_middlewares_that_copy_or_wrap_see_our_user() -> None:
    auth = new_auth()
    app = starlette_app(auth)

    async def base(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        response.headers["x-user"] = request.user.identity
        return response

    app.add_middleware(BaseHTTPMiddleware, dispatch=base)
    app.add_middleware(AuthMiddleware, auth=auth)
    async with browser(app) as client:
        assert (await client.get("/login/alice")).headers["x-user"] == "alice"
        assert (await client.get("/who")).headers["x-user"] == "alice"


async def test_auth_of_finds_the_auth_that_answers() -> None:
    auth = new_auth()
    found = []

    async def page(request: Request) -> Response:
        found.append(Auth.of(request))
        return Response()

    await call(AuthMiddleware(handled(page), auth), http_scope())
    assert found == [auth]
    with pytest.raises(RuntimeError, match="AuthMiddleware has not seen this request"):
        Auth.of(http_scope())
    with pytest.raises(RuntimeError):
        Context.of(object())


async def test_settings_as_a_keyword_make_an_auth_of_their_own() -> None:
    app = AuthMiddleware(handled(lambda request: _empty()), settings=Settings(store="memory://", prefix="/door"))
    async with browser(app) as client:
        assert (await client.post("/door/login", json={})).status_code == 400
        assert (await client.post("/auth/login", json={})).status_code == 200


async def _empty() -> Response:
    return Response()


def test_an_exception_of_the_application_reaches_starlettes_testclient() -> None:
    auth = new_auth()
    with pytest.raises(Boom):
        TestClient(AuthMiddleware(starlette_app(auth), auth)).get("/put-raise/x")


async def test_what_a_verb_raises_is_one_whole_answer_where_the_framework_makes_a_500_of_it() -> None:
    """Starlette answers 500 and raises on: nothing of its page may follow ours."""
    auth = new_auth()

    async def up(request: Request) -> Response:
        await auth.elevate(request, amr="otp")
        return Response()

    reply = await call(AuthMiddleware(Starlette(routes=[Route("/", up)]), auth), http_scope("/"))
    assert [message["type"] for message in reply.messages] == ["http.response.start", "http.response.body"]
    assert (reply.status, reply.json()["error"]) == (401, "login_required")
    await auth.aclose()


async def test_a_token_that_is_bound_to_a_key_is_taken_and_refused_alike_everywhere(seat_name: str) -> None:
    """DPoP (RFC 9449): also where the application is mounted, since a proof names the whole URL."""
    auth = new_auth()
    seat = SEATS[seat_name](auth)
    key = SigningKey.from_jwk(generate("Ed25519"))
    async with browser(seat) as client:
        pair = await auth.issue(ALICE, jkt=key.kid)
        nonce: str | None = None

        def headers(path: str, scheme: str = "DPoP") -> dict[str, str]:
            url = f"http://testserver{seat.base}{path}"
            proof = make_proof(key, "GET", url, now=0, nonce=nonce, access_token=pair.access_token)
            return {"authorization": f"{scheme} {pair.access_token}", "dpop": proof}

        wanted = await client.get("/who", headers=headers("/who"))
        assert (wanted.status_code, wanted.json()["error"]) == (401, "use_dpop_nonce")
        nonce = wanted.headers["dpop-nonce"]
        assert (await client.get("/who", headers=headers("/who"))).json()["user"] == "alice"
        assert (await client.get("/private", headers=headers("/private"))).status_code == 200
        assert (await client.get("/auth/me", headers=headers("/auth/me"))).json()["user"]["id"] == "alice"
        forbidden = await client.get("/admin", headers=headers("/admin"))
        [challenge] = forbidden.headers.get_list("www-authenticate")
        assert (forbidden.status_code, challenge[:4]) == (403, "DPoP")
        for path, scheme, error in (("/who", "Bearer", "invalid_token"), ("/other", "DPoP", "invalid_dpop_proof")):
            refused = await client.get("/who", headers=headers(path, scheme))
            assert (refused.status_code, refused.json()["error"]) == (401, error)
            schemes = [one.partition(" ")[0] for one in refused.headers.get_list("www-authenticate")]
            assert schemes == ["Bearer", "DPoP"]
    await auth.aclose()
