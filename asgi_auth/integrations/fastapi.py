"""FastAPI: who is calling, as dependencies that stand in OpenAPI too, so that "Authorize" in Swagger UI works.

    async def handler(user: CurrentUser): ...
    async def handler(user: Annotated[User, Requires("admin")]): ...
    document(app)  # once, after add_middleware: 401 and 403 in the schema, and where tokens come from

They decide on what `AuthMiddleware` found out, and on nothing else. For HTTP and WebSocket routes alike.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Annotated, Any, cast

from fastapi import FastAPI, HTTPException, Security
from fastapi.requests import HTTPConnection
from fastapi.security import APIKeyCookie, OAuth2PasswordBearer, SecurityScopes

from asgi_auth.auth import Auth
from asgi_auth.context import Context
from asgi_auth.guards import Requirement, check
from asgi_auth.http.answers import challenges_for
from asgi_auth.model import User
from asgi_auth.settings import Settings

# They describe, and refuse nobody: either of the two will do, and the middleware has judged both already.
_TOKEN = OAuth2PasswordBearer("auth/token", scheme_name="token", auto_error=False)
_COOKIE = APIKeyCookie(name="__Host-session", scheme_name="cookie", auto_error=False)

_REFUSAL = {
    "type": "object",
    "required": ["error", "error_description"],
    "properties": {"error": {"type": "string"}, "error_description": {"type": "string"}},
}
_RESPONSES = {"401": "Nobody is logged in, or the access token is invalid", "403": "Known, but not allowed"}


async def optional_user(
    connection: HTTPConnection,
    token: Annotated[object, Security(_TOKEN)],
    cookie: Annotated[object, Security(_COOKIE)],
) -> User | None:
    """Who is calling; None: nobody."""
    identity = Context.of(connection).identity
    return None if identity is None else identity.user


OptionalUser = Annotated[User | None, Security(optional_user)]
"""Who is calling; None: nobody."""


async def current_user(connection: HTTPConnection, scopes: SecurityScopes, user: OptionalUser) -> User:
    """Who is calling; nobody gets a 401, somebody without the scopes a 403 (RFC 6750 §3.1)."""
    return _let_in(connection, Requirement(frozenset(scopes.scopes)), user)


def _let_in(connection: HTTPConnection, wanted: Requirement, user: User | None) -> User:
    refusal = check(connection, wanted)
    if refusal is not None:
        challenge = b", ".join(challenges_for(refusal, Context.of(connection).schemes)).decode("ascii")
        raise HTTPException(refusal.status, refusal.description, {"WWW-Authenticate": challenge}) from refusal
    return cast("User", user)


CurrentUser = Annotated[User, Security(current_user)]
"""Who is calling. Nobody gets a 401."""


def Requires(  # noqa: N802 — written like FastAPI's own Depends and Security
    *scopes: str,
    fresh: float | str | timedelta | None = None,
    amr: str | Collection[str] = (),
    acr: str | Collection[str] = (),
) -> Any:
    """Somebody with all of these scopes: `Annotated[User, Requires("admin")]`, or `dependencies=[Requires("admin")]`.

    Args:
        scopes, fresh, amr, acr: as in `asgi_auth.require`.

    Raises:
        ValueError: one of them is none.
    """
    wanted = Requirement.of(*scopes, fresh=fresh, amr=amr, acr=acr)

    async def strong_user(connection: HTTPConnection, user: OptionalUser) -> User:
        return _let_in(connection, wanted, user)

    return Security(current_user if wanted == Requirement(wanted.scopes) else strong_user, scopes=sorted(wanted.scopes))


def document(app: FastAPI, *, auth: Auth | None = None) -> None:
    """Let `app.openapi()` say what no dependency can: 401 and 403 at every operation that asks who is calling,
    included routers' too, and the cookie and the token endpoint by the configuration.

    Args:
        auth: the one that `AuthMiddleware` was given; None: the environment is the configuration.
    """
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        schema = generate()  # FastAPI keeps it; what is added here is the same each time
        asked = set()
        for operation in (one for path in schema.get("paths", {}).values() for one in path.values()):
            if isinstance(operation, dict) and "security" in operation:
                asked |= {scope for requirement in operation["security"] for scope in requirement.get("token", ())}
                for status, description in _RESPONSES.items():
                    content = {"application/json": {"schema": _REFUSAL}}
                    operation["responses"].setdefault(status, {"description": description, "content": content})
        schemes = schema.get("components", {}).get("securitySchemes", {})
        if "token" in schemes:
            settings = (auth or Auth()).settings
            schemes["token"] = _token_scheme(settings, dict.fromkeys(sorted(asked), ""))
            schemes["cookie"]["name"] = settings.session_cookie or _COOKIE.model.name
        return schema

    app.openapi = openapi  # type: ignore[method-assign]


def _token_scheme(settings: Settings, scopes: dict[str, str]) -> dict[str, Any]:
    """How to get a token; where the password grant or the endpoints are off, only that there is one."""
    if not (settings.prefix and settings.password_grant and "jwt" in settings.backends):
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    # Relative, so that it stays right behind a proxy that takes a path away (`root_path`).
    flow = {"tokenUrl": f"{settings.prefix[1:]}/token", "refreshUrl": f"{settings.prefix[1:]}/token", "scopes": scopes}
    return {"type": "oauth2", "flows": {"password": flow}}
