"""Who has which slot of a cluster, as values: the table, what refusals say, how many must agree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import AskError, ClusterDownError, MovedError, TryAgainError

from asgi_auth.stores.redis_slots import SLOTS, SlotTable, named_by, quorum, server_of, slot_of
from asgi_auth.stores.redis_topology import Server

A, B = Server("a.example", 6379), Server("10.0.0.2", 6380)

REPLY = [
    [0, 5460, [b"a.example", 6379, b"id-a", []], [b"10.0.0.9", 6379, b"id-r", []]],
    [5461, 16382, [b"10.0.0.2", 6380, b"id-b", []]],
]


def test_the_table_names_the_primary_of_each_slot_and_nobody_where_nobody_is():
    table = SlotTable.parse(REPLY, A)
    assert [table.owner(slot) for slot in (0, 5460, 5461, 16382, 16383)] == [A, A, B, B, None]
    assert table.primaries == {A, B}


def test_a_slot_that_moved_is_another_ones_and_the_table_before_stays_as_it_was():
    table = SlotTable.parse(REPLY, A)
    other = table.with_owner(7, B)
    assert [other.owner(slot) for slot in (6, 7, 8)] == [A, B, A]
    assert table.owner(7) == A


@pytest.mark.parametrize("host", [None, b"", b"?", ""])
def test_a_node_without_a_name_is_where_the_one_is_that_says_so(host):
    assert server_of(host, 7000, A) == Server("a.example", 7000)


@pytest.mark.parametrize("reply", [None, [[0, 1]], [[0, SLOTS, [b"a", 1, b"x", []]]], [[0, 1, b"a"]], 5])
def test_what_is_no_table_is_refused(reply):
    with pytest.raises(ValueError, match=r"slots|unpack"):
        SlotTable.parse(reply, A)


def test_all_keys_of_a_hash_tag_are_in_one_slot():
    assert slot_of("asgi-auth:{00}:era") == slot_of("shop:{00}:s:\ud800") == slot_of("00")


@pytest.mark.parametrize(
    ("reply", "named"),
    [
        (MovedError("5 10.0.0.2:6380"), B),
        (MovedError("5 :6380"), Server("a.example", 6380)),
        (AskError("5 10.0.0.2:6380"), A),  # it is the owner, and gives the slot away
        (1, A),
        (0, A),
        (TryAgainError("Multiple keys"), None),
        (ClusterDownError("The cluster is down"), None),
    ],
)
def test_a_reply_names_the_owner_in_the_opinion_of_who_replied(reply, named):
    assert named_by(reply, A) == named


@pytest.mark.parametrize(("others", "reader", "change"), [(0, 0, 0), (1, 1, 1), (2, 1, 2), (3, 2, 2), (4, 2, 3)])
def test_readers_and_changes_need_so_many_of_the_other_primaries(others, reader, change):
    assert (quorum(others, change=False), quorum(others, change=True)) == (reader, change)


@given(st.integers(1, 1000))
def test_somebody_is_asked_by_every_reader_and_every_change(others):
    assert quorum(others, change=False) + quorum(others, change=True) > others
