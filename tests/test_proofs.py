"""Each proof counts once, in all processes, for as long as any of them would take it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from clocks import Clock

from asgi_auth.errors import InvalidProof, NonceWanted
from asgi_auth.proofs import NONCE_LIFETIME, NONCE_RENEWED, Proofs
from asgi_auth.stores import Store
from asgi_auth.stores.opening import open_store
from asgi_auth.tokens.dpop import Proof, Target, make_proof
from asgi_auth.tokens.keys import SigningKey, generate
from asgi_auth.tokens.nonces import Nonces

URL, AT = "https://app.example/orders", Target(b"https://app.example", "/orders")
LEEWAY = 30.0
KEY = SigningKey.from_jwk(generate("ES256"))
NONCES = Nonces([b"s" * 32])


class Skewed:
    """A process's clock, which differs from the others'."""

    def __init__(self, clock: Clock, by: float) -> None:
        self.clock, self.by = clock, by

    def __call__(self) -> float:
        return self.clock() + self.by


@pytest.fixture(params=["sqlite", "redis"])
async def stores(request: Any, tmp_path: Path, clock: Clock, anyio_backend: Any) -> AsyncIterator[list[Store]]:
    """Two processes' stores, which are one."""
    url = request.getfixturevalue("redis_url") if request.param == "redis" else f"sqlite:///{tmp_path / 's.sqlite3'}"
    made = [open_store(url, timeout=10.0, clock=clock) for _ in range(2)]
    for store in made:
        await store.open()
    yield made
    for store in made:
        await store.aclose()


@pytest.fixture
def proofs(clock: Clock) -> Proofs:
    return Proofs(open_store("memory://", timeout=5.0, clock=clock), NONCES, clock=clock, leeway=LEEWAY)


def proof(nonce: str | None, *, key: SigningKey = KEY, now: float = 0.0, url: str = URL) -> bytes:
    return make_proof(key, "GET", url, now=now, nonce=nonce).encode()


async def use(proofs: Proofs, text: bytes) -> str:
    """What becomes of it: the thumbprint, or the code of the refusal."""
    try:
        read = proofs.read([text], "GET", AT)
        await proofs.spend(read)
    except InvalidProof as refusal:
        return refusal.code
    return read.jkt


@pytest.mark.parametrize(("first", "second"), [(0.0, 0.0), (LEEWAY / 2, -LEEWAY / 2), (-LEEWAY / 2, LEEWAY / 2)])
async def test_a_proof_counts_once_at_every_second_of_its_window_in_two_processes(
    stores: list[Store], clock: Clock, first: float, second: float
) -> None:
    """keycloak#43505: a replay row that is shorter than acceptance."""
    here, there = (
        Proofs(store, NONCES, clock=Skewed(clock, by), leeway=LEEWAY)
        for store, by in zip(stores, (first, second), strict=True)
    )
    text = proof(here.fresh_nonce())
    counted, asked = [], 0
    while clock.now < 1_800_000_000 + NONCE_LIFETIME + 3 * LEEWAY:
        for process in (there, here):
            asked += 1
            if await use(process, text) == KEY.kid:
                counted.append(clock.now)
        clock.advance(1)
    assert len(counted) == 1
    assert asked > 2 * NONCE_LIFETIME


async def test_of_many_at_once_one_counts(stores: list[Store], clock: Clock) -> None:
    processes = [Proofs(store, NONCES, clock=clock, leeway=LEEWAY) for store in stores]
    text, outcomes = proof(NONCES.make(clock())), []

    async def send(process: Proofs) -> None:
        outcomes.append(await use(process, text))

    async with anyio.create_task_group() as group:
        for number in range(32):
            group.start_soon(send, processes[number % 2])
    assert sorted(outcomes) == sorted([KEY.kid, *["invalid_dpop_proof"] * 31])


async def test_what_is_kept_of_a_proof_names_key_id_and_url_and_nothing_else(proofs: Proofs) -> None:
    """Not its text, of which ECDSA has two that verify; and another key may use the same `jti`."""
    one = Proof("key", "id", "GET", URL, iat=0)
    await proofs.spend(one)
    for other in (replace(one, jkt="other"), replace(one, jti="other"), replace(one, htu=URL + "/1")):
        await proofs.spend(other)
        for again in (other, replace(other, htm="POST", iat=1, nonce="n", ath="a")):
            with pytest.raises(InvalidProof, match="used before"):
                await proofs.spend(again)


@pytest.mark.parametrize("seconds", [0, NONCE_LIFETIME - 1])
async def test_a_nonce_is_good_for_minutes(proofs: Proofs, clock: Clock, seconds: float) -> None:
    text = proof(proofs.fresh_nonce())
    clock.advance(seconds)
    assert await use(proofs, text) == KEY.kid


async def test_an_old_nonce_and_one_of_the_future_are_answered_with_a_fresh_one(proofs: Proofs, clock: Clock) -> None:
    for made_at in (clock() - NONCE_LIFETIME, clock() + LEEWAY + 1):
        with pytest.raises(NonceWanted) as caught:
            proofs.read([proof(NONCES.make(made_at))], "GET", AT)
        assert NONCES.made_at(caught.value.nonce or "") == clock()


async def test_a_proof_without_a_nonce_is_never_taken(proofs: Proofs, clock: Clock) -> None:
    """RFC 9449 §11.3: whoever has been given one cannot be taken back to proofs without, whatever the clock says."""
    for nonce in (None, Nonces([b"x" * 32]).make(clock())):
        with pytest.raises(NonceWanted):
            proofs.read([proof(nonce, now=clock())], "GET", AT)


@pytest.mark.parametrize("now", [0.0, 4_000_000_000.0])
async def test_with_a_nonce_the_clients_clock_does_not_matter(proofs: Proofs, now: float) -> None:
    assert await use(proofs, proof(proofs.fresh_nonce(), now=now)) == KEY.kid


async def test_another_nonce_is_offered_before_the_old_one_is_over(proofs: Proofs, clock: Clock) -> None:
    read = proofs.read([proof(proofs.fresh_nonce())], "GET", AT)
    assert proofs.renewal(read) is None
    clock.advance(NONCE_RENEWED + 1)
    assert NONCES.made_at(proofs.renewal(read) or "") == clock()


async def test_where_the_public_address_is_not_known_no_proof_will_do(proofs: Proofs) -> None:
    with pytest.raises(InvalidProof, match="ASGI_AUTH_URL"):
        proofs.read([proof(proofs.fresh_nonce())], "GET", None)
