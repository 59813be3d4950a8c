"""The store on Redis or Valkey. Each verb is one Lua script (`lua/`), so it happens whole and once.

Here a verb becomes a script's arguments and its reply the answer. What the scripts do, and how the keys are laid out,
stands in `lua/common.lua`; how servers are reached in `redis_client`.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, cast

from asgi_auth.clock import Clock
from asgi_auth.errors import ConfigurationError, StoreUnavailable
from asgi_auth.model import Event, Reason, UserRow
from asgi_auth.recent import Recent
from asgi_auth.stores import (
    LISTED,
    SWEPT,
    Created,
    Cursor,
    Ended,
    Entry,
    Exchange,
    Exchanged,
    History,
    Hit,
    Keep,
    Limit,
    Loaded,
    NewSession,
    Presented,
    Revocation,
    Swept,
    codec,
    rules,
)
from asgi_auth.stores.codec import Broken
from asgi_auth.stores.feed import Member
from asgi_auth.stores.redis_checks import misconfiguration
from asgi_auth.stores.redis_client import RedisClient, Value, decoded
from asgi_auth.stores.redis_feed import RedisFeed

SCHEMA = "2"
"""Of the keys. The first one had sessions with long names, and nothing that could be swept."""

_PIECE = 64
"""Bytes up to which a server keeps a hash in one piece."""

PARSED = 5000
"""As many sessions are not read anew while they are as they were."""

_PARSED_SIZE = 6000

_NOBODY = Presented("", "")


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
        self.clock = clock
        self._client = RedisClient(url, timeout=timeout)
        self._parsed: Recent[tuple[list[bytes], list[bytes], Loaded]]
        self._parsed = Recent(most=PARSED, size=PARSED * _PARSED_SIZE, value_size=_PARSED_SIZE)
        # One server has one partition, whatever a sid begins with. A cluster takes the two digits from there, and all
        # keys of a user have the same tag.
        self._tag = f"{self._client.prefix}{{00}}:"

    async def open(self) -> None:
        try:
            await self._client.open()
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

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _run(self, script: str, *arguments: Value, change: bool, raw: bool = False) -> Any:
        """Run a script. `change`: it writes what must not be lost. `raw`: the reply's texts stay bytes."""
        clock = None if self.clock is None else self.clock()
        arguments = (self._tag, clock, secrets.token_hex(8), *arguments)
        return await self._client.run(script, f"{self._tag}era", arguments, change=change, raw=raw)

    def partition(self, user_id: str | None) -> str:
        return "00"

    async def once(self, name: str, default: str) -> str:
        there = await self._client.one("SET", f"{self._tag}once:{name}", default, "NX", "GET", change=True)
        return default if there is None else str(there)

    async def keys(self) -> str | None:
        ring: str | None = await self._client.one("GET", f"{self._tag}keys")
        return ring

    async def put_keys(self, expected: str | None, ring: str) -> bool:
        return bool(await self._run("put_keys", expected, ring, change=True))

    async def load(self, sid: str) -> Loaded | Ended | None:
        return (await self.load_all([sid]))[sid]

    async def load_all(self, sids: Collection[str]) -> dict[str, Loaded | Ended | None]:
        found: dict[str, Loaded | Ended | None] = {}
        for sid, (kind, *rest) in zip(sids, await self._run("load", *sids, change=False, raw=True), strict=True):
            try:
                if kind == b"loaded":
                    found[sid] = self._parse(sid, *rest)
                elif kind != b"broken":
                    found[sid] = _ended(decoded(rest)) if kind == b"ended" else None
                else:
                    raise Broken
            except Broken:
                found[sid] = await self.end(sid, "broken") or await self.load(sid)
        return found

    def _parse(self, sid: str, now: bytes, record: list[bytes], user: list[bytes]) -> Loaded:
        """A session. What is byte for byte what it was the last time is not read again."""
        known = self._parsed.get(sid.encode("ascii"))
        if known is not None and known[0] == record and known[1] == user:
            return Loaded(known[2].record, known[2].user, float(now))
        loaded = _loaded(sid, decoded((b"loaded", now, record, user)))
        self._parsed.put(sid.encode("ascii"), (record, user, loaded))
        return loaded

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
        stamp = revision if new.user_id is not None else 0
        fields = codec.record_fields(rules.new_record(new, revision=stamp, era=0, data={}, now=0.0))
        fields |= _pieces(fields.pop("g", ""))
        fields |= {f"d:{key}": value for key, value in new.data.items()}
        shown = (*(replaces or _NOBODY), *(data_from or _NOBODY))
        methods = [json.dumps(method) for method in new.amr]
        arguments: tuple[Value, ...] = (new.sid, limit, evict, *shown, len(methods), *methods, *_flat(fields))
        made, *ended = await self._run("create", *arguments, change=True)
        if made in ("changed", "limit"):
            return cast(Literal["changed", "limit"], made)
        try:
            return Created(_loaded(new.sid, made), tuple(map(_ended, *ended)))
        except Broken:  # a repetition, and somebody else wrote there meanwhile
            await self.end(new.sid, "broken")
            return "changed"

    async def write_data(
        self, sid: str, put: Mapping[str, str], delete: Collection[str], *, max_size: int
    ) -> int | Literal["gone", "too_large"]:
        deleted = [f"d:{key}" for key in delete]
        written = _flat({f"d:{key}": value for key, value in put.items()})
        reply = await self._run("write_data", sid, max_size, len(deleted), *deleted, *written, change=True)
        return cast('int | Literal["gone", "too_large"]', reply)

    async def touch(self, sids: Collection[str] | Mapping[str, float]) -> None:
        used = {sid: repr(ago) for sid, ago in rules.seconds_ago(sids).items()}
        await self._run("touch", *_flat(used), change=False)

    async def rotate(self, presented: Presented, digest: str, *, grace: float) -> bool:
        return bool(await self._run("rotate", *presented, digest, grace, change=True))

    async def elevate(
        self, presented: Presented, digest: str, *, amr: Collection[str], acr: str, token_lifetime: float
    ) -> Loaded | None:
        methods = [json.dumps(method) for method in amr]
        reply = await self._run("elevate", *presented, digest, acr, token_lifetime, *methods, change=True)
        try:
            return None if reply is None else _loaded(presented.sid, reply)
        except Broken:
            await self.end(presented.sid, "broken")
            return None

    async def end(self, sid: str, reason: Reason) -> Ended | None:
        reply = await self._run("end", sid, reason, change=True)
        return None if reply is None else _ended(reply)

    async def supersede(self, sid: str) -> Ended | None:
        reply = await self._run("supersede", sid, change=True)
        return None if reply is None else _ended(reply)

    async def end_user(
        self,
        user_id: str,
        reason: Reason,
        *,
        keep: Keep | None = None,
        disable: bool | None = None,
        lost: int | None = None,
    ) -> tuple[Ended, ...] | None:
        disabled = None if disable is None else int(disable)
        reply = await self._run("end_user", user_id, reason, *(keep or Keep("")), disabled, lost, change=True)
        return None if reply is None else tuple(map(_ended, reply))

    async def end_all(self, reason: Reason, *, lost: int | None = None) -> None:
        await self._run("end_all", reason, lost, change=True)

    async def sweep(self, limit: int = SWEPT) -> Swept:
        ended, full = await self._run("sweep", limit, change=False)
        return Swept(tuple(map(_ended, ended)), full=bool(full))

    async def sessions(self, user_id: str) -> list[Loaded]:
        now, user, found = await self._run("sessions", user_id, LISTED, change=False)
        sessions = []
        for sid, flat in found:
            try:
                sessions.append(_loaded(sid, ("loaded", now, flat, user)))
            except Broken:
                await self.end(sid, "broken")
        return sorted(sessions, key=lambda loaded: (loaded.record.created_at, loaded.record.sid), reverse=True)

    async def exchange(self, asked: Exchange) -> Exchanged:
        arguments: tuple[Value, ...] = (*asked[:-1], *asked.windows)
        outcome, *rest = await self._run("exchange", *arguments, change=True)
        if not rest:
            return Exchanged(outcome)
        nonce, loaded = rest
        try:
            return Exchanged(outcome, nonce, _loaded(asked.sid, loaded))
        except Broken:
            await self.end(asked.sid, "broken")
            return Exchanged("ended")

    async def confirm(self, sid: str, generation: int) -> None:
        await self._run("confirm", sid, generation, change=False)

    async def hit(self, limits: Sequence[Limit]) -> Hit:
        arguments: list[Value] = []
        for limit in limits:
            arguments += limit.key, limit.allowed, limit.window, limit.unless, *(limit.waits or (None, None))
        wait, counts = await self._run("hit", *arguments, change=False)
        return Hit(float(wait), tuple(counts))

    async def unhit(self, undo: Collection[str], clear: Collection[str]) -> None:
        await self._run("unhit", len(undo), *undo, *clear, change=False)

    async def user(self, user_id: str) -> UserRow | None:
        return _user(user_id, await self._client.one("HGETALL", f"{self._tag}u:{user_id}"))

    async def user_by_name(self, name_key: str) -> UserRow | None:
        reply = await self._run("user_by_name", name_key, change=False)
        return None if reply is None else _user(*reply)

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
        asked = (row.id, expected, bump, ends, *(keep or Keep("")), name_key, row.name is not None)
        reply = await self._run("save_user", *asked, *_flat(codec.user_fields(row)), change=True)
        return cast('int | Literal["changed", "taken"]', reply)

    async def delete_user(self, user_id: str) -> tuple[Ended, ...] | None:
        reply = await self._run("delete_user", user_id, change=True)
        return None if reply is None else tuple(map(_ended, reply))

    async def users(self, after: str = "", limit: int = 100) -> list[UserRow]:
        rows = (_user(*found) for found in await self._run("users", after, limit, change=False))
        return [row for row in rows if row is not None]

    async def events(self, after: Cursor = (), limit: int = 1000) -> list[Entry]:
        start = f"({after[0].id}" if after else "-"
        found = await self._client.one("XRANGE", f"{self._tag}events", start, "+", "COUNT", limit)
        return [_entry(*reply) for reply in found]

    def feed(self) -> RedisFeed:
        return RedisFeed(self._client, self._tag, _entry)

    async def newest(self) -> Cursor:
        return (_entry(*await self._run("newest", change=False)),)

    async def behind(self, mark: Cursor | None) -> list[Member]:
        found = await self._run("behind", *(("", "") if mark is None else mark[0][:2]), change=False)
        return [Member(name, float(value.rsplit(" ", 1)[1]), value) for name, value in found]

    async def expel(self, member: Member) -> None:
        await self._run("expel", member.name, member.value, change=False)

    async def history(self) -> History:
        epoch, era, now = await self._run("history", secrets.token_hex(4), change=False)
        return History(epoch, int(era), float(now))

    async def revocations(self, after: str = "", limit: int = 5000) -> list[Revocation]:
        found = await self._run("revocations", after, limit, change=False)
        parts = ((*member.partition(":"), value, until) for member, value, until in found)
        return [Revocation(kind, key, int(value), float(until)) for kind, _, key, value, until in parts]


