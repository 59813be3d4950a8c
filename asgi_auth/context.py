"""What is known of one request, and what its answer must carry: `scope["asgi_auth"]`.

The middleware fills it, guards and the verbs of `Auth` read and change it, the middleware's `send` writes it out. It
also keeps the request's session data: it knows to which session the changes go.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from anyio import CancelScope, move_on_after

from asgi_auth.errors import AuthError, ContentTooLarge, CredentialError, StoreUnavailable, Unavailable
from asgi_auth.identity import NO_CREDENTIALS, Identity
from asgi_auth.incoming import Incoming
from asgi_auth.model import ANONYMOUS, AnonymousUser, PendingUser, User
from asgi_auth.runtime import Runtime
from asgi_auth.secret import digest, new_secret
from asgi_auth.sessions.data import SessionData
from asgi_auth.sessions.seen import LIFETIME as SEEN_LIFETIME
from asgi_auth.sessions.seen import seen_text
from asgi_auth.sessions.visitors import is_too_large, visitors_session
from asgi_auth.stores import Loaded, Presented, new_sid

if TYPE_CHECKING:
    from asgi_auth.backends.session import Recognised

KEY = "asgi_auth"

log = logging.getLogger("asgi_auth")


_HURRY = 5.0
"""Seconds in which an end is told for a request that is over."""

OVER: MutableMapping[str, Any] = {"type": "http", "path": "", "headers": ()}
"""The scope of a request that is over."""


class Context(Incoming, SessionData):
    """One request, and the mapping of its session's data, in the one object that every request has. Others may read:

    Attributes:
        auth: the `Auth` that answers for it.
        identity: who it is, or None.
        pending: whose login it is that is not complete, or None.
        needs: the scopes that guards have asked for.
        reason: `expired` or `ended`, if it came with a dead cookie of ours.
        presented: the session secret that it came with, verified as issued by us, dead or alive.
        visitor: the same of a visitor's data.
        refusal: what a guard inside the application decided.
        guarded: whether a guard has looked at it.
        started: whether the answer has begun.
    """

    # Every request has one of these, and most change next to nothing of it. What is looked at in each of them is set in
    # each of them, where Python finds it faster.
    identity: Identity | None
    nobody: AnonymousUser | PendingUser = ANONYMOUS
    """Who it is while there is no identity."""
    is_plain: bool
    """Whether the application's answer needs nothing of us, as far as the data has nothing to say."""
    reason = ""
    presented: Presented | None = None
    unproved: tuple[Recognised, bytes] | None = None
    """What was found out of its cookie before but may be so no more, and the text of `<cookie>-seen`."""
    credential: bytes | None = None
    """The text of the session's cookie, if it was recognised."""
    visitor: Presented | None = None
    visiting: Loaded | None = None
    """The visitor's session, as it was when the request came."""
    refusal: CredentialError | None = None
    raised: CredentialError | None = None
    """What one of our verbs raised into the application."""
    guarded = False
    started = False
    touched_at = 0.0
    """When activity on this connection was last written (store's clock)."""
    failures = 0
    """How many logins of this name failed here before this one."""
    forbidden: str | None = None
    """Why this request may not write data, if it came in a way that rules it out."""
    pending: Identity | None = None
    needs: frozenset[str] = frozenset()
    forged = False
    """Whether it came with a session cookie that nobody issued."""
    outlived: str | None = None
    """The dead session whose cookie goes, unless another one has taken its place by then."""
    orphan: str | None = None
    """The session of a login whose cookie or tokens have not gone out yet."""
    unsettled: str | None = None
    """The session whose new cookie goes out only if it lives when the answer starts: the browser may have left it."""
    nonce: str | None = None
    """That the answer carries for the client's next proof of possession."""
    renewal: Callable[[], Awaitable[None]] | None = None
    """Gives the session another secret, if the answer gets as far as that: who never gets an answer would lose the
    session with the old one."""
    _copy: MutableMapping[str, Any] | None = None
    """What the application asked with last: the scope, or a copy that something inside has made of it."""
    _session_cookie: bytes | None = None
    _visitor_cookie: bytes | None = None
    _seen_cookie: bytes | None = None
    _carried: Mapping[bytes, bytes] = MappingProxyType({})

    def __init__(self, auth: Runtime, scope: MutableMapping[str, Any]) -> None:
        self.auth = auth
        self.scope = scope
        self.identity = None
        self.is_plain = True

    def mark_accessed(self) -> None:
        self.accessed = True
        self.is_plain = False

    @property
    def data(self) -> SessionData:
        """The session's data; also where another middleware has put its own into `scope["session"]`."""
        return self

    @property
    def _keeper(self) -> Context:  # type: ignore[override]
        return self

    @staticmethod
    def of(connection: Any) -> Context:
        """The context of a request, a WebSocket or an ASGI scope.

        Raises:
            RuntimeError: the middleware never ran for it.
        """
        if isinstance(connection, Context):
            return connection
        scope = getattr(connection, "scope", connection)
        context = scope.get(KEY) if isinstance(scope, Mapping) else None
        if not isinstance(context, Context):
            raise RuntimeError("AuthMiddleware has not seen this request: is it installed, and is this an ASGI server?")
        if isinstance(scope, MutableMapping):
            context._copy = scope
        return context

    @property
    def user(self) -> User | AnonymousUser:
        """Who it is, for `scope["user"]`."""
        return self.nobody if self.identity is None else self.identity.user

    def now(self) -> float:
        """The time by the clock that the identity's times are of: the store's for a session, ours for a token."""
        identity = self.identity
        if identity is None or identity.backend == "jwt":
            return self.auth.clock()
        return identity.now + self.auth.parts.view.clock() - identity.at

    def fill_scope(self) -> None:
        """Put the answer where applications look for it, once they have got this scope."""
        if KEY not in self.scope:
            return
        for scope in (self.scope, self._copy or self.scope):
            scope["user"] = self.user
            scope["auth"] = NO_CREDENTIALS if self.identity is None else self.identity.credentials

    def refuse(self, refusal: CredentialError) -> None:
        """Record what the answer is going to be, if the application ends this request with an error of that status."""
        self.refusal = refusal
        self.is_plain = False

    def introduce(self) -> None:
        """Tell who is about to log in: a guard has let somebody in to complete that."""
        if self.pending is not None:
            self.nobody = PendingUser.of(self.pending.user)
            self.fill_scope()

    def guard(self) -> None:
        """A guard looks at this request."""
        self.guarded = True
        self.is_plain = False

    @contextmanager
    def answering(self) -> Iterator[None]:
        """What one of our verbs raises is answered by us if the application does not handle it, wherever its framework
        makes a 500 of it."""
        try:
            yield
        except CredentialError as error:
            self.raised, self.is_plain = error, False
            raise
        except StoreUnavailable:
            self.raised, self.is_plain = Unavailable(retry_after=1), False
            raise

    def verdict(self, status: int) -> CredentialError | None:
        """Our answer in place of the application's with this status, if there is one.

        That is a guard's refusal in place of the framework's error of that status or of a 500, and in place of a 500
        alone what one of our verbs raised, or 503 for data that could not be loaded: what the application handles by
        itself is its own.
        """
        if self.refusal is not None and status in (self.refusal.status, 500):
            return self.refusal
        if status != 500:
            return None
        if self.raised is None and self.failure is not None and self.accessed:
            return Unavailable(retry_after=1)
        return self.raised

    # ------------------------------------------------------------------ identity

    def become(self, identity: Identity, presented: Presented | None) -> None:
        """Somebody has been recognised, by this secret or by none."""
        self._recognise(identity)
        self.presented = presented
        if identity.record is not None:
            self.stored = identity.record.data

    def _recognise(self, identity: Identity) -> None:
        """It is somebody, or somebody whose login is not complete, who is nobody to guards and to the application: one
        that compares ids, and never asks whether they are proved, compares with none."""
        is_pending = identity.record is not None and identity.record.pending
        self.identity, self.pending = (None, identity) if is_pending else (identity, None)
        self.nobody = ANONYMOUS
        self.reason = "pending" if is_pending else ""

    def began(self, sid: str) -> None:
        """A session was made for this request: it ends with it, unless the answer starts that hands it out."""
        self.orphan = sid
        self.is_plain = False

    def log_in(self, identity: Identity, cookie: bytes, presented: Presented, *, keep_data: bool) -> None:
        """Somebody has just logged in by cookie: the answer carries it, the request goes on as theirs."""
        self._recognise(identity)
        self.outlived = None
        self.forbidden = None  # whatever it came as, there is a session by cookie now
        self.presented = presented
        self._session_cookie = cookie
        self.is_plain = False
        if self.visitor is not None or self._visitor_cookie is not None:
            self._visitor_cookie = self.pair.visitor.clear()
            self.visitor = None
        if identity.record is not None:
            self.rebase(identity.record.data, keep=keep_data)
        self.fill_scope()

    def renew(self, cookie: bytes, presented: Presented, identity: Identity | None = None) -> None:
        """The same session under another secret, and perhaps worth more."""
        if identity is not None:
            self.identity = identity
            self.fill_scope()
        self.presented = presented
        self.unsettled = presented.sid
        self._session_cookie = cookie
        self.is_plain = False

    def log_out(self, *, clear: bool) -> None:
        """Nobody from now on."""
        self.identity = self.pending = None
        self.nobody = ANONYMOUS
        self.orphan = None
        self.outlived = None
        self.presented = None
        self.rebase({}, keep=False)
        if clear:
            self.drop_cookie()
        self.fill_scope()

    def drop_cookie(self) -> None:
        """The session cookie that came opens nothing and never will."""
        self._session_cookie = self.pair.session.clear()
        self.is_plain = False

    def carry(self, cookie: bytes) -> None:
        """The answer carries a cookie that no session is in, too; of each name the last one."""
        self._carried = {**self._carried, cookie.partition(b"=")[0]: cookie}
        self.is_plain = False

    def clear_unless_replaced(self, sid: str) -> None:
        """The cookie of this dead session goes, unless another one has taken its place when the answer starts."""
        self.outlived = sid
        self.is_plain = False

    def offer_nonce(self, nonce: str | None) -> None:
        """The client gets a nonce for its next proof of possession, unless there is no need."""
        if nonce is not None:
            self.nonce = nonce
            self.is_plain = False

    def forget_visitor(self) -> None:
        """The visitor's data is gone."""
        self.visitor = None
        self._visitor_cookie = self.pair.visitor.clear()
        self.is_plain = False
        self.rebase({}, keep=False)

    def must_be_early(self) -> None:
        """Raises:
        AuthError: the answer has begun, so no cookie can reach the client any more.
        """
        if self.started:
            raise AuthError("the response has begun: a login, logout or rotation must come before its first byte")

    async def cookies(self) -> list[bytes]:
        """The Set-Cookie values that the answer carries; the session's last, since some clients keep only that one."""
        if self.outlived is not None and self._session_cookie is None:
            try:
                if await self.auth.parts.session_backend.outlived(self.outlived):
                    self._session_cookie = self.pair.session.clear()
            except StoreUnavailable:
                pass
        goes_on = self.presented is not None and self.presented.sid == self.unsettled
        if self.unsettled is not None and goes_on and not await self._lives(self.unsettled):
            self._session_cookie = None
        if self.renewal is not None and self._session_cookie is None and self.identity is not None:
            await self.renewal()
        ours = (*self._carried.values(), self._seen_cookie, self._visitor_cookie, self._session_cookie)
        return [cookie for cookie in ours if cookie is not None]

    async def _lives(self, sid: str) -> bool:
        """Whether a session lives, as far as anybody can say."""
        try:
            return isinstance(await self.auth.parts.store.load(sid), Loaded)
        except StoreUnavailable:
            return True

    async def close(self) -> None:
        """A login stands once its cookie or tokens went out; one of which they never did is ended."""
        if self.orphan is None:
            return
        parts, ended = self.auth.parts, None
        with CancelScope(shield=True):
            try:
                ended = await parts.store.end(self.orphan, "revoked")
            except StoreUnavailable:
                log.error("session %s was made by a login that failed, and could not be ended", self.orphan)
                return
        with move_on_after(_HURRY, shield=True):
            await parts.endings.tell([ended], self.facts)

    # ------------------------------------------------------------------ data

    def objection(self) -> str | None:
        """Why session data cannot be written at this moment (`Keeper`)."""
        if self.scope is OVER:
            return "the request is over: what is written now reaches nobody"
        if self.forbidden is not None:
            return self.forbidden
        if self.identity is not None or self.pending is not None or self.visitor is not None:
            return None
        if not self.origin.allowed:
            return f"a page of another origin writes no visitor's data. {self.origin.error().description}"
        if self.started:
            return "the response has begun: the first write of a visitor must come before its first byte"
        if "session" not in self.auth.settings.backends:
            return "the backend `session` is off (ASGI_AUTH_BACKENDS), so there is nowhere to keep session data"
        return self.cookie_problem() if self.auth.is_open else None

    async def save(self) -> None:
        """Bring the changes of the data to the store (`Keeper`).

        Raises:
            ContentTooLarge: with them the data would exceed the limit.
            TooManyRequests: too many new visitors from this address.
            StoreUnavailable: it is not known whether they were kept.
        """
        changes = self.changes()
        if not changes:
            return
        owner = self.visitor if self.identity is None and self.pending is None else self.presented
        if owner is None:
            if changes.put and not self.started:
                await self._welcome(changes.put)
            elif changes.put:
                log.error("session data of a visitor was changed after the response began, and is lost")
        else:
            parts = await self.auth.opened()
            outcome = await parts.store.write_data(
                owner.sid, changes.put, changes.delete, max_size=self.auth.settings.session_max_size
            )
            if outcome == "too_large":
                raise ContentTooLarge("The session's data would be too large")
            if isinstance(outcome, int):
                seen = seen_text(owner.sid, outcome)
                self._seen_cookie = self.pair.seen.set(seen, SEEN_LIFETIME, now=self.auth.clock())
            if outcome == "gone":
                log.warning("session %s ended while a request wrote its data, which is lost", owner.sid)
        self.saved(changes)

    async def _welcome(self, put: Mapping[str, str]) -> None:
        """A visitor's first data: a session of nobody's, under a cookie of its own."""
        if is_too_large(self.auth.settings, put):
            raise ContentTooLarge("The session's data would be too large")
        parts = await self.auth.opened()
        await parts.throttle.anonymous_creation(self.address)
        sid, secret = new_sid(parts.store.partition(None)), new_secret()
        created = await parts.store.create(visitors_session(self.auth.settings, sid, secret, put))
        if isinstance(created, str):
            raise StoreUnavailable(f"the store refused a visitor's session: {created}")
        self.visitor = Presented(sid, digest(secret))
        self.is_plain = False
        self._visitor_cookie = self.pair.visitor.set(
            parts.visitor_codec.encode(sid, secret), None, now=self.auth.clock()
        )

    def greet_again(self, visitor: Presented, loaded: Loaded, cookie: bytes | None = None) -> None:
        """A visitor who has data came back. `cookie`: that the answer must carry for it."""
        self.visitor = visitor
        if cookie is not None:
            self._visitor_cookie = cookie
            self.is_plain = False
        self.visiting = loaded
        self.rebase(loaded.record.data, keep=True)
