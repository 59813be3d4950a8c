"""Many processes on one feed: how long after a revocation returned each of them still lets the session in."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.apps import our_settings
from benchmarks.driving import calls, lifespan
from benchmarks.entering import by_cookie, entering
from benchmarks.figures import percentile
from benchmarks.follower import EVERY
from benchmarks.world import World

PROCESSES = 8

METHOD = (
    f"Each process asks with the session's cookie every {EVERY * 1000:g} ms, in process; a ninth one revokes and notes "
    "when revoke() returned. Seen: when the first refused request began, by the clock that all share; a request after "
    f"that is not let in, and up to {EVERY * 1000:g} ms of it is the polling. Answered: when its 401 was sent. Below "
    "zero: before revoke() returned. All processes share the machine's cores."
)

_PATIENCE = 60.0

_PAUSE = 0.03
"""Seconds between two revocations, at most: each meets the beats at another moment."""


def run(world: World, *, revocations: int) -> dict[str, Any]:
    """On Redis, then on SQLite."""
    return {
        "processes": PROCESSES,
        "revocations": revocations,
        "method": METHOD,
        "stores": {store: asyncio.run(_measure(world, store, revocations)) for store in ("redis", "sqlite")},
    }


async def _measure(world: World, store: str, revocations: int) -> dict[str, Any]:
    from asgi_auth import Auth, AuthMiddleware

    auth = Auth(our_settings(world, store))
    app = AuthMiddleware(entering, auth)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(lifespan(app))
        sessions = [await by_cookie(calls(app)) for _ in range(revocations)]
        cookies = json.dumps([headers[0][1].decode() for _, headers in sessions]).encode() + b"\n"
        followers = [await stack.enter_async_context(_follower(world, store, cookies)) for _ in range(PROCESSES)]
        for follower in followers:
            await _line(follower)  # ready
        seen: list[float] = []
        answered: list[float] = []
        order = random.Random(1)  # noqa: S311 - pauses, the same in each run
        for sid, _ in sessions:
            await asyncio.sleep(order.uniform(0, _PAUSE))
            await auth.revoke(sid)
            returned = time.clock_gettime(time.CLOCK_MONOTONIC)
            for line in await asyncio.gather(*(_line(follower) for follower in followers)):
                _, begun, ended = map(float, line.split())
                seen.append((begun - returned) * 1000)
                answered.append((ended - returned) * 1000)
    return {"seen_ms": _percentiles(seen), "answered_ms": _percentiles(answered)}


def _percentiles(late: list[float]) -> dict[str, float]:
    return {"p50": percentile(late, 50), "p99": percentile(late, 99), "longest": max(late)}


@asynccontextmanager
async def _follower(world: World, store: str, cookies: bytes) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.follower",
        store,
        cwd=Path(__file__).parents[1],
        env=world.environment(),
        stdin=PIPE,
        stdout=PIPE,
    )
    try:
        assert process.stdin is not None
        process.stdin.write(cookies)
        await process.stdin.drain()
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _line(follower: Process) -> bytes:
    assert follower.stdout is not None
    line = await asyncio.wait_for(follower.stdout.readline(), _PATIENCE)
    if not line:
        raise RuntimeError("a process that followed the feed ended: see what it said above")
    return line
