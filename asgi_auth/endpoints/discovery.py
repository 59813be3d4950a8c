"""The `.well-known` documents: our public keys (RFC 7517) and what we offer where (RFC 8414). For anybody."""

from __future__ import annotations

from urllib.parse import urlsplit

from asgi_auth.endpoints.call import Call
from asgi_auth.errors import NotFound
from asgi_auth.http.answers import Answer, json_answer
from asgi_auth.http.forwarded import is_loopback
from asgi_auth.settings import Settings
from asgi_auth.tokens.dpop import ALGORITHMS
from asgi_auth.tokens.keys import jwks as key_set

METADATA_CACHED = b"public, max-age=3600"


async def jwks(call: Call) -> Answer:
    """The public keys that access tokens may be signed by."""
    ring = call.parts.keys
    keys = await ring.published() if "jwt" in call.settings.backends else []
    cached = b"public, max-age=%d" % ring.max_age
    return json_answer(200, key_set(keys), content_type=b"application/jwk-set+json", public=cached)


async def metadata(call: Call) -> Answer:
    """What this authorization server offers. Each entry is true; what would be an empty list is left out, but for
    `response_types_supported`, which RFC 8414 §2 requires.

    Raises:
        NotFound: there is no public address that a client could trust.
    """
    settings = call.settings
    origin = _origin(settings)
    if origin is None or "jwt" not in settings.backends or not call.parts.keys.signs:
        raise NotFound(
            "There is no metadata: set ASGI_AUTH_URL, or ASGI_AUTH_JWT_ISSUER to an https address, "
            "keep the backend jwt on, and have a key to sign with"
        )
    base = origin + settings.prefix
    rules = settings.protect.entries if settings.protect is not None else ()
    scopes = {"introspect"}.union(*(entry.rule.scopes for entry in rules))
    document: dict[str, object] = {
        "issuer": settings.issuer,
        "token_endpoint": f"{base}/token",
        "jwks_uri": f"{origin}/.well-known/jwks.json",
        "revocation_endpoint": f"{base}/revoke",
        "introspection_endpoint": f"{base}/introspect",
        "grant_types_supported": [*(["password"] if settings.password_grant else []), "refresh_token"],
        "response_types_supported": [],
        "scopes_supported": sorted(scopes),
        "token_endpoint_auth_methods_supported": ["none"],
        "revocation_endpoint_auth_methods_supported": ["none"],
        "introspection_endpoint_auth_methods_supported": [
            *([] if settings.dpop == "required" else ["Bearer"]),
            *(["DPoP"] if settings.takes_proofs else []),
        ],
    }
    if settings.takes_proofs:
        document["dpop_signing_alg_values_supported"] = list(ALGORITHMS)
    return json_answer(200, document, public=METADATA_CACHED)


def _origin(settings: Settings) -> str | None:
    """Where the endpoints stand: `URL`, else the issuer's origin, if that is https (or http on a loopback host)."""
    parts = urlsplit(settings.issuer)
    issuer_fits = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.netloc.encode()))
    if not issuer_fits or parts.query or parts.fragment:
        return None
    return settings.url or f"{parts.scheme}://{parts.netloc}"
