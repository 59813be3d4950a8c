"""`STALENESS=0`: the store is asked on every request. Many are in flight, and asgi-auth asks for them together; beside
it an application that does one redis-py GET for each."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.apps import APPS
from benchmarks.bare import bare
from benchmarks.contestants import logged_in
from benchmarks.driving import calls, lifespan, scopes
from benchmarks.figures import ratios, spread
from benchmarks.timing import Make, drive
from benchmarks.world import World

IN_FLIGHT = 32

_EACH = 20
"""Requests that each of those in flight makes in a block."""


async def ask_each_time(world: World, *, rounds: int) -> dict[str, Any]:
    """Process CPU per request, in rounds that take turns."""
    from redis.asyncio import BlockingConnectionPool, Redis

    pool = BlockingConnectionPool.from_url(world.redis, max_connections=2 * IN_FLIGHT)
    async with Redis.from_pool(pool) as client:
        await client.set("a-session", b'{"user": "alice", "created": 1790000000, "data": {"theme": "dark"}}' * 4)

        async def one_get(scope: Scope, receive: Receive, send: Send) -> None:
            await client.get("a-session")
            await bare(scope, receive, send)

        ours = APPS["ours-asking"](world)
        async with lifespan(ours):
            make = scopes(await logged_in(world, calls(ours)))
            apps: dict[str, ASGIApp] = {"ours": ours, "get": one_get, "bare": bare}
            seconds: dict[str, list[float]] = {name: [] for name in apps}
            for turn in range(rounds + 1):
                for name, app in apps.items():
                    spent = await _block(app, make)
                    if turn:  # the first one warms up
                        seconds[name].append(spent)
    return {
        "in_flight": IN_FLIGHT,
        **{f"{name}_cpu_us": spread([each * 1e6 for each in spent]) for name, spent in seconds.items()},
        "ratio": spread(ratios(seconds["ours"], seconds["get"])),
    }


async def _block(app: ASGIApp, make: Make) -> float:
    async def one_of_many() -> None:
        await drive(app, make, _EACH)

    begun = time.process_time()
    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(one_of_many())
    return (time.process_time() - begun) / (IN_FLIGHT * _EACH)
