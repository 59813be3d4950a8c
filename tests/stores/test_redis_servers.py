"""Which servers the Redis store takes, which it refuses, and what it asks of a replica."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

import pytest
from redis_helpers import LEAST, VERBS, furnish, opened, speaking, speaking_tls, tour
from store_helpers import (
    add_user,
    alive,
    cookie,
    end_of,
    listed,
    sid,
)
from valkey_server import Valkey

from asgi_auth.errors import ConfigurationError, StoreUnavailable
from asgi_auth.stores import Ended, Limit
from asgi_auth.stores.redis import RedisStore

# Servers that refuse


async def test_a_full_server_makes_nothing_and_still_loads_touches_and_revokes(serve, anyio_backend):
    server = serve()
    store = RedisStore(server.url, timeout=10)
    await store.open()
    await furnish(store)
    with opened(server.url) as control:
        control.config_set("maxmemory", "1mb")
        for ask in ("create", "rotate", "write_data", "save_user", "exchange", "hit", "seen_before"):
            with pytest.raises(StoreUnavailable, match="OutOfMemory"):
                await VERBS[ask](store)
        for ask in ("touch", "confirm"):
            await VERBS[ask](store)
        assert await alive(store, "a")
        assert await listed(store) == [sid("b"), sid("a")]
        assert await store.end(sid("a"), "logout") == Ended(sid("a"), "alice", "logout")
        assert await store.end_user("alice", "revoked") == (Ended(sid("b"), "alice", "revoked"),)
        await store.deny("1.token", 600.0)
        assert await store.denied("1.token")
    assert await end_of(store, "a") == "logout"
    await store.aclose()


@pytest.mark.parametrize("state", ["replicaof", "min-replicas-to-write"])
async def test_a_server_that_takes_no_writes_is_unavailable(serve, anyio_backend, state):
    server = serve()
    store = RedisStore(server.url, timeout=10)
    await store.open()
    with opened(server.url) as control:
        if state == "replicaof":
            control.replicaof("127.0.0.1", "1")
            with pytest.raises(StoreUnavailable):
                await store.open()
        else:
            control.config_set(state, 1)
    with pytest.raises(StoreUnavailable):
        await add_user(store)
    await store.aclose()


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
async def test_an_evicting_server_stops_the_start(serve, anyio_backend, policy):
    server = serve(maxmemory="100mb", maxmemory_policy=policy)
    store = RedisStore(server.url, timeout=10)
    with pytest.raises(ConfigurationError, match=f"maxmemory-policy to noeviction .it is {policy}"):
        await store.open()
    await store.aclose()


async def test_a_server_that_would_evict_but_has_no_limit_is_taken(serve, anyio_backend):
    server = serve(maxmemory_policy="allkeys-lru")
    store = RedisStore(server.url, timeout=10)
    await store.open()
    await store.aclose()


@pytest.mark.parametrize(("policy", "warned"), [("volatile-lru", 1), ("noeviction", 0)])
async def test_a_server_that_evicts_what_has_a_ttl_is_warned_of(serve, anyio_backend, caplog, policy, warned):
    server = serve(maxmemory="100mb", maxmemory_policy=policy)
    store = RedisStore(server.url, timeout=10)
    await store.open()
    await store.aclose()
    assert [record.name for record in caplog.records if policy in record.getMessage()] == ["asgi_auth"] * warned


async def test_a_cluster_is_refused(serve, anyio_backend):
    server = serve(cluster_enabled="yes")
    store = RedisStore(server.url, timeout=10)
    with pytest.raises(ConfigurationError, match="runs as cluster"):
        await store.open()
    await store.aclose()


@pytest.fixture
def locked(serve) -> str:
    """The URL of a server that wants the password `right-word`."""
    server = serve()
    with opened(server.url) as control:
        control.config_set("requirepass", "right-word")
    return server.url


@pytest.mark.parametrize("credentials", ["", ":wrong-word@", "nobody:right-word@"])
async def test_a_wrong_password_stops_the_start_and_is_unavailable_later(locked, anyio_backend, credentials):
    store = RedisStore(locked.replace("://", f"://{credentials}"), timeout=10)
    with pytest.raises(ConfigurationError, match="refuses the user or the password") as caught:
        await store.open()
    assert "wrong-word" not in str(caught.value)
    with pytest.raises(StoreUnavailable):
        await store.keys()
    await store.aclose()


async def test_the_right_password_opens(locked, anyio_backend):
    store = RedisStore(locked.replace("://", "://:right-word@"), timeout=10)
    await store.open()
    assert await store.once("a", "b") == "b"
    await store.aclose()


@pytest.mark.parametrize(
    ("rights", "warned"),
    [
        (f"{LEAST} &asgi-auth:*", []),
        (LEAST, []),  # no channel: the events stand in the feed all the same
        (LEAST.replace("+info", "+config|get"), ["may not ask INFO"]),
        (LEAST.replace("+info", ""), ["may not ask INFO", "does not tell its maxmemory-policy"]),
    ],
)
async def test_a_user_of_the_server_with_few_rights_is_enough(serve, anyio_backend, caplog, rights, warned):
    server = serve()
    with opened(server.url) as control:
        control.execute_command(
            "ACL", "SETUSER", "app", "on", ">word", "~asgi-auth:*", "resetchannels", *rights.split()
        )
    store = RedisStore(server.url.replace("://", "://app:word@"), timeout=10)
    await store.open()
    await tour(store)
    for verb in VERBS.values():
        await verb(store)
    await store.aclose()
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == len(warned)
    assert all(said in warning for said, warning in zip(warned, warnings, strict=True))


async def test_a_user_of_the_server_with_too_few_rights_stops_the_start(serve, anyio_backend):
    server = serve()
    with opened(server.url) as control:
        control.execute_command("ACL", "SETUSER", "app", "on", ">word", "~*", "+@read", "+info", "+@connection")
    store = RedisStore(server.url.replace("://", "://app:word@"), timeout=10)
    with pytest.raises(ConfigurationError, match="ACL SETUSER"):
        await store.open()
    await store.aclose()


@pytest.mark.parametrize(
    ("banner", "error"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", ConfigurationError),
        (b"SSH-2.0-x\r\n", ConfigurationError),
        (b"", StoreUnavailable),
        (b"-LOADING Redis is loading the dataset in memory\r\n" * 9, StoreUnavailable),
        (b"-MISCONF no disk\r\n" * 99, StoreUnavailable),
    ],
)
async def test_what_answers_and_is_no_redis_stops_the_start_and_what_may_become_one_does_not(
    anyio_backend, banner, error
):
    with speaking(banner) as url:
        store = RedisStore(url, timeout=10)
        with pytest.raises(error):
            await store.open()
        await store.aclose()


async def test_an_old_redis_stops_the_start(anyio_backend):
    info = b"# Server\r\nredis_version:6.2.14\r\nredis_mode:standalone\r\n"
    with speaking(b"+OK\r\n+OK\r\n$%d\r\n%s\r\n*0\r\n" % (len(info), info)) as url:
        store = RedisStore(url, timeout=10)
        with pytest.raises(ConfigurationError, match=r"Redis 6\.2\.14; 7\.0 or later"):
            await store.open()
        await store.aclose()


async def test_a_server_that_cannot_read_our_scripts_stops_the_start(anyio_backend):
    refused = b"-NOPERM no\r\n" * 2 + b"-ERR Error compiling script (new function)\r\n" * 99
    with speaking(b"+OK\r\n+OK\r\n" + refused) as url:
        store = RedisStore(url, timeout=10)
        with pytest.raises(ConfigurationError, match=r"Redis 7\.0 or later"):
            await store.open()
        await store.aclose()


async def test_a_wrong_certificate_is_refused(tmp_path, anyio_backend):
    with speaking_tls(tmp_path) as url:
        store = RedisStore(url, timeout=10)
        with pytest.raises(ConfigurationError, match="certificate cannot be trusted"):
            await store.open()
        with pytest.raises(StoreUnavailable):
            await store.keys()
        await store.aclose()


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "unix:///nowhere/redis.sock", "rediss://127.0.0.1:1"])
async def test_a_server_that_is_not_there_is_unavailable_at_the_start_too(anyio_backend, url):
    store = RedisStore(url, timeout=5)
    with pytest.raises(StoreUnavailable):
        await store.open()
    await store.aclose()


async def test_a_database_that_the_server_has_not_stops_the_start(redis_url, anyio_backend):
    store = RedisStore(f"{redis_url}/99", timeout=5)
    with pytest.raises(ConfigurationError, match="no such database"):
        await store.open()
    await store.aclose()


async def test_a_unix_socket_serves(tmp_path, anyio_backend):
    server = Valkey(tmp_path, unix=True)
    try:
        store = RedisStore(f"{server.url}?prefix=x:", timeout=10)
        await store.open()
        assert await store.once("a", "b") == "b"
        await store.aclose()
    finally:
        server.kill()


@pytest.mark.parametrize(
    "url",
    [
        "redis://host:port",
        "redis://:se/cret@host",
        "redis://host?nonsense=1",
        "redis://host?prefix=",
        "redis://host?prefix=%7Ba%7D",
        "rediss://host?ssl_cert_reqs=none",
        "rediss://host?ssl_check_hostname=False",
    ],
)
def test_a_url_that_cannot_be_right_is_a_configuration_error_without_its_password(url):
    with pytest.raises(ConfigurationError) as caught:
        RedisStore(url)
    assert "cret" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


# Replicas


@pytest.fixture
def pair(serve) -> Any:
    """A primary and its replica, in step."""
    primary = serve(repl_diskless_sync_delay="0")
    replica = serve(replicaof=f"127.0.0.1 {primary.port}")
    with opened(primary.url) as control:
        for _ in range(1000):
            if any(
                each.get("state") == "online" for each in control.info("replication").values() if isinstance(each, dict)
            ):
                break
            time.sleep(0.01)
        control.set("x", "y")
        assert control.wait(1, 5000) == 1
    return primary, replica


def waits(server: Any) -> int:
    with opened(server.url) as control:
        return control.info("commandstats").get("cmdstat_wait", {"calls": 0})["calls"]


async def test_a_change_waits_for_a_replica_and_a_question_does_not(pair, anyio_backend, caplog):
    primary, _ = pair
    store = RedisStore(primary.url, timeout=10)
    await store.open()
    before = waits(primary)
    await add_user(store)
    await store.create(cookie("s"), revision=1)
    assert waits(primary) == before + 2
    await store.load(sid("s"))
    await store.touch([sid("s")])
    await store.hit([Limit("k", 1, 1)])
    assert waits(primary) == before + 2
    assert caplog.records == []
    await store.aclose()


async def test_a_change_that_no_replica_confirmed_stands_and_is_a_security_event(pair, anyio_backend, caplog):
    primary, replica = pair
    store = RedisStore(primary.url, timeout=10)
    await store.open()
    await add_user(store)
    with replica.frozen():
        await store.create(cookie("s"), revision=1)
        await store.end(sid("s"), "logout")
    assert await end_of(store, "s") == "logout"
    assert [record.name for record in caplog.records] == ["asgi_auth.security"]
    assert json.loads(caplog.records[0].getMessage())["event"] == "change_unconfirmed"
    await store.aclose()
