"""What another issuer's token says, by its record: who it is, and what counts of it."""

from __future__ import annotations

from typing import Any

import pytest

from asgi_auth import Issuer
from asgi_auth.errors import InvalidToken
from asgi_auth.tokens.issuers.claims import Foreign, Times, payload_of, read

NOW = 1_800_000_000
TIMES = Times(NOW, leeway=30, longest=86_400)
CLAIMS = {"iss": "https://idp.example", "sub": "42", "aud": "api", "exp": NOW + 600, "iat": NOW, "client_id": "cli"}


def record(**members: Any) -> Issuer:
    return Issuer(**{"name": "idp", "issuer": "https://idp.example", "audience": "api", **members})


def said(members: Any = None, /, *, tenant: str = "", **claims: Any) -> Foreign:
    """What a token says with these claims changed; None takes one away."""
    changed = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}
    return read(changed, record(**(members or {})), tenant, TIMES)


def refusal(members: Any = None, /, **claims: Any) -> str:
    with pytest.raises(InvalidToken) as caught:
        said(members, **claims)
    return caught.value.description


# ---------------------------------------------------------------------- who


def test_a_user_is_named_after_the_record() -> None:
    assert said().user_id == "idp:42"
    assert said(tenant="t1").user_id == "idp:t1:42"
    assert said({"shared_ids": True}).user_id == "42"
    assert said({"subject": "oid"}, oid="7f").user_id == "idp:7f"


def test_the_same_sub_of_two_issuers_is_two_users() -> None:
    assert said({"name": "one"}).user_id != said({"name": "two"}).user_id
    assert said(tenant="one").user_id != said(tenant="two").user_id


@pytest.mark.parametrize("sub", [None, "", 42, 4.2, True, ["42"], "a\x00", "a\n", "\ud800", "x" * 252])
def test_a_sub_that_names_nobody_is_refused(sub: Any) -> None:
    assert refusal(sub=sub) == InvalidToken.INVALID


def test_a_numeric_sub_becomes_text_by_the_mapping_alone() -> None:
    numeric = {"numeric_subject": True}
    assert said(numeric, sub=42).user_id == "idp:42"
    for sub in ("42", -1, True, 4.0):
        assert refusal(numeric, sub=sub) == InvalidToken.INVALID


def test_a_name_for_people_comes_from_the_claim_that_the_record_names() -> None:
    assert said({"display_name": "name"}, name="Ann").display_name == "Ann"
    assert said(name="Ann").display_name == ""
    assert refusal({"display_name": "name"}, name=["Ann"]) == InvalidToken.INVALID


# ---------------------------------------------------------------------- when


def test_foreign_dates_may_be_fractions() -> None:
    """RFC 7519 §2: a NumericDate may have a fraction; ours never have one, and others' do."""
    found = said(exp=NOW + 0.5, iat=NOW - 0.5, nbf=NOW - 0.25, auth_time=NOW - 1.75)
    assert (found.exp, found.auth_time) == (NOW + 0.5, NOW - 1.75)
    assert said(exp=1.8e9 + 60).exp == NOW + 60


@pytest.mark.parametrize("name", ["exp", "iat", "nbf", "auth_time"])
@pytest.mark.parametrize("value", ["1800000000", True, -1, 1e300, 2**53 + 1, [NOW], {}, float("inf"), float("nan")])
def test_a_date_that_is_none_is_refused(name: str, value: Any) -> None:
    assert refusal(**{name: value}) == InvalidToken.INVALID


def test_a_token_without_an_end_is_refused() -> None:
    assert refusal(exp=None) == InvalidToken.INVALID
    assert refusal(exp=NOW + 86_431) == InvalidToken.INVALID
    assert said(exp=NOW + 86_430)
    assert said(iat=None)


def test_clocks_may_differ_by_the_leeway() -> None:
    assert said(exp=NOW - 29.5)
    assert refusal(exp=NOW - 30) == InvalidToken.EXPIRED
    for name in ("iat", "nbf", "auth_time"):
        assert said(**{name: NOW + 30})
        assert refusal(**{name: NOW + 30.5}) == InvalidToken.INVALID


def test_when_nobody_says_when_the_login_was_it_is_not_known() -> None:
    assert said().auth_time is None
    assert said(auth_time=NOW - 5).auth_time == NOW - 5


# ---------------------------------------------------------------------- for whom


@pytest.mark.parametrize(
    ("rule", "claims", "right"),
    [
        ({}, {"aud": "api"}, True),
        ({}, {"aud": ["other", "api"]}, True),
        ({}, {"aud": "ap"}, False),
        ({}, {"aud": "api2"}, False),
        ({}, {"aud": []}, False),
        ({}, {"aud": None}, False),
        ({"audience": ["api", "web"]}, {"aud": "web"}, True),
        ({"client_id": "cli"}, {}, True),
        ({"client_id": "cli"}, {"client_id": "other"}, False),
        ({"client_id": "cli"}, {"client_id": None}, False),
        ({"client_id": "cli"}, {"client_id": None, "azp": "cli"}, True),
        ({"client_id": "cli"}, {"azp": "other"}, False),
        ({"audience": (), "client_id": "cli"}, {"aud": None}, True),
        ({"audience": (), "client_id": "cli"}, {"aud": "other"}, True),
        ({"audience": (), "client_id": "cli"}, {"aud": None, "client_id": "other"}, False),
    ],
)
def test_a_token_is_for_us_by_the_rules_of_the_record(rule: Any, claims: Any, right: bool) -> None:
    if right:
        assert said(rule, **claims)
    else:
        assert refusal(rule, **claims) == InvalidToken.AUDIENCE


