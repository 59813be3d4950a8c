"""The table of cross-origin requests, row by row, and where a login may send people."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_auth.http.origin import Verdict, cross_origin, is_local_path, parse_origin

HOST = b"app.example.com"
SAME = b"https://app.example.com"
SPA = b"https://spa.example.com:8443"
EVIL = b"https://evil.test"
TRUSTED = frozenset({SPA})
IN, SITE, ORIGIN = Verdict(True), Verdict(False, "Sec-Fetch-Site"), Verdict(False, "Origin")

UNSAFE_ROWS: list[tuple[list[bytes], list[bytes], list[bytes], Verdict]] = [
    # the browser says where the request comes from
    ([b"same-origin"], [], [HOST], IN),
    ([b"same-origin"], [SAME], [HOST], IN),
    ([b"same-origin"], [b"null"], [HOST], IN),
    ([b"same-origin"], [EVIL], [b"rewritten"], IN),
    ([b"none"], [], [HOST], IN),
    ([b"none"], [b"null"], [HOST], IN),
    ([b"same-site"], [SPA], [HOST], IN),
    ([b"cross-site"], [SPA], [HOST], IN),
    ([b"something-new"], [SPA], [HOST], IN),
    ([b"same-site"], [], [HOST], SITE),
    ([b"same-site"], [SAME], [HOST], SITE),
    ([b"cross-site"], [], [HOST], SITE),
    ([b"cross-site"], [EVIL], [HOST], SITE),
    ([b"cross-site"], [b"null"], [HOST], SITE),
    ([b"cross-site"], [SPA, SPA], [HOST], SITE),
    ([b"something-new"], [SAME], [HOST], SITE),
    ([b""], [SAME], [HOST], SITE),
    ([b"Same-Origin"], [SAME], [HOST], SITE),
    ([b"same-origin", b"same-origin"], [SAME], [HOST], SITE),
    ([b"same-origin", b"cross-site"], [SAME], [HOST], SITE),
    ([b"same-origin, none"], [SAME], [HOST], SITE),
    # it does not: plain http, old browsers, no browser
    ([], [], [HOST], IN),
    ([], [], [], IN),
    ([], [SAME], [HOST], IN),
    ([], [b"http://app.example.com"], [HOST], IN),
    ([], [b"http://localhost:8000"], [b"localhost:8000"], IN),
    ([], [b"http://[::1]:8000"], [b"[::1]:8000"], IN),
    ([], [SAME], [b"10.0.0.1", HOST], IN),
    ([], [SPA], [HOST], IN),
    ([], [EVIL], [HOST], ORIGIN),
    ([], [b"https://app.example.com:8443"], [HOST], ORIGIN),
    ([], [SAME], [b"app.example.com:443"], ORIGIN),
    ([], [b"https://APP.example.com"], [HOST], ORIGIN),
    ([], [b"https://spa.example.com"], [HOST], ORIGIN),
    ([], [b"http://spa.example.com:8443"], [HOST], ORIGIN),
    ([], [b"null"], [HOST], ORIGIN),
    ([], [b"null"], [b"null"], ORIGIN),
    ([], [b""], [HOST], ORIGIN),
    ([], [b""], [b""], ORIGIN),
    ([], [b"https://"], [b""], ORIGIN),
    ([], [b"app.example.com"], [HOST], ORIGIN),
    ([], [SAME + b"/"], [HOST], ORIGIN),
    ([], [b"https://user@app.example.com"], [HOST], ORIGIN),
    ([], [SAME + b", " + EVIL], [HOST], ORIGIN),
    ([], [SAME, SAME], [HOST], ORIGIN),
    ([], [SAME], [], ORIGIN),
    ([], [SAME], [b"127.0.0.1:8000"], ORIGIN),
]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "QUERY", "get"])
@pytest.mark.parametrize(("sites", "origins", "hosts", "verdict"), UNSAFE_ROWS)
def test_cross_origin_table(
    method: str, sites: list[bytes], origins: list[bytes], hosts: list[bytes], verdict: Verdict
) -> None:
    assert cross_origin(method, sites=sites, origins=origins, hosts=hosts, trusted=TRUSTED) == verdict


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize(("sites", "origins", "hosts", "verdict"), UNSAFE_ROWS)
def test_safe_methods_are_let_in(
    method: str, sites: list[bytes], origins: list[bytes], hosts: list[bytes], verdict: Verdict
) -> None:
    assert cross_origin(method, sites=sites, origins=origins, hosts=hosts, trusted=TRUSTED).allowed


@pytest.mark.parametrize(("sites", "origins", "hosts", "verdict"), UNSAFE_ROWS)
def test_websocket_origin_table(sites: list[bytes], origins: list[bytes], hosts: list[bytes], verdict: Verdict) -> None:
    assert cross_origin("GET", sites=sites, origins=origins, hosts=hosts, trusted=TRUSTED, websocket=True) == verdict


@pytest.mark.parametrize(
    ("sites", "origin", "verdict"),
    [([], SAME, IN), ([], SAME + b":444", ORIGIN), ([b"same-site"], SAME, SITE)],
)
def test_the_origin_of_url_counts_beside_host(sites: list[bytes], origin: bytes, verdict: Verdict) -> None:
    own = frozenset({SAME})
    assert cross_origin("POST", sites=sites, origins=[origin], hosts=[b"inner"], trusted=(), own=own) == verdict


@pytest.mark.parametrize("verdict", [SITE, ORIGIN])
def test_cross_origin_refusal_names_the_header_and_the_setting(verdict: Verdict) -> None:
    error = verdict.error()
    assert (error.status, error.code) == (403, "cross_origin")
    assert verdict.header in error.description
    assert "ASGI_AUTH_TRUSTED_ORIGINS" in error.description
    assert error.description.isascii()
    assert not {'"', "\\"} & set(error.description)


def test_a_host_that_a_proxy_rewrote_names_the_settings_for_proxies() -> None:
    assert "ASGI_AUTH_URL" in ORIGIN.error().description
    assert "ASGI_AUTH_TRUSTED_PROXIES" in ORIGIN.error().description


@given(
    st.sampled_from(["POST", "GET"]),
    st.lists(st.binary() | st.just(b"cross-site"), max_size=2),
    st.lists(st.binary() | st.sampled_from([SAME, EVIL, b"null"]), max_size=2),
    st.lists(st.binary() | st.just(HOST), max_size=2),
)
def test_no_request_that_names_a_strange_origin_is_let_in(
    method: str, sites: list[bytes], origins: list[bytes], hosts: list[bytes]
) -> None:
    verdict = cross_origin(method, sites=sites, origins=origins, hosts=hosts, trusted=TRUSTED, websocket=True)
    if verdict.allowed:
        assert (
            sites in ([b"same-origin"], [b"none"])
            or origins == [SPA]
            or (not sites and not origins)
            or (not sites and len(origins) == 1 and origins[0].partition(b"://")[2] in hosts)
        )


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://app.example.com", b"https://app.example.com"),
        ("HTTPS://App.Example.COM", b"https://app.example.com"),
        ("https://app.example.com:443", b"https://app.example.com"),
        ("http://app.example.com:80", b"http://app.example.com"),
        ("http://app.example.com:443", b"http://app.example.com:443"),
        ("http://localhost:03000", b"http://localhost:3000"),
        ("http://[0:0:0:0:0:0:0:1]:8000", b"http://[::1]:8000"),
        ("capacitor://localhost", b"capacitor://localhost"),
        ("chrome-extension://abcdefghijklmnop", b"chrome-extension://abcdefghijklmnop"),
    ],
)
def test_an_origin_is_read_as_browsers_send_it(text: str, origin: bytes) -> None:
    assert parse_origin(text) == origin


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "null",
        "app.example.com",
        "//app.example.com",
        "https://",
        "https://app.example.com/",
        "https://app.example.com/path",
        "https://app.example.com?x",
        "https://app.example.com#x",
        "https://user@app.example.com",
        "https://*.example.com",
        "https://app.example.com:",
        "https://app.example.com:0",
        "https://app.example.com:65536",
        "https://app.example.com:https",
        "https://app..example.com",
        "https://bücher.example",
        "https://app.example.com ",
        "https://app.example.com\n",
        "https://[::1",
        "https://[1:2:3]",
        "https://\u212a.example",
    ],
)
def test_anything_more_than_an_origin_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no origin"):
        parse_origin(text)


@given(st.text())
def test_what_is_read_as_an_origin_is_read_so_again(text: str) -> None:
    try:
        origin = parse_origin(text)
    except ValueError:
        return
    assert parse_origin(origin.decode()) == origin


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/a",
        "/a/b/",
        "/a?b=c&d=//e",
        "/a#b//c",
        "/my%20file",
        "/caf%C3%A9",
        "/a%2Fb",
        "/.well-known/x",
        "/@me",
        "/a:b",
    ],
)
def test_a_path_of_this_host_is_one(path: str) -> None:
    assert is_local_path(path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "a",
        "?a",
        "//evil.test",
        "///evil.test",
        "/\\evil.test",
        "\\/evil.test",
        "\\\\evil.test",
        "/\t/evil.test",
        "/\n/evil.test",
        "\t//evil.test",
        " /a",
        "/a\r\nSet-Cookie: x=1",
        "/a\x00",
        "/a b",
        "/é",
        "/\uff0fevil.test",
        "/\ud800",
        "https://evil.test",
        "https:/evil.test",
        "https:evil.test",
        "javascript:alert(1)",
        "data:text/html,x",
        "/%2fevil.test",
        "/%2F%2Fevil.test",
        "/%5Cevil.test",
        "/%252Fevil.test",
        "/%25252Fevil.test",
        "/%09/evil.test",
        "/%0d%0aSet-Cookie:%20x=1",
        "/.//evil.test",
        "/..//evil.test",
        "/a/..//evil.test",
        "/%2e%2e//evil.test",
        "/../a",
        "/./a",
        "/a/%2e%2e/b",
        "/a//b",
        "/a\\b",
        "/?a=\\",
        "/" + "a" * 2048,
        "/%" + "25" * 600 + "2f",
    ],
)
def test_a_way_off_this_host_is_refused(path: str) -> None:
    assert not is_local_path(path)


def test_a_path_of_2048_characters_is_the_longest() -> None:
    assert is_local_path("/" + "a" * 2047)


@given(st.text() | st.text("/\\.%2fF5cC\t:ax").map(lambda text: "/" + text))
def test_what_is_let_through_has_one_slash_in_front_and_no_control_character(text: str) -> None:
    if is_local_path(text):
        assert text.startswith("/")
        assert not text.startswith("//")
        assert "\\" not in text
        assert text.isascii()
        assert text.isprintable()
