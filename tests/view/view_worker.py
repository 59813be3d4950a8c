"""Another process with a view that follows a store: says `"ready"`, then answers each line with a line of JSON.

python view_worker.py <url> <staleness>

`hold SID`      be able to answer for a living session at once
`ask SID`       what the view says of a session, and whether the store was asked
`stop SID`      says `"stopping"` and does nothing at all until the next line comes; then as `ask`, before anything else
`fork SID`      what a forked child has
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import anyio
from view_helpers import Stage, is_current, is_warm, kind_of, until

from asgi_auth.stores.opening import open_store
from asgi_auth.view import View


def say(value: Any) -> None:
    print(json.dumps(value), flush=True)


class Process:
    def __init__(self, url: str, staleness: float) -> None:
        self._stage = Stage(open_store(url, timeout=5.0))
        self._view = View(self._stage, staleness=staleness)  # type: ignore[arg-type]

    async def run(self) -> None:
        await self._stage.open()
        async with anyio.create_task_group() as group:
            group.start_soon(self._view.follower.run)
            for feed in self._stage.feeds:
                feed.listens = True
            await until(lambda: is_current(self._view))
            say("ready")
            while words := (await anyio.to_thread.run_sync(sys.stdin.readline)).split():
                await getattr(self, words[0])(*words[1:])
            group.cancel_scope.cancel()
        await self._view.follower.leave()
        await self._stage.aclose()

    async def hold(self, sid: str) -> None:
        state = kind_of(await self._view.session(sid))
        await until(lambda: is_warm(self._view, sid))
        say({"state": state, "warm": True})

    async def ask(self, sid: str) -> None:
        warm, before = is_warm(self._view, sid), self._stage.loads
        state = kind_of(await self._view.session(sid))
        say({"warm": warm, "state": state, "asked": self._stage.loads > before})

    async def stop(self, sid: str) -> None:
        say("stopping")
        sys.stdin.readline()  # on the loop, so that nothing else runs
        await self.ask(sid)

    async def fork(self, sid: str) -> None:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            follower, held = self._view.follower, self._view.held(sid)
            found = {
                "lease": follower.lease_until != float("-inf"),
                "current": is_current(self._view),
                "held": held is not None,
                "feeds": len(self._stage.feeds),
            }
            os.write(writing, json.dumps(found).encode())
            os._exit(0)
        os.waitpid(child, 0)  # noqa: ASYNC222 (it does next to nothing)
        os.close(writing)
        with os.fdopen(reading) as answer:
            found = json.loads(answer.read())
        say({"child": found, "warm": is_warm(self._view, sid)})


if __name__ == "__main__":
    anyio.run(Process(sys.argv[1], float(sys.argv[2])).run)