@pytest.mark.parametrize("aud", [7, True, {}, ["api", 7], [["api"]], "api\n"])
def test_an_audience_of_another_type_is_refused(aud: Any) -> None:
    assert refusal(aud=aud) in (InvalidToken.INVALID, InvalidToken.AUDIENCE)
    assert refusal({"audience": (), "client_id": "cli"}, aud=aud) == InvalidToken.INVALID


@pytest.mark.parametrize(
    ("require", "claims", "right"),
    [
        ({"token_use": "access"}, {"token_use": "access"}, True),
        ({"token_use": "access"}, {"token_use": "id"}, False),
        ({"token_use": "access"}, {}, False),
        ({"tid": ["t1", "t2"]}, {"tid": "t2"}, True),
        ({"tid": ["t1", "t2"]}, {"tid": "t3"}, False),
        ({"tid": ["t1", "t2"]}, {"tid": ["t1"]}, False),
        ({"email_verified": True}, {"email_verified": True}, True),
        ({"email_verified": True}, {"email_verified": 1}, False),
        ({"email_verified": True}, {"email_verified": "true"}, False),
        ({"azp": None}, {"azp": "x"}, True),
        ({"azp": None}, {}, False),
    ],
)
def test_a_claim_that_the_record_requires_has_one_of_its_values(require: Any, claims: Any, right: bool) -> None:
    if right:
        assert said({"require": require}, **claims)
    else:
        assert refusal({"require": require}, **claims) == InvalidToken.INVALID


# ---------------------------------------------------------------------- what for

PLACES = {
    "scopes": ["read", "admin"],
    "scope_claims": [
        "scope",
        "scp",
        "roles",
        ["realm_access", "roles"],
        "cognito:groups",
        "https://corp.example/roles",
    ],
}


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({}, ""),
        ({"scope": "read write"}, "read"),
        ({"scope": "  read  "}, "read"),
        ({"scope": ""}, ""),
        ({"scp": "read admin"}, "read admin"),
        ({"scp": ["read", "write"]}, "read"),
        ({"roles": ["admin", "Domain Users"]}, "admin"),
        ({"realm_access": {"roles": ["admin", "offline_access"]}}, "admin"),
        ({"realm_access": {}}, ""),
        ({"cognito:groups": ["admin"]}, "admin"),
        ({"https://corp.example/roles": ["read"]}, "read"),
        ({"scope": "read", "roles": ["admin"]}, "read admin"),
    ],
)
def test_scopes_count_as_far_as_the_record_lists_them(claims: Any, scopes: str) -> None:
    assert said(PLACES, **claims).scopes == set(scopes.split())
    assert said({**PLACES, "scopes": ()}, **claims).scopes == set()


@pytest.mark.parametrize(
    "claims",
    [
        {"scope": ["read"]},
        {"scope": 7},
        {"scope": {"read": True}},
        {"scope": "read\nadmin"},
        {"scp": 7},
        {"scp": ["read", 7]},
        {"roles": "admin"},
        {"roles": {"admin": True}},
        {"roles": [["admin"]]},
        {"roles": [None]},
        {"realm_access": ["admin"]},
        {"realm_access": "admin"},
        {"realm_access": {"roles": "admin"}},
        {"cognito:groups": "admin"},
        {"https://corp.example/roles": True},
    ],
)
def test_a_scope_of_an_unexpected_type_is_a_refusal_never_silently_nothing(claims: Any) -> None:
    assert refusal(PLACES, **claims) == InvalidToken.INVALID


def test_null_is_of_no_type_that_is_expected() -> None:
    for name in ("scope", "scp", "roles", "realm_access", "amr", "acr", "aud", "auth_time", "cnf", "jti"):
        with pytest.raises(InvalidToken):
            read({**CLAIMS, name: None}, record(**PLACES), "", TIMES)


def test_methods_and_class_of_the_login_are_the_tokens() -> None:
    found = said(amr=["pwd", "mfa", "pwd"], acr="urn:two")
    assert (found.amr, found.acr) == (("pwd", "mfa"), "urn:two")
    assert (said().amr, said().acr) == ((), "")
    for wrong in ({"amr": "pwd"}, {"amr": [1]}, {"acr": 1}, {"acr": ["1"]}):
        assert refusal(**wrong) == InvalidToken.INVALID


def test_a_binding_that_nobody_checks_here_refuses_the_token() -> None:
    assert said(cnf={"jkt": "thumb"}).jkt == "thumb"
    for cnf in ({}, {"x5t#S256": "a"}, {"jkt": "thumb", "x5t#S256": "a"}, {"jkt": 7}, {"jkt": ""}, "thumb", []):
        assert refusal(cnf=cnf) == InvalidToken.INVALID


@pytest.mark.parametrize("raw", [b"", b"[]", b"7", b"{", b'{"a": 1, "a": 2}', b'{"exp": NaN}', b"\xff", b"[" * 100_000])
def test_claims_are_one_strict_object(raw: bytes) -> None:
    with pytest.raises(InvalidToken):
        payload_of(raw)
