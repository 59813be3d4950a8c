"""The store on Redis or Valkey. Each verb is one Lua script (`lua/`), so it happens whole and once.

Here a verb becomes a script's arguments and its reply the answer. What the scripts do, and how the keys are laid out,
stands in `lua/common.lua`; where a script runs in `redis_partitions`; how servers are reached in `redis_client`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, cast

from asgi_auth.clock import Clock
from asgi_auth.errors import StoreUnavailable
from asgi_auth.model import Reason
from asgi_auth.recent import Recent
from asgi_auth.stores import (
    LISTED,
    SWEPT,
    Ended,
    Exchange,
    Exchanged,
    Hit,
    Limit,
    Loaded,
    Presented,
    Swept,
    rules,
)
from asgi_auth.stores import redis_replies as replies
from asgi_auth.stores.codec import Broken
from asgi_auth.stores.redis_client import Value, decoded
from asgi_auth.stores.redis_create import CreateVerb
from asgi_auth.stores.redis_history import HistoryVerbs
from asgi_auth.stores.redis_users import UserVerbs

PARSED = 5000
"""As many sessions are not read anew while they are as they were."""

_PARSED_SIZE = 6000


class RedisStore(CreateVerb, UserVerbs, HistoryVerbs):
    """`Store` on one deployment of Redis (7.0 or later) or Valkey.

    Args:
        url: `redis://`, `rediss://`, `unix://`, `redis+sentinel://` or `redis+cluster://`; `?prefix=` for our keys
            (`asgi-auth:`), `?partitions=` for how many parts a new store has; other options are redis-py's.
        timeout: seconds after which a verb raises `StoreUnavailable`.
        clock: decides instead of the server's `TIME`. For tests.

    Raises:
        ConfigurationError: the URL is none.
    """

    def __init__(self, url: str, *, timeout: float = 2.0, clock: Clock | None = None) -> None:
        super().__init__(url, timeout=timeout, clock=clock)
        self._parsed: Recent[tuple[list[bytes], list[bytes], Loaded]]
        self._parsed = Recent(most=PARSED, size=PARSED * _PARSED_SIZE, value_size=_PARSED_SIZE)

    async def once(self, name: str, default: str) -> str:
        tag = (await self._layout()).tag(0)
        there = await self._client.one("SET", f"{tag}once:{name}", default, "NX", "GET", change=True)
        return default if there is None else str(there)

    async def keys(self) -> str | None:
        tag = (await self._layout()).tag(0)
        ring: str | None = await self._client.one("GET", f"{tag}keys")
        return ring

    async def put_keys(self, expected: str | None, ring: str) -> bool:
        return bool(await self._of_all("put_keys", expected, ring, change=True))

    async def load(self, sid: str) -> Loaded | Ended | None:
        return (await self.load_all([sid]))[sid]

    async def load_all(self, sids: Collection[str]) -> dict[str, Loaded | Ended | None]:
        layout = await self._layout()
        groups = layout.grouped(sids)
        pages = await self._each(layout, "load", groups, change=False, raw=True)
        found: dict[str, Loaded | Ended | None] = {}
        for partition, group in groups.items():
            for sid, (kind, *rest) in zip(group, pages[partition], strict=True):
                try:
                    if kind == b"loaded":
                        found[sid] = self._parse(sid, *rest)
                    elif kind != b"broken":
                        found[sid] = replies.ended(decoded(rest)) if kind == b"ended" else None
                    else:
                        raise Broken
                except Broken:
                    found[sid] = await self.end(sid, "broken") or await self.load(sid)
        return found

    def _parse(self, sid: str, now: bytes, record: list[bytes], user: list[bytes]) -> Loaded:
        """A session. What is byte for byte what it was the last time is not read again."""
        known = self._parsed.get(sid.encode("ascii"))
        if known is not None and known[0] == record and known[1] == user:
            return Loaded(known[2].record, known[2].user, float(now))
        loaded = replies.loaded(sid, decoded((b"loaded", now, record, user)))
        self._parsed.put(sid.encode("ascii"), (record, user, loaded))
        return loaded

    async def write_data(
        self, sid: str, put: Mapping[str, str], delete: Collection[str], *, max_size: int
    ) -> int | Literal["gone", "too_large"]:
        deleted = [f"d:{key}" for key in delete]
        written = replies.flat({f"d:{key}": value for key, value in put.items()})
        reply = await self._of_session("write_data", sid, max_size, len(deleted), *deleted, *written, change=True)
        return cast('int | Literal["gone", "too_large"]', reply)

    async def touch(self, sids: Collection[str] | Mapping[str, float]) -> None:
        layout, used = await self._layout(), rules.seconds_ago(sids)
        groups = layout.grouped(used).items()
        asked = {partition: replies.flat({sid: repr(used[sid]) for sid in group}) for partition, group in groups}
        await self._each(layout, "touch", asked, change=False)

    async def rotate(self, presented: Presented, digest: str, *, grace: float) -> bool:
        return bool(await self._of_session("rotate", *presented, digest, grace, change=True))

    async def elevate(
        self, presented: Presented, digest: str, *, amr: Collection[str], acr: str, token_lifetime: float
    ) -> Loaded | None:
        methods = [json.dumps(method) for method in amr]
        reply = await self._of_session("elevate", *presented, digest, acr, token_lifetime, *methods, change=True)
        try:
            return None if reply is None else replies.loaded(presented.sid, reply)
        except Broken:
            await self.end(presented.sid, "broken")
            return None

    async def end(self, sid: str, reason: Reason) -> Ended | None:
        reply = await self._of_session("end", sid, reason, change=True)
        return None if reply is None else replies.ended(reply)

    async def supersede(self, sid: str) -> Ended | None:
        reply = await self._of_session("supersede", sid, change=True)
        return None if reply is None else replies.ended(reply)

    async def sweep(self, limit: int = SWEPT) -> Swept:
        # One partition after another, from any of them on: what one has told is not lost when the next is silent.
        layout = await self._layout()
        first, ended, full = secrets.randbelow(layout.size), list[Ended](), False
        for partition in (*range(first, layout.size), *range(first)):
            try:
                found, more = await self._run(layout, partition, "sweep", limit - len(ended), change=False)
            except StoreUnavailable:
                if not ended:
                    raise
                break
            ended += map(replies.ended, found)
            full = full or bool(more)
            if len(ended) >= limit:
                break
        return Swept(tuple(ended), full)

    async def sessions(self, user_id: str) -> list[Loaded]:
        now, user, found = await self._of_user("sessions", user_id, LISTED, change=False)
        sessions = []
        for sid, flat in found:
            try:
                sessions.append(replies.loaded(sid, ("loaded", now, flat, user)))
            except Broken:
                await self.end(sid, "broken")
        return sorted(sessions, key=lambda loaded: (loaded.record.created_at, loaded.record.sid), reverse=True)

    async def exchange(self, asked: Exchange) -> Exchanged:
        outcome, *rest = await self._of_session("exchange", asked.sid, *asked[1:-1], *asked.windows, change=True)
        if not rest:
            return Exchanged(outcome)
        nonce, loaded = rest
        try:
            return Exchanged(outcome, nonce, replies.loaded(asked.sid, loaded))
        except Broken:
            await self.end(asked.sid, "broken")
            return Exchanged("ended")

    async def confirm(self, sid: str, generation: int) -> None:
        await self._of_session("confirm", sid, generation, change=False)

    async def deny(self, jti: str, lifetime: float) -> None:
        await self._of_token("deny", jti, lifetime, change=True)

    async def denied(self, jti: str) -> bool:
        return bool(await self._of_token("denied", jti, change=False))

    async def seen_before(self, key: str, lifetime: float) -> bool:
        # A change: what was used once must not be good again after a failover.
        return bool(await self._of_token("seen_before", key, lifetime, change=True))

    async def hit(self, limits: Sequence[Limit]) -> Hit:
        arguments: list[Value] = []
        for limit in limits:
            arguments += limit.key, limit.allowed, limit.window, limit.unless, *(limit.waits or (None, None))
        wait, counts = await self._of_all("hit", *arguments, change=False)
        return Hit(float(wait), tuple(counts))

    async def unhit(self, undo: Collection[str], clear: Collection[str]) -> None:
        await self._of_all("unhit", len(undo), *undo, *clear, change=False)
