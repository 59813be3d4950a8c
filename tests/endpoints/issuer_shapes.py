"""Tokens as the providers document them, to the claim; what is no access token for an API of ours is there, too.

Keycloak: Server Administration Guide, "Audience support" and "Using lightweight access token". Auth0: "Access Token
Profiles". Entra ID: "Access token claims reference". Okta: "Build a custom authorization server". Cognito:
"Understanding the access token". Google: "Authenticate with a backend server".
"""

from __future__ import annotations

from typing import Any, NamedTuple

TENANT = "9122040d-6c67-4c5b-b112-36a304b66dad"
API = "6e74172b-be56-4843-9ff4-e66a39bb12e3"


class Shape(NamedTuple):
    """A provider's token.

    Attributes:
        record: what an operator writes besides name and issuer.
        path: of its issuer.
        head, claims: of a token; None takes one of the usual away.
        user, scopes: who that is.
        others: claims that make it another token of the same provider, which opens nothing.
    """

    record: dict[str, Any]
    path: str
    head: dict[str, Any]
    claims: dict[str, Any]
    user: str
    scopes: str
    others: list[dict[str, Any]]
    display_name: str = ""


KEYCLOAK = Shape(
    {"provider": "keycloak", "audience": "orders", "scopes": "read admin clerk"},
    "/realms/shop",
    {"typ": "JWT"},
    {
        "jti": "onrtac:0b3b7e4a-ed5c-4c0e-a7a5-2d1c1d6ae2f8",
        "aud": ["orders", "account"],
        "sub": "1b2a3c4d-0000-4000-8000-000000000042",
        "typ": "Bearer",
        "azp": "shop-web",
        "sid": "0ab1",
        "acr": "1",
        "client_id": None,
        "allowed-origins": ["https://shop.example"],
        "realm_access": {"roles": ["default-roles-shop", "offline_access", "uma_authorization", "admin"]},
        "resource_access": {
            "orders": {"roles": ["clerk"]},
            "account": {"roles": ["manage-account", "view-profile"]},
        },
        "scope": "openid profile email read",
        "email_verified": True,
        "name": "Ann Example",
        "preferred_username": "ann",
    },
    "idp:1b2a3c4d-0000-4000-8000-000000000042",
    "admin clerk read",
    [{"typ": "ID"}, {"typ": "Refresh"}, {"typ": None}, {"aud": "account"}, {"realm_access": {"roles": "admin"}}],
    display_name="ann",
)

AUTH0 = Shape(
    {"provider": "auth0", "audience": "https://orders.example", "scopes": "read:orders admin"},
    "/",
    {"typ": "JWT"},
    {
        "sub": "auth0|5f7c8ec7c33c6c004bbafe82",
        "aud": ["https://orders.example", "https://shop.eu.auth0.com/userinfo"],
        "client_id": None,
        "azp": "my_client_id",
        "scope": "openid profile read:orders",
        "permissions": ["read:orders", "admin"],
        "jti": None,
    },
    "idp:auth0|5f7c8ec7c33c6c004bbafe82",
    "admin read:orders",
    [{"aud": "my_client_id"}, {"permissions": "admin"}],
)

AUTH0_RFC9068 = AUTH0._replace(
    head={"typ": "at+jwt"},
    claims={**AUTH0.claims, "azp": None, "client_id": "my_client_id", "jti": "URdI1rBkE2xqX0Ob8fBYxV"},
)

ENTRA = Shape(
    {"provider": "entra", "audience": API, "scopes": "access_as_user Orders.Read"},
    f"/{TENANT}/v2.0",
    {"typ": "JWT"},
    {
        "aud": API,
        "azp": "6e74172b-0000-0000-9ff4-e66a39bb12e3",
        "azpacr": "0",
        "client_id": None,
        "jti": None,
        "name": "Ann Example",
        "oid": "690222be-ff1a-4d56-abd1-7e4f7d38e474",
        "preferred_username": "ann@shop.example",
        "rh": "I",
        "roles": ["Orders.Read"],
        "scp": "access_as_user User.Read",
        "sub": "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ",
        "tid": TENANT,
        "uti": "fqiBqXLPj0eQa82S-IYFAA",
        "ver": "2.0",
    },
    "idp:HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ",
    "Orders.Read access_as_user",
    [{"azp": None, "azpacr": None, "scp": None, "nonce": "12345"}, {"ver": "1.0"}, {"aud": f"api://{API}"}],
    display_name="ann@shop.example",
)

