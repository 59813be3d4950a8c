"""Compact JWS (RFC 7515), read strictly: a token's bytes in, a payload out whose signature is right.

The algorithm comes from the key; the header's is only ever compared with it. Keys are checked and prepared once, before
any arithmetic. Knows no claim and no clock.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from jwt.algorithms import Algorithm as Scheme
from jwt.algorithms import ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm, RSAPSSAlgorithm
from pydantic_core import SchemaValidator, core_schema

from asgi_auth.errors import AuthError, InvalidToken
from asgi_auth.frozen import frozen
from asgi_auth.http.strict import strict_json
from asgi_auth.model import CONTROL
from asgi_auth.tokens.material import is_key_material

MAX_SIZE = 8192
"""Bytes of the longest token looked at, unless told otherwise."""

_MAX_KID = 128
REFUSED = frozenset({"cty", "zip", "crit", "b64", "jku", "jwk", "x5u", "x5c"})
"""Members of a header that would bring in another key, encoding or meaning."""
_REFUSED_IN_PROOFS = REFUSED - {"jwk"}
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth"})
PUBLIC = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x"), "oct": ()}

# The y coordinates of the eight points of low order on edwards25519: whoever has such a "key" signs for nobody, and for
# everybody. The last two are the roots of d·y⁴ + 2y² = 1.
_P25519 = 2**255 - 19
_Y8 = int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little")
_LOW_ORDER = frozenset({0, 1, _P25519 - 1, _Y8, _P25519 - _Y8})


class InvalidKey(AuthError, ValueError):
    """A key that must not be used. The text says why, and holds nothing of the key."""


class Algorithm(NamedTuple):
    """One `alg`. `size`: bytes of the shortest secret (oct) or of a coordinate (EC, OKP)."""

    kty: str
    crv: str
    size: int
    scheme: Scheme


ALGORITHMS: Mapping[str, Algorithm] = {
    "HS256": Algorithm("oct", "", 32, HMACAlgorithm(HMACAlgorithm.SHA256)),
    "HS384": Algorithm("oct", "", 48, HMACAlgorithm(HMACAlgorithm.SHA384)),
    "HS512": Algorithm("oct", "", 64, HMACAlgorithm(HMACAlgorithm.SHA512)),
    "RS256": Algorithm("RSA", "", 0, RSAAlgorithm(RSAAlgorithm.SHA256)),
    "RS384": Algorithm("RSA", "", 0, RSAAlgorithm(RSAAlgorithm.SHA384)),
    "RS512": Algorithm("RSA", "", 0, RSAAlgorithm(RSAAlgorithm.SHA512)),
    "PS256": Algorithm("RSA", "", 0, RSAPSSAlgorithm(RSAPSSAlgorithm.SHA256)),
    "PS384": Algorithm("RSA", "", 0, RSAPSSAlgorithm(RSAPSSAlgorithm.SHA384)),
    "PS512": Algorithm("RSA", "", 0, RSAPSSAlgorithm(RSAPSSAlgorithm.SHA512)),
    "ES256": Algorithm("EC", "P-256", 32, ECAlgorithm(ECAlgorithm.SHA256, ec.SECP256R1)),
    "ES384": Algorithm("EC", "P-384", 48, ECAlgorithm(ECAlgorithm.SHA384, ec.SECP384R1)),
    "ES512": Algorithm("EC", "P-521", 66, ECAlgorithm(ECAlgorithm.SHA512, ec.SECP521R1)),
    "Ed25519": Algorithm("OKP", "Ed25519", 32, OKPAlgorithm()),
    "EdDSA": Algorithm("OKP", "Ed25519", 32, OKPAlgorithm()),
}

CURVES: Mapping[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}


class Compact(NamedTuple):
    """A token taken apart, its signature not yet looked at."""

    header: Mapping[str, Any]
    payload: bytes
    signing_input: bytes
    signature: bytes

    def __repr__(self) -> str:
        return "Compact(…)"  # the token may be alive: keep it out of logs and tracebacks


_compact = partial(tuple.__new__, Compact)
"""Each token comes through here: what `Compact(…)` does, without a function in between."""


_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_PADDED = (b'"', b'==="', b'=="', b'="')
_from_base64 = SchemaValidator(
    core_schema.bytes_schema(), core_schema.CoreConfig(val_json_bytes="base64")
).validate_json
_USUAL_HEADER = 512
"""Bytes of a header that is remembered: all tokens of a key have the same."""


def encode_base64url(raw: bytes) -> str:
    """Base64url without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def json_segment(members: Mapping[str, Any]) -> str:
    """A JSON object as a segment of a token that we make."""
    return encode_base64url(json.dumps(members, separators=(",", ":"), ensure_ascii=False).encode("utf-8"))


