"""JSON that every parser reads alike: what two readers understand differently is a way in (ASVS 15.3)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from functools import cache
from itertools import accumulate
from typing import Any

MAX_DEPTH = 16

_MAX_DIGITS = 20
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)  # the last quote may be missing, or many would take long
_BRACKET = re.compile(r"[\[\]{}]")


def _short_integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError
    return int(digits)


def strict_json(raw: bytes, *, parse_int: Callable[[str], int] = _short_integer) -> Any:
    """The value of a JSON text (RFC 8259 with the hardening of RFC 8725 §2.4).

    Raises:
        ValueError: not UTF-8, a BOM, a member twice, NaN or Infinity, a lone surrogate, more than 16 levels, an integer
            of more than 20 digits (or what `parse_int` refuses). Its text holds nothing of the input.
    """
    try:
        text = raw.decode("utf-8")
        if is_deeper(text, MAX_DEPTH):
            raise ValueError
        value = _decoder(parse_int).decode(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # fails on a lone surrogate
    except ValueError:
        raise ValueError("not strict JSON") from None
    return value


@cache
def _decoder(parse_int: Callable[[str], int]) -> json.JSONDecoder:
    return json.JSONDecoder(object_pairs_hook=_unique, parse_int=parse_int, parse_float=_finite, parse_constant=_finite)


def is_deeper(document: str, levels: int) -> bool:
    """Whether the arrays and objects of a JSON text are nested more than so many levels deep."""
    if document.count("[") + document.count("{") <= levels:
        return False
    brackets = _BRACKET.findall(_STRING.sub("", document))
    return max(accumulate(1 if bracket in "[{" else -1 for bracket in brackets), default=0) > levels


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError
    return members


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError
    return value
