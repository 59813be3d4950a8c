"""The keys of one issuer, kept: read when somebody needs them, by one at a time, and never by a request itself.

A thread of its own reads, with an event loop of its own: whoever waits may be of any event loop, may be cancelled, and
has nothing to do with how long a name server or a certificate takes. A key that is known never waits for it.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from functools import partial

import anyio

from asgi_auth.clock import Clock
from asgi_auth.issuer import Issuer
from asgi_auth.loops import PerLoop
from asgi_auth.tokens.issuers.fetching import LONGEST, Known, read
from asgi_auth.tokens.issuers.keyset import InvalidDocument, KeySet

COOL_DOWN = 5.0
"""Seconds of rest after an attempt that failed, or that was made for a key that nobody knew, whatever came of it. One
that was due anyway, and succeeded, delays none: an issuer may change its key in the next moment."""

STALE = 86_400.0
"""Seconds for which keys go on serving while their issuer gives no answer. Whoever cuts us off from it must not keep a
key alive for ever that it has taken back."""

_PATIENCE = LONGEST + 1.0
_GLANCE = 0.005

log = logging.getLogger("asgi_auth")


class KeySource:
    """Keeps the keys of an issuer.

    Args:
        clock: steady.
    """

    def __init__(self, record: Issuer, *, clock: Clock) -> None:
        self.record = record
        self.problem = ""
        """Why the last attempt came to nothing, if it did."""
        self._clock = clock
        self._known: Known | None = None
        self._begun = threading.Lock()
        self._reading = False
        self._rest_until = float("-inf")
        self._queue = PerLoop(anyio.Lock)

    @property
    def keys(self) -> KeySet | None:
        """What is known; None: nothing, or nothing that was confirmed lately."""
        known = self._known
        return None if known is None or self._clock() >= known.read_at + STALE else known.keys

    @property
    def known(self) -> Known | None:
        """What was last read."""
        return self._known

    def good_for(self) -> float:
        """Seconds after which somebody has to look again."""
        known, now = self._known, self._clock()
        return 0.0 if known is None else min(max(known.read_at + known.fresh_for - now, COOL_DOWN), STALE)

    def look(self) -> KeySet | None:
        """What is known, at once; if that is old, it will be newer soon."""
        known = self._known
        if known is None or self._clock() >= known.read_at + known.fresh_for:
            self._read_again(sought=False)
        return self.keys

    async def newer(self) -> KeySet | None:
        """The same after another attempt, for a key that is not known, if it is time for one or one is under way."""
        seeks, joins = self._known is not None, self._reading
        self._read_again(sought=seeks)
        await self._until_read()
        if seeks and joins:  # what was under way may have begun before the key was there
            self._read_again(sought=True)
            await self._until_read()
        return self.keys

    async def _until_read(self) -> None:
        with anyio.move_on_after(_PATIENCE):
            async with self._queue.get():  # one watches for all of this event loop
                while self._reading:  # noqa: ASYNC110  (a thread has no event of every loop that waits for it)
                    await anyio.sleep(_GLANCE)

    def _read_again(self, *, sought: bool) -> None:
        with self._begun:
            if self._reading or self._clock() < self._rest_until:
                return
            self._reading = True
        try:
            threading.Thread(
                target=self._read, args=(sought,), name=f"asgi-auth issuer {self.record.name}", daemon=True
            ).start()
        except RuntimeError as error:  # there can be no more threads
            self._over(error, sought)

    def _read(self, sought: bool) -> None:
        try:
            self._known = anyio.run(partial(read, self.record, self._known, self._clock()))
        except Exception as error:
            self._over(error, sought)
        else:
            self._over(None, sought)

    def _over(self, error: Exception | None, sought: bool) -> None:
        why = ""
        if error is not None:
            # What it is called says enough; its text may hold what an issuer sent.
            why = str(error) if isinstance(error, InvalidDocument) else type(error).__name__
            log.warning("the keys of issuer %s could not be read: %s", self.record.name, why)
            if self._known is not None:
                self._known = replace(self._known, found_at=float("-inf"))  # they may have moved
        elif self.problem:
            log.info("the keys of issuer %s were read again", self.record.name)
        self.problem = why
        if why or sought:
            self._rest_until = self._clock() + COOL_DOWN
        self._reading = False

    def forked(self) -> None:
        """In the child of a fork: the thread, if there is one, is the parent's."""
        self._begun = threading.Lock()
        self._reading = False
