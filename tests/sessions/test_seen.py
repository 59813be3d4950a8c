"""`<cookie>-seen`: which version of its data a browser has written. Whatever else it says counts for nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_auth.sessions.seen import seen_text, seen_version
from asgi_auth.stores import new_sid

SID = "00Aa0-_zZ9bB1cC2dD3eE4fF"


@given(st.integers(0, 10**15 - 1))
def test_what_was_written_is_read(version: int) -> None:
    assert seen_version(seen_text(SID, version).encode(), SID) == version


def test_spaces_of_a_header_do_not_matter() -> None:
    assert seen_version(f" \t{SID}-3 ".encode(), SID) == 3


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        SID,
        f"{SID}-",
        f"{SID}--3",
        f"{SID}-+3",
        f"{SID}-3.0",
        f"{SID}-3x",
        f"{SID}-3-4",
        f"{SID} -3",
        f"{SID}-\N{ARABIC-INDIC DIGIT THREE}",
        f"{SID}-{'9' * 16}",
        f"{SID[:-1]}-3",
        f"{SID}A-3",
        f'"{SID}-3"',
        f"{SID}-3\n",
    ],
)
def test_anything_else_says_nothing(text: str) -> None:
    assert seen_version(text.encode(), SID) == 0


def test_another_sessions_says_nothing_of_this_one() -> None:
    assert seen_version(seen_text(new_sid("00"), 3).encode(), SID) == 0
    assert seen_version(seen_text(SID.swapcase(), 3).encode(), SID) == 0


@given(st.binary(max_size=60))
def test_no_bytes_make_it_fail(text: bytes) -> None:
    assert seen_version(text, SID) in range(10**15)
    assert seen_version(SID.encode() + b"-" + text, SID) in range(10**15)


def test_it_holds_nothing_secret_and_fits_into_a_cookie() -> None:
    text = seen_text(SID, 10**15 - 1)
    assert text == f"{SID}-999999999999999"
    assert set(text) <= set("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-")
