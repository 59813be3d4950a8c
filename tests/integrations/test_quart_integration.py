"""Quart: the names that its users know, over what the middleware found out."""

from __future__ import annotations

from typing import Any

import pytest
from quart import Quart
from quart.testing import WebsocketResponseError

from asgi_auth import Auth, AuthMiddleware, Settings, User
from asgi_auth.integrations.quart import current_auth, current_session, current_user, login_required, requires

READER = User("alice", scopes=frozenset({"read"}))
ADMIN = User("bob", scopes=frozenset({"read", "admin"}))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # Quart knows no other


@pytest.fixture
def auth() -> Auth:
    return Auth(Settings(store="memory://"))


def build(auth: Auth | None) -> Quart:
    app = Quart(__name__)

    @app.get("/anybody")
    async def anybody() -> dict[str, Any]:
        return {"user": current_user.id, "backend": current_auth.backend, "known": current_user.is_authenticated}

    @app.get("/somebody")
    @login_required
    async def somebody() -> dict[str, Any]:
        return {"user": current_user.id}

    @app.get("/sync")
    @login_required
    def sync() -> dict[str, Any]:
        return {"user": current_user.id}

    @app.get("/admin/<name>")
    @requires("read", "admin")
    async def admin(name: str) -> dict[str, Any]:
        return {"user": current_user.id, "name": name}

    @app.put("/data")
    async def data() -> tuple[str, int]:
        current_session["colour"] = "green"
        return "", 204

    @app.get("/awaited")
    async def awaited() -> str:
        return "in" if await current_user.is_authenticated else "out"  # type: ignore[misc]

    @app.websocket("/socket")
    @requires("admin")
    async def socket() -> None:
        from quart import websocket

        await websocket.send_json({"user": current_user.id, "backend": current_auth.backend})

    if auth is not None:
        app.asgi_app = AuthMiddleware(app.asgi_app, auth=auth)  # type: ignore[arg-type, assignment]
    return app


async def bearer(auth: Auth, user: User | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {(await auth.issue(user)).access_token}"} if user else {}


@pytest.mark.parametrize(
    ("path", "user", "status"),
    [
        ("/somebody", None, 401),
        ("/somebody", READER, 200),
        ("/sync", None, 401),
        ("/sync", READER, 200),
        ("/admin/x", None, 401),
        ("/admin/x", READER, 403),
        ("/admin/x", ADMIN, 200),
    ],
)
async def test_the_decorators_let_in_whom_they_should(auth: Auth, path: str, user: User | None, status: int) -> None:
    answer = await build(auth).test_client().get(path, headers=await bearer(auth, user))
    assert answer.status_code == status
    body = await answer.get_json()
    if status == 200:
        assert user is not None
        assert body == {"user": user.id} | ({"name": "x"} if path == "/admin/x" else {})
    else:
        assert set(body) == {"error", "error_description"}
        assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="asgi-auth"')
    await auth.aclose()


@pytest.mark.parametrize(
    ("user", "seen"),
    [
        (None, {"user": None, "backend": None, "known": False}),
        (READER, {"user": "alice", "backend": "jwt", "known": True}),
    ],
)
async def test_the_names_say_who_is_calling(auth: Auth, user: User | None, seen: dict[str, Any]) -> None:
    answer = await build(auth).test_client().get("/anybody", headers=await bearer(auth, user))
    assert await answer.get_json() == seen
    await auth.aclose()


async def test_a_visitors_data_is_kept_at_the_server_and_quarts_own_session_is_left_alone(auth: Auth) -> None:
    answer = await build(auth).test_client().put("/data")
    (cookie,) = answer.headers.getlist("Set-Cookie")
    assert cookie.partition("=")[0].endswith("-anonymous")
    await auth.aclose()


async def test_nobody_passes_who_awaits_the_property_as_quart_auth_has_it(auth: Auth) -> None:
    answer = await build(auth).test_client().get("/awaited")
    assert answer.status_code == 500
    await auth.aclose()


async def test_a_websocket_is_guarded_before_it_is_accepted(auth: Auth) -> None:
    client = build(auth).test_client()
    async with client.websocket("/socket", headers=await bearer(auth, ADMIN)) as websocket:
        assert await websocket.receive_json() == {"user": "bob", "backend": "jwt"}
    for user, status in ((None, 401), (READER, 403)):
        with pytest.raises(WebsocketResponseError) as refused:
            async with client.websocket("/socket", headers=await bearer(auth, user)) as websocket:
                await websocket.receive()
        assert refused.value.response.status_code == status
    await auth.aclose()


@pytest.mark.parametrize("path", ["/anybody", "/somebody", "/sync", "/admin/x"])
async def test_without_the_middleware_nobody_is_guessed(path: str, caplog: pytest.LogCaptureFixture) -> None:
    answer = await build(None).test_client().get(path)
    assert answer.status_code == 500
    assert "AuthMiddleware has not seen this request" in caplog.text


async def test_outside_of_a_request_there_is_no_user() -> None:
    with pytest.raises(RuntimeError, match="Not within a request context"):
        _ = current_user.id


def test_a_scope_that_is_none_is_told_at_once() -> None:
    with pytest.raises(ValueError, match="is no scope"):
        requires("a\\b")
