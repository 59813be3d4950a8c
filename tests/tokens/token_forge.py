"""What the token tests share: keys made once, and a forger that signs whatever it is told to with a right key."""

from __future__ import annotations

import functools
import json
import traceback
from typing import Any

from asgi_auth.tokens.access import AccessTokens
from asgi_auth.tokens.jose import ALGORITHMS, VerifyingKey, encode_base64url
from asgi_auth.tokens.keys import SigningKey, generate

NOW = 1_800_000_000.0
ISSUER = "https://app.example"
TOKENS = AccessTokens(ISSUER, ISSUER, leeway=30, max_size=8192, longest_lifetime=30 * 86400)
EVERY_ALGORITHM = list(ALGORITHMS)


@functools.cache
def _made(algorithm: str) -> dict[str, Any]:
    return generate(algorithm)


def private_jwk(algorithm: str) -> dict[str, Any]:
    """A private JWK; one RSA key serves all RSA algorithms, since they take long to make."""
    if ALGORITHMS[algorithm].kty != "RSA":
        return dict(_made(algorithm))
    return {**_made("RS256"), "alg": algorithm}


@functools.cache
def signing_key(algorithm: str) -> SigningKey:
    return SigningKey.from_jwk(private_jwk(algorithm))


def public_jwk(algorithm: str) -> dict[str, Any]:
    public = signing_key(algorithm).public
    assert public is not None
    return dict(public)


def claims(**changes: Any) -> dict[str, Any]:
    """The claims of a good token; None takes one away."""
    good = {
        "iss": ISSUER,
        "sub": "42",
        "aud": ISSUER,
        "exp": int(NOW) + 600,
        "iat": int(NOW),
        "nbf": int(NOW),
        "jti": "1.kq3v8mZ1T0WbQ4yN7rXc2A",
        "client_id": "asgi-auth",
        "sid": "00session",
        "scope": "read",
        "auth_time": int(NOW),
        "amr": ["pwd"],
        "ver": 1,
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def header(key: SigningKey, **changes: Any) -> dict[str, Any]:
    good = {"alg": key.algorithm, "typ": "at+jwt", "kid": key.kid}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def sign(key: SigningKey, head: object = None, payload: object = None) -> bytes:
    """A token with a right signature over these: bytes as they are, anything else as JSON."""
    head = header(key) if head is None else head
    payload = claims() if payload is None else payload
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (head, payload)]
    return seal(key, *(encode_base64url(part).encode() for part in parts))


def seal(key: SigningKey, head: bytes, payload: bytes) -> bytes:
    """The same with the two segments as they will stand in the token."""
    signing_input = head + b"." + payload
    return signing_input + b"." + encode_base64url(key.sign(signing_input)).encode()


def finder(*keys: SigningKey) -> Any:
    by_kid: dict[str, VerifyingKey] = {key.kid: key.verifying for key in keys}
    return by_kid.get


def shown(error: BaseException) -> str:
    """All that a log would show of an exception."""
    return "".join(traceback.format_exception(error)) + str(error) + repr(error)


def leaks(text: str, *secrets: str) -> list[str]:
    """Every run of 8 characters of a secret that the text holds."""
    return [s[i : i + 8] for s in secrets for i in range(len(s) - 7) if s[i : i + 8] in text]
