"""Quart: who is calling, under the names that its users know, in HTTP and WebSocket handlers.

    app.asgi_app = AuthMiddleware(app.asgi_app)

Everything here raises RuntimeError where the middleware never ran, instead of saying "nobody".
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any, TypeVar, cast

from quart import abort, current_app, has_websocket_context, request, websocket
from werkzeug.local import LocalProxy

from asgi_auth.context import Context
from asgi_auth.guards import Requirement, check
from asgi_auth.identity import AuthCredentials
from asgi_auth.model import AnonymousUser, User
from asgi_auth.sessions.data import SessionData

Handler = TypeVar("Handler", bound=Callable[..., Any])


def _context() -> Context:
    return Context.of((websocket if has_websocket_context() else request).scope)


def _user() -> User | AnonymousUser:
    return _context().user


current_user = cast("User | AnonymousUser", LocalProxy(_user))
"""Who is calling; nobody: a user whose `is_authenticated` is False (a plain property here, nothing to await)."""

current_auth = cast("AuthCredentials", LocalProxy(lambda: _context().scope["auth"]))
"""How: `backend`, `session_id`, `scopes`, `expires_at`, `authenticated_at`, `amr`."""

current_session = cast("SessionData", LocalProxy(lambda: _context().data))
"""The data of the session, kept at the server. Quart's own `session` stays what it is: a signed cookie."""


def requires(
    *scopes: str,
    fresh: float | str | timedelta | None = None,
    amr: str | Collection[str] = (),
    acr: str | Collection[str] = (),
    pending: bool = False,
) -> Callable[[Handler], Handler]:
    """Let only somebody with all of these scopes into a handler. Nobody gets a 401, somebody without them a 403.

    Below `@app.route` and `@app.websocket`, for async and sync handlers.

    Args:
        scopes, fresh, amr, acr, pending: as in `asgi_auth.require`.

    Raises:
        ValueError: one of them is none.
    """
    wanted = Requirement.of(*scopes, fresh=fresh, amr=amr, acr=acr, pending=pending)

    def decorate(handler: Handler) -> Handler:
        @functools.wraps(handler)
        async def guarded(*args: Any, **kwargs: Any) -> Any:
            refusal = check(_context(), wanted)
            if refusal is not None:
                abort(refusal.status, refusal.description)
            return await current_app.ensure_async(handler)(*args, **kwargs)

        return cast("Handler", guarded)

    return decorate


def login_required(handler: Handler) -> Handler:
    """Let only somebody into a handler. Nobody gets a 401."""
    return requires()(handler)
