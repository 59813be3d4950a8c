"""What kind of request this is, by its headers: a page that a browser asks for, and where."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asgi_auth.http import values

_PLACES = frozenset((b"host", b"origin", b"forwarded", b"x-forwarded-host", b"x-forwarded-proto"))


def is_navigation(scope: Mapping[str, Any]) -> bool:
    """Whether a browser asks for a page, by Fetch Metadata or, without that, by what it accepts."""
    if scope["type"] != "http" or scope.get("method") != "GET":
        return False
    modes = values(scope["headers"], b"sec-fetch-mode")
    if modes:
        return modes == [b"navigate"]
    return any(value.startswith(b"text/html") for value in values(scope["headers"], b"accept"))


def place_of(scope: Mapping[str, Any]) -> tuple[object, ...] | None:
    """What the names of our cookies depend on, where no `URL` is set: scheme and host. None: on more than that."""
    host = None
    for name, value in scope["headers"]:
        if name in _PLACES:
            if name != b"host" or host is not None:
                return None
            host = value
    return scope.get("scheme"), host
