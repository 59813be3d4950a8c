"""Access tokens: JWTs by the profile of RFC 9068, issued and verified. Whether the session stands, others ask."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from asgi_auth.errors import InvalidScope, InvalidToken
from asgi_auth.tokens.claims import HISTORY, Claims, read_any, read_usual
from asgi_auth.tokens.jose import Compact, VerifyingKey, encode_base64url, json_segment, parse
from asgi_auth.tokens.keys import SigningKey

TYPES = frozenset({"at+jwt", "application/at+jwt"})
"""Of an access token's header (RFC 9068 §2.1), in small letters."""


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
        amr: Mapping[str, float],
        revision: int,
        now: float,
        lifetime: float,
        audience: str | None = None,
        acr: str | None = None,
        history: tuple[str, int] | None = None,
        jkt: str = "",
    ) -> str:
        """Make an access token (RFC 9068 §2).

        Args:
            generation: of the refresh token that goes with it; the first is 1.
            scope: space-separated.
            amr: methods, and when each was used.
            lifetime: seconds.
            audience: for another service than ours.
            jkt: thumbprint of the key that it is bound to; empty: none.
            history: the store's epoch (8 hex digits) and the session's era; None: not known.

        Raises:
            InvalidScope: the scopes make it longer than we would accept.
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
            "jti": f"{generation}.{encode_base64url(_token_id(history))}",
            "client_id": client_id,
            "sid": session_id,
            "scope": scope,
            "auth_time": int(auth_time),
            "amr": list(amr),
            "ver": revision,
        }
        if acr is not None:
            claims["acr"] = acr
        if jkt:
            claims["cnf"] = {"jkt": jkt}
        if any(int(at) != int(auth_time) for at in amr.values()):
            claims["amr_at"] = [int(at) for at in amr.values()]
        signing_input = f"{json_segment(header)}.{json_segment(claims)}"
        token = f"{signing_input}.{encode_base64url(key.sign(signing_input.encode('ascii')))}"
        if len(token) > self.max_size:
            raise InvalidScope("These scopes make a token that is too large: ask for fewer")
        return token

    def parse(self, token: bytes) -> Compact:
        """Take an access token apart, in whose header its type and the name of its key (`kid`) are right; nothing is
        verified. Raises InvalidToken: it is none."""
        compact = parse(token, max_size=self.max_size)
        header = compact.header
        if "kid" not in header or (header.get("typ") != "at+jwt" and header.get("typ", "").lower() not in TYPES):
            raise InvalidToken
        return compact

    def verify(self, token: bytes, find_key: Callable[[str], VerifyingKey | None], *, now: float) -> Claims:
        """Read an access token (RFC 9068 §4): form, header, key and signature, and only then what it says.

        Args:
            find_key: gives the key of a `kid`, or None, which refuses the token.

        Raises:
            InvalidToken: EXPIRED or AUDIENCE for a token that is ours otherwise, INVALID for any other.
        """
        return self.check(self.parse(token), find_key, now=now)

    def check(self, compact: Compact, find_key: Callable[[str], VerifyingKey | None], *, now: float) -> Claims:
        """The same of one that `parse` took apart."""
        key = find_key(compact.header["kid"])
        if key is None:
            raise InvalidToken
        key.verify(compact)
        claims = read_usual(compact.payload) or read_any(compact.payload)
        latest = now + self.leeway
        if (
            claims.iss != self.issuer
            or claims.iat > latest
            or claims.nbf > latest
            or claims.exp > latest + self.longest_lifetime
        ):
            raise InvalidToken
        # Never `in` on a text: a part of our name is not our name.
        if claims.aud != self.audience and (isinstance(claims.aud, str) or self.audience not in claims.aud):
            raise InvalidToken(InvalidToken.AUDIENCE)
        if claims.exp + self.leeway <= now:
            raise InvalidToken(InvalidToken.EXPIRED)
        return claims


def _token_id(history: tuple[str, int] | None) -> bytes:
    """32 bytes, at least 24 of them random. In front stands when in the store's life it is, where that is known, so
    that the end of everybody's sessions and the loss of a store are seen by the token alone."""
    if history is None:
        return secrets.token_bytes(32)
    epoch, era = history
    return HISTORY.pack(bytes.fromhex(epoch), era) + secrets.token_bytes(24)
