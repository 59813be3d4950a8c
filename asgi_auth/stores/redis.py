"""The store on one Redis or Valkey server. Each verb is one Lua script (`lua/`), so it happens whole and once.

Here a verb becomes a script's arguments and its reply the answer. What the scripts do, and how the keys are laid out,
stands in `lua/common.lua`; how the server is reached in `redis_client`.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

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
from asgi_auth.stores.redis_client import RedisClient, misconfiguration, parse_address, parse_info
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
        # One server has one partition, whatever a sid begins with. A cluster takes the two digits from there, and all
        # keys of a user have the same tag.
        self._tag = raw(f"{address.prefix}{{00}}:")
        self._client = RedisClient(address.url, timeout=timeout)

    async def open(self) -> None:
        try:
            info, config = await self._client.call([("INFO",), ("CONFIG", "GET", "maxmemory*")])
            self._check(parse_info(info), config)
            await self._client.load()
            schema = await self.once("schema", SCHEMA)
        except StoreUnavailable as error:
            wrong = misconfiguration(error.__cause__)
            if wrong is None:
                raise
            raise ConfigurationError(f"ASGI_AUTH_STORE: {wrong}") from error.__cause__
        if schema != SCHEMA:
            raise ConfigurationError(
                f"ASGI_AUTH_STORE: these keys were made by another version of asgi-auth (schema {schema!r}, this one "
                f"has {SCHEMA!r}): upgrade, or choose another ?prefix="
            )

    def _check(self, info: Mapping[str, str], config: Any) -> None:
        """Hold the server against what a store needs."""
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
        self._client.saw(dict(info))

        if not info and isinstance(config, list):
            items = [text(item) for item in config]
            info = {name.replace("-", "_"): value for name, value in zip(items[::2], items[1::2], strict=True)}
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
            return redis_values.ended(reply[1:])
        try:
            if reply[0] == b"loaded":
                return redis_values.loaded(sid, reply)
        except Broken:
            pass
        return await self.end(sid, "broken") or await self.load(sid)

    async def create(
        self,
        new: NewSession,
        *,
        revision: int = 0,
        replaces: Presented | None = None,
        data_from: Presented | None = None,
        limit: int = 0,
        evict: bool = True,
    ) -> Created | Literal["changed", "limit"]:
        nobody = Presented("", "")
        shown = [replaces or nobody, data_from or nobody]
        token_lifetime, token_digest = (0.0, "") if new.grant is None else (new.grant.token_lifetime, new.grant.digest)
        arguments = raws(new.sid, new.user_id, revision, limit, evict, *shown[0], *shown[1], new.idle, new.lifetime)
        arguments += raws(token_lifetime, new.digest, token_digest, len(new.amr), *map(json.dumps, new.amr))
        arguments += redis_values.session_fields(new)
        keys = [f"s:{sid}" for sid in (new.sid, shown[0].sid, shown[1].sid) if sid]
        if new.user_id is not None:
            keys += [f"u:{new.user_id}", f"i:{new.user_id}"]
        made, *ended = await self._send("create", arguments, keys=keys, change=True)
        if made in (b"changed", b"limit"):
            return "changed" if made == b"changed" else "limit"
        try:
            return Created(redis_values.loaded(new.sid, made), redis_values.ended_all(ended[0]))
        except Broken:  # a repetition, and somebody else wrote there meanwhile
            await self.end(new.sid, "broken")
            return "changed"

    async def write_data(
        self, sid: str, put: Mapping[str, str], delete: Collection[str], *, max_size: int
    ) -> int | Literal["gone", "too_large"]:
        pairs = [item for key, value in put.items() for item in (f"d:{key}", value)]
        deleted = [f"d:{key}" for key in delete]
        version = await self._run(
            "write_data", sid, max_size, len(deleted), *deleted, *pairs, keys=[f"s:{sid}"], change=True
        )
        if isinstance(version, int):
            return version
        return "gone" if version == b"gone" else "too_large"

    async def touch(self, sids: Collection[str]) -> None:
        await self._run("touch", *sids, keys=[f"s:{sid}" for sid in sids], change=False)

    async def rotate(self, presented: Presented, digest: str, *, grace: float) -> bool:
        return bool(await self._run("rotate", *presented, digest, grace, keys=[f"s:{presented.sid}"], change=True))

    async def end(self, sid: str, reason: Reason) -> Ended | None:
        reply = await self._run("end", sid, reason, keys=[f"s:{sid}"], change=True)
        return None if reply is None else redis_values.ended(reply)

    async def end_user(
        self, user_id: str, reason: Reason, *, keep: Keep | None = None, disable: bool | None = None
    ) -> tuple[Ended, ...] | None:
        disabled = None if disable is None else int(disable)
        kept = keep or Keep("")
        reply = await self._run(
            "end_user", user_id, reason, *kept, disabled, keys=[*_of_user(user_id), *_of_kept(kept)], change=True
        )
        return None if reply is None else redis_values.ended_all(reply)

    async def end_all(self, reason: Reason) -> None:
        await self._run("end_all", reason, keys=[], change=True)

    async def sessions(self, user_id: str) -> list[Loaded]:
        now, user, found = await self._run("sessions", user_id, keys=_of_user(user_id), change=False)
        sessions = []
        for sid, flat in found:
            try:
                sessions.append(redis_values.loaded(text(sid), (b"", now, flat, user)))
            except Broken:
                await self.end(text(sid), "broken")
        return sorted(sessions, key=lambda loaded: (loaded.record.created_at, loaded.record.sid), reverse=True)

    async def exchange(
        self,
        sid: str,
        *,
        generation: int,
        digest: str,
        client_id: str,
        scope: str,
        revision: int,
        nonce: str,
        next_digest: str,
        windows: Windows,
    ) -> Exchanged:
        arguments = raws(sid, generation, digest, client_id, scope, revision, nonce, next_digest, *windows)
        outcome, *rest = await self._send("exchange", arguments, keys=[f"s:{sid}"], change=True)
        if not rest:
            return Exchanged(text(outcome))  # type: ignore[arg-type]
        try:
            return Exchanged(text(outcome), text(rest[0]), redis_values.loaded(sid, rest[1]))  # type: ignore[arg-type]
        except Broken:
            await self.end(sid, "broken")
            return Exchanged("ended")

    async def confirm(self, sid: str, generation: int) -> None:
        await self._run("confirm", sid, generation, keys=[f"s:{sid}"], change=False)

    async def hit(self, limits: Sequence[Limit]) -> Hit:
        arguments: list[bytes] = []
        for limit in limits:
            waits = limit.waits or (None, None)
            arguments += raws(limit.key, limit.allowed, limit.window, limit.unless, *waits)
        keys = [f"h:{key}" for limit in limits for key in (limit.key, limit.unless) if key]
        wait, counts = await self._send("hit", arguments, keys=keys, change=False)
        return Hit(float(wait), tuple(counts))

    async def unhit(self, undo: Collection[str], clear: Collection[str]) -> None:
        keys = [f"h:{key}" for key in (*undo, *clear)]
        await self._run("unhit", len(undo), *undo, *clear, keys=keys, change=False)

    async def user(self, user_id: str) -> UserRow | None:
        return redis_values.user_row(user_id, await self._client.one("HGETALL", self._tag + raw(f"u:{user_id}")))

    async def user_by_name(self, name_key: str) -> UserRow | None:
        reply = await self._run("user_by_name", name_key, keys=[f"n:{name_key}"], change=False)
        return None if reply is None else redis_values.user_row(text(reply[0]), reply[1])

    async def save_user(
        self,
        row: UserRow,
        *,
        name_key: str | None = None,
        expected: int | None,
        bump: bool = True,
        ends: Reason | None = None,
        keep: Keep | None = None,
    ) -> int | Literal["changed", "taken"]:
        kept = keep or Keep("")
        arguments = raws(row.id, expected, bump, ends, *kept, name_key, row.name is not None)
        arguments += redis_values.user_fields(row)
        keys = [*_of_user(row.id), *_of_kept(kept), "users"] + ([f"n:{name_key}"] if name_key else [])
        reply = await self._send("save_user", arguments, keys=keys, change=True)
        if isinstance(reply, int):
            return reply
        return "changed" if reply == b"changed" else "taken"

    async def delete_user(self, user_id: str) -> tuple[Ended, ...] | None:
        reply = await self._run("delete_user", user_id, keys=[*_of_user(user_id), "users"], change=True)
        return None if reply is None else redis_values.ended_all(reply)

    async def users(self, after: str = "", limit: int = 100) -> list[UserRow]:
        found = await self._run("users", after, limit, keys=["users"], change=False)
        rows = (redis_values.user_row(text(user_id), flat) for user_id, flat in found)
        return [row for row in rows if row is not None]

    async def events(self, after: str = "", limit: int = 1000) -> list[Entry]:
        start = f"({after}" if after else "-"
        found = await self._client.one("XRANGE", self._tag + b"events", raw(start), "+", "COUNT", limit)
        return [redis_values.entry(reply) for reply in found]

    async def revocations(self, after: str = "", limit: int = 5000) -> list[Revocation]:
        found = await self._run("revocations", after, limit, keys=["dead", "dead:until"], change=False)
        return [redis_values.revocation(reply) for reply in found]


def _of_user(user_id: str) -> list[str]:
    return [f"u:{user_id}", f"i:{user_id}"]


def _of_kept(keep: Keep) -> list[str]:
    return [f"s:{keep.sid}"] if keep.sid else []
