"""The store's contract for those who follow the feed: beats, cursors, messages, members."""

from __future__ import annotations

from store_helpers import cookie, login, sid

from asgi_auth.stores import feed as feeds
from asgi_auth.stores.values import advanced

LEASE = 5.0


async def follow(store, cursor=None):
    """A feed and the entry that it stands at."""
    return store.feed(), cursor or await store.newest()


async def test_an_empty_feed_gets_a_first_entry_once(store):
    first = await store.newest()
    assert {entry.event.kind for entry in first} == {"begun"}
    assert await store.newest() == first
    assert sorted(await store.events(), key=lambda entry: entry.partition) == list(first)


async def test_a_beat_brings_what_came_after_its_cursor(store):
    await login(store, cookie("a"))
    await login(store, cookie("b"))
    feed, cursor = await follow(store)
    assert await feed.beat(cursor, LEASE) == ((), False)
    await store.end(sid("a"), "logout")
    await store.end(sid("b"), "logout")
    beat = await feed.beat(cursor, LEASE)
    assert beat.entries == tuple(await store.events(cursor))
    assert [entry.event.values["sid"] for entry in beat.entries] == [sid("a"), sid("b")]
    first, second = beat.entries
    cursor = advanced(cursor, first)
    assert await feed.beat(cursor, LEASE) == ((second,), False)
    assert await feed.beat(advanced(cursor, second), LEASE) == ((), False)
    await feed.leave()


async def test_a_beat_from_an_entry_that_is_not_there_finds_another_history(store):
    feed, cursor = await follow(store)
    for at in cursor:
        assert (await feed.beat(advanced(cursor, at._replace(nonce="0" * 16)), LEASE)).entries is None
        ahead = at._replace(id="9999999999999-0" if "-" in at.id else "9999")
        assert (await feed.beat(advanced(cursor, ahead), LEASE)).entries is None
    assert (await feed.beat(cursor, LEASE)).entries == ()
    await feed.leave()


async def test_a_full_page_says_that_there_may_be_more(store, monkeypatch):
    await login(store, cookie("a"))
    feed, cursor = await follow(store)
    first = cursor
    for number in range(3):
        await store.write_data(sid("a"), {"k": str(number)}, [], max_size=100)
    for module in feeds_of(store):
        monkeypatch.setattr(module, "PAGE", 3)
    seen = []
    while True:
        beat = await feed.beat(cursor, LEASE)
        seen += beat.entries
        for entry in beat.entries:
            cursor = advanced(cursor, entry)
        if not beat.more:
            break
    assert seen == await store.events(first)
    await feed.leave()


def feeds_of(store):
    import asgi_auth.stores.memory
    import asgi_auth.stores.redis_feed
    import asgi_auth.stores.sqlite_feed

    return feeds, asgi_auth.stores.memory, asgi_auth.stores.redis_feed, asgi_auth.stores.sqlite_feed


async def test_a_local_feed_needs_no_trip_and_a_servers_has_none_without(store, store_url):
    feed, cursor = await follow(store)
    assert feed.instant == (not store_url.startswith("redis"))
    if feed.instant:
        await login(store, cookie("a"))
        cursor = await store.newest()
        await store.end(sid("a"), "logout")
        assert [entry.event.kind for entry in feed.look(cursor).entries] == ["ended"]
    await feed.leave()


async def test_the_history_has_a_name_for_good_and_counts_ends_of_everybody(store):
    epoch, era, _ = await store.history()
    assert (len(epoch), era) == (8, 0)
    await store.end_all("revoked")
    await store.end_all("revoked")
    assert (await store.history())[:2] == (epoch, 2)


async def test_a_feed_that_left_may_come_back(store):
    feed, cursor = await follow(store)
    await feed.beat(cursor, LEASE)
    await feed.leave()
    assert (await feed.beat(cursor, LEASE)).entries == ()
    await feed.leave()
