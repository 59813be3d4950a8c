"""How the Redis store talks to its server: one buffer out, its replies in, within the timeout, or `StoreUnavailable`.

asyncio uses redis-py's asyncio connections, trio its blocking ones in worker threads; both are kept per running event
loop. A connection goes back to the others only after all its replies were read. Knows no session and no key.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from asgi_auth.errors import ConfigurationError, StoreUnavailable

try:
    import redis
    import redis.asyncio
    from redis.backoff import NoBackoff
    from redis.retry import Retry
except ImportError as error:
    raise ConfigurationError('this STORE needs redis-py: pip install "asgi-auth[redis]"') from error

Command = tuple[str | bytes | int, ...]

MAX_CONNECTIONS = 50
REPLICA_WAIT = 0.2
"""Seconds for which a change waits for one replica."""
REPLICA_CHECK = 1.0
"""Seconds after which a change asks again whether a replica is connected."""

_log = logging.getLogger("asgi_auth")
_security = logging.getLogger("asgi_auth.security")


class Script(NamedTuple):
    """A Lua script with the common part in it, and the SHA-1 by which the server knows it."""

    source: bytes
    sha: str


def load_scripts() -> dict[str, Script]:
    """All scripts by name. The first line of each (`#!lua flags=…`) stays the first: it tells the server what may run
    while it is full, a replica, or without replicas, before anything is written."""
    sources = {path.name: path.read_bytes() for path in (files(__package__) / "lua").iterdir()}
    common = sources.pop("common.lua")
    scripts = {}
    for name, source in sources.items():
        shebang, _, body = source.partition(b"\n")
        whole = shebang + b"\n" + common + body
        scripts[name.removesuffix(".lua")] = Script(whole, hashlib.sha1(whole, usedforsecurity=False).hexdigest())
    return scripts


class Address(NamedTuple):
    """A store's URL, taken apart: what redis-py gets, and the prefix of our keys."""

    url: str
    prefix: str
    cleartext: bool


def parse_address(url: str) -> Address:
    """Take our own options out of a `redis://`, `rediss://` or `unix://` URL.

    Raises:
        ConfigurationError: an option that cannot be right.
    """
    base, _, query = url.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    prefix = options.get("prefix", "asgi-auth:")
    if not prefix or "{" in prefix or "}" in prefix:
        raise ConfigurationError("STORE: ?prefix= needs some text without { and }, such as ?prefix=shop:")
    unchecked = options.get("ssl_check_hostname", "true").lower() in {"false", "no", "n", "f", "0"}
    if options.get("ssl_cert_reqs", "required") != "required" or unchecked:
        raise ConfigurationError("STORE: certificates are always checked; name your own CA with ?ssl_ca_certs=/path.pem")
    kept = "&".join(pair for pair in query.split("&") if unquote(pair.partition("=")[0]) != "prefix")
    split = urlsplit(url)
    return Address(f"{base}?{kept}" if kept else base, prefix, split.scheme == "redis" and not _loopback(split.hostname))


def _loopback(host: str | None) -> bool:
    if not host or host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Link(Protocol):
    """The connections of one running event loop."""

    async def exchange(self, commands: Sequence[Command], *, fresh: bool) -> list[Any]:
        """Send all at once and read a reply for each; a refusal of the server is a reply. `fresh`: on a connection of
        now, after all that rest were closed."""

    async def aclose(self) -> None: ...


class _AsyncioLink:
    """redis-py's asyncio connections. Any interruption, a cancellation too, closes the one that it met."""

    def __init__(self, url: str, seats: int, options: dict[str, Any]) -> None:
        pool = redis.asyncio.ConnectionPool.from_url(url, **options)
        self._make: Callable[[], Any] = lambda: pool.connection_class(**pool.connection_kwargs)
        self._seats = anyio.Semaphore(seats, fast_acquire=True)
        self._idle: list[Any] = []
        self._closed = False

    async def exchange(self, commands: Sequence[Command], *, fresh: bool) -> list[Any]:
        async with self._seats:
            if fresh:
                await self._close_idle()
            connection = self._idle.pop() if self._idle else self._make()
            whole = False
            try:
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

    async def _close_idle(self) -> None:
        while self._idle:
            await self._idle.pop().disconnect(nowait=True)

    async def aclose(self) -> None:
        self._closed = True
        while self._idle:
            await self._idle.pop().disconnect()


class _ThreadLink:
    """redis-py's blocking connections in worker threads. Who is cancelled goes, the thread reads its replies to the end."""

    def __init__(self, url: str, seats: int, options: dict[str, Any]) -> None:
        pool = redis.ConnectionPool.from_url(url, **options)
        self._make: Callable[[], Any] = lambda: pool.connection_class(**pool.connection_kwargs)
        self._seats = anyio.CapacityLimiter(seats)
        self._idle: list[Any] = []
        self._closed = False

    async def exchange(self, commands: Sequence[Command], *, fresh: bool) -> list[Any]:
        return await anyio.to_thread.run_sync(
            self._exchange, commands, fresh, abandon_on_cancel=True, limiter=self._seats
        )

    def _exchange(self, commands: Sequence[Command], fresh: bool) -> list[Any]:
        if fresh:
            self._close_idle()
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._make()
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
            if whole and not self._closed:
                self._idle.append(connection)
                if self._closed:  # closed between the two lines above, in another thread
                    self._close_idle()
            else:
                connection.disconnect()

    def _close_idle(self) -> None:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return
            connection.disconnect()

    async def aclose(self) -> None:
        self._closed = True
        self._close_idle()


