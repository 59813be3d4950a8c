"""Request headers in, the bytes that claim an identity out: access tokens and our cookies. Nothing is verified here."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

from asgi_auth.errors import HeadersTooLarge, MalformedAuthorization
from asgi_auth.http import Headers, values

_TOKEN = re.compile(rb"(?i:(bearer)|dpop) +([A-Za-z0-9._~+/-]+=*)")
_FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto")
_READ = frozenset((b"authorization", b"cookie", b"dpop", b"host", b"origin", *_FORWARDED))
_SCHEME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]*")
# Matches an open quote to its end too, so that many of them cost no more than one.
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*("?)', re.DOTALL)


MOST = 98_304
"""Bytes of the headers that are read here: the largest token, its proof, and all that else may be there."""


class Credential(NamedTuple):
    """An access token as it came, not yet verified. `bound`: under the scheme DPoP, for whoever has a key, and not as
    one that serves any bearer."""

    token: bytes
    bound: bool = False

    def __repr__(self) -> str:
        return "Credential(token=…)"  # it may be alive: keep it out of logs and tracebacks


def refuse_oversized(headers: Headers) -> None:
    """Refuse what would take long to read. Not every server has a limit of its own.

    Raises:
        HeadersTooLarge: the headers that are read here have more than `MOST` bytes.
    """
    size = 0
    for name, value in headers:
        if name in _READ:
            size += len(value)
    if size > MOST:
        raise HeadersTooLarge


def authorization(headers: Headers, *, enabled: bool = True, dpop: bool = True) -> Credential | None:
    """The access token of the `Authorization` header (RFC 6750 §2.1, RFC 9449 §7.1). The only place where one is
    looked for.

    None: there is no such header, or it is of another scheme, which is the application's.

    Args:
        enabled: false: every scheme is the application's.
        dpop: false: the scheme DPoP is.

    Raises:
        MalformedAuthorization: two credentials and one of them is Bearer or DPoP, in two headers or joined by a comma
            (as some servers do it); or a header of those schemes without one b64token.
    """
    if not enabled:
        return None
    found = values(headers, b"authorization")
    if not found:
        return None
    match = _TOKEN.fullmatch(found[0].strip(b" \t")) if len(found) == 1 else None
    if match and (match[1] or dpop):
        return Credential(match[2], bound=not match[1])
    schemes = [scheme for value in found for scheme in _schemes(value)]
    if not {b"bearer", b"dpop"}.intersection(schemes) or (schemes == [b"dpop"] and not dpop):
        return None
    if len(schemes) > 1:
        raise MalformedAuthorization("Send one credential in one Authorization header")
    raise MalformedAuthorization("The Authorization header is malformed: send Bearer or DPoP, a space and the token")


def is_dpop(headers: Headers) -> bool:
    """Whether a request's `Authorization` header is of the scheme DPoP: a refusal answers in the scheme that came."""
    return [_scheme(value) for value in values(headers, b"authorization")] == [b"dpop"]


def _scheme(value: bytes) -> bytes:
    found = _SCHEME.match(value.lstrip(b" \t"))
    return found[0].lower() if found else b""


def _schemes(value: bytes) -> list[bytes]:
    """The scheme of a header, and what could be schemes after its commas; in lower case."""
    head, *rest = _QUOTED.sub(lambda quoted: b"" if quoted[1] else quoted[0], value).split(b",")
    return [_scheme(head), *(b"".join(part.split(None, 1)[:1]).lower() for part in rest)]


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
