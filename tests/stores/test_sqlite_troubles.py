"""What can happen to a database file, and what is said of it: at the start, and under a process that has it open.

Nothing is lost by it: once the trouble is over, what was acknowledged is there.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from clocks import Clock
from store_helpers import add_user, cookie, digest, end_of, in_processes, listed, login, record_of, sid

from asgi_auth.errors import ConfigurationError, StoreUnavailable
from asgi_auth.model import UserRow
from asgi_auth.stores import Limit, Loaded, NewSession
from asgi_auth.stores import sqlite_schema as schema
from asgi_auth.stores.opening import open_store
from asgi_auth.stores.sqlite import SQLiteStore
from asgi_auth.stores.sqlite_schema import VERSION

BIG = 10**7


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite3"


@pytest.fixture
async def store(path: Path, clock: Clock, anyio_backend: str) -> AsyncIterator[SQLiteStore]:
    """Open, and in use by somebody with some data."""
    store = SQLiteStore(path, timeout=0.3, clock=clock)
    await store.open()
    await login(store, cookie("s", data={"a": "1"}))
    await store.aclose()  # what connections have read they would not read again
    yield store
    await store.aclose()


# Under a process that has it open


@contextmanager
def contents(path: Path, spoil: Any) -> Iterator[None]:
    """Other bytes in the same file."""
    before = path.read_bytes()
    with path.open("r+b") as file:
        spoil(file)
    yield
    with path.open("r+b") as file:
        file.write(before)
        file.truncate()


def damage(file: Any) -> None:
    file.seek(4096)
    file.write(os.urandom(200_000))


def overwrite(file: Any) -> None:
    file.truncate()
    file.write(b"this is a text, and a long one at that\n" * 200)


@contextmanager
def gone(path: Path) -> Iterator[None]:
    path.rename(path.with_name("away"))
    yield
    path.with_name("away").rename(path)


@contextmanager
def folder_gone(path: Path) -> Iterator[None]:
    path.parent.rename(path.parent.with_name("elsewhere"))
    yield
    path.parent.with_name("elsewhere").rename(path.parent)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """By a program that lets nobody even read."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        yield


