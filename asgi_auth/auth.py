"""Auth: one application's authentication. Its verbs are what an application calls, in either mode, on any request.

The middleware and the endpoints are made of these verbs too; there is no other way in.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection
from contextlib import nullcontext
from datetime import timedelta
from types import TracebackType
from typing import Any, Literal, TypeVar

from asgi_auth import audit
from asgi_auth.accounts import Accounts
from asgi_auth.context import Context
from asgi_auth.denials import deny
from asgi_auth.durations import format_duration, parse_duration
from asgi_auth.entrance import proof_of
from asgi_auth.errors import ConfigurationError
from asgi_auth.logins import Logins
from asgi_auth.model import Session, User, methods, scope_tokens
from asgi_auth.refresh_cookie import must_be_kept
from asgi_auth.renewals import Renewals
from asgi_auth.stores import Keep
from asgi_auth.tokens.dpop import is_thumbprint
from asgi_auth.tokens.grants import DEFAULT_CLIENT, TokenPair, is_client_id

log = logging.getLogger("asgi_auth")

Hook = TypeVar("Hook", bound=Callable[..., Awaitable[Any]])


class Auth(Accounts):
    """Authentication by one configuration: sessions, tokens, users, and the store that they stand in.

    Making one costs nothing, opens nothing and never raises; the first request, `async with auth` or the application's
    lifespan opens the store. A wrong configuration is told then.

    Args:
        settings: None: those of the environment.
        directory: where users and passwords are, instead of what `USERS` names.
        store: instead of the one that the settings name.
        issuers: an async function that gets the `iss` of a token that the settings name no issuer for, and gives back
            its `Issuer`, or None: nobody's. It is asked again after a minute; while it fails, such tokens are answered
            503.
        clock: gives the seconds since the epoch, for the times in tokens and the log.
    """

    @staticmethod
    def of(connection: Any) -> Auth:
        """The `Auth` that answers for a request, a WebSocket or an ASGI scope.

        Raises:
            RuntimeError: the middleware never ran for it.
        """
        auth = Context.of(connection).auth
        if not isinstance(auth, Auth):
            raise RuntimeError("this request is answered without an Auth")
        return auth

    async def __aenter__(self) -> Auth:
        await self.opened()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def on(self, event: Literal["login", "session_ended"]) -> Callable[[Hook], Hook]:
        """Have an async function called at an event; a decorator.

        - `login`: with a `Login`, before a session is made, in either mode, pending logins too. It may raise
          `LoginRefused`, or give back the `User` with other scopes or claims (which counts as `update_user`).
          If it fails otherwise nobody is let in.
        - `session_ended`: with a `SessionEnd`, after a login has ended, whatever ended it, expiry included; once, in
          one of the processes that are alive. A process that dies meanwhile may leave one untold, and after
          `revoke_all` each is told when its time would have been over.

        Raises:
            ValueError: there is no such event.
        """
        functions = self.hooks.of(event)

        def add(function: Hook) -> Hook:
            functions.append(function)
            return function

        return add

    # ------------------------------------------------------------------ sessions

    async def login(
        self,
        request: Any,
        user: User,
        *,
        amr: str | Collection[str] = (),
        acr: str = "",
        remember: bool = False,
        lifetime: float | str | timedelta | None = None,
        pending: bool = False,
    ) -> Session:
        """Log somebody in by cookie whom the application has authenticated. Always a new session and a new secret.

        A session that the browser brought ends in the same operation; its data passes on to the same user.

        Args:
            request: anything with `.scope`, or the ASGI scope. Before the answer begins; on a WebSocket before accept.
            user: unlike the stored row, it counts as `update_user`.
            amr: how the user was authenticated (RFC 8176).
            acr: the class that the login reaches (RFC 9470), for `require(acr=)`.
            remember: keep the cookie over a restart of the browser.
            lifetime: of this session, shorter than `SESSION_LIFETIME`; in seconds, or as `8h`.
            pending: the user is known and has yet to prove more: for ten minutes `require(pending=True)` and `/logout`
                are all that it opens, until `elevate` or another `login` completes it. It counts for no limit.

        Raises:
            ValueError: `amr` or `lifetime` is none.
            CookieNotKept: the browser would drop the cookie.
            CredentialError: a function of `on("login")` refused it.
            SessionLimit: the user has too many sessions.
            InvalidCredentials: the user is disabled.
            StoreUnavailable: nothing is known to have changed; repeat.
        """
        context = self._context(request)
        seconds, used = self._lifetime(lifetime), methods(amr)
        if pending and seconds is not None:
            raise ValueError("a pending login has a lifetime of its own: give one where the login is completed")
        with context.answering():
            parts = await self.opened()
            logins = Logins(parts)
            logins.keepable(context)
            row = await parts.users.reconcile(user)
            return await logins.by_cookie(
                context, row, amr=used, acr=acr, remember=remember, lifetime=seconds, pending=pending
            )

    async def elevate(self, request: Any, *, amr: str | Collection[str], acr: str = "") -> Session | TokenPair:
        """The user of this request has proved more (a step-up, RFC 9470): the methods count from now, and the secret
        is a new one. The old one is dead at once; expiries stay.

        A pending login is complete by it: another session takes its place, with its data.

        Args:
            amr: the methods that were used just now (RFC 8176).
            acr: the class that the login has reached; empty: as before.

        Returns:
            The session; in JWT mode a new pair, for the client.

        Raises:
            ValueError: `amr` is none.
            LoginRequired: nobody is logged in here, or no longer.
            InsufficientScope: the access token is good for less than was granted: the client's own must be shown.
            InvalidToken: the access token is not the latest: the client must refresh it.
            StoreUnavailable: nothing is known to have changed; log in again.
        """
        context, used = self._context(request), methods(amr)
        with context.answering():
            parts = await self.opened()
            if context.pending is not None:
                return await Logins(parts).complete(context, amr=used, acr=acr)
            return await Renewals(parts).elevate(context, amr=used, acr=acr)

    async def logout(self, request: Any) -> None:
        """End the session of this request, in either mode, and clear its cookies. For nobody too.

        Raises:
            StoreUnavailable: it may not have ended.
        """
        context = self._context(request)
        with context.answering():
            await Logins(await self.opened()).log_out(context)

    async def rotate(self, request: Any, *, grace: float = 10.0) -> None:
        """Give the session of this request a new secret; its id, data and expiry stay.

        Args:
            grace: seconds for which the old one is good, for requests that are under way already.

        Raises:
            LoginRequired: nobody is logged in by cookie here.
        """
        context = self._context(request)
        with context.answering():
            await Renewals(await self.opened()).rotate(context, grace=grace)

    async def sessions(self, user_id: str) -> list[Session]:
        """A user's living sessions in both modes, the latest first."""
        parts = await self.opened()
        return [loaded.record.public() for loaded in await parts.store.sessions(user_id)]

    async def revoke(self, session_id: str, *, wait: bool = False) -> bool:
        """End one session, its access tokens and its refresh token. Whether it was alive.

        Args:
            wait: return only when every process of this store knows it, or can no longer answer without it: in
                milliseconds, and after `STALENESS` at the latest, whatever has failed.

        Raises:
            StoreUnavailable: the change is not known to stand; repeat.
        """
        parts = await self.opened()
        async with parts.view.settled(wait):
            ended = await parts.store.end(session_id, "revoked")
        await parts.endings.tell([ended])
        return ended is not None

    async def revoke_user(self, user_id: str, *, keep: str | None = None, wait: bool = False) -> int:
        """End all of a user's sessions but `keep`, in both modes. How many ended. `wait`: as in `revoke`."""
        parts = await self.opened()
        async with parts.view.settled(wait):
            ended = await parts.store.end_user(user_id, "revoked", keep=Keep(keep) if keep else None) or ()
        parts.audit.record(audit.ADMIN_ACTION, user_id, "revoke_user")
        await parts.endings.tell(ended)
        return len(ended)

    async def revoke_all(self, *, wait: bool = False) -> None:
        """End every session of everybody, visitors' too. `wait`: as in `revoke`."""
        parts = await self.opened()
        async with parts.view.settled(wait):
            await parts.store.end_all("revoked")
        parts.audit.record(audit.ADMIN_ACTION, None, "revoke_all")

    async def revoke_token(self, token: str, *, wait: bool = False) -> bool:
        """Kill one access token, everywhere, with the connections that it opened; its session, and what is refreshed
        there, lives on. Whether it may have been good until now: False for what is no access token of ours, or over.

        Args:
            token: itself, or its `jti`.
            wait: as in `revoke`.

        Raises:
            ValueError: it is neither.
            StoreUnavailable: the change is not known to stand; repeat.
        """
        return await deny(await self.opened(), token, wait=wait)

    # ------------------------------------------------------------------ tokens

    async def proof(self, request: Any) -> str:
        """Which key this request proves to have (RFC 9449 §5): its thumbprint, for `issue` and `refresh` in an endpoint
        of the application's own. Empty: it came without a proof, or `DPOP=off`. The proof counts with it, once, and is
        kept for some minutes: ask when it is known whose request this is, or anybody can fill the store.

        Raises:
            InvalidProof: the proof will not do, or wants a nonce, or there is none and `DPOP=required`.
            StoreUnavailable: nobody knows whether it has counted before.
        """
        context = self._context(request)
        with context.answering():
            return await (await self.opened()).proofs.spend(await proof_of(context))

    async def issue(
        self,
        user: User,
        *,
        client_id: str = DEFAULT_CLIENT,
        scopes: str | Collection[str] | None = None,
        amr: str | Collection[str] = (),
        acr: str = "",
        lifetime: float | str | timedelta | None = None,
        jkt: str = "",
        request: Any = None,
    ) -> TokenPair:
        """A new session in JWT mode for a user whom the application has authenticated: access and refresh token.

        Args:
            user: unlike the stored row, it counts as `update_user`.
            client_id: who alone may use the refresh token.
            scopes: no more than these, now and later; None: all that the user has at any time.
            amr, acr, lifetime: as in `login`.
            jkt: thumbprint of the key that the tokens are bound to (RFC 9449 §6), with whose proof alone they count.
            request: whose answer brings them to the client, before it begins: with `REFRESH_COOKIE` it carries the
                refresh token as a cookie, and the session is listed with its device.

        Raises:
            CookieNotKept: the browser would drop that cookie.
            ValueError: `client_id` or `jkt` is none, or `DPOP` does not allow it, or does not do without.
            InvalidScope: the user has not all of `scopes`.
            SessionLimit, InvalidCredentials, StoreUnavailable: as `login`.
        """
        seconds, used = self._lifetime(lifetime), methods(amr)
        asked = None if scopes is None else scope_tokens(scopes)
        if not is_client_id(client_id):
            raise ValueError("a client_id is printable ASCII of 1 to 255 characters")
        if jkt and not is_thumbprint(jkt):
            raise ValueError("jkt is the SHA-256 thumbprint of a public key in base64url (RFC 7638)")
        if jkt and self.settings.dpop == "off":
            raise ValueError("ASGI_AUTH_DPOP=off: tokens that are bound to a jkt would be refused")
        if not jkt and self.settings.dpop == "required":
            raise ValueError("ASGI_AUTH_DPOP=required: give the jkt of the key that these tokens are bound to")
        context = None if request is None else self._context(request)
        with nullcontext() if context is None else context.answering():
            parts = await self.opened()
            if context is not None:
                context.must_be_early()
                must_be_kept(context)
            row = await parts.users.reconcile(user)
            return await Logins(parts).by_token(
                row, client_id=client_id, asked=asked, amr=used, acr=acr, lifetime=seconds, jkt=jkt, context=context
            )

    async def refresh(
        self,
        refresh_token: str,
        *,
        client_id: str | None = None,
        scopes: str | Collection[str] | None = None,
        jkt: str | None = None,
    ) -> TokenPair:
        """Exchange a refresh token for a new pair (RFC 6749 §6, rotated as RFC 9700 §4.14.2 asks).

        Until the successor has been seen, and `REFRESH_GRACE` longer, the same successor is returned again.

        Args:
            client_id: must be the one it was made for; None: whichever that is.
            scopes: for this access token, no more than these.
            jkt: of the key whose proof came with it, which must be the one that it is bound to; empty: none came; None:
                whichever it is bound to.

        Raises:
            InvalidGrant: unknown, expired or already used; a late reuse has ended the session.
            InvalidScope: more was asked than granted.
            StoreUnavailable: nothing is known to have changed; repeat.
        """
        asked = None if scopes is None else scope_tokens(scopes)
        return await Logins(await self.opened()).refresh(refresh_token, client_id=client_id, asked=asked, jkt=jkt)

    async def rotate_keys(self, *, at_once: bool = False) -> str:
        """Let the next signing key take the place of the one that signs, in all processes; see docs/keys.md.

        Args:
            at_once: a wholly new key signs now, though verifiers elsewhere may not have it yet.

        Returns:
            Its `kid`. Unless `at_once` it signs only when it has been published for ten minutes.

        Raises:
            ConfigurationError: the keys are the configuration's, or no key signs anything here.
        """
        keys = (await self.opened()).keys
        self._with_tokens()
        return (await keys.rotate(at_once=at_once)).key.kid

    async def revoke_key(self, kid: str, *, wait: bool = False) -> bool:
        """Let nothing count any more that this key signed, and the next one sign. Sessions and refresh tokens live on.
        Whether it was there. `wait`: as in `revoke`.

        Raises:
            ConfigurationError: as `rotate_keys`.
        """
        parts = await self.opened()
        self._with_tokens()
        async with parts.view.settled(wait):
            was_there = await parts.keys.revoke(kid)
        if was_there:
            parts.audit.record(audit.KEY_REVOKED, kid)
        return was_there

    # ------------------------------------------------------------------ inside

    def _lifetime(self, lifetime: float | str | timedelta | None) -> float | None:
        """Seconds.

        Raises:
            ValueError: it is no duration, or longer than any session lives.
        """
        if lifetime is None:
            return None
        seconds, longest = parse_duration(lifetime), self.settings.session_lifetime
        if not 0 < seconds <= longest:
            raise ValueError(f"a session's lifetime is at most SESSION_LIFETIME, which is {format_duration(longest)}")
        return seconds

    def _with_tokens(self) -> None:
        if "jwt" not in self.settings.backends:
            raise ConfigurationError("ASGI_AUTH_BACKENDS has no jwt, so no key signs anything")

    def _context(self, request: Any) -> Context:
        context = Context.of(request)
        if context.auth is not self:
            raise RuntimeError(
                "another Auth answers for this request: give this one to AuthMiddleware, or use Auth.of()"
            )
        return context
