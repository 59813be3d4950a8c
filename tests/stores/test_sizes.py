"""That many sessions stay cheap: what one takes, what a user's cost beside many others', and what expiry leaves."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clocks import Clock
from redis_helpers import opened
from store_helpers import (
    IDLE,
    LIFETIME,
    TOKEN,
    add_user,
    bearer,
    cookie,
    digest,
    exchange,
    listed,
    login,
    presented,
    record_of,
    sid,
)

from asgi_auth.model import Client
from asgi_auth.stores import TOMBSTONE_LIFETIME, Limit, Store
from asgi_auth.stores.redis import RedisStore
from asgi_auth.stores.sqlite import SQLiteStore

AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/149.0.0.0 Safari/537.36"
)
CLIENT = Client("203.0.113.0", AGENT)
DATA = {"theme": '"dark"', "cart": "[1,2,3]", "language": '"en"'}


@pytest.fixture
def control(redis_url: str) -> Iterator[Any]:
    with opened(redis_url) as client:
        yield client


@pytest.fixture
async def redis_store(redis_url: str, clock: Clock, anyio_backend: str) -> Any:
    store = RedisStore(redis_url, timeout=10, clock=clock)
    await store.open()
    yield store
    await store.aclose()


@pytest.fixture
async def sqlite_store(tmp_path: Path, clock: Clock, anyio_backend: str) -> Any:
    store = SQLiteStore(tmp_path / "store.sqlite3", timeout=10, clock=clock)
    await store.open()
    yield store
    await store.aclose()


async def crowd(store: Store, number: int) -> None:
    """So many sessions of others, four a user."""
    for index in range(number):
        await login(store, cookie(f"other{index}", f"user-{index // 4}", client=CLIENT, data=DATA))


# What one takes


def of(control: Any, kind: str) -> list[str]:
    return [key for key in control.scan_iter(count=1000) if f"}}:{kind}:" in key]


async def test_a_session_is_one_small_piece_in_redis(redis_store: RedisStore, control: Any) -> None:
    await add_user(redis_store, "user-0")
    await login(redis_store, cookie("s", "user-0", client=CLIENT, data=DATA))
    (key,) = of(control, "s")
    assert control.object("encoding", key) == "listpack"
    assert control.memory_usage(key) < 700
    await redis_store.rotate(presented("s"), digest("s2"), grace=10)
    await redis_store.touch([sid("s")])
    await redis_store.write_data(sid("s"), {"theme": '"light"'}, ["cart"], max_size=65536)
    assert control.object("encoding", key) == "listpack"


@pytest.mark.parametrize("agent", ["", "curl/8", "x" * 64, "y" * 65, "é" * 40, "\U0001f600" * 33, "z" * 512])
async def test_any_user_agent_comes_back_whole(redis_store: RedisStore, agent: str) -> None:
    await login(redis_store, cookie("s", client=Client("", agent)))
    assert (await record_of(redis_store, "s")).client.user_agent == agent
    assert (await redis_store.sessions("alice"))[0].record.client.user_agent == agent


async def test_a_session_takes_few_bytes_in_sqlite(sqlite_store: SQLiteStore) -> None:
    for user in range(125):
        await add_user(sqlite_store, f"user-{user}")
    await sqlite_store.aclose()
    before = sqlite_store.path.stat().st_size
    await crowd(sqlite_store, 500)
    await sqlite_store.aclose()
    assert (sqlite_store.path.stat().st_size - before) / 500 < 750


# What a user's sessions cost beside many others'

Ask = Callable[[Store], Awaitable[Any]]

OF_ONE: dict[str, Ask] = {
    "list": lambda store: store.sessions("alice"),
    "touch": lambda store: store.touch([sid("a0")]),
    "end one": lambda store: store.end(sid("a1"), "logout"),
    "limit": lambda store: store.create(cookie("a9"), revision=1, limit=3),
    "end all": lambda store: store.end_user("alice", "revoked"),
    "sweep": lambda store: store.sweep(),
}


async def of_alice(store: Store) -> None:
    await add_user(store)
    for number in range(4):
        await login(store, cookie(f"a{number}"))


def commands(control: Any) -> dict[str, int]:
    """How often each command ran, those inside scripts too."""
    # A TTL is only moved if the server's own clock has moved on.
    passed_by = ("cmdstat_info", "cmdstat_config|resetstat", "cmdstat_pexpire")
    return {name: stat["calls"] for name, stat in control.info("commandstats").items() if name not in passed_by}


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("what", OF_ONE)
async def test_redis_does_the_same_for_one_user_beside_few_and_many_others(
    redis_store: RedisStore, control: Any, what: str
) -> None:
    counted = []
    for others in (20, 600):
        control.flushall()
        await redis_store.open()
        await crowd(redis_store, others)
        await of_alice(redis_store)
        control.config_resetstat()
        await OF_ONE[what](redis_store)
        counted.append(commands(control))
    assert counted[0] == counted[1]
    assert sum(counted[0].values()) < 120


async def plans(store: SQLiteStore, ask: Ask) -> list[str]:
    """How SQLite finds the rows of every statement that a verb runs."""
    statements: list[str] = []
    with store._connections.lend() as connection:
        connection.set_trace_callback(statements.append)
    await ask(store)
    with store._connections.lend() as connection:
        connection.set_trace_callback(None)
    await store.aclose()
    asked = [text for text in statements if text.split(" ", 1)[0] in {"SELECT", "UPDATE", "DELETE", "INSERT"}]
    assert asked
    connection = sqlite3.connect(store.path)
    found = [row[3] for text in asked for row in connection.execute(f"EXPLAIN QUERY PLAN {text}")]
    connection.close()
    return found


@pytest.mark.parametrize("what", OF_ONE)
async def test_sqlite_looks_through_no_table_for_one_user(sqlite_store: SQLiteStore, what: str) -> None:
    await crowd(sqlite_store, 8)
    await of_alice(sqlite_store)
    assert [plan for plan in await plans(sqlite_store, OF_ONE[what]) if plan.startswith("SCAN")] == []


# What expiry leaves


async def lived(store: Store, clock: Clock) -> None:
    """Sessions of all kinds, used and renewed; all are over, and swept for an hour."""
    await crowd(store, 12)
    await login(store, bearer("b"))
    await exchange(store, "b", 1, "b", "b2")
    await login(store, cookie("v", None, data=DATA))
    await login(store, cookie("kept"))
    await login(store, cookie("out"))
    await store.end(sid("out"), "logout")
    await store.end_user("user-0", "password")
    await store.hit([Limit("k", 5, 60)])
    clock.advance(IDLE / 2)
    await store.touch([sid("kept"), sid("other5"), sid("v")])
    for seconds in (0, IDLE / 2, IDLE / 2, LIFETIME, TOMBSTONE_LIFETIME + TOKEN):
        clock.advance(seconds)
        while (await store.sweep(5)).full:
            pass
    assert await listed(store) == []


async def test_expiry_leaves_no_index_entries_behind_in_redis(
    redis_store: RedisStore, control: Any, clock: Clock
) -> None:
    await lived(redis_store, clock)
    left = {key.partition("}:")[2].partition(":")[0] for key in control.scan_iter()}
    # The tombstones have an hour of the server's own time.
    assert left <= {"u", "users", "n", "events", "once", "era", "s", "swept", "h"}
    assert all(control.hexists(key, "ended") for key in of(control, "s") if not key.endswith(sid("v")))
    assert {key: control.ttl(key) > 0 for key in [*of(control, "s"), *of(control, "h")]} == dict.fromkeys(
        [*of(control, "s"), *of(control, "h")], True
    )


async def test_expiry_leaves_no_index_entries_behind_in_sqlite(sqlite_store: SQLiteStore, clock: Clock) -> None:
    await lived(sqlite_store, clock)
    connection = sqlite3.connect(sqlite_store.path)
    rows = {
        table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        for table in ("sessions", "ended", "counters")
    }
    connection.close()
    assert rows == {"sessions": 0, "ended": 0, "counters": 0}
    assert await sqlite_store.revocations() == []
