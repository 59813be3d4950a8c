"""A Redis Cluster: which node holds a key, learnt from any of them, and whether the others still say the same.

A primary that was replaced while it was cut off or frozen answers on, so the other primaries are asked: a command on a
key that is not theirs they refuse with the name of the owner, which is their opinion.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import anyio
import redis
import redis.exceptions

from asgi_auth.errors import StoreUnavailable
from asgi_auth.loops import PerLoop
from asgi_auth.stores.redis_address import Way
from asgi_auth.stores.redis_links import Links
from asgi_auth.stores.redis_slots import SlotTable, named_by, quorum, slot_of
from asgi_auth.stores.redis_topology import Redirect, Server

LOOK_AGAIN = 5.0
"""Seconds after which the table of slots is read anew, if nothing says earlier that it is wrong: a cluster may grow."""

_A_MOMENT = 0.02
"""Seconds between two questions to nodes that have not agreed yet, or that cannot do it while a slot is on the move."""

_LOOKS = 0.1
"""Seconds between two readings of that table while somebody does not answer."""

_STRAGGLERS = 0.02
"""Seconds that are left to the others once enough have answered: a connection that is given up is a new one later."""


class Cluster:
    """`Topology` of a cluster.

    Args:
        seeds: nodes that tell who the others are.
        timeout: seconds after which a node that says nothing is left.
        authority: whether the other primaries are asked at all.
    """

    mode = "cluster"

    def __init__(self, way: Way, seeds: Sequence[Server], *, timeout: float, authority: bool = True) -> None:
        self.turns = 0
        self.known: frozenset[Server] = frozenset()
        self._seeds = tuple(seeds)
        self._timeout = timeout
        self.decides = authority
        self._links = Links(way, timeout)
        self._table = SlotTable()
        self._doubtful = True
        self._failed: set[Server] = set()
        self._used: dict[int, Server] = {}
        self._looked_at = float("-inf")
        self._looking = PerLoop(anyio.Lock)

    async def servers(self) -> frozenset[Server]:
        await self._look()
        return self.known

    async def server(self, key: str) -> Server:
        await self._look()
        slot = slot_of(key)
        owner = self._table.owner(slot)
        if owner is None:
            self._doubtful = True
            raise StoreUnavailable("no node of the cluster has this slot")
        self._used.setdefault(slot, owner)
        return owner

    def failed(self, server: Server) -> None:
        self._failed.add(server)
        self._doubtful = True

    async def redirected(self, server: Server, key: str, replies: Sequence[Any]) -> Redirect | None:
        for reply in replies:
            if isinstance(reply, redis.exceptions.MovedError):
                owner = named_by(reply, server)
                if owner is None or owner == self._table.owner(slot_of(key)):
                    await anyio.sleep(_A_MOMENT)  # two nodes that point at one another will soon agree
                return Redirect(self._learn(key, owner or server))
            if isinstance(reply, redis.exceptions.AskError):
                return Redirect(Server(str(reply.host) or server.host, int(reply.port)), asking=True)
            if isinstance(reply, redis.exceptions.TryAgainError):
                await anyio.sleep(_A_MOMENT)
                return Redirect(await self.server(key))
            if isinstance(reply, redis.exceptions.ClusterDownError | redis.exceptions.MasterDownError):
                await anyio.sleep(_A_MOMENT)
                self._doubtful = True
                return Redirect(await self.server(key))
        return None

    async def aclose(self) -> None:
        await self._links.aclose()

    # Who has what

    async def _look(self) -> None:
        """Read the table of slots, unless it is good."""
        if not self._doubtful and time.monotonic() - self._looked_at < LOOK_AGAIN:
            return
        async with self._looking.get():
            if not self._doubtful and time.monotonic() - self._looked_at < LOOK_AGAIN:
                return
            problem: BaseException | None = None
            for node in self._nodes():
                try:
                    with anyio.fail_after(self._timeout / 4):
                        (reply,) = await self._ask(node, [(b"CLUSTER", b"SLOTS")])
                    if isinstance(reply, redis.RedisError):
                        raise reply
                    table = SlotTable.parse(reply, node)
                    if not table.primaries:  # it has lost its configuration, or nobody has met it yet
                        raise ValueError("this node is in no cluster")
                    self._take(table, looked_at=time.monotonic())
                    self._doubtful = False
                    self._failed.clear()
                    return
                except (redis.RedisError, OSError, ValueError) as error:  # a timeout is an OSError
                    self._failed.add(node)
                    problem = error
            self._failed.clear()
            raise StoreUnavailable("no node of the cluster says who has which slot") from problem

    def _nodes(self) -> Iterator[Server]:
        """All that may know, those first that have not failed."""
        nodes = dict.fromkeys([*sorted(self.known), *self._seeds])
        yield from [node for node in nodes if node not in self._failed]
        yield from [node for node in nodes if node in self._failed]

    def _take(self, table: SlotTable, *, looked_at: float) -> None:
        self._table, self._looked_at = table, looked_at
        if table.primaries != self.known:
            self.known = table.primaries
        for slot, before in tuple(self._used.items()):  # other event loops use others meanwhile
            owner = table.owner(slot)
            if owner is not None and owner != before:
                self._used[slot] = owner
                self.turns += 1

    def _learn(self, key: str, server: Server) -> Server:
        """One slot is another one's. Nobody else is asked: for a moment others may not have heard."""
        slot = slot_of(key)
        if self._table.owner(slot) != server:
            self._take(self._table.with_owner(slot, server), looked_at=self._looked_at)
        return server

    # Whether it still is the one

    async def have_authority(self, owners: Mapping[str, Server], *, change: bool) -> bool:
        while self.decides:
            count = _Count(owners, self.known, change=change)
            await self._opinions(count)
            if count.is_enough():
                return True
            await anyio.sleep(_A_MOMENT)  # while they have not agreed yet, too
            if outvoted := count.outvoted():
                for key, other in outvoted.items():
                    self._learn(key, other)
                return False
            await self._look()
        return True

    async def _opinions(self, count: _Count) -> None:
        """Whom the other primaries name; no longer than it takes to know."""

        async def ask(node: Server, keys: list[str]) -> None:
            try:
                replies = await self._ask(node, [(b"PTTL", key.encode("utf-8", "surrogatepass")) for key in keys])
            except (redis.RedisError, OSError):
                return
            silent.discard(node)
            count.add(node, keys, replies)
            if count.is_enough():
                scope.deadline = min(scope.deadline, anyio.current_time() + _STRAGGLERS)

        silent = set(count.primaries)
        with anyio.move_on_after(self._timeout / 4) as scope:
            async with anyio.create_task_group() as group:
                for node in count.primaries:
                    if keys := count.keys_for(node):
                        group.start_soon(ask, node, keys)
                    else:
                        silent.discard(node)
        if silent and not count.is_enough() and time.monotonic() - self._looked_at > _LOOKS:
            self._failed |= silent  # who has their slots may have changed
            self._doubtful = True

    async def _ask(self, node: Server, commands: Sequence[tuple[bytes, ...]]) -> list[Any]:
        link = await self._links.to(node, self.known)
        return await link.exchange(commands, fresh=False)


