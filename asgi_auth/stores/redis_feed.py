"""The feed on Redis: beats on one connection of their own to each server, messages on another."""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable

from asgi_auth.errors import StoreUnavailable
from asgi_auth.stores import Cursor, Entry
from asgi_auth.stores import redis_replies as replies
from asgi_auth.stores.feed import PAGE, Beat
from asgi_auth.stores.redis_client import RedisClient
from asgi_auth.stores.redis_layout import Layout

_PATIENCE = 1.0
"""Seconds that a beat may take whose answer proves nothing."""


class RedisFeed:
    """`Feed` over a client: in each partition a member `readers`, a stream and a channel `events`.

    Args:
        layout: says what the partitions are.
    """

    instant = False

    def __init__(self, client: RedisClient, layout: Callable[[], Awaitable[Layout]]) -> None:
        self._client = client
        self._layout = layout
        self._name = secrets.token_hex(8)
        self._beats = 0

    @property
    def turns(self) -> int:
        return self._client.turns

    def look(self, cursor: Cursor) -> Beat:
        raise StoreUnavailable("a server is not asked without waiting")

    async def beat(self, cursor: Cursor, lease: float) -> Beat:
        layout = await self._layout()
        if len(cursor) != layout.size:
            return Beat(None)
        self._beats += 1
        asked = {}
        for at in cursor:
            tag, value = layout.tag(at.partition), f"{self._beats} {at.id} {at.nonce} {lease:.17g}"
            asked[f"{tag}readers"] = [
                ("HSET", f"{tag}readers", self._name, value),
                ("XRANGE", f"{tag}events", at.id, "+", "COUNT", PAGE),
            ]
        answers = await self._client.beat(asked, timeout=lease or _PATIENCE)
        return Beat.joined(
            Beat.of([replies.entry(at.partition, *reply) for reply in page], at)
            for at, (_, page) in zip(cursor, answers.values(), strict=True)
        )

    async def listen(self, hear: Callable[[Entry | None], None]) -> None:
        layout = await self._layout()
        channels = {f"{layout.tag(partition)}events": partition for partition in range(layout.size)}
        await self._client.listen(list(channels), lambda channel, text: hear(_told(channels[channel], text)))

    async def leave(self) -> None:
        layout = await self._layout()
        try:
            for partition in range(layout.size):
                await self._client.one("HDEL", f"{layout.tag(partition)}readers", self._name)
        finally:
            await self._client.close_feed()


def _told(partition: int, text: str) -> Entry | None:
    """What a message says; None: whatever it was, there is something to look for."""
    try:
        entry_id, nonce, kind, *values = json.loads(text)
        return replies.entry(partition, entry_id, ["nonce", nonce, "kind", kind, *map(str, values)])
    except (ValueError, TypeError, StoreUnavailable):
        return None
