"""`PROTECT` and `PASSIVE_PATHS` at the door: who may enter which path of an application whose code one does not touch.
How one path is matched is in `http/test_guarding.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from quart import Quart
from seats import ALICE, BOB, add_users, browser, call, cookie_of, http_scope, new_auth, socket_scope
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from asgi_auth import Auth, AuthMiddleware

RULES = "/health=any, /login/*=any, /admin/*=admin, /api/*=read+write, /*"
USERS = {"alice": ALICE, "bob": BOB}


async def anything(request: Request) -> Response:
    return PlainTextResponse("in")


async def login(request: Request) -> Response:
    await Auth.of(request).login(request, USERS[request.path_params["name"]])
    return Response()


async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close()


def app(auth: Auth) -> AuthMiddleware:
    routes = [
        Route("/login/{name}", login),
        WebSocketRoute("/admin/ws", socket),
        WebSocketRoute("/ws", socket),
        Route("/{path:path}", anything, methods=["GET", "POST", "OPTIONS"]),
    ]
    return AuthMiddleware(Starlette(routes=routes), auth)


@pytest.mark.parametrize(
    ("path", "nobody", "alice", "bob"),
    [
        ("/health", 200, 200, 200),
        ("/", 401, 200, 200),
        ("/page", 401, 200, 200),
        ("/admin", 401, 403, 200),
        ("/admin/users/1", 401, 403, 200),
        ("/api/x", 401, 403, 403),
        ("/healthy", 401, 200, 200),
        ("/health/", 401, 200, 200),
        ("//admin", 401, 403, 200),
        ("/x/../admin", 401, 403, 200),
        ("/ADMIN", 401, 403, 200),
    ],
)
async def test_the_first_rule_that_covers_a_path_decides(path: str, nobody: int, alice: int, bob: int) -> None:
    auth = new_auth(protect=RULES)
    application = app(auth)
    assert (await call(application, http_scope(path))).status == nobody
    for user, expected in (("alice", alice), ("bob", bob)):
        async with browser(application) as client:
            await client.get(f"/login/{user}")
            assert (
                await call(application, http_scope(path, headers=list(cookie_of(client).items())))
            ).status == expected


async def test_refusals_are_those_of_guards_and_reach_no_application() -> None:
    auth = new_auth(protect=RULES)

    async def never(scope: Any, receive: Any, send: Any) -> None:
        pytest.fail("it was let in")

    refused = await call(AuthMiddleware(never, auth), http_scope("/page"))
    assert refused.json() == {"error": "login_required", "error_description": "Log in first"}
    assert refused.all("www-authenticate")[0] == 'Bearer realm="asgi-auth"'
    pair = await auth.issue(ALICE)
    bearer = [("authorization", f"Bearer {pair.access_token}")]
    refused = await call(AuthMiddleware(never, auth), http_scope("/admin", headers=bearer))
    assert refused.status == 403
    assert 'scope="admin"' in refused.all("www-authenticate")[0]
    assert (await call(AuthMiddleware(never, auth), socket_scope("/page"))).status == 401


async def test_answers_from_behind_protect_are_private() -> None:
    auth = new_auth(protect=RULES)
    async with browser(app(auth)) as client:
        await client.get("/login/bob")
        assert (await client.get("/page")).headers["cache-control"] == "private, no-store"
        assert "cache-control" not in (await client.get("/health")).headers


async def test_websockets_are_protected_like_pages() -> None:
    auth = new_auth(protect=RULES)
    application = app(auth)
    assert (await call(application, socket_scope("/ws"))).status == 401
    for user, entered in ((ALICE, False), (BOB, True)):
        pair = await auth.issue(user)
        reply = await call(application, socket_scope("/admin/ws", [("authorization", f"Bearer {pair.access_token}")]))
        assert (reply.messages[0]["type"] == "websocket.accept") is entered


async def test_our_own_endpoints_need_no_rule() -> None:
    auth = new_auth(protect="/*=admin")
    await add_users(auth)
    async with browser(app(auth)) as client:
        assert (await client.post("/auth/login", json={})).status_code == 400
        assert (await client.post("/auth/token", data={})).status_code == 400
        assert (await client.get("/.well-known/jwks.json")).status_code == 200
        assert (await client.get("/auth/me")).status_code == 401
        # What only looks like one of them is a page of the application's.
        assert (await client.get("/auth/nothing")).status_code == 401
        assert (await client.get("/auth/login/")).status_code == 401


@pytest.mark.parametrize("path", ["/auth/../admin", "/auth//me/../../admin", "/.well-known/../admin"])
async def test_no_way_around_leads_through_our_own_paths(path: str) -> None:
    assert (await call(app(new_auth(protect="/admin/*=admin, /*=any")), http_scope(path))).status == 401


@pytest.mark.parametrize(("root_path", "path"), [("", "/admin"), ("/x", "/admin"), ("/x", "/x/admin")])
async def test_paths_count_less_root_path(root_path: str, path: str) -> None:
    auth = new_auth(protect="/admin/*=admin, /*=any")
    assert (await call(app(auth), http_scope(path, root_path=root_path))).status == 401
    assert (await call(app(auth), http_scope(path + "x", root_path=root_path))).status == 200


async def test_a_mounted_instance_protects_its_own_paths() -> None:
    auth = new_auth(protect="/admin/*=admin, /*=any")
    application = Starlette(routes=[Mount("/app", app(auth)), Route("/admin", anything)])
    assert (await call(application, http_scope("/app/admin"))).status == 401
    assert (await call(application, http_scope("/app/page"))).status == 200
    assert (await call(application, http_scope("/admin"))).status == 200


async def test_a_path_that_quart_reads_otherwise_is_protected_all_the_same() -> None:
    """Quart cuts `root_path` off wherever a path begins with it, so `/xadmin` under `/x` is its `/admin`."""
    auth = new_auth(protect="/admin/*=admin, /*=any")
    quart = Quart(__name__)
    reached = []

    @quart.route("/admin")
    async def admin() -> str:
        reached.append("/admin")
        return "in"

    quart.asgi_app = AuthMiddleware(quart.asgi_app, auth)  # type: ignore[method-assign]
    for path in ("/xadmin", "/x/admin", "/x//admin", "/x%2fadmin"):
        reply = await call(quart, http_scope(path, root_path="/x"))
        assert reply.status != 200, path
    assert reached == []


@pytest.mark.parametrize(
    ("target", "root_path"),
    [
        ("http://localhost/admin", ""),
        ("x:/admin", ""),
        ("http://localhost/admin?x", ""),
        ("http://localhost/ad\nmin;x", ""),
        ("http://localhost/x/admin", "/x"),
    ],
)
async def test_an_absolute_request_target_is_no_way_around(target: str, root_path: str) -> None:
    """RFC 9112 §3.2.2: Hypercorn, and uvicorn with h11, leave such a target in `path`, and Quart takes its path."""
    quart = Quart(__name__)

    @quart.route("/admin")
    async def admin() -> str:
        pytest.fail("it was let in")

    quart.asgi_app = AuthMiddleware(quart.asgi_app, new_auth(protect="/admin/*=admin"))  # type: ignore[method-assign]
    assert (await call(quart, http_scope(target, root_path=root_path))).status == 401


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # Quart


async def test_only_preflights_pass_unasked() -> None:
    application = app(new_auth(protect="/*=admin"))
    preflight = [("origin", "https://elsewhere.example"), ("access-control-request-method", "GET")]
    assert (await call(application, http_scope("/admin", "OPTIONS", preflight))).status == 200
    assert (await call(application, http_scope("/admin", "OPTIONS", preflight[:1]))).status == 401
    assert (await call(application, http_scope("/admin", "GET", preflight))).status == 401
    assert (await call(application, socket_scope("/ws", preflight, method="OPTIONS"))).status == 401


async def test_a_refusal_needs_no_store(tmp_path: Any) -> None:
    auth = new_auth("redis://127.0.0.1:1", protect=RULES, timeout=0.3)
    assert (await call(app(auth), http_scope("/page"))).status == 401
    assert (await call(app(auth), http_scope("/health"))).status == 200
    assert not auth.is_open


async def test_starlettes_word_for_somebody_ends_no_stream_of_somebody() -> None:
    """`authenticated` is a scope of every request by somebody, and of no user's row."""
    auth = new_auth(protect="/login/*=any, /*=authenticated")

    async def stream(request: Request) -> Response:
        async def parts() -> AsyncIterator[str]:
            yield "one,"
            await auth.update_user("alice", scopes="write")
            yield "two"

        return StreamingResponse(parts())

    routes = [Route("/login/{name}", login), Route("/stream", stream)]
    async with auth, browser(AuthMiddleware(Starlette(routes=routes), auth)) as client:
        assert (await client.get("/stream")).status_code == 401
        await client.get("/login/alice")
        assert (await client.get("/stream")).text == "one,two"
