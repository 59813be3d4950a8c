"""What goes over a WebSocket: refusals before the accept, our cookies on it, data saved while it is open."""

from __future__ import annotations

import logging

from anyio import CancelScope, move_on_after, sleep_forever
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint
from starlette.types import Message, Receive, Send

from asgi_auth.context import Context
from asgi_auth.ending import Ending, SessionEnded, is_session_ended
from asgi_auth.entrance import is_passive, touch
from asgi_auth.errors import CredentialError, LoginRequired, StoreUnavailable
from asgi_auth.http.answers import Answer, refusal
from asgi_auth.http.forwarded import route_path
from asgi_auth.live import Live
from asgi_auth.outgoing import as_refusal

log = logging.getLogger("asgi_auth")

SAVE_INTERVAL = 5.0
"""Seconds after which data that changed on an open socket is saved."""

POLICY_VIOLATION = 1008
TRY_AGAIN_LATER = 1013

_TURNS = 8

_LAST_WORDS = {
    "ended": (POLICY_VIOLATION, "session ended"),
    "expired": (POLICY_VIOLATION, "session expired"),
    "unavailable": (TRY_AGAIN_LATER, "unavailable"),
}
_FALLBACKS = {POLICY_VIOLATION: 3000, TRY_AGAIN_LATER: 4013}
"""For servers that refuse the code: 3000 is registered for this (IANA: unauthorized)."""