class RedisClient:
    """One Redis or Valkey server for every event loop of this process.

    Args:
        url: as redis-py takes it; its options too.
        timeout: seconds for which a call lasts at most.

    Raises:
        ConfigurationError: the URL is none.
    """

    def __init__(self, url: str, *, timeout: float) -> None:
        self._url = url
        self._timeout = timeout
        self._scripts = load_scripts()
        self._links: RunVar[_Link | None] = RunVar(f"asgi_auth_redis_{secrets.token_hex(8)}", None)
        self._replica = False
        self._replica_asked_at = 0.0
        try:
            # RESP2, one attempt: retries and timeouts are ours.
            self._options: dict[str, Any] = {
                "protocol": 2,
                "retry": Retry(NoBackoff(), 0),
                "max_connections": MAX_CONNECTIONS,
            }
            pool = redis.ConnectionPool.from_url(url, **self._options)
            pool.connection_class(**pool.connection_kwargs)
            self._seats = pool.max_connections
        except (ValueError, TypeError, redis.RedisError) as error:
            raise ConfigurationError(
                "STORE: this is no URL of a Redis server; it looks like redis://user:password@host:6379/0 "
                f"({type(error).__name__})"
            ) from error

    async def call(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one buffer; a reply for each, refusals as `redis.ResponseError`.

        Everything that we send can be repeated, so a connection that broke (the server was restarted) is tried once
        more, on a new one.

        Raises:
            StoreUnavailable: not all replies came in time.
        """
        try:
            with anyio.fail_after(self._timeout):
                link = self._link()
                try:
                    return await link.exchange(commands, fresh=False)
                except (redis.AuthenticationError, redis.BusyLoadingError):
                    raise
                except (redis.ConnectionError, OSError):
                    return await link.exchange(commands, fresh=True)
        except TimeoutError as error:
            raise StoreUnavailable(f"Redis gave no answer within {self._timeout:g} s") from error
        except (redis.RedisError, OSError) as error:
            raise StoreUnavailable(f"Redis cannot be asked ({type(error).__name__})") from error

    async def one(self, *command: str | bytes | int) -> Any:
        """A single command's reply.

        Raises:
            StoreUnavailable: none came, or a refusal.
        """
        return _accepted((await self.call([command]))[0])

    async def run(self, name: str, keys: Sequence[bytes], arguments: Sequence[bytes], *, change: bool) -> Any:
        """Run a script. `change`: wait for a replica, if one is connected, in the same round trip.

        Raises:
            StoreUnavailable: no reply came, or a refusal (full, read-only, loading, not permitted, …).
        """
        script = self._scripts[name]
        command: Command = ("EVALSHA", script.sha, len(keys), *keys, *arguments)
        more: list[Command] = []
        if change and time.monotonic() - self._replica_asked_at > REPLICA_CHECK:
            more.append(("INFO", "replication"))
        if change and self._replica:
            more.append(("WAIT", 1, max(1, int(1000 * min(REPLICA_WAIT, self._timeout / 4)))))
        reply, *others = await self.call([command, *more])
        if isinstance(reply, redis.exceptions.NoScriptError):  # the server was restarted or flushed
            _, reply, *others = await self.call([("SCRIPT", "LOAD", script.source), command, *more])
        self._heed(more, others)
        return _accepted(reply)

    def _heed(self, commands: Sequence[Command], replies: Sequence[Any]) -> None:
        for command, reply in zip(commands, replies, strict=True):
            if command[0] == "INFO":
                self.saw(parse_info(reply))
            elif not isinstance(reply, int) or reply < 1:
                self._replica_asked_at = 0.0
                _security.warning("a change was confirmed by no replica: a failover now may lose it")

    def saw(self, info: dict[str, str]) -> None:
        """Remember whether a replica is connected. A server that does not say has none to wait for."""
        self._replica = info.get("connected_slaves", "0") != "0"
        self._replica_asked_at = time.monotonic()

    async def load(self) -> None:
        """Make all scripts known to the server.

        Raises:
            StoreUnavailable: it gave no answer, or a refusal.
        """
        for reply in await self.call([("SCRIPT", "LOAD", script.source) for script in self._scripts.values()]):
            _accepted(reply)

    async def aclose(self) -> None:
        """Close the running event loop's connections; the next call makes others."""
        link = self._links.get()
        self._links.set(None)
        if link is not None:
            await link.aclose()

    def _link(self) -> _Link:
        link = self._links.get()
        if link is None:
            if _on_asyncio():
                # `call` keeps the time for all steps together.
                times = {"socket_timeout": None, "socket_connect_timeout": None}
                link = _AsyncioLink(self._url, self._seats, {**self._options, **times})
            else:
                times = {"socket_timeout": self._timeout, "socket_connect_timeout": self._timeout}
                link = _ThreadLink(self._url, self._seats, {**self._options, **times})
            self._links.set(link)
        return link


def _on_asyncio() -> bool:
    try:
        return asyncio.current_task() is not None
    except RuntimeError:  # no loop of asyncio runs here
        return False


def parse_info(reply: Any) -> dict[str, str]:
    """The fields of INFO's reply; none if it was refused."""
    if not isinstance(reply, bytes):
        return {}
    lines = (line.partition(":") for line in reply.decode("utf-8", "replace").splitlines() if line[:1] != "#")
    return {name: value for name, _, value in lines if name}


def _accepted(reply: Any) -> Any:
    if isinstance(reply, redis.RedisError):
        raise StoreUnavailable(f"Redis refused ({type(reply).__name__})") from reply
    return reply
