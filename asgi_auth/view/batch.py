"""Loads of one partition that are under way together go to the store together."""

from __future__ import annotations

from collections import defaultdict

import anyio

from asgi_auth.errors import StoreUnavailable
from asgi_auth.loops import PerLoop
from asgi_auth.stores import Ended, Loaded, Store

GATHER = 0.005
"""Seconds for which a trip waits at most for the one before it to come back."""


class _Trip:
    """Loads that leave together. `failure`: it is over, without answers."""

    def __init__(self) -> None:
        self.sids: dict[str, None] = {}
        self.answers: dict[str, Loaded | Ended | None] = {}
        self.failure: StoreUnavailable | None = None
        self.over = anyio.Event()


class _Station:
    """The trips of one event loop to one partition: one gathers while another is under way."""

    def __init__(self) -> None:
        self.gathering: _Trip | None = None
        self.under_way: _Trip | None = None


class Batch:
    """Gathers the loads of one event loop. What a load brings was read after it was asked for, so it may be marked like
    one that went alone. Those of different partitions, which may be of different servers, do not fail together."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stations: PerLoop[defaultdict[str, _Station]] = PerLoop(lambda: defaultdict(_Station))

    async def load(self, sid: str) -> Loaded | Ended | None:
        """As `Store.load`.

        Raises:
            StoreUnavailable: no answer.
        """
        station = self._stations.get()[sid[:2]]
        trip = station.gathering
        if trip is None:
            return await self._lead(station, sid)
        trip.sids[sid] = None
        await trip.over.wait()
        if trip.failure is not None:
            raise StoreUnavailable(str(trip.failure)) from trip.failure
        if sid not in trip.answers:  # who led the trip was cancelled
            return await self._store.load(sid)
        return trip.answers[sid]

    async def _lead(self, station: _Station, sid: str) -> Loaded | Ended | None:
        trip, before = _Trip(), station.under_way
        trip.sids[sid] = None
        try:
            if before is not None:
                station.gathering = trip
                with anyio.move_on_after(GATHER):
                    await before.over.wait()
                station.gathering = None
            station.under_way = trip
            if len(trip.sids) == 1:
                trip.answers = {sid: await self._store.load(sid)}
            else:
                trip.answers = await self._store.load_all(list(trip.sids))
            return trip.answers[sid]
        except StoreUnavailable as error:
            trip.failure = error
            raise
        finally:
            if station.gathering is trip:
                station.gathering = None
            if station.under_way is trip:
                station.under_way = None
            trip.over.set()
