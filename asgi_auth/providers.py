"""The shapes of well-known providers' tokens: what of an `Issuer`'s record is the same for all their customers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PROVIDERS: Mapping[str, Mapping[str, Any]] = {
    # Its ID tokens carry the same `typ` in the header, so the claim of that name tells them apart.
    "keycloak": {
        "typ": ("JWT", "at+jwt"),
        "algorithms": ("RS256", "PS256", "ES256"),
        "require": {"typ": ("Bearer", "DPoP")},
        "client_claims": ("azp",),
        "scope_claims": ("scope", ("realm_access", "roles"), ("resource_access", "{audience}", "roles")),
        "display_name": "preferred_username",
    },
    # `azp` in its own dialect, `client_id` in the profile of RFC 9068; an ID token is for the client, not for an API.
    "auth0": {
        "typ": ("JWT", "at+jwt"),
        "algorithms": ("RS256", "PS256"),
        "client_claims": ("azp", "client_id"),
        "scope_claims": ("scope", "permissions"),
    },
    # Of its tokens only those for an API name the client in `azp` (version 1: `appid`): an ID token may have the same
    # audience.
    "entra": {
        "typ": ("JWT",),
        "algorithms": ("RS256",),
        "require": {"ver": "2.0", "azp": None},
        "client_claims": ("azp",),
        "scope_claims": ("scp", "roles"),
        "display_name": "preferred_username",
    },
    "entra-v1": {
        "typ": ("JWT",),
        "algorithms": ("RS256",),
        "require": {"ver": "1.0", "appid": None},
        "client_claims": ("appid",),
        "scope_claims": ("scp", "roles"),
        "display_name": "unique_name",
    },
    # Its access tokens have no `typ`; `cid` tells them from ID tokens.
    "okta": {
        "typ": ("", "JWT", "at+jwt"),
        "algorithms": ("RS256",),
        "require": {"cid": None},
        "client_claims": ("cid",),
        "scope_claims": ("scp", "groups"),
    },
    # Its access tokens have neither `typ` nor, mostly, `aud`.
    "cognito": {
        "typ": ("", "JWT"),
        "algorithms": ("RS256",),
        "require": {"token_use": "access"},
        "client_claims": ("client_id",),
        "scope_claims": ("scope", "cognito:groups"),
        "display_name": "username",
    },
    # ID tokens: its access tokens are no JWTs.
    "google": {
        "issuer": "https://accounts.google.com",
        "aliases": ("accounts.google.com",),
        "typ": ("JWT",),
        "algorithms": ("RS256",),
        "client_claims": ("azp",),
        "scope_claims": (),
        "display_name": "name",
    },
}
