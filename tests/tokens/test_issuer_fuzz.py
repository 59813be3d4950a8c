"""Whatever an issuer, or somebody in its place, sends: it is read, or it is refused in one way."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from token_forge import public_jwk

from asgi_auth import Issuer
from asgi_auth.errors import InvalidToken
from asgi_auth.issuer import is_safe_url
from asgi_auth.tokens.issuers.claims import Times, payload_of, read
from asgi_auth.tokens.issuers.fetching import FRESH, freshness
from asgi_auth.tokens.issuers.keyset import InvalidDocument, KeySet, jwks_url_of
from asgi_auth.tokens.jose import Compact

NOW = 1_800_000_000
TIMES = Times(NOW, leeway=30, longest=86_400)
RECORD = Issuer.of(
    "keycloak", name="idp", issuer="https://idp.example", audience="api", client_id="cli", scopes="read admin"
)
GOOD = {
    "iss": "https://idp.example",
    "sub": "42",
    "aud": "api",
    "azp": "cli",
    "typ": "Bearer",
    "exp": NOW + 600,
    "iat": NOW,
    "scope": "read",
    "realm_access": {"roles": ["admin"]},
}
MEMBERS = [*GOOD, "nbf", "auth_time", "amr", "acr", "cnf", "jti", "resource_access", "preferred_username"]

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)


@given(changes=st.dictionaries(st.sampled_from(MEMBERS), values, max_size=4))
@example(changes={"exp": 1e308})
@example(changes={"realm_access": {"roles": {"admin": True}}})
def test_claims_of_any_shape_are_read_or_refused(changes: dict[str, Any]) -> None:
    try:
        found = read({**GOOD, **changes}, RECORD, "", TIMES)
    except InvalidToken:
        return
    assert found.user_id.startswith("idp:")
    assert len(found.user_id) <= 255
    assert found.scopes <= {"read", "admin"}
    assert NOW - 30 < found.exp <= NOW + 86_430
    assert found.auth_time is None or found.auth_time <= NOW + 30


@given(raw=st.binary(max_size=60) | values.map(lambda value: json.dumps(value).encode()))
def test_payloads_of_any_bytes_are_an_object_or_refused(raw: bytes) -> None:
    try:
        assert isinstance(payload_of(raw), dict)
    except InvalidToken:
        return


JWK = public_jwk("RS256")
jwk_members = st.sampled_from(["kty", "crv", "x", "y", "n", "e", "k", "d", "kid", "alg", "use", "key_ops", "issuer"])


@given(
    keys=st.lists(values | st.dictionaries(jwk_members, values | st.sampled_from([*JWK.values(), "EC", "OKP"])))
    | values,
    kid=st.none() | st.text(max_size=4),
)
def test_keys_of_any_shape_spoil_themselves_alone(keys: Any, kid: str | None) -> None:
    with suppress(InvalidDocument):
        KeySet.parse(json.dumps({"keys": keys}).encode(), RECORD)
    beside = [*keys, JWK] if isinstance(keys, list) else [keys, JWK]
    found = KeySet.parse(json.dumps({"keys": beside}).encode(), RECORD)
    right = found.candidates(Compact({"alg": "RS256", "kid": JWK["kid"]}, b"", b"", b""), RECORD.issuer)
    assert JWK["n"] in {key.public["n"] for key in right if key.public}
    assert len(found.candidates(Compact({"alg": "RS256", "kid": kid}, b"", b"", b""), RECORD.issuer)) <= 4


@given(
    raw=st.binary(max_size=80)
    | values.map(lambda value: json.dumps({"issuer": RECORD.issuer, "jwks_uri": value}).encode())
)
def test_metadata_of_any_shape_names_a_safe_place_or_is_refused(raw: bytes) -> None:
    for read_it in (lambda: jwks_url_of(raw, RECORD), lambda: KeySet.parse(raw, RECORD)):
        try:
            found = read_it()
        except InvalidDocument:
            continue
        assert isinstance(found, KeySet) or (is_safe_url(found) and str(found).startswith("https://"))


@given(
    headers=st.dictionaries(
        st.sampled_from(["cache-control", "age", "expires", "date"]),
        st.text(max_size=20) | st.integers(min_value=-5, max_value=10**30).map(lambda age: f"max-age={age}"),
    )
)
def test_headers_of_any_text_give_a_time_within_bounds(headers: dict[str, str]) -> None:
    assert FRESH[0] <= freshness(headers) <= FRESH[2]


@pytest.mark.parametrize("name", ["issuer", "audience", "scopes", "require", "scope_claims", "typ", "max_size"])
@given(value=values)
def test_records_of_any_shape_are_read_or_refused(name: str, value: Any) -> None:
    try:
        record = Issuer.parse({"name": "idp", "issuer": "https://idp.example", "audience": "api", name: value})
    except ValueError:
        return
    assert record == Issuer.parse(json.loads(json.dumps(record.record)))
