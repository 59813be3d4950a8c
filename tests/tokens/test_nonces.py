"""Nonces of DPoP proofs (RFC 9449 §8): anybody's who has the secrets, nobody's else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from token_forge import NOW

from asgi_auth.tokens.nonces import Nonces

NEW, OLD = b"n" * 32, b"o" * 32


def test_a_nonce_carries_the_servers_time_and_nothing_that_can_be_guessed() -> None:
    nonces = Nonces([NEW])
    made = {nonces.make(NOW + 0.9) for _ in range(100)}
    assert len(made) == 100
    assert {nonces.made_at(nonce) for nonce in made} == {NOW}


def test_a_nonce_holds_only_what_a_header_may_hold() -> None:
    """RFC 9449 §8.1: `1*NQCHAR`."""
    assert re.fullmatch(r"[\x21\x23-\x5b\x5d-\x7e]+", Nonces([NEW]).make(NOW))


def test_every_process_knows_a_nonce_and_so_does_one_with_another_secret_in_front() -> None:
    nonce = Nonces([OLD]).make(NOW)
    assert Nonces([OLD]).made_at(nonce) == NOW
    assert Nonces([NEW, OLD]).made_at(nonce) == NOW
    assert Nonces([OLD, NEW]).made_at(Nonces([NEW, OLD]).make(NOW)) == NOW
    assert Nonces([NEW]).made_at(nonce) is None


@pytest.mark.parametrize("place", range(0, 70, 3))
def test_a_nonce_that_was_changed_anywhere_is_not_ours(place: int) -> None:
    nonce = Nonces([NEW]).make(NOW)
    changed = nonce[:place] + ("A" if nonce[place] != "A" else "B") + nonce[place + 1 :]
    assert Nonces([NEW]).made_at(changed) is None


@given(st.text())
def test_whatever_else_comes_is_not_ours(text: str) -> None:
    assert Nonces([NEW]).made_at(text) is None
