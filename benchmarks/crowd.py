"""One process whose view, or whose Redis, holds very much. It tells what that takes, then measures when it is told to.

`python -m benchmarks.crowd KIND COUNT`: lines of JSON out, the first one with the memory; each line in is a round.
This looks inside `asgi_auth.view`, since nobody else can put a million sessions there in a minute.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import secrets
import sys
from collections.abc import Awaitable, Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import redis
from starlette.types import ASGIApp, Scope

from benchmarks.apps import our_settings
from benchmarks.driving import calls, lifespan, scopes
from benchmarks.entering import by_cookie, by_token, entering
from benchmarks.processes import MEASURED_CORE, bind, quiet
from benchmarks.timing import Make, paired
from benchmarks.world import World

IN_USE = 500
"""Sessions or tokens whose requests take turns."""

_REQUESTS = 2000
_COLD = 200
_AT_ONCE = 20_000

Makes = Sequence[Make]
Round = Callable[[], Awaitable[dict[str, float]]]
"""Measures once: microseconds that are added to a request, by what was measured."""


class Crowd:
    """Our application on Redis, in the middle of its lifespan."""

    def __init__(self, world: World) -> None:
        from asgi_auth import Auth, AuthMiddleware

        self.world = world
        self.auth = Auth(our_settings(world, "redis"))
        self.app = AuthMiddleware(entering, self.auth)

    async def in_view(self, count: int) -> tuple[dict[str, Any], Round]:
        """That many sessions in the view."""
        entered = [await by_cookie(calls(self.app)) for _ in range(IN_USE)]
        makes = [scopes(headers) for _, headers in entered]
        await _added(self.app, makes, _REQUESTS)
        like = await self.auth.parts.view.session(entered[0][0])
        copy = self.auth.parts.view._copy
        copy._most, copy._size, copy._room = 2 * count + IN_USE, 2**62, 2**62
        before = _memory()
        texts = _as_texts(like)
        for _ in range(count - IN_USE):
            sid, loaded = _another(texts)
            copy.admit(sid, copy.mark(), loaded)
        memory = (_memory() - before) / max(1, count - IN_USE)
        return _size("a session in the view", count, memory), lambda: self._warm("a warm session", makes)

    async def revoked(self, count: int) -> tuple[dict[str, Any], Round]:
        """That many revocations of tokens that could still live."""
        makes = [scopes(await by_token(calls(self.app))) for _ in range(IN_USE)]
        await _added(self.app, makes, _REQUESTS)
        copy = self.auth.parts.view._copy
        before = _memory()
        for _ in range(count):
            copy.revocations.ended(secrets.token_urlsafe(18))
        memory = (_memory() - before) / count

        async def measure() -> dict[str, float]:
            warm = await self._warm("a warm token", makes)

            async def after_another(scope: Scope, receive: Any, send: Any) -> None:
                copy.version += 1
                await self.app(scope, receive, send)

            seen = await _added(after_another, makes, _REQUESTS)
            return {**warm, "a warm token, a revocation just before each request": seen}

        return _size("a revocation", count, memory), measure

    async def in_store(self, count: int) -> tuple[dict[str, Any], Round]:
        """That many sessions in Redis, none in the view."""
        entered = [await by_cookie(calls(self.app)) for _ in range(_COLD)]
        makes = [scopes(headers) for _, headers in entered]
        with redis.Redis.from_url(self.world.redis) as client:
            before = client.info("memory")["used_memory"]
            _multiply(client, entered[0][0], count - _COLD)
            memory = (client.info("memory")["used_memory"] - before) / max(1, count - _COLD)

        async def measure() -> dict[str, float]:
            fresh = Crowd(self.world)
            async with lifespan(fresh.app):
                return {"a session's first request in a process": await _added(fresh.app, makes, _COLD)}

        return _size("a session in Redis", count, memory), measure

    async def _warm(self, what: str, makes: Makes) -> dict[str, float]:
        return {what: await _added(self.app, makes, _REQUESTS)}


async def _added(app: ASGIApp, makes: Makes, requests: int) -> float:
    """Microseconds that the application takes longer than what is inside it, with requests that take turns."""
    return (await paired(app, _turns(makes), entering, _turns(makes), requests)).added_us


def _turns(makes: Makes) -> Make:
    again = cycle(makes)
    return lambda: next(again)()


# ---------------------------------------------------------------------- filling


def _as_texts(loaded: Any) -> str:
    """A loaded session as the store keeps it."""
    from asgi_auth.stores.codec import record_fields, user_fields

    kept = {"revision": "1", "ended_below": "0", "checked_at": "0.0"}
    fields = [record_fields(loaded.record), dict(loaded.record.data), user_fields(loaded.user) | kept, loaded.now]
    return json.dumps(fields)


def _another(texts: str) -> tuple[str, Any]:
    """Another session like it, of another user. As after a load, it shares no object with others."""
    from asgi_auth.stores import Loaded
    from asgi_auth.stores.codec import record, user_row

    fields, data, user, now = json.loads(texts)
    sid, user_id = secrets.token_urlsafe(18), secrets.token_hex(16)
    fields["user"] = user_id
    return sid, Loaded(record(sid, fields, data), user_row(user_id, user), now)


def _multiply(client: redis.Redis, sid: str, count: int) -> None:
    """Copy a session inside the server, under other ids."""
    keys: Any = client.keys(f"*{sid}")
    (key,) = keys
    place = key.removesuffix(sid.encode())
    copy = client.register_script("for _, id in ipairs(ARGV) do redis.call('COPY', KEYS[1], KEYS[2] .. id) end")
    for start in range(0, count, _AT_ONCE):
        copy([key, place], [secrets.token_urlsafe(18) for _ in range(min(_AT_ONCE, count - start))])


def _memory() -> int:
    """Bytes that this process has in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _size(what: str, count: int, bytes_each: float) -> dict[str, Any]:
    return {"what": what, "count": count, "bytes_each": round(bytes_each)}


async def main(kind: str, count: int) -> None:
    """In a process of its own."""
    crowd = Crowd(World.load())
    async with lifespan(crowd.app):
        makers = {"in_view": crowd.in_view, "revoked": crowd.revoked, "in_store": crowd.in_store}
        size, measure = await makers[kind](count)
        print(json.dumps(size), flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await measure()), flush=True)


if __name__ == "__main__":
    import uvloop

    quiet()
    bind(MEASURED_CORE)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1], int(sys.argv[2])))
