"""`python -m benchmarks`: one command, one run."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import feed, fresh, http, process, report, scale
from benchmarks.contestants import missing
from benchmarks.processes import quiet
from benchmarks.world import World, world

PARTS = ("process", "fresh", "http", "scale", "feed")


def main() -> None:
    """Run what was asked for, and write the results beside this file."""
    asked = _arguments()
    quiet()
    for name in [name for name in os.environ if name.startswith("ASGI_AUTH_")]:
        del os.environ[name]  # the shell's settings are no part of the run
    parts = [asked.only] if asked.only else list(PARTS)
    results: dict[str, Any] = {"machine": report.machine(), "parts": parts, "quick": asked.quick}
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as directory, world(Path(directory)) as made:
        for part in parts:
            print(f"{part} …", flush=True)
            results[part] = _run(part, made, asked)
    asked.out.mkdir(parents=True, exist_ok=True)
    seen = report.write(results, asked.out)
    for goal in seen:
        if goal.seen is not None:
            print(
                f"{'yes' if goal.met else 'NO '} {goal.text}: {goal.seen.median:.3g} (goal {goal.sign} {goal.bound:g})"
            )
    print(f"not measured: {sum(goal.seen is None for goal in seen)} of {len(seen)} goals")
    for package, titles in missing().items():
        print(f"{package} is not installed, so these are not there: {', '.join(titles)}")
    print(f"written: {asked.out / 'results.md'} and .json, .png")


def _run(part: str, made: World, asked: argparse.Namespace) -> dict[str, Any]:
    rounds = asked.rounds or (5 if asked.quick else 40)
    if part == "process":
        return process.run(made, rounds=rounds, block=500 if asked.quick else 2000)
    if part == "fresh":
        return fresh.run(made, rounds=rounds)
    if part == "http":
        return http.run(made, rounds=max(2, rounds // 3), seconds=1)
    if part == "scale":
        return scale.run(made, rounds=rounds, largest=100_000 if asked.quick else 1_000_000)
    return feed.run(made, revocations=20 if asked.quick else 200)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=PARTS, help="this part alone")
    parser.add_argument("--rounds", type=int, help="of the parts process, fresh and scale; http makes a third of them")
    parser.add_argument("--quick", action="store_true", help="few rounds and small sizes: to try it, not to believe it")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="where the results go")
    return parser.parse_args()


if __name__ == "__main__":
    main()
