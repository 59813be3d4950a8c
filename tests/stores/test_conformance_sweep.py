"""The store's contract on `sweep`: what is over is collected in small steps, and each session's end is told once."""

from __future__ import annotations

import anyio
import pytest
from clocks import Clock
from store_helpers import (
    IDLE,
    LIFETIME,
    TOKEN,
    WINDOWS,
    alive,
    bearer,
    cookie,
    cursor,
    end_of,
    events_since,
    exchange,
    in_processes,
    listed,
    login,
    presented,
    record_of,
    sid,
)

from asgi_auth.model import Event
from asgi_auth.stores import TOMBSTONE_LIFETIME, Ended, Limit, Store, Swept
from asgi_auth.stores.opening import open_store

NOTHING = Swept((), full=False)


async def sweep_all(store: Store, limit: int = 100) -> list[Ended]:
    """Step by step until nothing is left."""
    ended: list[Ended] = []
    while (swept := await store.sweep(limit)).full:
        ended += swept.ended
    return [*ended, *swept.ended]


async def test_nothing_is_swept_before_it_is_over(store: Store, clock: Clock) -> None:
    await login(store, cookie("a"))
    await login(store, bearer("b"))
    await login(store, cookie("v", None))
    clock.advance(IDLE - 1)
    assert await store.sweep() == NOTHING
    for name in ("a", "b", "v"):
        assert await alive(store, name)


async def test_a_session_past_its_idle_end_is_told_once(store: Store, clock: Clock) -> None:
    await login(store, cookie("a"))
    clock.advance(IDLE)
    since = await cursor(store)
    assert (await store.sweep()).ended == (Ended(sid("a"), "alice", "idle"),)
    assert await store.sweep() == NOTHING
    assert await events_since(store, since) == [
        Event("ended", {"sid": sid("a"), "user": "alice", "reason": "idle", "tokens_until": 0.0})
    ]
    assert await end_of(store, "a") == "idle"


async def test_a_session_past_its_absolute_end_is_told_as_such(store: Store, clock: Clock) -> None:
    await login(store, cookie("a", idle=LIFETIME * 2))
    clock.advance(LIFETIME)
    assert (await store.sweep()).ended == (Ended(sid("a"), "alice", "lifetime"),)


async def test_a_session_that_was_used_is_told_at_its_new_end(store: Store, clock: Clock) -> None:
    await login(store, cookie("a"))
    await login(store, cookie("b", "bob"))
    clock.advance(IDLE / 2)
    await store.touch([sid("a")])
    clock.advance(IDLE / 2)
    assert (await store.sweep()).ended == (Ended(sid("b"), "bob", "idle"),)
    assert await store.sweep() == NOTHING
    clock.advance(IDLE / 2)
    assert (await store.sweep()).ended == (Ended(sid("a"), "alice", "idle"),)


async def test_a_refresh_that_shortens_the_idle_time_is_heeded(store: Store, clock: Clock) -> None:
    await login(store, bearer("b", idle=LIFETIME))
    await exchange(store, "b", 1, "b", "b2", windows=WINDOWS._replace(idle=10.0))
    clock.advance(10)
    assert (await store.sweep()).ended == (Ended(sid("b"), "alice", "idle"),)


async def test_what_ended_in_another_way_is_not_told_again(store: Store, clock: Clock) -> None:
    for name in ("out", "password"):
        await login(store, cookie(name))
    await store.end(sid("out"), "logout")
    await store.end_user("alice", "password")
    clock.advance(LIFETIME)
    assert await sweep_all(store) == []


async def test_the_end_of_everybody_is_told_of_each_with_its_reason(store: Store, clock: Clock) -> None:
    await login(store, cookie("a"))
    await store.end_all("revoked")
    clock.advance(IDLE)
    assert await sweep_all(store) == [Ended(sid("a"), "alice", "revoked")]


async def test_a_visitors_data_is_dropped_and_told_to_nobody(store: Store, clock: Clock) -> None:
    await login(store, cookie("v", None, data={"cart": "[]"}))
    clock.advance(LIFETIME)
    since = await cursor(store)
    assert await sweep_all(store) == []
    assert await events_since(store, since) == []
    assert not await alive(store, "v")


async def test_an_expired_session_whose_place_a_login_takes_is_told_by_it(store: Store, clock: Clock) -> None:
    await login(store, cookie("old"))
    clock.advance(IDLE)
    created = await login(store, cookie("new"), replaces=presented("old"))
    assert created.ended == (Ended(sid("old"), "alice", "idle"),)
    assert await end_of(store, "old") == "replaced"  # whoever holds its cookie must not clear the new one
    clock.advance(1)
    assert await sweep_all(store) == []


