"""AuthMiddleware: the way of one request, from top to bottom.

Pure ASGI; it builds no framework's request and never reads a body that is the application's."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from functools import partial
from typing import Any, Literal

from anyio import get_cancelled_exc_class
from anyio.abc import TaskGroup
from starlette.types import ASGIApp, Receive, Scope, Send

from asgi_auth import audit
from asgi_auth.auth import Auth
from asgi_auth.context import KEY, OVER, Context
from asgi_auth.endpoints import Endpoint, Endpoints
from asgi_auth.endpoints.call import Call
from asgi_auth.entrance import enter, guard, is_secret_old, lost_on_the_way_back
from asgi_auth.errors import ConfigurationError, CredentialError, StoreUnavailable
from asgi_auth.http.credentials import has_preflight
from asgi_auth.http.forwarded import route_path
from asgi_auth.identity import NO_CREDENTIALS
from asgi_auth.lifespan import run_lifespan
from asgi_auth.logins import Logins
from asgi_auth.loops import beside
from asgi_auth.outgoing import Exchange, gone
from asgi_auth.renewals import Renewals
from asgi_auth.runtime import Runtime
from asgi_auth.settings import Settings
from asgi_auth.shortcut import RotatingShortcut, Shortcut
from asgi_auth.sockets import Socket

log = logging.getLogger("asgi_auth")

ROTATION_GRACE = 10.0
"""Seconds for which the secret of before is good, for what the browser has sent already."""

_WELL_KNOWN = "/.well-known/"
_OURS = ("user", "auth")

Refused = (CredentialError, StoreUnavailable, ConfigurationError)


class AuthMiddleware:
    """Authentication around any ASGI application, in any seat: outermost, added, in an inner handler's place, mounted.

    Never raises because of the configuration: what is wrong is logged, stops the lifespan, and every request gets 503.

    Args:
        app: the application.
        auth: None: one of its own, by `settings`.
        settings: None: those of the environment.
        refusals: `ours`: a guard's refusal is answered by us, alike in every framework; `app`: the application's own
            error page is, and gets the headers only.
    """

    def __init__(
        self,
        app: ASGIApp,
        auth: Auth | None = None,
        *,
        settings: Settings | None = None,
        refusals: Literal["ours", "app"] = "ours",
    ) -> None:
        self.app = app
        self.auth = auth if auth is not None else Auth(settings)
        self._refusals: Literal["ours", "app"] = refusals
        self._endpoints = Endpoints(self.auth.settings) if self.auth.problem is None else None
        self._warned: set[str] = set()
        self._shortcut: Shortcut | None = None
        """Once the store has answered, unless every request has to be looked at closely."""
        self._mark = ""
        """In every path of ours that is not well-known."""
        self._is_special = self._notes_losses = False
        if self.auth.problem is None:
            settings = self.auth.settings
            self._mark = f"{settings.prefix}/" if settings.prefix else _WELL_KNOWN
            self._is_special = settings.protect is not None or refusals == "app"
            self._notes_losses = settings.session_samesite == "strict"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Most requests are nobody's or a known somebody's, and what they cost is what an application pays for us: until
        # the application is called each line counts. (What is an attribute is called by a local name, since CPython
        # 3.11 is slow with those.)
        if scope["type"] != "http" or "user" in scope or "auth" in scope or KEY in scope:
            await self._other(scope, receive, send)
            return
        exchange = Exchange(self.auth, scope, send)
        path = scope["path"]
        if (self._mark in path or _WELL_KNOWN in path) and (endpoint := self._endpoint(scope)) is not None:
            await self._answer(endpoint, exchange, receive)
            return
        shortcut = self._shortcut
        cookie = token = None
        for name, value in scope["headers"]:
            if name < b"d":  # which most are not
                if name == b"cookie":
                    if cookie is not None:
                        shortcut = None
                    cookie = value
                elif name == b"authorization":
                    if token is not None:
                        shortcut = None
                    token = value
        try:
            if shortcut is None:
                await self._enter(exchange)
            elif cookie is None and token is None:
                pass
            elif not (shortcut.take(exchange, cookie, token) or await shortcut.ask(exchange)):
                await self._enter(exchange)
            if self._is_special:
                exchange.refusals = self._refusals
                guard(exchange)
        except Refused as error:
            await exchange.turn_away(error)
            return
        identity = exchange.identity
        user = exchange.nobody if identity is None else identity.user
        scope[KEY] = exchange
        scope["user"] = user
        scope["auth"] = NO_CREDENTIALS if identity is None else identity.credentials
        scope.setdefault("session", exchange)
        app = self.app
        try:
            if identity is None:
                await app(scope, receive, exchange.send)
            elif self.auth.followers:
                exchange.from_client = receive
                await app(scope, exchange.receive, exchange.send)
            else:
                exchange.from_client = receive
                await self._hosting(scope, exchange)
        except Exception as error:
            if not await exchange.failed(error):
                raise
        else:
            if not exchange.is_plain:
                await exchange.finished()
        finally:
            if not exchange.is_plain:
                await exchange.close()
                await self.auth.sweep_now_and_then()
            if scope.get("user") is not user or scope.get("session") is not exchange:
                self._look_back(exchange, scope)
            # A ring of objects would stay in memory until somebody looks for it.
            exchange.scope = OVER
            exchange.to_client = exchange.from_client = gone

    async def _hosting(self, scope: Scope, exchange: Exchange) -> None:
        """Without a lifespan nobody else looks after what this request may leave open."""
        async with beside() as group:
            exchange.follow(group)
            await self.app(scope, exchange.receive, exchange.send)
            await self.auth.sweep_now_and_then()

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What is no HTTP request, or has been seen by an outer instance or by somebody else's authentication."""
        outer = scope.get(KEY)
        if isinstance(outer, Context):
            self._compare(outer.auth)
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["type"] == "lifespan":
            await run_lifespan(self.auth, self.app, scope, receive, send)
        elif scope["type"] == "http" and outer is None:
            # What others put there further out is not overwritten for them.
            await self({key: value for key, value in scope.items() if key not in _OURS}, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.auth.followers:
            await self._serve_socket(scope, receive, send, None)
            return
        async with beside() as group:
            await self._serve_socket(scope, receive, send, group)

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send, host: TaskGroup | None) -> None:
        context = Context(self.auth, scope)
        socket = Socket(context, receive, send, host)
        try:
            await self._enter(context)
            guard(context)
        except Refused as error:
            await socket.refuse(error)
            return
        if "user" in scope or "auth" in scope:
            scope = context.scope = dict(scope)
        scope[KEY] = context
        context.fill_scope()
        scope.setdefault("session", context)
        try:
            await self.app(scope, socket.receive, socket.send)
        except get_cancelled_exc_class():
            await socket.cancelled()
            raise
        except Exception as error:
            if not await socket.failed(error):
                raise
        else:
            await socket.finished()
        finally:
            await socket.close()
            self._look_back(context, scope)
            context.scope = OVER

    async def _answer(self, endpoint: Endpoint, exchange: Exchange, receive: Receive) -> None:
        try:
            self._must_work()
            parts = await self.auth.opened()
            answer = await endpoint(Call(exchange, receive, parts, Logins(parts)))
        except Refused as error:
            await exchange.turn_away(error)
        else:
            await exchange.answer(answer)
        finally:
            await exchange.close()
            exchange.scope = OVER
            await self.auth.sweep_now_and_then()

    async def _enter(self, context: Context) -> None:
        """Who is calling, and may they come in. A preflight is nobody's and always reaches the application, which alone
        knows what it allows."""
        self._must_work()
        if self._shortcut is None and self.auth.is_open and not self._notes_losses:
            rotates = self.auth.settings.session_rotate is not None
            self._shortcut = (RotatingShortcut if rotates else Shortcut)(self.auth.parts)
        scope = context.scope
        if scope["type"] == "http" and has_preflight(scope.get("method", ""), scope["headers"]):
            return
        await enter(context, path=route_path(scope))
        if is_secret_old(context):
            context.is_plain = False
            context.renewal = partial(self._rotate, context)
        if lost_on_the_way_back(context):
            self._warn(
                "strict",
                "a callback came without the session's cookie, which ASGI_AUTH_SESSION_SAMESITE=strict "
                "keeps back there: land on a page of your own first, or use lax",
            )
        if self.auth.silent and context.identity is not None:
            self.auth.silent = False
            self.auth.log.record(audit.STORE_RECOVERED)

    async def _rotate(self, context: Context) -> None:
        """A new secret for a session that has had its own for long. Nobody is refused if it comes to nothing."""
        try:
            await Renewals(self.auth.parts).rotate(context, grace=ROTATION_GRACE)
        except (CredentialError, StoreUnavailable) as error:
            log.info("a session keeps its old secret for now: %s", error)

    def _endpoint(self, scope: Scope) -> Endpoint | None:
        return None if self._endpoints is None else self._endpoints.find(scope, route_path(scope))

    def _must_work(self) -> None:
        if self.auth.problem is not None:
            raise self.auth.problem

    def _look_back(self, context: Context, scope: MutableMapping[str, Any]) -> None:
        """Say once if somebody has a user or a session of their own in our place."""
        if scope.get("user") is not context.user:
            self._warn("user", "something inside AuthMiddleware replaced scope['user']: remove its own authentication")
        if scope.get("session") is not context:
            self._warn("session", "another middleware's session is in the scope: ours is at scope['asgi_auth'].data")

    def _compare(self, outer: Runtime) -> None:
        if outer is self.auth or outer.problem is not None or self.auth.problem is not None:
            return
        if outer.settings != self.auth.settings:
            self._warn("inner", "AuthMiddleware is installed twice with differing settings: the outer one counts")

    def _warn(self, what: str, text: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            log.warning("%s", text)
