"""How the Redis store runs a verb's script: in the partition that holds its keys, or in each of them.

A script finds keys of one partition alone. What concerns several runs in each, in one buffer to each server, and
is no longer one operation: those verbs say how they are repeated.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from asgi_auth.clock import Clock
from asgi_auth.errors import ConfigurationError, StoreUnavailable
from asgi_auth.stores.redis_checks import misconfiguration
from asgi_auth.stores.redis_client import RedisClient, Value
from asgi_auth.stores.redis_layout import Layout

SCHEMA = "2"
"""Of the keys. The first one had sessions with long names, and nothing that could be swept."""

OF_A_CLUSTER = 16
"""Partitions that a new store has there, where nobody says another number."""

_log = logging.getLogger("asgi_auth")


class Partitioned:
    """A client of a deployment and the layout of the keys there.

    Args:
        url: see `RedisStore`.
        timeout: seconds after which a verb raises `StoreUnavailable`.
        clock: decides instead of the server's `TIME`. For tests.

    Raises:
        ConfigurationError: the URL is none.
    """

    durable = True

    def __init__(self, url: str, *, timeout: float = 2.0, clock: Clock | None = None) -> None:
        self.clock = clock
        self._client = RedisClient(url, timeout=timeout)
        self._known: Layout | None = None

    async def open(self) -> None:
        try:
            await self._client.open()
            layout = await self._settle()
        except StoreUnavailable as error:
            wrong = misconfiguration(error.__cause__)
            if wrong is None:
                raise
            raise ConfigurationError(f"ASGI_AUTH_STORE: {wrong}") from error.__cause__
        if self._client.partitions not in (None, layout.size):
            _log.warning(
                "ASGI_AUTH_STORE: ?partitions=%d, but this store was made with %d, which stands: what is there would "
                "not be found otherwise. Another number needs another ?prefix=, which logs everybody out",
                self._client.partitions,
                layout.size,
            )

    async def aclose(self) -> None:
        await self._client.aclose()

    def partition(self, user_id: str | None) -> str:
        layout = self._known
        if layout is None:
            raise StoreUnavailable("the store was not opened yet")
        return f"{secrets.randbelow(layout.size) if user_id is None else layout.of_user(user_id):02x}"

    # How many partitions there are

    async def _layout(self) -> Layout:
        return self._known or await self._settle()

    async def _settle(self) -> Layout:
        """Who starts a store says how many partitions it has; for all others, and later ones, that stands."""
        usual = OF_A_CLUSTER if self._client.is_cluster else 1
        tag = Layout(self._client.prefix, 1).tag(0)
        names = f"{tag}once:schema", f"{tag}once:partitions"
        schema, count = await self._client.one("MGET", *names)
        if schema is None:  # both are written or none, whoever else is here
            await self._client.one("MSETNX", names[0], SCHEMA, names[1], self._client.partitions or usual, change=True)
            schema, count = await self._client.one("MGET", *names)
        if schema != SCHEMA or not (count or "1").isdecimal():
            raise ConfigurationError(
                f"ASGI_AUTH_STORE: these keys were made by another version of asgi-auth (schema {schema!r}, this one "
                f"has {SCHEMA!r}): upgrade, or choose another ?prefix="
            )
        self._known = Layout(self._client.prefix, int(count or "1"))
        return self._known

    # Scripts. The first argument says where; `change`: it writes what must not be lost; `raw`: texts stay bytes

    async def _of_session(self, script: str, sid: str, *arguments: Value, change: bool) -> Any:
        layout = await self._layout()
        return await self._run(layout, layout.of_sid(sid), script, sid, *arguments, change=change)

    async def _of_user(self, script: str, user_id: str, *arguments: Value, change: bool) -> Any:
        layout = await self._layout()
        return await self._run(layout, layout.of_user(user_id), script, user_id, *arguments, change=change)

    async def _of_token(self, script: str, text: str, *arguments: Value, change: bool) -> Any:
        layout = await self._layout()
        return await self._run(layout, layout.of_token(text), script, text, *arguments, change=change)

    async def _of_all(self, script: str, *arguments: Value, change: bool) -> Any:
        """What belongs to nobody: partition 0."""
        return await self._run(await self._layout(), 0, script, *arguments, change=change)

    async def _run(
        self, layout: Layout, partition: int, script: str, *arguments: Value, change: bool, raw: bool = False
    ) -> Any:
        return (await self._each(layout, script, {partition: arguments}, change=change, raw=raw))[partition]

    async def _each(
        self,
        layout: Layout,
        script: str,
        arguments: Mapping[int, Sequence[Value]],
        *,
        change: bool,
        raw: bool = False,
    ) -> dict[int, Any]:
        """A script in several partitions, and its reply in each. If one gives none, what the others did stands."""
        clock = None if self.clock is None else self.clock()
        tags = {partition: layout.tag(partition) for partition in arguments}
        asked = {
            f"{tag}era": (tag, clock, secrets.token_hex(8), *arguments[partition]) for partition, tag in tags.items()
        }
        replies = await self._client.run(script, asked, change=change, raw=raw)
        return {partition: replies[f"{tag}era"] for partition, tag in tags.items()}

    async def _everywhere(self, script: str, *arguments: Value, change: bool) -> dict[int, Any]:
        layout = await self._layout()
        return await self._each(layout, script, dict.fromkeys(range(layout.size), arguments), change=change)
