"""python -m tests.faults [--revocations 10000] [--crowd 100] [--scenes failover thawed isolated] [--latency]

Plays all scenes, or some, again and again until so many revocations were made under faults, and prints what was seen,
as a table of Markdown. `--latency`: without faults, how long it takes until eight other processes refuse. Exits with 1
if anything was late, or slower than promised.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

import anyio

from .judge import Verdict
from .play import STALENESS, Play, playing
from .scenes import PLAYS, SCENES, perform

CROWD = 100
OTHERS = 8
P50, P99 = 5.0, 50.0
"""Milliseconds that are promised."""


def in_directory(play: partial) -> object:  # type: ignore[type-arg]
    with tempfile.TemporaryDirectory() as directory:
        return anyio.run(partial(play, directory=Path(directory)))


# ---------------------------------------------------------------------- faults


def under_faults(wanted: int, scenes: Collection[str], crowd: int) -> bool:
    """Whether so many revocations were all in time."""
    found: dict[tuple[str, str], list[Verdict]] = defaultdict(list)
    faults = [play for play in PLAYS if (play[0] in scenes if scenes else play[0] != "calm")]
    made = 0
    for scene, store in itertools.cycle(faults):
        if made >= wanted and len(found) == len(faults):
            break
        verdict = in_directory(partial(perform, scene, store, crowd=crowd))
        assert isinstance(verdict, Verdict)
        found[scene, store].append(verdict)
        made += verdict.revocations
        if not verdict.is_clean:
            print(f"{scene} on {store}:\n{verdict}", file=sys.stderr)
    print(
        "| scene | store | bound, ms | revocations | acceptances | latest, ms | late | after `wait` | living refused "
        "| 503 at most, ms |"
    )
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    for (scene, store), verdicts in found.items():
        bound = SCENES[scene].options.get("staleness", STALENESS) * 1000
        print(f"| {scene} | {store} | {bound:.0f} | {_row(verdicts)} |")
    everything = list(itertools.chain.from_iterable(found.values()))
    print(f"| all | | | {_row(everything)} |")
    return all(verdict.is_clean for verdict in everything)


def _row(verdicts: Sequence[Verdict]) -> str:
    sums = (sum(one.revocations for one in verdicts), sum(one.acceptances for one in verdicts))
    faults = (sum(len(getattr(one, name)) for one in verdicts) for name in ("late", "after_wait", "refused"))
    latest, unsaid = (round(max(getattr(one, name) for one in verdicts)) for name in ("latest", "unsaid"))
    return " | ".join(map(str, (*sums, latest, *faults, unsaid)))


# ---------------------------------------------------------------------- latency


async def measure(store: str, number: int, *, directory: Path) -> list[tuple[float, float]]:
    """Milliseconds from the return of a revocation, and from its call, until each other process had refused."""
    found: list[tuple[float, float]] = []
    async with playing(store, directory, followers=OTHERS, proxied=False, staleness=1.0) as play:
        people = await play.revoker.ask("log_in", [f"user{n}" for n in range(number)], False)
        for person in people:
            found += await _refusals(play, person)
    return found


async def _refusals(play: Play, person: object) -> list[tuple[float, float]]:
    refused_at: list[float] = []

    async def pursue(ask: partial) -> None:  # type: ignore[type-arg]
        refused_at.append(await ask())

    async with anyio.create_task_group() as group:
        for process in play.followers:
            group.start_soon(pursue, partial(process.ask, "pursue", person, 0.002))
        await anyio.sleep(0.05)
        (end,) = await play.revoker.ask("revoke", [person], "session", False, 0.0)
    return [(max(0.0, at - end.returned_at) * 1000, (at - end.called_at) * 1000) for at in refused_at]


def latency(number: int) -> bool:
    """Whether it is as short as promised."""
    print(f"| store | from | p50, ms | p99, ms | max, ms | ({number} revocations, {OTHERS} other processes) |")
    print("|---|---|--:|--:|--:|---|")
    good = True
    for store in ("redis", "sqlite"):
        found = in_directory(partial(measure, store, number))
        assert isinstance(found, list)
        for name, values in zip(("return", "call"), map(sorted, zip(*found, strict=True)), strict=True):
            p50, p99 = values[len(values) // 2], values[len(values) * 99 // 100]
            print(f"| {store} | {name} | {p50:.2f} | {p99:.2f} | {values[-1]:.2f} | |")
            good = good and (name == "call" or (p50 < P50 and p99 < P99))
    return good


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--revocations", type=int, default=10_000, help="as many, or a few more")
    parser.add_argument("--crowd", type=int, default=CROWD, help="as many are revoked in a scene")
    parser.add_argument("--scenes", nargs="*", choices=SCENES, default=())
    parser.add_argument("--latency", action="store_true")
    options = parser.parse_args()
    good = latency(200) if options.latency else under_faults(options.revocations, options.scenes, options.crowd)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
