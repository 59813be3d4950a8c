"""How a session gets another secret while it lives: by rotation, by proving more, by another password."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from asgi_auth import audit, refresh_cookie
from asgi_auth.audit import NO_REQUEST, RequestFacts
from asgi_auth.backends.session import session_identity
from asgi_auth.context import Context
from asgi_auth.directory import StoreDirectory
from asgi_auth.errors import (
    CredentialError,
    InsufficientScope,
    InvalidCredentials,
    InvalidToken,
    LoginRequired,
    NoSession,
    NotFound,
    StoreUnavailable,
    UnknownUser,
    WeakPassword,
)
from asgi_auth.guards import Requirement, decide
from asgi_auth.identity import Identity
from asgi_auth.logins import PASSWORD, Logins, session_cookie
from asgi_auth.model import Record, Session, scope_text
from asgi_auth.parts import Parts
from asgi_auth.secret import digest, new_secret
from asgi_auth.stores import Ended, Keep, Loaded, Presented
from asgi_auth.tokens.claims import generation_of
from asgi_auth.tokens.grants import TokenPair, allowed

log = logging.getLogger("asgi_auth")


class Renewals:
    """The verbs that renew sessions, over the parts."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def rotate(self, context: Context, *, grace: float) -> None:
        """Give the session of this request another secret; the old one is good for `grace` seconds more.

        Raises:
            LoginRequired: nobody is logged in by cookie here, or no longer.
        """
        identity, presented = context.identity, context.presented
        if identity is None or identity.record is None or presented is None:
            raise LoginRequired("Only a session that came by cookie can be rotated")
        Logins(self._parts).keepable(context)
        secret = new_secret()
        if not await self._parts.store.rotate(presented, digest(secret), grace=grace):
            raise LoginRequired("The session ended, or was rotated, while this request was under way")
        self._renewed(context, identity, identity.record, secret)

    async def elevate(self, context: Context, *, amr: tuple[str, ...], acr: str) -> Session | TokenPair:
        """Note that the user of this request has proved more, under a new secret: the cookie's, or a new pair.

        Raises:
            LoginRequired: nobody is logged in here, or no longer.
            InsufficientScope: the access token is good for less than was granted, and the new pair would not be.
            InvalidToken: it was refreshed, or elevated, meanwhile.
        """
        identity = context.identity
        if identity is None:
            raise LoginRequired(reason=context.reason or None)
        if not identity.session_id:
            raise NoSession
        options: Mapping[str, Any] = {"amr": amr, "acr": acr, "token_lifetime": self._parts.grants.token_lifetime}
        if identity.record is None:
            return await self._elevate_tokens(context, identity, options)
        Logins(self._parts).keepable(context)
        secret = new_secret()
        assert context.presented is not None
        loaded = await self._parts.store.elevate(context.presented, digest(secret), **options)
        if loaded is None or loaded.user is None:
            raise LoginRequired("The session ended, or got a new secret, while this request was under way")
        now_worth = session_identity(loaded, loaded.user, at=self._parts.view.clock())
        self._renewed(context, now_worth, loaded.record, secret)
        return loaded.record.public()

    async def _elevate_tokens(self, context: Context, identity: Identity, options: Mapping[str, Any]) -> TokenPair:
        signing = await self._parts.grants.signing()
        found = await self._parts.store.load(identity.session_id)
        grant = found.record.grant if isinstance(found, Loaded) else None
        if not isinstance(found, Loaded) or found.user is None or grant is None:
            raise LoginRequired(reason="ended")
        granted = allowed(grant, found.user)
        if not granted <= identity.scopes:
            raise InsufficientScope(scope=scope_text(granted))
        # Of two elevations at once, or one beside a refresh, the second has an old token: its client would be left with
        # a refresh token that another one has taken the place of, which looks like theft.
        if generation_of(identity.user.claims["jti"]) != grant.generation:
            raise InvalidToken(InvalidToken.OUT_OF_DATE)
        text, new_digest = self._parts.grants.next_token(identity.session_id, grant)
        current = Presented(identity.session_id, grant.digest)
        loaded = await self._parts.store.elevate(current, new_digest, **options)
        if loaded is None or loaded.user is None:
            raise InvalidToken(InvalidToken.OUT_OF_DATE)
        scopes = granted & loaded.user.scopes
        pair = self._parts.grants.pair(loaded, text, signing, generation=grant.generation + 1, scopes=scopes)
        kept = refresh_cookie.shown(context)
        if kept is not None and self._parts.grants.session_of(kept) == identity.session_id:
            refresh_cookie.hand_out(context, pair)
        self._log(context, loaded.record)
        return pair

    async def change_password(self, context: Context, current: str, new: str) -> None:
        """A new password for the user of this request. Ends the user's other sessions, and gives this one a new secret.

        Raises:
            NotFound: the user's password is kept elsewhere.
            InsufficientUserAuthentication: the login had another factor too, which was used too long ago.
            InvalidCredentials: `current` is wrong.
            WeakPassword: with the reason.
            TooManyRequests: as a login.
            LoginRequired: nobody is calling, or no longer.
        """
        identity, directory = context.identity, self._parts.directory
        if identity is None:
            raise LoginRequired(reason=context.reason or None)
        row = await self._parts.store.user(identity.user.id)
        if not isinstance(directory, StoreDirectory) or row is None or row.name is None:
            raise NotFound("Passwords are kept elsewhere")
        self._need_all_factors(context, identity)
        secret = new_secret() if identity.record is not None else ""
        keep = Keep(identity.session_id, digest(secret) if secret else "")
        ticket = await self._parts.throttle.enter(row.name, context.address)
        try:
            ending = await self.ending(row.id, kept=identity.session_id)
            changed = await directory.change_password(row.id, current, new, keep=keep)
        except (CredentialError, StoreUnavailable, WeakPassword):
            await self._parts.throttle.withdraw(ticket)
            raise
        except UnknownUser:  # deleted meanwhile, and the session with the user
            raise LoginRequired(reason="ended") from None
        if not changed:
            self._parts.audit.record(
                audit.PASSWORD_CHANGE_REFUSED, row.id, request=context.facts, sid=identity.session_id
            )
            raise InvalidCredentials("The current password is wrong")
        await self._parts.throttle.succeeded(ticket)
        self._parts.audit.record(audit.PASSWORD_CHANGED, row.id, request=context.facts, sid=identity.session_id)
        await self.tell(ending, context.facts)
        if secret:
            loaded = await self._parts.store.load(identity.session_id)
            # A login of the same browser may have taken the session's place while passwords were hashed.
            if isinstance(loaded, Loaded) and loaded.record.digest == keep.digest:
                self._renewed(context, identity, loaded.record, secret)

    def _need_all_factors(self, context: Context, identity: Identity) -> None:
        """The password comes along; whatever else the login was made with must have been used lately (ASVS 7.5.1)."""
        others = tuple(method for method in identity.amr if method not in PASSWORD)
        if others:
            refusal = decide(context, Requirement(amr=others, fresh=self._parts.settings.fresh))
            if refusal is not None:
                raise refusal

    async def tell(self, ending: Sequence[Ended], request: RequestFacts = NO_REQUEST) -> None:
        """Of these sessions, tell whose end the new password was: another end that came first is told already."""
        try:
            found = await self._parts.store.load_all([one.sid for one in ending])
        except StoreUnavailable as error:  # the password is changed all the same
            log.warning("whose sessions a new password ended is not known and not told: %s", error)
            return
        await self._parts.endings.tell([one for one in ending if found[one.sid] == one], request)

    async def ending(self, user_id: str, *, kept: str | None = None) -> list[Ended]:
        """The sessions that a new password is about to end, for `tell`. One that begins meanwhile ends untold."""
        found = await self._parts.store.sessions(user_id)
        return [Ended(one.record.sid, user_id, "password") for one in found if one.record.sid != kept]

    def _renewed(self, context: Context, identity: Identity, record: Record, secret: str) -> None:
        """Let the answer carry the session's new secret, for as long as the old cookie would have lasted."""
        cookie = session_cookie(self._parts, context, record, secret, now=identity.now)
        context.renew(cookie, Presented(record.sid, digest(secret)), identity)
        self._log(context, record)

    def _log(self, context: Context, record: Record) -> None:
        self._parts.audit.record(
            audit.SESSION_RENEWED,
            record.user_id,
            request=context.facts,
            sid=record.sid,
            backend=record.backend,
            amr=tuple(record.amr),
        )
