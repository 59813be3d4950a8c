"""Tokens: keys, the key ring, access tokens (RFC 9068) and refresh tokens. Knows no cookie and no session data."""

from asgi_auth.tokens.jose import verify_jws

__all__ = ["verify_jws"]
