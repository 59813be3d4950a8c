"""Cross-origin decisions: who may send an unsafe request with our cookie, and where a login may send people on to.

Works without tokens, the way Go's `net/http.CrossOriginProtection` does: browsers say where a request comes from, and
no page can make them lie.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from ipaddress import IPv6Address
from typing import NamedTuple
from urllib.parse import unquote

from asgi_auth.errors import CrossOrigin

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
MAX_NEXT = 2048

_ORIGIN = re.compile(rb"[A-Za-z][0-9A-Za-z+.-]*://([0-9A-Za-z._-]+(?::[0-9]+)?|\[[0-9A-Fa-f:.]+\](?::[0-9]+)?)")
_ENTRY = re.compile(r"([a-z][0-9a-z+.-]*)://(\[[0-9a-f:.]+\]|[0-9a-z_-]+(?:\.[0-9a-z_-]+)*)(?::([0-9]{1,5}))?")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_PRINTABLE = re.compile(r"/[\x21-\x5b\x5d-\x7e]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")


class Verdict(NamedTuple):
    """Whether a request is let in; if not, `header` is the one that decided."""

    allowed: bool
    header: str = ""

    def error(self) -> CrossOrigin:
        """What the client of a refused request is told: the header that decided and the settings that could cure it."""
        if self.header == "Sec-Fetch-Site":
            return CrossOrigin(
                "Sec-Fetch-Site says that a page of another origin sent this request. If that page is yours, "
                "list its origin in ASGI_AUTH_TRUSTED_ORIGINS"
            )
        return CrossOrigin(
            "Origin does not match Host: a page of another origin sent this request, or a proxy rewrote Host. "
            "Behind a proxy set ASGI_AUTH_URL or ASGI_AUTH_TRUSTED_PROXIES; if the other page is yours, "
            "list its origin in ASGI_AUTH_TRUSTED_ORIGINS"
        )


ALLOWED = Verdict(True)


def cross_origin(
    method: str,
    *,
    sites: Sequence[bytes],
    origins: Sequence[bytes],
    hosts: Collection[bytes],
    trusted: Collection[bytes],
    own: Collection[bytes] = (),
    websocket: bool = False,
) -> Verdict:
    """Decide on a request that a cookie of ours carries.

    Args:
        method: as in the scope; of a handshake it does not matter.
        sites: what the `Sec-Fetch-Site` headers say.
        origins: what the `Origin` headers say.
        hosts: what counts as `Host`, byte for byte: that of the request, or a trusted proxy's `X-Forwarded-Host`.
        trusted: origins as `parse_origin` makes them (`TRUSTED_ORIGINS`).
        own: whole origins that count like `Host` (that of `URL`).
        websocket: a handshake, which is a GET and yet never safe.
    """
    if method in SAFE_METHODS and not websocket:
        return ALLOWED
    origin = origins[0] if len(origins) == 1 else None
    if sites:
        # The browser compared the origins itself, so only exact trust can overrule it.
        if list(sites) in ([b"same-origin"], [b"none"]) or origin in trusted:
            return ALLOWED
        return Verdict(False, "Sec-Fetch-Site")
    if not origins:
        return ALLOWED  # every browser sends one of the two, so this is none
    if origin is not None:
        match = _ORIGIN.fullmatch(origin)
        if origin in trusted or origin in own or (match and match[1] in hosts):
            return ALLOWED
    return Verdict(False, "Origin")


def parse_origin(text: str) -> bytes:
    """An origin, `scheme://host[:port]`, exactly as browsers send it: lower case, no default port, shortest IPv6.
    Raises ValueError: it is anything else, or has anything more (path, last slash, user, wildcard)."""
    match = _ENTRY.fullmatch(text.lower()) if text.isascii() else None
    if match is None:
        raise ValueError(f"{text!r} is no origin: write scheme://host or scheme://host:port and nothing after it")
    scheme, host, port = match.groups()
    if host.startswith("["):
        try:
            host = f"[{IPv6Address(host[1:-1]).compressed}]"
        except ValueError:
            raise ValueError(f"{text!r} is no origin: {host} is no IPv6 address") from None
    if port is None or int(port) == _DEFAULT_PORTS.get(scheme):
        return f"{scheme}://{host}".encode("ascii")
    if not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is no origin: ports go from 1 to 65535")
    return f"{scheme}://{host}:{int(port)}".encode("ascii")


def is_local_path(text: str) -> bool:
    """Whether `text` is a path of this host and nothing else, so that a redirect there leaves nobody elsewhere.

    It must look harmless to whoever reads it, browser or proxy, however often they decode it: ASCII as it stands in a
    URL, one slash in front, no empty and no dot segments, no backslash or control character, at most 2,048 characters.
    """
    if len(text) > MAX_NEXT or not _PRINTABLE.fullmatch(text):
        return False
    path = re.split(r"[?#]", text, maxsplit=1)[0]
    for _ in range(8):  # nobody encodes a path more often than that in good faith
        if "//" in path or _CONTROL.search(path) or {".", ".."}.intersection(path.split("/")):
            return False
        decoded = unquote(path, encoding="latin-1")
        if decoded == path:
            return True
        path = decoded
    return False
