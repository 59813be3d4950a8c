"""Sessions and JWTs for any ASGI app: `app.add_middleware(AuthMiddleware)`, configured by the environment."""

from asgi_auth.auth import Auth
from asgi_auth.errors import (
    AuthError,
    ConfigurationError,
    CredentialError,
    NoSessionData,
    StoreUnavailable,
)
from asgi_auth.guards import require
from asgi_auth.middleware import AuthMiddleware
from asgi_auth.model import Session, User
from asgi_auth.settings import Settings
from asgi_auth.tokens.grants import TokenPair

__all__ = [
    "Auth",
    "AuthError",
    "AuthMiddleware",
    "ConfigurationError",
    "CredentialError",
    "NoSessionData",
    "Session",
    "Settings",
    "StoreUnavailable",
    "TokenPair",
    "User",
    "require",
]
