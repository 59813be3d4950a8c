"""The key ring: its document, its sealing, its rotation."""

from __future__ import annotations

import contextlib
import json
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from token_forge import leaks, shown

from asgi_auth.errors import ConfigurationError
from asgi_auth.tokens.keys import SigningKey, generate
from asgi_auth.tokens.ring import Plan, Ring
from asgi_auth.tokens.ring_text import dump, parse

NOW = 1_800_000_000.0
OLD, NEW = "nSe1vvlHvdKsk7JbF3sTXjFh0a2Ye3vQ", "Zr9qYt1hO3vWmB0cQJkX5pLs8uD4gAfE"
PLAN = Plan("ES256", token_lifetime=660, lead=600, every=90 * 86400)
OTHER = PLAN._replace(algorithm="Ed25519")
RING = Ring().keep(PLAN, NOW)
YOUNG = Ring().keep(PLAN, NOW - 1000).rotate(PLAN, NOW)
"""Its next key was published just now."""


def signing(ring: Ring, now: float, plan: Plan = PLAN) -> str | None:
    found = ring.signing(plan.algorithm, now)
    return found and found.key.kid


def next_(ring: Ring, plan: Plan = PLAN) -> str:
    found = ring.next(plan.algorithm)
    assert found is not None
    return found.key.kid


def living(ring: Ring, now: float) -> set[str]:
    return {key.kid for key in ring.living(now)}


def kids(ring: Ring) -> list[str]:
    return [k.key.kid for k in ring.keys]


def times(ring: Ring) -> list[Any]:
    return [(k.key.kid, k.created_at, k.signs_from, k.retired_at, k.token_lifetime) for k in ring.keys]


@pytest.mark.parametrize("secret", [None, NEW])
@pytest.mark.parametrize("algorithm", ["ES256", "Ed25519", "HS256", "RS256"])
def test_a_ring_is_read_back(secret: str | None, algorithm: str) -> None:
    plan = PLAN._replace(algorithm=algorithm)
    ring = Ring().keep(plan, NOW).rotate(plan, NOW + 1).revoke("gone", plan, NOW).without({kids(RING)[0]})
    secrets = [] if secret is None else [secret]
    read = parse(dump(ring, secret), secrets)
    assert times(read) == times(ring)
    assert len(times(read)) == 3
    assert read.revoked == ring.revoked
    assert read.keys[0].key.sign(b"x") == ring.keys[0].key.sign(b"x")
    assert not read.needs_resealing


def test_no_text_is_an_empty_ring() -> None:
    ring = parse(None, [NEW])
    assert ring.keys == ()
    assert signing(ring, NOW) is None


def test_with_secret_a_dump_signs_nothing() -> None:
    text = dump(RING, NEW)
    assert leaks(text, RING.keys[0].key.jwk["d"]) == []
    for secrets in ([], [OLD], [NEW[:-1]]):
        with pytest.raises(ConfigurationError, match="ASGI_AUTH_SECRET") as caught:
            parse(text, secrets)
        assert leaks(shown(caught.value), text, *secrets) == []


def test_without_secret_the_keys_lie_in_the_clear() -> None:
    assert RING.keys[0].key.jwk["d"] in dump(RING, None)
    assert not parse(dump(RING, None), []).needs_resealing


def test_two_encrypted_keys_share_no_nonce() -> None:
    ring = RING.rotate(PLAN, NOW, at_once=True)
    texts = [dump(ring, NEW) for _ in range(20)]
    nonces = [entry["sealed"][:16] for text in texts for entry in json.loads(text)["keys"]]
    assert len(set(nonces)) == 60


def test_any_secret_of_the_list_opens_and_says_which_it_was() -> None:
    ring = parse(dump(RING, OLD), [NEW, OLD])
    assert kids(ring) == kids(RING)
    assert (ring.needs_resealing, ring.sealed_under) == (True, 1)
    again = parse(dump(ring, NEW), [NEW])
    assert kids(again) == kids(RING)
    assert (again.needs_resealing, again.sealed_under) == (False, 0)


def test_keys_in_the_clear_want_sealing_once_there_is_a_secret() -> None:
    ring = parse(dump(RING, None), [NEW])
    assert ring.needs_resealing
    assert not parse(dump(ring, NEW), [NEW]).needs_resealing


