"""Collects what is over, in the background and in small steps, and hands on whose end is to be told.

All processes of a store do so, and each end is found by one of them.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import anyio

from asgi_auth.clock import Clock
from asgi_auth.errors import StoreUnavailable
from asgi_auth.stores import Ended, Store, Swept

PAUSE = 30.0
"""Seconds between two looks, about: the processes of an application should not all look at once."""

_NOTHING = Swept((), full=False)

_RESTS = 4
_SHORTEST_REST = 0.01
_HURRY = 5.0

log = logging.getLogger("asgi_auth")


class Sweeper:
    """Sweeps one store.

    Args:
        clock: steady.
        tell: is told of the sessions that ended, once each.
    """

    def __init__(self, store: Store, clock: Clock, tell: Callable[[Sequence[Ended]], Awaitable[None]]) -> None:
        self._store = store
        self._clock = clock
        self._tell = tell
        self._runs = 0
        self._look_at = clock() + PAUSE

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        self._runs += 1
        try:
            while True:
                await anyio.sleep(random.uniform(0.5, 1.5) * PAUSE)  # noqa: S311 (no secret)
                await self.sweep()
        finally:
            self._runs -= 1

    async def now_and_then(self) -> None:
        """One step, if nobody does it in the background and it is time. For where there is no lifespan."""
        if not self._runs and self._clock() >= self._look_at:
            self._look_at = self._clock() + PAUSE
            if await self._step():
                self._look_at = self._clock()

    async def sweep(self) -> None:
        """Step by step until nothing is left, with rests in which others may write."""
        while True:
            began_at = self._clock()
            if not await self._step():
                return
            await anyio.sleep(max(_SHORTEST_REST, _RESTS * (self._clock() - began_at)))

    async def _step(self) -> bool:
        """Whether there may be more."""
        swept = _NOTHING
        try:
            with anyio.CancelScope(shield=True):  # what is collected must be told
                swept = await self._store.sweep()
        except StoreUnavailable as error:
            log.info("what is over could not be collected and waits: %s", error)
            return False
        await self._tell_all(swept.ended)
        return swept.full

    async def _tell_all(self, ended: Sequence[Ended]) -> None:
        """One by one. When this is to end meanwhile, the rest is told in a hurry."""
        waiting = deque(ended)
        try:
            while waiting:
                try:
                    await self._tell([waiting.popleft()])
                except Exception:
                    log.exception("an end could not be told")
        except anyio.get_cancelled_exc_class():
            with anyio.move_on_after(_HURRY, shield=True):
                await self._tell(tuple(waiting))
            raise
