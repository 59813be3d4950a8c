"""What was revoked and what was answered, held against the promise. Pure: times in, verdict out.

All times are of CLOCK_MONOTONIC, which the processes of one machine share. An acceptance is as old as the moment when
it was asked for, and a revocation as young as the moment when it had returned: a machine that stalls accuses nobody.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Answer = Literal["accepted", "refused", "unsaid"]
"""`unsaid`: a 503, which lets nobody in and throws nobody out."""


class Span(NamedTuple):
    """From one moment to another; of an answer: asked, answered."""

    start: float
    end: float

    def overlaps(self, other: Span) -> bool:
        return self.start <= other.end and other.start <= self.end


@dataclass(slots=True)
class Run:
    """The same answer of one process about one session, `count` times in a row: the first and the last one."""

    process: str
    sid: str
    answer: Answer
    first: Span
    last: Span
    count: int = 1


class Revocation(NamedTuple):
    """`process` called it and had it back at these moments. `waited`: with `wait=True`."""

    sid: str
    process: str
    waited: bool
    called_at: float
    returned_at: float


class Verdict(NamedTuple):
    """Attributes:
    revocations, acceptances: looked at.
    latest: milliseconds from the return of a revocation to the last acceptance by another process.
    late: acceptances after the bound; `after_wait`: after `wait=True` had returned; `refused`: of the living.
    unsettled: what should have come in the end, and never came.
    unsaid: milliseconds for which a process had nothing but 503 for the same person, at most.
    """

    revocations: int
    acceptances: int
    latest: float
    late: tuple[str, ...]
    after_wait: tuple[str, ...]
    refused: tuple[str, ...]
    unsettled: str = ""
    unsaid: float = 0.0

    @property
    def breaks_promise(self) -> bool:
        return bool(self.late or self.after_wait or self.refused)

    @property
    def is_clean(self) -> bool:
        return not (self.breaks_promise or self.unsettled)

    def __str__(self) -> str:
        found = (f"late: {self.late}", f"after wait: {self.after_wait}", f"living refused: {self.refused}")
        return "\n".join((f"{self.revocations} revocations, latest after {self.latest:.1f} ms", *found, self.unsettled))


def judge(
    revocations: Iterable[Revocation],
    runs: Sequence[Run],
    *,
    staleness: float,
    gone: Sequence[Span] = (),
    unsettled: str = "",
) -> Verdict:
    """What broke the promise.

    Args:
        staleness: seconds for which another process may accept what was revoked without `wait`.
        gone: when the store had lost those who lived.
    """
    revoked = {one.sid: one for one in revocations}
    late, after_wait, refused = [], [], []
    latest = unsaid = 0.0
    for run in runs:
        if run.answer == "unsaid":
            unsaid = max(unsaid, run.last.end - run.first.start)
        end = revoked.get(run.sid)
        if run.answer == "accepted" and end is not None:
            after = run.last.start - end.returned_at
            if run.process != end.process:
                latest = max(latest, after)
            if after > (0.0 if end.waited or run.process == end.process else staleness):
                (after_wait if end.waited else late).append(f"{run.process}: {run.sid} {after * 1000:.1f} ms after")
        elif run.answer == "refused" and _lived(run, end, gone):
            refused.append(f"{run.process}: {run.sid}")
    accepted = sum(run.count for run in runs if run.answer == "accepted")
    broken = map(tuple, (late, after_wait, refused))
    return Verdict(len(revoked), accepted, latest * 1000, *broken, unsettled, unsaid * 1000)


def _lived(run: Run, end: Revocation | None, gone: Sequence[Span]) -> bool:
    """Whether a session was alive while it was refused."""
    until = math.inf if end is None else end.called_at
    return any(span.end < until and not any(span.overlaps(lost) for lost in gone) for span in (run.first, run.last))
