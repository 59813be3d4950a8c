"""A cluster: slots that move, nodes that are replaced, and who is believed meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from cluster_set import ClusterSet, Node, slot_of
from redis_helpers import VERBS, rights_in_the_docs, tour
from store_helpers import add_user, alive, cookie, end_of, login, sid

from asgi_auth.errors import ConfigurationError, StoreUnavailable
from asgi_auth.stores.redis import RedisStore
from asgi_auth.stores.redis_address import parse_way
from asgi_auth.stores.redis_cluster import Cluster
from asgi_auth.stores.redis_slots import SLOTS, SlotTable
from asgi_auth.stores.redis_topology import Server

PARTITION = int(sid("")[:2], 16) % 16
"""Alice's."""
SLOT = slot_of(PARTITION)
TAG = f"asgi-auth:{{{PARTITION:02x}}}:"


@pytest.fixture
async def stores(anyio_backend: Any) -> Any:
    """Opens stores, each with a table of slots of its own."""
    opened: list[RedisStore] = []

    async def open_(url: str, *, timeout: float = 10.0) -> RedisStore:
        opened.append(RedisStore(url, timeout=10.0))
        await opened[-1].open()
        opened[-1]._client._timeout = timeout  # from now on
        return opened[-1]

    yield open_
    for store in opened:
        await store.aclose()


@pytest.fixture
def clusters(tmp_path: Path) -> Iterator[Callable[..., ClusterSet]]:
    """Starts clusters of the test's own, which it may spoil."""
    started: list[ClusterSet] = []

    def start(**config: Any) -> ClusterSet:
        started.append(ClusterSet(tmp_path / f"cluster{len(started)}", **config))
        return started[-1]

    yield start
    for cluster in started:
        cluster.close()


@pytest.fixture(params=["cluster", "cluster_of_redis"])
def either(request: pytest.FixtureRequest) -> ClusterSet:
    """Of Valkey 9, and of Redis 7, which moves slots by hand only."""
    cluster: ClusterSet = request.getfixturevalue(request.param)
    cluster.flush()
    return cluster


# Slots on the move


async def test_after_a_slot_was_moved_by_hand_everything_is_there_and_may_change(either, stores):
    await everything_is_there(either, stores, either.move_by_hand)


async def test_after_a_slot_was_moved_at_once_everything_is_there_and_may_change(cluster, cluster_url, stores):
    await everything_is_there(cluster, stores, cluster.move_at_once)


async def everything_is_there(cluster: ClusterSet, stores: Any, move: Callable[[int], None]) -> None:
    store = await stores(cluster.url)
    await login(store, cookie("a"))
    for number in range(3):
        move(SLOT)
        assert await alive(store, "a")
        await login(store, cookie(f"b{number}"))
    assert await store.end(sid("a"), "logout") is not None
    assert await end_of(store, "a") == "logout"


async def test_who_knows_another_owner_is_told_and_goes_there(cluster, cluster_url, stores):
    late = await stores(cluster_url)
    await login(late, cookie("a"))
    for _ in range(2):
        cluster.move_at_once(SLOT)
        before = late.feed().turns
        assert await alive(late, "a")
        assert late.feed().turns == before + 1  # whatever was read before is of another server


async def test_a_session_made_during_a_slot_move_is_whole_or_not_there(either, stores):
    patient, hasty = await stores(either.url), await stores(either.url, timeout=0.3)
    await add_user(patient, "alice")
    with either.moving(SLOT) as move:
        move.keys(f"{TAG}u:alice")
        with pytest.raises(StoreUnavailable):
            await hasty.create(cookie("h"), revision=1)
        before = move.refusals()
        async with anyio.create_task_group() as group:
            group.start_soon(login, patient, cookie("p"))
            with anyio.fail_after(10):
                while move.refusals() == before:  # noqa: ASYNC110
                    await anyio.sleep(0.01)
            move.finish()
    assert await alive(patient, "p")
    assert await end_of(patient, "h") is None  # not half of it


async def test_a_script_runs_whole_or_not_at_all_while_its_keys_are_in_two_places(either, stores):
    store, hasty = await stores(either.url), await stores(either.url, timeout=0.3)
    await login(store, cookie("a"))
    entries = await store.events()
    for keys in ([f"{TAG}events"], [f"{TAG}s:{sid('a')}"], [f"{TAG}u:alice", f"{TAG}i:alice"]):
        with either.moving(SLOT) as move:
            move.keys(*keys)
            with pytest.raises(StoreUnavailable):
                await hasty.end_user("alice", "password")
            with pytest.raises(StoreUnavailable):
                await hasty.load(sid("a"))
        assert await alive(store, "a")
        assert await store.events() == entries


