"""The keys of a process over the store's ring: which count, for how long, and that nobody loses another's."""

from __future__ import annotations

import anyio
import pytest
from clocks import Clock

from asgi_auth.stores import Store
from asgi_auth.stores.memory import MemoryStore
from asgi_auth.stores.opening import open_store
from asgi_auth.tokens.keyring import LEARN_INTERVAL, READ_INTERVAL, KeyRing

LIFETIME = 630.0


def ring_over(store: Store, clock: Clock, algorithm: str = "ES256") -> KeyRing:
    return KeyRing(store, algorithm=algorithm, token_lifetime=LIFETIME, clock=clock)


class Counting(MemoryStore):
    reads = 0

    async def keys(self) -> str | None:  # type: ignore[override]
        self.reads += 1
        await anyio.sleep(0.01)  # as long as a trip
        return await MemoryStore.keys(self)


@pytest.mark.parametrize("who", ["the one that rotated", "another"])
async def test_a_rotated_key_verifies_nothing_once_its_last_token_is_over(clock: Clock, who: str) -> None:
    store = MemoryStore(clock)
    rotating, other = ring_over(store, clock), ring_over(store, clock)
    await rotating.open()
    await other.open()
    old = await rotating.signing_key()
    await other.learn(old.kid)
    clock.advance(10)
    await rotating.rotate()
    asked = other if who == "another" else rotating
    await asked.learn(old.kid)
    assert asked.find(old.kid) is not None
    clock.advance(LIFETIME - 1)
    await asked.learn(old.kid)
    assert asked.find(old.kid) is not None
    clock.advance(1)
    await asked.learn(old.kid)
    assert asked.find(old.kid) is None


async def test_a_known_key_is_asked_for_again_from_time_to_time(clock: Clock) -> None:
    store = Counting(clock)
    ring = ring_over(store, clock)
    await ring.open()
    kid = (await ring.signing_key()).kid
    await ring.learn(kid)
    before = store.reads
    for _ in range(10):
        await ring.learn(kid)
    assert store.reads == before
    clock.advance(READ_INTERVAL)
    await ring.learn(kid)
    assert store.reads == before + 1


async def test_all_who_meet_a_new_key_at_once_learn_it_by_one_question(clock: Clock) -> None:
    store = Counting(clock)
    rotating, other = ring_over(store, clock), ring_over(store, clock)
    await rotating.open()
    await other.open()
    clock.advance(2 * LEARN_INTERVAL)
    new = await rotating.rotate()
    before, found = store.reads, []

    async def ask() -> None:
        await other.learn(new.kid)
        found.append(other.find(new.kid))

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(ask)
    assert None not in found
    assert store.reads == before + 1


async def test_a_flood_of_made_up_names_asks_ten_times_a_second(clock: Clock) -> None:
    store = Counting(clock)
    ring = ring_over(store, clock)
    await ring.open()
    await ring.learn("first")
    before = store.reads
    for number in range(50):
        await ring.learn(f"made-up-{number}")
    assert store.reads == before
    clock.advance(2 * LEARN_INTERVAL)
    await ring.learn("another")
    assert store.reads == before + 1


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
async def test_who_opens_an_empty_ring_at_once_with_others_shares_one_key(
    any_store: str, clock: Clock, algorithm: str
) -> None:
    store = open_store(any_store, timeout=60, clock=clock)
    await store.open()
    one, other = ring_over(store, clock, algorithm), ring_over(store, clock, algorithm)
    signed = []

    async def sign(ring: KeyRing) -> None:
        signed.append((await ring.signing_key()).kid)

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(sign, one)
            group.start_soon(sign, other)
    assert len(set(signed)) == 1
    assert [key.kid for key in await one.published()] == [signed[0]]
    await store.aclose()


async def test_a_rotation_beside_another_loses_none_of_both(clock: Clock) -> None:
    store = Counting(clock)
    ring = ring_over(store, clock)
    await ring.open()
    first = await ring.signing_key()
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(ring.rotate)
    kept = [entry.key.kid for entry in await ring.entries()]
    assert len(kept) == 4
    assert kept[-1] == first.kid
