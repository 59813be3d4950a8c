"""What leaves on a request: the application's answer with our headers, or an answer of ours in its place."""

from __future__ import annotations

import logging
from typing import Literal

from starlette.types import Message, Send

from asgi_auth import audit
from asgi_auth.context import Context
from asgi_auth.errors import (
    ContentTooLarge,
    CredentialError,
    CrossOrigin,
    InsufficientScope,
    InsufficientUserAuthentication,
    InvalidClient,
    InvalidRequest,
    StoreUnavailable,
    TooManyRequests,
    Unavailable,
)
from asgi_auth.http import values
from asgi_auth.http.answers import Answer, HeaderList, challenge_for, cors_headers, make_private, refusal

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
            sid, backend = (None, None) if identity is None else (identity.session_id, identity.backend)
            record(audit.ACCESS_REFUSED, user, context.scope["path"], request=context.facts, sid=sid, backend=backend)
        elif isinstance(error, CrossOrigin):
            record(audit.CROSS_ORIGIN, user or context.address, request=context.facts)
        elif isinstance(error, TooManyRequests):
            record(audit.RATE_LIMIT_EXCEEDED, user or context.address, error.limit, request=context.facts)
        elif isinstance(error, (InvalidRequest, InvalidClient, ContentTooLarge)):
            who, why = user or context.address, error.description
            record(audit.INVALID_INPUT, "request", who, request=context.facts, reason=why)
    return error


class Outgoing:
    """The `send` of one HTTP request. It looks at the start of the answer and lets everything else pass.

    Session data is saved before a start below 500 goes out; a 5xx, or an exception of the application, drops what is
    not saved yet.
    """

    def __init__(self, context: Context, send: Send, *, refusals: Literal["ours", "app"]) -> None:
        self._context = context
        self._send = send
        self._refusals = refusals
        self._replaced = False
        self._dropped = False

    async def send(self, message: Message) -> None:
        """For the application."""
        if self._replaced:
            return
        if message["type"] == "http.response.start":
            await self._start(message)
        else:
            await self._send(message)

    async def refuse(self, error: Exception) -> None:
        """Answer with an error of ours."""
        settings = self._context.auth.settings if self._context.auth.problem is None else None
        realm = "asgi-auth" if settings is None else settings.realm
        await self.answer(refusal(as_refusal(error, self._context), realm=realm))

    async def answer(self, answer: Answer) -> None:
        """Send a whole answer of ours, with the cookies that it carries; trusted origins may read it, unless it says
        itself who may."""
        headers = list(answer.headers)
        # A preflight of an origin that is not trusted says so by `Vary` alone.
        says = any(name == b"access-control-allow-origin" or (name, of) == (b"vary", b"Origin") for name, of in headers)
        if not says and self._context.auth.problem is None:
            origins = values(self._context.scope["headers"], b"origin")
            trusted = self._context.auth.settings.trusted_origins
            headers += cors_headers(origins[0] if len(origins) == 1 else None, trusted)
        await self._add_cookies(headers)
        self._begin()
        await self._send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": answer.body, "more_body": False})

    async def finished(self) -> None:
        """The application has returned: what it changed after the answer began is saved now. Without an answer there is
        nothing to save, since the server makes a 500 of it."""
        if self._dropped or not self._context.started:
            return
        try:
            await self._context.save()
        except (CredentialError, StoreUnavailable, TypeError, ValueError) as error:
            log.error("session data that was changed after the response began is lost: %s", error)

    async def failed(self, error: Exception) -> bool:
        """The application has raised. Whether the error was ours and is answered; else it goes on its way untouched."""
        self._dropped = True
        refusal = self._context.refusal
        ours = isinstance(error, (CredentialError, StoreUnavailable)) or (
            refusal is not None and error.__cause__ is refusal
        )
        if self._replaced and ours:
            return True
        if not ours or self._context.started:
            return False
        await self.refuse(refusal or error)
        return True

    async def _start(self, message: Message) -> None:
        context = self._context
        verdict = context.verdict(message["status"])
        if verdict is not None and (self._refusals == "ours" or verdict is not context.refusal):
            self._replaced = self._dropped = True
            await self.refuse(verdict)
            return
        if verdict is not None:
            message = self._challenged(message, verdict)
        if message["status"] >= 500:
            self._dropped = True
        elif not await self._saved():
            return
        headers: HeaderList = [*(message.get("headers") or ())]
        await self._add_cookies(headers)
        self._begin()
        await self._send({**message, "headers": headers})

    async def _saved(self) -> bool:
        """Save the session's data; if that cannot be, answer so in the application's place."""
        try:
            await self._context.save()
        except (CredentialError, StoreUnavailable) as error:
            self._replaced = self._dropped = True
            await self.refuse(error)
            return False
        return True

    def _challenged(self, message: Message, refusal: CredentialError) -> Message:
        """The application's own error page, with our challenge."""
        challenge = challenge_for(as_refusal(refusal, self._context), realm=self._context.auth.settings.realm)
        headers = [entry for entry in message.get("headers") or () if bytes(entry[0]).lower() != b"www-authenticate"]
        return {**message, "headers": [*headers, (b"www-authenticate", challenge)]}

    async def _add_cookies(self, headers: HeaderList) -> None:
        context = self._context
        cookies = await context.cookies()
        guarded = context.guarded and context.identity is not None
        if cookies or guarded or context.data.accessed:
            make_private(headers, sets_cookie=bool(cookies), vary=context.data.accessed, guarded=guarded)
            headers += [(b"set-cookie", cookie) for cookie in cookies]

    def _begin(self) -> None:
        self._context.started = True
        self._context.orphan = None
