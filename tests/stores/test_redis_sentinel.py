"""A primary that Sentinels replace: who is believed, and what a failover costs. Every server is a real one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import anyio
import pytest
import redis
from redis_helpers import rights_in_the_docs
from sentinel_set import NAME, SentinelSet, until
from store_helpers import add_user, alive, cookie, end_of, login, sid
from valkey_server import Valkey

from asgi_auth.errors import ConfigurationError, StoreUnavailable
from asgi_auth.model import UserRow
from asgi_auth.stores.opening import open_store
from asgi_auth.stores.redis_address import parse_address
from asgi_auth.stores.redis_sentinel import Answer, census, chosen
from asgi_auth.stores.redis_topology import Server


@pytest.fixture
def watched(tmp_path) -> Iterator[Callable[..., SentinelSet]]:
    """Makes a set of the test's own."""
    with ExitStack() as stack:

        def make(**options: Any) -> SentinelSet:
            made = SentinelSet(tmp_path / "set", **options)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture(scope="module")
def calm(tmp_path_factory) -> Iterator[SentinelSet]:
    """A set whose primary stays it, for tests that kill and freeze Sentinels only, and bring them back."""
    made = SentinelSet(tmp_path_factory.mktemp("calm"), replicas=0, down_after=60_000)
    yield made
    made.close()


async def until_answered(ask: Callable[[], Any]) -> Any:
    """What somebody says once the store answers."""
    with anyio.fail_after(60):
        while True:
            try:
                return await ask()
            except StoreUnavailable:
                await anyio.sleep(0.02)


# Failovers


async def test_a_failover_is_followed_and_nothing_that_a_replica_confirmed_is_lost(watched, anyio_backend, binary):
    servers = watched(binary=binary)
    store = open_store(servers.url, timeout=5)
    await store.open()
    await login(store, cookie("a"))
    await login(store, cookie("ended"))
    await store.end(sid("ended"), "logout")
    servers.primary.kill()
    assert await until_answered(lambda: alive(store, "a"))
    assert await end_of(store, "ended") == "logout"
    await store.end(sid("a"), "revoked")
    await login(store, cookie("b"))
    await store.aclose()
    later = open_store(servers.url, timeout=5)
    await later.open()
    assert await end_of(later, "a") == "revoked"
    assert await alive(later, "b")
    await later.aclose()


async def test_service_goes_on_after_a_failover_that_leaves_no_replica(watched, anyio_backend, caplog):
    servers = watched(replicas=1)
    store = open_store(servers.url, timeout=5)
    await store.open()
    await add_user(store)
    await login(store, cookie("a"))
    servers.primary.kill()
    await until_answered(lambda: store.load(sid("a")))
    servers.failed_over()
    for name in ("b", "c"):
        await login(store, cookie(name))
    await store.end(sid("b"), "logout")
    assert await end_of(store, "b") == "logout"
    assert not any(record.name == "asgi_auth.security" for record in caplog.records)  # nobody was waited for
    await store.aclose()


def connections_to(server: Valkey) -> int:
    """Those that a store opened: neither a Sentinel's, nor that of a test which looks."""
    looking = server.control.client_id()
    clients = server.control.client_list(_type="normal")
    return sum(not one["name"].startswith("sentinel") and int(one["id"]) != looking for one in clients)


async def test_a_thawed_old_primary_is_not_believed(watched, anyio_backend, binary):
    servers = watched(binary=binary)
    reader, changer, writer = (open_store(servers.url, timeout=3) for _ in range(3))
    risky = open_store(f"{servers.url}?authority=none", timeout=3)
    for name in "ab":
        await login(writer, cookie(name))
    for store in (reader, changer, risky):
        assert await alive(store, "a")
    servers.primary.freeze()
    servers.failed_over()
    await until_answered(lambda: writer.end(sid("a"), "revoked"))
    servers.primary.thaw()

    # For some seconds the old one answers on, and those who know no other believe it.
    naive = open_store(servers.primary.url, timeout=3)
    assert await alive(naive, "a")
    await naive.aclose()
    assert await alive(risky, "a")  # which is the risk that it prefers

    assert await end_of(reader, "a") == "revoked"  # asked again, at the new one
    assert await changer.end(sid("b"), "logout") is not None
    assert await end_of(writer, "b") == "logout"
    assert await end_of(risky, "a") == "revoked"
    until(lambda: not connections_to(servers.primary), seconds=4)  # before it becomes a replica, which closes them
    for store in (reader, changer, writer, risky):
        await store.aclose()


# Majorities