def test_bytes_and_text_secrets_are_the_same() -> None:
    assert kids(parse(dump(RING, NEW), [NEW.encode()])) == kids(RING)


def test_a_sealed_key_cannot_be_moved_to_another_name() -> None:
    document = json.loads(dump(RING, NEW))
    document["keys"][0]["kid"] = "another"
    with pytest.raises(ConfigurationError):
        parse(json.dumps(document), [NEW])


# --- who signs ----------------------------------------------------------------------------------------------------


def test_a_key_signs_and_the_next_one_is_published() -> None:
    assert [signing(RING, NOW), next_(RING)] == kids(RING)
    assert living(RING, NOW) == set(kids(RING))
    assert RING.keep(PLAN, NOW + 1) is RING


def test_the_next_key_signs_once_the_one_before_is_old() -> None:
    old, following = kids(RING)
    assert RING.keep(PLAN, NOW + 90 * 86400 - 1) is RING
    at = NOW + 90 * 86400
    ring = RING.keep(PLAN, at)
    assert signing(ring, at) == following
    assert next_(ring) not in (old, following)
    assert living(ring, at + 659) == {old, following, next_(ring)}
    assert living(ring, at + 660) == {following, next_(ring)}


def test_without_rotation_a_key_signs_for_ever() -> None:
    plan = PLAN._replace(every=None)
    assert RING.keep(plan, NOW + 10 * 365 * 86400) is RING


def test_a_key_signs_only_after_it_was_published_for_long_enough() -> None:
    plan = PLAN._replace(every=100.0)
    assert YOUNG.is_kept(plan, NOW + 599)
    assert signing(YOUNG.keep(plan, NOW + 600), NOW + 600) == kids(YOUNG)[1]


def test_rotate_lets_the_next_key_sign_at_once_if_it_is_known() -> None:
    for ring, at in ((YOUNG, NOW + 600), (RING, NOW)):  # whoever has the first key of a ring has the second, too
        old, following, *_ = kids(ring)
        rotated = ring.rotate(PLAN, at)
        assert signing(rotated, at) == following
        assert {old, following, next_(rotated)} <= living(rotated, at + 659)
        assert living(rotated, at + 660) == {following, next_(rotated)}


def test_rotate_waits_until_the_next_key_is_known() -> None:
    old, following, _ = kids(YOUNG)
    ring = YOUNG.rotate(PLAN, NOW + 100)
    assert [signing(ring, NOW + at) for at in (100, 599.9, 600, 10_000)] == [old, old, following, following]
    coming = ring.coming("ES256", NOW + 100)
    assert coming is not None
    assert coming.key.kid == following
    assert next_(ring) not in (old, following)
    assert old in living(ring, NOW + 1259)
    assert old not in living(ring, NOW + 1260)


def test_rotate_again_meanwhile_changes_nothing() -> None:
    ring = YOUNG.rotate(PLAN, NOW + 100)
    assert ring.rotate(PLAN, NOW + 200) is ring


def test_rotate_at_once_signs_with_a_key_that_nobody_had_before() -> None:
    old, following = kids(RING)
    ring = RING.rotate(PLAN, NOW + 100, at_once=True)
    assert signing(ring, NOW + 100) not in (old, following, None)
    assert next_(ring) not in (old, following)
    assert following not in ring
    assert old in living(ring, NOW + 759)
    assert old not in living(ring, NOW + 760)


def test_rotate_at_once_takes_over_from_one_that_was_on_its_way() -> None:
    old, following, _ = kids(YOUNG)
    ring = YOUNG.rotate(PLAN, NOW + 100).rotate(PLAN, NOW + 200, at_once=True)
    for at in (200, 600, 10_000):
        assert signing(ring, NOW + at) not in (old, following, None)
    # By the clock of another process it may have signed already.
    assert following in living(ring, NOW + 200)


def test_a_second_rotation_extends_no_older_key() -> None:
    ring = RING.rotate(PLAN, NOW + 600).rotate(PLAN, NOW + 1200)
    assert [k.until for k in ring.keys if k.key.kid == kids(RING)[0]] == [NOW + 1260]


