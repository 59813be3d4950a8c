"""How the Redis store talks to its servers: one buffer out, its replies in, within the timeout, or `StoreUnavailable`.

Scripts are loaded when the server does not know them; what met a broken connection is sent once more; a change waits
for a replica if there is one. Which server it is, and whether it still is the one, the topology says. Knows no session.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import anyio
import redis
import redis.exceptions

from asgi_auth.audit import Audit, Kind
from asgi_auth.errors import Deaf, StoreUnavailable
from asgi_auth.loops import together
from asgi_auth.stores.redis_address import Address, parse_address
from asgi_auth.stores.redis_checks import check_server, parse_info
from asgi_auth.stores.redis_cluster import Cluster
from asgi_auth.stores.redis_links import Links
from asgi_auth.stores.redis_scripts import load_scripts
from asgi_auth.stores.redis_sentinel import Sentinels
from asgi_auth.stores.redis_topology import OneServer, Server, Topology

REPLICA_WAIT = 0.2
"""Seconds for which a change waits for one replica."""
REPLICA_CHECK = 1.0
"""Seconds after which a change asks again whether a replica is connected."""

UNCONFIRMED = Kind("change_unconfirmed", "WARN", "No replica confirmed a change in time: a failover now may lose it")

_UNCERTAIN = "it is not certain that this Redis still is the primary"

Value = str | bytes | float | bool | None


class RedisClient:
    """One deployment of Redis or Valkey for every event loop of this process.

    Args:
        url: as redis-py takes it; its options too, and `?prefix=` for our keys.
        timeout: seconds for which a call lasts at most.

    Raises:
        ConfigurationError: the URL is none.
    """

    def __init__(self, url: str, *, timeout: float) -> None:
        address = parse_address(url)
        self.prefix = address.prefix
        self.partitions = address.partitions
        self.is_cluster = bool(address.nodes)
        self._timeout = timeout
        self._topology = _topology(address, timeout)
        self._acks = address.acks
        self._scripts = load_scripts()
        self._links = Links(address.way, timeout)
        self._feed_links = Links(address.way, timeout)
        self._replicas: dict[Server, _Replicas] = {}
        self._audit = Audit("asgi-auth")

    @property
    def turns(self) -> int:
        """Counts up when another server took the place of one: what was read before is of another one."""
        return self._topology.turns

    async def open(self) -> None:
        """Hold the servers against what a store needs, and make all scripts known to them.

        Raises:
            ConfigurationError: they can be no store.
            StoreUnavailable: one gave no answer.
        """
        asked = [("INFO",), ("CONFIG", "GET", "maxmemory*")]
        scripts = [("SCRIPT", "LOAD", script.source) for script in self._scripts.values()]
        with self._in_time():
            for server in await self._topology.servers():
                found, config = map(decoded, await self._send(self._links, server, asked, fresh=True))
                info = parse_info(found)
                check_server(info, config, mode=self._topology.mode)
                self._replicas[server] = _Replicas.of(info)
                for reply in await self._send(self._links, server, scripts):
                    _accepted(reply)

    async def one(self, *command: Value, change: bool = False) -> Any:
        """A single command's reply; its first argument is the key. `change`: as of `run`.

        Raises:
            StoreUnavailable: none came, or a refusal.
        """
        with self._in_time():
            return _accepted(decoded(await self._ask(str(command[1]), [command], change=change)))

    async def run(
        self, name: str, asked: Mapping[str, Sequence[Value]], *, change: bool, raw: bool = False
    ) -> dict[str, Any]:
        """Run a script for each of some keys with its arguments, in one buffer to each server. The replies, by key.
        `change`: wait for a replica, if one is connected, in the same round trip. `raw`: the replies' texts stay bytes.

        Raises:
            StoreUnavailable: no reply came, or a refusal (full, read-only, loading, not permitted, …), or nobody knows
                whether this server still is the one: whether a change stands is not known.
        """
        script = self._scripts[name]
        commands = {key: ("EVALSHA", script.sha, 2, key, _never(key), *arguments) for key, arguments in asked.items()}
        with self._in_time():
            replies = await self._ask_together(commands, change=change) if len(commands) > 1 else {}
            for key in commands.keys() - replies.keys():
                reply = await self._ask(key, [commands[key]], change=change)
                if isinstance(reply, redis.exceptions.NoScriptError):  # the server was restarted or flushed
                    loading = ("SCRIPT", "LOAD", script.source)
                    reply = await self._ask(key, [loading, commands[key]], change=change)
                replies[key] = reply
        return {key: _accepted(reply if raw else decoded(reply)) for key, reply in replies.items()}

    async def beat(self, asked: Mapping[str, Sequence[Sequence[Value]]], *, timeout: float) -> dict[str, list[Any]]:
        """Send commands for each of some keys once, in one buffer to each server, on the one connection to it that does
        nothing else. The replies, by key.

        Raises:
            StoreUnavailable: not all replies came within `timeout` seconds, or one is a refusal, or a server is not the
                one. The connection to who gave no answer is closed.
        """
        with self._in_time(timeout):
            of_server = await self._by_server(asked)
            answers: dict[str, _Answer] = {}
            beats = [partial(self._beat, server, keys, asked) for server, keys in of_server.items()]
            for some in await together(beats):
                answers.update(some)
            owners = {key: answer.owner for key, answer in answers.items()}
            if not await self._topology.have_authority(owners, change=False):
                raise StoreUnavailable(_UNCERTAIN)
        return {key: [_accepted(decoded(reply)) for reply in answers[key].replies] for key in asked}

    async def _beat(
        self, server: Server, keys: Sequence[str], asked: Mapping[str, Sequence[Sequence[Value]]]
    ) -> dict[str, _Answer]:
        checks = [self._wait()] if self._is_hidden else []
        commands = [command for key in keys for command in asked[key]]
        replies = await self._send(self._feed_links, server, [*commands, *checks])
        self._checked(server, checks, replies[len(commands) :])
        each = iter(replies)
        return {key: await self._followed(server, key, asked[key], [next(each) for _ in asked[key]]) for key in keys}

    async def _followed(
        self, owner: Server, key: str, commands: Sequence[Sequence[Value]], replies: list[Any]
    ) -> _Answer:
        """The replies after each command, by itself, went where its key is. What was done here must not be done there
        too: while a slot is on the move one key may be here and the other there."""
        for number, command in enumerate(commands):
            server = owner
            while redirect := await self._topology.redirected(server, key, [replies[number]]):
                server, asking = redirect
                owner = owner if asking else server
                (replies[number],) = await self._send(self._feed_links, server, [command], asking=asking)
        return _Answer(owner, replies)

    async def listen(self, channels: Sequence[str], hear: Callable[[str, str], None]) -> None:
        """Hand on the messages of the channels that have the names of keys, of which and what, until cancelled. What
        was sent before is lost.

        Raises:
            Deaf: this user of Redis may not listen.
            StoreUnavailable: they cannot be heard, or no longer all of them.
        """
        with self._in_time():
            of_server = await self._by_server(channels)
        await together([partial(self._listen, server, some, hear) for server, some in of_server.items()])

    async def _listen(self, server: Server, channels: Sequence[str], hear: Callable[[str, str], None]) -> None:
        try:
            link = await self._feed_links.to(server, self._topology.known)
            await link.listen(channels, lambda *message: hear(*map(str, decoded(message))))
        except redis.exceptions.NoPermissionError as error:
            raise Deaf("this user of Redis may not listen to our channel") from error
        except redis.ResponseError as error:
            for channel in channels:
                with self._in_time():
                    await self._topology.redirected(server, channel, [error])
            raise StoreUnavailable(f"Redis tells nothing ({type(error).__name__})") from error
        except (redis.RedisError, OSError) as error:
            raise StoreUnavailable(f"Redis tells nothing ({type(error).__name__})") from error

    async def _by_server(self, keys: Iterable[str]) -> dict[Server, list[str]]:
        of_server: dict[Server, list[str]] = {}
        for key in keys:
            of_server.setdefault(await self._topology.server(key), []).append(key)
        return of_server

    async def close_feed(self) -> None:
        """Close the running event loop's connections of `beat` and `listen`."""
        await self._feed_links.aclose()

    async def aclose(self) -> None:
        """Close the running event loop's other connections; the next call makes others."""
        await self._links.aclose()
        await self._topology.aclose()

    @contextmanager
    def _in_time(self, timeout: float | None = None) -> Iterator[None]:
        timeout = self._timeout if timeout is None else timeout
        try:
            with anyio.fail_after(timeout):
                yield
        except TimeoutError as error:
            raise StoreUnavailable(f"Redis gave no answer within {timeout:g} s") from error
        except (redis.RedisError, OSError) as error:
            raise StoreUnavailable(f"Redis cannot be asked ({type(error).__name__})") from error

    async def _ask_together(self, commands: Mapping[str, Sequence[Value]], *, change: bool) -> dict[str, Any]:
        """The replies to a command for each of several keys. Left out is what this does not settle (the key is
        elsewhere, a connection broke, a refusal): it may be asked again by itself."""
        of_server = await self._by_server(commands)
        jobs = [
            partial(self._ask_server, server, {key: commands[key] for key in keys}, change=change)
            for server, keys in of_server.items()
        ]
        return {key: reply for replies in await together(jobs) for key, reply in replies.items()}

    async def _ask_server(
        self, server: Server, commands: Mapping[str, Sequence[Value]], *, change: bool
    ) -> dict[str, Any]:
        checks = self._checks(server, next(iter(commands)), change=change)
        try:
            replies = await self._send(self._links, server, [*commands.values(), *checks])
        except (redis.ConnectionError, OSError):
            return {}
        own, others = replies[: len(commands)], replies[len(commands) :]
        settled = {
            key: reply for key, reply in zip(commands, own, strict=True) if not isinstance(reply, redis.RedisError)
        }
        if settled:
            self._checked(server, checks, others)
        sure = await self._topology.have_authority(dict.fromkeys(settled, server), change=change)
        return settled if sure else {}

    async def _ask(self, key: str, commands: Sequence[Sequence[Value]], *, change: bool) -> Any:
        """The reply to the last of some commands for one key, by the server whose it is, and still was after that. All
        that we send can be repeated: at another server, if this one turns out to be replaced."""
        owner = await self._topology.server(key)
        while True:
            reply, owner = await self._answer(owner, key, commands, change=change)
            if isinstance(reply, redis.RedisError) or await self._topology.have_authority({key: owner}, change=change):
                return reply
            replaced, owner = owner, await self._topology.server(key)
            if owner == replaced:
                raise StoreUnavailable(_UNCERTAIN)

    async def _answer(
        self, owner: Server, key: str, commands: Sequence[Sequence[Value]], *, change: bool
    ) -> tuple[Any, Server]:
        """The reply to the last of some commands, wherever they are redirected to, and who has the key."""
        server, asking = owner, False
        while True:
            checks = self._checks(server, key, change=change)
            try:
                replies = await self._send(self._links, server, [*commands, *checks], asking=asking)
            except (redis.AuthenticationError, redis.BusyLoadingError):
                raise
            except (redis.ConnectionError, OSError):  # the server was restarted: once more, on a new connection
                server = owner = await self._topology.server(key)
                replies = await self._send(self._links, server, [*commands, *checks], fresh=True)
            own, others = replies[: len(commands)], replies[len(commands) :]
            redirect = await self._topology.redirected(server, key, own)
            if redirect is None:
                break
            server, asking = redirect
            owner = owner if asking else server
        if not isinstance(own[-1], redis.RedisError):
            self._checked(server, checks, others)
        return own[-1], owner

    async def _send(
        self,
        links: Links,
        server: Server,
        commands: Sequence[Sequence[Value]],
        *,
        fresh: bool = False,
        asking: bool = False,
    ) -> list[Any]:
        """The replies of one server, all sent in one buffer on one connection. `fresh`, `asking`: as of `Link.exchange`
        and `Redirect`."""
        encoded = [tuple(map(_encoded, command)) for command in commands]
        if asking:
            encoded = [each for command in encoded for each in ((b"ASKING",), command)]
        try:
            link = await links.to(server, self._topology.known)
            replies = await link.exchange(encoded, fresh=fresh)
        except BaseException:  # out of time, too
            self._topology.failed(server)
            raise
        return replies[1::2] if asking else replies

    def _checks(self, server: Server, key: str, *, change: bool) -> list[Sequence[Value]]:
        """What goes out behind a command on the same connection: `WAIT` counts for the last write of its connection,
        and for one that wrote nothing it is satisfied at once."""
        if not change:
            return [("SET", f"{key.rpartition('}')[0]}}}:acks", ""), self._wait()] if self._is_hidden else []
        checks: list[Sequence[Value]] = []
        replicas = self._replicas.get(server, _UNKNOWN)
        if time.monotonic() - replicas.asked_at > REPLICA_CHECK:
            checks.append(("INFO", "replication"))
        if replicas.connected or self._acks:
            checks.append(self._wait())
        return checks

    @property
    def _is_hidden(self) -> bool:
        """Whether a server that no replica follows is not believed: a failover may be hidden behind the address."""
        return self._acks > 0 and not self._topology.decides

    def _wait(self) -> Sequence[Value]:
        seconds = self._timeout / 2 if self._acks else min(REPLICA_WAIT, self._timeout / 4)
        return ("WAIT", self._acks or 1, max(1, int(1000 * seconds)))

    def _checked(self, server: Server, checks: Sequence[Sequence[Value]], answers: Sequence[Any]) -> None:
        """Raises StoreUnavailable: fewer replicas confirmed than must."""
        for (asked, *_), answer in zip(checks, answers, strict=True):
            if asked == "INFO":
                self._replicas[server] = _Replicas.of(parse_info(decoded(answer)))
            elif asked == "WAIT" and (not isinstance(answer, int) or answer < (self._acks or 1)):
                self._unconfirmed(server)

    def _unconfirmed(self, server: Server) -> None:
        # The next change looks who is there.
        self._replicas[server] = _Replicas(True, -math.inf)
        if self._acks:
            raise StoreUnavailable(f"not as many replicas confirm as ?acks={self._acks} asks for")
        self._audit.record(UNCONFIRMED)  # the change stands, but a failover now may lose it


