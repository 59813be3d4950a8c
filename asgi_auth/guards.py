"""Guards: who may enter a handler. They decide on what the middleware found out, and on nothing else.

A guard records its refusal and raises the framework's own HTTP error; the middleware then answers with the recorded
refusal, so that it looks the same in every framework.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar, cast

from starlette.exceptions import HTTPException

from asgi_auth.context import KEY, Context
from asgi_auth.errors import CredentialError, InsufficientScope, LoginRequired
from asgi_auth.identity import AUTHENTICATED, Identity
from asgi_auth.model import scope_text, scope_tokens

Handler = TypeVar("Handler", bound=Callable[..., Any])


def decide(identity: Identity | None, scopes: frozenset[str], *, reason: str = "") -> CredentialError | None:
    """Whether somebody with all these scopes is there; else the refusal. `reason`: of a cookie that is dead."""
    if identity is None:
        return LoginRequired(reason=reason or None)
    if not scopes - {AUTHENTICATED} <= identity.scopes:
        return InsufficientScope(scope=scope_text(scopes))
    return None


def check(connection: Any, scopes: frozenset[str]) -> CredentialError | None:
    """Decide for a request, a WebSocket or an ASGI scope, and record the refusal, if it is one.

    Raises:
        RuntimeError: the middleware never ran for it, so that nobody can say who is calling.
    """
    context = Context.of(connection)
    context.guard()
    refusal = decide(context.identity, scopes, reason=context.reason)
    if refusal is not None:
        context.refuse(refusal)
    return refusal


def require(*scopes: str) -> Callable[[Handler], Handler]:
    """Let only somebody into a handler, and only with all of these scopes.

    For handlers, sync or async, of Starlette and FastAPI that take a request or a WebSocket (also as methods), and for
    any function that takes an ASGI scope first. Nobody gets a 401, somebody without the scopes a 403 (RFC 6750 §3.1).

    Args:
        scopes: RFC 6749 §3.3 scopes, one or several an argument, separated by spaces. None: somebody.

    Raises:
        ValueError: a scope is none.
    """
    wanted = scope_tokens(" ".join(scopes))

    def decorate(handler: Handler) -> Handler:
        if inspect.iscoroutinefunction(handler):
            asynchronous = cast("Callable[..., Awaitable[Any]]", handler)

            @functools.wraps(handler)
            async def guarded(*args: Any, **kwargs: Any) -> Any:
                _enter(args, kwargs, wanted)
                return await asynchronous(*args, **kwargs)

            return cast("Handler", guarded)

        @functools.wraps(handler)
        def guarded_sync(*args: Any, **kwargs: Any) -> Any:
            _enter(args, kwargs, wanted)
            return handler(*args, **kwargs)

        return cast("Handler", guarded_sync)

    return decorate


def _enter(args: tuple[Any, ...], kwargs: Mapping[str, Any], scopes: frozenset[str]) -> None:
    for argument in (*args, *kwargs.values()):
        scope = getattr(argument, "scope", argument)
        # By what the middleware put there: a body that was sent may look like a scope, too.
        if isinstance(scope, Mapping) and isinstance(scope.get(KEY), Context):
            refusal = check(argument, scopes)
            if refusal is not None:
                raise HTTPException(refusal.status, refusal.description) from refusal
            return
    raise RuntimeError(
        "require() found no request, or AuthMiddleware has not seen this request: the handler must take a request, a "
        "WebSocket or an ASGI scope, and the middleware must be installed"
    )
