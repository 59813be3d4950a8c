"""Who is at the other end, by which scheme and host: the scope's word, and that of the proxies one may believe.

Without trusted proxies no forwarding header is even read; with them, the rightmost hop that is not one of them counts,
since everything left of it is the client's own say (RFC 7239 §8.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Literal, NamedTuple
from urllib.parse import urlparse

from asgi_auth.http import Headers, values

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_PAIR = re.compile(
    rb"[ \t]*(?:(" + _TOKEN + rb'+)=(?:"((?:[^"\\]|\\.)*)"|((?:' + _TOKEN + rb"|[:\[\]])+))[ \t]*)?([;,]|\Z)"
)
_ESCAPED = re.compile(rb"\\(.)")
_NODE = re.compile(r"(?:\[([^\[\]]+)\]|([^:\[\]]+))(?::(?:[0-9]{1,5}|_[0-9A-Za-z._-]+))?")
_OBFUSCATED = re.compile(r"_[0-9A-Za-z._-]{1,63}")
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(?::[0-9]{1,5})?")
_ORIGIN_HOST = re.compile(rb"[A-Za-z][0-9A-Za-z+.-]*://([^/]*)")
_OCTET = rb"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_LOOPBACK = re.compile(
    rb"(?i:(?:[0-9a-z_-]+\.)*localhost|127(?:\."
    + _OCTET
    + rb"){3}|\[::1\]|testserver(?:\.local)?|test)(?::[0-9]{0,5})?"
)
_SCHEMES: Mapping[str, str] = {"http": "http", "ws": "http", "https": "https", "wss": "https"}


@dataclass(frozen=True, slots=True)
class Proxies:
    """Whose forwarding headers are believed: networks, and with `unix` a peer that has no address."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    unix: bool = False

    @classmethod
    def parse(cls, entries: Iterable[str]) -> Proxies:
        """Read addresses (`10.0.0.1`), networks (`10.0.0.0/8`) and `unix`. Raises ValueError: names what is none."""
        networks: list[IPv4Network | IPv6Network] = []
        unix = False
        for entry in entries:
            if entry.strip() == "unix":
                unix = True
                continue
            try:
                networks.append(ip_network(entry.strip()))
            except ValueError as error:
                raise ValueError(f"{entry!r} is no address, network (such as 10.0.0.0/8) or unix: {error}") from None
        return cls(tuple(networks), unix)

    def __bool__(self) -> bool:
        return self.unix or bool(self.networks)

    def trusts(self, address: str) -> bool:
        """Whether the peer with this address (empty: it has none) is one of the proxies."""
        if not address:
            return self.unix
        ip = parse_ip(address)
        return ip is not None and any(ip in network for network in self.networks)


class Peer(NamedTuple):
    """The client as far as it is known: address (empty: none), `http` or `https`, the host it asked (empty: none)."""

    address: str
    scheme: str
    host: bytes


def peer(client: object, scheme: str | None, headers: Headers, proxies: Proxies) -> Peer:
    """Who asks, by which scheme, for which host.

    `X-Forwarded-*` and `Forwarded` (RFC 7239) count if `client` is a trusted proxy, then X-Forwarded-Proto and -Host
    before Forwarded's `proto` and `host`. If both families name an address and do not agree, one of them is what the
    client made up and the proxy passed on: then the proxy's own address stands.

    Args:
        client: `scope["client"]`, or None.
        scheme: `scope["scheme"]`, or None; `ws` and `wss` count as `http` and `https`, as they do for cookies.
    """
    address = client_address(client)
    own = Peer(address, _SCHEMES.get((scheme or "http").lower(), "http"), request_host(headers))
    if not proxies or not proxies.trusts(address):
        return own
    nodes = _entries(headers, b"x-forwarded-for")
    named, depth = _rightmost_untrusted(address, nodes, proxies)
    elements = _forwarded(headers)
    element: Mapping[bytes, bytes] = {}
    if elements:
        also, at = _rightmost_untrusted(address, [one.get(b"for", b"") for one in elements], proxies)
        element = elements[-min(at, len(elements))]
        if not nodes:
            named = also
        elif also != named:
            named = address
    proto = _at(_entries(headers, b"x-forwarded-proto"), depth) or element.get(b"proto", b"")
    host = _at(_entries(headers, b"x-forwarded-host"), depth) or element.get(b"host", b"")
    return Peer(
        named,
        _SCHEMES.get(proto.decode("latin-1").lower(), own.scheme),
        host if _HOST.fullmatch(host) else own.host,
    )


def client_address(client: object) -> str:
    """The address in `scope["client"]`; empty if there is none (None, unix sockets, granian's `("", "0")`)."""
    if isinstance(client, (tuple, list)) and client and isinstance(client[0], str):
        return client[0]
    return ""


def request_host(headers: Headers) -> bytes:
    """The `Host` header; empty if there is none, or more than one."""
    found = values(headers, b"host")
    return found[0] if len(found) == 1 else b""


def hostname(host: bytes) -> str:
    """The name in a `Host` (or what is left of one): lower case, without port and brackets; empty if it is none."""
    if not _HOST.fullmatch(host):
        return ""
    text = host.decode("ascii").lower()
    return text[1 : text.index("]")] if text.startswith("[") else text.partition(":")[0]


def is_loopback(host: bytes) -> bool:
    """Whether a `Host` names this machine, or is one that in-process test clients use."""
    return _LOOPBACK.fullmatch(host) is not None


