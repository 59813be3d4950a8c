"""What a Redis server tells of itself, held against what a store needs; and which of its errors a setting must cure."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping
from typing import Any

import redis
import redis.exceptions

from asgi_auth.errors import ConfigurationError, StoreUnavailable

_log = logging.getLogger("asgi_auth")

_SCHEMES = {
    "standalone": "redis://host:6379/0",
    "cluster": "redis+cluster://host1:6379,host2:6379",
    "sentinel": "redis+sentinel://host1:26379,host2:26379,host3:26379/name-of-the-primary",
}


def parse_info(reply: Any) -> dict[str, str]:
    """The fields of INFO's reply; none if it was refused."""
    if not isinstance(reply, str):
        return {}
    lines = (line.partition(":") for line in reply.splitlines() if line[:1] != "#")
    return {name: value for name, _, value in lines if name}


def check_server(info: Mapping[str, str], config: Any, *, mode: str) -> None:
    """Hold a server against what a store needs, by its INFO and its CONFIG GET maxmemory*, as far as it tells.

    Args:
        mode: the `redis_mode` that the URL speaks of.

    Raises:
        ConfigurationError: it can be no store.
        StoreUnavailable: not now.
    """
    version = info.get("redis_version", "")
    if version and "valkey_version" not in info and int(version.partition(".")[0]) < 7:
        raise ConfigurationError(f"ASGI_AUTH_STORE: this is Redis {version}; 7.0 or later, or Valkey, is needed")
    runs_as = info.get("redis_mode", info.get("server_mode", mode))
    if runs_as != mode:
        raise ConfigurationError(f"ASGI_AUTH_STORE: this server runs as {runs_as}: write {_SCHEMES[runs_as]}")
    if info.get("role", "master") != "master":
        raise StoreUnavailable("this Redis is a replica")
    if not info:
        _log.warning("this user of Redis may not ask INFO, so changes wait for no replica")
    if not info and isinstance(config, list):
        info = {name.replace("-", "_"): value for name, value in zip(config[::2], config[1::2], strict=True)}
    policy, limit = info.get("maxmemory_policy"), info.get("maxmemory")
    if policy is None or limit is None:
        _log.warning("this Redis does not tell its maxmemory-policy: make sure that it is noeviction")
    elif limit != "0" and policy.startswith("allkeys-"):
        raise ConfigurationError(
            f"ASGI_AUTH_STORE: this Redis evicts keys that must not vanish, revocations too: set maxmemory-policy "
            f"to noeviction (it is {policy}), or use a server of its own"
        )
    elif limit != "0" and policy.startswith("volatile-"):
        _log.warning("this Redis may evict living sessions (maxmemory-policy is %s): noeviction is better", policy)


def misconfiguration(error: BaseException | None) -> str | None:
    """What is wrong with the settings, if a repetition cannot cure this error."""
    if isinstance(error, redis.AuthenticationError | redis.exceptions.AuthorizationError):
        return "Redis refuses the user or the password: correct redis://user:password@…"
    if isinstance(error, redis.exceptions.NoPermissionError):
        return (
            "this user of Redis may not do what a store does: ACL SETUSER … +@read +@write +@scripting +@connection "
            "+time +spublish +ssubscribe +info (and +cluster|slots in a cluster), for the keys ~prefix* and the "
            "channels &prefix*"
        )
    if isinstance(error, redis.exceptions.InvalidResponse):
        return "what answers there is no Redis"
    if isinstance(error, redis.ResponseError) and "DB index" in str(error):
        return "this server has no such database: correct the number in redis://localhost:6379/0"
    if isinstance(error, redis.ResponseError) and "cluster support" in str(error):
        return "this server is no cluster: name it as redis://host:6379"
    if isinstance(error, redis.ResponseError) and "compil" in str(error):
        return "this server cannot run our scripts: Redis 7.0 or later, or Valkey, is needed"
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return "the server's certificate cannot be trusted: name your own CA with ?ssl_ca_certs=/path.pem"
        error = error.__cause__ or error.__context__
    return None
