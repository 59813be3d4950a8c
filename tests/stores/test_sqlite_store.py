"""What the SQLite store promises beyond the contract: its file, its durability, and the faults of a disk."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from store_helpers import (
    IDLE,
    LIFETIME,
    WORKER,
    add_user,
    alive,
    bearer,
    cookie,
    cursor,
    digest,
    events_since,
    exchange,
    in_processes,
    listed,
    login,
    presented,
    record_of,
    sid,
    start_worker,
)

from asgi_auth.errors import ConfigurationError, StoreUnavailable
from asgi_auth.model import UserRow
from asgi_auth.stores import TOMBSTONE_LIFETIME, Ended, Limit, Loaded, open_store
from asgi_auth.stores.sqlite import SQLiteStore
from asgi_auth.stores.sqlite_schema import VERSION, network_mount

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


# The file


async def test_the_file_and_its_companions_are_for_the_owner_alone(path, clock):
    before = os.umask(0)
    try:
        store = SQLiteStore(path, clock=clock)
        await store.open()
        await login(store, cookie("s"))
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        await store.aclose()
    finally:
        os.umask(before)
    assert modes == {path.name: 0o600, f"{path.name}-wal": 0o600, f"{path.name}-shm": 0o600}


async def test_what_was_closed_opens_again_by_itself(store, path):
    await login(store, cookie("s"))
    await store.aclose()
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert await alive(store, "s")


async def test_a_verb_opens_the_store_if_nobody_did(path):
    store = SQLiteStore(path)
    await login(store, cookie("s"))
    assert await alive(store, "s")
    await store.aclose()


async def test_a_relative_path_is_meant_from_where_the_store_was_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = open_store("sqlite:///here.sqlite3", timeout=2.0)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    await store.open()
    await store.aclose()
    assert (tmp_path / "here.sqlite3").is_file()


@pytest.mark.parametrize("name", ["a b.db", "50%41.db", "a?b#c&d.db", "\N{SNOWMAN}.db", "file:x?mode=ro"])
async def test_any_file_name_is_taken_as_it_is(tmp_path, name):
    store = SQLiteStore(tmp_path / name)
    await store.open()
    await login(store, cookie("s"))
    await store.aclose()
    assert [file.name for file in tmp_path.iterdir()] == [name]


async def refuses(path: Path, *words: str) -> None:
    store = SQLiteStore(path)
    with pytest.raises(ConfigurationError) as caught:
        await store.open()
    await store.aclose()
    for word in words:
        assert word in str(caught.value)


async def test_a_missing_directory_is_named(tmp_path):
    await refuses(tmp_path / "missing" / "x.db", "no directory", str(tmp_path / "missing"))


async def test_a_directory_is_no_database(tmp_path):
    await refuses(tmp_path, "not a file")


async def test_a_file_that_is_no_database_is_refused_and_left_alone(path):
    path.write_bytes(b"this is a text, and a long one at that\n" * 200)
    before = path.read_bytes()
    await refuses(path, "not an SQLite database", str(path))
    assert path.read_bytes() == before


async def test_a_damaged_database_is_refused(store, path):
    await login(store, cookie("s"))
    await store.aclose()
    damaged = bytearray(path.read_bytes())
    damaged[100:4096] = os.urandom(3996)
    path.write_bytes(damaged)
    await refuses(path, "damaged", "backup")


async def test_another_applications_database_is_refused_and_left_alone(path, other):
    other.execute("CREATE TABLE theirs (id INTEGER)")
    before = path.read_bytes()
    await refuses(path, "another application's database")
    assert path.read_bytes() == before


async def test_a_newer_schema_is_refused(store, path, other):
    other.execute(f"PRAGMA user_version={VERSION + 1}")
    await refuses(path, "newer asgi-auth", "upgrade")


@pytest.fixture
def others_folder() -> Iterator[Path]:
    """A directory that belongs to root and that everybody may look into, while this process is somebody else."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    os.seteuid(65534)
    try:
        yield folder
    finally:
        os.seteuid(0)
        shutil.rmtree(folder)


async def test_a_directory_that_cannot_be_written_is_refused(others_folder):
    await refuses(others_folder / "x.db", "cannot be written", str(others_folder))


async def test_a_file_that_cannot_be_written_is_refused(others_folder):
    os.seteuid(0)
    (others_folder / "x.db").touch(mode=0o644)
    others_folder.chmod(0o777)
    os.seteuid(65534)
    await refuses(others_folder / "x.db", "cannot be written", "x.db")


