"""What the SQLite store promises beyond the contract: durability, many writers, forks."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import anyio
import pytest
from store_helpers import (
    WORKER,
    add_user,
    alive,
    bearer,
    cookie,
    digest,
    exchange,
    in_processes,
    listed,
    login,
    presented,
    record_of,
    sid,
    start_worker,
)

from asgi_auth.errors import StoreUnavailable
from asgi_auth.model import UserRow
from asgi_auth.stores import Limit
from asgi_auth.stores import sqlite_schema as schema
from asgi_auth.stores.opening import open_store
from asgi_auth.stores.sqlite import SQLiteStore
from asgi_auth.stores.sqlite_schema import VERSION

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


# Durability


async def test_what_was_acknowledged_survives_a_kill_in_the_middle_of_writing(path):
    url = f"sqlite:///{path}"
    store = open_store(url, timeout=10.0)
    await store.open()
    await add_user(store)
    workers = [start_worker(url, "flood", number) for number in range(2)]
    told: list[str] = []

    def kill_after(number: int) -> None:
        for worker in workers:
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            worker.stdin.write("go\n")
            worker.stdin.flush()
        for worker in workers:
            told.extend(worker.stdout.readline().strip() for _ in range(number))
        for worker in workers:
            worker.kill()
            # The last line may be cut.
            told.extend(worker.communicate()[0].rpartition("\n")[0].split())

    try:
        await anyio.to_thread.run_sync(kill_after, 50)
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    assert len(told) >= 100
    for name in told:
        assert dict((await record_of(store, name)).data) == {"a": digest(name)}
    assert set(await listed(store)) >= {sid(name) for name in told}
    await store.aclose()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


FULL, NORMAL = 2, 1


@pytest.mark.parametrize(
    ("verb", "level"),
    [
        (lambda store: login(store, cookie("new")), FULL),
        (lambda store: login(store, bearer("new")), FULL),
        (lambda store: login(store, cookie("new", None)), NORMAL),
        (lambda store: login(store, cookie("new", None), replaces=presented("s")), FULL),
        (lambda store: store.end(sid("s"), "logout"), FULL),
        (lambda store: store.end_user("alice", "revoked"), FULL),
        (lambda store: store.end_all("revoked"), FULL),
        (lambda store: store.delete_user("alice"), FULL),
        (lambda store: store.save_user(UserRow("alice"), expected=1), FULL),
        (lambda store: store.save_user(UserRow("alice"), expected=1, bump=False), NORMAL),
        (lambda store: store.save_user(UserRow("alice"), expected=1, bump=False, ends="password"), FULL),
        (lambda store: store.rotate(presented("s"), digest("s2"), grace=0), FULL),
        (lambda store: exchange(store, "b", 1, "b", "b2"), FULL),
        (lambda store: store.once("a", "b"), FULL),
        (lambda store: store.put_keys(None, "ring"), FULL),
        (lambda store: store.touch([sid("s")]), NORMAL),
        (lambda store: store.write_data(sid("s"), {"a": "1"}, (), max_size=BIG), NORMAL),
        (lambda store: store.hit([Limit("k", 1, 1)]), NORMAL),
        (lambda store: store.confirm(sid("b"), 1), NORMAL),
    ],
)
async def test_what_must_not_be_lost_waits_for_the_disk_and_the_rest_does_not(store, verb, level):
    await login(store, cookie("s"))
    await login(store, bearer("b"))
    await verb(store)
    with store._connections.lend() as connection:  # the one that was used last
        assert connection.execute("PRAGMA synchronous").fetchone() == (level,)


# Many writers


def test_no_lock_reaches_a_caller_while_several_processes_write(path):
    url = f"sqlite:///{path}"

    async def prepare() -> None:
        store = open_store(url, timeout=2.0)
        await add_user(store)
        await store.aclose()

    anyio.run(prepare)
    assert in_processes(url, "hammer", 4) == [True] * 4


def test_processes_that_migrate_at_once_make_one_schema(path):
    assert len(in_processes(f"sqlite:///{path}", "once")) == 3
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_a_file_that_another_process_is_migrating_is_not_taken_for_a_strangers(path):
    class Interrupted:
        """Another process makes the tables right before the last question about the file."""

        def __init__(self, connection: sqlite3.Connection) -> None:
            self.connection = connection

        def execute(self, statement: str) -> sqlite3.Cursor:
            if statement.startswith("SELECT count"):
                with suppress(sqlite3.OperationalError):  # "locked" is what it should meet
                    migrate_all()
            return self.connection.execute(statement)

    def migrate_all() -> None:
        other = schema.connect(path)
        try:
            other.execute("BEGIN IMMEDIATE")
            schema.migrate(other, path)
            other.execute("COMMIT")
        finally:
            other.close()

    path.touch()
    connection = schema.connect(path)
    schema.use_wal(Interrupted(connection), path)
    connection.close()
    migrate_all()


async def test_past_the_timeout_a_write_is_unavailable_while_reading_goes_on(path, other):
    store = SQLiteStore(path, timeout=0.1)
    await login(store, cookie("s"))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable):
        await store.end(sid("s"), "logout")
    assert await alive(store, "s")
    assert await listed(store) == [sid("s")]
    other.execute("ROLLBACK")
    assert await store.end(sid("s"), "logout") is not None
    await store.aclose()


async def test_who_waits_too_long_behind_other_writers_is_told(path, other):
    store = SQLiteStore(path, timeout=0.1)
    await login(store, cookie("s"))
    other.execute("BEGIN IMMEDIATE")
    told: list[str] = []

    async def one() -> None:
        try:
            await store.end(sid("s"), "logout")
        except StoreUnavailable as error:
            told.append(str(error))

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(one)
    assert len(told) == 3
    other.execute("ROLLBACK")
    assert await alive(store, "s")
    await store.aclose()


async def test_a_cancelled_request_leaves_no_transaction_open(path, other):
    store = SQLiteStore(path, timeout=0.3)
    await login(store, cookie("s"))
    other.execute("BEGIN IMMEDIATE")

    async with anyio.create_task_group() as group:

        async def one() -> None:
            with anyio.CancelScope() as scope:
                group.start_soon(cancel, scope)
                await store.end(sid("s"), "logout")

        async def cancel(scope: anyio.CancelScope) -> None:
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
            other.execute("ROLLBACK")

        group.start_soon(one)
    other.execute("BEGIN IMMEDIATE")  # fails if one is still open
    other.execute("ROLLBACK")
    await store.end(sid("s"), "logout")
    assert not await alive(store, "s")
    await store.aclose()


async def test_a_cancelled_request_that_waits_behind_others_never_begins(path, other):
    store = SQLiteStore(path, timeout=0.3)
    await login(store, cookie("s"))
    await login(store, cookie("t"))
    other.execute("BEGIN IMMEDIATE")

    async def ended(name: str, scope: anyio.CancelScope) -> None:
        with scope:
            await store.end(sid(name), "logout")

    async with anyio.create_task_group() as group:
        waiting = anyio.CancelScope()
        group.start_soon(ended, "s", anyio.CancelScope())
        await anyio.wait_all_tasks_blocked()
        group.start_soon(ended, "t", waiting)
        await anyio.wait_all_tasks_blocked()
        waiting.cancel()
        other.execute("ROLLBACK")
    assert not await alive(store, "s")
    assert await alive(store, "t")
    await store.aclose()


FORK = """
import os, sys
sys.path.insert(0, sys.argv[2])
import anyio
from store_helpers import *
from asgi_auth.stores import Loaded
from asgi_auth.stores.opening import open_store

store = open_store(sys.argv[1], timeout=5.0)

async def write(name):
    await login(store, cookie(name))

def open_files():
    places = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
    return [os.readlink(place) for place in places if os.path.exists(place)]

anyio.run(write, "before")
feed, cursor = store.feed(), anyio.run(store.newest)
assert not feed.look(cursor).more
assert any("store.sqlite3" in name for name in open_files())
child = os.fork()
if child == 0:
    assert not any("store.sqlite3" in name for name in open_files())
    anyio.run(write, "child")
    os._exit(0)
anyio.run(write, "parent")
_, status = os.waitpid(child, 0)
assert status == 0

async def check():
    for name in ("before", "child", "parent"):
        assert isinstance(await store.load(sid(name)), Loaded), name
    await store.aclose()

anyio.run(check)
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks into /proc")
def test_a_forked_child_has_no_connection_of_its_parent(path):
    command = [sys.executable, "-W", "error", "-c", FORK, f"sqlite:///{path}", str(WORKER.parent)]
    assert subprocess.run(command, timeout=30).returncode == 0
