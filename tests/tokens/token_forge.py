"""What the token tests share: keys made once, and a forger that signs whatever it is told to with a right key."""

from __future__ import annotations

import base64
import datetime
import functools
import json
import traceback
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

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


@functools.cache
def cryptography_key(algorithm: str) -> Any:
    return ALGORITHMS[algorithm].scheme.from_jwk(json.dumps(private_jwk(algorithm)))


def public_pem(algorithm: str) -> str:
    key = cryptography_key(algorithm).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def certificate(algorithm: str) -> x509.Certificate:
    key = cryptography_key(algorithm)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "idp.example")])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + datetime.timedelta(days=9))
    return builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())


@functools.cache
def spellings(algorithm: str) -> dict[str, str]:
    """A public key as somebody may have copied it."""
    public = cryptography_key(algorithm).public_key()
    text = public_pem(algorithm)
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    body = "".join(text.splitlines()[1:-1])
    jwk = json.dumps(public_jwk(algorithm))
    found = {
        "pem": text,
        "pem without its last newline": text.rstrip(),
        "pem with CRLF": text.replace("\n", "\r\n"),
        "pem after a space": " " + text,
        "pem after a BOM": "\ufeff" + text,
        "pem without END": text[: text.index("-----END")],
        "pem without BEGIN": "\n".join(text.splitlines()[1:]),
        "pem in small letters": text.replace("BEGIN", "begin").replace("END", "end"),
        "pem with \\n": text.replace("\n", "\\n"),
        "pem in base64": base64.b64encode(text.encode()).decode(),
        "pem body": body,
        "pem body in lines": "\n".join(text.splitlines()[1:-1]),
        "pem body, cut": body[:-7],
        "pem body, quoted": f'"{body}"',
        "der in base64url": base64.urlsafe_b64encode(der).rstrip(b"=").decode(),
        "der and one byte": base64.b64encode(der + b"\0").decode(),
        "der in hex": der.hex(),
        "jwk": jwk,
        "jwk after a BOM": "\ufeff" + jwk,
        "jwk in base64": base64.b64encode(jwk.encode()).decode(),
        "jwk, quoted": json.dumps(jwk),
        "jwks": json.dumps({"keys": [json.loads(jwk)]}),
        "certificate": certificate(algorithm).public_bytes(Encoding.PEM).decode(),
        "certificate in base64": base64.b64encode(certificate(algorithm).public_bytes(Encoding.DER)).decode(),
    }
    if algorithm in ("RS256", "ES256", "Ed25519"):
        ssh = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        found |= {"ssh": ssh, "ssh blob": ssh.split()[1]}
    if algorithm == "RS256":
        pkcs1 = public.public_bytes(Encoding.DER, PublicFormat.PKCS1)
        found |= {"pkcs1": base64.b64encode(pkcs1).decode(), "pkcs1 in hex": pkcs1.hex()}
    if algorithm.startswith("ES"):
        point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        found |= {"point": base64.b64encode(point).decode(), "point in hex": point.hex()}
    return found