# Replies as values


def _flat(fields: Mapping[str, str]) -> list[str]:
    return [text for pair in fields.items() for text in pair]


def _fields(flat: Sequence[str]) -> codec.Fields:
    """A hash as HGETALL gives it."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _pieces(agent: str) -> codec.Fields:
    """A user agent as fields that are small enough, each of them whole characters."""
    size = _PIECE if agent.isascii() else _PIECE // 4
    return {f"g{at // size or ''}": agent[at : at + size] for at in range(0, len(agent), size)}


def _loaded(sid: str, reply: Sequence[Any]) -> Loaded:
    """What a script says of a living session: `loaded`, the clock, the record, the user's row.

    Raises:
        Broken: it cannot be read.
    """
    _, now, flat, user = reply
    fields = _fields(flat)
    pieces = [fields.pop(name) for number in range(len(fields)) if (name := f"g{number or ''}") in fields]
    try:
        fields["g"] = "".join(pieces)
    except TypeError as error:  # bytes that are no text
        raise Broken("a session's record cannot be read") from error
    record = codec.record(sid, fields, {key[2:]: fields[key] for key in fields if key[:2] == "d:"})
    return Loaded(record, _user(record.user_id, user) if record.user_id is not None else None, float(now))


def _user(user_id: str, flat: Sequence[str]) -> UserRow | None:
    return codec.user_row(user_id, _fields(flat)) if flat else None


def _ended(reply: Sequence[str]) -> Ended:
    """A session's end: sid, user or nothing, reason."""
    sid, user_id, reason = reply
    return Ended(sid, user_id or None, cast(Reason, reason))


_ENTRY_ID = re.compile(r"[0-9]+-[0-9]+")
_NUMBERS = {"data_version": int, "revision": int, "ended_below": int, "era": int, "tokens_until": float}


def _entry(entry_id: str, flat: Sequence[str]) -> Entry:
    """One of XRANGE's: the id, and nonce, kind and values as fields. `user` and `kept` may be nobody.

    Raises:
        StoreUnavailable: it cannot be read.
    """
    try:
        if _ENTRY_ID.fullmatch(entry_id) is None:
            raise ValueError(entry_id)
        fields = _fields(flat)
        nonce, kind = fields.pop("nonce"), fields.pop("kind")
        values = {name: _NUMBERS[name](value) if name in _NUMBERS else value or None for name, value in fields.items()}
    except (KeyError, ValueError) as error:
        raise StoreUnavailable("an entry of the feed cannot be read") from error
    return Entry(entry_id, nonce, Event(cast(Any, kind), values))
