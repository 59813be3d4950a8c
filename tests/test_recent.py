"""A dictionary of bounded length and size: what it keeps, and what goes when it is full."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_auth.recent import Recent


def recent(most: int = 3, size: int = 10_000, value_size: int = 10) -> Recent[int]:
    return Recent(most=most, size=size, value_size=value_size)


def kept(known: Recent[int], *keys: bytes) -> list[bytes]:
    return [key for key in keys if known.get(key) is not None]


def test_it_gives_what_was_put_by_the_very_bytes() -> None:
    known = recent()
    known.put(b"key", 1)
    assert known.get(b"key") == 1
    assert known.get(b"Key") is None
    assert known.get(b"key ") is None
    assert known.get(b"") is None


def test_when_it_is_full_the_one_that_was_put_first_goes() -> None:
    known = recent(most=3)
    for number, key in enumerate((b"a", b"b", b"c", b"d")):
        known.put(key, number)
    assert kept(known, b"a", b"b", b"c", b"d") == [b"b", b"c", b"d"]
    assert len(known) == 3


def test_what_is_put_again_drives_nobody_out() -> None:
    known = recent(most=3)
    for number in range(10):
        for key in (b"a", b"b", b"c"):
            known.put(key, number)
    assert [known.get(key) for key in (b"a", b"b", b"c")] == [9, 9, 9]


def test_asking_changes_nothing() -> None:
    known = recent(most=2)
    known.put(b"a", 1)
    for number in range(1000):
        assert known.get(b"%d" % number) is None
    assert len(known) == 1
    assert known.get(b"a") == 1


@pytest.mark.parametrize("length", [1, 100])
def test_keys_count_twice_since_the_value_was_made_of_them(length: int) -> None:
    known = recent(most=1000, size=10 * (10 + 2 * length))
    for number in range(50):
        known.put(b"%0*d" % (length, number), number) if length > 1 else known.put(bytes([number]), number)
    assert len(known) == 10


def test_a_value_may_take_more_than_the_usual() -> None:
    known = recent(most=100, size=1000)
    for number in range(10):
        known.put(b"%d" % number, number, more=300)
    assert kept(known, *(b"%d" % number for number in range(10))) == [b"7", b"8", b"9"]
    for number in range(100, 200):
        known.put(b"%d" % number, number)
    assert len(known) == 1000 // (10 + 2 * 3)


def test_one_that_is_too_large_stands_alone_and_then_goes() -> None:
    known = recent(most=100, size=100)
    known.put(b"a", 1)
    known.put(b"x" * 500, 2)
    assert kept(known, b"a", b"x" * 500) == [b"x" * 500]
    known.put(b"b", 3)
    assert kept(known, b"b", b"x" * 500) == [b"b"]


def test_event_loops_of_several_threads_may_share_it() -> None:
    known, before = recent(most=50), sys.getswitchinterval()
    for number in range(50):
        known.put(b"first %d" % number, number)

    def fill(thread: int) -> None:
        for number in range(10_000):
            known.put(b"%d %d" % (thread, number), number)

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(fill, range(4)))  # raises what was raised there
    finally:
        sys.setswitchinterval(before)
    assert len(known) <= 54  # each thread has found room before it filled it


@given(st.lists(st.binary(max_size=40), max_size=80), st.integers(1, 10), st.integers(60, 300))
def test_it_never_grows_beyond_its_bounds_and_keeps_the_latest(keys: list[bytes], most: int, size: int) -> None:
    known = recent(most=most, size=size)
    for number, key in enumerate(keys):
        known.put(key, number)
        assert known.get(key) == number
        assert len(known) <= most
        there = [one for one in set(keys[: number + 1]) if known.get(one) is not None]
        assert len(there) == len(known)
        assert sum(10 + 2 * len(one) for one in there) <= max(size, 10 + 2 * len(key))
