"""The real thing for the session machine: two processes, each with an `Auth` and a view of its own, on one store.

Time is a clock that the test moves. What runs beside requests in a real process (activity that is written, the feed
that is heard) is done when its time has come, so each run is the same as the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import anyio
from clocks import Clock
from seats import Reply, call, handled, http_scope, living
from session_model import IDLE, LIFETIME
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from asgi_auth import Auth, AuthMiddleware, Settings, User
from asgi_auth.errors import CredentialError
from asgi_auth.stores import Store

SLICE = 25.0
"""Seconds after which a process looks again whether activity has to be written."""

Change = tuple[Any, ...]
"""What a request does: a verb and its arguments."""


@dataclass
class Held:
    """A request that has begun and waits inside the application until it may go on with its change."""

    reached: anyio.Event = field(default_factory=anyio.Event)
    go_on: anyio.Event = field(default_factory=anyio.Event)
    change: Change = ("visit",)


class World:
    """Args:
    stores: makes each process's store on this clock.
    """

    def __init__(self, stores: Callable[[Clock], Sequence[Store]], *, limit: int, evict: bool) -> None:
        settings = Settings(
            backends="session",
            session_idle=IDLE,
            session_lifetime=LIFETIME,
            session_limit=limit,
            session_limit_policy="evict" if evict else "refuse",
        )
        self.clock = Clock()
        self.auths = [Auth(settings, store=store, clock=self.clock) for store in stores(self.clock)]
        self._apps = [AuthMiddleware(handled(self._page(auth)), auth) for auth in self.auths]
        self.started, self.over = anyio.Event(), anyio.Event()

    async def live(self) -> None:
        """The processes, from their start until they are `over`."""
        async with AsyncExitStack() as stack:
            for app in self._apps:
                await stack.enter_async_context(living(app))
            for auth in self.auths:
                await auth.ready()
            self.started.set()
            await self.over.wait()

    def _page(self, auth: Auth) -> Callable[[Request], Any]:
        async def page(request: Request) -> Response:
            change, held = request.scope["state"]["change"], request.scope["state"]["held"]
            if held is not None:
                dict(request.session)  # what it has seen is of now
                held.reached.set()
                await held.go_on.wait()
                change = held.change
            status = 200
            try:
                await _do(auth, request, *change)
            except CredentialError as error:
                status = error.status
            scopes = sorted({*request.auth.scopes} - {"authenticated"})
            body = {"user": request.user.identity or None, "scopes": scopes, "data": dict(request.session)}
            return JSONResponse(body, status)

        return page

    async def ask(
        self, process: int, cookies: str, change: Change, *, passive: bool = False, held: Held | None = None
    ) -> Reply:
        """One request, from its first byte to its last. `passive`: a page's own, which nobody caused."""
        headers = [("auth-passive", "1"), ("sec-fetch-mode", "cors")] if passive else []
        headers += [("cookie", cookies)] if cookies else []
        try:
            scope = http_scope("/", headers=headers, state={"change": change, "held": held})
            return await call(self._apps[process], scope)
        finally:
            if held is not None:
                held.reached.set()

    async def look(self, process: int, cookies: Sequence[str], users: Sequence[str]) -> tuple[list[Any], list[Any]]:
        """What each cookie opens in a request that is no activity, and each user's sessions: id, user, login, end."""
        seen = [(await self.ask(process, cookie, ("visit",), passive=True)).json() for cookie in cookies]
        lists = [await self.auths[process].sessions(user) for user in users]
        return seen, [[(one.id, one.user_id, one.authenticated_at, one.expires_at) for one in each] for each in lists]

    async def hear(self) -> None:
        """All that was changed is known in every process."""
        parts = self.auths[0].parts
        if parts.view.is_instant:
            return
        mark = await parts.store.newest()
        with anyio.fail_after(20):
            while await parts.store.behind(mark):  # noqa: ASYNC110 (other tasks, and a server)
                await anyio.sleep(0.001)

    async def pass_time(self, seconds: float) -> None:
        """As the clock goes on, each process writes the activity that is due."""
        until = self.clock.now + seconds
        while self.clock.now < until:
            self.clock.advance(min(SLICE, until - self.clock.now))
            await self.write_activity(self.clock.now)

    async def write_activity(self, now: float = float("inf")) -> None:
        for auth in self.auths:
            await auth.parts.activity._write(now)


async def _do(auth: Auth, request: Request, verb: str, *what: Any) -> None:
    if verb == "login":
        user, scopes = what
        await auth.login(request, User(user, scopes=scopes))
    elif verb == "logout":
        await auth.logout(request)
    elif verb == "rotate":
        await auth.rotate(request, grace=what[0])
    elif verb == "elevate":
        await auth.elevate(request, amr="otp")
    elif verb == "write" and request.user.is_authenticated:
        key, value = what
        if value is None:
            request.session.pop(key, None)
        else:
            request.session[key] = value