def decode_base64url(text: bytes) -> bytes:
    """The bytes of which this is the one spelling. Raises ValueError: padding, a foreign character, spare bits:
    anything that `encode_base64url` does not write."""
    if text.translate(None, _ALPHABET):
        raise ValueError("not base64url")
    return _decode(text)


def _decode(text: bytes) -> bytes:
    """The same for a text of the alphabet alone. This decoder refuses spare bits, and takes a third of the time of that
    in the standard library, which ignores them."""
    try:
        raw: bytes = _from_base64(b'"' + text + _PADDED[len(text) % 4])
    except ValueError:
        raise ValueError("not canonical base64url") from None
    return raw


def parse(token: bytes, *, max_size: int = MAX_SIZE, brings_key: bool = False) -> Compact:
    """Take a compact JWS apart; form and header are right afterwards, the signature is not looked at.

    Args:
        max_size: bytes; a longer token is refused unread.
        brings_key: whether its header may hold a key (`jwk`), as that of a DPoP proof does and of nothing else.

    Raises:
        InvalidToken: not three canonical base64url segments, or a header that breaks a rule.
    """
    if not isinstance(token, bytes) or len(token) > max_size or token.translate(None, _ALPHABET) != b"..":
        raise InvalidToken
    signing_input, _, signature = token.rpartition(b".")
    head, _, payload = signing_input.partition(b".")
    read = _known_header if len(head) <= _USUAL_HEADER else _read_header
    header = read(head, _REFUSED_IN_PROOFS if brings_key else REFUSED)
    try:
        return _compact((header, _decode(payload), signing_input, _decode(signature)))
    except ValueError:
        raise InvalidToken from None


def _read_header(segment: bytes, refused: frozenset[str]) -> Mapping[str, Any]:
    """RFC 7515 §4.1, without all that would bring in another key, another encoding or another meaning."""
    try:
        header = strict_json(_decode(segment))
    except ValueError:
        raise InvalidToken from None
    if (
        not isinstance(header, dict)
        or not isinstance(header.get("alg"), str)
        or not isinstance(header.get("typ", ""), str)
        or ("kid" in header and not is_kid(header["kid"]))
        or not refused.isdisjoint(header)
    ):
        raise InvalidToken
    read: Mapping[str, Any] = frozen(header)
    return read


_known_header = lru_cache(maxsize=256)(_read_header)


def is_kid(kid: object) -> bool:
    """Whether a key may have this name: 1 to 128 bytes, no control characters."""
    return isinstance(kid, str) and not CONTROL.search(kid) and 0 < len(kid.encode("utf-8")) <= _MAX_KID


