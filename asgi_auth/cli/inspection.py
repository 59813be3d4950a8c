"""What a token is, going by its looks: no key is asked for, so nothing of it is known to be true. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from asgi_auth.durations import moment, spell_duration
from asgi_auth.tokens.explain import read_object
from asgi_auth.tokens.jose import decode_base64url
from asgi_auth.tokens.refresh import looks_like_refresh

_TIMES = frozenset({"exp", "iat", "nbf", "auth_time", "updated_at"})
_KINDS = {
    "at+jwt": "an access token (RFC 9068)",
    "dpop+jwt": "a DPoP proof (RFC 9449)",
    "logout+jwt": "a logout token (OpenID Connect Back-Channel Logout)",
    "secevent+jwt": "a security event (RFC 8417)",
}


class Row(NamedTuple):
    """`part`: `token`, `header` or `claim`. `words`: what the value means to people."""

    part: str
    name: str
    value: Any
    words: str = ""

    @property
    def text(self) -> str:
        return self.value if isinstance(self.value, str) else json.dumps(self.value, ensure_ascii=False)


def describe(token: str, *, now: float) -> list[Row]:
    """What it seems to be, and what it says."""
    refresh = looks_like_refresh(token)
    if refresh is not None:
        return [
            Row("token", "kind", "a refresh token of asgi-auth", "it names a session, and says no more"),
            Row("token", "sid", refresh.sid, "the session; it opens nothing"),
            Row("token", "generation", refresh.generation, "how often the session was refreshed, and one"),
        ]
    segments = token.split(".")
    if len(segments) == 5:
        return [Row("token", "kind", "an encrypted token (JWE)", "nothing here reads those"), *_header(segments[0])]
    if len(segments) != 3:
        return [Row("token", "kind", "no token that is known here", f"{len(token)} characters, {len(segments)} parts")]
    return list(_signed(segments, now))


def _signed(segments: list[str], now: float) -> Iterator[Row]:
    header, claims = _object(segments[0]), _object(segments[1])
    if isinstance(header, str) and isinstance(claims, str):
        yield Row("token", "kind", "no token that is known here", f"its three parts are not JSON: the first {header}")
        return
    yield Row("token", "kind", _kind(header, claims), "nothing of it is verified here: `token verify` does that")
    yield from _header(segments[0])
    if isinstance(claims, str):
        yield Row("token", "payload", claims)
        return
    for name, value in claims.items():
        yield Row("claim", name, value, _when(value, now) if name in _TIMES else "")


def _header(segment: str) -> Iterator[Row]:
    header = _object(segment)
    if isinstance(header, str):
        yield Row("token", "header", header)
        return
    for name, value in header.items():
        yield Row("header", name, value, "nobody has signed it" if str(value).lower() == "none" else "")


def _object(segment: str) -> Mapping[str, Any] | str:
    try:
        return read_object(decode_base64url(segment.encode("utf-8")))
    except ValueError:
        return "is no base64url"


def _kind(header: Mapping[str, Any] | str, claims: Mapping[str, Any] | str) -> str:
    typ = "" if isinstance(header, str) else str(header.get("typ", "")).lower().removeprefix("application/")
    if typ in _KINDS:
        return _KINDS[typ]
    if isinstance(claims, Mapping) and {"nonce", "at_hash", "c_hash"} & claims.keys():
        return "a signed token (JWS), by its claims an ID token"
    return "a signed token (JWS)"


def _when(value: object, now: float) -> str:
    if type(value) not in (int, float):
        return "no time"
    at = float(value)  # type: ignore[arg-type]
    far = spell_duration(abs(at - now))
    return f"{moment(at)}, {f'in {far}' if at > now else f'{far} ago'}"
