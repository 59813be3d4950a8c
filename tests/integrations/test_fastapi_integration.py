"""FastAPI: the dependencies, and what they say in OpenAPI."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from starlette.testclient import TestClient, WebSocketDenialResponse

from asgi_auth import Auth, AuthMiddleware, Settings, User
from asgi_auth.integrations.fastapi import CurrentUser, OptionalUser, Requires, current_user, document

READER = User("alice", scopes=frozenset({"read"}))
ADMIN = User("bob", scopes=frozenset({"read", "admin"}))


def build(auth: Auth, **options: Any) -> FastAPI:
    app = FastAPI(**options)
    router = APIRouter(prefix="/included")

    @app.get("/anybody")
    async def anybody(user: OptionalUser) -> dict[str, str | None]:
        return {"user": user.id if user else None}

    @app.get("/somebody")
    async def somebody(user: CurrentUser) -> dict[str, str]:
        return {"user": user.id}

    @app.get("/open")
    async def unguarded() -> None: ...

    @router.get("/admin")
    async def admin(user: Annotated[User, Requires("admin")]) -> dict[str, str]:
        return {"user": user.id}

    @router.get("/listed", dependencies=[Requires("read write", "admin")])
    async def listed() -> None: ...

    @app.websocket("/socket")
    async def socket(websocket: WebSocket, user: Annotated[User, Requires("admin")]) -> None:
        await websocket.accept()
        await websocket.send_json({"user": user.id})
        await websocket.close()

    app.include_router(router)
    app.add_middleware(AuthMiddleware, auth=auth)
    document(app, auth=auth)
    return app


@pytest.fixture
def auth() -> Auth:
    return Auth(Settings(store="memory://"))


@pytest.fixture
def client(auth: Auth) -> Iterator[TestClient]:
    with TestClient(build(auth)) as client:
        yield client


def bearer(client: TestClient, auth: Auth, user: User) -> dict[str, str]:
    assert client.portal is not None
    return {"Authorization": f"Bearer {client.portal.call(auth.issue, user).access_token}"}


@pytest.mark.parametrize(
    ("path", "user", "status"),
    [
        ("/anybody", None, 200),
        ("/anybody", READER, 200),
        ("/somebody", None, 401),
        ("/somebody", READER, 200),
        ("/included/admin", None, 401),
        ("/included/admin", READER, 403),
        ("/included/admin", ADMIN, 200),
        ("/included/listed", ADMIN, 403),
    ],
)
def test_the_dependencies_let_in_whom_they_should(
    client: TestClient, auth: Auth, path: str, user: User | None, status: int
) -> None:
    answer = client.get(path, headers=bearer(client, auth, user) if user else {})
    assert answer.status_code == status
    if status == 200:
        assert answer.json() == {"user": user.id if user else None}
    else:
        assert set(answer.json()) == {"error", "error_description"}
        assert answer.headers["www-authenticate"].startswith('Bearer realm="asgi-auth"')


def test_openapi_declares_schemes_scopes_and_refusals_also_in_included_routers(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    assert schema["components"]["securitySchemes"] == {
        "token": {
            "type": "oauth2",
            "flows": {
                "password": {
                    "tokenUrl": "auth/token",
                    "refreshUrl": "auth/token",
                    "scopes": {"admin": "", "read": "", "write": ""},
                }
            },
        },
        "cookie": {"type": "apiKey", "in": "cookie", "name": "__Host-session"},
    }
    scopes = {
        "/anybody": [],
        "/somebody": [],
        "/included/admin": ["admin"],
        "/included/listed": ["admin", "read", "write"],
    }
    for path, wanted in scopes.items():
        operation = schema["paths"][path]["get"]
        assert sorted(operation["security"], key=str) == [{"cookie": wanted}, {"token": wanted}]  # either will do
        for status in ("401", "403"):
            described = operation["responses"][status]["content"]["application/json"]["schema"]
            assert described["required"] == ["error", "error_description"]
    unguarded = schema["paths"]["/open"]["get"]
    assert "security" not in unguarded
    assert set(unguarded["responses"]) == {"200"}


def test_what_the_application_says_of_a_refusal_stays(auth: Auth) -> None:
    app = build(auth)

    @app.get("/own", responses={401: {"description": "mine"}})
    async def own(user: CurrentUser) -> None: ...

    assert app.openapi()["paths"]["/own"]["get"]["responses"]["401"]["description"] == "mine"
    assert app.openapi() == app.openapi()


@pytest.mark.parametrize(
    ("settings", "token", "cookie"),
    [
        ({"prefix": "/x/auth"}, "x/auth/token", "__Host-session"),
        ({"session_cookie": "mine"}, "auth/token", "mine"),
        ({"password_grant": False}, None, "__Host-session"),
        ({"prefix": ""}, None, "__Host-session"),
        ({"backends": "session"}, None, "__Host-session"),
    ],
)
def test_openapi_follows_the_configuration(settings: dict[str, Any], token: str | None, cookie: str) -> None:
    schemes = build(Auth(Settings(store="memory://", **settings))).openapi()["components"]["securitySchemes"]
    assert schemes["cookie"]["name"] == cookie
    if token is None:
        assert schemes["token"] == {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    else:
        assert schemes["token"]["flows"]["password"]["tokenUrl"] == token


def test_openapi_without_an_auth_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASGI_AUTH_PREFIX", "/here")
    app = FastAPI()

    @app.get("/somebody")
    async def somebody(user: CurrentUser) -> None: ...

    document(app)
    schemes = app.openapi()["components"]["securitySchemes"]
    assert schemes["token"]["flows"]["password"]["tokenUrl"] == "here/token"


def test_an_application_that_asks_nobody_is_documented_as_it_is() -> None:
    app = FastAPI()
    document(app)
    assert "components" not in app.openapi()


def test_requires_works_on_websocket_routes(client: TestClient, auth: Auth) -> None:
    with client.websocket_connect("/socket", headers=bearer(client, auth, ADMIN)) as websocket:
        assert websocket.receive_json() == {"user": "bob"}
    for user, status in ((None, 401), (READER, 403)):
        headers = bearer(client, auth, user) if user else {}
        with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect("/socket", headers=headers):
            pass
        assert refused.value.status_code == status
        assert set(refused.value.json()) == {"error", "error_description"}


def test_without_the_middleware_nobody_is_guessed() -> None:
    app = FastAPI()

    @app.get("/anybody")
    async def anybody(user: OptionalUser) -> None: ...

    with pytest.raises(RuntimeError, match="AuthMiddleware has not seen this request"):
        TestClient(app).get("/anybody")


def test_a_test_may_put_a_user_of_its_own_in_place(client: TestClient) -> None:
    app = client.app
    assert isinstance(app, FastAPI)
    app.dependency_overrides[current_user] = lambda: User("mallory")
    assert client.get("/somebody").json() == {"user": "mallory"}


def test_the_applications_own_error_page_gets_the_challenge(auth: Auth) -> None:
    app = FastAPI()

    @app.get("/somebody")
    async def somebody(user: CurrentUser) -> None: ...

    app.add_middleware(AuthMiddleware, auth=auth, refusals="app")
    with TestClient(app) as client:
        answer = client.get("/somebody")
    assert (answer.status_code, answer.json()) == (401, {"detail": "Log in first"})
    assert answer.headers.get_list("www-authenticate")[0] == 'Bearer realm="asgi-auth"'


@pytest.mark.parametrize("scope", ['"', "a\\b", "ä"])
def test_a_scope_that_is_none_is_told_at_once(scope: str) -> None:
    with pytest.raises(ValueError, match="is no scope"):
        Requires(scope)
