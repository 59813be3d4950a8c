"""Access tokens: the profile of RFC 9068, and what the verifier refuses."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from token_forge import EVERY_ALGORITHM, ISSUER, NOW, TOKENS, claims, finder, header, private_jwk, sign, signing_key

from asgi_auth.errors import InvalidToken
from asgi_auth.tokens.claims import Claims
from asgi_auth.tokens.jose import decode_base64url
from asgi_auth.tokens.keys import SigningKey, generate

KEY = signing_key("ES256")
FIND = finder(KEY)
TOO_LARGE = 2**53 + 1


def issue(key: SigningKey = KEY, **changes: Any) -> str:
    asked: dict[str, Any] = {
        "subject": "42",
        "session_id": "00session",
        "generation": 3,
        "client_id": "cli",
        "scope": "read write",
        "auth_time": NOW - 5.5,
        "amr": {"pwd": NOW - 5.5},
        "revision": 7,
        "now": NOW + 0.9,
        "lifetime": 600,
    }
    return TOKENS.issue(key, **{**asked, **changes})


def verify(token: str | bytes, now: float = NOW) -> Claims:
    return TOKENS.verify(token.encode() if isinstance(token, str) else token, FIND, now=now)


def refusal(token: bytes, now: float = NOW) -> str:
    with pytest.raises(InvalidToken) as caught:
        verify(token, now)
    return caught.value.description


def part(token: str, number: int) -> Any:
    return json.loads(decode_base64url(token.split(".")[number].encode()))


def test_access_token_profile() -> None:
    """RFC 9068 §2 and the claims that the design lists, no more."""
    token = issue()
    assert part(token, 0) == {"alg": "ES256", "typ": "at+jwt", "kid": KEY.kid}
    body = part(token, 1)
    jti = body.pop("jti")
    assert body == {
        "iss": ISSUER,
        "sub": "42",
        "aud": ISSUER,
        "exp": int(NOW) + 600,
        "iat": int(NOW),
        "nbf": int(NOW),
        "client_id": "cli",
        "sid": "00session",
        "scope": "read write",
        "auth_time": int(NOW) - 6,
        "amr": ["pwd"],
        "ver": 7,
    }
    generation, random = jti.split(".")
    assert generation == "3"
    assert len(decode_base64url(random.encode())) == 32


def test_what_is_issued_is_read_back() -> None:
    read = verify(issue(acr="urn:two", subject="ü\u2603", amr={"pwd": 1, "otp": 2}))
    assert (read.iss, read.sub, read.aud, read.client_id, read.sid) == (ISSUER, "ü\u2603", ISSUER, "cli", "00session")
    assert (read.exp, read.iat, read.nbf, read.auth_time) == (int(NOW) + 600, int(NOW), int(NOW), int(NOW) - 6)
    assert (read.scope, read.amr, read.acr, read.ver, read.generation) == (
        "read write",
        ("pwd", "otp"),
        "urn:two",
        7,
        3,
    )
    assert read.payload["jti"] == read.jti


def test_methods_have_their_times_where_those_differ() -> None:
    read = verify(issue(amr={"pwd": 1.5, "otp": NOW - 5.5}))
    assert read.methods == {"pwd": 1, "otp": int(NOW - 5.5)}
    assert "amr_at" not in part(issue(), 1)
    assert verify(issue()).methods == {"pwd": int(NOW - 5.5)}


@pytest.mark.parametrize("amr_at", [[], [1, 2], ["1"], [-1], 1])
def test_times_that_fit_no_methods_are_refused(amr_at: Any) -> None:
    assert refusal(sign(KEY, None, claims(amr_at=amr_at))) == InvalidToken.INVALID


def test_a_token_names_the_key_that_it_is_bound_to() -> None:
    assert part(issue(jkt=KEY.kid), 1)["cnf"] == {"jkt": KEY.kid}
    assert verify(issue(jkt=KEY.kid)).jkt == KEY.kid
    assert "cnf" not in part(issue(), 1)
    assert verify(issue()).jkt == ""


@pytest.mark.parametrize(
    "cnf",
    [
        {},
        [],
        "",
        KEY.kid,
        {"jkt": ""},
        {"jkt": None},
        {"jkt": KEY.kid + "A"},
        {"jkt": KEY.kid[:-1] + "B"},  # bits to spare
        {"x5t#S256": KEY.kid},
        {"jkt": KEY.kid, "x5t#S256": KEY.kid},
        {"jwk": {}},
    ],
    ids=range(11),
)
def test_a_token_that_is_bound_in_a_way_that_nobody_checks_is_refused(cnf: Any) -> None:
    """It must not count as if it were bound to nothing."""
    assert refusal(sign(KEY, None, claims(cnf=cnf))) == InvalidToken.INVALID


def test_a_token_that_is_bound_to_null_is_refused() -> None:
    assert refusal(sign(KEY, None, {**claims(), "cnf": None})) == InvalidToken.INVALID


def test_two_tokens_never_share_a_jti() -> None:
    assert len({verify(issue()).jti for _ in range(20)}) == 20


def test_acr_is_named_only_when_known() -> None:
    assert "acr" not in part(issue(), 1)
    assert verify(issue()).acr is None


@pytest.mark.parametrize("algorithm", EVERY_ALGORITHM)
def test_every_algorithm_issues_and_verifies(algorithm: str) -> None:
    key = signing_key(algorithm)
    assert TOKENS.verify(issue(key).encode(), finder(key), now=NOW).sub == "42"


def test_pyjwt_reads_our_access_tokens() -> None:
    public = jwt.PyJWK(dict(KEY.public or {})).key
    options: Any = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}
    read = jwt.decode(issue(), public, algorithms=["ES256"], audience=ISSUER, issuer=ISSUER, options=options)
    assert read["sid"] == "00session"


def test_the_kid_is_told_before_anything_is_verified() -> None:
    token = issue()
    for spelt in (token, token[:-4] + "AAAA"):
        assert TOKENS.parse(spelt.encode()).header["kid"] == KEY.kid
    bad = [header(KEY, kid=None), header(KEY, crit=["b64"]), header(KEY, typ="JWT"), header(KEY, typ=None)]
    for other in (b"", b"a.b.c", b"x" * 9000, *(sign(KEY, head) for head in bad)):
        with pytest.raises(InvalidToken):
            TOKENS.parse(other)


# --- one change each, signed with the right key -------------------------------------------------------------------

NOT_NUMBERS = [
    "1800000600",
    "1_800_000_600",
    "１８０００００６００",
    1.8e9,
    1800000600.0,
    1e308,
    True,
    False,
    [],
    {},
    -1,
    TOO_LARGE,
]
NOT_TEXTS = ["", 7, True, [], ["x"], {}, "a\nb", "\x00", "a\x7f", b'"\\ud800"']
CHANGES: list[tuple[str, Any]] = [
    *((name, None) for name in claims()),
    *((name, value) for name in ("exp", "iat", "nbf", "auth_time", "ver") for value in NOT_NUMBERS),
    *((name, value) for name in ("iss", "sub", "jti", "client_id", "sid") for value in NOT_TEXTS),
    *(("aud", value) for value in ("", 7, [""], [7], [ISSUER, 7], {"a": 1}, [[ISSUER]], "a\nb")),
    ("sub", "x" * 256),
    *(("scope", value) for value in (7, ["read"], "a\tb", 'a"b', "a\\b", "a\nb", "ü", True)),
    *(("amr", value) for value in ("pwd", [7], [""], ["a\nb"], {}, 1)),
    *(("acr", value) for value in ("", 7, ["x"], "a\nb")),
    *(("jti", value) for value in ("x", "0.abc", "-1.abc", "01.abc", "1.", ".abc", "1abc", "１.abc", "1.a b")),
    ("jti", "99999999999999999.a"),
    *(("iss", value) for value in (ISSUER[:-1], ISSUER + "/", ISSUER.upper(), "h", "app", [ISSUER])),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), CHANGES, ids=lambda x: repr(x)[:30])
def test_a_wrong_claim_is_invalid(name: str, value: Any) -> None:
    if isinstance(value, bytes):
        payload = json.dumps(claims(**{name: "@@"})).encode().replace(b'"@@"', value)
    else:
        payload = json.dumps({k: v for k, v in {**claims(), name: value}.items() if v is not None}).encode()
    assert refusal(sign(KEY, None, payload)) == InvalidToken.INVALID


@pytest.mark.parametrize("name", ["iss", "sub", "aud", "exp", "iat", "jti", "sid", "scope"])
def test_a_null_claim_is_invalid(name: str) -> None:
    assert refusal(sign(KEY, None, {**claims(), name: None})) == InvalidToken.INVALID


GOOD = json.dumps(claims()).encode()


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"[" * 4000,
        GOOD[:-1] + b', "sub": "43"}',
        GOOD[:-1] + b', "exp": 1}',
        GOOD[:-1] + b', "s\\u0075b": "43"}',
        GOOD[:-1] + b', "x": {"a": 1, "a": 2}}',
        GOOD[:-1] + b', "x": NaN}',
        GOOD[:-1] + b', "x": -Infinity}',
        GOOD[:-1] + b', "x": ' + b"9" * 4000 + b"}",
        GOOD[:-1] + b', "x": "\\ud800"}',
        GOOD[:-1] + b', "x": ' + b"[" * 16 + b"]" * 16 + b"}",
        b"\xef\xbb\xbf" + GOOD,
        GOOD.decode().encode("utf-16"),
        GOOD.decode().encode("utf-32"),
        GOOD + b"x",
    ],
    ids=lambda payload: repr(payload[-20:]),
)
def test_a_payload_that_two_parsers_read_differently_is_invalid(payload: bytes) -> None:
    assert refusal(sign(KEY, None, payload)) == InvalidToken.INVALID


@pytest.mark.parametrize(
    "typ", [None, "", "JWT", "jwt", "dpop+jwt", "id+jwt", "at+jwt ", "application/jwt", "at+jwt;x=1", 7, ["at+jwt"], {}]
)
def test_another_type_of_token_is_invalid(typ: Any) -> None:
    assert refusal(sign(KEY, header(KEY, typ=typ))) == InvalidToken.INVALID


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"])
def test_the_type_is_compared_without_case(typ: str) -> None:
    assert verify(sign(KEY, header(KEY, typ=typ))).sub == "42"


def test_a_token_without_kid_is_invalid() -> None:
    assert refusal(sign(KEY, header(KEY, kid=None))) == InvalidToken.INVALID


def test_unknown_claims_and_an_audience_list_are_fine() -> None:
    assert verify(sign(KEY, None, claims(foo=[1], aud=["https://other.example", ISSUER], scope="", amr=[]))).aud == (
        "https://other.example",
        ISSUER,
    )


def test_a_token_for_another_audience_is_401() -> None:
    assert InvalidToken.status == 401
    for audience in (
        "https://other.example",
        ISSUER[:-1],
        ISSUER + "x",
        "a",
        [],
        ["https://other.example"],
        [ISSUER + "x"],
    ):
        assert refusal(sign(KEY, None, claims(aud=audience))) == InvalidToken.AUDIENCE
    assert refusal(issue(audience="https://other.example").encode()) == InvalidToken.AUDIENCE


@pytest.mark.parametrize(
    ("changes", "now", "said"),
    [
        ({}, NOW, None),
        ({}, NOW + 629.9, None),
        ({}, NOW + 630, InvalidToken.EXPIRED),
        ({}, NOW + 1e9, InvalidToken.EXPIRED),
        ({"exp": 0}, NOW, InvalidToken.EXPIRED),
        ({"nbf": int(NOW) + 30}, NOW, None),
        ({"nbf": int(NOW) + 31}, NOW, InvalidToken.INVALID),
        ({"iat": int(NOW) + 30}, NOW, None),
        ({"iat": int(NOW) + 31}, NOW, InvalidToken.INVALID),
        ({"exp": int(NOW) + 30 * 86400 + 30}, NOW, None),
        ({"exp": int(NOW) + 30 * 86400 + 31}, NOW, InvalidToken.INVALID),
        ({"exp": 2**53}, NOW, InvalidToken.INVALID),
        ({"exp": 0, "aud": "other"}, NOW, InvalidToken.AUDIENCE),
        ({"exp": 0, "iss": "other"}, NOW, InvalidToken.INVALID),
    ],
)
def test_times(changes: dict[str, Any], now: float, said: str | None) -> None:
    token = sign(KEY, None, claims(**changes))
    if said is None:
        assert verify(token, now).sub == "42"
    else:
        assert refusal(token, now) == said


@pytest.mark.parametrize("changes", [{"exp": 0}, {"aud": "other"}])
def test_nothing_is_said_of_a_token_whose_signature_is_wrong(changes: dict[str, Any]) -> None:
    stranger = SigningKey.from_jwk({**generate("ES256"), "kid": KEY.kid})
    assert refusal(sign(stranger, None, claims(**changes))) == InvalidToken.INVALID
    assert refusal(sign(KEY, None, claims(**changes))) != InvalidToken.INVALID


def test_the_order_is_form_header_key_signature_claims() -> None:
    asked: list[str] = []

    def find(kid: str) -> Any:
        asked.append(kid)
        return FIND(kid)

    for token in (
        b"a.b",
        sign(KEY)[:-1] + b"=",
        sign(KEY, header(KEY, typ="JWT")),
        sign(KEY, header(KEY, alg="none", crit=[])),
    ):
        with pytest.raises(InvalidToken):
            TOKENS.verify(token, find, now=NOW)
    assert asked == []
    with pytest.raises(InvalidToken, match="invalid"):
        TOKENS.verify(sign(KEY, header(KEY, kid="unknown"), b"no JSON"), find, now=NOW)
    assert asked == ["unknown"]


@given(
    st.binary(max_size=200)
    | st.dictionaries(
        st.sampled_from(list(claims())),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text()),
    ).map(lambda x: json.dumps({**claims(), **x}).encode())
)
def test_whatever_is_signed_only_invalid_token_is_raised(payload: bytes) -> None:
    token = sign(KEY, None, payload)
    try:
        verify(token)
    except InvalidToken as error:
        assert error.description in (InvalidToken.INVALID, InvalidToken.AUDIENCE, InvalidToken.EXPIRED)  # noqa: PT017


def test_the_size_limit_is_the_setting() -> None:
    token = issue().encode()
    small = replace(TOKENS, max_size=len(token) - 1)
    with pytest.raises(InvalidToken):
        small.verify(token, FIND, now=NOW)
    assert replace(TOKENS, max_size=len(token)).verify(token, FIND, now=NOW)


def test_one_token_has_one_spelling_but_ecdsa_has_two_signatures() -> None:
    """(r, n - s) verifies too: so nothing may hang on the text of a token, and `jti` is the same for both."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    token = issue()
    head, _, signature = token.rpartition(".")
    raw = decode_base64url(signature.encode())
    twin = raw[:32] + (order - int.from_bytes(raw[32:], "big")).to_bytes(32, "big")
    other = head + "." + base64.urlsafe_b64encode(twin).rstrip(b"=").decode()
    assert other != token
    assert verify(other).jti == verify(token).jti


def test_a_key_relabelled_for_another_algorithm_verifies_nothing() -> None:
    rs = signing_key("RS256")
    ps = SigningKey.from_jwk({**private_jwk("PS256"), "kid": rs.kid})
    with pytest.raises(InvalidToken):
        TOKENS.verify(issue(ps).encode(), finder(rs), now=NOW)
    with pytest.raises(InvalidToken):
        TOKENS.verify(issue(rs).encode(), finder(ps), now=NOW)
