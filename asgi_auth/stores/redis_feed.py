"""The feed on Redis: beats on one connection of their own, messages on another."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence

from asgi_auth.errors import StoreUnavailable
from asgi_auth.stores import Cursor, Entry
from asgi_auth.stores.feed import PAGE, Beat
from asgi_auth.stores.redis_client import RedisClient

_PATIENCE = 1.0
"""Seconds that a beat may take whose answer proves nothing."""


class RedisFeed:
    """`Feed` over a client: member `readers` of our keys, stream and channel `events`.

    Args:
        tag: what all our keys begin with.
        entry: makes an `Entry` of an id and its flat fields.
    """

    instant = False

    def __init__(self, client: RedisClient, tag: str, entry: Callable[[str, Sequence[str]], Entry]) -> None:
        self._client = client
        self._tag = tag
        self._entry = entry
        self._name = secrets.token_hex(8)
        self._beats = 0

    @property
    def turns(self) -> int:
        return self._client.turns

    def look(self, cursor: Cursor) -> Beat:
        raise StoreUnavailable("a server is not asked without waiting")

    async def beat(self, cursor: Cursor, lease: float) -> Beat:
        self._beats += 1
        (at,) = cursor
        value = f"{self._beats} {at.id} {at.nonce} {lease:.17g}"
        readers = f"{self._tag}readers"
        asked = [
            ("HSET", readers, self._name, value),
            ("XRANGE", f"{self._tag}events", at.id, "+", "COUNT", PAGE),
        ]
        _, found = (await self._client.beat({readers: asked}, timeout=lease or _PATIENCE))[readers]
        return Beat.of([self._entry(*reply) for reply in found], at)

    async def listen(self, hear: Callable[[Entry | None], None]) -> None:
        await self._client.listen([f"{self._tag}events"], lambda _, text: hear(self._told(text)))

    def _told(self, text: str) -> Entry | None:
        try:
            entry_id, nonce, kind, *values = json.loads(text)
            return self._entry(entry_id, ["nonce", nonce, "kind", kind, *map(str, values)])
        except (ValueError, TypeError, StoreUnavailable):
            return None  # whatever it was: look

    async def leave(self) -> None:
        try:
            await self._client.one("HDEL", f"{self._tag}readers", self._name)
        finally:
            await self._client.close_feed()
