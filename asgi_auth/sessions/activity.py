"""Activity that is not written yet.

A session in use is written down at once if that was long ago; what comes before the interval is over is written at its
end, many sessions at a time. So a busy session costs one write an interval, and none ends for want of the last one.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import anyio

from asgi_auth.clock import Clock
from asgi_auth.errors import StoreUnavailable
from asgi_auth.stores import Store

MOST = 100_000
"""Sessions that wait to be written, at most."""

_PAGE = 200
_LONGEST_PAUSE = 5.0
_PAUSES = 40

log = logging.getLogger("asgi_auth")


class Activity:
    """Which sessions were used since that was last written.

    Args:
        clock: steady.
        idle: seconds without activity after which the first of them could end.
    """

    def __init__(self, store: Store, clock: Clock, *, idle: float) -> None:
        self._store = store
        self._clock = clock
        self._pause = min(_LONGEST_PAUSE, idle / _PAUSES)
        self._used: dict[str, tuple[float, float]] = {}
        self._runs = 0

    def note(self, sid: str, due: float) -> None:
        """A session is in use, which is to be written after `due` seconds. Where nobody will write it, it is left to
        the next request."""
        if self._runs and (sid in self._used or len(self._used) < MOST):
            now = self._clock()
            self._used[sid] = now, min(now + due, self._used.get(sid, (0.0, now + due))[1])

    def written(self, sid: str) -> None:
        """What was noted of a session is written."""
        self._used.pop(sid, None)

    async def run(self) -> None:
        """Write what is due until cancelled, and then the rest."""
        self._runs += 1
        try:
            while True:
                await anyio.sleep(self._pause)
                await self._write(self._clock())
        finally:
            self._runs -= 1
            if not self._runs:
                with anyio.move_on_after(1, shield=True):
                    await self._write(float("inf"))

    async def _write(self, now: float) -> None:
        """Partition by partition, with which a sid begins: one that is silent is asked once, and keeps no other out."""
        due: dict[str, list[str]] = {}
        for sid, (_, at) in tuple(self._used.items()):
            if at <= now:
                due.setdefault(sid[:2], []).append(sid)
        for sids in due.values():
            try:
                for start in range(0, len(sids), _PAGE):
                    await self._write_page(sids[start : start + _PAGE])
            except StoreUnavailable as error:
                log.info("activity could not be written and waits: %s", error)

    async def _write_page(self, sids: Sequence[str]) -> None:
        page = {sid: self._used[sid] for sid in sids if sid in self._used}
        asked_at = self._clock()
        await self._store.touch({sid: asked_at - used for sid, (used, _) in page.items()})
        for sid, noted in page.items():
            if self._used.get(sid) == noted:
                self._used.pop(sid, None)
