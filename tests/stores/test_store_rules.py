"""What a store decides, as tables of pure functions."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_helpers import WINDOWS, bearer, cookie, digest

from asgi_auth.model import Grant, UserRow
from asgi_auth.stores import Exchange, Limit, Windows, rules
from asgi_auth.stores.rules import Counter, Turn

USER = UserRow("alice", revision=3, ended_below=2)
RECORD = rules.new_record(cookie("s", idle=100.0, lifetime=300.0), revision=2, era=0, data={}, now=1000.0)
VISITOR = rules.new_record(cookie("v", None, idle=100.0, lifetime=300.0), revision=0, era=0, data={}, now=1000.0)


@pytest.mark.parametrize(
    ("record", "user", "turn", "now", "reason"),
    [
        (RECORD, USER, None, 1000.0, None),
        (RECORD, USER, None, 1099.9, None),
        (RECORD, USER, None, 1100.0, "idle"),
        (replace(RECORD, idle_expires_at=1300.0), USER, None, 1300.0, "lifetime"),
        (RECORD, None, None, 1000.0, "deleted"),
        (RECORD, replace(USER, deleted=True), None, 1000.0, "deleted"),
        (RECORD, replace(USER, ended_below=3), None, 1000.0, "revoked"),
        (RECORD, USER, Turn("password", 1050.0), 1060.0, "password"),
        (RECORD, USER, Turn("password", 1050.0), 1200.0, "password"),
        (RECORD, USER, Turn("password", 1150.0), 1200.0, "idle"),
        (VISITOR, None, None, 1000.0, None),
        (VISITOR, None, Turn("revoked", 1000.0), 1000.0, "revoked"),
    ],
)
def test_who_is_dead_and_why(record, user, turn, now, reason):
    assert rules.death(record, user, turn, now) == reason


GRANT = Grant("app", None, 2, digest("r2"), digest("r1"), nonce="n", asked="read", made_at=1000.0)


def asked(generation: int, secret: str, scope: str, windows: Windows = WINDOWS) -> Exchange:
    return Exchange("s", generation, digest(secret), "app", "", scope, 1, "n2", digest("r3"), windows)


@pytest.mark.parametrize(
    ("generation", "secret", "scope", "confirmed_at", "now", "outcome"),
    [
        (2, "r2", "", None, 1000.0, "made"),
        (2, "r2", "other", 1000.0, 9999.0, "made"),
        (1, "r1", "read", None, 1000.0, "repeated"),
        (1, "r1", "read", None, 1109.9, "repeated"),
        (1, "r1", "read", None, 1110.0, "reused"),
        (1, "r1", "read", 1000.0, 1009.9, "repeated"),
        (1, "r1", "read", 1000.0, 1010.0, "reused"),
        (1, "r1", "read", 1105.0, 1110.0, "reused"),
        (1, "r1", "write", None, 1000.0, "scope"),
        (1, "r1", "write", None, 1110.0, "reused"),
        (1, "r2", "read", None, 1000.0, "reused"),
        (2, "r1", "read", None, 1000.0, "reused"),
        (0, "r0", "read", None, 1000.0, "reused"),
        (3, "r2", "read", None, 1000.0, "reused"),
    ],
)
def test_what_becomes_of_a_refresh_token(generation, secret, scope, confirmed_at, now, outcome):
    grant = replace(GRANT, confirmed_at=confirmed_at)
    assert rules.judge(grant, asked(generation, secret, scope), now) == outcome


def test_strict_rotation_repeats_nothing_even_at_once():
    strict = WINDOWS._replace(grace=0.0, redelivery=0.0)
    assert rules.judge(GRANT, asked(1, "r1", "read", strict), 1000.0) == "reused"


def test_an_empty_digest_shows_nothing():
    without = replace(RECORD, digest="", previous_digest="", previous_until=9999.0)
    assert not rules.shows(without, "", 1000.0)
    assert not rules.same("", "")


def test_tokens_until_only_rises_and_never_outlives_the_session():
    record = rules.new_record(bearer("b", lifetime=1000.0), revision=1, era=0, data={}, now=0.0)
    assert record.tokens_until == 600.0
    assert rules.token_issued(record, 100.0, 10.0).tokens_until == 600.0
    assert rules.token_issued(record, 600.0, 300.0).tokens_until == 900.0
    assert rules.token_issued(record, 600.0, 900.0).tokens_until == 1000.0


@given(st.dictionaries(st.text(), st.text()), st.dictionaries(st.text(), st.text()), st.sets(st.text()))
def test_a_write_changes_its_keys_and_no_others(data, put, delete):
    record = replace(RECORD, data=data)
    written = rules.written(record, put, delete, max_size=10**9)
    assert written is not None
    assert written.data_version == record.data_version + 1
    for key in {*data, *put, *delete}:
        expected = put[key] if key in put else None if key in delete else data.get(key)
        assert written.data.get(key) == expected


def test_the_thousandth_wait_overflows_nothing():
    limit = Limit("k", 0, 10_000.0, waits=(1.0, 60.0))
    hit, changed = rules.throttle([limit], {"k": Counter(5000, 100.0, 10_000.0)}, 130.0)
    assert (hit.wait, hit.counts, changed) == (30.0, (5000,), {})


@given(st.lists(st.floats(0, 50), max_size=60), st.integers(0, 5), st.booleans())
def test_a_door_opens_when_its_wait_is_over_and_not_before(steps, allowed, doubling):
    limit = Limit("k", allowed, 100.0, waits=(2.0, 20.0) if doubling else None)
    counters: dict[str, Counter] = {}
    now = 0.0
    for step in steps:
        now += step
        hit, changed = rules.throttle([limit], counters, now)
        counters.update(changed)
        if hit.wait > 0:
            assert not changed
            assert rules.throttle([limit], counters, now + max(0.0, hit.wait - 0.001))[0].wait > 0
            now += hit.wait + 0.001
            hit, changed = rules.throttle([limit], counters, now)
            assert hit.wait == 0
            counters.update(changed)
