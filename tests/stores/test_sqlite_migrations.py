"""Databases of earlier versions: `sqlite_v<n>.sql` is what the code of that version has written.

Made at 1,800,000,000 on the store's clock: alice's session of before everybody's were ended, two of hers and bob's in
both modes, a visitor's, one of bob's that is idle after a minute, one that has ended.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from clocks import Clock
from store_helpers import (
    WINDOWS,
    alive,
    cookie,
    digest,
    end_of,
    exchange,
    in_processes,
    listed,
    login,
    owners,
    presented,
    record_of,
    sid,
)

from asgi_auth.errors import StoreUnavailable
from asgi_auth.model import Client
from asgi_auth.stores import Ended, Limit
from asgi_auth.stores import sqlite_migrations as migrations
from asgi_auth.stores import sqlite_schema as schema
from asgi_auth.stores.sqlite import SQLiteStore

MADE_AT = 1_800_000_000.0
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@pytest.fixture(params=[1, 2])
def version(request: pytest.FixtureRequest) -> int:
    found: int = request.param
    return found


@pytest.fixture
def path(version: int, tmp_path: Path) -> Path:
    """The file of an earlier version, closed."""
    path = tmp_path / "store.sqlite3"
    connection = sqlite3.connect(path)
    connection.executescript(Path(__file__).with_name(f"sqlite_v{version}.sql").read_text("utf-8"))
    connection.close()
    return path


@pytest.fixture(autouse=True)
def sids_of_then() -> None:
    """All began with the only partition."""
    nobody = next(name for name in map(str, count()) if zlib.crc32(name.encode()) & 0xFF == 0)
    owners.update(dict.fromkeys(("before", "cookie", "bearer", "visitor", "short", "ended"), nobody))


@pytest.fixture
def clock() -> Clock:
    return Clock(MADE_AT + 5)


@pytest.fixture
def other(path: Path) -> Iterator[sqlite3.Connection]:
    """Somebody else's connection to the same file."""
    connection = sqlite3.connect(path, isolation_level=None)
    yield connection
    connection.close()


@pytest.fixture
async def store(path: Path, clock: Clock, anyio_backend: str) -> SQLiteStore:
    store = SQLiteStore(path, timeout=10.0, clock=clock)
    await store.open()
    return store


async def test_the_sessions_of_an_earlier_version_live_on(store: SQLiteStore) -> None:
    record = await record_of(store, "cookie")
    assert record.client == Client("203.0.113.0", AGENT)
    assert (record.digest, record.previous_digest) == (digest("cookie2"), digest("cookie"))
    assert (record.created_at, record.idle, record.amr) == (MADE_AT + 1.25, 1000.0, {"pwd": MADE_AT + 1.25})
    assert (record.idle_expires_at, record.expires_at) == (MADE_AT + 1001.25, MADE_AT + 10_001.25)
    assert (record.remember, record.era, record.data_version) == (True, 1, 1)
    assert dict(record.data) == {"cart": "[1,2]", "name": '"Zoë"', "theme": '"dark"'}
    assert dict((await record_of(store, "visitor")).data) == {"cart": "[3]"}
    assert await listed(store) == [sid("cookie")]
    assert await store.rotate(presented("cookie", "cookie2"), digest("cookie3"), grace=0)
    await store.aclose()


async def test_a_refresh_token_of_an_earlier_version_is_exchanged(store: SQLiteStore) -> None:
    assert (await record_of(store, "bearer")).tokens_until == pytest.approx(MADE_AT + 601.37, abs=0.01)
    assert (await exchange(store, "bearer", 1, "bearer", "bearer2", windows=WINDOWS)).outcome == "repeated"
    assert (await exchange(store, "bearer", 2, "bearer2", "bearer3")).outcome == "made"
    await store.aclose()


async def test_what_was_dead_in_an_earlier_version_stays_dead(store: SQLiteStore) -> None:
    assert (await end_of(store, "before"), await end_of(store, "ended")) == ("revoked", "logout")
    await store.aclose()


