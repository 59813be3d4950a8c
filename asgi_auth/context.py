"""What is known of one request, and what its answer must carry: `scope["asgi_auth"]`.

The middleware fills it, guards and the verbs of `Auth` read and change it, the middleware's `send` writes it out. It
also keeps the request's session data: it knows to which session the changes go.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from anyio import CancelScope

from asgi_auth.audit import RequestFacts
from asgi_auth.errors import AuthError, ContentTooLarge, CredentialError, StoreUnavailable, Unavailable
from asgi_auth.http.cookies import keep_problem
from asgi_auth.http.forwarded import Peer, address_prefix, loopback_request, peer
from asgi_auth.model import ANONYMOUS, AuthCredentials, Identity
from asgi_auth.runtime import Runtime
from asgi_auth.secret import digest, new_secret
from asgi_auth.sessions.data import SessionData
from asgi_auth.stores import Loaded, NewSession, Presented, new_sid

if TYPE_CHECKING:
    from asgi_auth.sessions.cookies import Pair

KEY = "asgi_auth"

log = logging.getLogger("asgi_auth")


class Context:
    """One request. Attributes that others may read:

    Attributes:
        auth: the `Auth` that answers for it.
        identity: who it is, or None.
        reason: `expired` or `ended`, if it came with a dead cookie of ours.
        data: the session's data; also where another middleware has put its own into `scope["session"]`.
        presented: the session secret that it came with, verified as issued by us, dead or alive.
        visitor: the same of a visitor's data.
        refusal: what a guard inside the application decided.
        guarded: whether a guard has looked at it.
        started: whether the answer has begun.
    """

    def __init__(self, auth: Runtime, scope: MutableMapping[str, Any]) -> None:
        self.auth = auth
        self.scope = scope
        self._copy: MutableMapping[str, Any] | None = None
        """What the application asked with last: the scope, or a copy that something inside has made of it."""
        self.identity: Identity | None = None
        self.reason = ""
        self.presented: Presented | None = None
        self.visitor: Presented | None = None
        self.visiting: Loaded | None = None
        """The visitor's session, as it was when the request came."""
        self.refusal: CredentialError | None = None
        self.failure: CredentialError | None = None
        """What one of our verbs raised into the application."""
        self.guarded = False
        self.started = False
        self.over = False
        self.entered_at = auth.clock()
        self.touched_at = 0.0
        """When activity on this connection was last written (store's clock)."""
        self.failures = 0
        """How many logins of this name failed here before this one."""
        self.forbidden: str | None = None
        """Why this request may not write data, if it came in a way that rules it out."""
        self.forged = False
        """Whether it came with a session cookie that nobody issued."""
        self.outlived: str | None = None
        """The dead session whose cookie goes, unless another one has taken its place by then."""
        self.orphan: str | None = None
        """The session of a login whose cookie has not gone out yet."""
        self.data = SessionData(self)
        self._session_cookie: bytes | None = None
        self._visitor_cookie: bytes | None = None

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

    @cached_property
    def peer(self) -> Peer:
        """Where the request came from and to, by what proxies may be believed."""
        return peer(
            self.scope.get("client"),
            self.scope.get("scheme"),
            self.scope["headers"],
            self.auth.settings.trusted_proxies,
        )

    @cached_property
    def loopback(self) -> bool:
        """Whether the browser speaks to its own machine."""
        return loopback_request(self.peer.host, self.scope["headers"])

    @cached_property
    def scheme(self) -> str:
        """`http` or `https`, as the browser sees it; `URL` decides alone."""
        url = self.auth.settings.url
        return self.peer.scheme if url is None else url.partition(":")[0]

    @cached_property
    def pair(self) -> Pair:
        """The cookies that are ours on this request."""
        settings, cookies = self.auth.settings, self.auth.parts.cookies
        plain = self.scheme == "http" and (settings.url is not None or settings.insecure_http or self.loopback)
        return cookies.plain if plain else cookies.secure

    @cached_property
    def facts(self) -> RequestFacts:
        """What the log says of this request."""
        return RequestFacts.of(self.scope, address=self.address)

    def cookie_problem(self) -> str | None:
        """Why the browser would drop the session's cookie, and the cure; None: it keeps it."""
        settings = self.auth.settings
        host = settings.host or self.peer.host
        return keep_problem(self.pair.session.spec, scheme=self.scheme, host=host, loopback=self.loopback)

    @cached_property
    def address(self) -> str:
        """The client's address, cut to what counts as one client."""
        return address_prefix(self.peer.address)

    def fill_scope(self) -> None:
        """Put the answer where applications look for it, once they have got this scope."""
        if KEY not in self.scope:
            return
        identity = self.identity
        for scope in (self.scope, self._copy or self.scope):
            scope["user"] = ANONYMOUS if identity is None else identity.user
            scope["auth"] = AuthCredentials(identity)

    def refuse(self, refusal: CredentialError) -> None:
        """Record what the answer is going to be, if the application ends this request with an error of that status."""
        self.refusal = refusal

    @contextmanager
    def answering(self) -> Iterator[None]:
        """What one of our verbs raises is answered by us if the application does not handle it, wherever its framework
        makes a 500 of it."""
        try:
            yield
        except CredentialError as error:
            self.failure = error
            raise
        except StoreUnavailable:
            self.failure = Unavailable(retry_after=1)
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
        if self.failure is None and self.data.failure is not None and self.data.accessed:
            return Unavailable(retry_after=1)
        return self.failure

    # ------------------------------------------------------------------ identity

    def become(self, identity: Identity) -> None:
        """Somebody has been recognised."""
        self.identity = identity
        if identity.record is not None:
            self.data.rebase(identity.record.data, keep=True)

    def log_in(self, identity: Identity, cookie: bytes, presented: Presented, *, keep_data: bool) -> None:
        """Somebody has just logged in by cookie: the answer carries it, the request goes on as theirs."""
        self.identity = identity
        self.reason = ""
        self.outlived = None
        self.forbidden = None  # whatever it came as, there is a session by cookie now
        self.presented = presented
        self.orphan = presented.sid
        self._session_cookie = cookie
        if self.visitor is not None or self._visitor_cookie is not None:
            self._visitor_cookie = self.pair.visitor.clear()
            self.visitor = None
        if identity.record is not None:
            self.data.rebase(identity.record.data, keep=keep_data)
        self.fill_scope()

    def renew(self, cookie: bytes, presented: Presented) -> None:
        """The same session under another secret."""
        self.presented = presented
        self._session_cookie = cookie

    def log_out(self, *, clear: bool) -> None:
        """Nobody from now on."""
        self.identity = None
        self.orphan = None
        self.outlived = None
        self.presented = None
        self.data.rebase({}, keep=False)
        if clear:
            self._session_cookie = self.pair.session.clear()
        self.fill_scope()

    def drop_cookie(self) -> None:
        """The session cookie that came opens nothing and never will."""
        self._session_cookie = self.pair.session.clear()

    def forget_visitor(self) -> None:
        """The visitor's data is gone."""
        self.visitor = None
        self._visitor_cookie = self.pair.visitor.clear()
        self.data.rebase({}, keep=False)

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
        return [cookie for cookie in (self._visitor_cookie, self._session_cookie) if cookie is not None]

    async def close(self) -> None:
        """The request is over. A login stands once its cookie went out; one whose cookie never did is ended."""
        self.over = True
        if self.orphan is None:
            return
        with CancelScope(shield=True):
            try:
                await self.auth.parts.store.end(self.orphan, "revoked")
            except StoreUnavailable:
                log.error("session %s was made by a login that failed, and could not be ended", self.orphan)

    # ------------------------------------------------------------------ data

    def objection(self) -> str | None:
        """Why session data cannot be written at this moment (`Keeper`)."""
        if self.over:
            return "the request is over: what is written now reaches nobody"
        if self.forbidden is not None:
            return self.forbidden
        if self.identity is not None or self.visitor is not None:
            return None
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
        changes = self.data.changes()
        if not changes:
            return
        owner = self.presented if self.identity is not None else self.visitor
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
            if outcome == "gone":
                log.warning("session %s ended while a request wrote its data, which is lost", owner.sid)
        self.data.saved(changes)

    async def _welcome(self, put: Mapping[str, str]) -> None:
        """A visitor's first data: a session of nobody's, under a cookie of its own."""
        if sum(len((key + text).encode()) for key, text in put.items()) > self.auth.settings.session_max_size:
            raise ContentTooLarge("The session's data would be too large")
        parts = await self.auth.opened()
        await parts.throttle.anonymous_creation(self.address)
        sid, secret = new_sid(), new_secret()
        new = NewSession(
            sid=sid,
            user_id=None,
            backend="session",
            idle=self.auth.settings.anonymous_idle,
            lifetime=self.auth.settings.session_lifetime,
            digest=digest(secret),
            data=put,
        )
        created = await parts.store.create(new)
        if isinstance(created, str):
            raise StoreUnavailable(f"the store refused a visitor's session: {created}")
        self.visitor = Presented(sid, digest(secret))
        self._visitor_cookie = self.pair.visitor.set(
            parts.visitor_codec.encode(sid, secret), None, now=self.auth.clock()
        )

    def greet_again(self, visitor: Presented, loaded: Loaded) -> None:
        """A visitor who has data came back."""
        self.visitor = visitor
        self.visiting = loaded
        self.data.rebase(loaded.record.data, keep=True)
