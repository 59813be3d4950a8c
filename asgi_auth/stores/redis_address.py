"""From a URL of a Redis deployment to what its parts say. Nothing is connected here."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from asgi_auth.errors import ConfigurationError
from asgi_auth.stores.redis_layout import MOST
from asgi_auth.stores.redis_topology import Server

MAX_CONNECTIONS = 50
PORT = 6379
SENTINEL_PORT = 26379
_SENTINEL_SEATS = 2


class Way(NamedTuple):
    """How a server is connected to, all of a deployment alike.

    Attributes:
        url: as redis-py takes it, its options too. Another server of the deployment takes the place of its host.
        seats: connections at most, to one server by one event loop.
        options: for every connection.
    """

    url: str
    seats: int
    options: dict[str, Any]


class Address(NamedTuple):
    """A store's URL.

    Attributes:
        prefix: of our keys.
        acks: replicas that must confirm each change.
        partitions: how many a new store is to have, if the URL says so.
        authority: whether those who decide on a failover are asked.
        nodes: those of a cluster that the URL names; else none.
        sentinels: those that it names; else none.
        primary: the name by which they know the primary.
        sentinel_way: how they are connected to.
    """

    way: Way
    prefix: str
    acks: int = 0
    partitions: int | None = None
    authority: bool = True
    nodes: tuple[Server, ...] = ()
    sentinels: tuple[Server, ...] = ()
    primary: str = ""
    sentinel_way: Way | None = None


def parse_address(url: str) -> Address:
    """Take a `redis://`, `rediss://`, `unix://`, `redis+sentinel://` or `redis+cluster://` URL apart; the last two may
    begin with `rediss` too.

    Raises:
        ConfigurationError: it cannot be right.
    """
    if any("\ud800" <= character <= "\udfff" for character in url):  # as an environment has other bytes
        raise ConfigurationError("ASGI_AUTH_STORE: the URL is no UTF-8: write what is not ASCII as in %C3%A4")
    base, _, query = url.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    prefix = options.pop("prefix", "asgi-auth:")
    if not prefix or "{" in prefix or "}" in prefix:
        raise ConfigurationError("ASGI_AUTH_STORE: ?prefix= needs some text without { and }, such as ?prefix=shop:")
    acks = options.pop("acks", "0")
    if not acks.isdecimal():
        raise ConfigurationError("ASGI_AUTH_STORE: ?acks= needs a number of replicas, such as ?acks=1")
    partitions = _partitions(options.pop("partitions", None))
    unchecked = options.get("ssl_check_hostname", "true").lower() in {"false", "no", "n", "f", "0"}
    if options.get("ssl_cert_reqs", "required") != "required" or unchecked:
        raise ConfigurationError(
            "ASGI_AUTH_STORE: certificates are always checked; name your own CA with ?ssl_ca_certs=/path.pem"
        )
    scheme, _, deployment = base.partition("://")[0].partition("+")
    authority = options.pop("authority", None)
    if authority not in (None, "none") or (authority and not deployment):
        raise ConfigurationError("ASGI_AUTH_STORE: ?authority=none is the only choice, and only where others decide")
    parse = {"": _parse_server, "sentinel": _parse_sentinels, "cluster": _parse_cluster}[deployment]
    address = parse(scheme, base.partition("://")[2], options)
    return address._replace(prefix=prefix, acks=int(acks), partitions=partitions, authority=authority is None)


def _partitions(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= MOST):
        raise ConfigurationError(f"ASGI_AUTH_STORE: ?partitions= is a number from 1 to {MOST}, such as ?partitions=16")
    return int(text)


def _parse_server(scheme: str, rest: str, options: dict[str, str]) -> Address:
    database = rest.rpartition("@")[2].partition("/")[2].rstrip("/")
    if database and not database.isdecimal() and scheme != "unix":
        raise ConfigurationError(
            "ASGI_AUTH_STORE: after the host comes the number of a database, as in redis://localhost:6379/0"
        )
    return Address(parse_way(f"{scheme}://{rest}?{urlencode(options)}"), "")


def _parse_cluster(scheme: str, rest: str, options: dict[str, str]) -> Address:
    place, _, database = rest.partition("/")
    who, at, hosts = place.rpartition("@")
    if database not in {"", "0"}:
        raise ConfigurationError("ASGI_AUTH_STORE: a cluster has the database 0 alone: leave the number away")
    try:
        nodes = tuple(_server(host, PORT) for host in hosts.split(","))
    except ValueError:
        raise ConfigurationError(
            "ASGI_AUTH_STORE: after redis+cluster:// come nodes of the cluster, as in "
            "redis+cluster://user:password@host1:6379,host2:6379"
        ) from None
    return Address(parse_way(f"{scheme}://{who}{at}{hosts.partition(',')[0]}?{urlencode(options)}"), "", nodes=nodes)


def _parse_sentinels(scheme: str, rest: str, options: dict[str, str]) -> Address:
    """`user:password@` are for the servers; the Sentinels' are options."""
    who, at, place = rest.rpartition("@")
    hosts, _, path = place.partition("/")
    primary, _, database = path.rstrip("/").partition("/")
    try:
        sentinels = tuple(_server(host, SENTINEL_PORT) for host in hosts.split(","))
        if not primary or not (database or "0").isdecimal():
            raise ValueError
    except ValueError:
        raise ConfigurationError(
            "ASGI_AUTH_STORE: this is no URL of Sentinels; valid is "
            "redis+sentinel://user:password@host1:26379,host2:26379,host3:26379/name-of-the-primary/0?prefix=shop:"
        ) from None
    theirs = [quote(options.pop(f"sentinel_{name}", ""), safe="") for name in ("username", "password")]
    login = ":".join(theirs) + "@" if any(theirs) else ""
    query = urlencode(options)
    # Every server takes the place of this host.
    return Address(
        parse_way(f"{scheme}://{who}{at}{hosts.partition(',')[0]}/{database}?{query}"),
        "",
        sentinels=sentinels,
        primary=unquote(primary),
        sentinel_way=parse_way(f"{scheme}://{login}{hosts.partition(',')[0]}?{query}")._replace(seats=_SENTINEL_SEATS),
    )


def _server(text: str, port: int) -> Server:
    """`host`, `host:port` or `[address]:port`.

    Raises:
        ValueError: it is none.
    """
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.netloc != text:
        raise ValueError(text)
    return Server(parts.hostname, port if parts.port is None else parts.port)


def parse_way(url: str) -> Way:
    """A URL that redis-py takes.

    Raises:
        ConfigurationError: it does not.
    """
    # RESP2, one attempt: retries and timeouts are ours.
    options: dict[str, Any] = {"protocol": 2, "retry": Retry(NoBackoff(), 0), "max_connections": MAX_CONNECTIONS}
    try:
        pool = redis.ConnectionPool.from_url(url, **options)
        pool.connection_class(**pool.connection_kwargs)
    except (ValueError, TypeError, redis.RedisError) as error:
        # Without the error's own text, which may hold a part of the password.
        what = "there is no such option after ?" if isinstance(error, TypeError) else "this is no URL of a server"
        raise ConfigurationError(
            f"ASGI_AUTH_STORE: {what}; valid is redis://user:password@host:6379/0?prefix=shop:"
        ) from None
    return Way(url, pool.max_connections, options)
