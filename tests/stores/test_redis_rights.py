"""The user of the server that the docs describe: what it may do is enough, and it may do nothing else."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import redis
from redis_helpers import TAG, VERBS, rights_in_the_docs, tour
from store_helpers import cookie, login, sid
from valkey_server import Valkey

from asgi_auth.stores.redis import RedisStore


@pytest.fixture
def server(tmp_path: Path, binary: Any) -> Iterator[Valkey]:
    server = Valkey(tmp_path / "server", binary=binary)
    server.control.execute_command(*rights_in_the_docs("evalsha"))
    yield server
    server.kill()


def ours(server: Valkey) -> str:
    return server.url.replace("://", "://app:password@")


def listeners(server: Valkey) -> int:
    return int(server.control.execute_command("PUBSUB", "SHARDNUMSUB", f"{TAG}events")[1])


@pytest.mark.parametrize("options", ["", "?partitions=16"])
async def test_it_may_do_all_that_a_store_does(server, anyio_backend, caplog, options):
    store = RedisStore(ours(server) + options, timeout=10)
    await store.open()
    await tour(store)
    for verb in VERBS.values():
        await verb(store)
    await store.aclose()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_it_may_follow_the_feed(server, anyio_backend):
    store = RedisStore(ours(server), timeout=10)
    await store.open()
    await login(store, cookie("a"))
    cursor, feed = await store.newest(), store.feed()
    heard: list[Any] = []
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(feed.listen, heard.append)
            while not listeners(server):  # noqa: ASYNC110
                await anyio.sleep(0.01)
            await store.end(sid("a"), "logout")
            while not heard:  # noqa: ASYNC110
                await anyio.sleep(0.01)
            group.cancel_scope.cancel()
    beat = await feed.beat(cursor, 1.0)
    assert beat.entries is not None
    assert [entry.event.kind for entry in beat.entries] == ["ended"]
    await feed.leave()
    await store.aclose()


async def test_replicas_may_be_waited_for(server, anyio_backend, tmp_path):
    replica = Valkey(tmp_path / "replica", replicaof=f"127.0.0.1 {server.port}")
    try:
        store = RedisStore(f"{ours(server)}?acks=1", timeout=10)
        with anyio.fail_after(20):
            while server.control.info("replication").get("slave0", {}).get("state") != "online":  # noqa: ASYNC110
                await anyio.sleep(0.01)
        await store.open()
        await login(store, cookie("a"))
        await store.load(sid("a"))
        await store.aclose()
    finally:
        replica.kill()


@pytest.mark.parametrize(
    "command",
    [
        ("GET", "another-application"),
        ("SET", "another-application", "x"),
        ("SPUBLISH", "another-application", "x"),
        ("KEYS", "*"),
        ("CONFIG", "GET", "*"),
        ("ACL", "LIST"),
        ("FLUSHALL",),
        ("EVAL", "return 1", "0"),
    ],
)
def test_it_may_do_nothing_else(server, command):
    with redis.Redis.from_url(ours(server)) as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*command)
