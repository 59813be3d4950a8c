"""A visitor's data: a session of nobody's. Knows no cookie."""

from __future__ import annotations

from collections.abc import Mapping

from asgi_auth.secret import digest
from asgi_auth.settings import Settings
from asgi_auth.stores import NewSession
from asgi_auth.stores.values import data_size


def visitors_session(settings: Settings, sid: str, secret: str, data: Mapping[str, str]) -> NewSession:
    """The session that keeps a visitor's data (JSON text by key), for the store to make."""
    return NewSession(
        sid=sid,
        user_id=None,
        backend="session",
        idle=settings.anonymous_idle,
        lifetime=settings.session_lifetime,
        digest=digest(secret),
        data=data,
    )


def is_too_large(settings: Settings, data: Mapping[str, str]) -> bool:
    """Whether a new session cannot begin with this data (`SESSION_MAX_SIZE`)."""
    return data_size(data) > settings.session_max_size
