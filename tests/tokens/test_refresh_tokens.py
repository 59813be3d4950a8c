"""Refresh tokens: their text, and how a successor is made."""

from __future__ import annotations

import hashlib
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_auth.secret import digest, new_secret
from asgi_auth.tokens.jose import decode_base64url
from asgi_auth.tokens.refresh import RefreshCodec, successor

OLD, NEW = "old secret old secret old secret!", "new secret new secret new secret!"
CODEC = RefreshCodec([NEW])
SECRET = "kq3v8mZ1T0WbQ4yN7rXc2AkIyc5ebvr1r4Ck0vU1sXg"
TOKEN = CODEC.encode("00session", 3, SECRET)


def test_a_refresh_token_is_read_back() -> None:
    assert CODEC.decode(TOKEN) == ("00session", 3, SECRET)


def test_an_access_token_and_a_refresh_token_are_told_apart_by_their_dots() -> None:
    assert TOKEN.count(".") == 3


@given(st.data())
def test_no_character_of_a_refresh_token_can_be_changed(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(TOKEN) - 1))
    character = data.draw(st.characters())
    changed = TOKEN[:at] + character + TOKEN[at + 1 :]
    assert (CODEC.decode(changed) is None) == (changed != TOKEN)


@given(st.text() | st.text("0a.-_=", max_size=200))
def test_garbage_is_no_refresh_token(text: str) -> None:
    assert CODEC.decode(text) is None


@pytest.mark.parametrize(
    "text",
    [
        TOKEN + "=",
        TOKEN + "\n",
        " " + TOKEN,
        TOKEN[:-1] + chr(ord(TOKEN[-1]) + 1),
        TOKEN.replace("00session", "00Session"),
        TOKEN.replace(".3.", ".03."),
        TOKEN.replace(".3.", ".4."),
        TOKEN.replace(".3.", ".３."),
        TOKEN.rpartition(".")[0],
        TOKEN + TOKEN,
        "x" * 1_000_000,
    ],
)
def test_only_the_exact_text_is_taken(text: str) -> None:
    assert CODEC.decode(text) is None


def test_a_signature_over_anything_else_is_no_refresh_token() -> None:
    for sid, generation, secret in (
        ("a b", 1, SECRET),
        ("", 1, SECRET),
        ("a", 0, SECRET),
        ("a", 1, "short"),
        ("a.b", 1, SECRET),
    ):
        assert CODEC.decode(CODEC.encode(sid, generation, secret)) is None


def test_secrets_are_newest_first() -> None:
    both = RefreshCodec([NEW, OLD])
    assert both.encode("a", 1, SECRET) == RefreshCodec([NEW]).encode("a", 1, SECRET)
    assert both.decode(RefreshCodec([OLD]).encode("a", 1, SECRET)) is not None
    assert RefreshCodec([OLD]).decode(both.encode("a", 1, SECRET)) is None


def test_without_a_secret_there_are_no_refresh_tokens() -> None:
    with pytest.raises(ValueError, match="secret"):
        RefreshCodec([])


def test_every_secret_has_256_bits() -> None:
    made = [make() for make in (new_secret,) for _ in range(100)]
    assert len(set(made)) == 100
    assert all(len(decode_base64url(text.encode())) == 32 for text in made)
    assert len(decode_base64url(successor(TOKEN, new_secret()).encode())) == 32


def test_the_digest_is_sha_256_in_hex() -> None:
    assert digest(SECRET) == hashlib.sha256(SECRET.encode()).hexdigest()


def test_the_same_predecessor_has_the_same_successor() -> None:
    nonce = new_secret()
    assert successor(TOKEN, nonce) == successor(TOKEN, nonce)
    assert successor(TOKEN, nonce) != successor(TOKEN, new_secret())


def test_the_successor_is_that_of_the_presented_token_and_of_no_other() -> None:
    nonce = new_secret()
    others = (("00session", 4, SECRET), ("00sessioN", 3, SECRET), ("00session", 3, new_secret()))
    assert successor(TOKEN, nonce) not in {successor(CODEC.encode(*other), nonce) for other in others}


def test_a_changed_signing_secret_gives_the_same_successor() -> None:
    nonce = new_secret()
    assert successor(RefreshCodec([OLD]).encode("00session", 3, SECRET), nonce) == successor(TOKEN, nonce)


def test_a_store_dump_yields_no_successor() -> None:
    """The store has sid, generation, nonce and digests: none of what can be made of them is the successor."""
    nonce = secrets.token_urlsafe(32)
    stored = ["00session", "3", nonce, digest(SECRET)]
    made = successor(TOKEN, nonce)
    guesses = {successor(".".join(("00session", "3", a, b)), c) for a in stored for b in stored for c in stored}
    assert made not in guesses
    assert made not in stored
