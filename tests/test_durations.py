"""Time as people write it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_auth.durations import LONGEST, Rate, format_duration, parse_duration


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("90", 90.0),
        ("0.5", 0.5),
        ("2s", 2.0),
        (" 15m ", 900.0),
        ("1.5h", 5400.0),
        ("24h", 86_400.0),
        ("30d", 2_592_000.0),
        (90, 90.0),
        (0.25, 0.25),
        (timedelta(minutes=15), 900.0),
        ("3650d", LONGEST),
    ],
)
def test_a_duration_is_seconds_a_text_or_a_timedelta(value: object, seconds: float) -> None:
    assert parse_duration(value) == seconds


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "s", "m15", "15 m", "15M", "15min", "1h30m", "-5", "-5m", "+5", "1e3", "1_000", ".5", "5."),
        *("inf", "nan", "٣", "１５m", "15m\n3", "9" * 400, "3651d"),
        *(-1, -0.001, float("inf"), float("-inf"), float("nan"), 10**400, -(10**400), LONGEST + 1),
        *(True, False, None, [], b"15m", timedelta(seconds=-1), timedelta(days=3651)),
    ],
)
def test_what_is_no_duration_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(value)


@given(st.text())
def test_any_text_is_a_duration_in_bounds_or_a_value_error(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert 0 <= seconds <= LONGEST


@given(st.integers(0, int(LONGEST)) | st.integers(0, 10**9).map(lambda micro: micro / 1_000_000))
def test_a_formatted_duration_is_read_as_the_same(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0s"), (0.5, "0.5s"), (59.0, "59s"), (600.0, "10m"), (5400.0, "90m"), (7200.0, "2h"), (86_400.0, "1d")],
)
def test_a_duration_is_shown_in_the_largest_unit_that_fits(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "rate"),
    [
        ("10/minute", (10, 60.0)),
        ("1/second", (1, 1.0)),
        (" 100/hour ", (100, 3600.0)),
        ("5/day", (5, 86_400.0)),
        ("5/30s", (5, 30.0)),
        ("5/30", (5, 30.0)),
        (Rate(3, 7.0), (3, 7.0)),
    ],
)
def test_a_rate_is_a_number_in_a_period(value: object, rate: tuple[int, float]) -> None:
    assert Rate.parse(value) == rate


@pytest.mark.parametrize(
    "value",
    [
        *("", "10", "10/", "/minute", "0/minute", "10/0", "10/fortnight", "-1/minute", "1.5/minute", "10/minute/2"),
        *("10 / minute", "10/minutes", "٣/minute", "9999999999/minute", None, 10, (10, 60.0)),
        *(Rate(0, 60.0), Rate(10, 0.0), Rate(10, float("inf")), Rate(10, float("nan"))),
    ],
)
def test_what_is_no_rate_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"rate|duration"):
        Rate.parse(value)


@given(st.builds(Rate, st.integers(1, 999_999_999), st.integers(1, int(LONGEST)).map(float)))
def test_a_shown_rate_is_read_as_the_same(rate: Rate) -> None:
    assert Rate.parse(str(rate)) == rate
