"""Django: the user where its own code looks, in sync and async views, without a look into a database."""

from __future__ import annotations

from typing import Any

import django
import pytest
from django.conf import settings
from seats import ALICE, BOB, browser

from asgi_auth import Auth, AuthMiddleware, Settings, User

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
        LOGIN_URL="/in",
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "asgi_auth.integrations.django.user_middleware",
        ],
        ROOT_URLCONF=__name__,
        SECRET_KEY="x" * 50,
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    )
    django.setup()

from django.contrib.auth.decorators import login_required, permission_required
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import Client
from django.urls import path


def _said(user: Any) -> dict[str, Any]:
    return {
        "id": user.pk,
        "name": str(user),
        "username": user.get_username(),
        "flags": [user.is_authenticated, user.is_anonymous, user.is_active, user.is_staff, user.is_superuser],
        "admin": user.has_perm("admin"),
        "all": sorted(user.get_all_permissions()),
    }


def sync_view(request: HttpRequest) -> HttpResponse:
    return JsonResponse(_said(request.user))


async def async_view(request: Any) -> HttpResponse:
    user = await request.auser()
    assert user == request.user
    assert await user.ahas_perm("admin") == user.has_perm("admin")
    assert await user.ahas_perms(["read", "admin"]) == user.has_perms(["read", "admin"])
    assert await user.ahas_module_perms("orders") == user.has_module_perms("orders")
    assert await user.aget_all_permissions() == user.get_all_permissions()
    return JsonResponse(_said(user))


@login_required
async def somebody(request: HttpRequest) -> HttpResponse:
    return HttpResponse("in")


@permission_required("admin", raise_exception=True)
async def admin(request: HttpRequest) -> HttpResponse:
    return HttpResponse("in")


@permission_required("admin", raise_exception=True)
def admin_sync(request: HttpRequest) -> HttpResponse:
    return HttpResponse("in")


async def enter(request: Any, name: str) -> HttpResponse:
    user = {"alice": ALICE, "bob": BOB}[name]
    await Auth.of(request).login(request, User(user.id, user.id.title(), user.scopes), pending="pending" in request.GET)
    return HttpResponse()


urlpatterns = [
    path("sync", sync_view),
    path("async", async_view),
    path("somebody", somebody),
    path("admin", admin),
    path("admin-sync", admin_sync),
    path("in/<name>", enter),
]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # Django knows no other


@pytest.fixture
def app() -> AuthMiddleware:
    return AuthMiddleware(get_asgi_application(), Auth(Settings(store="memory://")))


@pytest.mark.parametrize("where", ["/sync", "/async"])
async def test_the_user_stands_where_djangos_users_look(app: AuthMiddleware, where: str) -> None:
    async with browser(app) as client:
        nobody = (await client.get(where)).json()
        assert nobody == {
            "id": None,
            "name": "AnonymousUser",
            "username": "",
            "flags": [False, True, False, False, False],
            "admin": False,
            "all": [],
        }
        await client.get("/in/bob")
        assert (await client.get(where)).json() == {
            "id": "bob",
            "name": "Bob",
            "username": "bob",
            "flags": [True, False, True, False, False],
            "admin": True,
            "all": ["admin", "read"],
        }


async def test_django_integration_user_never_touches_the_sync_orm_in_async_views(
    app: AuthMiddleware, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Django's own user does: SynchronousOnlyOperation. Here not even a connection is asked for."""
    from django.db.backends.base.base import BaseDatabaseWrapper

    def touched(*args: Any) -> None:
        raise AssertionError("the database was touched")

    monkeypatch.setattr(BaseDatabaseWrapper, "cursor", touched)
    async with browser(app) as client:
        assert (await client.get("/somebody")).status_code == 302
        assert (await client.get("/admin")).status_code == 403
        await client.get("/in/alice")
        assert (await client.get("/somebody")).text == "in"
        assert (await client.get("/admin")).status_code == 403
        assert (await client.get("/admin-sync")).status_code == 403
        await client.get("/in/bob")
        assert (await client.get("/admin")).text == "in"
        assert (await client.get("/admin-sync")).text == "in"
        assert (await client.get("/async")).json()["id"] == "bob"


async def test_a_pending_login_is_nobody_to_django(app: AuthMiddleware) -> None:
    async with browser(app) as client:
        await client.get("/in/bob?pending=1")
        assert (await client.get("/somebody")).status_code == 302
        assert (await client.get("/admin")).status_code == 403
        assert (await client.get("/async")).json()["flags"] == [False, True, False, False, False]


async def test_a_middleware_that_never_ran_is_no_anonymous_user() -> None:
    with pytest.raises(RuntimeError, match="AuthMiddleware"):
        Client().get("/sync")
    async with browser(get_asgi_application()) as client:
        assert (await client.get("/async")).status_code == 500
