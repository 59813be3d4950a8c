"""How the Redis store talks to its server: one buffer out, its replies in, within the timeout, or `StoreUnavailable`.

Scripts are loaded when the server does not know them; what met a broken connection is sent once more; a change waits
for a replica if there is one. Knows no session and no key.
"""

from __future__ import annotations

import hashlib
import logging
import math
import secrets
import ssl
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

import anyio
import redis
import redis.exceptions
from anyio.lowlevel import RunVar
from redis.backoff import NoBackoff
from redis.retry import Retry

from asgi_auth.audit import Audit, Kind
from asgi_auth.errors import ConfigurationError, Deaf, StoreUnavailable
from asgi_auth.stores.redis_links import Link, open_link

MAX_CONNECTIONS = 50
REPLICA_WAIT = 0.2
"""Seconds for which a change waits for one replica."""
REPLICA_CHECK = 1.0
"""Seconds after which a change asks again whether a replica is connected."""

UNCONFIRMED = Kind("change_unconfirmed", "WARN", "No replica confirmed a change in time: a failover now may lose it")

Value = str | bytes | float | bool | None

_log = logging.getLogger("asgi_auth")


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


def parse_address(url: str) -> tuple[str, str]:
    """A `redis://`, `rediss://` or `unix://` URL without our own options, and the prefix of our keys.

    Raises:
        ConfigurationError: an option that cannot be right.
    """
    base, _, query = url.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    prefix = options.pop("prefix", "asgi-auth:")
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
    return f"{base}?{urlencode(options)}", prefix


class RedisClient:
    """One Redis or Valkey server for every event loop of this process.

    Args:
        url: as redis-py takes it; its options too, and `?prefix=` for our keys.
        timeout: seconds for which a call lasts at most.

    Raises:
        ConfigurationError: the URL is none.
    """

    def __init__(self, url: str, *, timeout: float) -> None:
        self._url, self.prefix = parse_address(url)
        self._timeout = timeout
        self._scripts = load_scripts()
        self._links = _links()
        self._feed_links = _links()
        self._replica = False
        self._replica_asked_at = -math.inf
        self._audit = Audit("asgi-auth")
        try:
            # RESP2, one attempt: retries and timeouts are ours.
            self._options: dict[str, Any] = {
                "protocol": 2,
                "retry": Retry(NoBackoff(), 0),
                "max_connections": MAX_CONNECTIONS,
            }
            pool = redis.ConnectionPool.from_url(self._url, **self._options)
            pool.connection_class(**pool.connection_kwargs)
            self._seats = pool.max_connections
        except (ValueError, TypeError, redis.RedisError) as error:
            # Without the error's own text, which may hold a part of the password.
            what = "there is no such option after ?" if isinstance(error, TypeError) else "this is no URL of a server"
            raise ConfigurationError(
                f"ASGI_AUTH_STORE: {what}; valid is redis://user:password@host:6379/0?prefix=shop:"
            ) from None

    async def call(self, commands: Sequence[Sequence[Value]]) -> list[Any]:
        """Send commands in one buffer; a reply for each, refusals as `redis.ResponseError`.

        Raises:
            StoreUnavailable: not all replies came in time.
        """
        with self._in_time():
            return [decoded(reply) for reply in await self._exchange(commands)]

    async def one(self, *command: Value) -> Any:
        """A single command's reply.

        Raises:
            StoreUnavailable: none came, or a refusal.
        """
        return _accepted((await self.call([command]))[0])

    async def run(self, name: str, key: str, arguments: Sequence[Value], *, change: bool, raw: bool = False) -> Any:
        """Run a script. `change`: wait for a replica, if one is connected, in the same round trip. `raw`: the reply's
        texts stay bytes.

        Raises:
            StoreUnavailable: no reply came, or a refusal (full, read-only, loading, not permitted, …).
        """
        script = self._scripts[name]
        command = ("EVALSHA", script.sha, 1, key, *arguments)
        more: list[Sequence[Value]] = []
        if change and time.monotonic() - self._replica_asked_at > REPLICA_CHECK:
            more.append(("INFO", "replication"))
        if change and self._replica:
            more.append(("WAIT", 1, max(1, int(1000 * min(REPLICA_WAIT, self._timeout / 4)))))
        with self._in_time():
            reply, *others = await self._exchange([command, *more])
            if isinstance(reply, redis.exceptions.NoScriptError):  # the server was restarted or flushed
                _, reply, *others = await self._exchange([("SCRIPT", "LOAD", script.source), command, *more])
        for (asked, *_), answer in zip(more, others, strict=True):
            if asked == "INFO":
                self.saw(parse_info(decoded(answer)))
            elif not isinstance(answer, int) or answer < 1:
                # The change stands, but a failover now may lose it. The next change looks who is there.
                self._replica_asked_at = -math.inf
                self._audit.record(UNCONFIRMED)
        return _accepted(reply if raw else decoded(reply))

    async def beat(self, *commands: Sequence[Value], timeout: float) -> list[Any]:
        """Send commands once, in one buffer, on the one connection that does nothing else.

        Raises:
            StoreUnavailable: not all replies came within `timeout` seconds, or one is a refusal. That connection is
                closed.
        """
        with self._in_time(timeout):
            link = await self._link(self._feed_links)
            replies = await link.exchange([tuple(map(_encoded, command)) for command in commands], fresh=False)
        return [_accepted(decoded(reply)) for reply in replies]

    async def message(self, channel: str) -> str:
        """Wait for a message of a channel. Who does not listen yet begins to; what was sent before is lost.

        Raises:
            Deaf: this user of Redis may not listen.
            StoreUnavailable: this cannot be heard.
        """
        try:
            return str(decoded(await (await self._link(self._feed_links)).message(channel)))
        except redis.exceptions.NoPermissionError as error:
            raise Deaf("this user of Redis may not listen to our channel") from error
        except (redis.RedisError, OSError) as error:
            raise StoreUnavailable(f"Redis tells nothing ({type(error).__name__})") from error

    async def close_feed(self) -> None:
        """Close the running event loop's connections of `beat` and `message`."""
        await _close(self._feed_links)

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

    async def _exchange(self, commands: Sequence[Sequence[Value]]) -> list[Any]:
        """Everything that we send can be repeated, so what met a broken connection (the server was restarted) is sent
        once more, on a new one."""
        link = await self._link(self._links)
        encoded = [tuple(map(_encoded, command)) for command in commands]
        try:
            replies = await link.exchange(encoded, fresh=False)
        except (redis.AuthenticationError, redis.BusyLoadingError):
            raise
        except (redis.ConnectionError, OSError):
            replies = await link.exchange(encoded, fresh=True)
        return replies

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
        await _close(self._links)

    async def _link(self, links: _Links) -> Link:
        found = links.get()
        if found is None:
            link = open_link(self._url, self._seats, self._timeout, self._options)
            found = link, _until_the_loop_ends(link)
            links.set(found)
            await found[1].__anext__()
        return found[0]


