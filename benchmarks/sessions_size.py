"""`python -m benchmarks.sessions_size`: what 200,000 sessions take in Redis and in SQLite, everything included, beside
Django's and starsessions' record of the same; and whether one user's sessions cost the same as among 200.

Bytes are growth, divided by how many were added: of Redis its own count, of SQLite the closed file. Users were there
before. Rivals keep the very same facts of each session and the same data; what they have no list by user for, they get
one: starsessions a set for each user, Django the column with an index that its documentation shows. Whoever leaves out
the facts (client, times, methods) is a row of its own, and no equal.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import secrets
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import redis

from asgi_auth.model import Client, UserRow
from asgi_auth.secret import digest
from asgi_auth.stores import NewSession, Store, new_sid, verbs
from asgi_auth.stores.redis import RedisStore
from asgi_auth.stores.rows import Rows
from asgi_auth.stores.sqlite import SQLiteStore
from benchmarks.world import server

_WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/149.0.0.0"
_IPHONE = "AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.5 Mobile/15E148 Safari/604.1"
AGENTS = (
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_WEBKIT} Safari/537.36",
    f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {_WEBKIT} Safari/537.36",
    f"Mozilla/5.0 (Linux; Android 10; K) {_WEBKIT} Mobile Safari/537.36",
    f"Mozilla/5.0 (iPhone; CPU iPhone OS 19_5 like Mac OS X) {_IPHONE}",
    "Mozilla/5.0 (X11; Linux x86_64; rv:152.0) Gecko/20100101 Firefox/152.0",
)
DATA: dict[str, Any] = {"theme": "dark", "cart": [1, 2, 3], "language": "en"}
IDLE, LIFETIME = 86_400.0, 30 * 86_400.0
PER_USER = 4
_AT_ONCE = 32
_PAGE = 1000
_FEW = 200


class One(NamedTuple):
    """A session, as everybody is told of it."""

    user_id: str
    client: Client


def everybody(number: int) -> Iterator[One]:
    """The same sessions for all: four of each user, one after another as the users come and go."""
    chance = random.Random(13)  # noqa: S311 (no secret)
    for index in range(number):
        address = f"{chance.randrange(1, 224)}.{chance.randrange(256)}.{chance.randrange(256)}.0"
        yield One(f"user-{index % max(1, number // PER_USER)}", Client(address, chance.choice(AGENTS)))


def facts(one: One, now: float) -> dict[str, Any]:
    """What our record says of a session, by the names that anybody would give it."""
    return {
        "backend": "session",
        "address": one.client.address,
        "user_agent": one.client.user_agent,
        "amr": {"pwd": now},
        "created_at": now,
        "seen_at": now,
        "authenticated_at": now,
        "idle": IDLE,
        "idle_expires_at": now + IDLE,
        "expires_at": now + LIFETIME,
        "revision": 1,
    }


# Ours


def _new(one: One) -> NewSession:
    return NewSession(
        sid=new_sid("00"),
        user_id=one.user_id,
        backend="session",
        idle=IDLE,
        lifetime=LIFETIME,
        digest=digest(secrets.token_urlsafe(32)),
        amr=("pwd",),
        client=one.client,
        data={key: json.dumps(value, separators=(",", ":")) for key, value in DATA.items()},
    )


def _rows(number: int) -> Iterator[UserRow]:
    names = (f"user-{index}" for index in range(number // PER_USER))
    return (UserRow(name, name=name) for name in names)


async def _fill_redis(store: RedisStore, number: int, *, with_users: bool = False) -> None:
    users, coming = _rows(number if with_users else 0), everybody(0 if with_users else number)

    async def some() -> None:
        for row in users:
            await store.save_user(row, name_key=row.name, expected=None)
        for one in coming:
            await store.create(_new(one), revision=1)

    async with anyio.create_task_group() as group:
        for _ in range(_AT_ONCE):
            group.start_soon(some)


async def _fill_sqlite(store: SQLiteStore, number: int, *, with_users: bool = False) -> None:
    """Many in one transaction: the same rows in the same order, without waiting for the disk each time."""
    users, coming = _rows(number if with_users else 0), everybody(0 if with_users else number)

    def many(rows: Rows) -> int:
        made = [verbs.save_user(rows, row, name_key=row.name, expected=None) for row in islice(users, _PAGE)]
        return len(made) + sum(verbs.create(rows, _new(one), revision=1) != "changed" for one in islice(coming, _PAGE))

    while await store._write(many, durable=False) >= _PAGE:
        pass


# The others


async def _starsessions(client: Any, number: int, *, whole: bool) -> None:
    from starsessions.serializers import JsonSerializer
    from starsessions.session import generate_session_id
    from starsessions.stores.redis import RedisStore as TheirStore

    store, serializer, coming = TheirStore(connection=client), JsonSerializer(), everybody(number)

    async def some() -> None:
        for one in coming:
            now, session_id = time.time(), generate_session_id()
            metadata = {"lifetime": int(IDLE), "created": now, "last_access": now}
            record = {"user_id": one.user_id, **(facts(one, now) if whole else {}), **DATA, "__metadata__": metadata}
            await store.write(session_id, serializer.serialize(record), int(IDLE), int(IDLE))
            await client.sadd(f"sessions-of.{one.user_id}", session_id)

    async with anyio.create_task_group() as group:
        for _ in range(_AT_ONCE):
            group.start_soon(some)


def _django(path: Path, number: int, *, whole: bool) -> None:
    """django.contrib.sessions in its database, extended by the account as its documentation shows, and logged in as
    django.contrib.auth does it."""
    from benchmarks import django_sessions

    django_sessions.open_database(path)
    page: list[Any] = []
    for one in everybody(number):
        now = time.time()
        record = {
            "_auth_user_id": one.user_id,
            "_auth_user_backend": "django.contrib.auth.backends.ModelBackend",
            "_auth_user_hash": secrets.token_hex(32),
            **(facts(one, now) if whole else {}),
            **DATA,
        }
        expires = datetime.now(timezone.utc) + timedelta(seconds=IDLE)
        page.append(django_sessions.row(record, one.user_id, expires))
        if len(page) == _PAGE:
            django_sessions.write(page)
            page.clear()
    django_sessions.write(page)
    django_sessions.close_database()


# Measuring

Sizes = dict[str, float]
"""Bytes for each session."""

Costs = dict[str, tuple[float, float]]
"""Of one user's sessions, the median, among few and among so many."""


