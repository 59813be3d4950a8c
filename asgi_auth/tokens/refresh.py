"""Refresh tokens: `<sid>.<generation>.<secret>` with a signature, so that garbage never reaches the store.

The store keeps a digest of the secret; a successor is derived, so that it can be given again and never be stored.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from typing import NamedTuple

from itsdangerous import BadSignature

from asgi_auth.secret import signer
from asgi_auth.tokens.jose import decode_base64url, encode_base64url

_FORM = re.compile(r"([A-Za-z0-9_-]{1,64})\.([1-9][0-9]{0,15})\.([A-Za-z0-9_-]{43})\.([A-Za-z0-9_-]{43})")


class RefreshToken(NamedTuple):
    """What a refresh token says: the session, which of its refresh tokens this is (from 1), and its 256 random bits."""

    sid: str
    generation: int
    secret: str

    def __repr__(self) -> str:
        return f"<RefreshToken {self.generation} of session {self.sid}>"


class RefreshCodec:
    """Signs and reads refresh tokens.

    Args:
        secrets: newest first: the first one signs, any one verifies.
    """

    def __init__(self, secrets: Sequence[str | bytes]) -> None:
        if not secrets:
            raise ValueError("refresh tokens are signed: give at least one secret")
        keys = [secret.encode("utf-8", "surrogateescape") if isinstance(secret, str) else secret for secret in secrets]
        self._signer = signer(keys, salt="asgi-auth refresh token")

    def encode(self, sid: str, generation: int, secret: str) -> str:
        """The token as it is sent."""
        return self._signer.sign(f"{sid}.{generation}.{secret}").decode("ascii")

    def decode(self, token: str) -> RefreshToken | None:
        """What `encode` wrote, to the byte; None for anything else."""
        named = looks_like_refresh(token)
        if named is None:
            return None
        try:
            decode_base64url(token.rpartition(".")[2].encode("ascii"))  # one token has one spelling
            self._signer.unsign(token)
        except (ValueError, BadSignature):
            return None
        return named


def looks_like_refresh(token: str) -> RefreshToken | None:
    """What a text says that has the form of a refresh token of ours; whether it is one, its signature must tell."""
    form = _FORM.fullmatch(token)
    return None if form is None else RefreshToken(form[1], int(form[2]), form[3])


def successor(presented: str, nonce: str) -> str:
    """The secret of the refresh token that follows the presented one: HMAC-SHA-256 under the row's nonce.

    The signature is left out of it, so that a change of `SECRET` in between changes nothing. Who reads the store has no
    token, who steals the token has no nonce: neither can make it.
    """
    body = presented.rpartition(".")[0]
    return encode_base64url(hmac.digest(nonce.encode("ascii"), body.encode("ascii"), "sha256"))
