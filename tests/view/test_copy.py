"""The copy by itself: how much it holds, what goes when it is full, and what an event lets go of."""

from __future__ import annotations

import sys
import threading

import pytest
from store_helpers import IDLE, cookie, sid

from asgi_auth.clock import steady_clock
from asgi_auth.model import Event, UserRow
from asgi_auth.stores import Ended, History, Loaded, Revocation, rules
from asgi_auth.view import copy as copies
from asgi_auth.view import ends
from asgi_auth.view.copy import Copy

RECORD = copies._RECORD


@pytest.fixture
def copy(clock):
    return Copy(clock)


def living(clock, name, user_id="alice", **changes):
    """What a store answers of a session that began a moment ago."""
    new = cookie(name, user_id)
    record = rules.new_record(new, revision=1, era=0, data=changes.get("data", {}), now=clock.now)
    return Loaded(record, UserRow(user_id, revision=1) if user_id else None, clock.now)


def admit(copy, clock, *names, **changes):
    for name in names:
        loaded = living(clock, name, **changes)
        assert copy.admit(sid(name), copy.mark(), loaded)


def held(copy, *names):
    return [name for name in names if copy.held(sid(name)) is not None]


# Bounds


def test_no_more_sessions_than_it_may_hold_and_the_first_goes_first(clock):
    copy = Copy(clock, sessions=3)
    admit(copy, clock, *"abc")
    gone = copy.held(sid("a"))
    admit(copy, clock, "d")
    assert held(copy, *"abcd") == ["b", "c", "d"]
    assert not gone.valid
    admit(copy, clock, "b", "e")  # loaded anew, so it is the last but one
    assert held(copy, *"abcde") == ["b", "d", "e"]


def test_no_more_bytes_than_it_may_hold(clock):
    copy = Copy(clock, size=10 * RECORD)
    admit(copy, clock, *"abc")
    admit(copy, clock, "d", data={"k": "x" * 6 * RECORD})
    assert held(copy, *"abcd") == ["b", "c", "d"]
    admit(copy, clock, "d")  # with less
    admit(copy, clock, *"efghijk")
    assert held(copy, *"abcdefghijk") == list("bcdefghijk")
    admit(copy, clock, "l")
    assert held(copy, *"abcdefghijkl") == list("cdefghijkl")


def test_what_it_lets_go_of_makes_room_again(clock):
    copy = Copy(clock, size=3 * RECORD)
    for _ in range(50):
        admit(copy, clock, *"abc")
        copy.changed(sid("a"))
        copy.user_changed("alice", 2)
        admit(copy, clock, *"abc")
        copy.all_changed(1)
        admit(copy, clock, *"abc")
        copy.reset()
    admit(copy, clock, *"abc")
    assert held(copy, *"abc") == ["a", "b", "c"]
    admit(copy, clock, "d")
    assert held(copy, *"abcd") == ["b", "c", "d"]


def test_one_that_is_larger_than_everything_drives_out_the_others_and_no_more(clock):
    copy = Copy(clock, size=2 * RECORD)
    admit(copy, clock, "a", "b")
    admit(copy, clock, "c", data={"k": "x" * 5 * RECORD})
    admit(copy, clock, "d")
    admit(copy, clock, "e")
    assert held(copy, *"abcde") == ["d", "e"]


def test_evicting_leaves_no_trace_of_users(clock):
    copy = Copy(clock, sessions=10)
    for number in range(100):
        admit(copy, clock, f"s{number}", user_id=f"user{number}")
    assert len(copy._of_user) == 10


def test_data_of_other_alphabets_counts_with_all_its_bytes(clock):
    copy = Copy(clock, size=4 * RECORD)
    admit(copy, clock, "a", data={"k": "\N{GRINNING FACE}" * RECORD})  # four bytes each, in Python's memory too
    admit(copy, clock, "b")
    assert held(copy, "a", "b") == ["b"]


@pytest.mark.parametrize("answer", ["ended", "unknown"])
def test_the_dead_and_the_unknown_are_bounded(clock, copy, monkeypatch, answer):
    monkeypatch.setattr(ends, "DEAD", 100)
    known = copy.dead if answer == "ended" else copy.unknown

    def learn(name):
        one = Ended(sid(name), None, "logout") if answer == "ended" else None
        assert copy.admit(sid(name), copy.mark(), one)

    for number in range(1000):
        learn(f"s{number}")
    assert all(known(sid(f"s{number}")) for number in range(1000))  # none of the last minute goes
    clock.advance(61)
    learn("s0")
    assert sum(bool(known(sid(f"s{number}"))) for number in range(1000)) == 100
    assert known(sid("s999"))
    assert known(sid("s0"))