def test_a_retired_key_is_kept_for_as_long_as_the_tokens_of_any_process_live() -> None:
    longer = PLAN._replace(token_lifetime=3660)
    ring = RING.keep(longer, NOW)
    assert ring.keep(PLAN, NOW) is ring
    ring = ring.rotate(PLAN, NOW + 600)
    assert kids(RING)[0] in living(ring, NOW + 600 + 3659)


# --- several algorithms -------------------------------------------------------------------------------------------


def test_one_key_one_algorithm() -> None:
    ring = RING.keep(OTHER, NOW).keep(OTHER._replace(algorithm="EdDSA"), NOW)
    assert sorted(k.key.algorithm for k in ring.keys) == ["ES256"] * 2 + ["Ed25519"] * 2 + ["EdDSA"] * 2
    assert len({k.key.jwk["d"] for k in ring.keys}) == 6


def test_each_process_signs_with_a_key_of_its_algorithm_and_disturbs_no_other() -> None:
    ring = RING.keep(OTHER, NOW + 1)
    assert signing(ring, NOW + 1) == signing(RING, NOW + 1)
    assert signing(ring, NOW + 1, OTHER) is not None
    assert ring.keep(PLAN, NOW + 2) is ring
    at = NOW + 90 * 86400
    ring = ring.keep(PLAN, at)
    assert signing(ring, at) == kids(RING)[1]
    assert ring.keep(PLAN, at) is ring
    assert signing(ring.keep(OTHER, at + 1), at + 1, OTHER) != signing(ring, at, OTHER)


def test_a_line_that_nobody_cares_for_is_retired() -> None:
    ring = RING.keep(OTHER, NOW)
    at = NOW + 2 * (PLAN.every or 0) + 1200
    ring = ring.keep(OTHER, at - 1)
    assert signing(ring, at - 1) == kids(RING)[0]
    ring = ring.keep(OTHER, at)
    assert signing(ring, at) is None
    assert ring.next("ES256") is None
    assert kids(RING)[0] in living(ring, at + 659)
    assert ring.keep(OTHER, at) is ring


def test_rotate_retires_the_keys_of_every_algorithm() -> None:
    ring = RING.keep(OTHER, NOW).rotate(OTHER, NOW + 600)
    assert signing(ring, NOW + 600) is None
    assert ring.next("ES256") is None
    assert kids(RING)[0] in living(ring, NOW + 1259)


# --- revoking and taking in ---------------------------------------------------------------------------------------


def test_a_revoked_key_is_gone_and_the_next_one_signs() -> None:
    old, following = kids(RING)
    ring = RING.revoke(old, PLAN, NOW + 1)
    assert signing(ring, NOW + 1) == following
    assert next_(ring) not in (old, following)
    assert old not in living(ring, NOW + 1)
    assert ring.revoked == (old,)


def test_the_next_key_and_a_retired_one_can_be_revoked() -> None:
    old, following = kids(RING)
    ring = RING.revoke(following, PLAN, NOW)
    assert signing(ring, NOW) == old
    assert next_(ring) != following
    ring = RING.rotate(PLAN, NOW + 600).revoke(old, PLAN, NOW + 601)
    assert signing(ring, NOW + 601) == following
    assert old not in ring


def test_a_key_on_its_way_signs_when_the_one_before_it_is_revoked() -> None:
    old, following, _ = kids(YOUNG)
    ring = YOUNG.rotate(PLAN, NOW + 1).revoke(old, PLAN, NOW + 2)
    assert signing(ring, NOW + 2) == following
    ring = YOUNG.rotate(PLAN, NOW + 1).revoke(following, PLAN, NOW + 2)
    assert signing(ring, NOW + 2) == old
    assert signing(ring.keep(PLAN, NOW + 600), NOW + 600) not in (old, following, None)


def test_a_key_from_elsewhere_signs_at_once_and_the_next_one_stays() -> None:
    key = SigningKey.from_jwk(generate("ES256"))
    ring = RING.add(key, PLAN, NOW + 1)
    assert signing(ring, NOW + 1) == key.kid
    assert next_(ring) == kids(RING)[1]
    assert kids(RING)[0] in living(ring, NOW + 660)


