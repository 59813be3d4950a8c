"""The Redis store's verbs on what it tells: the feed, who follows it, what kills tokens, which history this is.

Each partition has a stream, members and an era of its own. A history is that of all partitions: where one begins anew,
the store does.
"""

from __future__ import annotations

import secrets
from typing import Literal, cast

from asgi_auth.errors import StoreUnavailable
from asgi_auth.model import Reason
from asgi_auth.stores import Cursor, Entry, History, Revocation
from asgi_auth.stores import redis_replies as replies
from asgi_auth.stores.feed import Member
from asgi_auth.stores.redis_feed import RedisFeed
from asgi_auth.stores.redis_layout import Layout
from asgi_auth.stores.redis_partitions import Partitioned


class HistoryVerbs(Partitioned):
    """Of `Store`."""

    def feed(self) -> RedisFeed:
        return RedisFeed(self._client, self._layout)

    async def events(self, after: Cursor = (), limit: int = 1000) -> list[Entry]:
        layout, found = await self._layout(), []
        for partition in range(layout.size):
            start = f"({after[partition].id}" if after else "-"
            page = await self._client.one("XRANGE", f"{layout.tag(partition)}events", start, "+", "COUNT", limit)
            found += [replies.entry(partition, *one) for one in page]
        return sorted(found, key=lambda entry: (entry.order, entry.partition))[:limit]

    async def newest(self) -> Cursor:
        found = await self._everywhere("newest", change=False)
        return tuple(replies.entry(partition, *found[partition]) for partition in sorted(found))

    async def behind(self, mark: Cursor | None) -> list[Member]:
        layout = await self._layout()
        if mark is not None and len(mark) != layout.size:
            raise StoreUnavailable("the feed is another one")
        asked = {at: ("", "") if mark is None else mark[at][:2] for at in range(layout.size)}
        found = await self._each(layout, "behind", asked, change=False)
        return [
            Member(name, float(value.rsplit(" ", 1)[1]), value, partition)
            for partition, members in found.items()
            for name, value in members
        ]

    async def expel(self, member: Member) -> None:
        layout = await self._layout()
        await self._run(layout, member.partition, "expel", member.name, member.value, change=False)

    async def history(self) -> History:
        await self._settle()  # a store that was emptied is begun anew, by whoever asks first
        found = await self._histories()
        epoch = 0
        for name, *_ in found.values():
            epoch ^= int(name, 16)
        eras = {int(era) for _, era, _ in found.values()}
        return History(f"{epoch:08x}", eras.pop() if len(eras) == 1 else -1, float(found[0][2]))

    async def _histories(self) -> dict[int, list[str]]:
        layout = await self._layout()
        # For those that have none. Each gets another: together, equal ones would be the name of every store.
        names = {partition: (secrets.token_hex(4),) for partition in range(layout.size)}
        return await self._each(layout, "history", names, change=False)

    async def end_all(self, reason: Reason, *, lost: int | None = None) -> None:
        layout = await self._layout()
        others = range(1, layout.size)
        if others:
            # The same era for all, also after an end that some have not heard of. The first partition comes last, and
            # tells that it is so everywhere.
            if lost is None:
                lost = 1 + max(int(era) for _, era, _ in (await self._histories()).values())
            await self._each(layout, "end_all", dict.fromkeys(others, (reason, lost, "")), change=True)
        await self._run(layout, 0, "end_all", reason, lost, True, change=True)

    async def revocations(self, after: str = "", limit: int = 5000) -> list[Revocation]:
        layout = await self._layout()
        found: list[Revocation] = []
        for partition in range(_partition_of(layout, after), layout.size):
            page = await self._run(layout, partition, "revocations", after, limit - len(found), change=False)
            found += [_revocation(*one) for one in page]
            if len(found) == limit:
                break
            after = ""
        return found


def _partition_of(layout: Layout, member: str) -> int:
    """Where a revocation stands, `kind:key`; the first one, if it is none."""
    kind, _, key = member.partition(":")
    place = {"jti": layout.of_token, "sid": layout.of_sid, "user": layout.of_user}.get(kind)
    return 0 if place is None else place(key)


def _revocation(member: str, value: str, until: str) -> Revocation:
    kind, _, key = member.partition(":")
    return Revocation(cast("Literal['jti', 'sid', 'user']", kind), key, int(value), float(until))
