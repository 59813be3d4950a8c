"""A configuration and its parts: made without touching anything, opened once by whoever comes first."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Awaitable, Callable

import anyio

from asgi_auth import audit
from asgi_auth.audit import Audit
from asgi_auth.backends.issuers import IssuerBackend
from asgi_auth.backends.jwt import JWTBackend
from asgi_auth.clock import Clock, wall_clock
from asgi_auth.directory import Directory
from asgi_auth.errors import AuthError, ConfigurationError, StoreUnavailable
from asgi_auth.hooks import Hooks
from asgi_auth.live import Lives
from asgi_auth.loops import PerLoop
from asgi_auth.parts import Foundation, Parts, complete, found
from asgi_auth.sessions.cookies import name_pattern
from asgi_auth.settings import Settings
from asgi_auth.startup import announce
from asgi_auth.stores import Store
from asgi_auth.tokens.issuers.trusted import Find

log = logging.getLogger("asgi_auth")

_AGAIN = 1.0
"""Seconds until what failed is tried again."""


class Runtime:
    """What every request of one application needs to know; see `Auth`, which is one with verbs."""

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        directory: Directory | None = None,
        store: Store | None = None,
        issuers: Find | None = None,
        clock: Clock = wall_clock,
    ) -> None:
        self.problem: ConfigurationError | None = None
        """What is wrong with the configuration, as far as it is known."""
        self._settings = settings
        if settings is None:
            try:
                self._settings = Settings()
            except ConfigurationError as error:
                self.problem = error
        self.clock = clock
        self.hooks = Hooks()
        self.silent = False
        """Whether the store gave no answer when it was last asked."""
        self._given = directory
        self._given_store = store
        self._given_issuers = issuers
        self._making = threading.Lock()
        self._base: Foundation | None = None
        self._parts: Parts | None = None
        self._cookie_hint: re.Pattern[bytes] | None = None
        self.followers = 0
        """How many lifespans keep the view current, and look after open connections."""
        self._hosting = PerLoop(anyio.Lock)

    @property
    def settings(self) -> Settings:
        """Raises:
        ConfigurationError: the environment is wrong.
        """
        if self._settings is None:
            raise self.problem or ConfigurationError("there are no settings")
        return self._settings

    @property
    def cookie_hint(self) -> re.Pattern[bytes]:
        """Found in every `Cookie` header with a cookie of ours, as far as is known before the store has answered."""
        if self._cookie_hint is None:  # no cached_property, which makes CPython 3.11 slow with all other attributes
            self._cookie_hint = name_pattern(self.settings.session_cookie)
        return self._cookie_hint

    @property
    def is_open(self) -> bool:
        """Whether the store has answered once."""
        return self._parts is not None

    @property
    def parts(self) -> Parts:
        """The parts, once they are open.

        Raises:
            AuthError: they are not.
        """
        if self._parts is None:
            raise AuthError("the store is not open yet: await auth.opened()")
        return self._parts

    async def opened(self) -> Parts:
        """The parts; opens the store if nobody has yet.

        Raises:
            ConfigurationError: the configuration is wrong, now and for good.
            StoreUnavailable: the store gives no answer; it may, later.
        """
        if self._parts is not None:
            return self._parts
        if self.problem is not None:
            raise self.problem
        try:
            parts = await complete(self._founded())
        except ConfigurationError as error:
            self.problem = error
            raise
        if self._parts is None:
            self._parts = parts
            announce(parts)
        return self._parts

    async def jwt_backend(self) -> JWTBackend:
        """What reads bearer tokens. Where a token counts on its signature alone, a silent store keeps nobody out.

        Raises:
            ConfigurationError: the configuration is wrong.
            StoreUnavailable: the store gives no answer, and must.
        """
        if self._parts is None and not self._verifies_alone():
            try:
                await self.opened()
            except StoreUnavailable:
                if self.settings.jwt_revocation != "available":
                    raise
        return self._founded().jwt_backend

    @property
    def issuer_backend(self) -> IssuerBackend | None:
        """What reads tokens of other issuers, which need no store; None: none of them counts."""
        return self._founded().issuer_backend

    def _verifies_alone(self) -> bool:
        return self.settings.jwt_revocation == "off" and self._founded().keys.configured

    async def follow(self) -> None:
        """Keep the view current, and look after open connections, until cancelled. For a lifespan."""
        self.followers += 1
        try:
            await self._follow()
        finally:
            self.followers -= 1

    async def host(self) -> None:
        """The same for a request that leaves a connection open where there is no lifespan: one does it for all of its
        event loop, and when that one is over the next."""
        async with self._hosting.get():
            await self._follow()

    async def _follow(self) -> None:
        while True:
            try:
                parts = await self.opened()
                break
            except ConfigurationError:
                return  # each request is told
            except StoreUnavailable:
                await anyio.sleep(_AGAIN)  # a request may find the store first
        async with anyio.create_task_group() as group:
            for task in (parts.view.follower.run, parts.lives.run, parts.activity.run, parts.sweeper.run):
                group.start_soon(_steadily, task)

    async def sweep_now_and_then(self) -> None:
        """Collect a little of what is over, where no lifespan does so."""
        if not self.followers and self._parts is not None:
            await self._parts.sweeper.now_and_then()

    async def aclose(self) -> None:
        """Close what the running event loop opened. A later call opens it again."""
        if self._base is not None:
            self._base.audit.flush()
            if self._parts is not None:
                self._base.audit.record(audit.SHUTDOWN)
            await self._base.view.follower.leave()
            await self._base.store.aclose()

    async def ready(self) -> None:
        """Return if the store answers and the view, where it is followed, is current. For health checks.

        Raises:
            StoreUnavailable: it is not so.
            ConfigurationError: it never will be.
        """
        parts = await self.opened()
        await parts.store.keys()
        await parts.view.follower.prove()

    @property
    def audit(self) -> Audit | None:
        """The log of security events, as soon as the settings are known to be right."""
        return None if self._base is None else self._base.audit

    @property
    def lives(self) -> Lives:
        """The open connections; tokens open some whether or not the store has ever answered."""
        return self._founded().lives

    @property
    def log(self) -> Audit:
        """The same, once it is known that they are."""
        return self._founded().audit

    def _founded(self) -> Foundation:
        if self._base is None:
            with self._making:
                if self._base is None:
                    audit.show_logs()
                    self._base = found(
                        self.settings,
                        clock=self.clock,
                        directory=self._given,
                        store=self._given_store,
                        issuers=self._given_issuers,
                        hooks=self.hooks,
                    )
        return self._base


async def _steadily(task: Callable[[], Awaitable[None]]) -> None:
    """Run a task that never ends; if it fails, anew. Neither the application nor another such task depends on it:
    without it the store is asked."""
    while True:
        try:
            await task()
        except Exception:
            log.exception("what keeps the view current has failed, and begins anew")
        await anyio.sleep(_AGAIN)