class _Answer(NamedTuple):
    """What came back for a key. `owner`: who had it."""

    owner: Server
    replies: list[Any]


def _topology(address: Address, timeout: float) -> Topology:
    if address.sentinels:
        return Sentinels(address, timeout)
    if address.nodes:
        return Cluster(address.way, address.nodes, timeout=timeout, authority=address.authority)
    return OneServer()


class _Replicas(NamedTuple):
    """What a server said of its replicas. One that does not say has none to wait for."""

    connected: bool
    asked_at: float

    @classmethod
    def of(cls, info: Mapping[str, str]) -> _Replicas:
        return cls(info.get("connected_slaves", "0") != "0", time.monotonic())


_UNKNOWN = _Replicas(False, -math.inf)


def _never(key: str) -> str:
    """A key beside this one that never exists. A node of a cluster runs a script while the slot is on the move only if
    it has all the keys that were declared, and else half of it if it was not told of all: so it runs none then."""
    return f"{key[: key.rindex('}') + 1]}:never"


def _encoded(value: Value) -> bytes:
    """UTF-8, in which a lone surrogate of a data key passes too. None and False are the empty text."""
    if isinstance(value, bytes):
        return value
    if value is None or value is False:
        return b""
    text = "1" if value is True else value if isinstance(value, str) else repr(value)
    return text.encode("utf-8", "surrogatepass")


def decoded(reply: Any) -> Any:
    """A reply as text. What is no UTF-8, since somebody else wrote it, stays bytes."""
    if isinstance(reply, (list, tuple)):
        return [decoded(item) for item in reply]
    if isinstance(reply, bytes):
        try:
            return reply.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            pass
    return reply


def _accepted(reply: Any) -> Any:
    if isinstance(reply, redis.RedisError):
        raise StoreUnavailable(f"Redis refused ({type(reply).__name__})") from reply
    return reply
