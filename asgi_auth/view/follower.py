"""Keeps a copy current, and says for how long it may be believed: beats prove, messages hurry, another history resets.

Where the feed lies beside the process each answer is proved by itself. Else the proof of a beat lasts for a **lease**,
counted from the moment before its first byte was sent: the answer says what was true then or later, whenever it came.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import anyio

from asgi_auth.clock import Clock
from asgi_auth.errors import Deaf, StoreUnavailable
from asgi_auth.forks import at_fork
from asgi_auth.loops import PerLoop
from asgi_auth.model import Event
from asgi_auth.stores import Cursor, Entry, Store
from asgi_auth.stores.values import advanced
from asgi_auth.view.copy import Copy
from asgi_auth.view.ends import end_again

if TYPE_CHECKING:
    from asgi_auth.stores.feed import Beat, Member

log = logging.getLogger("asgi_auth")

BEATS = 4
"""Beats in a lease."""

SLACK = 0.01
"""By which clocks of two machines may run apart, as a part of a lease."""

PAGE = 1000
"""Revocations read at a time; more would hold up the loop that takes them in."""

_LEISURE = 1.0
"""Seconds, in the place of a lease where there is none: what is open must still hear of ends."""

_LISTEN_AGAIN = 0.5
_DEAF = 0.05
"""Seconds between beats, where no message hurries them."""
_DEAF_FOR = 30.0
_RESETS = 3
_UNREADABLE = (KeyError, TypeError, ValueError)
"""Raised where an event lacks what its kind has: somebody else wrote it, or a later version of this package."""

_AT_ONCE = 20


class Follower:
    """Follows a store's feed for one copy.

    Args:
        staleness: seconds for which the copy may be believed without a new proof; 0: never.
        clock: steady.

    Attributes:
        begun: done with each history before anything is believed of it.
        stale: told when the copy cannot be kept current any more.
    """

    def __init__(self, store: Store, copy: Copy, *, staleness: float, clock: Clock) -> None:
        self._store = store
        self._copy = copy
        self._staleness = staleness
        self._clock = clock
        self._feed = store.feed()
        self._followers = 0
        self._looks = False
        self._failing = self._deaf = False
        self._cursor: Cursor | None = None
        self._turns = 0
        self.lease_until = float("-inf")
        self._attached_at = float("inf")
        self._proved_at = float("-inf")
        self._beats = 0
        self._heard: dict[str, tuple[Event, int]] = {}
        self._repeat: list[Event] = []
        self.begun: Callable[[], Awaitable[None]] = _nothing
        self.stale: Callable[[], None] = _say_nothing
        self._beating = PerLoop(anyio.Lock)
        self._hurried = PerLoop(anyio.Event)
        at_fork(after_in_child=self._forked)

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
            await self._beat()
        except StoreUnavailable as error:
            if not self._failing:
                log.info("the view is not kept current at present, so the store is asked: %s", error)
                self.stale()
            self._failing = True
        pause = (self._staleness or _LEISURE) / BEATS
        with anyio.move_on_after(min(pause, _DEAF) if self._deaf else pause):
            await hurried.wait()
            self._hurried.renew()

    async def _listen(self) -> None:
        while True:
            try:
                await self._feed.listen(self._told)
            except Deaf as error:
                if not self._deaf:
                    log.warning("%s, so it looks for news twenty times a second", error)
                self._deaf = True
                self._hurried.get().set()  # the pause that goes on is one for those who hear
                await anyio.sleep(_DEAF_FOR)
            except StoreUnavailable:
                await anyio.sleep(_LISTEN_AGAIN)

    def _told(self, entry: Entry | None) -> None:
        self._deaf = False
        if entry is not None:
            self._hear(entry)
        self._hurried.get().set()

    def _hear(self, entry: Entry) -> None:
        """A message: it counts at once, and a beat must bring the same."""
        try:
            self._copy.apply(entry.event)
        except _UNREADABLE:  # the beat will tell
            return
        if self._cursor is not None and entry.is_after(self._cursor):
            self._heard[entry.nonce] = entry.event, self._beats

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
        longest = self._longest(await self._store.behind(None))
        yield
        changed_at = self._clock()
        try:
            await self._wait_for_others(changed_at, longest)
        except StoreUnavailable:  # then nobody gets another lease either
            await self._sleep_until(changed_at + longest)

    def _longest(self, members: list[Member]) -> float:
        """Seconds for which somebody may answer from a copy that has not heard."""
        return max([self._staleness, *(member.lease for member in members)]) * (1 + SLACK)

    async def _wait_for_others(self, changed_at: float, longest: float) -> None:
        mark = await self._store.newest()
        if self._followers:
            await self._beat()
        first = late = await self._store.behind(mark)
        longest = max(longest, self._longest(first))  # somebody may have come while the change was made
        # Who came to this history a moment ago may not see members that have a lease from the one before.
        if not self._followers or self._attached_at + longest > changed_at:
            await self._sleep_until(changed_at + longest)
            return
        while late and self._clock() < changed_at + longest:
            await anyio.sleep(min(0.005, longest / 50))
            late = await self._store.behind(mark)
        for member in late:
            if member in first:  # silent for a whole wait
                await self._store.expel(member)

    async def prove(self) -> None:
        """Return once the copy may be believed, or if nobody keeps it current.

        Raises:
            StoreUnavailable: it may not.
        """
        if self.is_followed and not self.is_current(self._clock()) and not await self._beat():
            raise StoreUnavailable("the feed began anew again and again")

    async def _sleep_until(self, at: float) -> None:
        await anyio.sleep(max(0.0, at - self._clock()))

    async def leave(self) -> None:
        """Answer no more from the copy, unless somebody still follows, and close what the running event loop opened."""
        if self._followers or self._attached_at == float("inf"):  # the latter: nobody knows of this process
            return
        self.lease_until, self._cursor, self._attached_at = float("-inf"), None, float("inf")
        with suppress(StoreUnavailable):
            await self._feed.leave()

    async def _beat(self) -> bool:
        """One proof, with as many trips as it needs; one at a time. False: one history came after the other."""
        async with self._beating.get():
            return await self._begin_or_go_on()

    async def _begin_or_go_on(self) -> bool:
        doubtful: list[Event] = []
        if self._failing:  # what was heard last may be lost with the server that told it
            doubtful = self._copy.ends.since(self._proved_at, self._copy.history.epoch)
        for _ in range(_RESETS):
            if self._cursor is None:
                await self._attach()
            if await self._catch_up():
                self._repeat += doubtful
                self._failing = False
                if self._repeat:
                    await self._end_again()
                return True
        return False

    async def _catch_up(self) -> bool:
        """Read to the end. False: this is another history."""
        news = False
        while self._cursor is not None:
            sent_at, attachment = self._clock(), self._copy.mark().attachment
            self._beats += 1
            number = self._beats
            beat = await self._feed.beat(self._cursor, self._staleness)
            if attachment != self._copy.mark().attachment:  # another event loop has begun anew: this is of before
                return False
            if self._turns != self._feed.turns:  # what was loaded is of a server that is no longer the one
                return self._lose()
            whole = self._take(self._cursor, beat)
            news = news or bool(beat.entries)
            if whole:
                self._proved(sent_at, number)
                if news and not self._feed.instant:
                    await self._feed.beat(self._cursor, self._staleness)  # tells that they are applied
                return True
        return False

    def _proved(self, sent_at: float, number: int) -> None:
        """All that was there at that moment is applied."""
        self._proved_at = sent_at
        if self.is_followed and not self._feed.instant:  # else each answer is proved by itself
            self.lease_until = max(self.lease_until, sent_at + self._staleness)
        for nonce, (event, heard_at) in list(self._heard.items()):
            if heard_at < number:  # before this beat, and it is not there: the server has lost it
                del self._heard[nonce]
                self._repeat.append(event)

    def _take(self, cursor: Cursor, beat: Beat) -> bool:
        if beat.entries is None:
            return self._lose()
        for entry in beat.entries:
            try:
                self._copy.apply(entry.event)  # killed first, then counted
            except _UNREADABLE as error:
                log.error("an entry of the feed cannot be read, so all is asked anew: %r in %s", error, entry)
                return self._lose()
            cursor = self._cursor = advanced(cursor, entry)
            self._heard.pop(entry.nonce, None)
        return not beat.more

    def _lose(self) -> bool:
        """What is known here may not be all. Nothing is proved."""
        self.lease_until, self._cursor = float("-inf"), None
        self._copy.reset()
        return False

    async def _attach(self) -> None:
        """Begin with this history: the cursor first, so that whatever is read then is no older than it."""
        self._copy.reset()
        self._heard.clear()
        self._turns = self._feed.turns
        cursor = await self._store.newest()
        history = await self._store.history()
        self._copy.reset(history)
        await self.begun()
        self._attached_at = self._clock()
        after = ""
        while page := await self._store.revocations(after, PAGE):
            self._copy.revoked(page)
            after = f"{page[-1].kind}:{page[-1].key}"
        self._repeat = self._copy.ends.since(float("-inf"), history.epoch)
        self._cursor = cursor

    async def _end_again(self) -> None:
        """A restart or a restore from old data may have brought back what was seen dead. Here it stays dead; for the
        others it is ended again, some with each beat."""
        some, self._repeat = self._repeat[-_AT_ONCE:], self._repeat[:-_AT_ONCE]  # other event loops take others
        try:
            while some:
                await end_again(self._store, some[-1])
                some.pop()
        finally:
            self._repeat += some

    def _forked(self) -> None:
        """A child has neither lease nor copy, and is another member."""
        self.lease_until, self._cursor, self._attached_at = float("-inf"), None, float("inf")
        self._copy.reset()
        self._feed = self._store.feed()


async def _nothing() -> None:
    pass


def _say_nothing() -> None:
    pass