MOUNTS = r"""22 27 0:21 / /proc rw - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 27 0:50 / /srv/data rw,relatime shared:7 - nfs4 server:/export rw,vers=4.2
41 27 0:51 / /mnt/with\040space rw - cifs //server/share rw
42 27 0:52 / /home rw - btrfs /dev/vdb rw
43 27 0:53 / /media/ssh rw - fuse.sshfs user@host:/ rw
44 40 254:3 / /srv/data/local rw - xfs /dev/vdc rw
a line of another kind
"""


@pytest.mark.parametrize(
    ("folder", "device", "kind"),
    [
        ("/var/lib/app", "254:0", None),
        ("/srv/data", "0:50", "nfs4"),
        ("/srv/data/deep/er", "0:50", "nfs4"),
        ("/srv/data/deep/er", "0:99", "nfs4"),
        ("/srv/data/local/x", "254:3", None),
        ("/srv/data/local/x", "0:99", None),
        ("/srv/database", "0:99", None),
        ("/mnt/with space/a", "0:99", "cifs"),
        ("/mnt/with space/a", "0:51", "cifs"),
        ("/home/me", "0:77", None),
        ("/media/ssh/a", "0:53", "fuse.sshfs"),
    ],
)
def test_a_network_file_system_is_recognised_by_device_and_by_path(folder, device, kind):
    assert network_mount(MOUNTS, folder=folder, device=device) == kind


def test_no_mounts_are_no_network():
    assert network_mount("", folder="/srv", device="0:1") is None


async def test_a_network_file_system_is_refused(path, monkeypatch):
    monkeypatch.setattr("asgi_auth.stores.sqlite_schema.network_filesystem", lambda folder: "nfs4")
    await refuses(path, "network file system", "nfs4", "redis://")
    assert not path.exists()


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
from asgi_auth.stores import Loaded, open_store

store = open_store(sys.argv[1], timeout=5.0)

async def write(name):
    await login(store, cookie(name))

def open_files():
    places = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
    return [os.readlink(place) for place in places if os.path.exists(place)]

anyio.run(write, "before")
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


# Faults


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
    other.execute("UPDATE sessions SET body = ? WHERE sid = ?", (body, sid("s")))
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
        "body = json_set(body, '$.idle_expires_at', 'never')",
        "body = json_set(body, '$.expires_at', 1e999)",
        "body = json_set(body, '$.revision', 1.5)",
        "body = json_set(body, '$.digest', 7)",
        "body = json_set(body, '$.grant', json('{}'))",
        "body = json_set(body, '$.more', 1)",
        "body = json_remove(body, '$.era')",
    ],
)
async def test_a_record_with_a_wrong_member_is_broken(store, other, change):
    await login(store, cookie("s"))
    other.execute(f"UPDATE sessions SET {change}")
    assert await store.load(sid("s")) == Ended(sid("s"), "alice", "broken")


async def test_a_broken_record_hides_no_other_in_lists_and_limits(store, other):
    for name in ("a", "b", "c"):
        await login(store, cookie(name))
    other.execute("UPDATE sessions SET body = '{}' WHERE sid = ?", (sid("b"),))
    assert set(await listed(store)) == {sid("a"), sid("c")}
    other.execute("UPDATE sessions SET body = '{}' WHERE sid = ?", (sid("c"),))
    created = await login(store, cookie("d"), limit=2, evict=False)
    assert created.ended == ()


async def test_a_broken_record_is_ended_by_whichever_verb_meets_it(store, other):
    await login(store, cookie("s"))
    other.execute("UPDATE sessions SET body = '{}'")
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
        return [other.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("sessions", "ended")]

    await store.hit([])
    assert rows() == [10, 10]
    await login(store, cookie("new", None))
    assert rows() == [1, 0]
    assert other.execute("SELECT count(*) FROM counters").fetchone() == (0,)


async def test_a_session_in_use_is_not_swept(store, clock):
    await login(store, cookie("s"))
    for _ in range(12):
        clock.advance(IDLE / 2)
        await store.touch([sid("s")])
        await store.hit([Limit("k", 1, 1)])
    assert isinstance(await store.load(sid("s")), Loaded)


async def test_the_feed_is_cut_by_count_and_never_numbers_an_event_twice(store, monkeypatch, other):
    monkeypatch.setattr("asgi_auth.stores.sqlite_rows.FEED_LENGTH", 5)
    for _ in range(9):
        await store.end_all("revoked")
    assert [entry.id for entry in await store.events()] == ["5", "6", "7", "8", "9"]
    other.execute("DELETE FROM events")
    await store.end_all("revoked")
    assert [entry.id for entry in await store.events()] == ["10"]
