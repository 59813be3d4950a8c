"""`require()` and what a guard's refusal looks like: 401 and 403, in HTTP and on WebSockets, sync and async."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import Depends, FastAPI
from fastapi import Request as FastRequest
from fastapi.responses import PlainTextResponse as FastText
from seats import ALICE, BOB, Boom, browser, call, cookie_of, handled, http_scope, new_auth, set_cookies, socket_scope
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials
from starlette.endpoints import HTTPEndpoint
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from asgi_auth import Auth, AuthMiddleware, require
from asgi_auth.directory import CallableDirectory

USERS = {"alice": ALICE, "bob": BOB}


class Page(HTTPEndpoint):
    @require("admin")
    async def get(self, request: Request) -> Response:
        return PlainTextResponse("in")


@require()
async def private(request: Request) -> Response:
    return PlainTextResponse("in")


@require("admin")
def sync(request: Request) -> Response:
    return PlainTextResponse("in")


@require("read admin")
async def both(request: Request) -> Response:
    return PlainTextResponse("in")


@require("read", "admin")
async def both_apart(request: Request) -> Response:
    return PlainTextResponse("in", headers={"cache-control": "max-age=5"})


@require("authenticated")
async def starlettes_word(request: Request) -> Response:
    return PlainTextResponse("in")


async def login(request: Request) -> Response:
    await Auth.of(request).login(request, USERS[request.path_params["name"]])
    return Response()


async def theirs(request: Request) -> Response:
    raise HTTPException(401, "theirs", {"www-authenticate": "Theirs"})


async def caught(request: Request) -> Response:
    try:
        return await both(request)  # type: ignore[no-any-return]
    except HTTPException:
        return PlainTextResponse("the application's own way out")


@require("admin")
async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close()


def app(auth: Auth, **options: Any) -> AuthMiddleware:
    routes = [
        Route("/login/{name}", login),
        Route("/private", private),
        Route("/sync", sync),
        Route("/page", Page),
        Route("/both", both),
        Route("/apart", both_apart),
        Route("/starlettes", starlettes_word),
        Route("/theirs", theirs),
        Route("/caught", caught),
        WebSocketRoute("/ws", socket),
    ]
    return AuthMiddleware(Starlette(routes=routes), auth, **options)


@pytest.mark.parametrize("path", ["/private", "/sync", "/page", "/both", "/apart"])
async def test_nobody_gets_a_401_with_a_challenge_that_names_no_error(path: str) -> None:
    async with browser(app(new_auth())) as client:
        answer = await client.get(path)
    assert answer.status_code == 401
    assert answer.json() == {"error": "login_required", "error_description": "Log in first"}
    assert answer.headers.get_list("www-authenticate")[0] == 'Bearer realm="asgi-auth"'
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(("path", "scope"), [("/sync", "admin"), ("/page", "admin"), ("/both", "admin read")])
async def test_somebody_without_the_scopes_gets_a_403_that_names_them(path: str, scope: str) -> None:
    async with browser(app(new_auth())) as client:
        await client.get("/login/alice")
        assert (await client.get("/private")).text == "in"
        answer = await client.get(path)
    assert answer.status_code == 403
    assert answer.json()["error"] == "insufficient_scope"
    challenge = answer.headers["www-authenticate"]
    assert challenge.startswith('Bearer realm="asgi-auth", error="insufficient_scope"')
    assert f'scope="{scope}"' in challenge


@pytest.mark.parametrize("path", ["/private", "/sync", "/page", "/both", "/apart", "/caught"])
async def test_somebody_with_the_scopes_gets_in(path: str) -> None:
    async with browser(app(new_auth())) as client:
        await client.get("/login/bob")
        assert (await client.get(path)).text == "in"


async def test_an_answer_from_behind_a_guard_is_private_unless_it_names_a_cache_control() -> None:
    async with browser(app(new_auth())) as client:
        await client.get("/login/bob")
        assert (await client.get("/private")).headers["cache-control"] == "private, no-store"
        assert (await client.get("/apart")).headers["cache-control"] == "max-age=5"


async def test_the_applications_own_401_stays_its_own() -> None:
    async with browser(app(new_auth())) as client:
        answer = await client.get("/theirs")
    assert answer.text == "theirs"
    assert answer.headers["www-authenticate"] == "Theirs"


async def test_an_application_that_catches_the_refusal_answers_as_it_likes() -> None:
    async with browser(app(new_auth())) as client:
        assert (await client.get("/caught")).text == "the application's own way out"


async def test_refusals_app_leaves_the_body_to_the_application_and_adds_the_challenge() -> None:
    async with browser(app(new_auth(), refusals="app")) as client:
        answer = await client.get("/private")
        assert answer.status_code == 401
        assert answer.text == "Log in first"
        assert answer.headers.get_list("www-authenticate")[0] == 'Bearer realm="asgi-auth"'
        await client.get("/login/alice")
        answer = await client.get("/sync")
        assert answer.status_code == 403
        assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize(("reason", "move"), [("ended", 0.0), ("expired", 90_000.0)])
async def test_a_dead_cookies_holder_learns_expired_or_ended(reason: str, move: float, clock: Any) -> None:
    auth = new_auth(clock=clock)
    async with browser(app(auth)) as client:
        await client.get("/login/alice")
        headers = cookie_of(client)
        if move:
            clock.advance(move)
        else:
            await auth.revoke_user("alice")
        answer = await client.get("/private", headers=headers)
    assert answer.json()["error"] == "login_required"
    assert answer.json()["reason"] == reason
    assert "error=" not in answer.headers["www-authenticate"]


class Guarded:
    """A handler that says whether anybody got in, and somebody with all the scopes that it asks for."""

    def __init__(self) -> None:
        self.entered = 0
        self.headers: dict[str, str] = {}

        @require("admin")
        async def handler(request: Request) -> Response:
            self.entered += 1
            return PlainTextResponse("in")

        self.handler = handler

    async def page(self, request: Request) -> Response:
        if request.url.path == "/login/bob":
            await Auth.of(request).login(request, BOB)
            return Response()
        return await self.handler(request)

    async def open(self, auth: Auth) -> AuthMiddleware:
        app = AuthMiddleware(handled(self.page), auth)
        async with browser(app) as client:
            await client.get("/login/bob")
            self.headers = cookie_of(client)
        assert (await self.ask(app)).status == 200
        self.entered = 0
        return app

    async def ask(self, app: Any, **more: Any) -> Any:
        return await call(app, http_scope(headers=list(self.headers.items()), **more))


async def without_a_store(guarded: Guarded, serve: Any, clock: Any, monkeypatch: Any) -> int:
    server = serve()
    app = await guarded.open(new_auth(server.url))
    server.kill()
    return int((await guarded.ask(app)).status)


async def without_a_directory(guarded: Guarded, serve: Any, clock: Any, monkeypatch: Any) -> int:
    async def verify(name: str, password: str) -> None:
        return None

    async def by_id(user_id: str) -> Any:
        raise ConnectionError("the directory is away")

    app = await guarded.open(new_auth(clock=clock, directory=CallableDirectory(verify, by_id), user_refresh="1m"))
    clock.advance(61)
    return int((await guarded.ask(app)).status)


async def without_the_middleware(guarded: Guarded, serve: Any, clock: Any, monkeypatch: Any) -> int:
    await guarded.open(new_auth())
    with pytest.raises(RuntimeError, match="AuthMiddleware has not seen this request"):
        await guarded.ask(handled(guarded.handler))
    return 500


async def with_a_context_that_is_not_ours(guarded: Guarded, serve: Any, clock: Any, monkeypatch: Any) -> int:
    await guarded.open(new_auth())
    somebody = {"user": BOB, "auth": AuthCredentials(["authenticated", "admin"])}
    with pytest.raises(RuntimeError, match="AuthMiddleware has not seen this request"):
        await guarded.ask(handled(guarded.handler), asgi_auth=somebody, **somebody)
    return 500


async def with_a_decision_that_fails(guarded: Guarded, serve: Any, clock: Any, monkeypatch: Any) -> int:
    app = await guarded.open(new_auth())

    def decide(*args: Any) -> None:
        raise KeyError("a mistake in it")

    monkeypatch.setattr("asgi_auth.guards.decide", decide)
    with pytest.raises(KeyError):
        await guarded.ask(app)
    return 500


@pytest.mark.parametrize(
    ("make", "status"),
    [
        (without_a_store, 503),
        (without_a_directory, 503),
        (without_the_middleware, 500),
        (with_a_context_that_is_not_ours, 500),
        (with_a_decision_that_fails, 500),
    ],
)
async def test_a_guard_fails_closed(make: Any, status: int, serve: Any, clock: Any, monkeypatch: Any) -> None:
    """Where it cannot be decided who is calling and what they may do, nobody gets in."""
    guarded = Guarded()
    assert await make(guarded, serve, clock, monkeypatch) == status
    assert guarded.entered == 0


async def test_a_guard_needs_the_middleware() -> None:
    with pytest.raises(RuntimeError, match="AuthMiddleware has not seen this request"):
        await call(handled(private), http_scope())


async def test_a_guard_needs_a_request() -> None:
    @require()
    async def handler(number: int) -> None:
        pytest.fail("it got in")

    with pytest.raises(RuntimeError, match="found no request"):
        await handler(1)


@pytest.mark.parametrize("body", [{"type": "http"}, {"asgi_auth": 1}, {"scope": {"type": "http", "asgi_auth": 1}}])
async def test_a_body_that_looks_like_a_scope_is_not_taken_for_the_request(body: Any) -> None:
    application = FastAPI()
    application.add_middleware(AuthMiddleware, auth=new_auth())

    @application.post("/items")
    @require()
    async def items(item: dict[str, Any], request: FastRequest) -> None:
        pytest.fail("it got in")

    async with browser(application) as client:
        assert (await client.post("/items", json=body)).status_code == 401


@pytest.mark.parametrize("scope", ['a"b', "a\\b", "ä", "\n"])
def test_a_scope_that_is_none_is_refused_where_the_guard_is_made(scope: str) -> None:
    with pytest.raises(ValueError, match="no scope"):
        require(scope)


def test_a_guarded_handler_keeps_its_name_and_signature() -> None:
    import inspect

    assert private.__name__ == "private"
    assert inspect.iscoroutinefunction(private)
    assert not inspect.iscoroutinefunction(sync)
    assert list(inspect.signature(sync).parameters) == ["request"]


async def test_a_guard_takes_an_asgi_scope() -> None:
    @require("admin")
    async def inner(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("in")(scope, receive, send)

    async def bare(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/login":
            await Auth.of(scope).login(scope, BOB)
            await Response()(scope, receive, send)
        else:
            await inner(scope, receive, send)

    async with browser(AuthMiddleware(bare, new_auth())) as client:
        assert (await client.get("/")).status_code == 401
        await client.get("/login")
        assert (await client.get("/")).text == "in"


# ---------------------------------------------------------------------- FastAPI


def fast(auth: Auth) -> FastAPI:
    application = FastAPI(openapi_url=None)

    @application.get("/login/{name}")
    async def fast_login(request: FastRequest, name: str) -> None:
        await auth.login(request, USERS[name])

    @application.get("/admin/{number}")
    @require("admin")
    async def fast_admin(number: int, request: FastRequest) -> dict[str, int]:
        return {"number": number}

    @application.get("/sync/{number}")
    @require("admin")
    def fast_sync(number: int, request: FastRequest) -> dict[str, int]:
        return {"number": number}

    @require("admin")
    async def dependency(request: FastRequest) -> str:
        return request.user.id  # type: ignore[no-any-return]

    @application.get("/depends")
    async def depends(user: str = Depends(dependency)) -> FastText:
        return FastText(user)

    @application.websocket("/ws")
    @require("admin")
    async def fast_socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    application.add_middleware(AuthMiddleware, auth=auth)
    return application


async def test_guards_work_in_fastapi_handlers_and_dependencies() -> None:
    auth = new_auth()
    async with browser(fast(auth)) as client:
        for path in ("/admin/1", "/sync/1", "/depends"):
            assert (await client.get(path)).json()["error"] == "login_required", path
        await client.get("/login/alice")
        for path in ("/admin/1", "/sync/1", "/depends"):
            assert (await client.get(path)).json()["error"] == "insufficient_scope", path
        await client.get("/login/bob")
        assert (await client.get("/admin/1")).json() == {"number": 1}
        assert (await client.get("/sync/1")).json() == {"number": 1}
        assert (await client.get("/depends")).text == "bob"


# ---------------------------------------------------------------------- WebSockets


@pytest.mark.parametrize("make", [app, fast], ids=["starlette", "fastapi"])
async def test_guards_refuse_websockets_with_their_status(make: Any) -> None:
    auth = new_auth()
    application = make(auth)
    refused = await call(application, socket_scope("/ws"))
    assert refused.status == 401
    assert refused.json()["error"] == "login_required"
    async with browser(application) as client:
        await client.get("/login/alice")
        alice = list(cookie_of(client).items())
        await client.get("/login/bob")
        bob = list(cookie_of(client).items())
    forbidden = await call(application, socket_scope("/ws", [*_origin(), *alice]))
    assert forbidden.status == 401  # alice's session ended when bob logged in at the same browser
    pair = await auth.issue(ALICE)
    forbidden = await call(application, socket_scope("/ws", [("authorization", f"Bearer {pair.access_token}")]))
    assert forbidden.status == 403
    assert forbidden.json()["error"] == "insufficient_scope"
    entered = await call(application, socket_scope("/ws", [*_origin(), *bob]))
    assert entered.messages[0]["type"] == "websocket.accept"


def _origin() -> list[tuple[str, str]]:
    return [("origin", "http://testserver")]


async def test_a_guards_refusal_needs_no_extension_of_the_server() -> None:
    refused = await call(app(new_auth()), socket_scope("/ws", extensions={}))
    assert refused.messages == [{"type": "websocket.close", "code": 1008, "reason": "login_required"}]


# ---------------------------------------------------------------------- errors of ours, raised inside


async def test_errors_of_ours_that_the_application_raises_are_answered_alike(clock: Any) -> None:
    """`auth.login` refuses: the client gets our answer, wherever the framework's error page is made."""
    auth = new_auth(clock=clock, session_limit=1, session_limit_policy="refuse")
    await auth.issue(ALICE)

    async def page(request: Request) -> Response:
        await auth.login(request, ALICE)
        return Response()

    starlette = Starlette(routes=[Route("/", page)])
    starlette.add_middleware(AuthMiddleware, auth=auth)
    for application in (
        starlette,
        AuthMiddleware(handled(page), auth),
        AuthMiddleware(Starlette(routes=[Route("/", page)]), auth),
    ):
        async with browser(application) as client:
            answer = await client.get("/")
            assert answer.status_code == 409, application
            assert answer.json()["error"] == "session_limit"
            assert set_cookies(answer) == []


async def test_an_error_of_the_application_is_not_taken_for_a_refusal() -> None:
    async def page(request: Request) -> Response:
        try:
            await private(request)
        except HTTPException:
            raise Boom from None
        return Response()

    with pytest.raises(Boom):
        await call(AuthMiddleware(handled(page), new_auth()), http_scope())


async def test_a_refusal_after_the_answer_began_changes_nothing() -> None:
    async def page(scope: Any, receive: Any, send: Any) -> None:
        await JSONResponse({"ok": True})(scope, receive, send)
        await private(Request(scope))

    with pytest.raises(HTTPException):
        await call(AuthMiddleware(page, new_auth()), http_scope())


async def test_starlettes_word_for_somebody_means_somebody() -> None:
    async with browser(app(new_auth())) as client:
        assert (await client.get("/starlettes")).status_code == 401
        await client.get("/login/alice")
        assert (await client.get("/starlettes")).status_code == 200
