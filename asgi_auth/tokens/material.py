"""What must never serve as an HMAC secret: a text or bytes that are an asymmetric key, which others may well know."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric import ec

# Asymmetric keys and certificates: PEM, SSH, JWK; and DER, by the OIDs of RSA, RSA-PSS, EC and Ed25519, or as PKCS #1.
_KEY_TEXT = re.compile(rb"-----\s*(?:begin|end)\b|ssh-(?:rsa|ed25519)|ecdsa-sha2-|\"kty\b", re.IGNORECASE)
_KEY_DER = re.compile(
    rb"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01[\x01\x0a]|\x06\x07\x2a\x86\x48\xce\x3d\x02\x01|\x30\x05\x06\x03\x2b\x65\x70"
    rb"|\A\x30\x82..\x02\x82..\x00",
    re.DOTALL,
)
_POINT_SIZES: Mapping[int, ec.EllipticCurve] = {65: ec.SECP256R1(), 97: ec.SECP384R1(), 133: ec.SECP521R1()}
_WRAPPING = re.compile(rb"[\s\"']+|\\n|\xef\xbb\xbf")


def is_key_material(secret: bytes) -> bool:
    """Whether a would-be HMAC secret is an asymmetric key or a certificate: PEM, DER, JWK, SSH or an EC point, whole or
    cut, also in base64 or hex. (A lone coordinate or modulus looks like any random text.)"""
    spellings = [secret]
    packed = _WRAPPING.sub(b"", secret).translate(bytes.maketrans(b"-_", b"+/"))
    if re.fullmatch(rb"[A-Za-z0-9+/]+=*", packed):
        body = packed.rstrip(b"=")
        body = body[:-1] if len(body) % 4 == 1 else body
        spellings.append(base64.b64decode(body + b"==="[: -len(body) % 4]))
    if re.fullmatch(rb"(?:[0-9A-Fa-f]{2})+", packed):
        spellings.append(bytes.fromhex(packed.decode("ascii")))
    return any(_KEY_TEXT.search(raw) or _KEY_DER.search(raw) or _is_point(raw) for raw in spellings)


def _is_point(raw: bytes) -> bool:
    if len(raw) not in _POINT_SIZES or raw[0] != 4:
        return False
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(_POINT_SIZES[len(raw)], raw)
    except ValueError:
        return False
    return True