async def test_a_beat_follows_the_keys_that_have_moved_and_leaves_those_that_have_not(either, stores):
    store = await stores(either.url)
    feed, cursor = store.feed(), await store.newest()
    await feed.beat(cursor, 5)
    with either.moving(SLOT) as move:
        move.keys(f"{TAG}events")
        assert (await feed.beat(cursor, 5)).entries == ()
        move.keys(f"{TAG}readers")  # a second one at the new owner would make this fail
        assert (await feed.beat(cursor, 5)).entries == ()
    await feed.leave()


# Messages


async def test_messages_of_every_partition_are_heard_and_of_one_that_moved_from_its_new_node(
    cluster, cluster_url, stores
):
    store = await stores(cluster_url)
    feed, heard = store.feed(), []

    async def listen() -> None:
        while True:
            with suppress(StoreUnavailable):
                await feed.listen(heard.append)

    async def all_are_heard() -> None:
        """`revoke_all` tells of itself in each partition."""
        with anyio.fail_after(10):
            while listeners(cluster) < 16:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        heard.clear()
        await store.end_all("revoked")
        with anyio.fail_after(10):
            while len(heard) < 16:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        assert {entry.partition for entry in heard} == set(range(16))

    async with anyio.create_task_group() as group:
        group.start_soon(listen)
        await all_are_heard()
        assert sum(node.ask("CLIENT", "LIST", "TYPE", "pubsub").count("\n") for node in cluster.nodes) == 3
        for move in (cluster.move_at_once, cluster.move_by_hand):
            await anyio.to_thread.run_sync(move, SLOT)
            await all_are_heard()
        group.cancel_scope.cancel()
    await feed.leave()


def listeners(cluster: ClusterSet) -> int:
    """Partitions whose channel somebody listens to where it is told."""
    channels = [f"asgi-auth:{{{partition:02x}}}:events" for partition in range(16)]
    owners = [cluster.owner(slot_of(partition)) for partition in range(16)]
    asked = [owner.ask("PUBSUB", "SHARDNUMSUB", channel) for owner, channel in zip(owners, channels, strict=True)]
    return sum(count > 0 for _, count in asked)


# Who is believed


async def test_an_isolated_primary_is_not_believed(clusters, stores):
    cluster = clusters()
    store = await stores(cluster.url)
    await login(store, cookie("a"))
    feed, cursor = store.feed(), await store.newest()
    await feed.beat(cursor, 5)
    old = cluster.owner(SLOT)
    new = cluster.isolate(old)
    assert old.ask("EXISTS", f"{TAG}s:{sid('a')}"), "it answers as before"
    other = await stores(f"redis+cluster://127.0.0.1:{new.port}")
    assert await other.end(sid("a"), "revoked") is not None
    assert old.ask("HGET", f"{TAG}s:{sid('a')}", "ended") is None
    with pytest.raises(StoreUnavailable, match="certain"):
        await feed.beat(cursor, 5)
    assert await end_of(store, "a") == "revoked"
    await feed.leave()


async def test_a_change_at_an_isolated_primary_is_made_at_its_successor(clusters, stores):
    cluster = clusters()
    store = await stores(cluster.url)
    await login(store, cookie("a"))
    old = cluster.owner(SLOT)
    new = cluster.isolate(old)
    assert await store.end(sid("a"), "revoked") is not None
    assert new.ask("HGET", f"{TAG}s:{sid('a')}", "ended") == "revoked"


async def test_a_reader_needs_half_of_the_other_primaries_and_a_change_more(clusters, stores):
    cluster = clusters(replicas=0, node_timeout=60_000)
    store, hasty = await stores(cluster.url), await stores(cluster.url, timeout=0.5)
    careless = await stores(f"{cluster.url}?authority=none")
    await login(store, cookie("a"))
    owner = cluster.owner(SLOT)
    first, second = [node for node in cluster.nodes if node is not owner]
    with first.server.frozen():
        assert await alive(store, "a")
        with pytest.raises(StoreUnavailable):
            await hasty.supersede(sid("a"))
        with second.server.frozen():
            with pytest.raises(StoreUnavailable):
                await hasty.load(sid("a"))
            assert await alive(careless, "a")
            await careless.supersede(sid("a"))
    await store.supersede(sid("a"))


