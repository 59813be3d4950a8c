"""What the run is to show, each with what was seen. Open is what did not run, or whose rival is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from benchmarks import fresh
from benchmarks.contestants import BY_KEY
from benchmarks.figures import Spread
from benchmarks.process import ratio
from benchmarks.world import ALGORITHMS

FLAT = 1.25
"""So much dearer may a request be with a thousand times as many sessions, and still be called flat."""

FEW_COMMANDS = 0.001
"""Commands per request that are still none: activity is written once a minute, and beats are counted roughly."""


class Goal(NamedTuple):
    """One line. `seen` None: not measured."""

    text: str
    sign: str
    bound: float
    seen: Spread | None

    @property
    def met(self) -> bool | None:
        if self.seen is None:
            return None
        return self.seen.median <= self.bound if self.sign == "≤" else self.seen.median >= self.bound


def goals(results: dict[str, Any]) -> list[Goal]:
    """All of them."""
    found = [*_process(results.get("process") or {}), *_fresh(results.get("fresh") or {})]
    found += _http(results.get("http") or {})
    return [*found, *_feed(results.get("feed") or {}), *_scale(results.get("scale") or {})]


def _process(part: dict[str, Any]) -> Iterator[Goal]:
    rows = {row["key"]: row for row in part.get("rows", ())}
    pairs = [
        ("ours-anonymous", "authentication", 0.8),
        ("ours-anonymous", "both-empty", 0.25),
        ("ours-session-redis", "session", 0.12),
        ("ours-session-redis", "session-renewed", 0.12),
        *((f"ours-token-{name}", "authlib-HS256", 0.08) for name in ALGORITHMS),
    ]
    for this, that, bound in pairs:
        text = f"added time of {BY_KEY[this].title}, beside {BY_KEY[that].title}"
        yield Goal(text, "≤", bound, ratio(rows, this, that))
    counted = part.get("commands", {})
    for key in ("ours-anonymous", "ours-session-redis", *(f"ours-token-{name}" for name in ALGORITHMS)):
        text = f"Redis commands per request, {BY_KEY[key].title}"
        yield Goal(text, "≤", FEW_COMMANDS, _one(counted[key]["per_request"] if key in counted else None))
    asking = part.get("asking")
    text = "process CPU with STALENESS=0 and 32 in flight, beside one redis-py GET each"
    yield Goal(text, "≤", 0.6, asking and asking["ratio"])


def _fresh(part: dict[str, Any]) -> Iterator[Goal]:
    yield Goal(
        "time of a fresh token, HS256, beside Authlib", "≤", 0.4, fresh.ratio(part, "ours-HS256", "authlib-HS256")
    )
    for name, bound in (("RS256", 1.35), ("ES256", 1.15), ("EdDSA", 1.15)):
        text = f"time of a fresh token, {name}, beside its signature alone"
        yield Goal(text, "≤", bound, fresh.ratio(part, f"ours-{name}", f"bare-{name}"))


def _http(part: dict[str, Any]) -> Iterator[Goal]:
    rows = {(row["server"], row["key"]): row for row in part.get("rows", ())}
    for key in ("ours-session-redis", "ours-token-ES256"):
        row = rows.get(("uvicorn", key))
        text = f"requests per second on uvicorn, {BY_KEY[key].title}, beside the application alone"
        yield Goal(text, "≥", 0.95, row and row["of_bare"])


def _feed(part: dict[str, Any]) -> Iterator[Goal]:
    stores = part.get("stores", {})
    for store, title in (("redis", "Redis"), ("sqlite", "SQLite")):
        for percent, bound in (("p50", 5.0), ("p99", 50.0)):
            text = f"a revocation seen in 8 other processes, {title}, {percent}, milliseconds"
            yield Goal(text, "≤", bound, _one(stores[store]["seen_ms"][percent] if store in stores else None))


def _scale(part: dict[str, Any]) -> Iterator[Goal]:
    costs = part.get("costs", ())
    for what in dict.fromkeys(row["what"] for row in costs):
        rows = [row for row in costs if row["what"] == what]
        text = f"{what}: time at {rows[-1]['count']:,} beside {rows[0]['count']:,}"
        yield Goal(text, "≤", FLAT, _one(rows[-1]["us"].median / rows[0]["us"].median))


def _one(value: float | None) -> Spread | None:
    return None if value is None else Spread(value, value, value)
