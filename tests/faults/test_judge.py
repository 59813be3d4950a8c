"""The judge is fair: what is late is late by a hair, and a machine that stalls accuses nobody."""

from __future__ import annotations

import pytest

from .judge import Revocation, Run, Span, judge

CALLED, RETURNED, STALENESS = 10.0, 11.0, 0.5


def run(answer, *asked, process="b", sid="s"):
    """The same answer to requests of these moments; each took until 100."""
    return Run(process, sid, answer, Span(asked[0], 100.0), Span(asked[-1], 100.0), len(asked))


def verdict(*runs, waited=False, gone=(), revoked=True):
    ends = [Revocation("s", "a", waited, CALLED, RETURNED)] if revoked else []
    return judge(ends, runs, staleness=STALENESS, gone=gone)


@pytest.mark.parametrize(
    ("asked_at", "process", "waited", "late"),
    [
        (RETURNED + STALENESS, "b", False, False),
        (RETURNED + STALENESS + 0.001, "b", False, True),
        (RETURNED, "b", True, False),
        (RETURNED + 0.001, "b", True, True),
        (RETURNED + STALENESS, "b", True, True),
        # Who made the change knows it when it returns.
        (RETURNED, "a", False, False),
        (RETURNED + 0.001, "a", False, True),
    ],
)
def test_an_acceptance_is_late_by_the_moment_in_which_it_was_asked_for(asked_at, process, waited, late):
    found = verdict(run("accepted", 9.0, asked_at, process=process), waited=waited)
    assert (bool(found.late), bool(found.after_wait)) == (late and not waited, late and waited)
    assert found.is_clean is not late


def test_who_lives_may_be_accepted_for_ever():
    assert verdict(run("accepted", 9.0, 90.0), revoked=False).is_clean


def test_a_503_is_neither_late_nor_a_refusal():
    assert verdict(run("unsaid", 9.0, 90.0)).is_clean
    assert verdict(run("unsaid", 9.0, 90.0), revoked=False).is_clean


def test_the_dead_may_be_refused():
    assert verdict(run("refused", 10.5, 90.0)).is_clean


def test_who_dies_while_the_answer_is_under_way_may_be_refused():
    refused = Run("b", "s", "refused", Span(9.0, CALLED), Span(9.0, CALLED))
    assert verdict(refused).is_clean
    assert not verdict(refused, revoked=False).is_clean


def test_the_living_are_refused_if_an_answer_came_before_the_revocation_was_called():
    assert verdict(Run("b", "s", "refused", Span(9.0, 9.9), Span(9.0, 90.0))).refused


def test_whom_the_store_has_lost_may_be_refused_for_so_long():
    refused = Run("b", "s", "refused", Span(3.0, 3.1), Span(5.0, 5.1))
    assert verdict(refused, gone=[Span(3.1, 6.0)], revoked=False).is_clean
    assert verdict(refused, gone=[Span(2.0, 4.0)], revoked=False).refused


def test_it_counts_what_it_looked_at():
    found = verdict(run("accepted", 1.0, 2.0, 11.25), run("refused", 12.0), run("accepted", 3.0, sid="t"))
    assert (found.revocations, found.acceptances, found.latest) == (1, 4, 250.0)


def test_what_never_came_is_no_success():
    assert not judge([], [], staleness=STALENESS, unsettled="all accepted").is_clean
