"""Signing keys: made, read from `JWT_KEY`, published. A private JWK comes in, a signature or a public JWK goes out.

What the key is and who keeps it is decided elsewhere; nothing here prints a key, not even in an error.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from jwt import PyJWTError
from jwt.algorithms import ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.utils import der_to_raw_signature

from asgi_auth.errors import ConfigurationError, InvalidToken
from asgi_auth.http.strict import strict_json
from asgi_auth.tokens.jose import (
    ALGORITHMS,
    CURVES,
    PUBLIC,
    Algorithm,
    Compact,
    InvalidKey,
    VerifyingKey,
    encode_base64url,
    octets,
)
from asgi_auth.tokens.material import is_key_material

RSA_BITS = 3072
"""Of the RSA keys that we make: 128 bits of strength (NIST SP 800-57)."""

THUMBPRINT = "[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]"
"""How the thumbprint of a public key looks: SHA-256 in base64url, in its one spelling (RFC 7638)."""

_PRIVATE = {"RSA": ("d", "p", "q", "dp", "dq", "qi"), "EC": ("d",), "OKP": ("d",), "oct": ("k",)}
_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----\n(.*?)-----END \1-----", re.DOTALL)
SETTING = "ASGI_AUTH_JWT_KEY"


@dataclass(frozen=True, slots=True, eq=False)
class SigningKey:
    """A private key, or a secret, prepared once.

    Attributes:
        kid: its name in token headers.
        algorithm: the one that it is for.
        verifying: its public half (of a secret: the same secret).
        jwk: the private JWK.
        sign: makes the JWS signature (RFC 7518 §3); deterministic for ECDSA too, where OpenSSL can (RFC 6979).
    """

    kid: str
    algorithm: str
    verifying: VerifyingKey
    jwk: Mapping[str, Any] = field(repr=False)
    sign: Callable[[bytes], bytes] = field(repr=False)

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, Any]) -> SigningKey:
        """Check a private JWK and prepare it. Without a `kid` it gets the one that `kid_for` gives. Raises InvalidKey:
        as `VerifyingKey.from_jwk`; no private half, or one that does not fit the public one."""
        verifying = VerifyingKey.from_jwk(jwk, own=True)
        if not is_private(jwk):
            raise InvalidKey("this key has no private half, so it can't sign")
        algorithm = ALGORITHMS[verifying.algorithm]
        if not verifying.kid:
            return cls.from_jwk({**jwk, "alg": verifying.algorithm, "kid": kid_for(jwk)})
        try:
            sign = _signer(jwk, algorithm)
            probe = Compact({"alg": verifying.algorithm}, b"", b"probe", sign(b"probe"))
            verifying.verify(probe)
        except (ValueError, TypeError, PyJWTError, UnsupportedAlgorithm, InvalidToken):
            raise InvalidKey(
                "the private half of this key is not well-formed, or does not fit the public one"
            ) from None
        return cls(verifying.kid, verifying.algorithm, verifying, jwk, sign)

    @property
    def public(self) -> Mapping[str, str] | None:
        """The public JWK; None for a secret."""
        return self.verifying.public


def is_private(jwk: Mapping[str, Any]) -> bool:
    """Whether a JWK can sign, going by its members."""
    kty = jwk.get("kty")
    return isinstance(kty, str) and kty in _PRIVATE and _PRIVATE[kty][0] in jwk


def is_small(key: SigningKey | VerifyingKey) -> bool:
    """Whether this is an RSA key of less bits than those that we make: good by RFC 7518, but not for long."""
    public = key.public or {}
    return "n" in public and len(octets(public, "n")) * 8 < RSA_BITS


def kid_for(jwk: Mapping[str, Any]) -> str:
    """A name for a key that is the same wherever it is made: the thumbprint of RFC 7638.

    A secret's name is an HMAC under the secret itself, so that nobody can look it up in a table of hashes.
    """
    if jwk["kty"] == "oct":
        digest = hmac.digest(octets(jwk, "k"), b"asgi-auth kid of a secret", "sha256")
    else:
        members = {name: jwk[name] for name in sorted(("kty", *PUBLIC[jwk["kty"]]))}
        digest = hashlib.sha256(json.dumps(members, separators=(",", ":")).encode("ascii")).digest()
    return encode_base64url(digest)


def generate(algorithm: str) -> dict[str, Any]:
    """Make a key for this algorithm: a private JWK with `alg`, `use` and `kid`. RSA takes up to a second of one core.
    Raises ConfigurationError: no such algorithm."""
    kind = _known(algorithm)
    key: Any
    if kind.kty == "oct":
        key = secrets.token_bytes(kind.size)
    elif kind.kty == "RSA":
        key = rsa.generate_private_key(65537, RSA_BITS)
    elif kind.kty == "EC":
        key = ec.generate_private_key(CURVES[kind.crv])
    else:
        key = ed25519.Ed25519PrivateKey.generate()
    jwk = kind.scheme.to_jwk(key, as_dict=True)
    jwk.pop("key_ops", None)
    return {**jwk, "alg": algorithm, "use": "sig", "kid": kid_for(jwk)}


def jwks(keys: Iterable[SigningKey | VerifyingKey]) -> dict[str, list[dict[str, str]]]:
    """The public halves as a JWK Set (RFC 7517 §5). Secrets are left out."""
    return {"keys": [dict(key.public) for key in keys if key.public is not None]}


def load_keys(text: str, algorithm: str, *, source: str = SETTING) -> list[SigningKey | VerifyingKey]:
    """The keys of a text, newest first: PEM blocks in a row, a JWK or JWK Set, else comma-separated secrets for HS*.

    Public keys alone mean that tokens are verified only.

    Args:
        algorithm: `JWT_ALGORITHM`, which every key must be for.
        source: where the text comes from, for people.

    Raises:
        ConfigurationError: says which key (counted from 1) is wrong and why, and never prints one.
    """
    _known(algorithm)
    text = text.lstrip("\ufeff").strip()
    try:
        if not text:
            raise _Unusable("it is empty: give a key, or leave it out and keep the keys in the store")
        if "-----begin" in text.lower():
            jwks = _from_pem(text, algorithm)
        elif text[0] in "{[":
            jwks = _from_json(text)
        else:
            jwks = _from_secrets(text, algorithm)
        keys = [_load(jwk, algorithm, number) for number, jwk in enumerate(jwks, 1)]
    except _Unusable as error:
        raise ConfigurationError(f"{source}: {error}") from None
    _one_of_each(keys, source)
    return keys


def load_all(texts: Mapping[str, str], algorithm: str) -> list[SigningKey | VerifyingKey]:
    """The keys of several texts, by where they come from, in their order. Raises ConfigurationError, as `load_keys`."""
    keys = [key for source, text in texts.items() for key in load_keys(text, algorithm, source=source)]
    _one_of_each(keys, SETTING)
    return keys


class _Unusable(ValueError):
    """Says what is wrong with a text."""


def _one_of_each(keys: Sequence[SigningKey | VerifyingKey], source: str) -> None:
    if len({key.kid for key in keys}) < len(keys):
        raise ConfigurationError(f"{source} holds two keys of one kid: leave one of them out")


def _load(jwk: Mapping[str, Any], algorithm: str, number: int) -> SigningKey | VerifyingKey:
    kind = ALGORITHMS[algorithm]
    if (jwk.get("kty"), jwk.get("crv", ""), jwk.get("alg", algorithm)) != (kind.kty, kind.crv, algorithm):
        raise _Unusable(
            f"key {number} is not one for {algorithm} (kty {kind.kty}, alg {algorithm} or none"
            f"{', crv ' + kind.crv if kind.crv else ''}): change the key, or ASGI_AUTH_JWT_ALGORITHM"
        )
    jwk = {**jwk, "alg": algorithm}
    try:
        if is_private(jwk):
            return SigningKey.from_jwk(jwk)
        key = VerifyingKey.from_jwk(jwk, own=True)
        return key if key.kid else VerifyingKey.from_jwk({**jwk, "kid": kid_for(jwk)}, own=True)
    except InvalidKey as error:
        raise _Unusable(f"key {number} cannot be used: {error}") from None


def _known(algorithm: str) -> Algorithm:
    if algorithm not in ALGORITHMS:
        raise ConfigurationError(f"ASGI_AUTH_JWT_ALGORITHM is one of {', '.join(ALGORITHMS)}")
    return ALGORITHMS[algorithm]


def _from_pem(text: str, algorithm: str) -> list[Mapping[str, Any]]:
    if ALGORITHMS[algorithm].kty == "oct":
        raise _Unusable(f"it holds PEM, which is no secret for {algorithm}")
    # Environment files often hold the line ends as \n.
    text = text.replace("\\n", "\n").replace("\r\n", "\n")
    blocks = list(_PEM.finditer(text))
    if len(blocks) != text.lower().count("-----begin"):
        raise _Unusable("a PEM block is cut short or misspelled: -----BEGIN … to -----END …, each line on its own")
    # `openssl ecparam -genkey` writes its parameters before the key.
    found = [block for block in blocks if block[1] != "EC PARAMETERS"]
    return [_jwk_of(block, number) for number, block in enumerate(found, 1)]


def _jwk_of(block: re.Match[str], number: int) -> Mapping[str, Any]:
    label, pem = block[1], block[0].encode("ascii", "replace")
    if "ENCRYPTED" in label + block[2]:
        raise _Unusable(f"key {number} is encrypted: decrypt it (`openssl pkey -in … -out …`)")
    if not label.endswith(("PRIVATE KEY", "PUBLIC KEY")):
        raise _Unusable(f"PEM block {number} is a {label.lower()}: give a private or public key")
    try:
        key: Any = load_pem_private_key(pem, None) if "PRIVATE" in label else load_pem_public_key(pem)
        if isinstance(key, (rsa.RSAPrivateKey, rsa.RSAPublicKey)):
            jwk = RSAAlgorithm.to_jwk(key, as_dict=True)
        elif isinstance(key, (ec.EllipticCurvePrivateKey, ec.EllipticCurvePublicKey)):
            jwk = ECAlgorithm.to_jwk(key, as_dict=True)
        else:
            jwk = OKPAlgorithm.to_jwk(key, as_dict=True)
    except (ValueError, TypeError, PyJWTError, UnsupportedAlgorithm):
        raise _Unusable(
            f"key {number} cannot be read: RSA, EC (P-256, P-384, P-521) and Ed25519 keys are known"
        ) from None
    jwk.pop("key_ops", None)
    return jwk


def _from_json(text: str) -> list[Mapping[str, Any]]:
    try:
        value = strict_json(text.encode("utf-8"))
    except ValueError:
        raise _Unusable("it looks like a JWK, but is not strict JSON (no member twice)") from None
    found: Any = value["keys"] if isinstance(value, dict) and "keys" in value else [value]
    if not isinstance(found, list) or not found or not all(isinstance(jwk, dict) for jwk in found):
        raise _Unusable('it is neither a JWK {"kty": …} nor a JWK Set {"keys": [{"kty": …}]}')
    return found


def _from_secrets(text: str, algorithm: str) -> list[Mapping[str, Any]]:
    kind = ALGORITHMS[algorithm]
    if kind.kty != "oct":
        raise _Unusable(f"it is neither PEM nor a JWK, which {algorithm} needs")
    found: list[Mapping[str, Any]] = []
    for number, secret in enumerate((part.strip() for part in text.split(",")), 1):
        try:
            raw = secret.encode("utf-8", "surrogateescape")  # as the environment had it
        except UnicodeEncodeError:
            raise _Unusable(f"secret {number} is no text") from None
        if len(raw) < kind.size:
            raise _Unusable(
                f"secret {number} has {len(raw)} bytes, {algorithm} needs at least {kind.size}; "
                f'make one with `asgi-auth secret` or `python -c "import secrets; print(secrets.token_urlsafe(64))"`'
            )
        if is_key_material(raw):
            raise _Unusable(f"secret {number} is a spelling of an asymmetric key or certificate, which others may know")
        found.append({"kty": "oct", "k": encode_base64url(raw)})
    return found


def _signer(jwk: Mapping[str, Any], algorithm: Algorithm) -> Callable[[bytes], bytes]:
    scheme = algorithm.scheme
    # PyJWT would take padding and junk.
    private = {name: octets(jwk, name) for name in _PRIVATE[algorithm.kty]}
    key: Any
    if isinstance(scheme, HMACAlgorithm):
        key = private["k"]
    elif isinstance(scheme, RSAAlgorithm):
        key = _rsa_key(jwk)
    elif isinstance(scheme, ECAlgorithm):
        key = ECAlgorithm.from_jwk(dict(jwk))
        return _deterministic(key, scheme) or (lambda message: scheme.sign(message, key))
    else:
        key = OKPAlgorithm.from_jwk(dict(jwk))
    return lambda message: scheme.sign(message, key)


def _rsa_key(jwk: Mapping[str, Any]) -> rsa.RSAPrivateKey:
    n, e, d, p, q, dp, dq, qi = (
        int.from_bytes(octets(jwk, name), "big") for name in ("n", "e", "d", "p", "q", "dp", "dq", "qi")
    )
    if "oth" in jwk or min(p, q) < 3 or p * q != n or d * e % (p - 1) != 1 or d * e % (q - 1) != 1:
        raise ValueError
    if dp != d % (p - 1) or dq != d % (q - 1) or qi * q % p != 1:
        raise ValueError
    # All that OpenSSL's check adds is whether p and q are primes, in 0.1 s; with composites no signature would verify.
    numbers = rsa.RSAPrivateNumbers(p, q, d, dp, dq, qi, rsa.RSAPublicNumbers(e, n))
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


def _deterministic(key: ec.EllipticCurvePrivateKey, scheme: ECAlgorithm) -> Callable[[bytes], bytes] | None:
    """RFC 6979: a bad random number generator cannot give the key away. None: this OpenSSL can't."""
    try:
        ecdsa = ec.ECDSA(scheme.hash_alg(), deterministic_signing=True)
    except UnsupportedAlgorithm:
        return None
    return lambda message: der_to_raw_signature(key.sign(message, ecdsa), key.curve)


def newest_signing(keys: Sequence[SigningKey | VerifyingKey]) -> SigningKey | None:
    """The key to sign with; None: these verify only."""
    return next((key for key in keys if isinstance(key, SigningKey)), None)