async def test_a_dead_primary_is_replaced_and_what_it_acknowledged_is_there(clusters, stores):
    cluster = clusters()
    store = await stores(cluster.url)
    await login(store, cookie("a"))
    await login(store, cookie("b"))
    assert await store.end(sid("a"), "revoked") is not None
    cluster.owner(SLOT).server.kill()
    with anyio.fail_after(30):
        while True:
            try:
                assert await alive(store, "b")
                break
            except StoreUnavailable:
                await anyio.sleep(0.05)
    assert await end_of(store, "a") == "revoked"
    await store.end(sid("b"), "logout")


async def test_a_thawed_old_primary_of_a_cluster_is_not_believed(clusters, stores):
    cluster = clusters()
    store = await stores(cluster.url)
    await login(store, cookie("a"))
    old = cluster.owner(SLOT)
    new = cluster.replica_of(old)
    with old.server.frozen():
        await failed_over(new)
        other = await stores(f"redis+cluster://127.0.0.1:{new.port}")
        assert await other.end(sid("a"), "revoked") is not None
    for _ in range(20):  # in the first of them it may answer as if nothing had happened
        assert await end_of(store, "a") == "revoked"


async def failed_over(new: Node) -> None:
    with anyio.fail_after(30):
        while not (new.is_primary and new.info()["cluster_state"] == "ok"):  # noqa: ASYNC110
            await anyio.sleep(0.01)


# Rights


async def test_the_user_of_the_docs_may_do_all_that_a_store_does(cluster, cluster_url, stores, caplog):
    for node in cluster.nodes:
        node.ask(*rights_in_the_docs("evalsha"), "+cluster|slots", "+asking")
    store = await stores(cluster_url.replace("://", "://app:password@"))
    await tour(store)
    for verb in VERBS.values():
        await verb(store)
    feed, cursor = store.feed(), await store.newest()
    with cluster.moving(SLOT) as move:
        move.keys(f"{TAG}events")
        assert (await feed.beat(cursor, 5)).entries == ()
    await store.load(sid("a"))
    await feed.leave()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_user_that_may_not_ask_for_the_slots_stops_the_start(cluster, cluster_url, stores):
    for node in cluster.nodes:
        node.ask(*rights_in_the_docs("evalsha"), "-cluster|slots")
    with pytest.raises(ConfigurationError, match=r"\+cluster\|slots"):
        await stores(cluster_url.replace("://", "://app:password@"))


# URLs


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis+cluster://", "nodes of the cluster"),
        ("redis+cluster://a:6379,", "nodes of the cluster"),
        ("redis+cluster://a:port", "nodes of the cluster"),
        ("redis+cluster://a:6379/1", "database 0"),
        ("redis+cluster://a:6379?authority=some", "authority=none"),
        ("redis://a:6379?authority=none", "authority=none"),
    ],
)
def test_a_url_that_cannot_be_right_is_refused(url, says):
    with pytest.raises(ConfigurationError, match=says):
        RedisStore(url)


async def test_any_node_will_do_and_one_that_is_gone_does_not_matter(cluster, cluster_url, stores):
    for node in cluster.nodes:
        await stores(f"redis+cluster://127.0.0.1:1,127.0.0.1:{node.port}/0")


async def test_a_single_server_is_no_cluster_and_a_node_of_one_is_no_single_server(redis_url, cluster_url, stores):
    with pytest.raises(ConfigurationError, match="no cluster"):
        await stores(redis_url.replace("redis://", "redis+cluster://"))
    with pytest.raises(ConfigurationError, match="cluster"):
        await stores(cluster_url.replace("redis+cluster://", "redis://").partition(",")[0])


async def test_a_node_that_knows_of_no_slots_is_not_believed(cluster, cluster_url, stores, tmp_path):
    """One that lost its configuration, or that nobody has met yet, at an address that is asked first."""
    lost = Node(tmp_path / "lost")
    try:
        store = await stores(f"redis+cluster://127.0.0.1:{lost.port},{cluster_url.partition('://')[2]}")
        await login(store, cookie("a"))
        assert await alive(store, "a")
    finally:
        lost.close()


def test_another_event_loop_may_ask_for_a_slot_while_a_table_is_taken():
    a, b = Server("a.example", 6379), Server("b.example", 6379)
    cluster = Cluster(parse_way("redis://a.example"), [a], timeout=1)

    class Meanwhile(SlotTable):
        def owner(self, slot: int) -> Server | None:
            cluster._used.setdefault(slot + 1, b)  # by a thread that runs in between
            return super().owner(slot)

    cluster._used[0] = a
    cluster._take(Meanwhile([b] * SLOTS), looked_at=0.0)
    assert cluster._used[0] == b