class Socket:
    """The `receive` and `send` of one WebSocket."""

    def __init__(self, context: Context, receive: Receive, send: Send, host: TaskGroup | None) -> None:
        self._host = host
        self._live: Live | None = None
        self._told = False
        self._context = context
        self._receive = receive
        self._send = send
        self._answered = False
        self._accepted = False
        self._replaced = False
        self._left = False
        self._passive = True
        self._saved_at = self._entered_at = context.auth.clock()

    async def receive(self) -> Message:
        """For the application. A message that comes in is activity."""
        if self._live is not None:
            try:
                message = await self._live.run(self._next)
                await self._live.allow()
            except SessionEnded:
                return await self._disconnect()
        else:
            message = await self._next()
        if message["type"] == "websocket.receive":
            await self._keep()
            await self._touch()
        self._left = message["type"] == "websocket.disconnect"
        return message

    async def _next(self) -> Message:
        """The next message. While none comes, what changed is saved now and then."""
        while self._accepted and self._context.accessed:
            with move_on_after(SAVE_INTERVAL):
                return await self._receive()
            await self._save()
        return await self._receive()

    async def send(self, message: Message) -> None:
        """For the application."""
        kind = message["type"]
        if self._replaced:
            return
        if not self._answered and self._context.refusal is not None and kind != "websocket.accept":
            self._replaced = True
            await self.refuse(self._context.refusal)
            return
        if kind == "websocket.accept":
            await self._accept(message)
            return
        self._answered = True
        await self._keep()
        if self._live is None:
            await self._send(message)
        elif self._live.ending is None or kind != "websocket.close":  # it is closed, as the application wants it
            await self._live.allow()
            await self._live.run(lambda: self._send(message))

    async def _disconnect(self) -> Message:
        """What the application hears of the end. Once: a loop that does not listen would spin."""
        if self._told:
            await sleep_forever()
        self._told = self._left = True
        assert self._live is not None
        assert self._live.ending is not None
        await self._live.over()
        code, reason = _LAST_WORDS[self._live.ending.why]
        return {"type": "websocket.disconnect", "code": code, "reason": reason}

    async def _say_goodbye(self, ending: Ending) -> None:
        code, reason = _LAST_WORDS[ending.why]
        try:
            await self._send({"type": "websocket.close", "code": code, "reason": reason})
        except Exception:  # not every server takes every code (RFC 6455 §7.4.2 leaves 3000 and up to registration)
            await self._send({"type": "websocket.close", "code": _FALLBACKS[code], "reason": reason})

    async def refuse(self, error: Exception) -> None:
        """Refuse the handshake: with a status where the server can send one, else by a close, which makes it a 403."""
        told = as_refusal(error, self._context)
        self._answered = True
        if "websocket.http.response" in (self._context.scope.get("extensions") or {}):
            await self._deny(refusal(told, schemes=self._context.schemes))
        else:
            code = TRY_AGAIN_LATER if told.status == 503 else POLICY_VIOLATION
            await self._send({"type": "websocket.close", "code": code, "reason": told.code})

    async def close(self) -> None:
        """The application is over."""
        if self._live is not None:
            self._context.auth.lives.leave(self._live)
            await self._live.over()
        await self._context.close()

    async def finished(self) -> None:
        """The application has returned."""
        if not self._answered and self._context.refusal is not None:
            await self.refuse(self._context.refusal)
        await self._save()

    async def cancelled(self) -> None:
        """The server ends the application."""
        if self._accepted:
            with CancelScope(shield=True):
                await self._save()

    async def failed(self, error: Exception) -> bool:
        """The application has raised. Whether the error was ours and is answered; else it goes on its way untouched."""
        if self._live is not None and self._live.ending is not None and self._is_of_the_end(error):
            await self._save()
            return True
        refusal = self._context.refusal
        ours = isinstance(error, (CredentialError, StoreUnavailable)) or (
            refusal is not None and error.__cause__ is refusal
        )
        if ours and self._replaced:
            return True
        if not ours or self._answered:
            if self._left:  # that is what it raised for, as Starlette's WebSocket does
                await self._save()
            return False
        await self.refuse(refusal or error)
        return True

    def _is_of_the_end(self, error: Exception) -> bool:
        """Whether the application raised because its socket ended: by our error, or by what its framework makes of a
        disconnect, which carries the code."""
        assert self._live is not None
        assert self._live.ending is not None
        return is_session_ended(error, code=_LAST_WORDS[self._live.ending.why][0] if self._told else None)

    async def _accept(self, message: Message) -> None:
        try:
            await self._context.save()
        except (CredentialError, StoreUnavailable) as error:
            self._replaced = True
            await self.refuse(error)
            raise
        ours = [(b"set-cookie", cookie) for cookie in await self._context.cookies()]
        if self._context.nonce is not None:
            ours.append((b"dpop-nonce", self._context.nonce.encode("ascii")))
        if ours:
            message = {**message, "headers": [*(message.get("headers") or ()), *ours]}
        await self._join()
        self._answered = self._accepted = self._context.started = True
        self._passive = is_passive(self._context, route_path(self._context.scope))
        self._context.orphan = None
        await self._send(message)

    async def _join(self) -> None:
        """From now on the socket ends with its session.

        Raises:
            SessionEnded: that was so between handshake and accept; the handshake is refused.
            StoreUnavailable: likewise; nobody can say.
        """
        identity, auth = self._context.identity, self._context.auth
        if identity is None:
            return
        self._live = Live(auth.lives, identity, self._say_goodbye, lambda: self._context.needs)
        if self._host is not None:
            self._host.start_soon(auth.host)
        try:
            ending = await auth.lives.join(self._live)
        except StoreUnavailable as error:
            self._replaced, self._live = True, None
            await self.refuse(error)
            raise
        if ending is not None:
            self._replaced = True
            await self.refuse(LoginRequired(reason="expired" if ending.why == "expired" else "ended"))
            raise SessionEnded("the session ended before its socket was accepted")

    async def _deny(self, answer: Answer) -> None:
        await self._send({"type": "websocket.http.response.start", "status": answer.status, "headers": answer.headers})
        await self._send({"type": "websocket.http.response.body", "body": answer.body, "more_body": False})
        # uvicorn logs an ERROR for an application that is over before the connection is closed (its #3138), which takes
        # it a turn of the event loop, and with uvloop some.
        for _ in range(_TURNS):
            await checkpoint()

    async def _keep(self) -> None:
        """Now and then, save what changed on an open socket."""
        now = self._context.auth.clock()
        if self._accepted and now - self._saved_at >= SAVE_INTERVAL:
            self._saved_at = now
            await self._save()

    async def _touch(self) -> None:
        if not self._passive:
            await touch(self._context, since_entry=self._context.auth.clock() - self._entered_at)

    async def _save(self) -> None:
        try:
            await self._context.save()
        except (CredentialError, StoreUnavailable, TypeError, ValueError) as error:
            log.error("session data of a WebSocket could not be saved: %s", error)