def loopback_request(host: bytes, headers: Headers) -> bool:
    """Whether the browser speaks to its own machine, so that plain http is safe.

    `Host` decides, never the peer (containers have others). nginx's default sends `127.0.0.1` from a public site: there
    `Origin`, `X-Forwarded-Host` or `Forwarded`, whoever sent them, name a host that is not loopback.
    """
    if not is_loopback(host):
        return False
    for origin in values(headers, b"origin"):
        match = _ORIGIN_HOST.fullmatch(origin)
        if origin != b"null" and not (match and is_loopback(match[1])):
            return False
    lines = values(headers, b"forwarded")
    parsed = [_forwarded_line(line) for line in lines]
    named = [element[b"host"] for line in parsed for element in line or () if b"host" in element]
    return None not in parsed and all(is_loopback(one) for one in [*named, *_entries(headers, b"x-forwarded-host")])


def parse_ip(text: str) -> IPv4Address | IPv6Address | None:
    """An address without its zone; what is mapped into IPv6 as the IPv4 address that it is. None: it is none."""
    try:
        ip = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else ip


def address_prefix(address: str) -> str:
    """What a throttle counts an address under: IPv6 by its /64, IPv4 (mapped into IPv6 too) whole, all else cut."""
    ip = parse_ip(address)
    if ip is None:
        return address[:64]
    return str(ip) if ip.version == 4 else str(IPv6Network((int(ip), 64), strict=False))


def kept_address(address: str, keep: Literal["prefix", "full", "off"]) -> str:
    """What of an address is written down, in sessions and in the log.

    `prefix` tells a network, not a household: of IPv4 the /24, of IPv6 the /48. Loopback addresses, and what is none,
    tell of nobody and stay. `off`: nothing.
    """
    if keep == "off":
        return ""
    ip = parse_ip(address)
    if ip is None:
        return address[:64]
    if keep == "full" or ip.is_loopback:
        return str(ip)
    if ip.version == 4:
        return str(IPv4Network((int(ip), 24), strict=False))
    return str(IPv6Network((int(ip), 48), strict=False))


def route_path(scope: Mapping[str, Any]) -> str:
    """The path that the application routes by: `path` less a `root_path` in front of it, as Starlette does it."""
    path: str = scope["path"]
    root = scope.get("root_path") or ""
    if path == root:
        return ""
    return path[len(root) :] if path.startswith(root + "/") else path


def readings(scope: Mapping[str, Any]) -> set[str]:
    """`route_path`, and what else frameworks read a path as. Quart takes the target `http://host/admin` (RFC 9112
    §3.2.2) for `/admin`, and cuts off `root_path` even where no `/` follows: `/xadmin` under `/x` is `/admin`."""
    path, root = scope["path"], scope.get("root_path") or ""
    found = {route_path(scope)}
    if not path.startswith("/"):
        with suppress(ValueError):  # such a target can be read by nobody
            path = urlparse(path).path
        found.add(path)
    if root and path.startswith(root):
        found.add("/" + path[len(root) :].lstrip("/"))
    return found


def _rightmost_untrusted(address: str, nodes: Sequence[bytes], proxies: Proxies) -> tuple[str, int]:
    """The first hop from the right that is no trusted proxy, and which entry from the right it is.

    All trusted: the leftmost. A hop that is unreadable or unknown: the proxy that said so.
    """
    depth = 1
    for node in reversed(nodes):
        named = _node(node)
        if named is None:
            break
        address = named
        if not proxies.trusts(address):
            break
        depth += 1
    return address, depth


def _node(raw: bytes) -> str | None:
    """An address of X-Forwarded-For or a node of RFC 7239 §6, without its port; None: `unknown` or unreadable."""
    text = raw.strip(b" \t").decode("latin-1")
    match = _NODE.fullmatch(text)
    name = (match[1] or match[2]) if match else text
    if _OBFUSCATED.fullmatch(name):
        return name
    ip = parse_ip(name)
    return None if ip is None else str(ip)


def _entries(headers: Headers, name: bytes) -> list[bytes]:
    """The entries of a comma-separated header, over all its lines; empty ones are none (RFC 9110 §5.6.1)."""
    parts = [part.strip(b" \t") for line in values(headers, name) for part in line.split(b",")]
    return [part for part in parts if part]


def _at(entries: Sequence[bytes], depth: int) -> bytes:
    """The entry that the same hop wrote: so many from the right, or the leftmost if there are fewer."""
    return entries[-min(depth, len(entries))] if entries else b""


def _forwarded(headers: Headers) -> list[dict[bytes, bytes]]:
    """The elements of all `Forwarded` lines; a malformed line takes everything left of it along."""
    elements: list[dict[bytes, bytes]] = []
    for line in values(headers, b"forwarded"):
        parsed = _forwarded_line(line)
        elements = [] if parsed is None else elements + parsed
    return elements


def _forwarded_line(line: bytes) -> list[dict[bytes, bytes]] | None:
    """The elements of one line (RFC 7239 §4), names in lower case. None: malformed; no open quote may hide a hop."""
    elements: list[dict[bytes, bytes]] = [{}]
    at = 0
    while match := _PAIR.match(line, at):
        name, quoted, token, end = match.groups()
        if name is not None:
            if name.lower() in elements[-1]:
                return None
            elements[-1][name.lower()] = _ESCAPED.sub(rb"\1", quoted) if quoted is not None else token
        at = match.end()
        if end == b",":
            elements.append({})
        elif not end:
            return [element for element in elements if element]
    return None