@dataclass(frozen=True, slots=True, eq=False)
class VerifyingKey:
    """A key that was found good, prepared once.

    Attributes:
        kid: empty if the key has no name.
        algorithm: the one that it is for.
        public: the public JWK; None for a secret.
    """

    kid: str
    algorithm: str
    public: Mapping[str, str] | None
    _names: tuple[str, ...]
    _check: Callable[[bytes, bytes], bool] = field(repr=False)

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, Any], *, own: bool = False) -> VerifyingKey:
        """Check a JWK (RFC 7517, RFC 7518 §6, RFC 8037) and prepare it. Members that are not known are ignored.

        Its algorithm is its `alg`, or the only one that its curve has (Ed25519 answers to EdDSA, its older name, too).

        Args:
            own: the key is ours, so that it may be a private one, of which the public half is used.

        Raises:
            InvalidKey: malformed, weak, made for something else, or of no single algorithm.
        """
        _check_purpose(jwk, own=own)
        names = _algorithm_names(jwk)
        algorithm = ALGORITHMS[names[0]]
        try:
            key = _READERS[algorithm.kty](jwk, algorithm)
        except InvalidKey:
            raise
        except (ValueError, UnsupportedAlgorithm):
            # What cryptography says of a bad key may hold members of it.
            raise InvalidKey(f"this {algorithm.kty} key is not well-formed") from None
        public = None
        if algorithm.kty != "oct":
            public = {"kty": algorithm.kty, **{name: jwk[name] for name in PUBLIC[algorithm.kty]}}
            public |= {"alg": names[0], "use": "sig"} | ({"kid": jwk["kid"]} if "kid" in jwk else {})
        return cls(jwk.get("kid", ""), names[0], public, names, _checker(key, algorithm))

    def verify(self, compact: Compact) -> None:
        """Check a token's signature. Raises InvalidToken: another algorithm, or the signature is wrong."""
        try:
            right = compact.header["alg"] in self._names and self._check(compact.signing_input, compact.signature)
        except InvalidSignature:
            right = False
        if not right:
            raise InvalidToken


def verify_jws(token: bytes, jwk: Mapping[str, Any]) -> bytes:
    """Verify a compact JWS with one key of your own choice and return its payload (RFC 7515 §5.2).

    Form, header, key and signature are held to the same rules as access tokens; `typ` and claims are not looked at.

    Args:
        token: at most 8,192 bytes.
        jwk: the key as a JWK: `alg` decides what it may verify; RSA keys and secrets must have one.

    Raises:
        InvalidToken: the token or the key is refused; which of the two is not said.
    """
    compact = parse(token)
    try:
        key = VerifyingKey.from_jwk(jwk, own=True)
    except InvalidKey:
        raise InvalidToken from None
    key.verify(compact)
    return compact.payload


def _check_purpose(jwk: object, *, own: bool) -> None:
    if not isinstance(jwk, Mapping) or not all(isinstance(name, str) for name in jwk):
        raise InvalidKey("a JWK is a JSON object")
    if "kid" in jwk and not is_kid(jwk["kid"]):
        raise InvalidKey("a kid is a text of 1 to 128 bytes without control characters")
    if jwk.get("use", "sig") != "sig":
        raise InvalidKey('this key is not for signatures: its "use" is not "sig"')
    ops = jwk.get("key_ops", ["verify"])
    if not isinstance(ops, list) or not ("verify" in ops or "sign" in ops):
        raise InvalidKey('this key is not for signatures: its "key_ops" have neither "sign" nor "verify"')
    if not own and not _PRIVATE.isdisjoint(jwk):
        raise InvalidKey("a private key is published: whoever can read it can sign with it")


def _algorithm_names(jwk: Mapping[str, Any]) -> tuple[str, ...]:
    kty, crv, alg = jwk.get("kty"), jwk.get("crv"), jwk.get("alg")
    if "alg" not in jwk and kty not in ("EC", "OKP"):
        raise InvalidKey('an RSA key or a secret names its algorithm: give the JWK an "alg"')
    names = tuple(
        name
        for name, known in ALGORITHMS.items()
        if known.kty == kty and known.crv in ("", crv) and ("alg" not in jwk or name == alg)
    )
    if not names:
        raise InvalidKey(f'key type, curve and "alg" do not fit; algorithms are {", ".join(ALGORITHMS)}')
    return names


def octets(jwk: Mapping[str, Any], name: str, most: int = 65536) -> bytes:
    """The bytes of a member of a JWK, at most so many; fails with a ValueError."""
    text = jwk.get(name)
    if not isinstance(text, str) or len(text) > most * 4 // 3 + 2:
        raise ValueError
    return decode_base64url(text.encode("ascii"))


