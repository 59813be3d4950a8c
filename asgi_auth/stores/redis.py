"""The store on one Redis or Valkey server. Each verb is one Lua script (`lua/`), so it happens whole and once.

Here a verb becomes a script's arguments and its reply the answer. What the scripts do, and how the keys are laid out,
stands in `lua/common.lua`; how the server is reached in `redis_client`.
"""

from __future__ import annotations

import json
import logging
import secrets
import ssl
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import redis

from asgi_auth.clock import Clock
from asgi_auth.errors import ConfigurationError, StoreUnavailable
from asgi_auth.model import Reason, UserRow
from asgi_auth.stores import (
    Created,
    Ended,
    Entry,
    Exchanged,
    Hit,
    Keep,
    Limit,
    Loaded,
    NewSession,
    Presented,
    Revocation,
    Windows,
    redis_values,
)
from asgi_auth.stores.redis_client import RedisClient, parse_address, parse_info
from asgi_auth.stores.redis_values import Broken, raw, raws, text

SCHEMA = "1"

_log = logging.getLogger("asgi_auth")


class RedisStore:
    """`Store` on one Redis (7.0 or later) or Valkey server.

    Args:
        url: `redis://`, `rediss://` or `unix://`; `?prefix=` for our keys (`asgi-auth:`), other options are redis-py's.
        timeout: seconds after which a verb raises `StoreUnavailable`.
        clock: decides instead of the server's `TIME`. For tests.

    Raises:
        ConfigurationError: the URL is none.
    """

    durable = True

    def __init__(self, url: str, *, timeout: float = 2.0, clock: Clock | None = None) -> None:
        address = parse_address(url)
        self.clock = clock
        self._cleartext = address.cleartext
        # One server has one partition, whatever a sid begins with. A cluster takes the two digits from there, and all
        # keys of a user have the same tag.
        self._tag = raw(f"{address.prefix}{{00}}:")
        self._client = RedisClient(address.url, timeout=timeout)

    async def open(self) -> None:
        try:
            info, policy = await self._client.call([("INFO",), ("CONFIG", "GET", "maxmemory*")])
        except StoreUnavailable as error:
            raise _misconfigured(error.__cause__) or error from error.__cause__
        if isinstance(info, redis.AuthenticationError):
            raise ConfigurationError(_WRONG_PASSWORD) from info
        self._check(parse_info(info), policy)
        try:
            await self._client.load()
            schema = await self.once("schema", SCHEMA)
        except StoreUnavailable as error:
            raise _misconfigured(error.__cause__) or error from error.__cause__
        if schema != SCHEMA:
            raise ConfigurationError(
                f"STORE: these keys were made by another version of asgi-auth (schema {schema!r}, this one has "
                f"{SCHEMA!r}): upgrade, or choose another ?prefix="
            )
        if self._cleartext:
            _log.warning("the connection to Redis is not encrypted and leaves this host: use rediss://")

    def _check(self, info: Mapping[str, str], config: Any) -> None:
        """Hold the server against what a store needs."""
        version = info.get("redis_version", "")
        if version and "valkey_version" not in info and int(version.partition(".")[0]) < 7:
            raise ConfigurationError(f"STORE: this is Redis {version}; 7.0 or later, or Valkey, is needed")
        mode = info.get("redis_mode", "standalone")
        if mode != "standalone":
            raise ConfigurationError(f"STORE: this server runs as {mode}; name a single server")
        if info.get("role", "master") != "master":
            raise StoreUnavailable("this Redis is a replica")
        if not info:
            _log.warning("this user of Redis may not ask INFO, so changes wait for no replica")
        self._client.saw(dict(info))

        if not info and isinstance(config, list):
            items = [text(item) for item in config]
            info = {name.replace("-", "_"): value for name, value in zip(items[::2], items[1::2], strict=True)}
        policy, limit = info.get("maxmemory_policy"), info.get("maxmemory")
        if policy is None or limit is None:
            _log.warning("this Redis does not tell its maxmemory-policy: make sure that it is noeviction")
        elif limit != "0" and policy.startswith("allkeys-"):
            raise ConfigurationError(
                f"STORE: this Redis evicts keys that must not vanish, revocations too: set maxmemory-policy to "
                f"noeviction (it is {policy}), or use a server of its own"
            )
        elif limit != "0" and policy.startswith("volatile-"):
            _log.warning("this Redis may evict living sessions (maxmemory-policy is %s): noeviction is better", policy)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _run(self, name: str, *arguments: str | float | bool | None, keys: Sequence[str], change: bool) -> Any:
        return await self._send(name, raws(*arguments), keys=keys, change=change)

    async def _send(self, name: str, arguments: Sequence[bytes], *, keys: Sequence[str], change: bool) -> Any:
        """Run a script on these keys; all may read the era, and those that change something write into the feed."""
        clock = b"" if self.clock is None else raw(self.clock())
        shared = ("era", "events", "dead", "dead:until") if change else ("era",)
        common = [self._tag, clock, raw(secrets.token_hex(8))]
        declared = [self._tag + raw(key) for key in (*keys, *shared)]
        return await self._client.run(name, declared, [*common, *arguments], change=change)

    async def once(self, name: str, default: str) -> str:
        there = await self._client.one("SET", self._tag + raw(f"once:{name}"), raw(default), "NX", "GET")
        return default if there is None else text(there)

    async def keys(self) -> str | None:
        ring = await self._client.one("GET", self._tag + b"keys")
        return None if ring is None else text(ring)

    async def put_keys(self, expected: str | None, ring: str) -> bool:
        return bool(await self._run("put_keys", expected, ring, keys=["keys"], change=True))

    async def load(self, sid: str) -> Loaded | Ended | None:
        reply = await self._run("load", sid, keys=[f"s:{sid}"], change=False)
        if reply is None:
            return None
        if reply[0] == b"ended":
            _, reason, user_id, still_there = map(text, reply)
            if reason != "broken" or not still_there:
                return Ended(sid, user_id or None, reason)  # type: ignore[arg-type]
            return await self._broken(sid)
        try:
            return redis_values.loaded(sid, reply)
        except Broken:
            return await self._broken(sid)
