"""What leaves on a request: the application's answer with our headers, or an answer of ours in its place."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Any, Literal

from anyio.abc import TaskGroup
from starlette.types import Message, Receive, Scope, Send

from asgi_auth import audit
from asgi_auth.context import Context
from asgi_auth.ending import Ending, SessionEnded, is_session_ended
from asgi_auth.errors import (
    ContentTooLarge,
    CredentialError,
    CrossOrigin,
    InsufficientScope,
    InsufficientUserAuthentication,
    InvalidClient,
    InvalidProof,
    InvalidRequest,
    NonceWanted,
    StoreUnavailable,
    TooManyRequests,
    Unavailable,
)
from asgi_auth.http import values
from asgi_auth.http.answers import Answer, HeaderList, challenges_for, cors_headers, make_private, refusal
from asgi_auth.live import Live
from asgi_auth.runtime import Runtime

log = logging.getLogger("asgi_auth")

RETRY_AFTER = 1
"""Seconds; what a 503 tells the client to wait."""


def as_refusal(error: Exception, context: Context) -> CredentialError:
    """What the client is told of an error of ours, after the log has been told more."""
    if isinstance(error, StoreUnavailable):
        log.error("the store gives no answer: %s", error)
        context.auth.silent = True
        if context.auth.audit is not None:
            context.auth.audit.record(audit.STORE_UNAVAILABLE, request=context.facts)
        return Unavailable(retry_after=RETRY_AFTER)
    if not isinstance(error, CredentialError):
        log.error("%s", error)
        return Unavailable(retry_after=RETRY_AFTER)
    if context.auth.audit is not None:
        record = context.auth.audit.record
        identity = context.identity
        user = None if identity is None else identity.user.id
        if isinstance(error, (InsufficientScope, InsufficientUserAuthentication)):
            sid, backend = (None, None) if identity is None else (identity.session_id or None, identity.backend)
            record(audit.ACCESS_REFUSED, user, context.scope["path"], request=context.facts, sid=sid, backend=backend)
        elif isinstance(error, CrossOrigin):
            record(audit.CROSS_ORIGIN, user or context.kept_address, request=context.facts)
        elif isinstance(error, TooManyRequests):
            record(audit.RATE_LIMIT_EXCEEDED, user or context.kept_address, error.limit, request=context.facts)
        elif isinstance(error, NonceWanted):
            pass  # as each client begins
        elif isinstance(error, (InvalidRequest, InvalidClient, InvalidProof, ContentTooLarge)):
            who, why = user or context.kept_address, error.description
            record(audit.INVALID_INPUT, "request", who, request=context.facts, reason=why)
    return error


async def gone(*message: Message) -> Any:
    """What is sent or asked for when the request is over reaches nobody."""
    return {"type": "http.disconnect"}


class Exchange(Context):
    """One HTTP request and its answer: the application's `send`. It looks at the start of the answer and lets all else
    pass.

    Session data is saved before a start below 500 goes out; a 5xx, or an exception of the application, drops what is
    not saved yet.
    """

    refusals: Literal["ours", "app"] = "ours"
    """Whether a guard's refusal is answered by us or by the application's own error page."""
    _replaced = False
    _dropped = False

    _live: Live | None = None
    _joined = False
    _host: TaskGroup | None = None
    _has_read_all = False
    _head: Message
    from_client: Receive
    to_client: Send
    """The server's."""

    def __init__(self, auth: Runtime, scope: Scope, send: Send) -> None:
        self.auth = auth
        self.scope = scope
        self.identity = None
        self.is_plain = True
        self.to_client = send

    def send(self, message: Message) -> Awaitable[None]:
        """For the application. What is not ours to change costs no frame: it is the server's own coroutine."""
        if self.is_plain:
            to_client = self.to_client  # called by a name of its own: CPython 3.11 is slower with an attribute
            if message["type"] != "http.response.start":
                if self.identity is not None and message.get("more_body"):
                    return self._stream(message)
                return to_client(message)
            if message["status"] < 500:
                self.started = True
                self._head = message
                return to_client(message)
        return self._look_at(message)

    async def receive(self) -> Message:
        """For the application. Waiting for the client to go ends with the session."""
        if self._has_read_all:
            try:
                return await self._connection().run(self.from_client)
            except SessionEnded:
                await self._connection().over()
                return {"type": "http.disconnect"}
        message = await self.from_client()
        self._has_read_all = not message.get("more_body")
        return message

    def follow(self, host: TaskGroup) -> None:
        """Where what looks after open connections may run, if nothing does so in this event loop yet."""
        self._host = host

    async def _look_at(self, message: Message) -> None:
        if self._replaced:
            return
        if message["type"] == "http.response.start":
            await self._start(message)
        elif self._joined or (message.get("more_body") and self.identity is not None):
            await self._stream(message)
        else:
            await self.to_client(message)

    def _connection(self) -> Live:
        if self._live is None:
            assert self.identity is not None
            self._live = Live(self.auth.lives, self.identity, self._say_goodbye, lambda: self.needs)
        return self._live

    async def _stream(self, message: Message) -> None:
        """A part of a response that goes on for somebody: it ends with the session."""
        live = self._connection()
        if not self._joined:
            self._joined, self.is_plain = True, False
            await self._join(live)
        await live.allow()
        await live.run(lambda: self.to_client(message))

    async def _join(self, live: Live) -> None:
        if self._host is not None:
            self._host.start_soon(self.auth.host)
        try:
            ending = await self.auth.lives.join(live)
        except StoreUnavailable:
            ending = Ending("unavailable")
            live.end(ending)
        if ending is not None:
            await self._say_goodbye(ending)

    async def _say_goodbye(self, ending: Ending) -> None:
        """An event stream ends as it should. Anything else is left unfinished, so that half of it never looks whole;
        but some servers then leave the client waiting, unless it knows how much to expect."""
        headers = {bytes(name).lower(): bytes(value) for name, value in self._head.get("headers") or ()}
        events = headers.get(b"content-type", b"").lower().startswith(b"text/event-stream")
        waits = "spec_version" not in (self.scope.get("asgi") or {}) and b"content-length" not in headers
        if events or waits:
            await self.to_client({"type": "http.response.body", "body": b"", "more_body": False})

    async def turn_away(self, error: Exception) -> None:
        """Answer with an error of ours."""
        await self.answer(refusal(as_refusal(error, self), schemes=self.schemes))

    async def answer(self, answer: Answer) -> None:
        """Send a whole answer of ours, with the cookies that it carries; trusted origins may read it, unless it says
        itself who may."""
        headers = list(answer.headers)
        # A preflight of an origin that is not trusted says so by `Vary` alone.
        says = any(name == b"access-control-allow-origin" or (name, of) == (b"vary", b"Origin") for name, of in headers)
        if not says and self.auth.problem is None:
            origins = values(self.scope["headers"], b"origin")
            trusted = self.auth.settings.trusted_origins
            headers += cors_headers(origins[0] if len(origins) == 1 else None, trusted)
        await self._add_ours(headers)
        self._begin()
        await self.to_client({"type": "http.response.start", "status": answer.status, "headers": headers})
        await self.to_client({"type": "http.response.body", "body": answer.body, "more_body": False})

    async def finished(self) -> None:
        """The application has returned: what it changed after the answer began is saved now. Without an answer there is
        nothing to save, since the server makes a 500 of it."""
        if self._dropped or not self.started:
            return
        try:
            await self.save()
        except (CredentialError, StoreUnavailable, TypeError, ValueError) as error:
            log.error("session data that was changed after the response began is lost: %s", error)

    async def failed(self, error: Exception) -> bool:
        """The application has raised. Whether the error was ours and is answered; else it goes on its way untouched."""
        self._dropped = True
        if self._live is not None and self._live.ending is not None and is_session_ended(error):
            return True
        refusal = self.refusal
        ours = isinstance(error, (CredentialError, StoreUnavailable)) or (
            refusal is not None and error.__cause__ is refusal
        )
        if self._replaced and ours:
            return True
        if not ours or self.started:
            return False
        await self.turn_away(refusal or error)
        return True

    async def _start(self, message: Message) -> None:
        verdict = self.verdict(message["status"])
        if verdict is not None and (self.refusals == "ours" or verdict is not self.refusal):
            self._replaced = self._dropped = True
            self.is_plain = False  # nor does the rest of the application's answer go out
            await self.turn_away(verdict)
            return
        if verdict is not None:
            message = self._challenged(message, verdict)
        if message["status"] >= 500:
            self._dropped = True
        elif not await self._saved():
            return
        headers: HeaderList = [*(message.get("headers") or ())]
        await self._add_ours(headers)
        self._begin()
        self._head = message
        await self.to_client({**message, "headers": headers})

    async def _saved(self) -> bool:
        """Save the session's data; if that cannot be, answer so in the application's place."""
        try:
            await self.save()
        except (CredentialError, StoreUnavailable) as error:
            self._replaced = self._dropped = True
            await self.turn_away(error)
            return False
        return True

    def _challenged(self, message: Message, refusal: CredentialError) -> Message:
        """The application's own error page, with our challenge."""
        challenges = challenges_for(as_refusal(refusal, self), self.schemes)
        headers = [entry for entry in message.get("headers") or () if bytes(entry[0]).lower() != b"www-authenticate"]
        return {**message, "headers": [*headers, *((b"www-authenticate", one) for one in challenges)]}

    async def _add_ours(self, headers: HeaderList) -> None:
        cookies = await self.cookies()
        guarded = self.guarded and (self.identity is not None or self.pending is not None)
        if self.nonce is not None:
            guarded = True  # it is this client's
            headers.append((b"dpop-nonce", self.nonce.encode("ascii")))
        if cookies or guarded or self.accessed:
            make_private(headers, sets_cookie=bool(cookies), vary=self.accessed, guarded=guarded)
            headers += [(b"set-cookie", cookie) for cookie in cookies]

    async def close(self) -> None:
        if self._live is not None:
            self.auth.lives.leave(self._live)
            await self._live.over()
        await super().close()

    def _begin(self) -> None:
        self.started = True
        self.orphan = None