async def test_an_expired_session_that_is_superseded_is_told_by_it(store: Store, clock: Clock) -> None:
    await login(store, cookie("old"))
    await login(store, cookie("v", None))
    clock.advance(IDLE)
    assert await store.supersede(sid("old")) == Ended(sid("old"), "alice", "idle")
    assert await store.supersede(sid("old")) is None
    assert await store.supersede(sid("v")) is None
    assert await end_of(store, "old") == "replaced"
    assert await sweep_all(store) == []


async def test_an_expired_session_that_somebody_listed_or_counted_is_still_told(store: Store, clock: Clock) -> None:
    await login(store, cookie("old"))
    await login(store, cookie("bobs", "bob"))
    clock.advance(IDLE)
    assert await listed(store) == []
    await login(store, cookie("new"), limit=5)
    await store.end_user("bob", "password")
    assert set(await sweep_all(store)) == {Ended(sid("old"), "alice", "idle"), Ended(sid("bobs"), "bob", "idle")}


async def test_a_session_that_ended_with_everybodys_and_was_listed_is_still_told(store: Store, clock: Clock) -> None:
    await login(store, cookie("a"))
    await store.end_all("revoked")
    assert await listed(store) == []
    clock.advance(IDLE)
    assert await sweep_all(store) == [Ended(sid("a"), "alice", "revoked")]


async def test_an_expired_session_that_was_shown_twice_is_told_once(store: Store, clock: Clock) -> None:
    await login(store, cookie("old"))
    clock.advance(IDLE)
    created = await login(store, cookie("new"), replaces=presented("old"), data_from=presented("old"))
    assert created.ended == (Ended(sid("old"), "alice", "idle"),)


async def test_a_step_is_no_larger_than_it_is_told_and_says_whether_it_was_full(store: Store, clock: Clock) -> None:
    for number in range(7):
        await login(store, cookie(f"s{number}", f"user-{number % 3}"))
    clock.advance(IDLE)
    ended: list[Ended] = []
    for _ in range(20):
        swept = await store.sweep(3)
        assert len(swept.ended) <= 3 * len(await store.newest())
        ended += swept.ended
        if not swept.full:
            break
    assert len(ended) == 7
    assert {one.sid for one in ended} == {sid(f"s{number}") for number in range(7)}
    assert await store.sweep(3) == NOTHING


async def test_tokens_of_an_expired_session_are_revoked_as_long_as_they_could_live(store: Store, clock: Clock) -> None:
    await login(store, bearer("b", idle=TOKEN / 2))
    until = (await record_of(store, "b")).tokens_until
    clock.advance(TOKEN / 2)
    assert (await store.sweep()).ended == (Ended(sid("b"), "alice", "idle"),)
    (revocation,) = await store.revocations()
    assert (revocation.key, revocation.until) == (sid("b"), pytest.approx(until, abs=0.01))


async def test_what_was_collected_is_remembered_for_an_hour_and_then_forgotten(store: Store, clock: Clock) -> None:
    await login(store, cookie("a"))
    clock.advance(IDLE)
    await sweep_all(store)
    clock.advance(TOMBSTONE_LIFETIME - 1)
    await sweep_all(store)
    assert await end_of(store, "a") == "idle"
    clock.advance(2)
    await sweep_all(store)
    assert await store.load(sid("a")) is None


async def test_the_list_of_a_user_is_empty_after_expiry(store: Store, clock: Clock) -> None:
    for number in range(5):
        await login(store, cookie(f"s{number}"))
    clock.advance(IDLE)
    assert len(await sweep_all(store)) == 5
    assert await listed(store) == []
    await login(store, cookie("new"))
    assert await listed(store) == [sid("new")]


async def test_counters_that_are_over_count_anew_after_a_sweep(store: Store, clock: Clock) -> None:
    await store.hit([Limit("k", 1, 60)])
    clock.advance(60)
    await sweep_all(store)
    assert (await store.hit([Limit("k", 1, 60)])).counts == (1,)


def test_of_several_processes_that_sweep_one_tells_each_end(shared_url: str) -> None:
    """200 sessions that are over at once, collected by three processes."""

    async def prepare() -> None:
        store = open_store(shared_url, timeout=10.0)
        await store.open()
        for user in range(10):
            for number in range(20):
                await login(store, cookie(f"{user}-{number}", f"user-{user}", idle=0.001))
        await store.aclose()

    anyio.run(prepare)
    told = [name for names in in_processes(shared_url, "sweeps", 3) for name in names]
    assert len(told) == 200
    assert len(set(told)) == 200