def test_what_was_touched_is_forgotten_after_the_longest_load(clock, copy):
    for number in range(1000):
        copy.changed(sid(f"s{number}"))
    clock.advance(2 * copies.LONGEST_LOAD + 1)
    copy.changed(sid("a"))
    clock.advance(copies.LONGEST_LOAD + 1)
    copy.changed(sid("b"))
    assert len(copy._touched) + len(copy._touched_before) <= 3


@pytest.mark.parametrize("age", [0.0, 3.0, 9.9])
@pytest.mark.parametrize("offset", [0.0, 5.0, 9.99])
def test_a_load_as_long_as_may_be_still_hears_what_was_touched(clock, copy, age, offset):
    """Whenever the list of what was touched begins anew."""
    clock.advance(offset)
    mark = copy.mark()
    clock.advance(age)
    copy.changed(sid("a"))
    copy.user_changed("bob", 2)
    for _ in range(9):
        if clock.now - mark.at < 9:
            clock.advance(1)
        copy.changed(sid("other"))
    assert not copy.admit(sid("a"), mark, living(clock, "a"))
    assert not copy.admit(sid("b"), mark, living(clock, "b", "bob"))
    assert copy.admit(sid("c"), mark, living(clock, "c"))


# What holds how long


def test_a_session_is_held_until_its_own_end(clock, copy):
    admit(copy, clock, "a")
    clock.advance(IDLE - 1)
    assert held(copy, "a") == ["a"]
    clock.advance(1)
    assert held(copy, "a") == []


def test_its_end_counts_from_when_it_was_asked_for(clock, copy):
    mark, loaded = copy.mark(), living(clock, "a")
    clock.advance(9)
    assert copy.admit(sid("a"), mark, loaded)
    assert copy.held(sid("a")).until == mark.at + IDLE


# Events

ENDED = {"sid": sid("a"), "user": "alice", "reason": "logout", "tokens_until": 0.0}
EVENTS = {
    "ended": (Event("ended", ENDED), {"b", "c"}),
    "changed": (Event("changed", {"sid": sid("a"), "data_version": 3}), {"b", "c"}),
    "user": (Event("user", {"id": "alice", "revision": 2, "ended_below": 2, "kept": sid("b")}), {"c"}),
    "all": (Event("all", {"era": 1}), set()),
    "keys": (Event("keys", {}), {"a", "b", "c"}),
    "begun": (Event("begun", {}), {"a", "b", "c"}),
}


@pytest.mark.parametrize("kind", EVENTS)
def test_an_event_lets_go_of_what_it_speaks_of_and_of_nothing_else(clock, copy, kind):
    event, stay = EVENTS[kind]
    admit(copy, clock, "a", "b")
    admit(copy, clock, "c", user_id="carol")
    ours = {name: copy.held(sid(name)) for name in "abc"}
    for _ in range(2):  # as a message, and with a beat
        copy.apply(event)
        assert set(held(copy, *"abc")) == stay
        assert {name for name in ours if ours[name].valid} == stay


@pytest.mark.parametrize("kind", EVENTS)
def test_what_may_kill_a_token_moves_the_version(clock, copy, kind):
    version, keys = copy.version, copy.keys_changed
    copy.apply(EVENTS[kind][0])
    assert (copy.version > version) == (kind in {"ended", "user", "all", "keys"})
    assert (copy.keys_changed > keys) == (kind == "keys")


def test_an_answer_never_revives(clock, copy):
    copy.apply(Event("ended", ENDED))
    copy.admit(sid("a"), copy.mark(), living(clock, "a"))
    assert held(copy, "a") == []
    assert copy.dead(sid("a")) == Ended(sid("a"), "alice", "logout")


