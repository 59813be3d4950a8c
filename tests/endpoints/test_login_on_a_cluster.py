"""Logging in while the slot of one's partition is moved to another node, key by key."""

from __future__ import annotations

from typing import Any

import anyio
from cluster_set import slot_of
from endpoint_house import PASSWORDS, build

from asgi_auth.stores.opening import open_store


async def test_login_during_a_slot_move_is_retried_then_503(cluster, cluster_url, clock):
    store = open_store(cluster_url, timeout=2.0, clock=clock)
    await store.open()
    house = await build(clock, store=store, store_url=cluster_url)
    body = {"username": "alice", "password": PASSWORDS["alice"]}
    slot = slot_of(int(store.partition("alice"), 16))
    answers: list[Any] = []

    async def log_in() -> None:
        answers.append(await house.client.post("/auth/login", json=body))

    with cluster.moving(slot) as move:
        async with anyio.create_task_group() as group:
            before = move.refusals()
            group.start_soon(log_in)
            with anyio.fail_after(10):
                while move.refusals() < before + 2:  # noqa: ASYNC110
                    await anyio.sleep(0.01)
            assert not answers
            await anyio.to_thread.run_sync(move.finish)
    assert answers[0].status_code == 200
    assert (await house.client.get("/whoami")).json()["user"] == "alice"
    with cluster.moving(slot):
        await log_in()
        assert (answers[1].status_code, answers[1].json()["error"]) == (503, "unavailable")
        assert answers[1].headers["retry-after"] == "1"
    await log_in()
    assert answers[2].status_code == 200
    await house.aclose()
