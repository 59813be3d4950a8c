"""The wire's side of the house: headers and bodies in, decisions and bytes out.

Pure functions and values only: no I/O, no clock, no settings. Names of request headers are lower case (ASGI says so);
those of response headers are whatever the application wrote.
"""

from __future__ import annotations

from collections.abc import Iterable

Headers = Iterable[tuple[bytes, bytes]]
"""Headers as an ASGI scope or message has them; an entry may be a list of two as well."""


def values(headers: Headers, name: bytes) -> list[bytes]:
    """What each request header of this (lower-case) name says, in their order, as sent."""
    return [value for key, value in headers if key == name]