def test_a_reset_keeps_the_dead_and_forgets_the_rest(clock, copy):
    admit(copy, clock, "a", "b")
    copy.admit(sid("nobody"), copy.mark(), None)
    copy.apply(Event("ended", ENDED))
    copy.revoked([Revocation("sid", sid("t"), 0, clock.now + 60), Revocation("user", "bob", 3, clock.now + 60)])
    mark = copy.mark()
    version, keys = copy.version, copy.keys_changed
    copy.reset(History("0123abcd", 2, clock.now))
    assert held(copy, *"ab") == []
    assert not copy.unknown(sid("nobody"))
    assert copy.dead(sid("a"))
    assert copy.revocations.hits(sid("t"), "x", 1)
    assert copy.revocations.hits(sid("x"), "bob", 2)
    assert not copy.admit(sid("b"), mark, living(clock, "b"))
    assert copy.history.epoch == "0123abcd"
    assert copy.version > version
    assert copy.keys_changed > keys
    copy.reset()
    assert copy.history == copies.NOT_KNOWN


def test_the_stores_clock_may_be_another(clock, copy):
    """Its times are moved onto this one's when the copy begins with its history."""
    stores_now = clock.now - 5_000_000
    copy.reset(History("0123abcd", 0, stores_now))
    copy.revoked([Revocation("sid", sid("t"), 0, stores_now + 7200)])
    copy.apply(Event("ended", {**ENDED, "tokens_until": stores_now + 7200}))
    clock.advance(7100)
    copy.ended(Ended(sid("x"), None, "logout"))  # sweeps
    assert copy.revocations.hits(sid("t"), "x", 1)
    assert copy.revocations.hits(sid("a"), "x", 1)
    clock.advance(3000)
    copy.ended(Ended(sid("y"), None, "logout"))
    assert not copy.revocations.hits(sid("t"), "x", 1)
    assert not copy.revocations.hits(sid("a"), "x", 1)


def test_an_era_only_rises(clock, copy):
    copy.reset(History("0123abcd", 4, clock.now))
    copy.apply(Event("all", {"era": 6}))
    copy.apply(Event("all", {"era": 5}))
    assert copy.history.era == 6


def test_a_dead_session_that_was_replaced_says_so(clock, copy):
    copy.apply(Event("ended", ENDED))
    copy.admit(sid("b"), copy.mark(), None)
    copy.superseded(sid("a"))
    copy.superseded(sid("b"))
    assert copy.dead(sid("a")).reason == "replaced"
    assert not copy.unknown(sid("b"))


def test_those_seen_dead_within_the_hour_are_told_in_order(clock, copy):
    copy.ended(Ended(sid("old"), None, "logout"))
    clock.advance(3000)
    copy.ended(Ended(sid("a"), None, "logout"))
    copy.ended(Ended(sid("b"), "bob", "revoked"))
    clock.advance(601)
    assert [event.values["sid"] for event in copy.ends.since(float("-inf"), "")] == [sid("a"), sid("b")]


def test_tokens_of_a_session_that_a_load_found_dead_are_dead_too(clock, copy):
    version = copy.version
    assert copy.admit(sid("a"), copy.mark(), Ended(sid("a"), "alice", "revoked"))
    assert copy.version > version
    assert copy.revocations.hits(sid("a"), "alice", 1)


def test_a_session_that_a_load_no_longer_finds_is_held_no_more(clock, copy):
    admit(copy, clock, "a")
    version = copy.version
    assert copy.admit(sid("a"), copy.mark(), None)
    assert held(copy, "a") == []
    assert copy.version > version


def test_several_threads_may_use_it_at_once(clock):
    """Each with an event loop of its own: nobody trips over another, and no doubt is lost."""
    copy, stop, failures = Copy(steady_clock, token_lifetime=0.001), threading.Event(), []
    loaded = [(sid(f"{number}"), living(clock, f"{number}")) for number in range(300)]

    def enter():
        for name, answer in loaded:
            copy.admit(name, copy.mark(), answer)

    def end():
        for name, _ in loaded:
            copy.revocations.ended(name)
            copy.revocations.doubt(name)
            copy.ends.user("epoch", name, 1)
            assert copy.revocations.hits(name, name, 0)

    def until_stopped(step):
        while not stop.is_set():
            try:
                step()
            except Exception as failure:
                failures.append(failure)
                stop.set()

    steps = (
        enter,
        enter,
        end,
        end,
        lambda: copy.apply(Event("all", {"era": 1})),
        lambda: copy.ends.since(0.0, "epoch"),
    )
    threads = [threading.Thread(target=until_stopped, args=(step,)) for step in steps]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        stop.wait(2)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
    assert failures == []
