"""What an application wants to be asked or told: `@auth.on("login")`, `@auth.on("session_ended")`."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from asgi_auth.audit import NO_REQUEST, Audit, RequestFacts
from asgi_auth.directory import storable
from asgi_auth.errors import CredentialError, StoreUnavailable, without_text
from asgi_auth.model import BackendName, Client, Reason, User
from asgi_auth.stores import Ended

log = logging.getLogger("asgi_auth")


@dataclass(frozen=True, slots=True)
class Login:
    """A login that is about to be made.

    Attributes:
        user: whose; the user's password, if one was sent, was right.
        backend: `session` or `jwt`.
        amr: the authentication methods (RFC 8176).
        acr: the class that they reach; empty: not known.
        client: the device, as far as it is known.
        pending: whether the user has yet to prove more.
        scope: the ASGI scope of the request; None: there is none.
    """

    user: User
    backend: BackendName
    amr: tuple[str, ...]
    acr: str
    client: Client
    pending: bool
    scope: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """A login that is over: its id, whose it was, and why."""

    id: str
    user_id: str
    reason: Reason


class Hooks:
    """The functions that an application has given, in their order."""

    def __init__(self) -> None:
        self._functions: dict[str, list[Callable[[Any], Awaitable[Any]]]] = {"login": [], "session_ended": []}

    def of(self, event: str) -> list[Callable[[Any], Awaitable[Any]]]:
        """The functions of an event, to be added to.

        Raises:
            ValueError: there is no such event.
        """
        if event not in self._functions:
            raise ValueError(f"there is no event {event!r}: known are {' and '.join(self._functions)}")
        return self._functions[event]

    @property
    def ask_about_logins(self) -> bool:
        return bool(self._functions["login"])

    async def login(self, login: Login) -> User:
        """The user who is let in, as the application wants the user to be.

        Raises:
            CredentialError: the application refuses the login, by this error.
            StoreUnavailable: one of its functions failed, so nobody is let in.
        """
        user = login.user
        for function in self._functions["login"]:
            try:
                changed = await function(replace(login, user=user))
                if changed is not None:
                    user = storable(_same_user(changed, user))
            except (CredentialError, StoreUnavailable):
                raise
            except Exception as error:
                log.error("A function of on('login') failed with %s", without_text(error))
                raise StoreUnavailable("a function of on('login') failed") from None
        return user

    async def session_ended(self, end: SessionEnd) -> None:
        """Tell all functions; one that fails is logged, and nothing else is the worse for it."""
        for function in self._functions["session_ended"]:
            try:
                await function(end)
            except Exception:
                log.exception("a function of on('session_ended') failed")


class Endings:
    """Tells of sessions that have ended: the log of security events, and the application."""

    def __init__(self, log: Audit, hooks: Hooks) -> None:
        self._audit = log
        self._hooks = hooks

    async def tell(self, ended: Iterable[Ended | None], request: RequestFacts = NO_REQUEST) -> None:
        """For whoever has just ended them, once for each; None: one that was over before. A visitor's data is no login:
        the application is not told of its end."""
        told = [one for one in ended if one is not None]
        self._audit.sessions_ended(told, request)
        for sid, user_id, reason in told:
            if user_id is not None:
                await self._hooks.session_ended(SessionEnd(sid, user_id, reason))


def _same_user(changed: object, user: User) -> User:
    if not isinstance(changed, User):
        raise TypeError(f"an asgi_auth.User or None must be given back, not {type(changed).__name__}")
    if changed.id != user.id:
        raise ValueError("another user was given back")
    return changed
