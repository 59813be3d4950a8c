"""What the SQLite store promises of its file: who may read it, where it may lie, and what it refuses to open."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_helpers import (
    alive,
    cookie,
    login,
)

from asgi_auth.errors import ConfigurationError
from asgi_auth.stores.opening import open_store
from asgi_auth.stores.sqlite import SQLiteStore
from asgi_auth.stores.sqlite_schema import VERSION, network_mount


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


async def test_a_file_may_have_a_name_that_is_no_utf_8(tmp_path, clock, anyio_backend):
    store = SQLiteStore(tmp_path / "caf\udce9.sqlite3", clock=clock)
    await store.open()
    await login(store, cookie("s"))
    assert await alive(store, "s")
    await store.aclose()
    assert b"caf\xe9.sqlite3" in os.listdir(os.fsencode(tmp_path))


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
