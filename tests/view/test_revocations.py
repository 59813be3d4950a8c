"""What kills tokens: never evicted, exact up to a bound, packed beyond it, and honest where that is not enough."""

from __future__ import annotations

from pathlib import Path

import pytest

from asgi_auth.view import revocations
from asgi_auth.view.revocations import Revocations

LIFETIME = 600.0


@pytest.fixture
def known(clock):
    return Revocations(clock, shortest=LIFETIME)


@pytest.fixture
def packed(known, monkeypatch):
    """One that packs whatever comes."""
    monkeypatch.setattr(revocations, "EXACT", 0)
    return known


@pytest.fixture(params=["exact", "packed"])
def either(request):
    return request.getfixturevalue("known" if request.param == "exact" else "packed")


def hits(known, sid="another", user="somebody", revision=1):
    return known.hits(sid, user, revision)


def sweep(known, clock, seconds):
    """Time passes, and something is revoked after it."""
    clock.advance(seconds)
    known.ended("sweeps")


def test_a_live_token_revocation_is_never_evicted(clock):
    known = Revocations(clock, shortest=LIFETIME)
    number, before = 2_000_000, _resident()
    for index in range(number):
        known.ended(_sid(index))
    assert len(known) == number
    assert all(known.hits(_sid(index), "somebody", 1) for index in range(0, number, 97))
    assert sum(known.hits(_sid(number + index), "somebody", 1) for index in range(20_000)) <= 1
    if before is not None:
        assert _resident() - before < 150 * 2**20
    clock.advance(LIFETIME + 2)
    known.ended("the last")
    assert hits(known, "the last")


def _sid(index):
    return f"00{index:022d}"


def _resident():
    """Bytes that this process takes, where the system tells."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * 4096 if status.exists() else None


def test_an_ended_session_is_hit_and_no_other(either):
    either.ended("gone")
    assert hits(either, "gone")
    assert not hits(either, "here")


def test_a_token_of_a_lower_revision_is_hit(known):
    known.raised("alice", 3)
    assert hits(known, user="alice", revision=2)
    assert not hits(known, user="alice", revision=3)
    assert not hits(known, user="bob", revision=1)
    known.raised("alice", 2)  # an old message
    assert hits(known, user="alice", revision=2)


def test_a_denied_token_is_hit_and_no_other(either):
    either.denied("1.a")
    assert either.hits("sid", "user", 1, "1.a")
    assert not either.hits("sid", "user", 1, "1.b")
    assert not either.hits("1.a", "user", 1)
    assert not either.hits("sid", "1.a", 1)


def test_whether_a_token_is_denied_is_said_where_it_is_known(known, monkeypatch):
    known.denied("1.a")
    assert (known.is_denied("1.a"), known.is_denied("1.b")) == (True, False)
    monkeypatch.setattr(revocations, "EXACT", 1)
    known.denied("1.b")
    assert (known.is_denied("1.a"), known.is_denied("1.b"), known.is_denied("1.c")) == (True, None, False)
    monkeypatch.setattr(revocations, "MOST", 1)
    known.denied("1.c")
    assert (known.is_denied("1.c"), known.is_denied("1.d")) == (None, None)


def test_a_denial_lasts_until_the_token_is_over(either, clock):
    either.denied("1.a", clock.now + 2 * LIFETIME)
    sweep(either, clock, 2 * LIFETIME - 2)
    assert either.hits("sid", "user", 1, "1.a")
    sweep(either, clock, LIFETIME / 2 + 4)
    assert not either.hits("sid", "user", 1, "1.a")


def test_of_a_packed_user_every_token_is_asked_about(packed):
    packed.raised("alice", 3)
    assert hits(packed, user="alice", revision=2)
    assert hits(packed, user="alice", revision=3)  # a hit means "ask"
    assert not hits(packed, user="bob")


def test_a_user_and_a_session_of_the_same_name_are_two(either):
    either.ended("alice")
    assert not hits(either, user="alice")
    either.raised("bob", 2)
    assert not hits(either, "bob")


def test_it_lasts_until_the_last_token_is_over_and_no_longer(either, clock):
    either.ended("gone", clock.now + 2 * LIFETIME)
    sweep(either, clock, 2 * LIFETIME - 2)
    assert hits(either, "gone")
    sweep(either, clock, LIFETIME / 2 + 4)
    assert not hits(either, "gone")


def test_it_lasts_for_the_shortest_time_at_least(either, clock):
    either.ended("gone", clock.now - 5)
    sweep(either, clock, LIFETIME - 2)
    assert hits(either, "gone")


def test_what_is_over_makes_room(either, clock):
    for number in range(1000):
        either.ended(f"gone{number}")
    assert len(either) == 1000
    sweep(either, clock, 1.5 * LIFETIME)
    assert len(either) == 1


def test_a_later_end_counts_over_an_earlier_one(known, clock):
    ends_three_times(known, clock)


def test_a_later_end_counts_over_an_earlier_one_where_it_is_packed(packed, clock):
    ends_three_times(packed, clock)


def ends_three_times(known, clock):
    for until in (LIFETIME, 3 * LIFETIME, 2 * LIFETIME):
        known.ended("gone", clock.now + until)
    sweep(known, clock, 3 * LIFETIME - 2)
    assert hits(known, "gone")


def test_a_user_who_changes_again_is_remembered_for_as_long_as_the_second_change_says(known, clock):
    changes_again(known, clock)


def test_a_packed_user_who_changes_again_is_remembered_for_as_long_as_the_second_change_says(packed, clock):
    changes_again(packed, clock)


def changes_again(known, clock):
    known.raised("alice", 2)
    sweep(known, clock, 0.9 * LIFETIME)
    known.raised("alice", 3)  # kills what was made in between
    sweep(known, clock, 0.9 * LIFETIME)
    assert hits(known, user="alice", revision=2)


def test_beyond_the_bound_all_may_be_hit(packed, monkeypatch):
    monkeypatch.setattr(revocations, "MOST", 10)
    for number in range(10):
        packed.ended(f"gone{number}")
    assert not hits(packed, "here")
    packed.ended("gone10")
    assert hits(packed, "here")
    assert hits(packed, "gone10")


def test_what_came_beyond_the_bound_is_still_hit_when_others_are_over(packed, clock, monkeypatch):
    monkeypatch.setattr(revocations, "MOST", 10)
    for number in range(10):
        packed.ended(f"gone{number}")
    clock.advance(0.9 * LIFETIME)
    packed.ended("one more")
    sweep(packed, clock, 0.5 * LIFETIME)
    assert hits(packed, "one more")
    sweep(packed, clock, 0.6 * LIFETIME)
    assert not hits(packed, "one more")


def test_those_that_are_exact_stay_so_when_others_are_packed(known, monkeypatch):
    known.ended("first")
    known.raised("alice", 3)
    monkeypatch.setattr(revocations, "EXACT", 1)
    known.ended("second")
    known.raised("bob", 3)
    assert hits(known, "first")
    assert hits(known, "second")
    assert not hits(known, user="alice", revision=3)
    assert hits(known, user="bob", revision=3)


def test_an_outcome_that_nobody_knows_is_asked_about_until_the_feed_has_told(known, clock):
    known.doubt("alice")
    assert hits(known, user="alice", revision=99)
    assert not hits(known, user="bob")
    clock.advance(revocations.DOUBT - 1)
    assert hits(known, user="alice")
    known.doubt()
    clock.advance(2)
    assert hits(known, user="bob")
    clock.advance(revocations.DOUBT)
    assert not hits(known, user="alice")
    assert not hits(known, user="bob")
