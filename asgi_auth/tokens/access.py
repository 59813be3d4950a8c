"""Access tokens: JWTs by the profile of RFC 9068, issued and verified. Whether the session stands, others ask."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from asgi_auth.errors import InvalidToken
from asgi_auth.model import scope_tokens
from asgi_auth.tokens.jose import CONTROL, VerifyingKey, encode_base64url, kid_of, parse, strict_json
from asgi_auth.tokens.keys import SigningKey

__all__ = ["AccessTokens", "Claims", "kid_of"]

_TYPES = frozenset({"at+jwt", "application/at+jwt"})
_MAX_NUMBER = 2**53
_JTI = re.compile(r"([1-9][0-9]{0,15})\.[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Claims:
    """What an access token says. Times are whole seconds since the epoch.

    Attributes:
        aud: as it stands in the token; ours is one text.
        ver: the user's revision when the token was made.
        acr: None: not known.
        generation: of the refresh token that it came with (the beginning of `jti`).
        payload: all claims, as they were read.
    """

    iss: str
    sub: str
    aud: str | tuple[str, ...]
    exp: int
    iat: int
    nbf: int
    jti: str
    client_id: str
    sid: str
    scope: str
    auth_time: int
    amr: tuple[str, ...]
    ver: int
    acr: str | None
    generation: int
    payload: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class AccessTokens:
    """Issues and verifies access tokens of one issuer.

    Args:
        issuer: `iss`, compared code point by code point.
        audience: for whom our tokens are, and whose tokens are ours.
        leeway: seconds by which clocks may differ.
        max_size: bytes; longer tokens are refused unread.
        longest_lifetime: seconds; a token that lives longer is none of ours.
    """

    issuer: str
    audience: str
    leeway: float
    max_size: int
    longest_lifetime: float

    def issue(
        self,
        key: SigningKey,
        *,
        subject: str,
        session_id: str,
        generation: int,
        client_id: str,
        scope: str,
        auth_time: float,
        amr: Collection[str],
        revision: int,
        now: float,
        lifetime: float,
        audience: str | None = None,
        acr: str | None = None,
    ) -> str:
        """Make an access token (RFC 9068 §2).

        Args:
            generation: of the refresh token that goes with it; the first is 1.
            scope: space-separated.
            lifetime: seconds.
            audience: for another service than ours.
        """
        header = {"alg": key.algorithm, "typ": "at+jwt", "kid": key.kid}
        issued_at = int(now)
        claims = {
            "iss": self.issuer,
            "sub": subject,
            "aud": self.audience if audience is None else audience,
            "exp": int(now + lifetime),
            "iat": issued_at,
            "nbf": issued_at,
            "jti": f"{generation}.{secrets.token_urlsafe(32)}",
            "client_id": client_id,
            "sid": session_id,
            "scope": scope,
            "auth_time": int(auth_time),
            "amr": list(amr),
            "ver": revision,
        }
        if acr is not None:
            claims["acr"] = acr
        signing_input = f"{_segment(header)}.{_segment(claims)}"
        return f"{signing_input}.{encode_base64url(key.sign(signing_input.encode('ascii')))}"

    def kid_of(self, token: bytes) -> str | None:
        """See `kid_of`."""
        return kid_of(token, self.max_size)

    def verify(self, token: bytes, find_key: Callable[[str], VerifyingKey | None], *, now: float) -> Claims:
        """Read an access token (RFC 9068 §4): form, header, key and signature, and only then what it says.

        Args:
            find_key: gives the key of a `kid`, or None, which refuses the token.

        Raises:
            InvalidToken: EXPIRED or AUDIENCE for a token that is ours otherwise, INVALID for any other.
        """
        compact = parse(token, max_size=self.max_size)
        if compact.header.get("typ", "").lower() not in _TYPES or "kid" not in compact.header:
            raise InvalidToken
        key = find_key(compact.header["kid"])
        if key is None:
            raise InvalidToken
        key.verify(compact)
        claims = _read(compact.payload)
        if (
            claims.iss != self.issuer
            or max(claims.iat, claims.nbf) > now + self.leeway
            or claims.exp > now + self.longest_lifetime + self.leeway
        ):
            raise InvalidToken
        # Never `in` on a text: a part of our name is not our name.
        if self.audience not in ((claims.aud,) if isinstance(claims.aud, str) else claims.aud):
            raise InvalidToken(InvalidToken.AUDIENCE)
        if claims.exp + self.leeway <= now:
            raise InvalidToken(InvalidToken.EXPIRED)
        return claims


def _segment(members: Mapping[str, Any]) -> str:
    return encode_base64url(json.dumps(members, separators=(",", ":"), ensure_ascii=False).encode("utf-8"))


def _read(payload: bytes) -> Claims:
    try:
        claims = strict_json(payload)
        if not isinstance(claims, dict):
            raise ValueError
        jti = _text(claims, "jti")
        generation = _JTI.fullmatch(jti)
        scope = claims.get("scope")
        if generation is None or not isinstance(scope, str):
            raise ValueError
        scope_tokens(scope)
        return Claims(
            iss=_text(claims, "iss"),
            sub=_text(claims, "sub"),
            aud=_texts(claims, "aud") if isinstance(claims.get("aud"), list) else _text(claims, "aud"),
            exp=_number(claims, "exp"),
            iat=_number(claims, "iat"),
            nbf=_number(claims, "nbf"),
            jti=jti,
            client_id=_text(claims, "client_id"),
            sid=_text(claims, "sid"),
            scope=scope,
            auth_time=_number(claims, "auth_time"),
            amr=_texts(claims, "amr"),
            ver=_number(claims, "ver"),
            acr=_text(claims, "acr") if "acr" in claims else None,
            generation=int(generation[1]),
            payload=claims,
        )
    except ValueError:
        raise InvalidToken from None


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not value or CONTROL.search(value):
        raise ValueError
    return value


def _texts(claims: Mapping[str, Any], name: str) -> tuple[str, ...]:
    values = claims.get(name)
    if not isinstance(values, list):
        raise ValueError
    return tuple(_text({name: value}, name) for value in values)


def _number(claims: Mapping[str, Any], name: str) -> int:
    value = claims.get(name)
    # A bool is an int to Python, and a float is no NumericDate that two parsers agree on.
    if type(value) is not int or not 0 <= value <= _MAX_NUMBER:
        raise ValueError
    return value