def _used(client: redis.Redis) -> int:
    return int(client.info("memory")["used_memory"])


async def in_redis(number: int) -> tuple[Sizes, Costs]:
    """Costs are microseconds that the server is at it."""
    with ExitStack() as stack:
        looks: list[redis.Redis] = []
        stores: list[RedisStore] = []
        for count in (_FEW, number):
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            url = stack.enter_context(server(Path(folder)))
            looks.append(stack.enter_context(redis.Redis.from_url(url)))
            stores.append(RedisStore(url, timeout=60))
            await stores[-1].open()
            await _fill_redis(stores[-1], count, with_users=True)
            before = _used(looks[-1])
            await _fill_redis(stores[-1], count)
            sizes = {"asgi-auth": (_used(looks[-1]) - before) / count}

        async def measured(which: int, verb: Verb, user_id: str) -> float:
            looks[which].config_set("slowlog-log-slower-than", 0)
            looks[which].slowlog_reset()
            await verb(stores[which], user_id)
            ran = looks[which].slowlog_get(10)
            looks[which].config_set("slowlog-log-slower-than", -1)
            return max(float(one["duration"]) for one in ran if one["command"].startswith(b"EVALSHA"))

        costs = await _in_turns(number, measured, {"list": _list, "list, again": _list, "end": _end})
        for store in stores:
            await store.aclose()
        for whole in (True, False):
            looks[-1].execute_command("FLUSHALL", "SYNC")
            client = redis.asyncio.Redis.from_url(url)
            before = _used(looks[-1])
            await _starsessions(client, number, whole=whole)
            name = "starsessions and a set for each user" if whole else "the same, user and data alone"
            sizes[name] = (_used(looks[-1]) - before) / number
            await client.aclose()
        return sizes, costs


