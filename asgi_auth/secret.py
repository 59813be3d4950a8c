"""Opaque secrets: how they are made, what a store keeps of them, and how what travels with one is signed."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence

from itsdangerous import Signer


def new_secret() -> str:
    """256 random bits, base64url."""
    return secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """What is stored of a secret: SHA-256, in hex. (It has 256 random bits, so there is nothing to guess.)"""
    return hashlib.sha256(secret.encode("ascii")).hexdigest()


def signer(keys: Sequence[bytes], *, salt: str) -> Signer:
    """What signs a text and knows it again.

    Args:
        keys: newest first: the first one signs, any one verifies.
        salt: keeps kinds of texts apart, so that none can be presented as another.
    """
    # itsdangerous signs with the last one.
    return Signer(keys[::-1], salt=salt, key_derivation="hmac", digest_method=hashlib.sha256)