def _read_rsa(jwk: Mapping[str, Any], algorithm: Algorithm) -> rsa.RSAPublicKey:
    n, e = octets(jwk, "n", 1024), octets(jwk, "e", 8)
    if not 2048 <= int.from_bytes(n, "big").bit_length() <= 4096:
        raise InvalidKey("RSA keys have 2048 to 4096 bits (RFC 7518 §3.3)")
    if n[0] == 0 or n[-1] % 2 == 0 or e != b"\x01\x00\x01":
        raise InvalidKey("this RSA key is not well-formed: an odd modulus and the exponent 65537 are expected")
    return rsa.RSAPublicNumbers(65537, int.from_bytes(n, "big")).public_key()


def _read_ec(jwk: Mapping[str, Any], algorithm: Algorithm) -> ec.EllipticCurvePublicKey:
    x, y = octets(jwk, "x", algorithm.size), octets(jwk, "y", algorithm.size)
    if not len(x) == len(y) == algorithm.size:
        raise ValueError
    numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), CURVES[algorithm.crv])
    return numbers.public_key()  # fails for a point that is not on the curve


def _read_okp(jwk: Mapping[str, Any], algorithm: Algorithm) -> ed25519.Ed25519PublicKey:
    x = octets(jwk, "x", algorithm.size)
    y = int.from_bytes(x, "little") % 2**255
    if len(x) != algorithm.size or y >= _P25519 or y in _LOW_ORDER:
        raise ValueError
    return ed25519.Ed25519PublicKey.from_public_bytes(x)


def _read_oct(jwk: Mapping[str, Any], algorithm: Algorithm) -> bytes:
    secret = octets(jwk, "k")
    if len(secret) < algorithm.size:
        raise InvalidKey(f"a secret is at least as long as the hash, {algorithm.size} bytes here (RFC 7518 §3.2)")
    if is_key_material(secret):
        raise InvalidKey("this secret is a spelling of an asymmetric key or certificate, which others may know")
    return secret


_READERS: Mapping[str, Callable[[Mapping[str, Any], Algorithm], Any]] = {
    "RSA": _read_rsa,
    "EC": _read_ec,
    "OKP": _read_okp,
    "oct": _read_oct,
}


_DER_BYTES = [bytes([number]) for number in range(256)]
_DER_INTEGERS = [b"\x02" + length for length in _DER_BYTES[:128]]


def _der_integer(number: bytes) -> bytes:
    """A number of less than 127 bytes as an INTEGER of X.690 §8.3: as short as it gets, and not negative."""
    digits = number.lstrip(b"\0") or b"\0"
    if digits[0] > 127:
        digits = b"\0" + digits
    return _DER_INTEGERS[len(digits)] + digits


def _checker(key: Any, algorithm: Algorithm) -> Callable[[bytes, bytes], bool]:
    """What says whether a message has this signature, by False or InvalidSignature; whatever it needs is made once."""
    scheme, size = algorithm.scheme, algorithm.size
    if isinstance(scheme, ECAlgorithm):
        ecdsa = ec.ECDSA(scheme.hash_alg())

        def check_ecdsa(message: bytes, signature: bytes) -> bool:
            if len(signature) != 2 * size:
                return False
            pair = _der_integer(signature[:size]) + _der_integer(signature[size:])
            tag = b"0" if len(pair) < 128 else b"0\x81"
            key.verify(tag + _DER_BYTES[len(pair)] + pair, message, ecdsa)
            return True

        return check_ecdsa
    if isinstance(scheme, RSAAlgorithm):
        hash_alg = scheme.hash_alg()
        pss = padding.PSS(mgf=padding.MGF1(hash_alg), salt_length=hash_alg.digest_size)
        scheme_padding = pss if isinstance(scheme, RSAPSSAlgorithm) else padding.PKCS1v15()

        def check_rsa(message: bytes, signature: bytes) -> bool:
            key.verify(signature, message, scheme_padding, hash_alg)
            return True

        return check_rsa
    return lambda message, signature: scheme.verify(message, key, signature)