ENTRA_V1 = Shape(
    {"provider": "entra-v1", "audience": f"api://{API}", "scopes": "user_impersonation"},
    f"/{TENANT}/",
    {"typ": "JWT", "x5t": "i6lGk3FZzxRcUb2C3nEQ7syHJlY"},
    {
        "aud": f"api://{API}",
        "acr": "1",
        "aio": "AXQAi",
        "amr": ["pwd", "mfa"],
        "appid": "75dbe77f-10a3-4e59-85fd-8c127544f17c",
        "appidacr": "0",
        "client_id": None,
        "ipaddr": "192.0.2.1",
        "jti": None,
        "name": "Ann Example",
        "oid": "690222be-ff1a-4d56-abd1-7e4f7d38e474",
        "scp": "user_impersonation",
        "sub": "1G0WzbY1vVo6kQ3l",
        "tid": TENANT,
        "unique_name": "ann@shop.example",
        "uti": "fqiBqXLPj0eQa82S-IYFAA",
        "ver": "1.0",
    },
    "idp:1G0WzbY1vVo6kQ3l",
    "user_impersonation",
    [{"appid": None, "nonce": "12345"}, {"ver": "2.0"}],
    display_name="ann@shop.example",
)

OKTA = Shape(
    {"provider": "okta", "audience": "api://default", "scopes": "orders:read admins"},
    "/oauth2/default",
    {"typ": None},
    {
        "ver": 1,
        "jti": "AT.0mP4JKAZX1iACIT4vbEDF7LpvDVjxypPMf0D7uX39RE",
        "aud": "api://default",
        "sub": "ann@shop.example",
        "cid": "nmdP1fcyvdVO11AL7ECm",
        "client_id": None,
        "uid": "00uid4BxXw6I6TV4m0g3",
        "scp": ["openid", "orders:read"],
        "groups": ["Everyone", "admins"],
        "auth_time": 1_799_999_990,
    },
    "idp:ann@shop.example",
    "admins orders:read",
    [{"cid": None, "aud": "nmdP1fcyvdVO11AL7ECm"}, {"cid": None}, {"groups": "admins"}],
)

COGNITO = Shape(
    {"provider": "cognito", "client_id": "7zmexampleclient", "scopes": "orders/read admins"},
    "/us-east-1_example",
    {"typ": None},
    {
        "aud": None,
        "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
        "cognito:groups": ["admins"],
        "version": 2,
        "client_id": "7zmexampleclient",
        "origin_jti": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
        "event_id": "bbbbbbbb-bbbb-cccc-dddd-eeeeeeeeeeee",
        "token_use": "access",
        "scope": "openid orders/read",
        "auth_time": 1_799_999_990,
        "username": "ann",
    },
    "idp:aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
    "admins orders/read",
    [{"token_use": "id", "aud": "7zmexampleclient"}, {"client_id": "another"}, {"client_id": None}],
    display_name="ann",
)

GOOGLE = Shape(
    {"provider": "google", "audience": "1234987819200.apps.googleusercontent.com", "require": {"hd": "shop.example"}},
    "",
    {"typ": "JWT"},
    {
        "azp": "1234987819200.apps.googleusercontent.com",
        "aud": "1234987819200.apps.googleusercontent.com",
        "client_id": None,
        "sub": "10769150350006150715113082367",
        "at_hash": "HK6E_P6Dh8Y93mRNtsDB1Q",
        "hd": "shop.example",
        "email": "ann@shop.example",
        "email_verified": True,
        "name": "Ann Example",
        "jti": None,
    },
    "idp:10769150350006150715113082367",
    "",
    [{"aud": "another.apps.googleusercontent.com"}, {"hd": None}, {"hd": "evil.example"}],
    display_name="Ann Example",
)

SHAPES = {
    "keycloak": KEYCLOAK,
    "auth0": AUTH0,
    "auth0, RFC 9068": AUTH0_RFC9068,
    "entra": ENTRA,
    "entra-v1": ENTRA_V1,
    "okta": OKTA,
    "cognito": COGNITO,
    "google": GOOGLE,
}
