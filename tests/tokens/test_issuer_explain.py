"""Why a token of another issuer is refused: a sentence for each rule of its record, and never another verdict."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_auth import Issuer
from asgi_auth.errors import InvalidToken
from asgi_auth.tokens.explain import UNEXPLAINED
from asgi_auth.tokens.issuers.claims import Times, read
from asgi_auth.tokens.issuers.explain import explain_claims, explain_header, explain_signature
from asgi_auth.tokens.issuers.keyset import KeySet
from asgi_auth.tokens.jose import Compact

NOW = 1_800_000_000
TIMES = Times(NOW, leeway=30, longest=86_400)
CLAIMS = {"iss": "https://idp.example", "sub": "42", "aud": "api", "exp": NOW + 600, "iat": NOW, "client_id": "cli"}
RECORD = Issuer(
    name="idp",
    issuer="https://idp.example",
    audience=("api", "other-api"),
    client_id="cli",
    scope_claims=(("scope",), ("realm_access", "roles")),
    require={"ver": "2.0", "tid": None},
    display_name="name",
)
GOOD: dict[str, Any] = {**CLAIMS, "ver": "2.0", "tid": "t"}


def why(claims: dict[str, Any], record: Issuer = RECORD) -> list[str]:
    reasons = explain_claims(claims, record, "", TIMES)
    try:
        read(claims, record, "", TIMES)
        accepted = True
    except InvalidToken:
        accepted = False
    assert accepted == (reasons == [])
    assert UNEXPLAINED not in reasons
    return reasons


def test_a_good_token_has_no_reason() -> None:
    assert why(GOOD) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"exp": None}, "it has no exp"),
        ({"exp": "soon"}, "its exp is no number of seconds"),
        ({"exp": NOW - 120}, "it expired 2 minutes ago"),
        ({"exp": NOW + 90_000}, "SESSION_LIFETIME"),
        ({"iat": NOW + 3600}, "its iat is 2027-01-15 09:00:00Z, in 60 minutes"),
        ({"nbf": NOW + 3600}, "its nbf is"),
        ({"auth_time": True}, "its auth_time is no number"),
        ({"sub": None}, "its sub names no user: a text"),
        ({"sub": 42}, "its sub names no user"),
        ({"aud": "another"}, "it is for 'another', given to {'client_id': 'cli'}; the record wants audience 'api' or"),
        ({"client_id": "web"}, "given to {'client_id': 'web'}"),
        ({"client_id": None}, "given to nobody"),
        ({"ver": "1.0"}, "its ver is '1.0', and the record wants '2.0'"),
        ({"tid": None}, "its tid is not there, and the record wants any"),
        ({"scope": ["read"]}, "its scope is of another type"),
        ({"realm_access": {"roles": "admin"}}, "its realm_access.roles is of another type"),
        ({"amr": "pwd"}, "its amr is no list"),
        ({"jti": 7}, "its jti is no text"),
        ({"name": 7}, "its name is no text"),
        ({"acr": None, "cnf": {"x5t#S256": "a"}}, "its cnf is not the thumbprint"),
    ],
)
def test_each_rule_has_its_sentence(changes: dict[str, Any], said: str) -> None:
    claims = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    reasons = why(claims)
    assert any(said in one for one in reasons), reasons


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2**54) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
NAMES = st.sampled_from([*GOOD, "nbf", "auth_time", "scope", "realm_access", "amr", "jti", "acr", "name", "cnf"])


@given(st.dictionaries(NAMES, JSON, max_size=3))
def test_it_never_disagrees_with_the_rules(changes: dict[str, Any]) -> None:
    why({**GOOD, **changes})
    why({**GOOD, **changes}, Issuer(name="n", issuer="https://idp.example", audience="api", numeric_subject=True))


def test_what_a_header_and_its_key_lack() -> None:
    compact = Compact({"alg": "HS256", "typ": "JWT", "kid": "k"}, b"{}", b"a.b", b"c")
    size, typ, alg = explain_header(compact, RECORD, 9000, 8192)
    assert "9000 bytes" in size
    assert "'at+jwt'" in typ
    assert "'RS256' or 'ES256'" in alg
    [unread] = explain_signature(compact, RECORD, None, "https://idp.example")
    assert "could not be read" in unread
    [unknown] = explain_signature(compact, RECORD, KeySet({}), "https://idp.example")
    assert "names the key 'k' for HS256" in unknown
