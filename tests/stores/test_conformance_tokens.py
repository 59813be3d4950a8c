"""The store's contract on single tokens: one that is denied, and what was seen before."""

from __future__ import annotations

import anyio
import pytest
from store_helpers import bearer, cursor, events_since, in_processes, login, near, sid
from store_worker import gather

from asgi_auth.model import Event
from asgi_auth.stores import Revocation

# deny


async def test_a_token_is_denied_until_it_would_be_over(store, clock):
    assert not await store.denied("1.a")
    await store.deny("1.a", 600.0)
    assert (await store.denied("1.a"), await store.denied("1.b")) == (True, False)
    clock.advance(599)
    assert await store.denied("1.a")
    clock.advance(1)
    assert not await store.denied("1.a")


async def test_everybody_hears_of_a_denied_token_once(store, clock):
    since = await cursor(store)
    await store.deny("1.a", 600.0)
    until = near(clock.now + 600.0)
    clock.advance(10)
    await store.deny("1.a", 590.0 - 1)  # a repetition
    assert await events_since(store, since) == [Event("denied", {"jti": "1.a", "until": until})]


async def test_a_token_that_is_denied_for_longer_is_told_again(store, clock):
    await store.deny("1.a", 10.0)
    since = await cursor(store)
    await store.deny("1.a", 600.0)
    assert [event.kind for event in await events_since(store, since)] == ["denied"]
    clock.advance(599)
    assert await store.denied("1.a")


@pytest.mark.parametrize("lifetime", [0.0, -5.0])
async def test_a_token_that_is_over_needs_no_denial(store, lifetime):
    since = await cursor(store)
    await store.deny("1.a", lifetime)
    assert not await store.denied("1.a")
    assert await events_since(store, since) == []


async def test_denied_tokens_are_among_what_kills_tokens(store, clock):
    await login(store, bearer("r1", sid=sid("s")))
    await store.end(sid("s"), "logout")
    for jti in ("1.b", "1.a"):
        await store.deny(jti, 300.0)
    found = await store.revocations()
    assert sorted(one for one in found if one.kind == "jti") == [
        Revocation("jti", jti, 0, near(clock.now + 300.0)) for jti in ("1.a", "1.b")
    ]
    assert [one.key for one in found if one.kind == "sid"] == [sid("s")]
    clock.advance(300)
    assert [one.kind for one in await store.revocations()] == ["sid"]


async def test_denied_tokens_come_in_pages_with_the_others(store):
    await login(store, bearer("r1", sid=sid("s")))
    await store.end(sid("s"), "logout")
    for number in range(20):
        await store.deny(f"1.{number:02}", 300.0)
    found: list[Revocation] = []
    while page := await store.revocations(f"{found[-1].kind}:{found[-1].key}" if found else "", 3):
        found += page
    assert len(found) == len(set(found)) == 21
    assert {one.key for one in found if one.kind == "jti"} == {f"1.{number:02}" for number in range(20)}


async def test_what_is_no_longer_denied_is_swept(store, clock):
    for number in range(5):
        await store.deny(f"1.{number}", 300.0)
    clock.advance(300)
    while (await store.sweep(2)).full:
        pass
    assert await store.revocations() == []
    await store.deny("1.0", 300.0)
    assert await store.denied("1.0")


@pytest.mark.parametrize("jti", ["\ud800", "a\x00b", "\N{SNOWMAN}", "user:alice", "", "x" * 5000])
async def test_any_text_can_be_denied(store, jti):
    await store.deny(jti, 60.0)
    assert await store.denied(jti)
    assert not await store.denied(f"{jti}.")


# seen_before


async def test_the_first_one_sees_it_first_and_nobody_else_does(store):
    assert not await store.seen_before("proof", 60.0)
    assert await store.seen_before("proof", 60.0)
    assert not await store.seen_before("another", 60.0)


async def test_it_was_seen_for_as_long_as_the_first_one_said(store, clock):
    await store.seen_before("proof", 60.0)
    clock.advance(30)
    assert await store.seen_before("proof", 600.0)
    clock.advance(29)
    assert await store.seen_before("proof", 600.0)
    clock.advance(1)
    assert not await store.seen_before("proof", 60.0)
    assert await store.seen_before("proof", 60.0)


async def test_what_was_seen_before_is_no_throttle_and_no_event(store):
    since = await cursor(store)
    await store.seen_before("proof", 60.0)
    await store.unhit(["proof"], ["proof"])
    assert await store.seen_before("proof", 60.0)
    assert await events_since(store, since) == []


async def test_what_was_seen_goes_by_the_sweep(store, clock):
    for number in range(5):
        await store.seen_before(f"proof{number}", 60.0)
    clock.advance(60)
    while (await store.sweep(2)).full:
        pass
    assert not await store.seen_before("proof0", 60.0)


@pytest.mark.parametrize("key", ["\ud800", "a\x00b", "\N{SNOWMAN}", " ", "x" * 5000])
async def test_anything_can_be_seen(store, key):
    assert not await store.seen_before(key, 60.0)
    assert await store.seen_before(key, 60.0)


async def test_of_many_at_once_one_is_the_first(store):
    assert sorted(await gather(20, lambda n: store.seen_before("proof", 60.0))) == [False] + [True] * 19


async def test_of_several_processes_one_is_the_first_of_each(shared_url):
    outcomes = await anyio.to_thread.run_sync(in_processes, shared_url, "proofs")
    assert [sum(first) for first in zip(*outcomes, strict=True)] == [1] * 20