@contextmanager
def newer(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(f"PRAGMA user_version={VERSION + 1}")
        yield
        other.execute(f"PRAGMA user_version={VERSION}")


@contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """It belongs to somebody else now."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    folder = path.parent
    opened = [place for place in (folder, *folder.parents) if place.stat().st_uid == 0 and place != Path("/")]
    modes = {place: place.stat().st_mode for place in opened}
    for place in opened:
        place.chmod(modes[place] | 0o055)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        for place, mode in modes.items():
            place.chmod(mode)


TROUBLES: dict[str, tuple[Any, list[str]]] = {
    "damaged": (lambda path: contents(path, damage), ["is damaged", "restore it from a backup"]),
    "overwritten": (lambda path: contents(path, overwrite), ["is not an SQLite database"]),
    "gone": (gone, ["is gone"]),
    "its directory gone": (folder_gone, ["is gone"]),
    "locked by another program": (locked, ["another program"]),
    "migrated by a newer version": (newer, ["newer asgi-auth", "restart it"]),
    "not ours any more": (unreadable, ["cannot be written", "the right to write"]),
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_a_trouble_with_the_file_is_told_and_loses_nothing(store: SQLiteStore, path: Path, trouble: str) -> None:
    trouble_of, words = TROUBLES[trouble]
    with trouble_of(path):
        for ask in (lambda: store.end(sid("s"), "logout"), lambda: store.sweep()):
            with pytest.raises(StoreUnavailable) as caught:
                await ask()
            for word in words:
                assert word in str(caught.value)
        if trouble != "not ours any more":
            with pytest.raises(StoreUnavailable):
                await store.load(sid("s"))
        await store.aclose()
    assert dict((await record_of(store, "s")).data) == {"a": "1"}
    assert await store.end(sid("s"), "logout") is not None
    assert await end_of(store, "s") == "logout"


@contextmanager
def room_for(store: SQLiteStore, bytes_more: int) -> Iterator[None]:
    """No file may grow beyond what they have together and a little more: what a full disk looks like."""
    size = sum(file.stat().st_size for file in store.path.parent.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + bytes_more, hard))
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@contextmanager
def few_pages(store: SQLiteStore, bytes_more: int) -> Iterator[None]:
    """SQLite's own way to say that there is no more room."""
    most = (store.path.stat().st_size + bytes_more) // 4096
    connect = schema.connect

    def bounded(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        connection.execute(f"PRAGMA max_page_count={most}")
        return connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "connect", bounded)
        yield
    store._connections.close()


@pytest.mark.parametrize("full", [room_for, few_pages])
async def test_a_full_disk_is_told_by_every_verb_that_needs_room_and_loses_nothing(
    store: SQLiteStore, clock: Clock, full: Any
) -> None:
    await login(store, cookie("t"))
    data = "x" * 200_000
    await store.aclose()
    with full(store, 20_000):
        for ask in (
            lambda: store.write_data(sid("s"), {"a": data}, (), max_size=BIG),
            lambda: store.create(cookie("new", data={"a": data}), revision=1),
            lambda: store.save_user(UserRow("bob", display_name=data), expected=None),
            lambda: store.put_keys(None, data),
        ):
            with pytest.raises(StoreUnavailable, match="is its disk full"):
                await ask()
        assert dict((await record_of(store, "s")).data) == {"a": "1"}
        assert set(await listed(store)) == {sid("s"), sid("t")}
    assert await store.load(sid("new")) is None
    assert await store.user("bob") is None
    assert await store.keys() is None
    assert await store.end(sid("s"), "logout") is not None
    await store.aclose()
    with closing(sqlite3.connect(store.path)) as other:
        assert other.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_on_a_full_disk_a_session_can_still_be_ended(store: SQLiteStore) -> None:
    """In the pages that there are: what ends takes less room than what lived."""
    await store.write_data(sid("s"), {"a": "x" * 20_000}, (), max_size=BIG)
    await store.aclose()
    with few_pages(store, 0):
        assert await store.end(sid("s"), "logout") is not None
        assert await end_of(store, "s") == "logout"


async def test_an_older_database_that_was_restored_into_the_file_is_migrated(store: SQLiteStore, path: Path) -> None:
    """By `.restore` or the backup API: the file stays the same one."""
    with closing(sqlite3.connect(path)) as other, closing(sqlite3.connect(":memory:")) as earlier:
        earlier.executescript(Path(__file__).with_name("sqlite_v1.sql").read_text("utf-8"))
        earlier.backup(other)
    assert isinstance(await store.load("00cookie"), Loaded)
    assert await store.load(sid("s")) is None
    assert await store.end("00cookie", "logout") is not None
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA user_version").fetchone() == (VERSION,)


# At the start


async def test_a_file_that_is_locked_at_the_start_is_waited_for(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode=WAL")
    store = SQLiteStore(path, timeout=0.2)
    with locked(path), pytest.raises(StoreUnavailable):
        await store.open()
    await store.open()
    await store.aclose()


@pytest.mark.parametrize("kind", ["fifo", "dangling link", "socket"])
async def test_what_is_no_file_is_refused(path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        monkeypatch.chdir(path.parent)  # the name of a socket must be short
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    else:
        os.symlink(path.with_name("nowhere"), path)
    with pytest.raises(ConfigurationError, match="is not a file"):
        await SQLiteStore(path).open()


async def test_a_link_to_a_file_and_an_empty_file_are_taken(path: Path) -> None:
    real = path.with_name("real")
    real.write_bytes(b"")
    os.symlink(real, path)
    store = SQLiteStore(path)
    await login(store, cookie("s"))
    await store.aclose()
    assert real.stat().st_size > 4096


KILLED = """
import os, signal, sys
import anyio
from asgi_auth.stores import sqlite_migrations, sqlite_schema
from asgi_auth.stores.sqlite import SQLiteStore

def die(connection):
    sqlite_migrations.MIGRATIONS[-1](connection)
    connection.execute("CREATE TABLE half (id INTEGER)")
    os.kill(os.getpid(), signal.SIGKILL)

sqlite_schema.MIGRATIONS = (*sqlite_migrations.MIGRATIONS[:-1], die)
anyio.run(SQLiteStore(sys.argv[1]).open)
"""


@pytest.mark.parametrize("version", [0, 1])
async def test_a_process_killed_in_the_middle_of_a_migration_leaves_the_file_as_it_was(
    path: Path, version: int
) -> None:
    if version:
        with closing(sqlite3.connect(path)) as earlier:
            earlier.executescript(Path(__file__).with_name("sqlite_v1.sql").read_text("utf-8"))
    command = [sys.executable, "-W", "error", "-c", KILLED, str(path)]
    assert (await anyio.run_process(command, check=False)).returncode == -signal.SIGKILL
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA user_version").fetchone() == (version,)
        assert other.execute("SELECT count(*) FROM sqlite_master WHERE name = 'half'").fetchone() == (0,)
    store = SQLiteStore(path, clock=Clock(1_800_000_005.0))
    await store.open()
    if version:
        assert isinstance(await store.load("00cookie"), Loaded)
    await login(store, cookie("new"))
    await store.aclose()


# Many processes


def test_processes_that_write_and_sweep_at_once_lose_nothing_and_tell_each_end_once(path: Path) -> None:
    url = f"sqlite:///{path}"

    async def prepare() -> None:
        store = open_store(url, timeout=10.0)
        for number in range(4):
            await add_user(store, f"user-{number}")
        await store.aclose()

    anyio.run(prepare)
    outcomes = in_processes(url, "churn", 4)
    told = [name for outcome in outcomes for name in outcome["told"]]
    assert len(told) == len(set(told))
    assert set(told) == {name for outcome in outcomes for name in outcome["made"]}
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert other.execute("SELECT count(*) FROM sessions").fetchone() == (0,)


# Size


async def test_sessions_that_come_and_go_do_not_make_the_file_grow(store: SQLiteStore, clock: Clock) -> None:
    sizes = []
    for turn in range(6):
        for number in range(150):
            name = f"{turn}-{number}"
            new = NewSession(sid(name), "alice", "session", 60.0, 600.0, digest(name), data={"a": "x" * 500})
            await store.create(new, revision=1)
            await store.hit([Limit(name, 5, 60)])
        clock.advance(4000)
        while (await store.sweep()).full:
            pass
        await store.aclose()
        sizes.append(store.path.stat().st_size)
    assert sizes[-1] < sizes[1] * 1.3, sizes


async def test_the_log_beside_the_file_stays_small_while_many_write(store: SQLiteStore) -> None:
    largest = 0
    for number in range(400):
        await store.write_data(sid("s"), {f"k{number % 7}": "x" * 30_000}, (), max_size=BIG)
        largest = max(largest, store.path.with_name(f"{store.path.name}-wal").stat().st_size)
    assert largest < 16 * 2**20
    assert store.path.stat().st_size < 2**20