_Links = RunVar[tuple[Link, AsyncGenerator[None, None]] | None]


def _links() -> _Links:
    """Of each event loop its own."""
    return RunVar(f"asgi_auth_redis_{secrets.token_hex(8)}", None)


async def _close(links: _Links) -> None:
    found = links.get()
    if found is not None:
        links.set(None)
        await found[1].aclose()


async def _until_the_loop_ends(link: Link) -> AsyncGenerator[None, None]:
    """Event loops close the asynchronous generators that are still open when they end, and this one its link: where
    each request has a loop of its own (Starlette's `TestClient`), nobody calls `aclose`."""
    try:
        yield
    finally:
        await link.aclose()


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


def parse_info(reply: Any) -> dict[str, str]:
    """The fields of INFO's reply; none if it was refused."""
    if not isinstance(reply, str):
        return {}
    lines = (line.partition(":") for line in reply.splitlines() if line[:1] != "#")
    return {name: value for name, _, value in lines if name}


def _accepted(reply: Any) -> Any:
    if isinstance(reply, redis.RedisError):
        raise StoreUnavailable(f"Redis refused ({type(reply).__name__})") from reply
    return reply


def check_server(info: Mapping[str, str], config: Any) -> None:
    """Hold a server against what a store needs, by its INFO and its CONFIG GET maxmemory*, as far as it tells.

    Raises:
        ConfigurationError: it can be no store.
        StoreUnavailable: not now.
    """
    version = info.get("redis_version", "")
    if version and "valkey_version" not in info and int(version.partition(".")[0]) < 7:
        raise ConfigurationError(f"ASGI_AUTH_STORE: this is Redis {version}; 7.0 or later, or Valkey, is needed")
    mode = info.get("redis_mode", info.get("server_mode", "standalone"))
    if mode != "standalone":
        raise ConfigurationError(f"ASGI_AUTH_STORE: this server runs as {mode}; name a single server")
    if info.get("role", "master") != "master":
        raise StoreUnavailable("this Redis is a replica")
    if not info:
        _log.warning("this user of Redis may not ask INFO, so changes wait for no replica")
    if not info and isinstance(config, list):
        info = {name.replace("-", "_"): value for name, value in zip(config[::2], config[1::2], strict=True)}
    policy, limit = info.get("maxmemory_policy"), info.get("maxmemory")
    if policy is None or limit is None:
        _log.warning("this Redis does not tell its maxmemory-policy: make sure that it is noeviction")
    elif limit != "0" and policy.startswith("allkeys-"):
        raise ConfigurationError(
            f"ASGI_AUTH_STORE: this Redis evicts keys that must not vanish, revocations too: set maxmemory-policy "
            f"to noeviction (it is {policy}), or use a server of its own"
        )
    elif limit != "0" and policy.startswith("volatile-"):
        _log.warning("this Redis may evict living sessions (maxmemory-policy is %s): noeviction is better", policy)


def misconfiguration(error: BaseException | None) -> str | None:
    """What is wrong with the settings, if a repetition cannot cure this error."""
    if isinstance(error, redis.AuthenticationError | redis.exceptions.AuthorizationError):
        return "Redis refuses the user or the password: correct redis://user:password@…"
    if isinstance(error, redis.exceptions.NoPermissionError):
        return (
            "this user of Redis may not do what a store does: ACL SETUSER … +@read +@write +@scripting +@connection "
            "+time +spublish +ssubscribe +info, for the keys ~prefix* and the channels &prefix*"
        )
    if isinstance(error, redis.exceptions.InvalidResponse):
        return "what answers there is no Redis"
    if isinstance(error, redis.ResponseError) and "DB index" in str(error):
        return "this server has no such database: correct the number in redis://localhost:6379/0"
    if isinstance(error, redis.ResponseError) and "compil" in str(error):
        return "this server cannot run our scripts: Redis 7.0 or later, or Valkey, is needed"
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return "the server's certificate cannot be trusted: name your own CA with ?ssl_ca_certs=/path.pem"
        error = error.__cause__ or error.__context__
    return None
