"""Opaque secrets: how they are made, and what a store keeps of them."""

from __future__ import annotations

import hashlib
import secrets


def new_secret() -> str:
    """256 random bits, base64url."""
    return secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """What is stored of a secret: SHA-256, in hex. (It has 256 random bits, so there is nothing to guess.)"""
    return hashlib.sha256(secret.encode("ascii")).hexdigest()
