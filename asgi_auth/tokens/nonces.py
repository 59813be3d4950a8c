"""Nonces for DPoP proofs (RFC 9449 §8): made and known again by any process that has the secrets; nothing is kept."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence

from itsdangerous import BadSignature

from asgi_auth.secret import signer
from asgi_auth.tokens.jose import encode_base64url

_TIME = 5  # bytes, which last for 34,000 years
_RANDOM = 16


class Nonces:
    """A nonce is the time at which it was made and 128 random bits, signed: what nobody can guess, nobody can make.

    Args:
        keys: the secrets that all processes have, newest first: the first one signs, any one verifies.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._signer = signer(keys, salt="asgi-auth DPoP nonce")

    def make(self, now: float) -> str:
        """A nonce of this moment."""
        raw = int(now).to_bytes(_TIME, "big") + secrets.token_bytes(_RANDOM)
        return self._signer.sign(encode_base64url(raw)).decode("ascii")

    def made_at(self, nonce: str) -> float | None:
        """When it was made; None: not by us."""
        try:
            text = self._signer.unsign(nonce)
        except (BadSignature, UnicodeEncodeError):
            return None
        return float(int.from_bytes(base64.urlsafe_b64decode(text)[:_TIME], "big"))
