"""How people write time: `15m` becomes seconds, `10/minute` becomes a rate, and back. Values and pure functions."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

MINUTE = 60.0
HOUR = 60 * MINUTE
DAY = 24 * HOUR
LONGEST = 3650 * DAY
"""Ten years. A longer duration is a slip of the pen, and the clocks of some stores could not hold it."""

_UNITS = {"d": DAY, "h": HOUR, "m": MINUTE, "s": 1.0}
_PERIODS = {"second": 1.0, "minute": MINUTE, "hour": HOUR, "day": DAY}
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)([smhd])?")
_RATE = re.compile(r"([0-9]{1,9})/(\S+)")


def parse_duration(value: object) -> float:
    """Seconds of a number of seconds, a text like `90`, `0.5s`, `15m`, `12h`, `30d`, or a `timedelta`.
    Raises ValueError: it is none of these, negative, or longer than ten years."""
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value) if abs(value) <= LONGEST else math.inf
    elif isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            raise ValueError(f"{value[:40]!r} is no duration: a number of seconds, or one followed by s, m, h or d")
        seconds = float(match[1]) * _UNITS[match[2] or "s"]
    else:
        raise ValueError(f"a duration is a number, a text or a timedelta, not {type(value).__name__}")
    if not 0 <= seconds <= LONGEST:
        raise ValueError("a duration is at least 0 and at most ten years (3650d)")
    return seconds


def format_duration(seconds: float) -> str:
    """The text that `parse_duration` reads as these seconds, in the largest unit that fits: `86400.0` is `1d`."""
    for unit, size in _UNITS.items():
        if seconds and seconds % size == 0:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"


_WORDS = {"day": DAY, "hour": HOUR, "minute": MINUTE, "second": 1.0}
_YEAR_10000 = 253_402_300_800


def spell_duration(seconds: float) -> str:
    """About how long that is, in words: `2 hours`."""
    unit, size = next(((unit, size) for unit, size in _WORDS.items() if seconds >= 2 * size), ("second", 1.0))
    count = f"{seconds / size:.0f}"
    return f"{count} {unit}{'' if count == '1' else 's'}"


def moment(seconds: float) -> str:
    """A time for people, in UTC."""
    if not 0 <= seconds < _YEAR_10000:
        return f"{seconds:.0f} seconds after 1970"
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ")


class Rate(NamedTuple):
    """So many within so many seconds."""

    allowed: int
    seconds: float

    @classmethod
    def parse(cls, value: object) -> Rate:
        """A rate of a text like `10/minute`, `100/hour`, `5/30s`, or of another rate. Raises ValueError: it is none, or
        nothing would ever be let through, or within no time."""
        if isinstance(value, Rate):
            rate = value
        else:
            match = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
            if match is None:
                raise ValueError("a rate is a number, a slash and a period: second, minute, hour, day or a duration")
            rate = cls(int(match[1]), _PERIODS.get(match[2]) or parse_duration(match[2]))
        if rate.allowed < 1 or not 0 < rate.seconds <= LONGEST:
            raise ValueError("a rate is at least 1 in a period longer than 0")
        return rate

    def __str__(self) -> str:
        names = {seconds: name for name, seconds in _PERIODS.items()}
        return f"{self.allowed}/{names.get(self.seconds) or format_duration(self.seconds)}"
