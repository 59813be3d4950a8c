"""Set-Cookie to the letter, and what browsers would not keep (rfc6265bis)."""

from __future__ import annotations

from dataclasses import replace
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_auth.http.cookies import CookieSpec, SetCookie, check, keep_problem

NOW = 1_800_000_000.0
HOST = CookieSpec("__Host-session")


def _attributes(header: bytes) -> dict[str, str]:
    _, *attributes = header.decode("ascii").split("; ")
    pairs = [attribute.partition("=") for attribute in attributes]
    assert len({name for name, _, _ in pairs}) == len(pairs)
    return {name: value for name, _, value in pairs}


def test_the_default_cookie_to_the_letter() -> None:
    assert SetCookie(HOST).set("v", None, now=NOW) == b"__Host-session=v; Path=/; HttpOnly; SameSite=Lax; Secure"


def test_a_partitioned_cookie_says_so_when_it_is_set_and_when_it_goes() -> None:
    writer = SetCookie(replace(HOST, partitioned=True))
    for header in (writer.set("v", None, now=NOW), writer.clear()):
        assert header.endswith(b"; Secure; Partitioned")
    assert b"Partitioned" not in SetCookie(HOST).set("v", None, now=NOW)


def test_without_remember_the_cookie_has_no_max_age() -> None:
    assert not {"Max-Age", "Expires"} & set(_attributes(SetCookie(HOST).set("v", None, now=NOW)))


def test_expires_stands_beside_max_age_with_a_year_of_four_digits() -> None:
    attributes = _attributes(SetCookie(HOST).set("v", 86400, now=NOW))
    assert attributes["Max-Age"] == "86400"
    assert attributes["Expires"] == "Sat, 16 Jan 2027 08:00:00 GMT"
    assert parsedate_to_datetime(attributes["Expires"]).timestamp() == NOW + 86400


def test_a_lifetime_that_is_over_deletes() -> None:
    attributes = _attributes(SetCookie(HOST).set("v", -5, now=NOW))
    assert (attributes["Max-Age"], attributes["Expires"]) == ("0", "Thu, 01 Jan 1970 00:00:00 GMT")


def test_a_lifetime_without_end_is_still_a_date() -> None:
    assert _attributes(SetCookie(HOST).set("v", 10**12, now=NOW))["Expires"].endswith("Dec 9999 23:59:59 GMT")


SPECS = [
    HOST,
    CookieSpec("session-1a2b", secure=False),
    CookieSpec("__Secure-session", domain="example.com", path="/app", same_site="strict"),
    CookieSpec("__Host-Http-session", same_site="none"),
    CookieSpec("__Http-session", path="/x"),
    CookieSpec("__Host-session", same_site="none", partitioned=True),
    CookieSpec("__Secure-session", domain="example.com", partitioned=True),
]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("same_site", ["lax", "strict", "none"])
def test_every_cookie_of_ours_names_its_samesite(spec: CookieSpec, same_site: str) -> None:
    spec = replace(spec, same_site=same_site, secure=True)  # type: ignore[arg-type]
    for header in (SetCookie(spec).set("v", 60, now=NOW), SetCookie(spec).clear()):
        assert _attributes(header)["SameSite"] == same_site.capitalize()


@pytest.mark.parametrize("spec", SPECS)
def test_a_clearing_cookie_repeats_what_the_setting_one_said(spec: CookieSpec) -> None:
    writer = SetCookie(spec)
    setting, clearing = _attributes(writer.set("v", None, now=NOW)), _attributes(writer.clear())
    assert clearing.pop("Max-Age") == "0"
    assert clearing.pop("Expires") == "Thu, 01 Jan 1970 00:00:00 GMT"
    assert clearing == setting
    assert writer.clear().startswith(spec.name.encode() + b"=; ")


@pytest.mark.parametrize("spec", SPECS)
def test_every_cookie_of_ours_is_http_only(spec: CookieSpec) -> None:
    assert "HttpOnly" in _attributes(SetCookie(spec).set("v", None, now=NOW))
    assert "HttpOnly" in _attributes(SetCookie(spec).clear())


@pytest.mark.parametrize("value", ["a;b", "a b", 'a"b', "a,b", "a\\b", "a\r\nX: y", "ä", "\x00"])
def test_a_value_can_add_no_attribute_and_no_header(value: str) -> None:
    with pytest.raises(ValueError, match="cookie's value"):
        SetCookie(HOST).set(value, None, now=NOW)


