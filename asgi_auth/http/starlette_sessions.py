"""The cookie of Starlette's `SessionMiddleware`, for applications that move from there: its name, what it said, how it
goes. Pure; nothing is written in its manner."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple

from itsdangerous import BadSignature, TimestampSigner
from itsdangerous.encoding import base64_decode, base64_encode

from asgi_auth.durations import DAY, parse_duration
from asgi_auth.http.cookies import CookieSpec, SetCookie


class SignedSession(NamedTuple):
    """What such a cookie said: the data, and when it was signed (seconds since the epoch)."""

    data: Mapping[str, Any]
    signed_at: float


@dataclass(frozen=True, slots=True)
class StarletteSessions:
    """The arguments that `SessionMiddleware` had, by its own names and defaults, and where it kept whose session it is.

    Args:
        user_key: the key of the data that holds the user's id; None: nobody is logged in by these sessions.

    Raises:
        ValueError: no such cookie can have been.
    """

    secret_key: str = field(repr=False)
    session_cookie: str = "session"
    max_age: float | None = 14 * DAY
    path: str = "/"
    same_site: Literal["lax", "strict", "none"] = "lax"
    https_only: bool = False
    domain: str | None = None
    partitioned: bool = False
    user_key: str | None = None

    def __post_init__(self) -> None:
        if not self.secret_key:
            raise ValueError("has an empty secret_key")
        SetCookie(self._spec)

    @classmethod
    def parse(cls, members: Mapping[str, Any]) -> StarletteSessions:
        """Read a record. Raises ValueError: a member is unknown, or of another type; its value is not repeated."""
        known = {one.name for one in fields(cls)}
        for name, value in members.items():
            if name not in known:
                raise ValueError(f"has no member {name!r}: there are {', '.join(sorted(known))}")
            kinds: tuple[type, ...] = (str,)
            if name in ("https_only", "partitioned"):
                kinds = (bool,)
            elif name == "max_age":
                kinds = (int, float, str, type(None))
            elif name in ("domain", "user_key"):
                kinds = (str, type(None))
            if not isinstance(value, kinds) or (name == "max_age" and isinstance(value, bool)):
                raise ValueError(f"has another type than {name} is of")
        if "secret_key" not in members:
            raise ValueError("has no secret_key: give it the one that SessionMiddleware had")
        if members.get("same_site", "lax") not in ("lax", "strict", "none"):
            raise ValueError("has a same_site other than lax, strict and none")
        age = members.get("max_age", 14 * DAY)
        return cls(**{**members, "max_age": None if age is None else parse_duration(age)})

    @property
    def name(self) -> bytes:
        """The cookie's name, as it stands in a header."""
        return self.session_cookie.encode("ascii")

    def read(self, text: bytes, *, now: float) -> SignedSession | None:
        """What the text of a cookie says; None: Starlette would not have taken it either, or there is nothing in it."""
        signer = TimestampSigner(self.secret_key)
        try:
            signed, at = signer.unsign(text, return_timestamp=True)
            if not _is_as_signed(text):
                return None
            data = json.loads(b64decode(signed))
        except (BadSignature, ValueError, RecursionError):
            return None
        if self.max_age is not None and now - at.timestamp() > self.max_age:
            return None
        return SignedSession(data, at.timestamp()) if isinstance(data, dict) and data else None

    def clear(self) -> bytes:
        """The `Set-Cookie` value that makes the browser forget it."""
        return SetCookie(self._spec).clear()

    @property
    def _spec(self) -> CookieSpec:
        return CookieSpec(
            self.session_cookie, self.https_only, self.same_site, self.domain, self.path, self.partitioned
        )


def _is_as_signed(text: bytes) -> bool:
    """Whether the signature is spelled as it is made. Base64 has other spellings of the same bytes, so that one cookie
    would be several."""
    signature = text.rpartition(b".")[2]
    return base64_encode(base64_decode(signature)) == signature