async def test_the_sessions_of_an_earlier_version_are_told_at_their_end(store: SQLiteStore, clock: Clock) -> None:
    clock.now = MADE_AT + 62
    assert (await store.sweep()).ended == (Ended(sid("short"), "bob", "idle"),)
    clock.now = MADE_AT + 1002
    assert {(one.sid, one.reason) for one in (await store.sweep()).ended} == {
        (sid("before"), "revoked"),
        (sid("cookie"), "idle"),
        (sid("bearer"), "idle"),
    }
    assert await store.load(sid("visitor")) is None
    await store.aclose()


async def test_users_keys_counters_and_events_of_an_earlier_version_are_kept(store: SQLiteStore) -> None:
    row = await store.user_by_name("alice")
    assert row is not None
    assert (row.id, row.claims, row.password_hash, row.revision) == ("alice", {"team": "blue"}, "$argon2id$none", 1)
    assert await store.keys() == '{"keys":[]}'
    assert await store.once("ring", "another") == "0a1b2c3d"
    assert (await store.hit([Limit("name:alice", 5, 60.0)])).counts == (2,)
    assert [entry.id for entry in await store.events()] == [str(number) for number in range(1, 8)]
    await login(store, cookie("new"))
    assert await alive(store, "new")
    await store.aclose()


async def test_a_record_that_could_not_be_read_before_ends_alone(
    path: Path, other: sqlite3.Connection, version: int
) -> None:
    column = "body" if version == 1 else "record"
    other.execute(f"UPDATE sessions SET {column} = '{{' WHERE sid = ?", (sid("short"),))
    store = SQLiteStore(path, clock=Clock(MADE_AT + 5))
    assert await alive(store, "cookie")
    assert await end_of(store, "short") == "broken"
    await store.aclose()


async def test_a_token_of_an_earlier_versions_session_can_be_denied(store: SQLiteStore) -> None:
    assert not await store.denied("2.token")
    await store.deny("2.token", 600.0)
    assert await store.denied("2.token")
    await store.aclose()


def schema_of(connection: sqlite3.Connection) -> list[tuple[str, ...]]:
    texts = connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name").fetchall()
    return [(kind, name, " ".join((sql or "").split())) for kind, name, sql in texts]


async def test_a_migrated_database_has_the_tables_of_a_new_one(store: SQLiteStore, path: Path, tmp_path: Path) -> None:
    new = SQLiteStore(tmp_path / "new.sqlite3")
    await new.open()
    found = []
    for file in (path, tmp_path / "new.sqlite3"):
        connection = sqlite3.connect(file)
        found.append((schema_of(connection), connection.execute("PRAGMA user_version").fetchone()))
        connection.close()
    await new.aclose()
    await store.aclose()
    assert found[0] == found[1]


def test_processes_that_migrate_one_file_at_once_do_it_once(path: Path, other: sqlite3.Connection) -> None:
    assert {ring for ring, _ in in_processes(f"sqlite:///{path}", "once", 4)} == {"0a1b2c3d"}
    assert other.execute("PRAGMA user_version").fetchone() == (migrations.VERSION,)
    assert other.execute("SELECT count(*) FROM sessions").fetchone() == (5,)
    assert other.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_a_migration_that_fails_in_the_middle_changes_nothing_and_can_be_repeated(
    path: Path, other: sqlite3.Connection, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def everything() -> list[str]:
        return list(other.iterdump())

    def power_cut(connection: sqlite3.Connection) -> None:
        migrations.MIGRATIONS[-1](connection)
        raise sqlite3.OperationalError("disk I/O error")

    before = everything()
    store = SQLiteStore(path, timeout=0.5, clock=Clock(MADE_AT + 5))
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*migrations.MIGRATIONS[:-1], power_cut))
        with pytest.raises(StoreUnavailable):
            await store.open()
    assert everything() == before
    assert other.execute("PRAGMA user_version").fetchone() == (version,)
    await store.open()
    assert await alive(store, "cookie")
    await store.aclose()
