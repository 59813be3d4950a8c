"""`explain`: fine exactly when the verifier accepts, and a sentence of its own for each rule that it enforces."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from token_forge import NOW, TOKENS, claims, finder, header, leaks, seal, sign, signing_key

from asgi_auth.errors import InvalidToken
from asgi_auth.tokens.explain import UNEXPLAINED, explain
from asgi_auth.tokens.jose import encode_base64url

KEY = signing_key("ES256")
OTHER = signing_key("RS256")
FIND = finder(KEY, OTHER)


def accepted(token: bytes, now: float = NOW) -> bool:
    try:
        TOKENS.verify(token, FIND, now=now)
    except InvalidToken:
        return False
    return True


def why(token: bytes, now: float = NOW) -> list[str]:
    reasons = explain(token, TOKENS, FIND, now=now)
    assert bool(reasons) != accepted(token, now)
    assert UNEXPLAINED not in reasons
    return reasons


def with_claims(**changes):
    return sign(KEY, None, claims(**changes))


def with_header(**changes):
    return sign(KEY, header(KEY, **changes))


GOOD = sign(KEY)
HEAD, BODY, SIGNATURE = GOOD.split(b".")


def test_a_good_token_has_no_reason():
    assert why(GOOD) == []
    assert why(with_claims(acr="phr", amr_at=[1])) == []


@pytest.mark.parametrize(
    ("token", "said"),
    [
        (b"", "it has 1"),
        (b"a.b.c.d.e", "encrypted"),
        (GOOD + b".", "it has 4"),
        (b"a" * 8193, "JWT_MAX_SIZE"),
        (GOOD + b"=", "padding"),
        (GOOD + b"\n", "white space"),
        (HEAD + b"." + BODY + b"." + SIGNATURE[:-1] + b"_", "spare bits"),
        (b"!" + GOOD, "its header is no base64url"),
        (seal(KEY, HEAD, BODY + b"AA"), "its payload"),
        (sign(KEY, b"\xef\xbb\xbf{}"), "its header begins with a byte order mark"),
        (sign(KEY, "{}".encode("utf-16")), "byte order mark"),
        (sign(KEY, b'{"alg":"\xff"}'), "not UTF-8"),
        (sign(KEY, b"[" * 17 + b"]" * 17), "16 levels"),
        (sign(KEY, b"[]"), "no JSON object"),
        (sign(KEY, b"7,"), "no JSON"),
        (sign(KEY, b'{"alg":"ES256","alg":"none"}'), "the member 'alg' twice"),
        (sign(KEY, None, json.dumps(claims()).replace("1800000600", "NaN").encode()), "its payload holds a number"),
        (sign(KEY, None, json.dumps(claims(x=0)).replace('"x": 0', '"x": 1e999').encode()), "holds a number"),
        (sign(KEY, None, json.dumps(claims(x="\ud800")).encode()), "lone surrogate"),
        (with_header(alg=None), "names no alg"),
        (with_header(alg=["ES256"]), "names no alg"),
        (with_header(alg="nOnE"), "nobody has signed it"),
        (with_header(typ=None), "its typ is ''"),
        (with_header(typ="JWT"), "ID token"),
        (with_header(typ=7), "its typ is 7"),
        (with_header(kid=None), "names no key"),
        (with_header(kid=""), "its kid is no text"),
        (with_header(kid="elsewhere"), "no key here is named 'elsewhere'"),
        (with_header(kid=OTHER.kid), "is for RS256 alone"),
        (with_header(alg="ES384"), "its alg is 'ES384'"),
        (with_header(jwk={}), "'jwk'"),
        (with_header(crit=[]), "'crit'"),
        (HEAD + b"." + BODY + b"." + SIGNATURE[::-1].replace(b"=", b"A")[:-1] + b"A", "signature"),
        (with_claims(iss=None), "it has no iss"),
        (with_claims(iss="https://app.example/"), "its iss is 'https://app.example/'"),
        (with_claims(iss=7), "its iss is no text"),
        (with_claims(sub=""), "its sub is no text of 1 to 255 characters"),
        (with_claims(sub="a\x00"), "its sub is no text"),
        (with_claims(aud="https://other.example"), "JWT_AUDIENCE"),
        (with_claims(aud=["a", "b"]), "it is for 'a', 'b'"),
        (with_claims(aud=[]), "it is for nobody"),
        (with_claims(aud=7), "its aud is neither"),
        (with_claims(exp=None), "it has no exp"),
        (with_claims(exp="1800000600"), "its exp is no whole number"),
        (with_claims(exp=True), "its exp is no whole number"),
        (with_claims(exp=1.5e9), "its exp is no whole number"),
        (with_claims(exp=2**53 + 1), "its exp is no whole number"),
        (with_claims(exp=2**53), "SESSION_LIFETIME"),
        (with_claims(exp=int(NOW) - 120), "it expired 2 minutes ago, at 2027-01-15 07:58:00Z"),
        (with_claims(iat=int(NOW) + 3600), "it was issued 2027-01-15 09:00:00Z, in 60 minutes"),
        (with_claims(nbf=int(NOW) + 31), "it is not good before"),
        (with_claims(sub="x" * 256), "its sub is no text of 1 to 255 characters"),
        (with_claims(jti="1"), "its jti is not of our form"),
        (with_claims(client_id=None), "it has no client_id"),
        (with_claims(sid=None), "it has no sid"),
        (with_claims(scope='a"b'), "its scope is no list of scopes"),
        (with_claims(auth_time=-1), "its auth_time is no whole number"),
        (with_claims(amr="pwd"), "its amr is no list"),
        (with_claims(ver=None), "it has no ver"),
        (with_claims(amr_at=[1, 2]), "its amr_at"),
        (sign(KEY, None, {**claims(), "acr": None}), "its acr is null"),
        (with_claims(acr=7), "its acr is no text"),
        (sign(KEY, None, {**claims(), "cnf": None}), "its cnf is null"),
        (with_claims(cnf={"x5t#S256": "a"}), "its cnf is not the thumbprint"),
    ],
)
def test_each_rule_has_its_sentence(token, said):
    reasons = why(token)
    assert any(said in one for one in reasons), reasons


def test_all_that_is_wrong_is_told_and_what_decides_comes_first():
    token = sign(KEY, header(KEY, typ="JWT"), claims(aud="other", exp=int(NOW) - 3600))
    assert [one.split()[1] for one in why(token)] == ["typ", "is", "expired"]


def test_no_sentence_repeats_a_signature():
    for token in (GOOD[:-4] + b"AAAA", with_claims(exp=1), with_header(kid="other")):
        assert not leaks(" ".join(why(token)), token.rpartition(b".")[2].decode())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2**54) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
NAMES = st.sampled_from([*claims(), "acr", "amr_at", "cnf", "x"])
HEADERS = st.sampled_from(["alg", "typ", "kid", "crit", "jwk", "x"])


@given(st.dictionaries(NAMES, JSON, max_size=3), st.sampled_from([0, -700, 700, 3e6, -3e6]))
def test_it_never_disagrees_about_claims(changes, ahead):
    why(sign(KEY, None, {**claims(), **changes}), NOW + ahead)


@given(st.dictionaries(HEADERS, JSON | st.sampled_from(["ES256", "EdDSA", KEY.kid, OTHER.kid]), max_size=3))
def test_it_never_disagrees_about_headers(changes):
    why(sign(KEY, {**header(KEY), **changes}))


@given(st.sampled_from([0, 1]), st.binary(max_size=12), st.integers(0, 60))
def test_it_never_disagrees_about_bytes_in_a_segment(which, inserted, place):
    parts = [json.dumps(part).encode() for part in (header(KEY), claims())]
    parts[which] = parts[which][:place] + inserted + parts[which][place:]
    why(seal(KEY, *(encode_base64url(part).encode() for part in parts)))


@given(st.integers(0, len(GOOD)), st.binary(max_size=3), st.integers(0, 3))
def test_it_never_disagrees_about_bytes_of_the_token(place, inserted, dropped):
    why(GOOD[:place] + inserted + GOOD[place + dropped :])


@given(st.binary(max_size=300))
def test_it_never_disagrees_about_junk(junk):
    assert why(junk)
