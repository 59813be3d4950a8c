"""The feed on Redis: messages that hurry, members that are waited for, connections that break."""

from __future__ import annotations

import anyio
import pytest
from redis_helpers import TAG, opened
from store_helpers import add_user, bearer, cookie, digest, exchange, keeping, login, presented, sid

from asgi_auth.errors import StoreUnavailable
from asgi_auth.stores.redis import RedisStore

LEASE = 5.0


@pytest.fixture
async def store(redis_url, anyio_backend):
    store = RedisStore(redis_url, timeout=10)
    await store.open()
    with anyio.fail_after(10):  # a thread of the test before may still be looking for messages
        while (await store._client.one("PUBSUB", "SHARDNUMSUB", f"{TAG}events"))[1]:  # noqa: ASYNC110
            await anyio.sleep(0.01)
    yield store
    await store.aclose()


async def test_each_message_is_the_entry_that_the_feed_has(store):
    await add_user(store, "alice")
    feed, cursor, heard = store.feed(), await store.newest(), []

    async def listen() -> None:
        await feed.listen(heard.append)

    async with anyio.create_task_group() as group:
        group.start_soon(listen)
        await subscribed(store)
        await login(store, cookie("a"))
        await login(store, bearer("b"))
        await store.write_data(sid("a"), {"k": "1"}, [], max_size=100)
        await store.rotate(presented("a"), digest("a2"), grace=10)
        await store.end(sid("b"), "logout")
        await store.end_user("alice", "revoked", keep=keeping("a", "a3"))
        await store.put_keys(None, "ring")
        await store.end_all("revoked")
        told = await store.events(cursor)
        with anyio.fail_after(10):
            while len(heard) < len(told):  # noqa: ASYNC110
                await anyio.sleep(0.01)
        group.cancel_scope.cancel()
    assert heard == told
    assert [entry.event.kind for entry in told] == ["changed", "changed", "ended", "user", "keys", "all"]
    await feed.leave()


async def subscribed(store) -> None:
    """Returns once somebody listens."""
    with anyio.fail_after(10):
        while not (await store._client.one("PUBSUB", "SHARDNUMSUB", f"{TAG}events"))[1]:  # noqa: ASYNC110
            await anyio.sleep(0.01)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "[1]", '["1-1","n","ended","sid"]', '["x","n","keys"]', '[1,"n","keys"]', "no json", "\xff"],
)
async def test_a_message_that_cannot_be_read_says_look(store, text):
    feed = store.feed()
    heard = []

    async def listen() -> None:
        await feed.listen(heard.append)

    async with anyio.create_task_group() as group:
        group.start_soon(listen)
        await subscribed(store)
        await store._client.one("SPUBLISH", f"{TAG}events", text)
        with anyio.fail_after(10):
            while not heard:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        group.cancel_scope.cancel()
    assert heard == [None]
    await feed.leave()


async def test_a_listener_whose_connection_was_cut_hears_of_it_and_listens_anew(store, redis_url):
    feed = store.feed()
    heard: list[object] = []

    async def listen() -> None:
        while True:
            try:
                await feed.listen(heard.append)
            except StoreUnavailable:
                heard.append("cut")

    async with anyio.create_task_group() as group:
        group.start_soon(listen)
        await subscribed(store)
        with opened(redis_url) as control:
            control.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        with anyio.fail_after(10):
            while not heard:  # noqa: ASYNC110
                await anyio.sleep(0.01)
            await subscribed(store)
        await store.put_keys(None, "ring")
        with anyio.fail_after(10):
            while len(heard) < 2:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        group.cancel_scope.cancel()
    assert heard[0] == "cut"
    assert heard[1] is None or heard[1].event.kind == "keys"
    await feed.leave()


async def test_a_member_is_behind_until_a_beat_says_that_it_has_applied(store):
    feed, cursor = store.feed(), await store.newest()
    assert await store.behind(cursor) == []
    await feed.beat(cursor, LEASE)
    assert await store.behind(cursor) == []
    await store.put_keys(None, "ring")
    mark = await store.newest()
    (member,) = await store.behind(mark)
    assert member.lease == LEASE
    ((entry,), _) = await feed.beat(cursor, LEASE)
    (again,) = await store.behind(mark)  # it has got it, but has not said that it is applied
    assert again.name == member.name
    assert again.value != member.value
    await feed.beat((entry,), LEASE)
    assert await store.behind(mark) == []
    await store.put_keys("ring", "another")
    assert await store.behind(mark) == []
    await feed.leave()


async def test_who_left_is_waited_for_no_more(store):
    feed, cursor = store.feed(), await store.newest()
    await feed.beat(cursor, LEASE)
    await store.put_keys(None, "ring")
    assert len(await store.behind(await store.newest())) == 1
    await feed.leave()
    assert await store.behind(await store.newest()) == []


async def test_a_silent_member_is_expelled_and_one_that_spoke_is_not(store):
    feed, cursor = store.feed(), await store.newest()
    await feed.beat(cursor, LEASE)
    await store.put_keys(None, "ring")
    mark = await store.newest()
    (member,) = await store.behind(mark)
    await feed.beat(cursor, LEASE)
    await store.expel(member)
    (member,) = await store.behind(mark)
    await store.expel(member)
    assert await store.behind(mark) == []
    await feed.leave()


async def test_a_cursor_of_another_history_counts_for_nothing(store, redis_url):
    feed, cursor = store.feed(), await store.newest()
    await feed.beat(cursor, LEASE)
    with opened(redis_url) as control:
        control.flushall()
    await store.put_keys(None, "ring")
    mark = await store.newest()
    ahead = cursor[0]._replace(id="9999999999999-0")
    assert (await feed.beat((ahead,), LEASE)).entries is None
    assert len(await store.behind(mark)) == 1
    await feed.leave()


async def test_a_beat_is_sent_once_and_its_connection_replaced_when_it_breaks(store, redis_url):
    feed, cursor = store.feed(), await store.newest()
    await feed.beat(cursor, LEASE)
    with opened(redis_url) as control:
        control.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    with pytest.raises(StoreUnavailable):
        await feed.beat(cursor, LEASE)
    assert (await feed.beat(cursor, LEASE)).entries == ()
    await feed.leave()


async def test_a_beat_waits_no_longer_than_its_lease(serve, anyio_backend):
    server = serve()
    store = RedisStore(server.url, timeout=30)
    await store.open()
    feed, cursor = store.feed(), await store.newest()
    await feed.beat(cursor, LEASE)
    with server.frozen(), anyio.fail_after(10), pytest.raises(StoreUnavailable):
        await feed.beat(cursor, 0.2)
    assert (await feed.beat(cursor, LEASE)).entries == ()
    await feed.leave()
    await store.aclose()


async def test_a_refresh_token_used_twice_is_told(store):
    await add_user(store, "alice")
    await login(store, bearer("b"))
    feed, cursor = store.feed(), await store.newest()
    await exchange(store, "b", 1, "b", "b2", revision=1)
    await exchange(store, "b", 1, "x", "b2", revision=1)
    ((entry,), _) = await feed.beat(cursor, LEASE)
    assert dict(entry.event.values)["reason"] == "reuse"
    await feed.leave()
