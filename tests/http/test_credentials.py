"""Which bytes of a request claim an identity (RFC 6750 §2, rfc6265bis)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_auth.errors import InvalidRequest
from asgi_auth.http import Headers
from asgi_auth.http.credentials import Credential, authorization, cookies, has_preflight, is_dpop

NAMES = (b"__Host-session", b"__Host-session-anonymous", b"__Host-session-seen")
REFUSED = "refused"


def _authorization(*lines: bytes) -> Headers:
    return [(b"host", b"a"), *((b"authorization", line) for line in lines), (b"cookie", b"x=1")]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], None),
        ([b"Bearer abc"], Credential(b"abc")),
        ([b"bearer abc"], Credential(b"abc")),
        ([b"BEARER    abc.def-_~+/=="], Credential(b"abc.def-_~+/==")),
        ([b" \tBearer abc \t"], Credential(b"abc")),
        ([b"Basic Zm9vOmJhcg=="], None),
        ([b"Negotiate abc"], None),
        ([b"BearerX abc"], None),
        ([b"Bearer-Token abc"], None),
        ([b""], None),
        ([b"abc"], None),
        ([b'Digest username="a, Bearer b", realm="x"'], None),
        ([b"Digest username=a, bearer=b"], None),
        ([b"DPoP abc"], Credential(b"abc", bound=True)),
        ([b"dpop  abc="], Credential(b"abc=", bound=True)),
        ([b"DPoPX abc"], None),
        ([b"DPoP"], REFUSED),
        ([b"DPoP a b"], REFUSED),
        ([b"DPoP\tabc"], REFUSED),
        ([b"Basic a", b"Basic b"], None),
        ([b"Basic a, Digest b"], None),
        ([b"Bearer"], REFUSED),
        ([b"Bearer "], REFUSED),
        ([b"Bearer\tabc"], REFUSED),
        ([b"Bearer=abc"], REFUSED),
        ([b"Bearer a b"], REFUSED),
        ([b"Bearer ="], REFUSED),
        ([b"Bearer a=b"], REFUSED),
        ([b'Bearer "abc"'], REFUSED),
        ([b"Bearer a\xc3\xa4"], REFUSED),
        ([b"Bearer a\x00"], REFUSED),
        ([b"Bearer a\n"], REFUSED),
        ([b"Bearer a", b"Bearer a"], REFUSED),
        ([b"Bearer a", b"Basic b"], REFUSED),
        ([b"Basic b", b"bearer a"], REFUSED),
        ([b"", b"Bearer a"], REFUSED),
        ([b"DPoP a", b"Basic b"], REFUSED),
        ([b"DPoP a", b"dpop b"], REFUSED),
        ([b"Basic b, Bearer a"], REFUSED),
        ([b"Basic b,bearer\ta"], REFUSED),
        ([b"DPoP a,DPoP b"], REFUSED),
    ],
)
def test_authorization_table(lines: list[bytes], expected: object) -> None:
    if expected == REFUSED:
        with pytest.raises(InvalidRequest):
            authorization(_authorization(*lines))
    else:
        assert authorization(_authorization(*lines)) == expected


@pytest.mark.parametrize("line", [b"Bearer a,Bearer b", b"Bearer a, Bearer b"])
def test_joined_authorization_is_invalid_request(line: bytes) -> None:
    with pytest.raises(InvalidRequest, match="one credential"):
        authorization(_authorization(line))


@pytest.mark.parametrize("lines", [[b"Bearer abc"], [b"Bearer"], [b"Bearer a", b"Bearer b"]])
def test_bearer_is_the_applications_while_its_backend_is_off(lines: list[bytes]) -> None:
    assert authorization(_authorization(*lines), enabled=False) is None


@pytest.mark.parametrize("lines", [[b"DPoP abc"], [b"DPoP"]])
def test_dpop_is_the_applications_while_it_is_off(lines: list[bytes]) -> None:
    assert authorization(_authorization(*lines), dpop=False) is None


@pytest.mark.parametrize(
    ("lines", "expected"),
    [([], False), ([b"DPoP a"], True), ([b"dpop"], True), ([b"Bearer a"], False), ([b"DPoP a", b"Bearer b"], False)],
)
def test_a_refusal_knows_the_scheme_that_came(lines: list[bytes], expected: bool) -> None:
    assert is_dpop(_authorization(*lines)) is expected


def test_a_token_in_the_query_is_never_read() -> None:
    assert authorization([(b"referer", b"https://a/?access_token=abc"), (b"x-authorization", b"Bearer abc")]) is None


def test_a_bearer_never_shows_its_token() -> None:
    assert "sesame" not in repr(Credential(b"sesame"))


@given(st.lists(st.binary() | st.text('bearDPoP ,="\\\t').map(lambda text: b"Bearer" + text.encode())))
def test_authorization_raises_nothing_but_invalid_request(lines: list[bytes]) -> None:
    try:
        bearer = authorization(_authorization(*lines))
    except InvalidRequest:
        return
    assert bearer is None or (len(lines) == 1 and bearer.token in lines[0])


@given(st.from_regex(rb"[A-Za-z0-9._~+/-]{1,40}={0,2}", fullmatch=True))
def test_every_b64token_is_handed_on_as_it_came(token: bytes) -> None:
    assert authorization(_authorization(b"Bearer " + token)) == Credential(token)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], {}),
        ([b"a=1; b=2"], {}),
        ([b"__Host-session=v"], {NAMES[0]: [b"v"]}),
        ([b"a=1; __Host-session=v; b=2"], {NAMES[0]: [b"v"]}),
        ([b"a=1;__Host-session = v ;b=2"], {NAMES[0]: [b"v"]}),
        ([b"__Host-session=v; __Host-session-seen=7"], {NAMES[0]: [b"v"], NAMES[2]: [b"7"]}),
        ([b"__Host-session=a=b=="], {NAMES[0]: [b"a=b=="]}),
        ([b"__Host-session="], {NAMES[0]: [b""]}),
        ([b"__Host-session"], {}),
        ([b"x__Host-session=v; __Host-sessionx=v; y=__Host-session"], {}),
        ([b"__host-session=v"], {}),
        ([b'a="; __Host-session=v; "'], {NAMES[0]: [b"v"]}),
    ],
)
def test_cookies_table(lines: list[bytes], expected: dict[bytes, list[bytes]]) -> None:
    assert cookies([(b"cookie", line) for line in lines], NAMES) == expected


@pytest.mark.parametrize("place", range(3))
def test_a_cookie_in_any_of_several_cookie_headers(place: int) -> None:
    headers = [(b"cookie", b"a=1"), (b"accept", b"*/*"), (b"cookie", b"b=2")]
    headers.insert(place, (b"cookie", b"__Host-session=v"))
    assert cookies(headers, NAMES) == {NAMES[0]: [b"v"]}


@pytest.mark.parametrize(
    "lines", [[b"__Host-session=a; __Host-session=b"], [b"__Host-session=a", b"x=1; __Host-session=b"]]
)
def test_a_doubled_cookie_is_seen_as_two(lines: list[bytes]) -> None:
    assert cookies([(b"cookie", line) for line in lines], NAMES) == {NAMES[0]: [b"a", b"b"]}


@pytest.mark.parametrize("value", [b'"abc"', b'"a\\054b"', b"%41", b"a+b", b"\xff\xfe", b"a b", b"a,b"])
def test_cookie_values_are_the_exact_bytes_that_came(value: bytes) -> None:
    assert cookies([(b"cookie", b"__Host-session=" + value)], NAMES) == {NAMES[0]: [value]}


def test_header_entries_may_be_lists() -> None:
    headers: Headers = [[b"cookie", b"__Host-session=v"], [b"authorization", b"Bearer t"]]  # type: ignore[list-item]
    assert cookies(headers, NAMES) == {NAMES[0]: [b"v"]}
    assert authorization(headers) == Credential(b"t")


@given(st.lists(st.binary() | st.text('=;, \t_Hostsein-"\\').map(lambda text: text.encode())))
def test_whatever_the_cookie_headers_hold_only_our_names_come_out(lines: list[bytes]) -> None:
    found = cookies([(b"cookie", line) for line in lines], NAMES)
    assert set(found) <= set(NAMES)
    assert all(b";" not in value and value in b";".join(lines) for values in found.values() for value in values)


@pytest.mark.parametrize(
    ("method", "names", "expected"),
    [
        ("OPTIONS", [b"origin", b"access-control-request-method"], True),
        ("OPTIONS", [b"origin"], False),
        ("OPTIONS", [b"access-control-request-method"], False),
        ("POST", [b"origin", b"access-control-request-method"], False),
    ],
)
def test_preflights_are_recognised(method: str, names: list[bytes], expected: bool) -> None:
    assert has_preflight(method, [(name, b"x") for name in names]) is expected
