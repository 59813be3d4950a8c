"""Guards: who may enter a handler. They decide on what the middleware found out, and on nothing else.

A guard records its refusal and raises the framework's own HTTP error; the middleware then answers with the recorded
refusal, so that it looks the same in every framework.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar, cast

from starlette.exceptions import HTTPException

from asgi_auth.context import KEY, Context
from asgi_auth.durations import parse_duration
from asgi_auth.errors import CredentialError, InsufficientScope, InsufficientUserAuthentication, LoginRequired
from asgi_auth.identity import AUTHENTICATED, Identity
from asgi_auth.model import methods, scope_text, scope_tokens

Handler = TypeVar("Handler", bound=Callable[..., Any])


class Requirement(NamedTuple):
    """What somebody must have: all of `scopes`; all methods of `amr`; one of the classes `acr`; and to have logged in,
    or used those methods, at most `fresh` seconds ago. `pending`: a login that is not complete will do."""

    scopes: frozenset[str] = frozenset()
    fresh: float | None = None
    amr: tuple[str, ...] = ()
    acr: tuple[str, ...] = ()
    pending: bool = False

    @classmethod
    def of(
        cls,
        *scopes: str,
        fresh: float | str | timedelta | None = None,
        amr: str | Collection[str] = (),
        acr: str | Collection[str] = (),
        pending: bool = False,
    ) -> Requirement:
        """See `require`."""
        made = cls(
            scope_tokens(" ".join(scopes)),
            None if fresh is None else parse_duration(fresh),
            tuple(sorted(methods(amr))),
            methods(acr.split() if isinstance(acr, str) else acr),
            pending,
        )
        if pending and made != cls(pending=True):
            raise ValueError("who has not logged in completely has no scopes, no class and no time of login to ask for")
        return made


def decide(context: Context, wanted: Requirement) -> CredentialError | None:
    """The refusal, or None: somebody is there who has all that is wanted. Who somebody is comes before what the login
    is worth (RFC 9470 §3), and that before what may be done."""
    identity = context.identity
    if identity is None:
        if wanted.pending and context.pending is not None:
            return None
        return LoginRequired(reason=context.reason or None)
    lacking = None if wanted.scopes - {AUTHENTICATED} <= identity.scopes else scope_text(wanted.scopes)
    why = _too_weak(identity, wanted, context)
    if why:
        return InsufficientUserAuthentication(
            why,
            scope=lacking,
            max_age=None if wanted.fresh is None else int(wanted.fresh),
            acr_values=" ".join(wanted.acr) or None,
        )
    return None if lacking is None else InsufficientScope(scope=lacking)


def _too_weak(identity: Identity, wanted: Requirement, context: Context) -> str:
    """What the login lacks, in a sentence; nothing: it will do."""
    lacking = [method for method in wanted.amr if method not in identity.amr]
    if lacking:
        return f"Log in again: this needs {', '.join(lacking)}"
    if wanted.acr and identity.acr not in wanted.acr:
        return "Log in again: this needs a stronger login"
    if wanted.fresh is not None:
        used = [identity.amr[method] for method in wanted.amr] or [identity.authenticated_at]
        if context.now() - min(used) > wanted.fresh:
            return "Log in again: this needs a recent login"
    return ""


def admit(context: Context, wanted: Requirement) -> CredentialError | None:
    """Decide, as a guard of a handler or a path: who is let in is so for as long as the scopes last."""
    context.guard()
    refusal = decide(context, wanted)
    if refusal is None:
        context.needs |= wanted.scopes - {AUTHENTICATED}
        if wanted.pending:
            context.introduce()
    return refusal


def check(connection: Any, wanted: Requirement) -> CredentialError | None:
    """Decide for a request, a WebSocket or an ASGI scope, and record the refusal, if it is one.

    Raises:
        RuntimeError: the middleware never ran for it, so that nobody can say who is calling.
    """
    context = Context.of(connection)
    refusal = admit(context, wanted)
    if refusal is not None:
        context.refuse(refusal)
    return refusal


def require(
    *scopes: str,
    fresh: float | str | timedelta | None = None,
    amr: str | Collection[str] = (),
    acr: str | Collection[str] = (),
    pending: bool = False,
) -> Callable[[Handler], Handler]:
    """Let only somebody into a handler, and only with all of these scopes and a login that is worth enough.

    For handlers, sync or async, of Starlette and FastAPI that take a request or a WebSocket (also as methods), and for
    any function that takes an ASGI scope first. Nobody gets a 401, somebody without the scopes a 403 (RFC 6750 §3.1),
    somebody whose login is too old or too weak a 401 `insufficient_user_authentication` (RFC 9470 §3). An open
    WebSocket or stream ends when its user loses one of the scopes.

    Args:
        scopes: RFC 6749 §3.3 scopes, one or several an argument, separated by spaces. None: somebody.
        fresh: how long ago the login may be, in seconds or as `5m`; with `amr`, the last use of each of those methods.
        amr: authentication methods (RFC 8176) that were used, all of them.
        acr: authentication context classes, one of which the login must have.
        pending: let somebody in whose login is not complete, too (`Auth.login(pending=True)`), and say there who that
            is; nothing else can be asked for then.

    Raises:
        ValueError: one of them is none.
    """
    wanted = Requirement.of(*scopes, fresh=fresh, amr=amr, acr=acr, pending=pending)

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


def _enter(args: tuple[Any, ...], kwargs: Mapping[str, Any], wanted: Requirement) -> None:
    for argument in (*args, *kwargs.values()):
        scope = getattr(argument, "scope", argument)
        # By what the middleware put there: a body that was sent may look like a scope, too.
        if isinstance(scope, Mapping) and isinstance(scope.get(KEY), Context):
            refusal = check(argument, wanted)
            if refusal is not None:
                raise HTTPException(refusal.status, refusal.description) from refusal
            return
    raise RuntimeError(
        "require() found no request, or AuthMiddleware has not seen this request: the handler must take a request, a "
        "WebSocket or an ASGI scope, and the middleware must be installed"
    )