async def in_sqlite(number: int) -> tuple[Sizes, Costs]:
    """Costs are microseconds of a transaction, without threads and without waiting for the disk."""
    with tempfile.TemporaryDirectory() as directory:
        stores = [SQLiteStore(Path(directory) / str(count), timeout=60) for count in (_FEW, number)]
        for store, count in zip(stores, (_FEW, number), strict=True):
            await _fill_sqlite(store, count, with_users=True)
            await store.aclose()
            before = store.path.stat().st_size
            await _fill_sqlite(store, count)
            await store.aclose()
            sizes = {"asgi-auth": (store.path.stat().st_size - before) / count}

        async def measured(which: int, verb: Callable[[Rows, str], Any], user_id: str) -> float:
            began_at = time.perf_counter()
            stores[which]._writing(lambda rows: verb(rows, user_id), durable=False, deadline=time.monotonic() + 60)
            return (time.perf_counter() - began_at) * 1e6

        asked = {
            "list": verbs.sessions,
            "list, again": verbs.sessions,
            "end": lambda rows, user_id: verbs.end_user(rows, user_id, "revoked"),
        }
        costs = await _in_turns(number, measured, asked)
        for store in stores:
            await store.aclose()
        for whole in (True, False):
            path = Path(directory) / f"django-{whole}"
            await anyio.to_thread.run_sync(lambda path=path, whole=whole: _django(path, number, whole=whole))
            name = "Django's database sessions, with the account" if whole else "the same, user and data alone"
            sizes[name] = path.stat().st_size / number
        return sizes, costs


Verb = Callable[[Store, str], Awaitable[Any]]


async def _list(store: Store, user_id: str) -> None:
    await store.sessions(user_id)


async def _end(store: Store, user_id: str) -> None:
    await store.end_user(user_id, "revoked")


async def _in_turns(
    number: int, measured: Callable[[int, Any, str], Awaitable[float]], asked: dict[str, Any]
) -> dict[str, tuple[float, float]]:
    """The same for a user among few and for one among many, one after the other, over all of the users there are."""
    seen: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in asked}
    for turn in range(_FEW // PER_USER):
        for which, count in enumerate((_FEW, number)):
            for name, verb in asked.items():
                seen[name][which].append(await measured(which, verb, f"user-{turn * (count // _FEW)}"))
    return {name: (statistics.median(few), statistics.median(many)) for name, (few, many) in seen.items()}


async def _main(number: int) -> dict[str, Any]:
    found = {"Redis": await in_redis(number), "SQLite": await in_sqlite(number)}
    return {
        "sessions": number,
        "bytes": {kind: sizes for kind, (sizes, _) in found.items()},
        "microseconds": {kind: costs for kind, (_, costs) in found.items()},
    }


def report(found: dict[str, Any]) -> str:
    """As text."""
    lines = [f"{found['sessions']:,} sessions, {PER_USER} a user (SQLite {sqlite3.sqlite_version}); bytes for each:"]
    for kind, sizes in found["bytes"].items():
        lines += [f"  {kind:7} {size:7.0f}  {name}" for name, size in sizes.items()]
    lines.append("one user's sessions, microseconds among few and many, and the ratio:")
    for kind, costs in found["microseconds"].items():
        for what, (few, many) in costs.items():
            lines.append(f"  {kind:7} {what:11} {few:7.1f} {many:7.1f}  {many / few:.2f}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sessions_size", description=__doc__)
    parser.add_argument("--sessions", type=int, default=200_000)
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    asked = parser.parse_args()
    logging.disable()
    os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    found = anyio.run(_main, asked.sessions)
    print(report(found))
    if asked.json is not None:
        asked.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
