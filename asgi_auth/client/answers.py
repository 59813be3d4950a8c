"""What a server's headers tell its client: why a token was refused, what time it is there. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from email.utils import parsedate_to_datetime
from typing import NamedTuple

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PART = re.compile(
    rf'[\s,]*(?:(?P<name>{_WORD})[ \t]*=[ \t]*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>{_WORD}))(?=[\s,]|\Z)'
    rf"|(?P<scheme>{_WORD})(?:[ \t]+[0-9A-Za-z._~+/-]+=*(?=[ \t]*(?:,|\Z)))?(?=[\s,]|\Z))"
)
_ESCAPED = re.compile(r"\\(.)")


class Refusal(NamedTuple):
    """Why a credential was refused: `error` and `error_description` of its scheme's challenge; empty: not said."""

    error: str = ""
    description: str = ""


def refusal(lines: Iterable[str], scheme: str) -> Refusal:
    """What the challenge of this scheme says (RFC 9110 §11.6.1, RFC 6750 §3).

    Args:
        lines: each `WWW-Authenticate` header.
    """
    for line in lines:
        current, members, place = "", dict[str, str](), 0
        while part := _PART.match(line, place):
            place = part.end()
            if part["scheme"] is None:
                value = part["plain"] if part["quoted"] is None else _ESCAPED.sub(r"\1", part["quoted"])
                members.setdefault(part["name"].lower(), value)
                continue
            if current == scheme.lower():
                break
            current, members = part["scheme"].lower(), {}
        if current == scheme.lower():
            return Refusal(members.get("error", ""), members.get("error_description", ""))
    return Refusal()


def date(text: str) -> float | None:
    """The seconds since the epoch of a `Date` header (RFC 9110 §5.6.7); None: it is none."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def seconds(text: str) -> float:
    """Of a `Retry-After` header; 0 if it names none."""
    return float(text) if re.fullmatch(r"[0-9]{1,6}", text) else 0.0
