"""What the Redis store does when an answer is lost, and when the server dies, is silent, is full or is none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import anyio
import pytest
from redis_helpers import VERBS, Lossy, ends, furnish, opened
from store_helpers import (
    IDLE,
    WINDOWS,
    alive,
    bearer,
    cookie,
    end_of,
    exchange,
    login,
    sid,
)

from asgi_auth.errors import StoreUnavailable
from asgi_auth.model import UserRow
from asgi_auth.stores import Ended, Exchanged, Loaded
from asgi_auth.stores.redis import RedisStore

# An answer that was lost


@pytest.fixture
def lossy(redis_url: str) -> Iterator[Lossy]:
    lossy = Lossy(redis_url)
    yield lossy
    lossy.close()


STRICT = {"revision": 1, "windows": WINDOWS._replace(grace=0, redelivery=0)}


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        (VERBS["put_keys"], True),
        (VERBS["rotate"], True),
        (VERBS["end"], Ended(sid("a"), "alice", "logout")),
        (VERBS["save_user"], 2),
        (lambda store: store.save_user(UserRow("bob"), expected=None), 1),
        (VERBS["delete_user"], ()),
        (lambda store: exchange(store, "b", 1, "b", "b2", **STRICT), "made"),
        (lambda store: store.create(bearer("n"), revision=1), sid("n")),
        (VERBS["load"], sid("a")),
        (VERBS["seen_before"], False),
    ],
    ids=["put_keys", "rotate", "end", "save_user", "a_new_user", "delete_user", "exchange", "create", "load", "seen"],
)
async def test_a_verb_whose_answer_was_lost_is_asked_again_and_answers_the_same(lossy, anyio_backend, ask, answer):
    store = RedisStore(lossy.url, timeout=10)
    await store.open()
    await furnish(store)
    lossy.lose = True
    outcome = await ask(store)
    assert not lossy.lose
    await store.aclose()
    if isinstance(outcome, Exchanged):
        outcome = outcome.outcome
    elif hasattr(outcome, "loaded"):
        outcome = outcome.loaded.record.sid
    elif isinstance(outcome, Loaded):
        outcome = outcome.record.sid
    assert outcome == answer


async def test_a_denial_that_was_asked_twice_is_told_once(lossy, anyio_backend, clock):
    store = RedisStore(lossy.url, timeout=10, clock=clock)
    await store.open()
    lossy.lose = True
    await store.deny("1.token", 600.0)
    assert not lossy.lose
    assert [entry.event.kind for entry in await store.events()].count("denied") == 1
    await store.aclose()


async def test_an_end_that_was_asked_twice_is_told_once_to_everybody(lossy, anyio_backend):
    store = RedisStore(lossy.url, timeout=10)
    await furnish(store)
    lossy.lose = True
    await store.end(sid("a"), "logout")
    assert [event.values["sid"] for event in await ends(store)] == [sid("a")]
    await store.aclose()


async def test_a_sweep_whose_answer_was_lost_tells_the_same_ends_again(lossy, clock, anyio_backend):
    store = RedisStore(lossy.url, timeout=10, clock=clock)
    await furnish(store)
    clock.advance(IDLE)
    lossy.lose = True
    swept = await store.sweep()
    assert not lossy.lose
    told = {(sid("a"), "alice", "idle"), (sid("b"), "alice", "idle")}
    assert set(swept.ended) == told
    assert {(event.values["sid"], event.values["user"], event.values["reason"]) for event in await ends(store)} == told
    assert len(await ends(store)) == 2
    assert (await store.sweep()).ended == ()
    await store.aclose()


# Restarts, silence, cancellation


async def test_what_was_acknowledged_is_there_after_the_server_was_killed(serve, anyio_backend):
    server = serve(appendonly="yes", appendfsync="always")
    store = RedisStore(server.url, timeout=10)
    await store.open()
    await login(store, cookie("s"))
    await login(store, cookie("ended"))
    await store.end(sid("ended"), "logout")
    server.kill()
    with pytest.raises(StoreUnavailable):
        await store.load(sid("s"))
    server.start()
    assert await alive(store, "s")
    assert await end_of(store, "ended") == "logout"
    await store.aclose()


async def test_a_server_restarted_between_two_requests_is_not_noticed(serve, anyio_backend):
    server = serve()
    store = RedisStore(server.url, timeout=10)
    await store.open()
    async with anyio.create_task_group() as group:  # so that several connections are there, all of them dead then
        for number in range(5):
            group.start_soon(store.once, f"before{number}", "x")
    server.kill()
    server.start()
    assert await store.once("name", "after") == "after"
    await store.aclose()


async def test_a_silent_server_is_unavailable_and_its_late_answers_are_nobodys(serve, anyio_backend):
    server = serve()
    store = RedisStore(server.url, timeout=10)
    await store.open()
    await furnish(store)
    impatient = RedisStore(server.url, timeout=0.2)
    await impatient.load(sid("a"))
    with server.frozen():
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match=r"within 0\.2 s|TimeoutError"):
                await impatient.load(sid("a"))
    assert await store.load("unknown") is None
    patient = [await store.load(name) for name in (sid("b"), "unknown")]
    assert [loaded and loaded.record.sid for loaded in patient] == [sid("b"), None]
    await impatient.aclose()
    await store.aclose()


async def test_a_cancelled_verb_leaves_no_answer_to_the_next_one(serve, anyio_backend):
    server = serve()
    store = RedisStore(server.url, timeout=10)
    await store.open()
    await furnish(store)
    with server.frozen(), anyio.move_on_after(0.1) as scope:
        await store.load(sid("a"))
    assert scope.cancelled_caught
    for _ in range(3):
        assert (await store.load(sid("b"))).record.sid == sid("b")
    await store.aclose()


async def test_more_requests_than_connections_wait_for_their_turn(serve, anyio_backend):
    server = serve()
    store = RedisStore(f"{server.url}?max_connections=2", timeout=10)
    await store.open()
    with opened(server.url) as control:
        async with anyio.create_task_group() as group:
            for number in range(40):
                group.start_soon(store.once, "name", str(number))
        assert len(control.client_list()) <= 3
    await store.aclose()


async def test_a_call_that_gets_no_connection_in_time_is_unavailable(serve, anyio_backend):
    server = serve()
    store = RedisStore(f"{server.url}?max_connections=1", timeout=0.3)
    await store.open()
    failed = []

    async def ask() -> None:
        try:
            await store.keys()
        except StoreUnavailable:
            failed.append(1)

    with server.frozen():
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(ask)
    assert len(failed) == 5
    await store.aclose()


def test_one_store_serves_one_loop_after_another(redis_url):
    store = RedisStore(redis_url, timeout=10)

    async def use() -> str:
        try:
            return await store.once("name", "x")
        finally:
            await store.aclose()

    assert [asyncio.run(use()), anyio.run(use, backend="trio"), asyncio.run(use())] == ["x"] * 3


async def test_a_closed_store_opens_again_and_leaves_no_connection(serve, anyio_backend):
    server = serve()
    store = RedisStore(server.url, timeout=10)
    with opened(server.url) as control:
        for _ in range(2):
            await store.keys()
            assert len(control.client_list()) == 2
            await store.aclose()
            with anyio.fail_after(10):
                while len(control.client_list()) > 1:  # noqa: ASYNC110
                    await anyio.sleep(0.01)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_loop_that_ends_closes_its_connections(serve, backend):
    server = serve()
    store = RedisStore(server.url, timeout=10)
    anyio.run(store.keys, backend=backend)
    with opened(server.url) as control:
        deadline = time.monotonic() + 10
        while len(control.client_list()) > 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(control.client_list()) == 1
