"""At scale: what a view takes for each session and revocation, and whether a request costs the same beside a million.

Each size has a process of its own, and a server of its own; all stay, and take turns.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.figures import spread
from benchmarks.world import World, world

KINDS = ("in_view", "revoked", "in_store")

METHOD = (
    "Memory: growth of the process's resident set (of Redis: its own count), divided by how many were added; below "
    "100,000 too coarse to say. A session in the view is of a user of its own. The view's own bounds (50,000 sessions, "
    "64 MiB) are lifted here. Time: what is added to a request, 500 sessions or tokens taking turns. A first request: "
    "200 sessions, in a process that knows none yet, each loaded from a Redis with so many."
)

_PATIENCE = 20.0


def run(made: World, *, rounds: int, largest: int) -> dict[str, Any]:
    """All kinds at a thousand, at a hundred thousand and at `largest`."""
    counts = sorted({1_000, 100_000, largest})
    memory: list[dict[str, Any]] = []
    costs: list[dict[str, Any]] = []
    for kind in KINDS:
        with ExitStack() as stack:
            crowds = [stack.enter_context(_crowd(made, kind, count)) for count in counts]
            memory += [size for size in map(_answer, crowds) if size["count"] >= 100_000]
            costs += _take_turns(crowds, counts, rounds)
    return {"rounds": rounds, "memory": memory, "costs": costs, "method": METHOD}


def _take_turns(crowds: list[subprocess.Popen[str]], counts: list[int], rounds: int) -> Iterator[dict[str, Any]]:
    seen: dict[tuple[str, int], list[float]] = {}
    for turn in range(rounds + 1):
        for crowd, count in zip(crowds, counts, strict=True):
            assert crowd.stdin is not None
            print(file=crowd.stdin, flush=True)
            for what, added in _answer(crowd).items():
                if turn:  # the first one warms up
                    seen.setdefault((what, count), []).append(added)
    for what, count in sorted(seen, key=lambda key: key[0]):
        yield {"what": what, "count": count, "us": spread(seen[what, count])}


def _answer(crowd: subprocess.Popen[str]) -> dict[str, Any]:
    assert crowd.stdout is not None
    line = crowd.stdout.readline()
    if not line:
        raise RuntimeError("a process of the scale run ended: see what it said above")
    found: dict[str, Any] = json.loads(line)
    return found


@contextmanager
def _crowd(made: World, kind: str, count: int) -> Iterator[subprocess.Popen[str]]:
    with world(made.directory / f"{kind}-{count}-{time.monotonic_ns()}") as own:
        crowd = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "benchmarks.crowd", kind, str(count)],
            cwd=Path(__file__).parents[1],
            env=own.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield crowd
        finally:
            crowd.terminate()
            crowd.wait(_PATIENCE)
