"""AuthMiddleware: the way of one request, from top to bottom.

Pure ASGI; it builds no framework's request and never reads a body that is the application's."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any, Literal

from anyio import get_cancelled_exc_class
from starlette.types import ASGIApp, Receive, Scope, Send

from asgi_auth import audit
from asgi_auth.auth import Auth
from asgi_auth.context import KEY, Context
from asgi_auth.endpoints import Endpoint, Endpoints
from asgi_auth.endpoints.call import Call
from asgi_auth.entrance import enter, guard, lost_on_the_way_back
from asgi_auth.errors import ConfigurationError, CredentialError, StoreUnavailable
from asgi_auth.http.credentials import has_preflight
from asgi_auth.http.forwarded import route_path
from asgi_auth.lifespan import run_lifespan
from asgi_auth.logins import Logins
from asgi_auth.model import ANONYMOUS
from asgi_auth.outgoing import Outgoing
from asgi_auth.runtime import Runtime
from asgi_auth.settings import Settings
from asgi_auth.sockets import Socket

log = logging.getLogger("asgi_auth")

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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        outer = scope.get(KEY)
        if isinstance(outer, Context):
            self._compare(outer.auth)
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["type"] == "lifespan":
            await run_lifespan(self.auth, self.app, scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = Context(self.auth, scope)
        outgoing = Outgoing(context, send, refusals=self._refusals)
        path = route_path(scope)
        endpoint = self._endpoints.find(scope, path) if self._endpoints is not None else None
        if endpoint is not None:
            await self._answer(endpoint, context, outgoing, receive)
            return
        try:
            await self._enter(context, path)
        except Refused as error:
            await outgoing.refuse(error)
            return
        inner = self._fill(context)
        try:
            await self.app(inner, receive, outgoing.send)
        except Exception as error:
            if not await outgoing.failed(error):
                raise
        else:
            await outgoing.finished()
        finally:
            await context.close()
            self._look_back(context, inner)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = Context(self.auth, scope)
        socket = Socket(context, receive, send)
        path = route_path(scope)
        try:
            await self._enter(context, path)
        except Refused as error:
            await socket.refuse(error)
            return
        inner = self._fill(context)
        try:
            await self.app(inner, socket.receive, socket.send)
        except get_cancelled_exc_class():
            await socket.cancelled()
            raise
        except Exception as error:
            if not await socket.failed(error):
                raise
        else:
            await socket.finished()
        finally:
            await context.close()
            self._look_back(context, inner)

    async def _answer(self, endpoint: Endpoint, context: Context, outgoing: Outgoing, receive: Receive) -> None:
        try:
            self._must_work()
            parts = await self.auth.opened()
            answer = await endpoint(Call(context, receive, parts, Logins(parts)))
        except Refused as error:
            await outgoing.refuse(error)
        else:
            await outgoing.answer(answer)
        finally:
            await context.close()

    async def _enter(self, context: Context, path: str) -> None:
        """Who is calling, and may they come in. A preflight is nobody's and always reaches the application, which alone
        knows what it allows."""
        self._must_work()
        scope = context.scope
        if scope["type"] == "http" and has_preflight(scope.get("method", ""), scope["headers"]):
            return
        await enter(context, path=path)
        guard(context)
        if lost_on_the_way_back(context):
            self._warn(
                "strict",
                "a callback came without the session's cookie, which ASGI_AUTH_SESSION_SAMESITE=strict "
                "keeps back there: land on a page of your own first, or use lax",
            )
        if self.auth.silent and context.identity is not None:
            self.auth.silent = False
            self.auth.parts.audit.record(audit.STORE_RECOVERED)

    def _must_work(self) -> None:
        if self.auth.problem is not None:
            raise self.auth.problem

    def _fill(self, context: Context) -> Scope:
        """The scope for the application. What others put there from further out is not overwritten for them."""
        scope = context.scope
        if "user" in scope or "auth" in scope:
            scope = context.scope = dict(scope)
        scope[KEY] = context
        context.fill_scope()
        scope.setdefault("session", context.data)
        return scope

    def _look_back(self, context: Context, scope: MutableMapping[str, Any]) -> None:
        """Say once if somebody has a user or a session of their own in our place."""
        if scope.get("user") is not (ANONYMOUS if context.identity is None else context.identity.user):
            self._warn("user", "something inside AuthMiddleware replaced scope['user']: remove its own authentication")
        if scope.get("session") is not context.data:
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
