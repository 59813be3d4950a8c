"""Processes with a view over a cluster whose slots move and whose nodes fail over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

import anyio
import pytest
from cluster_set import ClusterSet, slot_of
from store_helpers import cookie, login, sid
from under_load import SCENES, run
from view_helpers import until, worker

from asgi_auth.clock import steady_clock
from asgi_auth.stores import Ended
from asgi_auth.stores.redis import RedisStore

STALENESS = 0.5
PARTITION = int(sid("a")[:2], 16) % 16
"""Where alice is."""
SLOT = slot_of(PARTITION)
TAG = f"asgi-auth:{{{PARTITION:02x}}}:"
ON_ASYNCIO = pytest.mark.parametrize("anyio_backend", ["asyncio"])
"""The other processes are what matters, and those always run there."""


@pytest.fixture
async def store(cluster_url: str, anyio_backend: Any) -> AsyncIterator[RedisStore]:
    store = RedisStore(cluster_url, timeout=10)
    await store.open()
    yield store
    await store.aclose()


@pytest.fixture
async def processes(cluster_url: str, store: RedisStore) -> AsyncIterator[list[Any]]:
    """Three, which would answer for the sessions `a` and `b` at once."""
    await login(store, cookie("a"))
    await login(store, cookie("b"))
    with ExitStack() as stack:
        processes = [stack.enter_context(worker(cluster_url, STALENESS)) for _ in range(3)]
        for process in processes:
            assert await process.hear() == "ready"
            for name in "ab":
                assert await process.ask("hold", sid(name)) == {"state": "alive", "warm": True}
        yield processes


async def states(processes: list[Any], name: str) -> list[str]:
    return [(await process.ask("ask", sid(name)))["state"] for process in processes]


@ON_ASYNCIO
@pytest.mark.parametrize("way", ["MIGRATE", "MIGRATESLOTS"])
async def test_a_revocation_during_a_slot_move_reaches_every_process(cluster, store, processes, way):
    if way == "MIGRATE":
        with cluster.moving(SLOT) as move:
            move.keys(f"{TAG}events")  # whoever still listens to the old owner hears nothing
            before = move.refusals()
            async with anyio.create_task_group() as group:
                group.start_soon(store.end, sid("a"), "revoked")
                await until(lambda: move.refusals() > before)
                assert await states(processes, "b") == ["alive"] * 3
                await anyio.to_thread.run_sync(move.finish)
    else:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, cluster.move_at_once, SLOT)
            group.start_soon(store.end, sid("a"), "revoked")
    returned_at = steady_clock()
    await until(lambda: steady_clock() - returned_at > STALENESS)
    assert await states(processes, "a") == ["dead"] * 3
    assert await states(processes, "b") == ["alive"] * 3


@pytest.mark.parametrize("scene", ["moved-by-hand", "frozen"])
def test_under_load_nobody_is_let_in_who_was_revoked(tmp_path, scene):
    cluster = ClusterSet(tmp_path / "cluster")
    try:
        figures = run(
            f"{cluster.url}?acks=1", lambda: SCENES[scene](cluster, 2.0), staleness=STALENESS, book=tmp_path / "book"
        )
    finally:
        cluster.close()
    assert (figures.late, figures.strangers, figures.wrong, figures.revived, figures.forgotten) == ([], [], [], [], [])
    assert min(figures.logins, figures.revocations, figures.reads) > 0


@ON_ASYNCIO
async def test_processes_beside_an_isolated_primary_hear_of_what_its_successor_is_told(tmp_path, anyio_backend):
    cluster = ClusterSet(tmp_path / "cluster")
    store = RedisStore(cluster.url, timeout=10)
    await store.open()
    try:
        for name in "ab":
            await login(store, cookie(name))
        with ExitStack() as stack:
            processes = [stack.enter_context(worker(cluster.url, STALENESS)) for _ in range(2)]
            for process in processes:
                assert await process.hear() == "ready"
                for name in "ab":
                    assert await process.ask("hold", sid(name)) == {"state": "alive", "warm": True}
            old = cluster.owner(SLOT)
            new = await anyio.to_thread.run_sync(cluster.isolate, old)
            other = RedisStore(f"redis+cluster://127.0.0.1:{new.port}", timeout=10)
            await other.open()
            assert isinstance(await other.end(sid("a"), "revoked"), Ended)
            returned_at = steady_clock()
            await other.aclose()
            assert (old.owner_of(SLOT), old.ask("HGET", f"{TAG}s:{sid('a')}", "ended")) == (old.id, None)
            assert new.ask("HGET", f"{TAG}s:{sid('a')}", "ended") == "revoked"
            await until(lambda: steady_clock() - returned_at > STALENESS)
            assert await states(processes, "a") == ["dead"] * 2
            assert await states(processes, "b") == ["alive"] * 2
    finally:
        await store.aclose()
        cluster.close()
