"""What a Redis deployment is asked: which server holds a key now, and whether that server still is the one.

A server that was replaced answers on as if nothing had happened, so its own word is worth nothing: those who decide who
replaces whom are asked (`have_authority`). Knows no command of ours and keeps no connection but its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol


class Server(NamedTuple):
    """Where a server listens."""

    host: str
    port: int


NAMED = Server("", 0)
"""The server that the URL names, at its address or unix socket."""


class Redirect(NamedTuple):
    """Send the same once more.

    Attributes:
        server: there.
        asking: each command after an `ASKING`, for this time: who said so is the key's owner still.
    """

    server: Server
    asking: bool = False


class Topology(Protocol):
    """One deployment, as this process knows it. Used by every event loop of the process, one step at a time.

    Attributes:
        mode: the `redis_mode` that its servers have.
        turns: counts up when another server took the place of one, or a part of its keys. What was read before is of
            another server than what is read after.
        decides: whether `have_authority` knows; else a failover may be hidden behind an address.
        known: the servers that serve now; another object each time they change. Connections of others are closed.
    """

    mode: str
    decides: bool
    turns: int
    known: frozenset[Server]

    async def servers(self) -> frozenset[Server]:
        """The servers that serve now, looked for if need be.

        Raises:
            StoreUnavailable: none is known.
        """
        ...

    async def server(self, key: str) -> Server:
        """The one that serves this key now, looked for if need be.

        Raises:
            StoreUnavailable: none is known.
        """
        ...

    async def have_authority(self, owners: Mapping[str, Server], *, change: bool) -> bool:
        """Whether those who decide say, after this was called, that each of these servers is the one for its key.
        `change`: more of them, so that what was changed there stands against every later reader.

        Called when an answer has come: a reader that is told "yes" then was told so before a change elsewhere returned.
        May wait until they agree, within the time of who calls.
        """
        ...

    def failed(self, server: Server) -> None:
        """It could not be reached, or hung up: `server` and `servers` look again before they name it."""
        ...

    async def redirected(self, server: Server, key: str, replies: Sequence[Any]) -> Redirect | None:
        """What the server's replies (refusals are `redis.ResponseError`) say about where the key is. None: they stand.
        May wait for a moment, within the time of who calls.

        Raises:
            StoreUnavailable: none is known.
        """
        ...

    async def aclose(self) -> None:
        """Close what the running event loop opened."""
        ...


class OneServer:
    """A single server, or a deployment that hides behind one address: nobody else decides, nothing is asked."""

    mode = "standalone"
    decides = False
    turns = 0
    known = frozenset({NAMED})

    async def servers(self) -> frozenset[Server]:
        return self.known

    async def server(self, key: str) -> Server:
        return NAMED

    async def have_authority(self, owners: Mapping[str, Server], *, change: bool) -> bool:
        return True

    def failed(self, server: Server) -> None:
        pass

    async def redirected(self, server: Server, key: str, replies: Sequence[Any]) -> Redirect | None:
        return None

    async def aclose(self) -> None:
        pass
