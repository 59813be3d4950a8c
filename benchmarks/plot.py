"""The picture: what each adds beside Starlette's signed cookie, and what is left of the bare application over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.figures import Spread
from benchmarks.process import ratio

_COLORS = {"ours": "#1f77b4", "others": "#b0b0b0", "base": "#707070"}
_STANDARD = "session"
_ALONE = ("bare", "litestar-bare")


def plot(results: dict[str, Any], path: Path) -> None:
    """Bars of ratios; whiskers are quartiles. Nothing, if neither part has run."""
    parts = [name for name in ("process", "http") if name in results]
    if not parts:
        return
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(parts), figsize=(9 * len(parts), 10), squeeze=False, layout="constrained")
    for axis, name in zip(axes[0], parts, strict=True):
        {"process": _process, "http": _http}[name](axis, results[name])
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _process(axis: Any, part: dict[str, Any]) -> None:
    rows = {row["key"]: row for row in part["rows"]}
    every = [(row, ratio(rows, row["key"], _STANDARD)) for row in part["rows"] if row["key"] not in _ALONE]
    shown, seen = [row for row, one in every if one], [one for _, one in every if one]
    _bars(axis, [row["title"] for row in shown], seen, [row["side"] for row in shown])
    axis.set_xscale("log")
    axis.axvline(1, color="black", linewidth=0.8)
    axis.set_title(f"Added time in process\n1: {rows[_STANDARD]['title']}", fontsize=10)
    for place, one in enumerate(seen):
        axis.text(one.high * 1.08, place, f"{one.median:.2g}", va="center", fontsize=8)


def _http(axis: Any, part: dict[str, Any]) -> None:
    shown = [row for row in part["rows"] if row["key"] != "bare"]
    seen = [row["of_bare"] for row in shown]
    _bars(axis, [f"{row['server']}: {row['title']}" for row in shown], seen, [row["side"] for row in shown])
    axis.axvline(1, color="black", linewidth=0.8)
    axis.set_title("Requests per second over HTTP\n1: the application alone on the same server", fontsize=10)
    for place, one in enumerate(seen):
        axis.text(one.high + 0.01, place, f"{one.median:.2f}", va="center", fontsize=8)


def _bars(axis: Any, titles: list[str], seen: list[Spread], sides: list[str]) -> None:
    whiskers = [[one.median - one.low for one in seen], [one.high - one.median for one in seen]]
    colors = [_COLORS[side] for side in sides]
    axis.barh(titles, [one.median for one in seen], xerr=whiskers, color=colors, error_kw={"linewidth": 0.8})
    axis.invert_yaxis()
    axis.tick_params(labelsize=8)
