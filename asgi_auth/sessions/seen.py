"""`<cookie>-seen`: which version of a session's data a browser has written, so that it reads its own writes everywhere.

No secret, and nothing is trusted to it: the worst that a made-up one does is a question to the store.
"""

from __future__ import annotations

import re

LIFETIME = 60
"""Seconds for which a browser keeps it. By then every process has heard of the write."""

_TEXT = re.compile(rb"([0-9A-Za-z_-]{24})-([0-9]{1,15})")


def seen_text(sid: str, data_version: int) -> str:
    """The cookie's text after a write."""
    return f"{sid}-{data_version}"


def seen_version(text: bytes, sid: str) -> int:
    """The version of this session's data that a browser has written, by the cookie's text; 0: it does not say."""
    match = _TEXT.fullmatch(text.strip(b" \t"))
    return int(match[2]) if match is not None and match[1] == sid.encode("ascii") else 0
