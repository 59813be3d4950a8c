"""How the Redis store talks to its server: one buffer out, its replies in, within the timeout, or `StoreUnavailable`.

Scripts are loaded when the server does not know them; what met a broken connection is sent once more; a change waits
for a replica if there is one. Knows no session and no key.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import secrets
import ssl
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.resources import files
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

import anyio
import redis
import redis.exceptions
from anyio.lowlevel import RunVar
from redis.backoff import NoBackoff
from redis.retry import Retry

from asgi_auth.errors import ConfigurationError, StoreUnavailable
from asgi_auth.stores.redis_links import Command, Link, open_link

MAX_CONNECTIONS = 50
REPLICA_WAIT = 0.2
"""Seconds for which a change waits for one replica."""
REPLICA_CHECK = 1.0
"""Seconds after which a change asks again whether a replica is connected."""

_security = logging.getLogger("asgi_auth.security")


class Script(NamedTuple):
    """A Lua script with the common part in it, and the SHA-1 by which the server knows it."""

    source: bytes
    sha: str


def load_scripts() -> dict[str, Script]:
    """All scripts by name. The first line of each (`#!lua flags=…`) stays the first: it tells the server what may run
    while it is full, a replica, or without replicas, before anything is written."""
    sources = {path.name: path.read_bytes() for path in (files("asgi_auth.stores") / "lua").iterdir()}
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


def parse_address(url: str) -> Address:
    """Take our own options out of a `redis://`, `rediss://` or `unix://` URL.

    Raises:
        ConfigurationError: an option that cannot be right.
    """
    base, _, query = url.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    prefix = options.get("prefix", "asgi-auth:")
    if not prefix or "{" in prefix or "}" in prefix:
        raise ConfigurationError("ASGI_AUTH_STORE: ?prefix= needs some text without { and }, such as ?prefix=shop:")
    database = base.partition("://")[2].rpartition("@")[2].partition("/")[2].rstrip("/")
    if database and not database.isdecimal() and not base.startswith("unix:"):
        raise ConfigurationError(
            "ASGI_AUTH_STORE: after the host comes the number of a database, as in redis://localhost:6379/0"
        )
    unchecked = options.get("ssl_check_hostname", "true").lower() in {"false", "no", "n", "f", "0"}
    if options.get("ssl_cert_reqs", "required") != "required" or unchecked:
        raise ConfigurationError(
            "ASGI_AUTH_STORE: certificates are always checked; name your own CA with ?ssl_ca_certs=/path.pem"
        )
    kept = "&".join(pair for pair in query.split("&") if unquote(pair.partition("=")[0]) != "prefix")
    return Address(f"{base}?{kept}" if kept else base, prefix)


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
        name = f"asgi_auth_redis_{secrets.token_hex(8)}"
        self._links: RunVar[Link | None] = RunVar(name, None)
        self._ends: RunVar[AsyncGenerator[None, None]] = RunVar(f"{name}_end")
        self._replica = False
        self._replica_asked_at = -math.inf
        self._warned_at = -math.inf
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
            # Without the error's own text, which may hold a part of the password.
            what = "there is no such option after ?" if isinstance(error, TypeError) else "this is no URL of a server"
            raise ConfigurationError(
                f"ASGI_AUTH_STORE: {what}; valid is redis://user:password@host:6379/0?prefix=shop:"
            ) from None

    async def call(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one buffer; a reply for each, refusals as `redis.ResponseError`.

        Raises:
            StoreUnavailable: not all replies came in time.
        """
        with self._in_time():
            return await self._exchange(commands)

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
        with self._in_time():
            reply, *others = await self._exchange([command, *more])
            if isinstance(reply, redis.exceptions.NoScriptError):  # the server was restarted or flushed
                _, reply, *others = await self._exchange([("SCRIPT", "LOAD", script.source), command, *more])
        self._heed(more, others)
        return _accepted(reply)

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        try:
            with anyio.fail_after(self._timeout):
                yield
        except TimeoutError as error:
            raise StoreUnavailable(f"Redis gave no answer within {self._timeout:g} s") from error
        except (redis.RedisError, OSError) as error:
            raise StoreUnavailable(f"Redis cannot be asked ({type(error).__name__})") from error

    async def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Everything that we send can be repeated, so what met a broken connection (the server was restarted) is sent
        once more, on a new one."""
        link = await self._link()
        try:
            return await link.exchange(commands, fresh=False)
        except (redis.AuthenticationError, redis.BusyLoadingError):
            raise
        except (redis.ConnectionError, OSError):
            return await link.exchange(commands, fresh=True)

    def _heed(self, commands: Sequence[Command], replies: Sequence[Any]) -> None:
        for command, reply in zip(commands, replies, strict=True):
            if command[0] == "INFO":
                self.saw(parse_info(reply))
            elif not isinstance(reply, int) or reply < 1:
                self._unconfirmed()

    def _unconfirmed(self) -> None:
        """The change stands, but a failover now may lose it. Said once a minute; the next change looks who is there."""
        self._replica_asked_at, now = -math.inf, time.monotonic()
        if now - self._warned_at >= 60:
            self._warned_at = now
            line = {
                "datetime": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
                "event": "change_unconfirmed",
                "level": "WARN",
                "description": "No replica confirmed a change in time: a failover now may lose it",
            }
            _security.warning(json.dumps(line))

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
        if self._links.get() is not None:
            self._links.set(None)
            await self._ends.get().aclose()

    async def _link(self) -> Link:
        link = self._links.get()
        if link is None:
            link = open_link(self._url, self._seats, self._timeout, self._options)
            self._links.set(link)
            end = _until_the_loop_ends(link)
            self._ends.set(end)
            await end.__anext__()
        return link


async def _until_the_loop_ends(link: Link) -> AsyncGenerator[None, None]:
    """Event loops close the asynchronous generators that are still open when they end, and this one its link: where
    each request has a loop of its own (Starlette's `TestClient`), nobody calls `aclose`."""
    try:
        yield
    finally:
        await link.aclose()


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


def misconfiguration(error: BaseException | None) -> str | None:
    """What is wrong with the settings, if a repetition cannot cure this error."""
    if isinstance(error, redis.AuthenticationError | redis.exceptions.AuthorizationError):
        return "Redis refuses the user or the password: correct redis://user:password@…"
    if isinstance(error, redis.exceptions.NoPermissionError):
        return (
            "this user of Redis may not do what a store does: ACL SETUSER … +@read +@write +@scripting +@connection "
            "+time +publish +info, for the keys ~prefix* and the channels &prefix*"
        )
    if isinstance(error, redis.exceptions.InvalidResponse):
        return "what answers there is no Redis"
    if isinstance(error, redis.ResponseError) and "compil" in str(error):
        return "this server cannot run our scripts: Redis 7.0 or later, or Valkey, is needed"
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return "the server's certificate cannot be trusted: name your own CA with ?ssl_ca_certs=/path.pem"
        error = error.__cause__ or error.__context__
    return None
