"""What the memory store promises beyond the contract: many threads, and bounds."""

from __future__ import annotations

import threading

import anyio
import pytest
from store_helpers import LIFETIME, add_user, bearer, cookie, exchange, login, sid

from asgi_auth.stores import FEED_LENGTH, Limit, Store
from asgi_auth.stores.memory import MemoryStore
from asgi_auth.stores.opening import open_store


def in_threads(number: int, job) -> list:
    """Outcomes of `job(0)`, … each in a thread and an event loop of its own, at once."""
    outcomes: list = [None] * number
    ready = threading.Barrier(number)

    def run(index: int) -> None:
        ready.wait(timeout=10)
        outcomes[index] = anyio.run(job, index)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return outcomes


@pytest.fixture(params=["memory", "sqlite"])
def shared_store(request, tmp_path) -> Store:
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'store.sqlite3'}"
    return open_store(url, timeout=10.0)


def test_one_store_serves_several_event_loops_at_once(shared_store):
    async def prepare() -> None:
        await add_user(shared_store)
        await login(shared_store, bearer("r1", sid=sid("s")))

    async def job(index: int) -> tuple[str, int]:
        done = await exchange(shared_store, "s", 1, "r1", f"r2-{index}", revision=1)
        for turn in range(20):
            await login(shared_store, cookie(f"{index}-{turn}"), revision=1)
            await shared_store.write_data(sid("s"), {f"{index}-{turn}": "1"}, (), max_size=10**6)
        await shared_store.aclose()
        return done.outcome, len(await shared_store.sessions("alice"))

    async def count() -> tuple[int, int]:
        found = len(await shared_store.sessions("alice")), len((await shared_store.load(sid("s"))).record.data)
        await shared_store.aclose()
        return found

    anyio.run(prepare)
    outcomes = in_threads(4, job)
    assert sorted(outcome for outcome, _ in outcomes) == ["made", "repeated", "repeated", "repeated"]
    assert anyio.run(count) == (81, 80)
    anyio.run(shared_store.aclose)


def test_memory_does_not_outlive_the_process():
    assert open_store("memory://", timeout=1.0).durable is False


async def test_what_is_over_is_forgotten(clock):
    store = open_store("memory://", timeout=1.0, clock=clock)
    for number in range(30):
        await login(store, cookie(f"v{number}"))
        await store.end(sid(f"v{number}"), "logout")
        await login(store, cookie(f"w{number}"))
        await store.hit([Limit(f"k{number}", 1, 60)])
    for _ in range(2):
        clock.advance(LIFETIME)
        while (await store.sweep()).full:
            pass
    rows = store._rows
    assert (rows._sessions, rows._of_user, rows._counters, rows._ends, rows._over) == ({}, {}, {}, [], [])


async def test_a_session_in_use_is_not_forgotten(clock):
    store = open_store("memory://", timeout=1.0, clock=clock)
    await login(store, cookie("s"))
    for _ in range(12):
        clock.advance(500)
        await store.touch([sid("s")])
        await store.sweep()
    assert len(await store.sessions("alice")) == 1


async def test_the_feed_is_cut_by_count(clock):
    store = open_store("memory://", timeout=1.0, clock=clock)
    for _ in range(FEED_LENGTH + 5):
        await store.end_all("revoked")
    entries = await store.events(limit=2)
    assert [entry.id for entry in entries] == ["6", "7"]
    assert [entry.id for entry in await store.events((entries[0]._replace(id="3"),), 1)] == ["6"]
    assert len(await store.events((entries[0],), FEED_LENGTH)) == FEED_LENGTH - 1


async def test_counters_that_were_taken_back_are_forgotten():
    store = MemoryStore()
    for number in range(10):
        await store.hit([Limit(f"k{number}", 5, 60)])
        await store.unhit([f"k{number}"], [])
    assert store._rows._counters == {}
