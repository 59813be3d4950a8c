"""The keys of a process over the store's ring: which count, for how long, and that nobody loses another's."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import anyio
import pytest
from clocks import Clock

from asgi_auth.errors import ConfigurationError
from asgi_auth.stores import Store
from asgi_auth.stores.memory import MemoryStore
from asgi_auth.stores.opening import open_store
from asgi_auth.tokens.jose import VerifyingKey
from asgi_auth.tokens.keyring import LEARN_INTERVAL, READ_INTERVAL, KeyRing
from asgi_auth.tokens.keys import SigningKey, generate
from asgi_auth.tokens.ring import Plan
from asgi_auth.tokens.ring_text import parse

LIFETIME = 630.0
PLAN = Plan("ES256", token_lifetime=LIFETIME, lead=600, every=90 * 86400)


def ring_over(store: Store, clock: Clock, algorithm: str = "ES256", secrets: Sequence[bytes] = ()) -> KeyRing:
    return KeyRing(store, plan=PLAN._replace(algorithm=algorithm), clock=clock, secrets=secrets)


def plain(keys: Sequence[SigningKey | VerifyingKey]) -> list[str]:
    return [key.kid for key in keys]


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
    clock.advance(600)
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
    new = (await rotating.rotate(at_once=True)).key
    before, found = store.reads, []

    async def ask() -> None:
        await other.learn(new.kid)
        found.append(other.find(new.kid))

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(ask)
    assert None not in found
    assert store.reads == before + 1


async def test_a_flood_of_made_up_names_asks_ten_times_a_second_and_a_new_key_is_found_in_it(clock: Clock) -> None:
    store = Counting(clock)
    ring, rotating = ring_over(store, clock), ring_over(store, clock)
    await ring.open()
    await ring.learn("first")
    new = (await rotating.rotate(at_once=True)).key
    before = store.reads
    async with anyio.create_task_group() as group:
        for number in range(50):
            group.start_soon(ring.learn, f"made-up-{number}")
        await ring.learn(new.kid)
        assert ring.find(new.kid) is not None
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
    assert plain(await one.published())[0] == signed[0]
    assert len(await one.published()) == 2
    await store.aclose()


async def test_a_rotation_beside_another_loses_none_of_both(clock: Clock) -> None:
    store = Counting(clock)
    ring = ring_over(store, clock)
    await ring.open()
    first = await ring.signing_key()
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(partial(ring.rotate, at_once=True))
    kept = [entry.key.kid for entry in await ring.entries()]
    assert len(kept) == 5
    assert first.kid in kept


async def test_a_key_gives_way_to_the_next_one_when_somebody_signs(clock: Clock) -> None:
    store = Counting(clock)
    rings = [ring_over(store, clock) for _ in range(3)]
    for ring in rings:
        await ring.open()
    old = await rings[0].signing_key()
    _, following = plain(await rings[0].published())
    for ring in rings:
        await ring.learn(following)  # known before anything is signed with it
        assert ring.find(following) is not None
    clock.advance(90 * 86400 + 60)
    signed: set[str] = set()

    async def sign(ring: KeyRing) -> None:
        signed.add((await ring.signing_key()).kid)

    async with anyio.create_task_group() as group:
        for ring in rings * 4:
            group.start_soon(sign, ring)
    # Whoever comes while another sees to it goes on with the key that signs.
    assert signed <= {old.kid, following}
    assert (await rings[1].signing_key()).kid == following
    assert len(await rings[0].entries()) == 3
    clock.advance(LIFETIME)
    await rings[2].signing_key()
    assert old.kid not in str(await store.keys())


async def test_no_process_makes_a_key_twice_for_one_rotation(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of one process wait for one change, and others look a little later or earlier."""
    store = Counting(clock)
    ring = ring_over(store, clock)
    await ring.open()
    made: list[str] = []
    monkeypatch.setattr(
        "asgi_auth.tokens.ring.generate", lambda algorithm: made.append(algorithm) or generate(algorithm)
    )
    clock.advance(90 * 86400 + 60)
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(ring.signing_key)
    assert made == ["ES256"]


