"""Which cookies are ours on this request: names and attributes, by where the request came to. Settings become
ready-made writers once; a request only chooses."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Literal, NamedTuple

from asgi_auth.http.cookies import CookieSpec, SetCookie

SameSite = Literal["lax", "strict", "none"]


class Pair(NamedTuple):
    """The session's cookie, that of a visitor's data, and what the browser has seen of either."""

    session: SetCookie
    visitor: SetCookie
    seen: SetCookie
    session_name: bytes
    visitor_name: bytes
    seen_name: bytes


def name_pattern(name: str | None) -> re.Pattern[bytes]:
    """What the names of our cookies look like in a `Cookie` header, whatever the key ring. Group 1: of a visitor's."""
    ours = rb"__(?:Host|Secure)-session|session-[0-9a-f]{4}" if name is None else re.escape(name.encode("ascii"))
    return re.compile(rb"(?:^|[; \t])(?:" + ours + rb")(-anonymous)?[ \t]*=")


class SessionCookies:
    """The two pairs of cookies that one configuration can mean.

    Args:
        ring: the key ring's id, part of the default name on plain http.
        name: used as it is; None: `__Host-session` (with a domain or path `__Secure-session`), on plain http
            `session-<4 hex>`, since cookies know no ports and bare `session` belongs to frameworks.
    """

    def __init__(
        self,
        ring: str,
        *,
        name: str | None,
        same_site: SameSite,
        domain: str | None,
        path: str,
        partitioned: bool = False,
    ) -> None:
        def pair(base: str, secure: bool) -> Pair:
            # A visitor's data opens nothing, and is wanted on the way back from a provider, where Strict is not sent.
            lenient: SameSite = "lax" if same_site == "strict" else same_site
            session = CookieSpec(base, secure, same_site, domain, path, partitioned)
            visitor = replace(session, name=f"{base}-anonymous", same_site=lenient)
            seen = replace(session, name=f"{base}-seen")
            names = (spec.name.encode() for spec in (session, visitor, seen))
            return Pair(SetCookie(session), SetCookie(visitor), SetCookie(seen), *names)

        prefixed = "__Secure-session" if domain or path != "/" else "__Host-session"
        self.secure = pair(name or prefixed, True)
        # Browsers take Secure cookies from this machine over plain http too, and some cookies are nothing without it.
        must = same_site == "none" or partitioned or (name is not None and name.startswith("__"))
        self.plain = pair(name or f"session-{ring[:4]}", must)
        pairs = (self.secure, self.plain)
        self.names = frozenset(pair.session_name for pair in pairs) | {pair.visitor_name for pair in pairs}
        """Under which a cookie of ours may come."""
        self.seen_names = frozenset(pair.seen_name for pair in pairs)
