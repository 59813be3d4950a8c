"""The slots of a Redis Cluster as values: who has which, what a node's refusal says about one, who is outvoted.

No I/O and no clock. `redis_cluster` asks the nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis.exceptions
from redis.crc import key_slot

from asgi_auth.stores.redis_topology import Server

SLOTS = 16384


class SlotTable:
    """Which primary has which slot, in the opinion of one node.

    Attributes:
        primaries: all that have slots.
    """

    def __init__(self, owners: Sequence[Server | None] = ()) -> None:
        self._owners = list(owners) or [None] * SLOTS
        self.primaries = frozenset(owner for owner in self._owners if owner is not None)

    @classmethod
    def parse(cls, reply: Any, asked: Server) -> SlotTable:
        """From what CLUSTER SLOTS answers.

        Args:
            asked: who said it, since a node may leave out its own host.

        Raises:
            ValueError: it is something else.
        """
        owners: list[Server | None] = [None] * SLOTS
        try:
            for first, last, (host, port, *_), *_ in reply:
                owners[first : last + 1] = [server_of(host, port, asked)] * (last + 1 - first)
        except TypeError as error:
            raise ValueError("this is no table of slots") from error
        if len(owners) != SLOTS:
            raise ValueError("slots beyond the last one")
        return cls(owners)

    def owner(self, slot: int) -> Server | None:
        """None: nobody has it."""
        return self._owners[slot]

    def with_owner(self, slot: int, server: Server) -> SlotTable:
        """The table after one slot went to another."""
        return SlotTable([*self._owners[:slot], server, *self._owners[slot + 1 :]])


def slot_of(key: str) -> int:
    """The slot of a key, by its hash tag."""
    return int(key_slot(key.encode("utf-8", "surrogatepass")))


def server_of(host: bytes | str | None, port: int, asked: Server) -> Server:
    """Where a node says that another one is. Without a host, or with an unknown one (`?`), on its own."""
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    return Server(asked.host if name in (None, "", "?") else str(name), int(port))


def named_by(reply: Any, asked: Server) -> Server | None:
    """Whom a node takes for the owner of a key's slot, by its reply to a command on that key. None: it does not say."""
    if isinstance(reply, redis.exceptions.MovedError):
        return server_of(reply.host, reply.port, asked)
    if isinstance(reply, redis.exceptions.AskError) or not isinstance(reply, Exception):
        return asked
    return None


def quorum(others: int, *, change: bool) -> int:
    """How many of the other primaries must name an owner. What a change and what a reader need is together more than
    all of them, so somebody was asked by both, who changed the opinion at most once."""
    if others == 0:
        return 0
    return others // 2 + 1 if change else others - others // 2
