"""Two applications, the same requests, a few to each in turn: what one adds to the other, whatever the machine does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

from starlette.types import ASGIApp, Scope

from benchmarks.driving import Served

_TURN = 50
"""Requests after which the other one has its turn, and the loop, as in a server."""

Make = Callable[[], Scope]


class Pair(NamedTuple):
    """Seconds per request."""

    whole: float
    base: float

    @property
    def added_us(self) -> float:
        """Microseconds that are added to each request."""
        return (self.whole - self.base) * 1e6


async def paired(app: ASGIApp, make: Make, base: ASGIApp, make_base: Make, requests: int) -> Pair:
    """As many requests to each. Garbage is collected as usual, in the time of whoever makes it."""
    turn = max(5, min(_TURN, requests // 10))
    turns = max(1, requests // turn)
    whole = alone = 0.0
    for _ in range(turns):
        whole += await _timed(app, make, turn)
        alone += await _timed(base, make_base, turn)
        await asyncio.sleep(0)
    return Pair(whole / (turns * turn), alone / (turns * turn))


async def _timed(app: ASGIApp, make: Make, requests: int) -> float:
    begun = time.perf_counter()
    await drive(app, make, requests)
    return time.perf_counter() - begun


async def drive(app: ASGIApp, make: Make, requests: int) -> None:
    """One request after another."""
    for _ in range(requests):
        served = Served(make())
        await app(served.scope, served.receive, served.send)
