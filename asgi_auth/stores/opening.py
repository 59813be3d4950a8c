"""From a URL to a store: which one, and whether the way there is private. Imports a store's library only when asked."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from asgi_auth.clock import Clock
from asgi_auth.errors import ConfigurationError
from asgi_auth.stores import Store

REDIS = frozenset({"redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"})


def open_store(url: str, *, timeout: float, clock: Clock | None = None) -> Store:
    """The store that a URL names; nothing is opened yet.

    Args:
        url: `memory://`, `sqlite:///relative`, `sqlite:////absolute`, or for Redis `redis://`, `rediss://`, `unix://`,
            `redis+sentinel://`, `redis+cluster://`, `rediss+sentinel://`, `rediss+cluster://`.
        timeout: the longest a verb takes, in seconds.
        clock: decides instead of the store's own clock; for tests.

    Raises:
        ConfigurationError: no store has such a URL, or its extra is not installed.
    """
    scheme, separator, rest = url.partition("://")
    if url == "memory://":
        from asgi_auth.stores.memory import MemoryStore

        return MemoryStore(clock)
    if scheme == "sqlite" and separator:
        path = rest[1:]
        if not rest.startswith("/") or not path.strip("/") or path.endswith("/") or set(path) & set("?#\0"):
            raise ConfigurationError(
                "ASGI_AUTH_STORE: after sqlite:/// comes a file's path without ? and #, as in "
                "sqlite:///asgi-auth.sqlite3 or, from the root, sqlite:////var/lib/app/asgi-auth.sqlite3"
            )
        from asgi_auth.stores.sqlite import SQLiteStore

        return SQLiteStore(path, timeout=timeout, clock=clock)
    if scheme in REDIS and separator:
        try:
            from asgi_auth.stores.redis import RedisStore
        except ImportError as error:
            raise ConfigurationError(
                f"ASGI_AUTH_STORE: {scheme}:// needs the redis package: pip install 'asgi-auth[redis]'"
            ) from error
        return RedisStore(url, timeout=timeout, clock=clock)
    # Not repeated: a URL may hold a password.
    raise ConfigurationError(
        "ASGI_AUTH_STORE: no store has such a URL; valid are memory://, sqlite:///asgi-auth.sqlite3, "
        "redis://localhost:6379/0, rediss://redis.example.com, unix:///run/redis.sock, "
        "redis+sentinel://host1:26379,host2:26379,host3:26379/name-of-the-primary and "
        "redis+cluster://host1:6379,host2:6379"
    )


def in_the_clear(url: str) -> bool:
    """Whether what this store is told leaves this host unencrypted."""
    scheme, _, rest = url.partition("://")
    if scheme not in {"redis", "redis+sentinel", "redis+cluster"}:
        return False
    hosts = rest.partition("?")[0].rpartition("@")[2].partition("/")[0].split(",")
    return not all(map(_is_here, hosts))


def _is_here(place: str) -> bool:
    """Whether `host` or `host:port` is this host's loopback."""
    try:
        host = urlsplit(f"//{place}").hostname or "localhost"
        return host == "localhost" or host.endswith(".localhost") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
