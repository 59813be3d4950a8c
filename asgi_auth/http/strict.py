"""JSON that every parser reads alike: what two readers understand differently is a way in (ASVS 15.3)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from functools import cache
from typing import Any

MAX_DEPTH = 16

_MAX_DIGITS = 20
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)  # the last quote may be missing, or many would take long
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_ONE_KIND = bytes.maketrans(b"{}", b"[]")


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
        if is_deeper(raw, MAX_DEPTH):
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


def is_deeper(document: bytes, levels: int) -> bool:
    """Whether the arrays and objects of a JSON text in UTF-8 are nested more than so many levels deep, or do not close
    in as many as were opened. Without a look at each bracket: there may be thousands, of whoever has no key."""
    if document.count(b"[") + document.count(b"{") <= levels:
        return False
    left = _STRING.sub(b"", document).translate(_ONE_KIND, _NO_BRACKETS)
    for _ in range(levels):
        if not left:
            return False
        left = left.replace(b"[]", b"")
    return left != b""


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
