"""Sessions and JWTs for any ASGI app: `app.add_middleware(AuthMiddleware)`, configured by the environment.

A name is loaded when it is first asked for, so that code which needs a `User` alone does not pay for the rest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asgi_auth.auth import Auth
    from asgi_auth.errors import (
        AuthError,
        ConfigurationError,
        CredentialError,
        LoginRefused,
        NoSessionData,
        StoreUnavailable,
    )
    from asgi_auth.guards import require
    from asgi_auth.hooks import Login, SessionEnd
    from asgi_auth.issuer import Issuer
    from asgi_auth.middleware import AuthMiddleware
    from asgi_auth.model import Session, User
    from asgi_auth.settings import Settings
    from asgi_auth.tokens.grants import TokenPair

_HOMES = {
    "Auth": "auth",
    "AuthError": "errors",
    "AuthMiddleware": "middleware",
    "ConfigurationError": "errors",
    "CredentialError": "errors",
    "Issuer": "issuer",
    "Login": "hooks",
    "LoginRefused": "errors",
    "NoSessionData": "errors",
    "Session": "model",
    "SessionEnd": "hooks",
    "Settings": "settings",
    "StoreUnavailable": "errors",
    "TokenPair": "tokens.grants",
    "User": "model",
    "require": "guards",
}

__all__ = [
    "Auth",
    "AuthError",
    "AuthMiddleware",
    "ConfigurationError",
    "CredentialError",
    "Issuer",
    "Login",
    "LoginRefused",
    "NoSessionData",
    "Session",
    "SessionEnd",
    "Settings",
    "StoreUnavailable",
    "TokenPair",
    "User",
    "require",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
