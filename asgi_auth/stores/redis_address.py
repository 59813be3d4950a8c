"""From a URL of a Redis deployment to what its parts say. Nothing is connected here."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from asgi_auth.errors import ConfigurationError
from asgi_auth.stores.redis_topology import Server

MAX_CONNECTIONS = 50


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
        nodes: those of a cluster that the URL names; else none.
        authority: whether those who decide on a failover are asked.
    """

    way: Way
    prefix: str
    nodes: tuple[Server, ...] = ()
    authority: bool = True


def parse_address(url: str) -> Address:
    """Take a `redis://`, `rediss://`, `unix://`, `redis+cluster://` or `rediss+cluster://` URL apart.

    Raises:
        ConfigurationError: it cannot be right.
    """
    base, _, query = url.partition("?")
    nodes: tuple[Server, ...] = ()
    if base.partition("://")[0].endswith("+cluster"):
        base, nodes = _cluster(base)
    options = dict(parse_qsl(query, keep_blank_values=True))
    prefix = options.pop("prefix", "asgi-auth:")
    if not prefix or "{" in prefix or "}" in prefix:
        raise ConfigurationError("ASGI_AUTH_STORE: ?prefix= needs some text without { and }, such as ?prefix=shop:")
    database = base.partition("://")[2].rpartition("@")[2].partition("/")[2].rstrip("/")
    if database and not database.isdecimal() and not base.startswith("unix:"):
        raise ConfigurationError(
            "ASGI_AUTH_STORE: after the host comes the number of a database, as in redis://localhost:6379/0"
        )
    unchecked = options.get("ssl_check_hostname", "true").lower() in {"false", "no", "n", "f", "0"}
    if options.get("ssl_cert_reqs", "required") != "required" or unchecked:
        raise ConfigurationError(
            "ASGI_AUTH_STORE: certificates are always checked; name your own CA with ?ssl_ca_certs=/path.pem"
        )
    authority = options.pop("authority", None)
    if authority not in (None, "none") or (authority and not nodes):
        raise ConfigurationError("ASGI_AUTH_STORE: ?authority=none is the only choice, and only where others decide")
    return Address(parse_way(f"{base}?{urlencode(options)}"), prefix, nodes, authority is None)


def _cluster(base: str) -> tuple[str, tuple[Server, ...]]:
    """The URL of the first node, and all nodes that are named."""
    scheme, _, rest = base.partition("://")
    place, _, database = rest.partition("/")
    who, at, hosts = place.rpartition("@")
    if database not in {"", "0"}:
        raise ConfigurationError("ASGI_AUTH_STORE: a cluster has the database 0 alone: leave the number away")
    try:
        nodes = tuple(_server(host) for host in hosts.split(","))
    except ValueError:
        raise ConfigurationError(
            "ASGI_AUTH_STORE: after redis+cluster:// come nodes of the cluster, as in "
            "redis+cluster://user:password@host1:6379,host2:6379"
        ) from None
    return f"{scheme.removesuffix('+cluster')}://{who}{at}{hosts.partition(',')[0]}", nodes


def _server(text: str) -> Server:
    """`host`, `host:port` or `[address]:port`.

    Raises:
        ValueError: it is none.
    """
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.netloc != text:
        raise ValueError(text)
    return Server(parts.hostname, 6379 if parts.port is None else parts.port)


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
