"""Encrypted ways to a server and to Sentinels: a Redis from the distribution, since the wheel's Valkey has no TLS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from certificates import Authority
from cluster_set import ClusterSet, slot_of
from sentinel_set import SentinelSet
from store_helpers import alive, cookie, login, sid
from valkey_server import Valkey, redis_binary

from asgi_auth.errors import ConfigurationError, StoreUnavailable
from asgi_auth.stores.opening import open_store


@pytest.fixture
def authority(tmp_path) -> Authority:
    return Authority(tmp_path / "ours")


def tls(authority: Authority, name: str = "127.0.0.1", *, clients: str = "no", **options: Any) -> dict[str, str]:
    """The settings of a server that speaks nothing else."""
    certificate, key = authority.certify(name, **options)
    return {
        "tls_cert_file": str(certificate),
        "tls_key_file": str(key),
        "tls_ca_cert_file": str(authority.path),
        "tls_auth_clients": clients,
        "tls_replication": "yes",
    }


@pytest.fixture
def encrypted(tmp_path) -> Iterator[Callable[..., Valkey]]:
    with ExitStack() as stack:

        def make(**config: str) -> Valkey:
            server = Valkey(tmp_path / "server", binary=redis_binary(), **config)
            stack.callback(server.kill)
            return server

        yield make


async def test_an_authority_of_ones_own_is_named_in_the_url(encrypted, authority, anyio_backend):
    server = encrypted(**tls(authority))
    store = open_store(f"{server.url}?ssl_ca_certs={authority.path}", timeout=10)
    await store.open()
    await login(store, cookie("a"))
    assert await alive(store, "a")
    cursor, feed = await store.newest(), store.feed()
    await store.end(sid("a"), "logout")
    assert [entry.event.kind for entry in (await feed.beat(cursor, 1.0)).entries] == ["ended"]
    await feed.leave()
    await store.aclose()


@pytest.mark.parametrize("wrong", ["nobody named it", "another authority", "another name", "expired"])
async def test_a_wrong_certificate_stops_the_start_and_is_unavailable_later(
    encrypted, authority, anyio_backend, tmp_path, wrong
):
    server = encrypted(
        **tls(authority, "localhost" if wrong == "another name" else "127.0.0.1", expired=wrong == "expired")
    )
    trusted = {
        "nobody named it": "",
        "another authority": f"?ssl_ca_certs={Authority(tmp_path / 'theirs').path}",
    }.get(wrong, f"?ssl_ca_certs={authority.path}")
    store = open_store(server.url + trusted, timeout=10)
    with pytest.raises(ConfigurationError, match="certificate cannot be trusted"):
        await store.open()
    with pytest.raises(StoreUnavailable):
        await store.keys()
    await store.aclose()


async def test_a_server_may_want_a_certificate_of_its_clients(encrypted, authority, anyio_backend):
    server = encrypted(**tls(authority, clients="yes"))
    certificate, key = authority.certify("app")
    ours = f"?ssl_ca_certs={authority.path}"
    with_it = open_store(f"{server.url}{ours}&ssl_certfile={certificate}&ssl_keyfile={key}", timeout=10)
    await with_it.open()
    assert await with_it.once("a", "b") == "b"
    await with_it.aclose()
    without = open_store(server.url + ours, timeout=10)
    with pytest.raises(StoreUnavailable):
        await without.open()
    await without.aclose()


async def test_plain_text_to_a_server_that_speaks_tls_is_unavailable(encrypted, authority, anyio_backend):
    server = encrypted(**tls(authority))
    store = open_store(server.url.replace("rediss:", "redis:"), timeout=5)
    with pytest.raises((StoreUnavailable, ConfigurationError)):
        await store.open()
    await store.aclose()


async def test_sentinels_and_their_servers_are_asked_over_tls_and_a_failover_is_followed(
    tmp_path, authority, anyio_backend
):
    options = tls(authority)
    servers = SentinelSet(tmp_path / "set", binary=redis_binary(), sentinel_config=options, **options)
    try:
        store = open_store(f"{servers.url}?ssl_ca_certs={authority.path}", timeout=5)
        assert servers.url.startswith("rediss+sentinel://")
        await store.open()
        await login(store, cookie("a"))
        servers.primary.kill()
        servers.failed_over()
        assert await alive(store, "a")
        await store.aclose()
        blind = open_store(servers.url, timeout=5)
        with pytest.raises(ConfigurationError, match="certificate cannot be trusted"):
            await blind.open()
        await blind.aclose()
    finally:
        servers.close()


async def test_a_cluster_is_asked_over_tls_and_a_slot_that_moves_is_followed(authority, anyio_backend, tmp_path):
    options = tls(authority)
    cluster = ClusterSet(tmp_path / "cluster", replicas=0, binary=redis_binary(), tls_cluster="yes", **options)
    try:
        store = open_store(f"{cluster.url}?ssl_ca_certs={authority.path}", timeout=10)
        await store.open()
        await login(store, cookie("a"))
        cluster.move_by_hand(slot_of(int(store.partition("alice"), 16)))
        assert await alive(store, "a")
        feed, cursor = store.feed(), await store.newest()
        await store.end(sid("a"), "logout")
        assert [entry.event.kind for entry in (await feed.beat(cursor, 5.0)).entries] == ["ended"]
        await feed.leave()
        await store.aclose()
    finally:
        cluster.close()
