"""The key ring: its document, its sealing, its rotation."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from token_forge import leaks, shown

from asgi_auth.errors import ConfigurationError
from asgi_auth.tokens.ring import Ring

NOW = 1_800_000_000.0
OLD, NEW = "nSe1vvlHvdKsk7JbF3sTXjFh0a2Ye3vQ", "Zr9qYt1hO3vWmB0cQJkX5pLs8uD4gAfE"
RING = Ring().ensure("ES256", NOW)


def kids(ring: Ring) -> list[str]:
    return [k.key.kid for k in ring.keys]


@pytest.mark.parametrize("secrets", [[], [NEW], [NEW, OLD]])
@pytest.mark.parametrize("algorithm", ["ES256", "Ed25519", "HS256", "RS256"])
def test_a_ring_is_read_back(secrets: list[str], algorithm: str) -> None:
    ring = Ring().ensure(algorithm, NOW).rotate("ES256", NOW + 1, 630)
    read = Ring.parse(ring.dump(secrets), secrets)
    assert [(k.key.kid, k.key.algorithm, k.created_at, k.until) for k in read.keys] == [
        (k.key.kid, k.key.algorithm, k.created_at, k.until) for k in ring.keys
    ]
    assert read.keys[0].key.sign(b"x") == ring.keys[0].key.sign(b"x")
    assert not read.needs_resealing


def test_no_text_is_an_empty_ring() -> None:
    ring = Ring.parse(None, [NEW])
    assert ring.keys == ()
    assert ring.current("ES256") is None


def test_with_secret_a_dump_signs_nothing() -> None:
    text = RING.dump([NEW])
    assert leaks(text, RING.keys[0].key.jwk["d"]) == []
    for secrets in ([], [OLD], [NEW[:-1]]):
        with pytest.raises(ConfigurationError, match="ASGI_AUTH_SECRET") as caught:
            Ring.parse(text, secrets)
        assert leaks(shown(caught.value), text, *secrets) == []


def test_without_secret_the_keys_lie_in_the_clear() -> None:
    assert RING.keys[0].key.jwk["d"] in RING.dump([])
    assert not Ring.parse(RING.dump([]), []).needs_resealing


def test_two_encrypted_keys_share_no_nonce() -> None:
    ring = RING.rotate("ES256", NOW, 1).rotate("ES256", NOW, 1)
    texts = [ring.dump([NEW]) for _ in range(20)]
    nonces = [entry["sealed"][:16] for text in texts for entry in json.loads(text)["keys"]]
    assert len(set(nonces)) == 60


def test_any_secret_of_the_list_opens_and_the_first_one_seals() -> None:
    text = RING.dump([OLD])
    ring = Ring.parse(text, [NEW, OLD])
    assert kids(ring) == kids(RING)
    assert ring.needs_resealing
    again = Ring.parse(ring.dump([NEW, OLD]), [NEW])
    assert kids(again) == kids(RING)
    assert not again.needs_resealing


def test_keys_in_the_clear_want_sealing_once_there_is_a_secret() -> None:
    ring = Ring.parse(RING.dump([]), [NEW])
    assert ring.needs_resealing
    assert ring.ensure("ES256", NOW).needs_resealing
    assert not Ring.parse(ring.dump([NEW]), [NEW]).needs_resealing


def test_bytes_and_text_secrets_are_the_same() -> None:
    assert kids(Ring.parse(RING.dump([NEW]), [NEW.encode()])) == kids(RING)


def test_a_sealed_key_cannot_be_moved_to_another_name() -> None:
    document = json.loads(RING.dump([NEW]))
    document["keys"][0]["kid"] = "another"
    with pytest.raises(ConfigurationError):
        Ring.parse(json.dumps(document), [NEW])


def test_ensure_adds_a_key_only_where_none_is_current() -> None:
    assert RING.ensure("ES256", NOW + 1) is RING
    both = RING.ensure("Ed25519", NOW + 1)
    assert len(both.keys) == 2
    assert both.current("ES256") is RING.current("ES256")
    ended = RING.rotate("Ed25519", NOW, 630)
    assert ended.current("ES256") is None
    assert len(ended.ensure("ES256", NOW).keys) == 3


def test_another_algorithm_makes_another_key_and_never_relabels() -> None:
    changed = RING.ensure("ES384", NOW)
    assert {k.key.algorithm for k in changed.keys} == {"ES256", "ES384"}
    other = Ring().ensure("Ed25519", NOW).ensure("EdDSA", NOW)
    assert len(set(kids(other))) == 2
    assert other.keys[0].key.jwk["d"] != other.keys[1].key.jwk["d"]


def test_a_rotated_key_verifies_as_long_as_its_last_token_lives() -> None:
    ring = RING.rotate("ES256", NOW + 100, 630)
    new, old = ring.keys
    assert ring.current("ES256") is new.key
    assert (new.created_at, new.until, old.until) == (NOW + 100, None, NOW + 730)
    assert [k.kid for k in ring.living(NOW + 729)] == [new.key.kid, old.key.kid]
    assert [k.kid for k in ring.living(NOW + 730)] == [new.key.kid]
    assert ring.prune(NOW + 729) is ring
    assert kids(ring.prune(NOW + 730)) == [new.key.kid]


def test_a_second_rotation_extends_no_older_key() -> None:
    ring = RING.rotate("ES256", NOW, 630).rotate("ES256", NOW + 300, 630)
    assert [k.until for k in ring.keys] == [None, NOW + 930, NOW + 630]


def test_a_rotation_ends_keys_of_other_algorithms_too() -> None:
    ring = RING.ensure("Ed25519", NOW).rotate("Ed25519", NOW, 630)
    assert [k.until for k in ring.keys] == [None, NOW + 630, NOW + 630]


def changed(**changes: Any) -> str:
    document = json.loads(RING.dump([]))
    document["keys"][0].update(changes)
    return json.dumps(document)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        "{",
        '{"version":1}',
        '{"version":2,"keys":[]}',
        '{"version":1,"keys":[7]}',
        '{"version":1,"keys":7}',
        '{"version":1,"keys":[{}]}',
        '{"version":1,"version":1,"keys":[]}',
        '{"version":1,"keys":[{"sealed":7,"kid":"x"}]}',
        '{"version":1,"keys":[{"sealed":"","kid":"x"}]}',
        '{"version":1,"keys":[{"sealed":"AAAA","kid":7}]}',
        changed(kid="another"),
        changed(algorithm="ES384"),
        changed(algorithm=None),
        changed(created_at="x"),
        changed(created_at=True),
        changed(until="x"),
        changed(key=None),
        changed(key={}),
        changed(key={"kty": "oct", "alg": "HS256", "k": ""}),
        changed(key={**RING.keys[0].key.jwk, "alg": "none"}),
        json.dumps({"version": 1, "keys": json.loads(RING.dump([]))["keys"] * 2}),
    ],
    ids=lambda text: text[:32],  # what follows is random, and workers of one run must agree
)
def test_a_ring_that_cannot_be_read_says_so_and_shows_nothing(text: str) -> None:
    for secrets in ([], [NEW]):
        with pytest.raises(ConfigurationError, match=r"key ring|ASGI_AUTH_SECRET") as caught:
            Ring.parse(text, secrets)
        assert leaks(str(caught.value), RING.keys[0].key.jwk["d"]) == []


@given(
    st.text(max_size=100)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda x: (
            st.lists(x, max_size=2)
            | st.dictionaries(st.sampled_from(["kid", "sealed", "key", "until", "algorithm"]), x)
        ),
        max_leaves=6,
    ).map(lambda keys: json.dumps({"version": 1, "keys": keys}))
)
def test_reading_a_ring_raises_nothing_but_configuration_error(text: str) -> None:
    with contextlib.suppress(ConfigurationError):
        Ring.parse(text, [NEW])


def test_a_ring_shows_no_key() -> None:
    assert leaks(repr(RING), RING.keys[0].key.jwk["d"]) == []
