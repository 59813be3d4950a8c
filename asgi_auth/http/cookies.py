"""Cookies out: what a cookie of ours is, its `Set-Cookie` values, and why a browser would not keep it (rfc6265bis)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import formatdate
from typing import Literal

from asgi_auth.http.forwarded import hostname, parse_ip

MAX_SIZE = 4096
"""Bytes of name and value together that every browser keeps."""

_LAST_DATE = 253402300799.0  # the end of the year 9999
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")
_PATH = re.compile(r"/[\x20-\x3a\x3c-\x7e]*")
_DOMAIN = re.compile(r"\.?[0-9A-Za-z_-]+(?:\.[0-9A-Za-z_-]+)*")


@dataclass(frozen=True, slots=True)
class CookieSpec:
    """A cookie without its value. It is always HttpOnly, and always names its SameSite."""

    name: str
    secure: bool = True
    same_site: Literal["lax", "strict", "none"] = "lax"
    domain: str | None = None
    path: str = "/"
    partitioned: bool = False
    """Kept apart for each site that embeds the application (CHIPS)."""


class SetCookie:
    """Writes the `Set-Cookie` values of one cookie; what never changes is made once.
    Raises ValueError: every browser would drop this cookie (`check`)."""

    __slots__ = ("_attributes", "_clear", "spec")

    def __init__(self, spec: CookieSpec) -> None:
        if problem := check(spec):
            raise ValueError(problem)
        domain = f"; Domain={spec.domain}" if spec.domain else ""
        flags = ("; Secure" if spec.secure else "") + ("; Partitioned" if spec.partitioned else "")
        self.spec = spec
        self._attributes = f"; Path={spec.path}{domain}; HttpOnly; SameSite={spec.same_site.capitalize()}{flags}"
        # A deletion counts only with the Path, Domain, Secure and Partitioned that the cookie was set with.
        self._clear = f"{spec.name}={_lifetime(0, 0.0)}{self._attributes}".encode("ascii")

    def set(self, value: str, max_age: int | None, *, now: float) -> bytes:
        """The header value that sets the cookie.

        Args:
            value: ASCII of RFC 6265's cookie-octets.
            max_age: seconds the browser keeps it; None: until it is closed.
            now: the time of sending, seconds since the epoch (for `Expires`, which old browsers read).

        Raises:
            ValueError: the value has other characters, or is too long for browsers.
        """
        if not _VALUE.fullmatch(value):
            raise ValueError("a cookie's value is of ASCII without space, control characters, comma, ; \\ and quotes")
        if len(self.spec.name) + len(value) > MAX_SIZE:
            raise ValueError(f"name and value of a cookie have at most {MAX_SIZE} bytes")
        lifetime = "" if max_age is None else _lifetime(max_age, now)
        return f"{self.spec.name}={value}{lifetime}{self._attributes}".encode("ascii")

    def clear(self) -> bytes:
        """The header value that makes the browser forget the cookie."""
        return self._clear


def _lifetime(max_age: int, now: float) -> str:
    """`Max-Age`, and `Expires` as IMF-fixdate (RFC 9110 §5.6.7): English, GMT, a year of four digits."""
    expires = min(now + max_age, _LAST_DATE) if max_age > 0 else 0.0
    return f"; Max-Age={max(max_age, 0)}; Expires={formatdate(expires, usegmt=True)}"


def check(spec: CookieSpec) -> str | None:
    """Why every browser would drop this cookie, whoever asks for it; None: they would keep it.

    Browsers compare the prefixes without case, `__Host-Http-` and `__Http-` (layered cookies) among them.
    """
    name = spec.name.lower()
    if not _NAME.fullmatch(spec.name):
        return "a cookie's name is of letters, digits and !#$%&'*+-.^_`|~"
    if not _PATH.fullmatch(spec.path):
        return "a cookie's path begins with / and has no ; and no control characters"
    if spec.domain is not None and not _DOMAIN.fullmatch(spec.domain):
        return "a cookie's domain is a host name, without scheme, port and path"
    if len(spec.path) > 1024 or len(spec.domain or "") > 1024:
        return "a cookie's path and domain have at most 1,024 characters"
    if name.startswith("__host-"):
        if spec.domain:
            return f"{spec.name}: a cookie whose name begins with __Host- has no domain; name it __Secure-… instead"
        if spec.path != "/":
            return f"{spec.name}: a cookie whose name begins with __Host- has the path /; name it __Secure-… instead"
    if not spec.secure:
        if name.startswith(("__host-", "__secure-", "__http-")):
            return f"{spec.name}: a cookie whose name begins with __Host-, __Secure- or __Http- is for https only"
        if spec.same_site == "none":
            return f"{spec.name}: a cookie with SameSite=None is Secure, so https only"
        if spec.partitioned:
            return f"{spec.name}: a Partitioned cookie is Secure, so https only"
    if len(spec.name) > MAX_SIZE:
        return f"name and value of a cookie have at most {MAX_SIZE} bytes"
    return None


def keep_problem(spec: CookieSpec, *, scheme: str, host: bytes, loopback: bool) -> str | None:
    """Why the browser that sent this request would drop this cookie, and the setting that cures it; None: it keeps it.

    The sentence is safe for `error_description`.

    Args:
        scheme: `http` or `https`, as the browser sees it; `URL`'s, where that is set.
        host: the same of `Host`, with or without port.
        loopback: whether the request is one to this machine (`forwarded.loopback_request`), where browsers take
            Secure cookies over plain http.
    """
    if spec.secure and scheme != "https" and not loopback:
        return (
            "The browser would drop the cookie, since this request came over plain http. Use https; behind a proxy "
            "that ends TLS set ASGI_AUTH_TRUSTED_PROXIES to its address, or ASGI_AUTH_URL to the public https address; "
            "for plain http on purpose set ASGI_AUTH_INSECURE_HTTP=true"
        )
    domain = (spec.domain or "").lower().removeprefix(".")
    name = hostname(host)
    if not domain or name == domain:
        return None
    if not name.endswith("." + domain) or parse_ip(name):
        return (
            "The browser would drop the cookie, since this host is not within its Domain. Set ASGI_AUTH_SESSION_DOMAIN "
            "to a parent of the host, or leave it out; behind a proxy that rewrites Host set ASGI_AUTH_URL or "
            "ASGI_AUTH_TRUSTED_PROXIES"
        )
    return None
