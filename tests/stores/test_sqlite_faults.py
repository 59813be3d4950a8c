"""What the SQLite store does when the file or a record of it is broken, gone or full, and how it stays bounded."""

from __future__ import annotations

import os
import resource
import sqlite3
from collections.abc import Iterator

import pytest
from store_helpers import (
    IDLE,
    LIFETIME,
    alive,
    cookie,
    cursor,
    events_since,
    listed,
    login,
    record_of,
    sid,
)

from asgi_auth.errors import StoreUnavailable
from asgi_auth.stores import TOMBSTONE_LIFETIME, Ended, Limit, Loaded
from asgi_auth.stores.sqlite import SQLiteStore

BIG = 10**7


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.sqlite3"


@pytest.fixture
async def store(path, clock, anyio_backend):
    store = SQLiteStore(path, timeout=10.0, clock=clock)
    await store.open()
    yield store
    await store.aclose()


@pytest.fixture
def other(path) -> Iterator[sqlite3.Connection]:
    """Somebody else's connection to the same file."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    yield connection
    connection.close()


async def test_a_database_that_is_gone_is_unavailable(store, path):
    await login(store, cookie("s"))
    for file in path.parent.iterdir():
        file.unlink()
    with pytest.raises(StoreUnavailable):
        await store.load(sid("s"))
    with pytest.raises(StoreUnavailable):
        await store.end(sid("s"), "logout")
    assert not path.exists()


async def test_a_replaced_database_file_is_noticed(store, path, tmp_path, clock):
    await login(store, cookie("old"))
    another = SQLiteStore(tmp_path / "another.sqlite3", clock=clock)
    await login(another, cookie("new"))
    await another.aclose()
    for file in path.parent.glob(f"{path.name}-*"):
        file.unlink()
    os.replace(tmp_path / "another.sqlite3", path)
    assert await store.load(sid("old")) is None
    assert await alive(store, "new")
    assert await store.end(sid("new"), "logout") is not None


async def test_a_full_disk_is_unavailable_and_loses_nothing(store):
    await login(store, cookie("s", data={"a": "1"}))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
    try:
        with pytest.raises(StoreUnavailable):
            await store.write_data(sid("s"), {"a": "x" * 1_000_000}, (), max_size=BIG)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert dict((await record_of(store, "s")).data) == {"a": "1"}
    assert isinstance(await store.write_data(sid("s"), {"b": "2"}, (), max_size=BIG), int)


BROKEN = ["", "null", "[]", "{}", "not json", '{"client": ["", ""], "grant": null}', "[" * 5000]


@pytest.mark.parametrize("body", BROKEN)
async def test_a_broken_record_ends_that_session_with_an_event_and_nothing_else(store, other, body):
    await login(store, cookie("s"))
    await login(store, cookie("fine"))
    other.execute("UPDATE sessions SET record = ? WHERE sid = ?", (body, sid("s")))
    since = await cursor(store)
    assert await store.load(sid("s")) == Ended(sid("s"), "alice", "broken")
    assert await store.load(sid("s")) == Ended(sid("s"), "alice", "broken")
    (event,) = await events_since(store, since)
    assert (event.kind, event.values["sid"], event.values["reason"]) == ("ended", sid("s"), "broken")
    assert await alive(store, "fine")


@pytest.mark.parametrize(
    "change",
    [
        "data = '[]'",
        "data = '{\"a\": 1}'",
        "data = 'x'",
        "tokens_until = 'soon'",
        "record = json_set(record, '$.j', 'never')",
        "record = json_set(record, '$.e', 1e999)",
        "record = json_set(record, '$.r', 1.5)",
        "record = json_set(record, '$.h', 7)",
        "record = json_set(record, '$.grant', json('{}'))",
        "record = json_set(record, '$.more', 1)",
        "record = json_remove(record, '$.n')",
    ],
)
async def test_a_record_with_a_wrong_member_is_broken(store, other, change):
    await login(store, cookie("s"))
    other.execute(f"UPDATE sessions SET {change}")
    assert await store.load(sid("s")) == Ended(sid("s"), "alice", "broken")


async def test_a_broken_record_hides_no_other_in_lists_and_limits(store, other):
    for name in ("a", "b", "c"):
        await login(store, cookie(name))
    other.execute("UPDATE sessions SET record = '{}' WHERE sid = ?", (sid("b"),))
    assert set(await listed(store)) == {sid("a"), sid("c")}
    other.execute("UPDATE sessions SET record = '{}' WHERE sid = ?", (sid("c"),))
    created = await login(store, cookie("d"), limit=2, evict=False)
    assert created.ended == ()


async def test_a_users_row_that_cannot_be_read_keeps_no_session_from_being_collected(store, other, clock):
    await login(store, cookie("a"))
    await login(store, cookie("b", "bob"))
    other.execute("UPDATE users SET body = 'spoilt' WHERE id = 'alice'")
    clock.advance(IDLE)
    assert {one.sid for one in (await store.sweep()).ended} == {sid("a"), sid("b")}


async def test_a_broken_record_is_ended_by_whichever_verb_meets_it(store, other):
    await login(store, cookie("s"))
    other.execute("UPDATE sessions SET record = '{}'")
    assert await store.write_data(sid("s"), {"a": "1"}, (), max_size=BIG) == "gone"
    assert await store.load(sid("s")) == Ended(sid("s"), "alice", "broken")


async def test_a_users_row_that_cannot_be_read_lets_nobody_in(store, other):
    await login(store, cookie("s"))
    other.execute("UPDATE users SET body = 'x'")
    with pytest.raises(StoreUnavailable):
        await store.load(sid("s"))


# Bounds


async def test_what_is_over_is_swept_in_small_steps(store, other, clock):
    for number in range(30):
        await login(store, cookie(f"v{number}", None))
        await store.end(sid(f"v{number}"), "logout")
        await login(store, cookie(f"w{number}", None))
        await store.hit([Limit(f"k{number}", 1, 60)])
    clock.advance(LIFETIME + TOMBSTONE_LIFETIME)

    def rows() -> list[int]:
        tables = ("sessions", "ended", "counters")
        return [other.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]

    assert rows() == [30, 30, 30]
    assert (await store.sweep(20)).full
    assert rows() == [10, 30, 30]
    assert (await store.sweep(50)).full
    assert rows() == [0, 0, 20]
    assert not (await store.sweep(50)).full
    assert rows() == [0, 0, 0]


async def test_a_session_in_use_is_not_swept(store, clock):
    await login(store, cookie("s"))
    for _ in range(12):
        clock.advance(IDLE / 2)
        await store.touch([sid("s")])
        await store.sweep()
    assert isinstance(await store.load(sid("s")), Loaded)


async def test_the_feed_is_cut_by_count_and_never_numbers_an_event_twice(store, monkeypatch, other):
    monkeypatch.setattr("asgi_auth.stores.sqlite_rows.FEED_LENGTH", 5)
    for _ in range(9):
        await store.end_all("revoked")
    assert [entry.id for entry in await store.events()] == ["5", "6", "7", "8", "9"]
    other.execute("DELETE FROM events")
    await store.end_all("revoked")
    assert [entry.id for entry in await store.events()] == ["10"]
