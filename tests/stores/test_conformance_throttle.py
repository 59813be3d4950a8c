"""The store's contract on counters: every limit counts, or none does."""

from __future__ import annotations

import pytest
from store_helpers import near

from asgi_auth.stores import Limit


async def hits(store, number: int, *limits: Limit) -> None:
    for _ in range(number):
        assert (await store.hit(limits)).wait == 0


async def test_the_hit_that_exceeds_is_let_in_and_its_successor_is_not(store):
    limit = Limit("k", 3, 60)
    assert [(await store.hit([limit])).counts for _ in range(4)] == [(1,), (2,), (3,), (4,)]
    refused = await store.hit([limit])
    assert refused.wait == near(60)


async def test_the_window_begins_with_the_first_hit(store, clock):
    limit = Limit("k", 1, 60)
    await store.hit([limit])
    clock.advance(40)
    await store.hit([limit])
    assert (await store.hit([limit])).wait == near(20)
    clock.advance(20)
    assert await store.hit([limit]) == (0, (1,))


async def test_a_refused_hit_counts_nowhere(store, clock):
    tight, wide = Limit("tight", 0, 60), Limit("wide", 1, 600)
    await hits(store, 1, tight, wide)
    for _ in range(5):
        assert (await store.hit([tight, wide])).wait > 0
    clock.advance(60)
    assert (await store.hit([tight, wide])).counts == (1, 2)


async def test_a_refusal_does_not_lengthen_the_wait(store, clock):
    limit = Limit("k", 0, 60)
    await store.hit([limit])
    clock.advance(30)
    assert (await store.hit([limit])).wait == near(30)
    assert (await store.hit([limit])).wait == near(30)


async def test_the_longest_wait_is_told(store):
    await hits(store, 1, Limit("a", 0, 10), Limit("b", 0, 50))
    assert (await store.hit([Limit("a", 0, 10), Limit("b", 0, 50)])).wait == near(50)


async def test_keys_are_counted_apart(store):
    await hits(store, 1, Limit("a", 0, 60))
    assert await store.hit([Limit("b", 0, 60)]) == (0, (1,))


async def test_no_limits_let_everything_in(store):
    assert await store.hit([]) == (0, ())


@pytest.mark.parametrize("key", ["\ud800", "a\x00b", "\N{SNOWMAN}", " ", "x" * 5000])
async def test_any_text_can_be_counted(store, key):
    assert await store.hit([Limit(key, 0, 60)]) == (0, (1,))
    assert (await store.hit([Limit(key, 0, 60)])).wait == near(60)
    await store.unhit([key], [key])
    assert await store.hit([Limit(key, 0, 60)]) == (0, (1,))


# unless


async def test_a_limit_does_not_apply_while_another_counter_stands(store, clock):
    await hits(store, 1, Limit("known", 1000, 100))
    guarded = Limit("name", 0, 1000, unless="known")
    for _ in range(3):
        assert await store.hit([guarded]) == (0, (0,))
    clock.advance(100)
    assert await store.hit([guarded]) == (0, (1,))
    assert (await store.hit([guarded])).wait > 0


async def test_a_limit_with_unless_counts_where_the_other_counter_is_missing(store):
    guarded = Limit("name", 0, 1000, unless="unknown")
    assert await store.hit([guarded]) == (0, (1,))
    assert (await store.hit([guarded])).wait > 0


async def test_a_limit_that_does_not_apply_leaves_the_others(store):
    await hits(store, 1, Limit("known", 1000, 100))
    limits = [Limit("name", 0, 1000, unless="known"), Limit("address", 0, 50)]
    assert await store.hit(limits) == (0, (0, 1))
    assert (await store.hit(limits)).wait == near(50)


# waits


async def test_waits_double_up_to_the_longest(store, clock):
    limit = Limit("name", 1, 1000, waits=(10, 35))
    await hits(store, 2, limit)
    for wait in (10, 20, 35, 35):
        assert (await store.hit([limit])).wait == near(wait)
        clock.advance(wait - 1)
        assert (await store.hit([limit])).wait == near(1)
        clock.advance(1)
        assert (await store.hit([limit])).wait == 0


async def test_each_further_hit_begins_the_window_anew(store, clock):
    limit = Limit("name", 0, 100, waits=(10, 10))
    await hits(store, 1, limit)
    clock.advance(60)
    await hits(store, 1, limit)
    clock.advance(60)
    assert (await store.hit([limit])).counts == (3,)
    clock.advance(100)
    assert (await store.hit([limit])).counts == (1,)


async def test_many_hits_wait_the_longest(store, clock):
    limit = Limit("name", 0, 10_000, waits=(1, 3))
    for _ in range(70):
        clock.advance(3)
        assert (await store.hit([limit])).wait == 0
    assert (await store.hit([limit])).wait == near(3)


# unhit


async def test_a_hit_is_taken_back(store):
    limit = Limit("k", 1, 60)
    await hits(store, 2, limit)
    await store.unhit(["k"], [])
    assert await store.hit([limit]) == (0, (2,))


async def test_a_counter_is_forgotten(store):
    limit = Limit("k", 1, 60)
    await hits(store, 2, limit)
    await store.unhit([], ["k"])
    assert await store.hit([limit]) == (0, (1,))


async def test_nothing_is_taken_back_below_none(store):
    limit = Limit("k", 1, 60)
    await store.unhit(["k", "k"], ["k"])
    await hits(store, 1, limit)
    await store.unhit(["k"], [])
    await store.unhit(["k"], [])
    assert await store.hit([limit]) == (0, (1,))


async def test_a_counter_taken_back_to_none_stands_no_more(store):
    await hits(store, 1, Limit("known", 1000, 100))
    await store.unhit(["known"], [])
    assert await store.hit([Limit("name", 0, 1000, unless="known")]) == (0, (1,))


async def test_taking_back_keeps_the_window(store, clock):
    limit = Limit("k", 0, 60)
    await hits(store, 1, Limit("k", 5, 60))
    clock.advance(50)
    await hits(store, 1, Limit("k", 5, 60))
    await store.unhit(["k"], [])
    assert (await store.hit([limit])).wait == near(10)
