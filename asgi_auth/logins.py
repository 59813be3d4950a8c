"""How sessions begin, in either mode: passwords checked and counted, sessions made and old ones ended in one operation,
the cookie or the tokens handed out."""

from __future__ import annotations

import logging
from dataclasses import replace

from asgi_auth import audit, refresh_cookie
from asgi_auth.backends.session import session_identity
from asgi_auth.context import Context
from asgi_auth.directory import StoreDirectory
from asgi_auth.errors import (
    CookieNotKept,
    CredentialError,
    InvalidCredentials,
    InvalidGrant,
    InvalidScope,
    LoginRequired,
    NoSession,
    SessionLimit,
    StoreUnavailable,
)
from asgi_auth.hooks import Login
from asgi_auth.leaving import leave_behind
from asgi_auth.model import Client, Record, Session, UserRow
from asgi_auth.parts import Parts
from asgi_auth.secret import digest, new_secret
from asgi_auth.settings import Settings
from asgi_auth.stores import Created, Ended, Loaded, NewSession, Presented, new_sid
from asgi_auth.tokens.grants import Reuse, TokenPair

PASSWORD = ("pwd",)
"""`amr` of a password (RFC 8176)."""

PENDING_LIFETIME = 600.0
"""Seconds after which a login that was not completed ends."""

_ATTEMPTS = 5

log = logging.getLogger("asgi_auth")


