"""DPoP proofs (RFC 9449 §4): made for a request, and read. A key, a method and a URL in, a proof out; and back.

No I/O: whether a proof came before, and whether its nonce is ours, others say.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import unquote

from asgi_auth.errors import InvalidProof, InvalidToken
from asgi_auth.http.origin import parse_origin
from asgi_auth.http.strict import strict_json
from asgi_auth.model import CONTROL
from asgi_auth.tokens.jose import MAX_SIZE, PUBLIC, InvalidKey, VerifyingKey, encode_base64url, json_segment, parse
from asgi_auth.tokens.keys import THUMBPRINT, SigningKey, kid_for

ALGORITHMS = ("ES256", "Ed25519", "EdDSA", "PS256", "RS256")
"""What proofs may be signed with. A proof brings its own key, so what a key may cost is bounded by these, and by what
`VerifyingKey` takes: RSA of 2048 to 4096 bits with the exponent 65537."""

_MAX_JTI = 256
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://[^/?#]*)([^?#]*)(?:[?#].*)?")


class Target(NamedTuple):
    """What a request is for, spelled in one way only: the origin, and the path as an application reads it."""

    origin: bytes
    path: str


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof whose signature is right (RFC 9449 §4.2). `jkt` is the thumbprint of the key that made it."""

    jkt: str
    jti: str
    htm: str
    htu: str
    iat: float
    nonce: str | None = None
    ath: str | None = None

    def check(self, method: str, at: Target, *, access_token: bytes | None = None) -> None:
        """See that this proof was made for a request, and for the access token in it (RFC 9449 §4.3, 8, 9 and 12).

        Args:
            method: as the client sent it.
            at: as the client has it.
            access_token: that the request carries; None: it asks for one.

        Raises:
            InvalidProof: it was made for another one.
        """
        if self.htm != method:
            raise InvalidProof("The DPoP proof was made for another method")
        if target(self.htu) != at:
            raise InvalidProof("The DPoP proof was made for another URL")
        if access_token is not None and self.ath != token_hash(access_token):
            raise InvalidProof("The DPoP proof was made for another access token")


def make_proof(
    key: SigningKey,
    method: str,
    url: str,
    *,
    now: float,
    nonce: str | None = None,
    access_token: str | None = None,
) -> str:
    """A proof for one request (RFC 9449 §4.2); each is good for one only.

    Args:
        key: of one of `ALGORITHMS`.
        url: of the request; query and fragment are left out.
        now: seconds since the epoch, by the server's clock as far as it is known.
        nonce: what the server gave last in `DPoP-Nonce`.
        access_token: that the request carries.

    Raises:
        ValueError: the key is for no such algorithm, or this is no URL.
    """
    if key.algorithm not in ALGORITHMS or key.public is None:
        raise ValueError(f"a DPoP key is for one of {', '.join(ALGORITHMS)}")
    parts = _URL.fullmatch(url)
    if parts is None:
        raise ValueError("this is no absolute URL")
    header = {"typ": "dpop+jwt", "alg": key.algorithm, "jwk": public_members(key.public)}
    claims: dict[str, Any] = {
        "jti": secrets.token_urlsafe(16),
        "htm": method,
        "htu": parts[1] + parts[2],
        "iat": int(now),
    }
    if nonce is not None:
        claims["nonce"] = nonce
    if access_token is not None:
        claims["ath"] = token_hash(access_token.encode("ascii"))
    signing_input = f"{json_segment(header)}.{json_segment(claims)}"
    return f"{signing_input}.{encode_base64url(key.sign(signing_input.encode('ascii')))}"


def read_proof(values: Sequence[bytes]) -> Proof:
    """The proof in the `DPoP` headers of a request, form, key and signature checked (RFC 9449 §4.3, 1 to 7).

    Raises:
        InvalidProof: there is none or there are several, or it breaks a rule.
    """
    if len(values) != 1:
        raise InvalidProof("Send one DPoP proof in one DPoP header")
    try:
        compact = parse(values[0].strip(b" \t"), max_size=MAX_SIZE, brings_key=True)
        header, jwk = compact.header, compact.header.get("jwk")
        if header.get("typ", "").lower() != "dpop+jwt" or header["alg"] not in ALGORITHMS or not isinstance(jwk, dict):
            raise InvalidProof
        if jwk.get("alg", header["alg"]) != header["alg"]:
            raise InvalidProof
        VerifyingKey.from_jwk({**jwk, "alg": header["alg"]}).verify(compact)
        return _claims(strict_json(compact.payload), kid_for(jwk))
    except (InvalidToken, InvalidKey, ValueError):
        raise InvalidProof from None


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """By which a token is bound to a key (`jkt`, RFC 7638). Of a private key the same as of its public half."""
    return kid_for(public_members(jwk))


def is_thumbprint(text: str) -> bool:
    """Whether a text can be the SHA-256 thumbprint of a key."""
    return re.fullmatch(THUMBPRINT, text) is not None


def public_members(jwk: Mapping[str, Any]) -> dict[str, str]:
    """The members of a public key that RFC 7638 counts."""
    return {name: jwk[name] for name in ("kty", *PUBLIC[jwk["kty"]])}


def token_hash(access_token: bytes) -> str:
    """`ath` (RFC 9449 §4.2)."""
    return encode_base64url(hashlib.sha256(access_token).digest())


def target(url: str) -> Target | None:
    """What an absolute URL names (RFC 3986 §6.2): case and default port do not count, nor do query and fragment, and
    percent-escapes are resolved, as an application gets the path. That of a WebSocket is its handshake's. None: it is
    no such URL."""
    parts = _URL.fullmatch(url)
    if parts is None or not url.isascii() or CONTROL.search(url):
        return None
    scheme, _, host = parts[1].partition("://")
    scheme = {"ws": "http", "wss": "https"}.get(scheme.lower(), scheme)
    try:
        return Target(parse_origin(f"{scheme}://{host}"), unquote(parts[2]) or "/")
    except ValueError:
        return None


def _claims(claims: Any, jkt: str) -> Proof:
    """The claims of a proof. Those that RFC 9449 does not know are ignored. Raises ValueError: one of them breaks a
    rule."""
    if not isinstance(claims, dict):
        raise ValueError
    texts = {name: claims[name] for name in ("jti", "htm", "htu", "nonce", "ath") if name in claims}
    if not {"jti", "htm", "htu"} <= texts.keys() or not all(map(_is_text, texts.values())):
        raise ValueError
    iat = claims.get("iat")
    if isinstance(iat, bool) or not isinstance(iat, (int, float)) or not 0 <= iat <= 2**53:
        raise ValueError
    if len(texts["jti"]) > _MAX_JTI or target(texts["htu"]) is None:
        raise ValueError
    return Proof(jkt, iat=iat, **texts)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != "" and not CONTROL.search(value)