def test_a_key_that_is_or_was_in_the_ring_is_not_taken_in() -> None:
    (old, _), key = kids(RING), RING.keys[0].key
    with pytest.raises(ConfigurationError, match="in the ring already"):
        RING.add(key, PLAN, NOW)
    with pytest.raises(ConfigurationError, match="was revoked"):
        RING.revoke(old, PLAN, NOW).add(key, PLAN, NOW)


class Step(NamedTuple):
    seconds: float
    what: str
    plan: Plan


PLANS = [PLAN, OTHER, PLAN._replace(every=None), PLAN._replace(every=100, lead=50), OTHER._replace(token_lifetime=60)]


@given(
    st.lists(
        st.builds(
            Step,
            st.sampled_from([0.0, 1.0, 300.0, 601.0, 90 * 86400.0]),
            st.sampled_from(["keep", "rotate", "at once", "revoke", "add", "without"]),
            st.sampled_from(PLANS),
        ),
        max_size=12,
    )
)
@settings(deadline=None)
def test_whatever_happens_one_key_signs_and_what_it_signed_counts_while_it_can_live(steps: list[Step]) -> None:
    ring, now = Ring(), NOW
    signed: dict[str, float] = {}  # the latest moment at which a token of it is over
    revoked: set[str] = set()
    for seconds, what, plan in steps:
        for at in (now, now + seconds / 2, now + seconds):  # others sign meanwhile
            for each in PLANS:
                kid = signing(ring, at, each)
                # A process whose tokens live longer says so in the ring before it signs.
                if kid is not None and ring.is_kept(each, at):
                    signed[kid] = max(signed.get(kid, 0), at + each.token_lifetime)
            assert {kid for kid, until in signed.items() if at < until} - revoked <= living(ring, at)
        now += seconds
        before = ring
        kid = signing(ring, now, plan)
        match what:
            case "rotate" | "at once":
                ring = ring.rotate(plan, now, at_once=what == "at once")
            case "revoke" if kid is not None:
                ring = ring.revoke(kid, plan, now)
                revoked.add(kid)
            case "add":
                ring = ring.add(SigningKey.from_jwk(generate(plan.algorithm)), plan, now)
            case "without":
                ring = ring.without(kids(ring)[:1])
                revoked.update(kids(before)[:1])
        ring = ring.keep(plan, now)
        assert ring.is_kept(plan, now)
        assert ring.keep(plan, now) is ring
        assert [k.key.algorithm for k in ring.keys if k.signs(now)].count(plan.algorithm) == 1
        assert not revoked & {*kids(ring)}
        # Whoever verifies what was signed verifies what is, unless there was no other way.
        chosen, known = ring.signing(plan.algorithm, now), before.signing(plan.algorithm, now)
        assert chosen is not None
        if what in ("keep", "rotate") and known is not None:
            assert chosen.created_at == known.created_at or chosen.created_at <= now - plan.lead
        read = parse(dump(ring, NEW), [NEW])
        assert times(read) == times(ring)


LEEWAY = 30.0
CLOCKS = [-LEEWAY / 2, 0.0, LEEWAY / 2]
SKEWED = [PLAN._replace(token_lifetime=600 + 3 * LEEWAY), OTHER._replace(token_lifetime=10 + 3 * LEEWAY, every=3600)]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 1.0, 20.0, 100.0, 601.0, 690.0, 4000.0]),
            st.sampled_from(["keep", "rotate", "at once", "add"]),
            st.sampled_from(SKEWED),
            st.sampled_from(CLOCKS),
        ),
        max_size=12,
    )
)
@settings(deadline=None)
def test_clocks_that_differ_by_the_leeway_kill_no_token(steps: list[tuple[float, str, Plan, float]]) -> None:
    """Of who signs, who retires, who forgets and who verifies each has another one."""
    ring, now = Ring().keep(SKEWED[0], NOW).keep(SKEWED[1], NOW), NOW
    signed: dict[str, float] = {}  # until when a token of it is accepted, by the clock that accepts it
    for seconds, what, plan, clock in steps:
        for at in (now, now + seconds / 2, now + seconds):
            for each in SKEWED:
                for ahead in CLOCKS:
                    kid = signing(ring, at + ahead, each)
                    if kid is not None:
                        signed[kid] = max(signed.get(kid, 0), at + ahead + each.token_lifetime - 2 * LEEWAY)
            for ahead in CLOCKS:
                assert {kid for kid, until in signed.items() if at + ahead < until} <= living(ring, at + ahead)
        now += seconds
        if what in ("rotate", "at once"):
            ring = ring.rotate(plan, now + clock, at_once=what == "at once")
        elif what == "add":
            ring = ring.add(SigningKey.from_jwk(generate(plan.algorithm)), plan, now + clock)
        for ahead in CLOCKS:
            ring = ring.keep(plan, now + ahead)


