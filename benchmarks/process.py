"""In process: what each contestant adds to a request, on one uvloop, in short rounds that take turns."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import redis
from starlette.types import ASGIApp

from benchmarks.apps import APPS
from benchmarks.contestants import CONTESTANTS, Contestant, missing
from benchmarks.driving import calls, lifespan, scopes
from benchmarks.figures import Spread, ratios, spread
from benchmarks.processes import MEASURED_CORE, bind, unbind
from benchmarks.staleness import ask_each_time
from benchmarks.timing import Make, Pair, drive, paired
from benchmarks.world import World

LONGEST_BLOCK = 0.08
"""Seconds that a contestant has in a block, if its requests would take longer."""


@dataclass(slots=True)
class Runner:
    """A contestant, ready: its application, its scopes, and what each round said."""

    contestant: Contestant
    app: ASGIApp
    make: Make
    base: Runner | None
    requests: int
    rounds: list[Pair]

    async def block(self) -> Pair:
        """Beside its base, which for a base is itself; both get the same request."""
        return await paired(self.app, self.make, (self.base or self).app, self.make, self.requests)


def run(world: World, *, rounds: int, block: int) -> dict[str, Any]:
    """All of it.

    Args:
        block: requests in a block, at most.
    """
    import uvloop

    bind(MEASURED_CORE)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_run(world, rounds=rounds, block=block))
    finally:
        unbind()


async def _run(world: World, *, rounds: int, block: int) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        runners = await _ready(world, stack, block)
        await _take_turns(runners, rounds)
        counted = await _count_commands(world, runners, block)
    asking = await ask_each_time(world, rounds=rounds)
    return {"rounds": rounds, "block": block, "missing": missing(), "rows": _rows(runners), **counted, "asking": asking}


async def _ready(world: World, stack: AsyncExitStack, block: int) -> list[Runner]:
    """Everybody who is here, each application started once and each request tried."""
    apps: dict[str, ASGIApp] = {}
    runners: dict[str, Runner] = {}
    for contestant in CONTESTANTS:
        if contestant.missing is not None:
            continue
        if contestant.app not in apps:
            apps[contestant.app] = APPS[contestant.app](world)
            await stack.enter_async_context(lifespan(apps[contestant.app]))
        app = apps[contestant.app]
        make = scopes(await contestant.prepare(world, calls(app)))
        base = None if contestant.baseline == contestant.key else runners[contestant.baseline]
        runner = runners[contestant.key] = Runner(contestant, app, make, base, 200, [])
        await runner.block()
        runner.requests = max(50, min(block, int(LONGEST_BLOCK / (await runner.block()).whole)))
    return list(runners.values())


async def _take_turns(runners: list[Runner], rounds: int) -> None:
    order = random.Random(1)  # noqa: S311 - an order, the same in each run
    for _ in range(rounds):
        order.shuffle(turns := list(runners))
        for runner in turns:
            runner.rounds.append(await runner.block())


def _rows(runners: list[Runner]) -> list[dict[str, Any]]:
    return [
        {
            "key": runner.contestant.key,
            "title": runner.contestant.title,
            "side": runner.contestant.side,
            "requests": runner.requests,
            "total_us": spread([pair.whole * 1e6 for pair in runner.rounds]),
            "added_us": spread([pair.added_us for pair in runner.rounds]),
            "added_us_each_round": [round(pair.added_us, 3) for pair in runner.rounds],
        }
        for runner in runners
    ]


def ratio(rows: dict[str, dict[str, Any]], this: str, that: str) -> Spread | None:
    """How much one row adds beside another, round by round. None: one of them is missing."""
    if this not in rows or that not in rows:
        return None
    found = ratios(rows[this]["added_us_each_round"], rows[that]["added_us_each_round"])
    return spread(found) if found else None


# ---------------------------------------------------------------------- commands


async def _count_commands(world: World, runners: list[Runner], block: int) -> dict[str, Any]:
    """Commands that reach Redis per warm request, less those of the views' beats, which an idle second tells."""
    counted: dict[str, Any] = {}
    with redis.Redis.from_url(world.redis) as client:
        await asyncio.sleep(0.5)
        before, begun = _commands(client), time.perf_counter()
        await asyncio.sleep(3)
        a_second = (_commands(client) - before) / (time.perf_counter() - begun)
        for runner in runners:
            if runner.contestant.side != "ours" or not runner.contestant.app.startswith("ours-redis"):
                continue
            before, begun = _commands(client), time.perf_counter()
            requests = block * 10
            for _ in range(requests // block):
                await drive(runner.app, runner.make, block)
                await asyncio.sleep(0)
            seconds = time.perf_counter() - begun
            commands = _commands(client) - before
            counted[runner.contestant.key] = {
                "requests": requests,
                "seconds": round(seconds, 3),
                "commands": commands,
                "of_beats": round(a_second * seconds, 1),
                "per_request": round(max(0.0, commands - a_second * seconds) / requests, 4),
            }
    return {"commands": counted, "beats_a_second": round(a_second, 1)}


def _commands(client: redis.Redis) -> int:
    stats: Any = client.info("commandstats")
    return sum(row["calls"] for name, row in stats.items() if name != "cmdstat_info")
