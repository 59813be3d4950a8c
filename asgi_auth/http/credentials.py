"""Request headers in, the bytes that claim an identity out: bearer tokens and our cookies. Nothing is verified here."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

from asgi_auth.errors import MalformedAuthorization
from asgi_auth.http import Headers, values

_BEARER = re.compile(rb"(?i:bearer) +([A-Za-z0-9._~+/-]+=*)")
_SCHEME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]*")
# Matches an open quote to its end too, so that many of them cost no more than one.
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*("?)', re.DOTALL)


class Bearer(NamedTuple):
    """A bearer token as it came, not yet verified."""

    token: bytes

    def __repr__(self) -> str:
        return "Bearer(token=…)"  # it may be alive: keep it out of logs and tracebacks


def authorization(headers: Headers, *, bearer_enabled: bool = True) -> Bearer | None:
    """The bearer token of the `Authorization` header (RFC 6750 §2.1). The only place where a token is looked for.

    None: there is no such header, or it is of another scheme, which is the application's. With `bearer_enabled` false
    every scheme is the application's.

    Raises:
        MalformedAuthorization: two credentials and one of them is Bearer or DPoP, in two headers or joined by a comma
            (as some servers do it); or a Bearer header that is not `Bearer 1*SP b64token`.
    """
    if not bearer_enabled:
        return None
    found = values(headers, b"authorization")
    if not found:
        return None
    if len(found) == 1 and (match := _BEARER.fullmatch(found[0].strip(b" \t"))):
        return Bearer(match[1])
    schemes = [scheme for value in found for scheme in _schemes(value)]
    if not {b"bearer", b"dpop"}.intersection(schemes) or schemes == [b"dpop"]:
        return None
    if len(schemes) > 1:
        raise MalformedAuthorization("Send one credential in one Authorization header")
    raise MalformedAuthorization("The Authorization header is malformed: send Bearer, a space and the token")


def _schemes(value: bytes) -> list[bytes]:
    """The scheme of a header, and what could be schemes after its commas; in lower case."""
    head, *rest = _QUOTED.sub(lambda quoted: b"" if quoted[1] else quoted[0], value).split(b",")
    first = _SCHEME.match(head.lstrip(b" \t"))
    return [first[0].lower() if first else b"", *(b"".join(part.split(None, 1)[:1]).lower() for part in rest)]


def cookies(headers: Headers, names: Collection[bytes]) -> dict[bytes, list[bytes]]:
    """The values of the cookies of these names, over all `Cookie` headers; a name that did not come is not there.

    Two values of one name mean that somebody else set one of them (cookie tossing). A value is the exact bytes that
    came, neither unquoted nor decoded, so that only what we issued verifies; spaces around it are cut
    (rfc6265bis, the algorithm for `Set-Cookie`, trims them too). Names are compared with case.
    """
    found: dict[bytes, list[bytes]] = {}
    for header, line in headers:
        if header != b"cookie" or not any(name in line for name in names):
            continue
        for pair in line.split(b";"):
            name, equals, value = pair.partition(b"=")
            name = name.strip(b" \t")
            if equals and name in names:
                found.setdefault(name, []).append(value.strip(b" \t"))
    return found


def has_preflight(method: str, headers: Headers) -> bool:
    """Whether a request is a CORS preflight (WHATWG Fetch): it asks for nothing but permission, so it is nobody's."""
    if method != "OPTIONS":
        return False
    names = {name for name, _ in headers}
    return b"origin" in names and b"access-control-request-method" in names
