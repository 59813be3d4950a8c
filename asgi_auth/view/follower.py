"""Keeps a copy current, and says for how long it may be believed: beats prove, messages hurry, another history resets.

Where the feed lies beside the process each answer is proved by itself. Else the proof of a beat lasts for a **lease**,
counted from the moment before its first byte was sent: the answer says what was true then or later, whenever it came.
"""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import anyio

from asgi_auth.clock import Clock
from asgi_auth.errors import StoreUnavailable
from asgi_auth.loops import PerLoop
from asgi_auth.stores import Ended, Entry, Store
from asgi_auth.view.copy import Copy

if TYPE_CHECKING:
    from asgi_auth.stores.feed import Beat

log = logging.getLogger("asgi_auth")

BEATS = 4
"""Beats in a lease."""

SLACK = 0.01
"""By which clocks of two machines may run apart, as a part of a lease."""

PAGE = 5000
"""Revocations read at a time."""

_LEISURE = 1.0
"""Seconds, in the place of a lease where there is none: what is open must still hear of ends."""

_LISTEN_AGAIN = 0.5
_AT_ONCE = 20


class Follower:
    """Follows a store's feed for one copy.

    Args:
        staleness: seconds for which the copy may be believed without a new proof; 0: never.
        clock: steady.
    """

    def __init__(self, store: Store, copy: Copy, *, staleness: float, clock: Clock) -> None:
        self._store = store
        self._copy = copy
        self._staleness = staleness
        self._clock = clock
        self._feed = store.feed()
        self._followers = 0
        self._looks = False
        self._failing = False
        self._cursor: Entry | None = None
        self.lease_until = float("-inf")
        self._attached_at = float("inf")
        self._repeat: list[Ended] = []
        self._beating = PerLoop(anyio.Lock)
        self._hurried = PerLoop(anyio.Event)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=partial(_call, weakref.WeakMethod(self._forked)))

    @property
    def is_followed(self) -> bool:
        """Whether the copy is kept current, so that it may be believed at times."""
        return self._followers > 0 and self._staleness > 0

    @property
    def is_instant(self) -> bool:
        """Whether each answer is proved by itself."""
        return self._feed.instant

    def is_current(self, now: float) -> bool:
        """Whether the copy may be believed now. To be asked in the same stretch of code as the look-up: whatever was
        heard until then is applied, and no flag or timer stands in between."""
        return now < self.lease_until or (self._looks and self._look())

    def _look(self) -> bool:
        cursor = self._cursor
        if cursor is None:
            return False
        try:
            return self._take(cursor, self._feed.look(cursor))
        except StoreUnavailable:
            return False

    async def run(self) -> None:
        """Keep the copy current until cancelled. While nobody does, it is not believed."""
        self._followers += 1
        self._looks = self._feed.instant and self._staleness > 0
        try:
            async with anyio.create_task_group() as group:
                if not self._feed.instant:
                    group.start_soon(self._listen)
                while True:
                    await self._keep_up()
        finally:
            self._followers -= 1
            if not self._followers:
                self.lease_until, self._looks = float("-inf"), False

    async def _keep_up(self) -> None:
        """One beat, and the wait for the next."""
        hurried = self._hurried.get()
        try:
            async with self._beating.get():
                await self._beat()
            self._failing = False
        except StoreUnavailable as error:
            if not self._failing:
                log.info("the view is not kept current at present, so the store is asked: %s", error)
            self._failing = True
        with anyio.move_on_after((self._staleness or _LEISURE) / BEATS):
            await hurried.wait()
            self._hurried.renew()

    async def _listen(self) -> None:
        while True:
            try:
                entry = await self._feed.hurry()
            except StoreUnavailable:
                await anyio.sleep(_LISTEN_AGAIN)
                continue
            if entry is not None:
                self._copy.apply(entry.event)
            self._hurried.get().set()

    @asynccontextmanager
    async def settled(self) -> AsyncIterator[None]:
        """Leave only once every process has applied what was changed inside, or may not answer without it.

        Whoever beats after the change has applied it, whoever does not has no lease: so it lasts no longer than the
        longest lease and 1 %, with any number of dead processes, and if the store is lost meanwhile.

        Raises:
            StoreUnavailable: nobody can say who follows; nothing was changed yet.
        """
        if self._feed.instant:  # everybody looks before each answer
            yield
            return
        longest = max([self._staleness, *(member.lease for member in await self._store.behind(None))]) * (1 + SLACK)
        yield
        changed_at = self._clock()
        try:
            await self._wait_for_others(changed_at, longest)
        except StoreUnavailable:  # then nobody gets another lease either
            await self._sleep_until(changed_at + longest)

    async def _wait_for_others(self, changed_at: float, longest: float) -> None:
        mark = await self._store.newest()
        if self._followers:
            async with self._beating.get():
                await self._beat()
        # Who came to this history a moment ago may not see members that have a lease from the one before.
        if not self._followers or self._attached_at + longest > changed_at:
            await self._sleep_until(changed_at + longest)
            return
        first = late = await self._store.behind(mark)
        while late and self._clock() < changed_at + longest:
            await anyio.sleep(min(0.005, longest / 50))
            late = await self._store.behind(mark)
        for member in late:
            if member in first:  # silent for a whole wait
                await self._store.expel(member)

    async def _sleep_until(self, at: float) -> None:
        await anyio.sleep(max(0.0, at - self._clock()))

    async def leave(self) -> None:
        """Answer no more from the copy, and close what the running event loop opened."""
        if self._cursor is None:
            return
        self.lease_until, self._cursor = float("-inf"), None
        with suppress(StoreUnavailable):
            await self._feed.leave()

    async def _beat(self) -> bool:
        """One proof, with as many trips as it needs. False: more came than could be read in one go."""
        for _ in range(3):
            if self._cursor is None:
                await self._attach()
            cursor = self._cursor
            assert cursor is not None
            sent_at = self._clock()
            beat = await self._feed.beat(cursor, self._staleness)
            if self._take(cursor, beat):
                if self.is_followed and not self._feed.instant:  # else each answer is proved by itself
                    self.lease_until = max(self.lease_until, sent_at + self._staleness)
                if self._repeat:
                    await self._end_again()
                if beat.entries and not self._feed.instant:
                    await self._feed.beat(self._cursor or cursor, self._staleness)  # tells that they are applied
                return True
        return False

    def _take(self, cursor: Entry, beat: Beat) -> bool:
        if beat.entries is None:
            self.lease_until, self._cursor = float("-inf"), None
            self._copy.reset()
            return False
        for entry in beat.entries:
            self._copy.apply(entry.event)  # killed first, then counted
            self._cursor = entry
        return not beat.more

    async def _attach(self) -> None:
        """Begin with this history: the cursor first, so that whatever is read then is no older than it."""
        self._copy.reset()
        cursor = await self._store.newest()
        self._copy.reset(await self._store.history())
        self._attached_at = self._clock()
        after = ""
        while page := await self._store.revocations(after, PAGE):
            self._copy.revoked(page)
            after = f"{page[-1].kind}:{page[-1].key}"
        self._repeat = self._copy.lately_dead()
        self._cursor = cursor

    async def _end_again(self) -> None:
        """A restart or a restore from old data may have brought back what was seen dead. Here it stays dead; for the
        others it is ended again, some with each beat."""
        for _ in range(min(_AT_ONCE, len(self._repeat))):
            ended = self._repeat[-1]
            await self._store.end(ended.sid, ended.reason)
            self._repeat.pop()

    def _forked(self) -> None:
        """A child has neither lease nor copy, and is another member."""
        self.lease_until, self._cursor, self._attached_at = float("-inf"), None, float("inf")
        self._copy.reset()
        self._feed = self._store.feed()


def _call(method: weakref.WeakMethod[Callable[[], None]]) -> None:
    found = method()
    if found is not None:
        found()
