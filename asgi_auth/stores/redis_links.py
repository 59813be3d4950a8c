"""redis-py's connections, kept per running event loop and server: its asyncio ones, and for trio its blocking ones in
threads.

Commands go out in one buffer, and a connection goes back to the others only after all its replies were read.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from typing import Any

import anyio
import anyio.to_thread
import redis
import redis.asyncio
from anyio.lowlevel import RunVar

from asgi_auth.stores.redis_address import Way
from asgi_auth.stores.redis_topology import NAMED, Server

Command = tuple[bytes, ...]

LOOK = 0.5
"""Seconds for which a thread waits for a message at a time."""


class AsyncioLink:
    """redis-py's asyncio connections. Any interruption, a cancellation too, closes the one that it met."""

    def __init__(self, way: Way, server: Server, options: dict[str, Any]) -> None:
        pool = redis.asyncio.ConnectionPool.from_url(way.url, **way.options)
        options = {**pool.connection_kwargs, **options, **_place(server)}
        self._make: Callable[[], Any] = lambda: pool.connection_class(**options)
        self._seats = anyio.Semaphore(way.seats, fast_acquire=True)
        self._idle: list[Any] = []
        self._listening: Any = None
        self._closed = False

    async def exchange(self, commands: Sequence[Command], *, fresh: bool) -> list[Any]:
        """Send all at once and read a reply for each; a refusal of the server is a reply. `fresh`: on a connection of
        now, after all that rest were closed."""
        async with self._seats:
            if fresh:
                await self._close_idle()
            known = bool(self._idle)
            connection = self._idle.pop() if known else self._make()
            whole = False
            try:
                if not known:
                    await connection.connect()
                await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
                replies = []
                for _ in commands:
                    try:
                        replies.append(await connection.read_response())
                    except redis.ResponseError as error:
                        replies.append(error)
                whole = True
                return replies
            finally:
                if whole and not self._closed:
                    self._idle.append(connection)
                else:
                    await connection.disconnect(nowait=True)  # closes without waiting, so no cancellation meets it

    async def listen(self, channels: Sequence[str], hear: Callable[[bytes, bytes], None]) -> None:
        """Hand on the messages of some channels, of which and what, on a connection for that alone, until that one
        breaks or a channel goes elsewhere."""
        listening = self._listening = self._make()
        try:
            await listening.connect()
            await listening.send_packed_command(listening.pack_commands(_subscribing(channels)), check_health=False)
            while True:
                message = _message(await listening.read_response())
                if message is not None:
                    hear(*message)
        finally:
            await listening.disconnect(nowait=True)

    async def _close_idle(self) -> None:
        while self._idle:
            await self._idle.pop().disconnect(nowait=True)

    async def aclose(self) -> None:
        self._closed = True
        with anyio.move_on_after(1, shield=True):  # TLS says goodbye, to a server that listens
            while self._idle:
                await self._idle.pop().disconnect()
        await self._close_idle()
        if self._listening is not None:
            await self._listening.disconnect(nowait=True)


class ThreadLink:
    """redis-py's blocking connections in worker threads. Who is cancelled leaves, the thread reads all its replies."""

    def __init__(self, way: Way, server: Server, options: dict[str, Any]) -> None:
        pool = redis.ConnectionPool.from_url(way.url, **way.options)
        options = {**pool.connection_kwargs, **options, **_place(server)}
        self._make: Callable[[], Any] = lambda: pool.connection_class(**options)
        self._seats = anyio.CapacityLimiter(way.seats)
        self._idle: list[Any] = []
        self._ear: _Ear | None = None
        self._closed = False

    async def exchange(self, commands: Sequence[Command], *, fresh: bool) -> list[Any]:
        """As `AsyncioLink.exchange`."""
        return await anyio.to_thread.run_sync(
            self._exchange, commands, fresh, abandon_on_cancel=True, limiter=self._seats
        )

    def _exchange(self, commands: Sequence[Command], fresh: bool) -> list[Any]:
        if fresh:
            self._close_idle()
        connection = self._an_idle_one() or self._make()
        whole = False
        try:
            connection.connect()
            connection.send_packed_command(connection.pack_commands(commands), check_health=False)
            replies = []
            for _ in commands:
                try:
                    replies.append(connection.read_response())
                except redis.ResponseError as error:
                    replies.append(error)
            whole = True
            return replies
        finally:
            if whole:
                self._idle.append(connection)
            else:
                connection.disconnect()
            if self._closed:  # by the loop's thread, meanwhile
                self._close_idle()

    async def listen(self, channels: Sequence[str], hear: Callable[[bytes, bytes], None]) -> None:
        """As `AsyncioLink.listen`. A thread looks for messages half a second at a time."""
        ear = self._ear = _Ear(self._make(), channels)
        try:
            while True:
                for message in await anyio.to_thread.run_sync(ear.look, abandon_on_cancel=True, limiter=self._seats):
                    hear(*message)
        finally:
            ear.leave()

    def _an_idle_one(self) -> Any:
        with suppress(IndexError):  # several threads take from there
            return self._idle.pop()
        return None

    def _close_idle(self) -> None:
        while connection := self._an_idle_one():
            connection.disconnect()

    async def aclose(self) -> None:
        self._closed = True
        self._close_idle()
        if self._ear is not None:
            self._ear.leave()


