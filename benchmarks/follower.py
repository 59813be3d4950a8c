"""One of many processes on a feed: has used every session, then says of one after another when it first refused it.

`python -m benchmarks.follower STORE`: a line of JSON in, the cookies; lines out: `ready`, then index and two times.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from starlette.types import ASGIApp

from benchmarks.bare import bare
from benchmarks.driving import lifespan, scopes, serve
from benchmarks.processes import quiet
from benchmarks.world import World

EVERY = 0.001
"""Seconds between two looks: the finest that event loops can wait."""


async def follow(app: ASGIApp, cookies: list[str]) -> None:
    """Ask with each cookie until it is refused; say when that request began and when it was answered."""
    makes = [scopes([(b"cookie", cookie.encode())]) for cookie in cookies]
    async with lifespan(app):
        for make in makes:
            status = await serve(app, make())
            assert status == 200, status
        print("ready", flush=True)
        for index, make in enumerate(makes):
            while True:
                begun = _now()
                if await serve(app, make()) == 401:
                    break
                await asyncio.sleep(EVERY)
            print(index, begun, _now(), flush=True)


def _now() -> float:
    """By the clock that all processes of a machine share."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def main() -> None:
    """In a process of its own."""
    import uvloop

    from asgi_auth import AuthMiddleware
    from benchmarks.apps import our_settings

    quiet()
    app = AuthMiddleware(bare, settings=our_settings(World.load(), sys.argv[1], protect="/*"))
    cookies = json.loads(sys.stdin.readline())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(follow(app, cookies))


if __name__ == "__main__":
    main()