def test_a_value_that_browsers_find_too_long_is_refused() -> None:
    longest = 4096 - len(HOST.name)
    SetCookie(HOST).set("a" * longest, None, now=NOW)
    with pytest.raises(ValueError, match="4096"):
        SetCookie(HOST).set("a" * (longest + 1), None, now=NOW)


@given(st.text(), st.none() | st.integers())
def test_a_value_is_written_as_it_is_or_refused(value: str, max_age: int | None) -> None:
    try:
        header = SetCookie(HOST).set(value, max_age, now=NOW)
    except ValueError:
        return
    assert header.startswith(f"__Host-session={value}; ".encode())
    assert header.count(b";") == (4 if max_age is None else 6)


DROPPED = [
    CookieSpec("__Host-session", domain="example.com"),
    CookieSpec("__Host-session", path="/app"),
    CookieSpec("__Host-session", secure=False),
    CookieSpec("__hOsT-session", domain="example.com"),
    CookieSpec("__Host-Http-session", path="/app"),
    CookieSpec("__host-http-session", secure=False),
    CookieSpec("__Secure-session", secure=False),
    CookieSpec("__SECURE-session", secure=False),
    CookieSpec("__Http-session", secure=False),
    CookieSpec("session", secure=False, same_site="none"),
    CookieSpec("session", secure=False, partitioned=True),
    CookieSpec(""),
    CookieSpec("ses sion"),
    CookieSpec("session;"),
    CookieSpec("session="),
    CookieSpec("sessiön"),
    CookieSpec("session\n"),
    CookieSpec("s" * 4097),
    CookieSpec("session", path="app"),
    CookieSpec("session", path="/a;b"),
    CookieSpec("session", path="/\x00"),
    CookieSpec("session", path="/" * 1025),
    CookieSpec("session", domain="https://example.com"),
    CookieSpec("session", domain="example.com:443"),
    CookieSpec("session", domain="example.com; Path=/"),
    CookieSpec("session", domain=""),
]


@pytest.mark.parametrize("spec", DROPPED)
def test_a_cookie_that_every_browser_drops_is_named(spec: CookieSpec) -> None:
    assert check(spec)
    with pytest.raises(ValueError, match="cookie"):
        SetCookie(spec)


@pytest.mark.parametrize("spec", SPECS)
def test_a_cookie_that_browsers_keep_has_no_problem(spec: CookieSpec) -> None:
    assert check(spec) is None


PLAIN = CookieSpec("session-1a2b", secure=False)
WIDE = CookieSpec("__Secure-session", domain="example.com")


@pytest.mark.parametrize(
    ("spec", "scheme", "host", "loopback", "cure"),
    [
        (HOST, "https", b"app.example.com", False, None),
        (HOST, "http", b"localhost:8000", True, None),
        (HOST, "http", b"192.168.1.5", False, "TRUSTED_PROXIES"),
        (HOST, "http", b"app.example.com", False, "ASGI_AUTH_URL"),
        (HOST, "http", b"app.example.com", False, "INSECURE_HTTP"),
        (PLAIN, "http", b"192.168.1.5", False, None),
        (WIDE, "https", b"example.com", False, None),
        (WIDE, "https", b"app.EXAMPLE.com:8443", False, None),
        (WIDE, "https", b"badexample.com", False, "SESSION_DOMAIN"),
        (WIDE, "https", b"example.org", False, "SESSION_DOMAIN"),
        (WIDE, "https", b"127.0.0.1:8000", False, "TRUSTED_PROXIES"),
        (WIDE, "https", b"", False, "SESSION_DOMAIN"),
        (CookieSpec("s", domain=".example.com"), "https", b"a.example.com", False, None),
        (CookieSpec("s", domain="0.0.1"), "https", b"10.0.0.1", False, "SESSION_DOMAIN"),
        (CookieSpec("s", domain="localhost"), "https", b"localhost:8000", True, None),
    ],
)
def test_a_cookie_that_this_browser_would_drop_names_its_cure(
    spec: CookieSpec, scheme: str, host: bytes, loopback: bool, cure: str | None
) -> None:
    problem = keep_problem(spec, scheme=scheme, host=host, loopback=loopback)
    if cure is None:
        assert problem is None
    else:
        assert problem is not None
        assert cure in problem
        assert problem.isascii()
        assert not {'"', "\\"} & set(problem)


@given(st.binary())
def test_no_host_breaks_the_question_whether_a_cookie_is_kept(host: bytes) -> None:
    assert keep_problem(WIDE, scheme="https", host=host, loopback=False) is None or b"example.com" not in host.lower()