async def test_a_revoked_key_verifies_nothing_in_any_process_and_comes_back_in_none(clock: Clock) -> None:
    store = Counting(clock)
    one, other = ring_over(store, clock), ring_over(store, clock)
    await one.open()
    await other.open()
    before = await store.keys()
    stolen = await one.signing_key()
    assert await one.revoke(stolen.kid)
    assert not await one.revoke(stolen.kid)
    assert one.find(stolen.kid) is None
    clock.advance(READ_INTERVAL)
    await other.learn(stolen.kid)
    assert other.find(stolen.kid) is None
    assert (await other.signing_key()).kid != stolen.kid
    # A restore or a failover brings the ring back that was.
    await store.put_keys(await store.keys(), str(before))
    clock.advance(READ_INTERVAL)
    await other.learn(stolen.kid)
    assert other.find(stolen.kid) is None
    assert f'"kid":"{stolen.kid}"' not in str(await store.keys())
    fresh = ring_over(store, clock)
    await fresh.open()
    assert fresh.find(stolen.kid) is None


async def test_processes_of_different_algorithms_verify_each_others(clock: Clock) -> None:
    store = Counting(clock)
    old, new = ring_over(store, clock), ring_over(store, clock, "Ed25519")
    await old.open()
    signed = [await old.signing_key()]
    await new.open()
    for _ in range(3):
        signed += [await old.signing_key(), await new.signing_key()]
        for ring in (old, new):
            for key in signed:
                clock.advance(2 * LEARN_INTERVAL)
                await ring.learn(key.kid)
                assert ring.find(key.kid) is not None
        clock.advance(200)
        await new.rotate()
        await old.rotate(at_once=True)
    assert {key.algorithm for key in signed} == {"ES256", "Ed25519"}
    assert len({key.jwk["d"] for key in signed}) == len({key.kid for key in signed})


def sealed_under(text: str | None, secret: bytes) -> bool:
    try:
        parse(text, [secret])
    except ConfigurationError:
        return False
    return True


async def test_a_change_of_secret_step_by_step_and_two_processes_at_each(clock: Clock) -> None:
    store = Counting(clock)
    old, new = b"o" * 32, b"n" * 32
    steps = [(old,), (old, new), (new, old), (new,)]
    first = None
    for before, after in pairwise(steps):
        running = ring_over(store, clock, secrets=before)
        await running.open()
        starting = ring_over(store, clock, secrets=after)
        await starting.open()
        assert sealed_under(await store.keys(), after[0])
        first = first or (await running.signing_key()).kid
        for ring in (running, starting, running):
            clock.advance(600)
            await ring.rotate()
            # What runs since before the new secret came to the front goes on with what it found.
            assert sealed_under(await store.keys(), after[0])
            assert (await ring.signing_key()).kid in plain(await starting.published())


async def test_a_change_of_secret_writes_the_ring_once(clock: Clock) -> None:
    store = Counting(clock)
    one = ring_over(store, clock, secrets=(b"o" * 32,))
    await one.open()
    text = await store.keys()
    both = ring_over(store, clock, secrets=(b"n" * 32, b"o" * 32))
    await both.open()
    resealed = await store.keys()
    assert resealed != text
    third = ring_over(store, clock, secrets=(b"o" * 32, b"n" * 32))
    for ring in (both, third):
        await ring.signing_key()
        await ring.learn("unknown")
    assert await store.keys() == resealed


async def test_a_ring_that_can_no_longer_be_read_is_an_error_for_everybody_who_asks(clock: Clock) -> None:
    store = Counting(clock)
    old, new = ring_over(store, clock, secrets=(b"o" * 32,)), ring_over(store, clock, secrets=(b"n" * 32, b"o" * 32))
    await old.open()
    kid = (await old.signing_key()).kid
    await new.open()  # the old process was to know the new secret first
    clock.advance(READ_INTERVAL)
    refused = 0

    async def learn() -> None:
        nonlocal refused
        with pytest.raises(ConfigurationError, match="ASGI_AUTH_SECRET"):
            await old.learn(kid)
        refused += 1

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(learn)
    assert refused == 5