class _Ear:
    """A blocking connection that listens, used by one thread after the other."""

    def __init__(self, connection: Any, channels: Sequence[str]) -> None:
        self._connection = connection
        self._channels = channels
        self._looking = threading.Lock()
        self._listens = False
        self._left = False

    def look(self) -> list[tuple[bytes, bytes]]:
        """Wait for messages, for `LOOK` seconds at most."""
        messages: list[tuple[bytes, bytes]] = []
        try:
            with self._looking:
                if self._left:
                    raise redis.ConnectionError("closed meanwhile")
                if not self._listens:
                    self._listens = True
                    self._connection.connect()
                    subscribing = self._connection.pack_commands(_subscribing(self._channels))
                    self._connection.send_packed_command(subscribing, check_health=False)
                while self._connection.can_read(timeout=0 if messages else LOOK):
                    message = _message(self._connection.read_response())
                    if message is not None:
                        messages.append(message)
            return messages
        finally:
            if self._left:
                self._connection.disconnect()

    def leave(self) -> None:
        """Close it; a thread that looks does it itself."""
        self._left = True
        if self._looking.acquire(blocking=False):
            try:
                self._connection.disconnect()
            finally:
                self._looking.release()


def _subscribing(channels: Sequence[str]) -> list[Command]:
    return [(b"SSUBSCRIBE", channel.encode("utf-8", "surrogatepass")) for channel in channels]


def _message(reply: Any) -> tuple[bytes, bytes] | None:
    """A message: of which channel, and what; None: it is something else.

    Raises:
        redis.ConnectionError: a channel is no longer here, since its slot went to another node.
    """
    kind, channel, data = reply
    if kind == b"sunsubscribe":
        raise redis.ConnectionError("a channel went elsewhere")
    return (bytes(channel), bytes(data)) if kind == b"smessage" else None


Link = AsyncioLink | ThreadLink
"""The connections of one running event loop to one server."""


def _place(server: Server) -> dict[str, Any]:
    return {} if server == NAMED else {"host": server.host, "port": server.port}


def open_link(way: Way, server: Server, timeout: float) -> Link:
    """Connections for the running event loop. No step of the blocking ones lasts longer than `timeout` seconds; for the
    others the caller keeps the time."""
    try:
        on_asyncio = asyncio.current_task() is not None
    except RuntimeError:  # no loop of asyncio runs here
        on_asyncio = False
    seconds = None if on_asyncio else timeout
    options = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
    return AsyncioLink(way, server, options) if on_asyncio else ThreadLink(way, server, options)


class Links:
    """For each event loop its own link to each server.

    Args:
        timeout: as of `open_link`.
    """

    def __init__(self, way: Way, timeout: float) -> None:
        self._way = way
        self._timeout = timeout
        # Named by each object anew; a loop's links are closed with it.
        self._of_loop: RunVar[tuple[_LinksOfLoop, AsyncGenerator[None, None]] | None]
        self._of_loop = RunVar(f"asgi_auth_redis_{secrets.token_hex(8)}", None)

    async def to(self, server: Server, known: frozenset[Server]) -> Link:
        """The link to a server. Those to others than `known`, if they are still open, are closed."""
        found = self._of_loop.get()
        if found is None:
            links = _LinksOfLoop()
            found = links, _until_the_loop_ends(links)
            self._of_loop.set(found)
            await found[1].__anext__()
        links = found[0]
        if links.known is not known:
            links.known = known
            await links.close(lambda one: one != server and one not in known)
        link = links.by_server.get(server)
        if link is None:
            link = links.by_server[server] = open_link(self._way, server, self._timeout)
        return link

    @property
    def are_open(self) -> bool:
        """Whether the running event loop has any."""
        return self._of_loop.get() is not None

    async def aclose(self) -> None:
        """Close the running event loop's; `to` opens others."""
        found = self._of_loop.get()
        if found is not None:
            self._of_loop.set(None)
            await found[1].aclose()


class _LinksOfLoop:
    """`known`: the servers that were known when it was looked last."""

    def __init__(self) -> None:
        self.by_server: dict[Server, Link] = {}
        self.known: frozenset[Server] = frozenset()

    async def close(self, which: Callable[[Server], bool]) -> None:
        for server in [one for one in self.by_server if which(one)]:
            await self.by_server.pop(server).aclose()


async def _until_the_loop_ends(links: _LinksOfLoop) -> AsyncGenerator[None, None]:
    """Event loops close the asynchronous generators that are still open when they end, and this one its links: where
    each request has a loop of its own (Starlette's `TestClient`), nobody calls `aclose`."""
    try:
        yield
    finally:
        await links.close(lambda server: True)