async def test_authority_needs_most_of_all_sentinels(calm, anyio_backend):
    first, second, third = calm.sentinels
    store = open_store(f"redis+sentinel://{first.host}:{first.port}/{NAME}", timeout=10)  # knows of one
    risky = open_store(f"redis+sentinel://{first.host}:{first.port}/{NAME}?authority=none", timeout=10)
    await store.open()
    revision = await store.save_user(UserRow("alice"), expected=None)
    second.kill()
    assert await store.user("alice")
    third.kill()
    with pytest.raises(StoreUnavailable, match="not certain"):
        await store.user("alice")
    with pytest.raises(StoreUnavailable, match="not certain"):
        await store.save_user(UserRow("alice"), expected=revision)
    newcomer = open_store(f"redis+sentinel://{first.host}:{first.port}/{NAME}", timeout=10)
    with pytest.raises(StoreUnavailable, match="not enough Sentinels"):
        await newcomer.user("alice")
    assert await risky.user("alice")
    third.start()
    assert await store.user("alice")
    assert await newcomer.user("alice")
    second.start()
    for each in (store, risky, newcomer):
        await each.aclose()


A, B = Server("a", 1), Server("b", 1)


def names(primary: Server | None, sentinel: str, *others: str) -> Answer:
    return Answer(sentinel, primary, {name: Server(name, 2) for name in others})


@pytest.mark.parametrize(
    ("answers", "of", "expected"),
    [
        ([], 1, None),
        ([names(A, "x")], 1, A),
        ([names(A, "x")], 2, None),
        ([names(A, "x"), names(A, "y")], 3, A),
        ([names(A, "x"), names(B, "y")], 3, None),
        ([names(A, "x"), names(None, "y"), names(None, "z")], 3, None),
        ([names(B, "x"), names(B, "y"), names(A, "z")], 3, B),
        ([names(A, "x"), names(A, "y")], 4, None),
        ([names(A, "x"), names(A, "x")], 3, None),  # one, at two addresses
    ],
)
def test_the_primary_is_the_one_that_more_than_half_of_all_name(answers, of, expected):
    assert chosen(answers, of=of) == expected


@pytest.mark.parametrize(
    ("before", "answers", "expected"),
    [
        ("", [names(A, "x", "y", "z")], "xyz"),
        ("xyz", [names(A, "x", "y", "z")], "xyz"),
        ("xyz", [names(A, "x")], "xyz"),  # it has forgotten the others
        ("xyz", [names(A, "w")], "wxyz"),  # a new one that knows nobody yet
        ("xyz", [names(A, "x", "y"), names(A, "y", "x")], "xy"),
        ("xyz", [], "xyz"),
    ],
)
def test_there_are_fewer_sentinels_only_if_most_of_those_before_say_so(before, answers, expected):
    known = {name: Server(name, 2) for name in before}
    assert set(census(known, {Server(answer.sentinel, 2): answer for answer in answers})) == set(expected)


async def test_sentinels_that_died_or_were_restarted_are_not_waited_for(calm, anyio_backend):
    store = open_store(calm.url, timeout=10)
    await store.open()
    last = calm.sentinels[-1]
    with last.frozen():
        await store.keys()
        with anyio.fail_after(5):  # half a second and more for each, if it were
            for _ in range(100):
                await store.keys()
    last.kill()
    await store.keys()
    last.start()
    await store.keys()
    await store.aclose()


async def test_a_closed_store_leaves_no_connection_behind(calm, anyio_backend):
    everybody = (calm.primary, *calm.sentinels)
    store = open_store(calm.url, timeout=10)
    for _ in range(2):
        await store.keys()
        assert all(map(connections_to, everybody))
        await store.aclose()
        until(lambda: not any(map(connections_to, everybody)), seconds=10)


# Replicas


async def test_wait_follows_a_write_on_the_same_connection(serve, anyio_backend):
    primary = serve(repl_diskless_sync_delay="0")
    replica = serve(replicaof=f"127.0.0.1 {primary.port}")
    until(lambda: primary.control.set("x", "y") and primary.control.wait(1, 1000) == 1)
    store = open_store(f"{primary.url}?acks=1", timeout=2)
    await add_user(store)
    await store.aclose()
    fresh = open_store(f"{primary.url}?acks=1", timeout=2)
    await fresh.open()
    with replica.frozen():
        assert primary._client().wait(1, 1) == 1  # who wrote nothing hears that all is well
        with pytest.raises(StoreUnavailable, match="acks=1"):
            await fresh.end_user("alice", "revoked")
        assert (await open_store(primary.url, timeout=10).user("alice")).ended_below > 0  # it was done, nobody knew
    until(lambda: primary.control.set("x", "y") and primary.control.wait(1, 1000) == 1)
    await fresh.end_user("alice", "revoked")
    await fresh.aclose()


