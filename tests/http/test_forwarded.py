"""Who is at the other end, and who may say so (ASVS 4.1.3, RFC 7239)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette._utils import get_route_path

from asgi_auth.http import Headers
from asgi_auth.http.forwarded import (
    Peer,
    Proxies,
    address_prefix,
    client_address,
    hostname,
    is_loopback,
    loopback_request,
    peer,
    route_path,
)

NGINX = ("10.0.0.1", 50000)
PROXIES = Proxies.parse(["10.0.0.0/8", "2001:db8:ffff::/48"])
NONE = Proxies()
HOST = (b"host", b"app.example.com")
FOR, PROTO, FHOST, FORWARDED = b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"forwarded"
SPOOFED: Headers = [
    HOST,
    (FOR, b"1.1.1.1"),
    (PROTO, b"https"),
    (FHOST, b"evil.test"),
    (FORWARDED, b"for=2.2.2.2;proto=https;host=evil.test"),
]


@pytest.mark.parametrize("client", [("203.0.113.9", 1), ("127.0.0.1", 1), ("testclient", 50000), None, ("", "0")])
@pytest.mark.parametrize("proxies", [NONE, PROXIES])
def test_forwarded_headers_from_a_stranger_change_nothing(client: Any, proxies: Proxies) -> None:
    assert peer(client, "http", SPOOFED, proxies) == Peer(client[0] if client else "", "http", b"app.example.com")


@pytest.mark.parametrize(
    ("client", "address"),
    [
        (("127.0.0.1", 123), "127.0.0.1"),
        (["127.0.0.1", 123], "127.0.0.1"),
        (("127.0.0.1", "123"), "127.0.0.1"),
        (("::1", 0, 0, 0), "::1"),
        (("testclient", 50000), "testclient"),
        (("", "0"), ""),
        (None, ""),
        ((), ""),
        ((None, 1), ""),
        ("127.0.0.1", ""),
    ],
)
def test_client_addresses_of_every_server(client: object, address: str) -> None:
    assert client_address(client) == address
    assert peer(client, None, [], NONE) == Peer(address, "http", b"")


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        (None, "http"),
        ("", "http"),
        ("http", "http"),
        ("ws", "http"),
        ("https", "https"),
        ("wss", "https"),
        ("WSS", "https"),
    ],
)
def test_schemes_of_sockets_count_as_those_of_pages(scheme: str | None, expected: str) -> None:
    assert peer(None, scheme, [], NONE).scheme == expected


@pytest.mark.parametrize("hosts", [[], [b"a", b"b"], [b"a", b"a"]])
def test_no_host_or_two_is_none(hosts: list[bytes]) -> None:
    assert peer(None, None, [(b"host", host) for host in hosts], NONE).host == b""


@pytest.mark.parametrize(
    ("lines", "address"),
    [
        ([], "10.0.0.1"),
        ([b""], "10.0.0.1"),
        ([b"203.0.113.9"], "203.0.113.9"),
        ([b"1.1.1.1, 203.0.113.9"], "203.0.113.9"),
        ([b"1.1.1.1", b"203.0.113.9"], "203.0.113.9"),
        ([b"1.1.1.1, 203.0.113.9, 10.0.0.7"], "203.0.113.9"),
        ([b"10.0.0.8, 10.0.0.7"], "10.0.0.8"),
        ([b"203.0.113.9:4711"], "203.0.113.9"),
        ([b"2001:DB8:0:0::1"], "2001:db8::1"),
        ([b"[2001:db8::1]:4711"], "2001:db8::1"),
        ([b"[2001:db8::1]"], "2001:db8::1"),
        ([b"1.1.1.1, 2001:db8:ffff::2"], "1.1.1.1"),
        ([b"::ffff:203.0.113.9"], "203.0.113.9"),
        ([b"1.1.1.1, ::ffff:10.0.0.7"], "1.1.1.1"),
        ([b"1.1.1.1, unknown"], "10.0.0.1"),
        ([b"1.1.1.1, unknown, 10.0.0.7"], "10.0.0.7"),
        ([b"1.1.1.1, <script>"], "10.0.0.1"),
        ([b"1.1.1.1, unix:"], "10.0.0.1"),
        ([b"203.0.113.9 ,\t"], "203.0.113.9"),
    ],
)
def test_the_rightmost_untrusted_hop_of_x_forwarded_for_counts(lines: list[bytes], address: str) -> None:
    assert peer(NGINX, "http", [(FOR, line) for line in lines], PROXIES).address == address


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([b"for=203.0.113.9;proto=https;host=a.test"], Peer("203.0.113.9", "https", b"a.test")),
        ([b'For="203.0.113.9:4711" ; Proto=HTTPS'], Peer("203.0.113.9", "https", b"app.example.com")),
        ([b'for="[2001:db8::1]:4711"'], Peer("2001:db8::1", "http", b"app.example.com")),
        ([b"for=203.0.113.9:4711"], Peer("203.0.113.9", "http", b"app.example.com")),
        ([b'for="\\203.0.113.9"'], Peer("203.0.113.9", "http", b"app.example.com")),
        ([b"for=_hidden;proto=https"], Peer("_hidden", "https", b"app.example.com")),
        ([b'for="_hidden:_port"'], Peer("_hidden", "http", b"app.example.com")),
        ([b"for=unknown;proto=https"], Peer("10.0.0.1", "https", b"app.example.com")),
        ([b"proto=https"], Peer("10.0.0.1", "https", b"app.example.com")),
        ([b"for=1.1.1.1;proto=https, for=203.0.113.9"], Peer("203.0.113.9", "http", b"app.example.com")),
        ([b"for=1.1.1.1", b"for=203.0.113.9;proto=https"], Peer("203.0.113.9", "https", b"app.example.com")),
        ([b"for=203.0.113.9;proto=wss;host=a.test, for=10.0.0.7;host=inner"], Peer("203.0.113.9", "https", b"a.test")),
        ([b'for="', b"for=203.0.113.9"], Peer("203.0.113.9", "http", b"app.example.com")),
        ([b'for=1.1.1.1;x=", for=203.0.113.9'], Peer("10.0.0.1", "http", b"app.example.com")),
        ([b'for=1.1.1.1;x=", for="[2001:db8::1]"'], Peer("10.0.0.1", "http", b"app.example.com")),
        ([b"for=1.1.1.1;for=2.2.2.2"], Peer("10.0.0.1", "http", b"app.example.com")),
        ([b'for=203.0.113.9;proto=gopher;host="a/b"'], Peer("203.0.113.9", "http", b"app.example.com")),
        ([b"garbage"], Peer("10.0.0.1", "http", b"app.example.com")),
        ([b" , ; ,"], Peer("10.0.0.1", "http", b"app.example.com")),
    ],
)
def test_forwarded_table(lines: list[bytes], expected: Peer) -> None:
    assert peer(NGINX, "http", [HOST, *((FORWARDED, line) for line in lines)], PROXIES) == expected


@pytest.mark.parametrize(
    ("hops", "proto", "host", "expected"),
    [
        (b"9.9.9.9", b"https", b"a.test", ("https", b"a.test")),
        (b"9.9.9.9", b"http, https", b"evil.test, a.test", ("https", b"a.test")),
        (b"9.9.9.9, 10.0.0.7", b"https, http", b"a.test, inner", ("https", b"a.test")),
        (b"9.9.9.9, 10.0.0.7", b"http, https, http", b"x, a.test, inner", ("https", b"a.test")),
        (b"9.9.9.9, 10.0.0.7", b"https", b"a.test:8443", ("https", b"a.test:8443")),
        (b"9.9.9.9", b"wss", b"[::1]:80", ("https", b"[::1]:80")),
        (b"9.9.9.9", b"gopher", b"a b", ("http", b"app.example.com")),
        (b"", b"https", b"a.test", ("https", b"a.test")),
    ],
)
def test_scheme_and_host_are_those_that_the_same_hop_named(
    hops: bytes, proto: bytes, host: bytes, expected: tuple[str, bytes]
) -> None:
    headers = [HOST, (FOR, hops), (PROTO, proto), (FHOST, host)]
    assert peer(NGINX, "http", headers, PROXIES)[1:] == expected


@pytest.mark.parametrize(
    ("forwarded", "address"), [(b"for=9.9.9.9", "9.9.9.9"), (b"for=1.1.1.1", "10.0.0.1"), (b"proto=http", "10.0.0.1")]
)
def test_two_header_families_that_disagree_name_nobody(forwarded: bytes, address: str) -> None:
    headers = [(FOR, b"9.9.9.9"), (PROTO, b"https"), (FORWARDED, forwarded)]
    assert peer(NGINX, "http", headers, PROXIES)[:2] == (address, "https")


@pytest.mark.parametrize("client", [None, ("", "0"), ("", None)])
def test_unix_trusts_a_peer_without_address_and_no_other(client: Any) -> None:
    unix = Proxies.parse(["unix"])
    headers = [(FOR, b"203.0.113.9")]
    assert peer(client, "http", headers, unix).address == "203.0.113.9"
    assert peer(client, "http", headers, PROXIES).address == ""
    assert peer(("127.0.0.1", 1), "http", headers, unix).address == "127.0.0.1"


@pytest.mark.parametrize("client", ["10.0.0.1", "::ffff:10.0.0.1", "2001:db8:ffff::9", "fe80::1%eth0"])
def test_a_proxy_is_recognised_however_its_address_is_written(client: str) -> None:
    assert Proxies.parse(["10.0.0.1", "2001:db8:ffff::9/128", "fe80::/10"]).trusts(client)


@pytest.mark.parametrize("entry", ["", "*", "10.0.0.1/8", "10.0.0", "proxy.internal", "10.0.0.0/33", "10.0.0.1:80"])
def test_an_entry_that_is_no_proxy_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match="no address, network"):
        Proxies.parse(["127.0.0.1", entry])


@given(
    st.lists(
        st.tuples(
            st.sampled_from([FOR, PROTO, FHOST, FORWARDED, b"host"]),
            st.binary() | st.text('for=;,"\\[]:_unkow10. pthsi').map(lambda text: text.encode()),
        )
    )
)
def test_whatever_a_proxy_passes_on_the_peer_is_readable(headers: list[tuple[bytes, bytes]]) -> None:
    found = peer(NGINX, "http", headers, PROXIES)
    assert found.scheme in ("http", "https")
    assert found.address.isprintable()
    assert 0 < len(found.address) <= 64


LOOPBACK = [
    b"localhost",
    b"LOCALHOST:8000",
    b"app.localhost:8000",
    b"a.b.localhost",
    b"127.0.0.1",
    b"127.0.0.1:8000",
    b"127.255.255.254",
    b"[::1]",
    b"[::1]:8000",
    b"testserver",
    b"testserver.local",
    b"test",
]
NOT_LOOPBACK = [
    b"",
    b"example.com",
    b"localhost.example.com",
    b"notlocalhost",
    b"localhost@evil.test",
    b"localhost:80:80",
    b"127.0.0.1.evil.test",
    b"127.0.0.256",
    b"128.0.0.1",
    b"::1",
    b"[::2]",
    b"0.0.0.0",
    b"10.0.0.1",
    b"host.docker.internal",
    b"testserver.example.com",
    b"localhost\n",
    b"falconframework.org",
]


@pytest.mark.parametrize("host", LOOPBACK)
def test_these_hosts_are_loopback(host: bytes) -> None:
    assert is_loopback(host)
    assert loopback_request(host, [])


@pytest.mark.parametrize("host", NOT_LOOPBACK)
def test_these_hosts_are_not_loopback(host: bytes) -> None:
    assert not is_loopback(host)
    assert not loopback_request(host, [])


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([(b"origin", b"http://localhost:3000")], True),
        ([(b"origin", b"null")], True),
        ([(b"origin", b"https://app.example.com")], False),
        ([(b"origin", b"http://localhost.evil.test")], False),
        ([(b"origin", b"https://")], False),
        ([(b"origin", b"")], False),
        ([(b"origin", b"http://localhost"), (b"origin", b"https://app.example.com")], False),
        ([(FHOST, b"localhost:8000")], True),
        ([(FHOST, b"app.example.com")], False),
        ([(FHOST, b"localhost, app.example.com")], False),
        ([(FORWARDED, b"for=1.1.1.1;host=localhost")], True),
        ([(FORWARDED, b'host="127.0.0.1:8000"')], True),
        ([(FORWARDED, b"for=1.1.1.1")], True),
        ([(FORWARDED, b"host=app.example.com")], False),
        ([(FORWARDED, b"host=localhost, host=app.example.com")], False),
        ([(FORWARDED, b"host=localhost"), (FORWARDED, b'host="')], False),
    ],
)
def test_a_public_site_behind_a_loopback_host_is_not_loopback(headers: Headers, expected: bool) -> None:
    assert loopback_request(b"127.0.0.1:8000", headers) is expected


@pytest.mark.parametrize(
    ("host", "name"),
    [(b"A.test:80", "a.test"), (b"a.test", "a.test"), (b"[::1]:80", "::1"), (b"a b", ""), (b"", ""), (b"\xff", "")],
)
def test_a_host_is_split_from_its_port(host: bytes, name: str) -> None:
    assert hostname(host) == name


@pytest.mark.parametrize(
    ("address", "prefix"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        ("", ""),
        ("x" * 100, "x" * 64),
    ],
)
def test_throttles_count_ipv6_by_its_network(address: str, prefix: str) -> None:
    assert address_prefix(address) == prefix


@given(st.text() | st.ip_addresses().map(str))
def test_every_text_has_a_prefix_of_bounded_length(address: str) -> None:
    assert len(address_prefix(address)) <= 64


PATHS = st.text("/ab", max_size=6)


@given(PATHS, PATHS)
def test_the_route_path_is_starlettes(path: str, root: str) -> None:
    scope = {"type": "http", "path": path, "root_path": root}
    assert route_path(scope) == get_route_path(scope)


@pytest.mark.parametrize("scope", [{"path": "/a"}, {"path": "/a", "root_path": None}, {"path": "/a", "root_path": ""}])
def test_a_missing_root_path_is_none(scope: dict[str, Any]) -> None:
    assert route_path(scope) == "/a"
