"""A view over a SQLite file looks before each answer: at this very file, and without keeping anything locked."""

from __future__ import annotations

import os
import sqlite3

import pytest
from store_helpers import cookie, login, sid
from view_helpers import LEASE, Stage, following, here, hold, hurry, is_current, is_warm, until, until_it_is_dead

from asgi_auth.stores.sqlite import SQLiteStore
from asgi_auth.view import View


@pytest.fixture
def path(tmp_path):
    return tmp_path / "view.sqlite3"


@pytest.fixture
async def store(path, clock, anyio_backend):
    store = SQLiteStore(path, timeout=10, clock=clock)
    await store.open()
    yield store
    await store.aclose()


@pytest.fixture
async def other(path, clock, anyio_backend):
    """Another process's."""
    store = SQLiteStore(path, timeout=10, clock=clock)
    yield store
    await store.aclose()


@pytest.fixture
def stage(store):
    return Stage(store)


@pytest.fixture
def view(stage):
    return View(stage, staleness=LEASE)


def saved(path):
    """The database as it is now, in another file."""
    copy = path.with_name("saved.sqlite3")
    with sqlite3.connect(path) as source, sqlite3.connect(copy) as target:
        source.backup(target)
    source.close()
    target.close()
    return copy


async def test_the_very_next_answer_knows_what_another_process_did(view, stage, other):
    await login(other, cookie("a"))
    await login(other, cookie("b", "bob"))
    async with following(view):
        await hold(view, sid("a"), sid("b"))
        await other.end(sid("a"), "revoked")
        assert not is_warm(view, sid("a"))
        assert await here(view, stage, sid("a")) == "dead"
        await other.end_user("bob", "revoked")
        assert not is_warm(view, sid("b"))


async def test_a_replaced_database_file_is_noticed(view, stage, store, other, path):
    await login(other, cookie("a"))
    await login(other, cookie("b"))
    async with following(view):
        await hold(view, sid("a"), sid("b"))
        before = saved(path)
        await other.end(sid("a"), "revoked")
        assert await here(view, stage, sid("a")) == "dead"
        await store.aclose()
        await other.aclose()
        os.replace(before, path)
        await until(lambda: not is_current(view))
        assert view.held(sid("b")) is None
        hurry(view)
        await until(lambda: is_current(view))
        assert await here(view, stage, sid("a")) == "dead"  # as it was seen
        await until_it_is_dead(other, sid("a"))  # made known to the others
        await hold(view, sid("b"))
        await other.end(sid("b"), "revoked")
        assert not is_warm(view, sid("b"))


async def test_a_file_that_is_gone_proves_nothing(view, stage, store, other, path):
    await login(other, cookie("a"))
    async with following(view):
        await hold(view, sid("a"))
        await store.aclose()
        await other.aclose()
        for file in path.parent.glob("view.sqlite3*"):
            file.unlink()
        await until(lambda: not is_current(view))
        assert not is_warm(view, sid("a"))


async def test_a_file_restored_in_place_is_another_history(view, stage, store, other, path):
    """The same inode, and ids that go on from an earlier one: the nonce tells."""
    await login(other, cookie("a"))
    await other.end_user("alice", "revoked")
    await login(other, cookie("b"))
    before = saved(path)
    await other.write_data(sid("b"), {"k": "1"}, [], max_size=100)
    async with following(view):
        await hold(view, sid("b"))
        with sqlite3.connect(before) as source, sqlite3.connect(path) as target:
            source.backup(target)
        source.close()
        target.close()
        await other.write_data(sid("b"), {"k": "2"}, [], max_size=100)  # an entry of the same id
        assert not is_warm(view, sid("b"))
        assert view.held(sid("b")) is None


async def test_the_reader_never_holds_a_transaction(view, other, path):
    await login(other, cookie("a"))
    async with following(view):
        await hold(view, sid("a"))
        for number in range(3):
            await other.write_data(sid("a"), {"k": str(number)}, [], max_size=100)
            assert not is_warm(view, sid("a"))  # it has looked, and seen each
            await hold(view, sid("a"))
            assert view.held(sid("a")).loaded.record.data == {"k": str(number)}
            checkpoint = sqlite3.connect(path, isolation_level=None)
            busy, *_ = checkpoint.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            checkpoint.close()
            assert busy == 0


async def test_a_locked_file_hides_nothing(view, stage, other, path):
    """Writers in the middle of a transaction do not keep the reader from what was committed."""
    await login(other, cookie("a"))
    async with following(view):
        await hold(view, sid("a"))
        writer = sqlite3.connect(path, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        assert is_warm(view, sid("a"))
        writer.execute("ROLLBACK")
        await other.end(sid("a"), "revoked")
        writer.execute("BEGIN IMMEDIATE")
        assert not is_warm(view, sid("a"))
        writer.execute("ROLLBACK")
        writer.close()


async def test_a_file_that_cannot_be_read_is_not_believed(view, stage, store, other, path):
    await login(other, cookie("a"))
    async with following(view):
        await hold(view, sid("a"))
        await store.aclose()
        await other.aclose()
        garbage = path.with_name("garbage")
        garbage.write_bytes(b"no database" * 1000)
        os.replace(garbage, path)
        await until(lambda: not is_current(view))
        assert not is_warm(view, sid("a"))