async def test_where_replicas_must_confirm_a_server_that_none_follows_is_not_believed(serve, anyio_backend):
    """A failover that hides behind one address leaves such a server behind."""
    primary = serve(repl_diskless_sync_delay="0")
    replica = serve(replicaof=f"127.0.0.1 {primary.port}")
    until(lambda: primary.control.set("x", "y") and primary.control.wait(1, 1000) == 1)
    store = open_store(f"{primary.url}?acks=1", timeout=2)
    await login(store, cookie("a"))
    cursor, feed = await store.newest(), store.feed()
    assert await alive(store, "a")
    assert (await feed.beat(cursor, 1.0)).entries == ()
    with replica.frozen():
        with pytest.raises(StoreUnavailable):
            await store.load(sid("a"))
        with pytest.raises(StoreUnavailable):
            await feed.beat(cursor, 1.0)
    await feed.leave()
    await store.aclose()


# The start


async def test_a_name_that_no_sentinel_knows_stops_the_start(calm, anyio_backend):
    with pytest.raises(ConfigurationError, match="no Sentinel knows a primary of that name"):
        await open_store(calm.url + "s", timeout=10).open()


async def test_a_server_in_the_place_of_a_sentinel_stops_the_start_and_so_does_the_other_way_round(calm, anyio_backend):
    server, sentinel = calm.primary, calm.sentinels[0]
    with pytest.raises(ConfigurationError, match="no Sentinel"):
        await open_store(f"redis+sentinel://{server.host}:{server.port}/{NAME}", timeout=10).open()
    with pytest.raises(ConfigurationError, match=r"runs as sentinel: write redis\+sentinel://"):
        await open_store(sentinel.url, timeout=10).open()


async def test_sentinels_that_are_not_there_are_unavailable_at_the_start_too(anyio_backend):
    store = open_store("redis+sentinel://127.0.0.1:1,127.0.0.1:2/ours", timeout=2)
    with pytest.raises(StoreUnavailable):
        await store.open()
    await store.aclose()


async def test_servers_and_sentinels_have_users_of_their_own(watched, anyio_backend):
    servers = watched(replicas=0, sentinels=1)
    (sentinel,) = servers.sentinels
    theirs, ours = rights_in_the_docs("sentinel"), rights_in_the_docs("evalsha")
    sentinel.control.execute_command(*(word.replace("app", "asker") for word in theirs), ">wo:rd")
    sentinel.control.execute_command("ACL", "SETUSER", "nobody", "on", ">word", "-@all")
    servers.primary.control.execute_command(*ours)
    servers.primary.control.execute_command("ACL", "SETUSER", "default", "resetpass")
    sentinel.control.execute_command("ACL", "SETUSER", "default", "resetpass")
    url = servers.url.replace("://", "://app:password@")
    right = open_store(f"{url}?sentinel_username=asker&sentinel_password=wo%3Ard", timeout=10)
    await right.open()
    await login(right, cookie("a"))
    assert await alive(right, "a")
    await right.aclose()
    for options, problem in (
        ("?sentinel_username=asker&sentinel_password=wrong", "the Sentinels refuse the user or the password"),
        ("?sentinel_username=nobody&sentinel_password=word", "ACL SETUSER"),
    ):
        with pytest.raises(ConfigurationError, match=problem) as caught:
            await open_store(url + options, timeout=10).open()
        assert "wrong" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://h1,h2",
        "redis+sentinel://h1,h2/",
        "redis+sentinel:///ours",
        "redis+sentinel://h1:se/ours",
        "redis+sentinel://h1/ours/first",
        "redis+sentinel://h1/ours?authority=some",
        "redis+sentinel://h1/ours?acks=many",
        "redis+sentinel://h1/ours?nonsense=1",
        "redis://h1?authority=none",
    ],
)
def test_a_url_of_sentinels_that_cannot_be_right_is_a_configuration_error(url):
    with pytest.raises(ConfigurationError):
        open_store(url, timeout=2)


@pytest.mark.parametrize(
    ("url", "sentinels", "database", "password"),
    [
        ("redis+sentinel://h1,h2:5/ours", [("h1", 26379), ("h2", 5)], 0, None),
        ("redis+sentinel://u:p%40w@[::1]:5/ours/3?prefix=x:", [("::1", 5)], 3, "p@w"),
        ("rediss+sentinel://:pw@h/ours/", [("h", 26379)], 0, "pw"),
    ],
)
def test_a_url_of_sentinels_names_them_the_primary_and_its_database(url, sentinels, database, password):
    address = parse_address(url)
    assert list(address.sentinels) == sentinels
    assert address.primary == "ours"
    pool = redis.ConnectionPool.from_url(address.way.url)
    assert pool.connection_kwargs.get("db", 0) == database
    assert pool.connection_kwargs.get("password") == password
    assert address.way.url.startswith("rediss:") == url.startswith("rediss")