class _Count:
    """Whom the other primaries name for each of some keys.

    Args:
        owners: who answered for them.
    """

    def __init__(self, owners: Mapping[str, Server], primaries: frozenset[Server], *, change: bool) -> None:
        self.primaries = primaries
        self._owners = owners
        self._change = change
        self._named: dict[str, Counter[Server]] = {key: Counter() for key in owners}

    def keys_for(self, node: Server) -> list[str]:
        """Those that somebody else has answered for."""
        return [key for key, owner in self._owners.items() if owner != node]

    def add(self, node: Server, keys: Sequence[str], replies: Sequence[Any]) -> None:
        for key, reply in zip(keys, replies, strict=True):
            named = named_by(reply, node)
            if named is not None:
                self._named[key][named] += 1

    def is_enough(self) -> bool:
        """Whether every answer is of the right one."""
        return all(
            self._named[key][owner] >= quorum(len(self.primaries - {owner}), change=self._change)
            for key, owner in self._owners.items()
        )

    def outvoted(self) -> dict[str, Server]:
        """For which keys so many name another one that no more of them can name who answered."""
        found = {}
        for key, owner in self._owners.items():
            others = len(self.primaries - {owner})
            most = others - quorum(others, change=self._change)
            for other, votes in self._named[key].items():
                if other != owner and votes > most:
                    found[key] = other
        return found
