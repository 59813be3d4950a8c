"""DPoP from the client's side (RFC 9449 §4): a private JWK as text, and a proof for each request."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from asgi_auth.tokens.dpop import make_proof
from asgi_auth.tokens.keys import SigningKey, generate


def new_key() -> str:
    """A key for ES256."""
    return json.dumps(generate("ES256"))


def proof(key: str, request: Any, *, now: float, nonce: str | None, access_token: str | None = None) -> str:
    """The proof for a request of either library. Raises ValueError: this is no key for proofs."""
    url = str(request.url.copy_with(userinfo=b""))
    return make_proof(_signing(key), request.method, url, now=now, nonce=nonce, access_token=access_token)


@lru_cache(maxsize=16)
def _signing(key: str) -> SigningKey:
    return SigningKey.from_jwk(json.loads(key))