# --- the text -----------------------------------------------------------------------------------------------------


def of_before(*entries: tuple[str, float | None]) -> str:
    """A ring as it was written before there was a next key."""
    return json.dumps(
        {
            "version": 1,
            "keys": [
                {"kid": jwk["kid"], "algorithm": alg, "created_at": NOW - 1000, "until": until, "key": jwk}
                for alg, until in entries
                for jwk in [generate(alg)]
            ],
        }
    )


def test_a_ring_of_before_is_taken_over_and_no_token_dies() -> None:
    ring = parse(of_before(("Ed25519", None), ("ES256", None), ("ES256", NOW + 100)), [])
    other, current, retired = kids(ring)
    assert (signing(ring, NOW), signing(ring, NOW, OTHER)) == (current, other)
    assert not ring.is_kept(PLAN, NOW)
    kept = ring.keep(PLAN, NOW)
    assert (signing(kept, NOW), signing(kept, NOW, OTHER)) == (current, other)
    assert next_(kept) not in (current, retired)
    assert retired in living(kept, NOW + 99)
    assert retired not in living(kept, NOW + 100)
    assert current in living(kept.rotate(PLAN, NOW + 600), NOW + 1259)


def test_those_of_before_read_what_is_written_now_and_sign_with_the_same_key() -> None:
    """They take the first key of their algorithm that has no `until`, and write what they know."""
    ring = RING.keep(OTHER, NOW).rotate(PLAN._replace(every=None), NOW + 600)
    entries = json.loads(dump(ring, None))["keys"]
    assert all({"kid", "algorithm", "created_at", "until", "key"} <= entry.keys() for entry in entries)
    first = next(entry for entry in entries if entry["algorithm"] == "ES256" and entry["until"] is None)
    assert first["kid"] == signing(ring, NOW + 600)
    for entry in entries:
        for name in ("signs_from", "retired_at", "token_lifetime"):
            del entry[name]
    back = parse(json.dumps({"version": 1, "keys": entries}), [])
    assert signing(back, NOW + 600) == signing(ring, NOW + 600)
    assert next_(back) == next_(ring)
    assert {*kids(back)} == {*kids(ring)}


def changed(**changes: Any) -> str:
    document = json.loads(dump(RING, None))
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
        changed(signs_from="x"),
        changed(signs_from=True),
        changed(retired_at=[]),
        changed(token_lifetime=None),
        json.dumps({**json.loads(dump(RING, None)), "revoked": [7]}),
        json.dumps({**json.loads(dump(RING, None)), "revoked": 7}),
        changed(key=None),
        changed(key={}),
        changed(key={"kty": "oct", "alg": "HS256", "k": ""}),
        changed(key={**RING.keys[0].key.jwk, "alg": "none"}),
        json.dumps({"version": 1, "keys": json.loads(dump(RING, None))["keys"] * 2}),
    ],
    ids=lambda text: text[:32],  # what follows is random, and workers of one run must agree
)
def test_a_ring_that_cannot_be_read_says_so_and_shows_nothing(text: str) -> None:
    for secrets in ([], [NEW]):
        with pytest.raises(ConfigurationError, match=r"key ring|ASGI_AUTH_SECRET") as caught:
            parse(text, secrets)
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
        parse(text, [NEW])


def test_a_ring_shows_no_key() -> None:
    assert leaks(repr(RING), RING.keys[0].key.jwk["d"]) == []
