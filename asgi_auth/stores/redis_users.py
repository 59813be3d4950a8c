"""The Redis store's verbs on users. A user's row and sessions share a partition; whose name it is may stand in another.

Then a name is taken in steps, each of which may be repeated or never come: it is reserved, the row is written, the old
name is let go of. What decides is the row: a name that stands for a user whose row has another is nobody's, and after
`RESERVED` seconds anybody may have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

from asgi_auth.model import Reason, UserRow
from asgi_auth.stores import Ended, Keep, codec
from asgi_auth.stores import redis_replies as replies
from asgi_auth.stores.redis_client import Value
from asgi_auth.stores.redis_layout import Layout
from asgi_auth.stores.redis_partitions import Partitioned

RESERVED = 10.0
"""Seconds in which nobody else gets a name that was reserved, though no row has it yet."""


class UserVerbs(Partitioned):
    """Of `Store`."""

    async def user(self, user_id: str) -> UserRow | None:
        return replies.user(user_id, await self._row(await self._layout(), user_id))

    async def user_by_name(self, name_key: str) -> UserRow | None:
        layout = await self._layout()
        if layout.size == 1:
            reply = await self._of_all("user_by_name", name_key, change=False)
            return None if reply is None else replies.user(*reply)
        owner = await self._client.one("GET", f"{layout.tag(layout.of_name(name_key))}n:{name_key}")
        if owner is None:
            return None
        row = await self._row(layout, owner)
        return replies.user(owner, row) if _name_of(row) == name_key else None

    async def _row(self, layout: Layout, user_id: str) -> list[str]:
        row: list[str] = await self._client.one("HGETALL", f"{layout.tag(layout.of_user(user_id))}u:{user_id}")
        return row

    async def save_user(
        self,
        row: UserRow,
        *,
        name_key: str | None = None,
        expected: int | None,
        bump: bool = True,
        ends: Reason | None = None,
        keep: Keep | None = None,
    ) -> int | Literal["changed", "taken"]:
        layout = await self._layout()
        apart = layout.size > 1
        if apart and name_key is not None:
            refusal = await self._reserve(layout, row, name_key, expected)
            if refusal is not None:
                return refusal
        asked: tuple[Value, ...] = (expected, bump, ends, *(keep or Keep("")), name_key, row.name is not None, apart)
        fields = replies.flat(codec.user_fields(row))
        saved, *freed = await self._of_user("save_user", row.id, *asked, *fields, change=True)
        if any(freed):
            await self._free(layout, freed[0], row.id)
        return cast('int | Literal["changed", "taken"]', saved)

    async def _reserve(
        self, layout: Layout, row: UserRow, name_key: str, expected: int | None
    ) -> Literal["changed", "taken"] | None:
        """Take a name for a user whose row will have it, unless the row has it already."""
        before = replies.fields_of(await self._row(layout, row.id))
        there = bool(before) and before.get("deleted") != "1"
        if (before.get("revision") if there else None) != (None if expected is None else str(expected)):
            return "changed"
        if there and before.get("name_key") == name_key:
            return None
        partition, gone = layout.of_name(name_key), ""
        while owner := await self._run(layout, partition, "reserve", name_key, row.id, gone, RESERVED, change=True):
            if owner == gone or _name_of(await self._row(layout, owner)) == name_key:
                return "taken"
            gone = owner  # its row has another name by now, or has never been written
        return None

    async def _free(self, layout: Layout, name_key: str, user_id: str) -> None:
        await self._run(layout, layout.of_name(name_key), "free", name_key, user_id, change=True)

    async def delete_user(self, user_id: str) -> tuple[Ended, ...] | None:
        layout = await self._layout()
        reply = await self._of_user("delete_user", user_id, layout.size > 1, change=True)
        if reply is None:
            return None
        ended, freed = reply
        if freed:
            await self._free(layout, freed, user_id)
        return tuple(map(replies.ended, ended))

    async def end_user(
        self,
        user_id: str,
        reason: Reason,
        *,
        keep: Keep | None = None,
        disable: bool | None = None,
        lost: int | None = None,
    ) -> tuple[Ended, ...] | None:
        disabled = None if disable is None else int(disable)
        reply = await self._of_user("end_user", user_id, reason, *(keep or Keep("")), disabled, lost, change=True)
        return None if reply is None else tuple(map(replies.ended, reply))

    async def users(self, after: str = "", limit: int = 100) -> list[UserRow]:
        pages = await self._everywhere("users", after, limit, change=False)
        found = [replies.user(*one) for page in pages.values() for one in page]
        return sorted((row for row in found if row is not None), key=lambda row: row.id)[:limit]


def _name_of(row: Sequence[str]) -> str | None:
    """The compared form of the name that a row has."""
    return replies.fields_of(row).get("name_key")
