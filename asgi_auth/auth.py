"""Auth: one application's authentication. Its verbs are what an application calls, in either mode, on any request.

The middleware and the endpoints are made of these verbs too; there is no other way in.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Collection, Mapping
from functools import cached_property
from types import TracebackType
from typing import Any

from asgi_auth import audit
from asgi_auth.clock import Clock, wall_clock
from asgi_auth.context import Context
from asgi_auth.directory import Directory, StoreDirectory
from asgi_auth.errors import AuthError, ConfigurationError
from asgi_auth.logins import Logins
from asgi_auth.model import Session, User, UserRow, scope_text, scope_tokens
from asgi_auth.parts import Foundation, Parts, complete, found
from asgi_auth.sessions.cookies import name_pattern
from asgi_auth.settings import Settings
from asgi_auth.startup import announce
from asgi_auth.stores import Keep, Store
from asgi_auth.tokens.grants import DEFAULT_CLIENT, TokenPair

log = logging.getLogger("asgi_auth")


class Auth:
    """Authentication by one configuration: sessions, tokens, users, and the store that they stand in.

    Making one costs nothing, opens nothing and never raises; the first request, `async with auth` or the application's
    lifespan opens the store. A wrong configuration is told then.

    Args:
        settings: None: those of the environment.
        directory: where users and passwords are, instead of what `USERS` names.
        store: instead of the one that the settings name.
        clock: gives the seconds since the epoch, for the times in tokens and the log.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        directory: Directory | None = None,
        store: Store | None = None,
        clock: Clock = wall_clock,
    ) -> None:
        self.problem: ConfigurationError | None = None
        """What is wrong with the configuration, as far as it is known."""
        self._settings = settings
        if settings is None:
            try:
                self._settings = Settings()
            except ConfigurationError as error:
                self.problem = error
        self.clock = clock
        self.silent = False
        """Whether the store gave no answer when it was last asked."""
        self._given = directory
        self._given_store = store
        self._making = threading.Lock()
        self._base: Foundation | None = None
        self._parts: Parts | None = None

    @staticmethod
    def of(connection: Any) -> Auth:
        """The `Auth` that answers for a request, a WebSocket or an ASGI scope.

        Raises:
            RuntimeError: the middleware never ran for it.
        """
        return Context.of(connection).auth

    @property
    def settings(self) -> Settings:
        """Raises:
        ConfigurationError: the environment is wrong.
        """
        if self._settings is None:
            raise self.problem or ConfigurationError("there are no settings")
        return self._settings

    @cached_property
    def cookie_hint(self) -> re.Pattern[bytes]:
        """Found in every `Cookie` header with a cookie of ours, as far as is known before the store has answered."""
        return name_pattern(self.settings.session_cookie)

    @property
    def is_open(self) -> bool:
        """Whether the store has answered once."""
        return self._parts is not None

    @property
    def parts(self) -> Parts:
        """The parts, once they are open.

        Raises:
            AuthError: they are not.
        """
        if self._parts is None:
            raise AuthError("the store is not open yet: await auth.opened()")
        return self._parts

    async def opened(self) -> Parts:
        """The parts; opens the store if nobody has yet.

        Raises:
            ConfigurationError: the configuration is wrong, now and for good.
            StoreUnavailable: the store gives no answer; it may, later.
        """
        if self._parts is not None:
            return self._parts
        if self.problem is not None:
            raise self.problem
        try:
            with self._making:
                self._base = self._base or self._found()
            parts = await complete(self._base)
        except ConfigurationError as error:
            self.problem = error
            raise
        if self._parts is None:
            self._parts = parts
            announce(parts)
        return self._parts

    async def __aenter__(self) -> Auth:
        await self.opened()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close what the running event loop opened. A later call opens it again."""
        if self._base is not None:
            if self._parts is not None:
                self._base.audit.record(audit.SHUTDOWN)
            self._base.audit.flush()
            await self._base.store.aclose()

    async def ready(self) -> None:
        """Return if the store answers. For health checks.

        Raises:
            StoreUnavailable: it does not.
            ConfigurationError: it never will.
        """
        parts = await self.opened()
        await parts.store.keys()

    # ------------------------------------------------------------------ sessions

    async def login(self, request: Any, user: User, *, amr: Collection[str] = (), remember: bool = False) -> Session:
        """Log somebody in by cookie whom the application has authenticated. Always a new session and a new secret.

        A session that the browser brought ends in the same operation; its data passes on to the same user.

        Args:
            request: anything with `.scope`, or the ASGI scope. Before the answer begins; on a WebSocket before accept.
            user: unlike the stored row, it counts as `update_user`.
            amr: how the user was authenticated (RFC 8176).
            remember: keep the cookie over a restart of the browser.

        Raises:
            CookieNotKept: the browser would drop the cookie.
            SessionLimit: the user has too many sessions.
            InvalidCredentials: the user is disabled.
            StoreUnavailable: nothing is known to have changed; repeat.
        """
        context = Context.of(request)
        with context.answering():
            parts = await self.opened()
            logins = Logins(parts)
            logins.keepable(context)
            row = await parts.users.reconcile(user)
            return await logins.by_cookie(context, row, amr=tuple(amr), remember=remember)

    async def logout(self, request: Any) -> None:
        """End the session of this request, in either mode, and clear its cookies. For nobody too.

        Raises:
            StoreUnavailable: it may not have ended.
        """
        context = Context.of(request)
        context.must_be_early()
        with context.answering():
            await self._log_out(context)

    async def _log_out(self, context: Context) -> None:
        parts = await self.opened()
        identity, dead = context.identity, context.presented is not None and context.identity is None
        if identity is not None:
            ended = await parts.store.end(identity.session_id, "logout")
            Logins(parts).ended([ended] if ended else [], context)
        clear = context.forged or (identity is not None and identity.record is not None)
        if dead and context.presented is not None:
            clear = await parts.session_backend.outlived(context.presented.sid)
        if context.visitor is not None:
            await parts.store.end(context.visitor.sid, "logout")
            context.forget_visitor()
        context.log_out(clear=clear)

    async def rotate(self, request: Any, *, grace: float = 10.0) -> None:
        """Give the session of this request a new secret; its id, data and expiry stay.

        Args:
            grace: seconds for which the old one is good, for requests that are under way already.

        Raises:
            LoginRequired: nobody is logged in by cookie here.
        """
        context = Context.of(request)
        with context.answering():
            await Logins(await self.opened()).rotate(context, grace=grace)

    async def sessions(self, user_id: str) -> list[Session]:
        """A user's living sessions in both modes, the latest first."""
        parts = await self.opened()
        return [loaded.record.public() for loaded in await parts.store.sessions(user_id)]

    async def revoke(self, session_id: str) -> bool:
        """End one session, its access tokens and its refresh token. Whether it was alive."""
        parts = await self.opened()
        ended = await parts.store.end(session_id, "revoked")
        Logins(parts).ended([ended] if ended else [])
        return ended is not None

    async def revoke_user(self, user_id: str, *, keep: str | None = None) -> int:
        """End all of a user's sessions but `keep`, in both modes. How many ended."""
        parts = await self.opened()
        ended = await parts.store.end_user(user_id, "revoked", keep=Keep(keep) if keep else None) or ()
        parts.audit.record(audit.ADMIN_ACTION, user_id, "revoke_user")
        Logins(parts).ended(ended)
        return len(ended)

    async def revoke_all(self) -> None:
        """End every session of everybody, visitors' too."""
        parts = await self.opened()
        await parts.store.end_all("revoked")
        parts.audit.record(audit.ADMIN_ACTION, None, "revoke_all")

    # ------------------------------------------------------------------ tokens

    async def issue(
        self,
        user: User,
        *,
        client_id: str = DEFAULT_CLIENT,
        scopes: str | Collection[str] | None = None,
        amr: Collection[str] = (),
    ) -> TokenPair:
        """A new session in JWT mode for a user whom the application has authenticated: access and refresh token.

        Args:
            user: unlike the stored row, it counts as `update_user`.
            client_id: who alone may use the refresh token.
            scopes: no more than these, now and later; None: all that the user has at any time.
            amr: how the user was authenticated (RFC 8176).

        Raises:
            InvalidScope: the user has not all of `scopes`.
            SessionLimit, InvalidCredentials, StoreUnavailable: as `login`.
        """
        parts = await self.opened()
        row = await parts.users.reconcile(user)
        asked = None if scopes is None else scope_tokens(scopes)
        return await Logins(parts).by_token(row, client_id=client_id, asked=asked, amr=tuple(amr))

    async def refresh(
        self, refresh_token: str, *, client_id: str | None = None, scopes: str | Collection[str] | None = None
    ) -> TokenPair:
        """Exchange a refresh token for a new pair (RFC 6749 §6, rotated as RFC 9700 §4.14.2 asks).

        Until the successor has been seen, and `REFRESH_GRACE` longer, the same successor is returned again.

        Args:
            client_id: must be the one it was made for; None: whichever that is.
            scopes: for this access token, no more than these.

        Raises:
            InvalidGrant: unknown, expired or already used; a late reuse has ended the session.
            InvalidScope: more was asked than granted.
            StoreUnavailable: nothing is known to have changed; repeat.
        """
        asked = None if scopes is None else scope_tokens(scopes)
        return await Logins(await self.opened()).refresh(refresh_token, client_id=client_id, asked=asked)

    # ------------------------------------------------------------------ users

    async def create_user(
        self,
        name: str,
        password: str,
        *,
        scopes: str | Collection[str] = (),
        claims: Mapping[str, Any] | None = None,
        display_name: str | None = None,
        id: str | None = None,
        check: bool = True,
    ) -> User:
        """Put a user into the built-in directory.

        Args:
            name: what the user types to log in; compared in NFKC and casefold.
            id: random if not given.
            check: whether the password must be good enough (length, common ones).

        Raises:
            NameTaken: another user has this name, or this id.
            WeakPassword: with the reason.
            ConfigurationError: users are kept elsewhere.
        """
        parts, directory = await self._built_in()
        row = await directory.create_user(
            name,
            password,
            scopes=scope_tokens(scopes),
            claims=claims,
            display_name=display_name,
            id=id,
            weak=not check,
        )
        parts.audit.record(audit.USER_CREATED, None, row.id)
        return row.user()

    async def set_password(self, user_id: str, password: str) -> None:
        """Give a user of the built-in directory a new password, and end all sessions in both modes.

        Raises:
            UnknownUser: there is none, or none with a password here.
            WeakPassword: with the reason.
        """
        parts, directory = await self._built_in()
        await directory.set_password(user_id, password)
        parts.audit.record(audit.PASSWORD_CHANGED, user_id)

    async def update_user(
        self,
        user: User | str,
        *,
        scopes: str | Collection[str] | None = None,
        claims: Mapping[str, Any] | None = None,
        display_name: str | None = None,
    ) -> User:
        """Change what a user may do, at once and everywhere: cookies have it with their next request, access tokens
        made before are out of date and refresh into it.

        Args:
            user: a User, whose scopes and claims replace the stored ones; or an id, and only what is given changes.

        Raises:
            UnknownUser: no user has this id.
        """
        parts = await self.opened()
        return (await parts.users.update(user, scopes=scopes, claims=claims, display_name=display_name)).user()

    async def disable_user(self, user_id: str) -> None:
        """Let a user log in no more, and end all sessions in both modes.

        Raises:
            UnknownUser: no user has this id.
        """
        parts = await self.opened()
        ended = await parts.users.disable(user_id)
        parts.audit.record(audit.USER_DISABLED, None, user_id)
        Logins(parts).ended(ended)

    async def enable_user(self, user_id: str) -> None:
        """Let a disabled user log in again.

        Raises:
            UnknownUser: no user has this id.
        """
        parts = await self.opened()
        await parts.users.enable(user_id)

    async def delete_user(self, user_id: str) -> None:
        """Forget a user, and end all sessions in both modes.

        Raises:
            UnknownUser: no user has this id.
        """
        parts = await self.opened()
        ended = await parts.users.delete(user_id)
        parts.audit.record(audit.USER_DELETED, None, user_id)
        Logins(parts).ended(ended)

    # ------------------------------------------------------------------ inside

    async def _built_in(self) -> tuple[Parts, StoreDirectory]:
        parts = await self.opened()
        if not isinstance(parts.directory, StoreDirectory):
            raise ConfigurationError("ASGI_AUTH_USERS names another directory: users and passwords are kept there")
        return parts, parts.directory

    def _found(self) -> Foundation:
        return found(
            self.settings,
            clock=self.clock,
            directory=self._given,
            store=self._given_store,
            on_change=self._changed,
        )

    def _changed(self, before: UserRow | None, after: UserRow) -> None:
        """Log what `Users` changed."""
        if self._base is None:
            return
        record = self._base.audit.record
        if before is None:
            record(audit.USER_CREATED, None, after.id)
        elif before.scopes != after.scopes:
            record(audit.RIGHTS_CHANGED, after.id, scope_text(before.scopes), scope_text(after.scopes))
        else:
            record(audit.USER_UPDATED, None, after.id)
