"""The applications that are measured: the bare one, and what is put around it. Each is made from a `World` alone.

Packages are imported where they are needed, so that whatever is not installed can be told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, BaseUser, SimpleUser
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.bare import bare
from benchmarks.verifiers import FastAPIUsers, Verify, authlib_verifier, joserfc_verifier, pyjwt_verifier
from benchmarks.world import ALGORITHMS, AUDIENCE, ISSUER, World

if TYPE_CHECKING:
    from asgi_auth import Settings

SECRET = "a-secret-of-more-than-thirty-two-bytes-for-cookies"  # noqa: S105

Build = Callable[[World], ASGIApp]

Found = tuple[AuthCredentials, BaseUser] | None


class Empty:
    """The least that a middleware can be."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


class BearerBackend(AuthenticationBackend):
    """As Starlette's documentation writes it: look for the header, take the token, ask somebody whose it is."""

    def __init__(self, verify: Verify) -> None:
        self.verify = verify

    async def authenticate(self, conn: HTTPConnection) -> Found:
        if "Authorization" not in conn.headers:
            return None
        scheme, _, token = conn.headers["Authorization"].partition(" ")
        if scheme.lower() != "bearer":
            return None
        name = await self.verify(token)
        if name is None:
            raise AuthenticationError("Invalid token")
        return AuthCredentials(["authenticated"]), SimpleUser(name)


class SessionBackend(AuthenticationBackend):
    """Whoever the session names."""

    async def authenticate(self, conn: HTTPConnection) -> Found:
        name = conn.session.get("user")
        return None if name is None else (AuthCredentials(["authenticated"]), SimpleUser(name))


def _empty(world: World) -> ASGIApp:
    return Empty(bare)


def _starlette_authentication(world: World) -> ASGIApp:
    return AuthenticationMiddleware(bare, backend=BearerBackend(_nobody))


async def _nobody(token: str) -> str | None:
    return None


def _starlette_session(world: World) -> ASGIApp:
    return SessionMiddleware(bare, SECRET)


def _starlette_session_renewed(world: World) -> ASGIApp:
    return SessionMiddleware(_renewed, SECRET)


async def _renewed(scope: Scope, receive: Receive, send: Send) -> None:
    """A signed cookie lives on only if it is sent anew."""
    scope["session"].mark_modified()
    await bare(scope, receive, send)


def _starlette_both(world: World) -> ASGIApp:
    return SessionMiddleware(AuthenticationMiddleware(bare, backend=SessionBackend()), SECRET)


def _starsessions(world: World) -> ASGIApp:
    from redis.asyncio import Redis
    from starsessions import SessionAutoloadMiddleware
    from starsessions import SessionMiddleware as StarSessionMiddleware
    from starsessions.stores.redis import RedisStore

    store = RedisStore(connection=Redis.from_url(world.redis))
    return StarSessionMiddleware(SessionAutoloadMiddleware(bare), store, lifetime=86400, cookie_https_only=False)


def _litestar(world: World, *, sessions: bool) -> ASGIApp:
    from benchmarks.litestar_apps import litestar_alone, litestar_with_sessions

    app: ASGIApp = litestar_with_sessions(world) if sessions else litestar_alone(world)
    return app


def _verified(verifier: Callable[[World, str], Verify], algorithm: str) -> Build:
    return lambda world: AuthenticationMiddleware(bare, backend=BearerBackend(verifier(world, algorithm)))


def _fastapi_users_jwt(world: World) -> ASGIApp:
    return AuthenticationMiddleware(bare, backend=BearerBackend(FastAPIUsers.by_jwt(world)))


def _fastapi_users_redis(world: World) -> ASGIApp:
    return AuthenticationMiddleware(bare, backend=BearerBackend(FastAPIUsers.by_redis(world)))


def our_settings(world: World, store: str, algorithm: str = "ES256", **more: Any) -> Settings:
    """Ours as it comes, but for a key that all share and tokens that outlast the run.

    Args:
        store: `memory`, `sqlite` or `redis`; each algorithm has its own place there.
    """
    from asgi_auth import Settings

    place = f"{store}-{algorithm.lower()}"
    urls = {
        "memory": "memory://",
        "sqlite": f"sqlite:///{world.directory}/{place}.sqlite3",
        "redis": f"{world.redis}?prefix={place}:",
    }
    return Settings(
        store=urls[store],
        secret=SECRET,
        url="https://app.example.com",
        jwt_algorithm=algorithm,
        jwt_key=world.keys[algorithm],
        jwt_issuer=ISSUER,
        jwt_audience=AUDIENCE,
        access_lifetime="24h",
        **more,
    )


def ours(store: str, algorithm: str = "ES256", **more: Any) -> Build:
    """asgi-auth around the bare application."""

    def build(world: World) -> ASGIApp:
        from asgi_auth import AuthMiddleware

        return AuthMiddleware(bare, settings=our_settings(world, store, algorithm, **more))

    return build


APPS: dict[str, Build] = {
    "bare": lambda world: bare,
    "empty": _empty,
    "starlette-authentication": _starlette_authentication,
    "starlette-session": _starlette_session,
    "starlette-session-renewed": _starlette_session_renewed,
    "starlette-both": _starlette_both,
    "starsessions": _starsessions,
    "litestar-bare": lambda world: _litestar(world, sessions=False),
    "litestar": lambda world: _litestar(world, sessions=True),
    "fastapi-users-jwt": _fastapi_users_jwt,
    "fastapi-users-redis": _fastapi_users_redis,
    **{f"pyjwt-{name}": _verified(pyjwt_verifier, name) for name in ALGORITHMS},
    **{f"authlib-{name}": _verified(authlib_verifier, name) for name in ALGORITHMS},
    **{f"joserfc-{name}": _verified(joserfc_verifier, name) for name in ALGORITHMS},
    "ours-memory": ours("memory"),
    "ours-sqlite": ours("sqlite"),
    "ours-redis": ours("redis"),
    **{f"ours-redis-{name}": ours("redis", name) for name in ("HS256", "RS256", "EdDSA")},
    "ours-asking": ours("redis", staleness=0),
}
"""By name, as rows and servers ask for them."""