class Logins:
    """The verbs that begin sessions and the one that leaves, over the parts."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def check_password(self, context: Context, username: str, password: str) -> UserRow:
        """Who has this name and password, counted as one attempt from this address.

        Raises:
            InvalidCredentials: nobody, and nobody learns why.
            TooManyRequests: too many failures, or too many passwords being hashed.
        """
        record, facts = self._parts.audit.record, context.facts
        ticket = await self._parts.throttle.enter(username, context.address)
        try:
            row = await self._parts.users.authenticate(username, password)
        except (CredentialError, StoreUnavailable):
            await self._parts.throttle.withdraw(ticket)
            raise
        if row is None:
            name = await self._name(username)
            record(audit.LOGIN_FAILED, name, request=facts)
            if ticket.last:
                record(audit.LOGIN_LIMIT_REACHED, name, ticket.failures + 1, request=facts)
            raise InvalidCredentials
        await self._parts.throttle.succeeded(ticket)
        context.failures = ticket.failures
        return row

    def keepable(self, context: Context) -> None:
        """Raises:
        CookieNotKept: the browser would drop the cookie of a login.
        AuthError: the answer has begun.
        """
        context.must_be_early()
        problem = context.cookie_problem()
        if problem is not None:
            raise CookieNotKept(problem)

    async def by_cookie(
        self,
        context: Context,
        row: UserRow,
        *,
        amr: tuple[str, ...],
        acr: str = "",
        remember: bool = False,
        lifetime: float | None = None,
        pending: bool = False,
        completes: bool = False,
    ) -> Session:
        """A new session whose cookie the answer carries. It takes the place of the one that the browser brought.

        Args:
            lifetime: seconds, instead of the setting.
            pending: the user has yet to prove more: it opens nothing, and soon ends.
            completes: it is what the pending login that the browser brought becomes, if that has not ended.
        """
        self.keepable(context)
        await leave_behind(context)
        settings = self._parts.settings
        sid, secret = new_sid(self._parts.store.partition(row.id)), new_secret()
        presented = Presented(sid, digest(secret))
        new = NewSession(
            sid=sid,
            user_id=row.id,
            backend="session",
            idle=settings.session_idle,
            lifetime=PENDING_LIFETIME if pending else lifetime or settings.session_lifetime,
            digest=presented.digest,
            amr=amr,
            acr=acr,
            client=context.client,
            remember=remember,
            pending=pending,
            completes=completes,
        )
        before, shown = context.identity or context.pending, context.presented
        row, created = await self.start(context, row, new, replaces=shown, data_from=context.visitor)
        if shown is not None and all(one.sid != shown.sid for one in created.ended):
            # It may live under another secret, which a late answer is about to bring.
            over = await self._parts.store.end(shown.sid, "replaced")
            await self._parts.endings.tell([over], context.facts)
        loaded = created.loaded
        cookie = session_cookie(self._parts, context, loaded.record, secret, now=loaded.now)
        context.log_in(
            session_identity(loaded, row, at=self._parts.view.clock()),
            cookie,
            presented,
            keep_data=before is None or before.user.id == row.id,
        )
        return loaded.record.public()

    async def complete(self, context: Context, *, amr: tuple[str, ...], acr: str) -> Session:
        """The login that was pending on this request is complete, and another session takes its place.

        Raises:
            LoginRequired: nothing is pending here, or no longer.
        """
        pending = context.pending
        if pending is None or pending.record is None:
            raise LoginRequired(reason=context.reason or None)
        row = await self._parts.store.user(pending.user.id)
        if row is None:
            raise LoginRequired(reason="ended")
        used = tuple(dict.fromkeys((*pending.amr, *amr)))
        acr, remember = acr or pending.acr, pending.record.remember
        return await self.by_cookie(context, row, amr=used, acr=acr, remember=remember, completes=True)

    async def by_token(
        self,
        row: UserRow,
        *,
        client_id: str,
        asked: frozenset[str] | None,
        amr: tuple[str, ...],
        acr: str = "",
        lifetime: float | None = None,
        jkt: str = "",
        context: Context | None = None,
    ) -> TokenPair:
        """A new session in JWT mode and its first pair.

        Args:
            jkt: as in `Grants.prepare`.
            context: of the request whose answer brings it to the client, in a cookie if that is set so.

        Raises:
            InvalidScope: the user has not all that was asked, or has too much for a token.
            ConfigurationError: there are public keys alone.
        """
        await self._parts.grants.signing()  # before there is a session that nobody could use
        before = None if context is None else refresh_cookie.shown(context)
        client = Client() if context is None else context.client
        new, text = self._parts.grants.prepare(row, client_id=client_id, asked=asked, client=client, amr=amr, jkt=jkt)
        new = replace(new, acr=acr, lifetime=lifetime or new.lifetime)
        row, created = await self.start(context, row, new)
        scopes = row.scopes if asked is None else asked & row.scopes
        try:
            signing = await self._parts.grants.signing()
            pair = self._parts.grants.pair(created.loaded, text, signing, generation=1, scopes=scopes)
        except InvalidScope:
            ended = await self._parts.store.end(new.sid, "revoked")
            await self._parts.endings.tell([ended], facts(context))
            raise
        self._parts.audit.record(
            audit.TOKEN_CREATED, row.id, pair.scope, request=facts(context), sid=new.sid, backend="jwt"
        )
        if context is not None:
            await refresh_cookie.hand_over(context, self._parts, pair, before)
        return pair

    async def refresh(
        self,
        refresh_token: str,
        *,
        client_id: str | None,
        asked: frozenset[str] | None,
        jkt: str | None = None,
        context: Context | None = None,
    ) -> TokenPair:
        """Exchange a refresh token. `client_id` None: whoever it was made for; `jkt` None: whichever key.

        Raises:
            InvalidGrant, InvalidScope: see `Grants.refresh`.
        """
        record = self._parts.audit.record
        try:
            pair = await self._parts.grants.refresh(
                refresh_token, client_id=client_id, asked=asked, jkt=jkt, current=self._parts.users.always_refreshed
            )
        except Reuse as reuse:
            owner = reuse.loaded.record.user_id
            record(audit.TOKEN_REUSED, owner, reuse.loaded.record.sid, request=facts(context), backend="jwt")
            await self._parts.endings.tell([Ended(reuse.loaded.record.sid, owner, "reuse")], facts(context))
            raise InvalidGrant from None
        except InvalidGrant:
            await self._refused(refresh_token, context)
            raise
        record(
            audit.TOKEN_CREATED,
            pair.session.user_id,
            pair.scope,
            request=facts(context),
            sid=pair.session.id,
            backend="jwt",
        )
        return pair

    async def _refused(self, refresh_token: str, context: Context | None) -> None:
        """Log a refresh token that opens nothing."""
        record, address = self._parts.audit.record, None if context is None else context.kept_address
        sid = self._parts.grants.session_of(refresh_token)
        found = None if sid is None else await self._parts.store.load(sid)
        if sid is None:
            record(audit.INVALID_INPUT, "refresh_token", address, request=facts(context), reason="forged or malformed")
        elif isinstance(found, Loaded):
            record(audit.INVALID_INPUT, "client_id", address, request=facts(context), sid=sid)
        else:
            owner = None if found is None else found.user_id
            record(audit.USED_AFTER_END, owner, request=facts(context), sid=sid, backend="jwt")

    async def log_out(self, context: Context) -> None:
        """End the session of this request, in either mode, and clear the cookies that came, unless others have taken
        their place. For nobody too."""
        context.must_be_early()
        if context.identity is not None and not context.identity.session_id:
            raise NoSession
        kept = refresh_cookie.shown(context)
        await leave_behind(context)
        store, presented = self._parts.store, context.presented
        identity = context.identity or context.pending
        clear, ended = context.forged, None
        if identity is not None:
            ended = await store.end(identity.session_id, "logout")
            await self._parts.endings.tell([ended], context.facts)
            clear = clear or (identity.record is not None and await self.is_over(ended, identity.session_id))
        elif presented is not None:
            clear = await self._parts.session_backend.outlived(presented.sid)
            # The session may live under another secret, which an answer is about to bring: it ends all the same.
            over = await store.end(presented.sid, "logout") or await store.supersede(presented.sid)
            await self._parts.endings.tell([over], context.facts)
        if context.visitor is not None:
            await store.end(context.visitor.sid, "logout")
            context.forget_visitor()
        await refresh_cookie.leave(context, self._parts, kept, ended)
        context.log_out(clear=clear)

    async def is_over(self, ended: Ended | None, sid: str) -> bool:
        """Whether a cookie of this session may be cleared: ended just now, or nothing took its place meanwhile."""
        return ended is not None or await self._parts.session_backend.outlived(sid)

    async def start(
        self,
        context: Context | None,
        row: UserRow,
        new: NewSession,
        *,
        replaces: Presented | None = None,
        data_from: Presented | None = None,
        moved: bool = False,
    ) -> tuple[UserRow, Created]:
        """Make the session for the user as `row` is, or as the row has become, if that still lets the user in.

        Args:
            moved: whether it goes on with one that began elsewhere, and so with a client that is not new, and before
                all sessions of the user that have ended here.

        Raises:
            InvalidCredentials: the password changed meanwhile, the user is disabled or gone, or, where it moves, the
                user's sessions were ended.
            LoginRequired: the pending login that this was to complete has ended.
            SessionLimit: there are too many already.
        """
        settings, proved_by = self._parts.settings, row.password_hash
        if row.disabled or row.deleted:
            raise InvalidCredentials
        row = await self._welcomed(context, row, new)
        for _ in range(_ATTEMPTS):
            if row.disabled or row.deleted or row.password_hash != proved_by or (moved and row.ended_below):
                raise InvalidCredentials
            created = await self._parts.store.create(
                new,
                revision=row.revision,
                replaces=replaces,
                data_from=data_from,
                limit=_limit(settings, row),
                evict=settings.session_limit_policy == "evict",
            )
            if isinstance(created, Created):
                if context is not None and not moved:  # whoever never gets the cookie brings an old one again
                    context.began(new.sid)
                await self._parts.endings.tell(created.ended, facts(context))
                await self._began(context, row, new, created, moved)
                return row, created
            if created == "limit":
                self._exceeded(context, row)
                raise SessionLimit
            if created == "over":
                raise LoginRequired(reason="ended")
            fresh = await self._parts.store.user(row.id)
            if fresh is None or (moved and fresh.revision == row.revision):  # it was left behind before it began
                raise InvalidCredentials
            row = fresh
        raise StoreUnavailable("the user kept changing while a session was made")

    async def _welcomed(self, context: Context | None, row: UserRow, new: NewSession) -> UserRow:
        """The user as the application's own functions want the user to be.

        Raises:
            CredentialError: one of them does not let the user in.
        """
        if not self._parts.hooks.ask_about_logins:
            return row
        scope = None if context is None else context.scope
        user = row.user()
        login = Login(user, new.backend, new.amr, new.acr, new.client, new.pending, scope)
        try:
            wanted = await self._parts.hooks.login(login)
        except CredentialError:
            self._parts.audit.record(audit.LOGIN_FAILED, row.id, request=facts(context), reason="refused")
            raise
        return row if wanted == user else await self._parts.users.reconcile(wanted)

    async def _began(
        self, context: Context | None, row: UserRow, new: NewSession, created: Created, moved: bool
    ) -> None:
        if any(one.reason == "evicted" for one in created.ended):
            self._exceeded(context, row)
        if new.pending:
            pass  # nobody has logged in yet
        elif context is not None and context.failures:
            self._parts.audit.record(audit.LOGIN_AFTER_FAILURES, row.id, context.failures, request=context.facts)
        else:
            self._parts.audit.record(audit.LOGIN, row.id, request=facts(context))
        self._parts.audit.record(
            audit.SESSION_CREATED, row.id, request=facts(context), sid=new.sid, backend=new.backend, amr=new.amr
        )
        if context is not None and not new.pending and await self._is_new(row.id, new.client) and not moved:
            self._parts.audit.record(audit.LOGIN_NEW_DEVICE, row.id, request=facts(context), sid=new.sid)

    async def _is_new(self, user_id: str, client: Client) -> bool:
        """Whether the user comes from a new client. The login stands, whether that can be said or not."""
        try:
            return await self._parts.clients.is_new(user_id, client)
        except StoreUnavailable as error:
            log.warning("it is not known whether user %s logged in from a new client: %s", user_id, error)
            return False

    def _exceeded(self, context: Context | None, row: UserRow) -> None:
        limit = _limit(self._parts.settings, row)
        self._parts.audit.record(audit.SESSIONS_EXCEEDED, row.id, limit, request=facts(context))

    async def _name(self, username: str) -> str | None:
        """A user's id for the log; None for a name that is nobody's, since people type passwords there."""
        directory = self._parts.directory
        return await directory.known(username) if isinstance(directory, StoreDirectory) else None


def session_cookie(parts: Parts, context: Context, record: Record, secret: str, *, now: float) -> bytes:
    """The Set-Cookie of a session's secret. It lasts as long as the session where that was asked for, else, as while a
    login is pending, as long as the browser is open. `now`: by the store's clock."""
    max_age = int(record.expires_at - now) if record.remember and not record.pending else None
    return context.pair.session.set(parts.codec.encode(record.sid, secret), max_age, now=parts.clock())


def facts(context: Context | None) -> audit.RequestFacts:
    """What the log says of the request, if there is one."""
    return audit.NO_REQUEST if context is None else context.facts


def _limit(settings: Settings, row: UserRow) -> int:
    return settings.session_limit if row.session_limit is None else row.session_limit
