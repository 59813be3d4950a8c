"""What only the Redis store promises: its keys, its round trips, and records that cannot be read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from redis_helpers import TAG, VERBS, ends, furnish, opened, tour
from store_helpers import (
    IDLE,
    WINDOWS,
    alive,
    bearer,
    cookie,
    end_of,
    listed,
    login,
    presented,
    record_of,
    sid,
)

from asgi_auth.errors import ConfigurationError, StoreUnavailable
from asgi_auth.stores import Ended
from asgi_auth.stores.redis import RedisStore
from asgi_auth.stores.redis_partitions import SCHEMA
from asgi_auth.stores.redis_scripts import load_scripts


@pytest.fixture
def control(redis_url: str) -> Iterator[Any]:
    with opened(redis_url) as client:
        yield client


@pytest.fixture
async def store(redis_url, clock, anyio_backend):
    store = RedisStore(redis_url, timeout=10, clock=clock)
    await store.open()
    yield store
    await store.aclose()


DAY = 86_400


# Keys


@pytest.mark.parametrize(("query", "tag"), [("", TAG), ("?prefix=shop%3A", "shop:{00}:")])
async def test_all_keys_have_the_prefix_and_one_hash_tag(redis_url, control, anyio_backend, query, tag):
    store = RedisStore(redis_url + query, timeout=10)
    await store.open()
    await tour(store)
    await store.aclose()
    names = set(control.scan_iter())
    assert {name.removeprefix(tag).split(":")[0] for name in names} == {
        *("s", "u", "i", "n", "h", "x", "users", "due", "era", "events", "dead", "keys", "once")
    }
    assert all(name.startswith(tag) for name in names)


async def test_what_must_not_vanish_has_no_ttl_and_everything_else_has_one(store, control):
    await tour(store)
    lasting = {name.removeprefix(TAG).split(":")[0] for name in control.scan_iter() if control.ttl(name) == -1}
    assert lasting == {"u", "n", "users", "due", "era", "events", "dead", "keys", "once"}
    assert {name.removeprefix(TAG)[0] for name in control.scan_iter() if control.ttl(name) > 0} == {"s", "i", "h", "x"}


async def test_a_ttl_is_a_day_longer_than_the_session_and_follows_it(store, control, clock):
    await login(store, cookie("s"))
    control.expire(f"{TAG}s:{sid('s')}", 5)
    control.expire(f"{TAG}i:alice", 5)
    await store.touch([sid("s")])
    for name in (f"s:{sid('s')}", "i:alice"):
        assert DAY + IDLE - 60 < control.ttl(TAG + name) <= DAY + IDLE
    await store.end(sid("s"), "logout")
    assert 3540 < control.ttl(f"{TAG}s:{sid('s')}") <= 3600


async def test_two_prefixes_are_two_stores(redis_url, anyio_backend):
    stores = [RedisStore(f"{redis_url}?prefix={name}:", timeout=10) for name in ("a", "b")]
    for number, store in enumerate(stores):
        assert await store.once("ring", str(number)) == str(number)
        await store.aclose()


async def test_an_index_that_lost_a_session_does_not_save_it(store, control):
    await login(store, cookie("s"))
    control.delete(f"{TAG}i:alice")
    assert await store.end_user("alice", "password") == ()
    assert await end_of(store, "s") == "password"


async def test_revocations_that_are_over_are_swept(store, control, clock):
    for name in ("a", "b"):
        await login(store, bearer(name))
        await store.end(sid(name), "logout")
    clock.advance(WINDOWS.token_lifetime)
    await login(store, bearer("c"))
    await store.end(sid("c"), "logout")
    await store.sweep()
    assert control.zrange(f"{TAG}dead", 0, -1) == control.zrange(f"{TAG}dead:until", 0, -1) == [f"sid:{sid('c')}"]


async def test_a_partition_that_cannot_be_swept_costs_no_end_of_another(redis_url, control, clock, anyio_backend):
    store = RedisStore(f"{redis_url}?partitions=16", timeout=10, clock=clock)
    for number in range(20):
        await login(store, cookie(f"s{number}", f"user-{number}"))
    clock.advance(IDLE)
    healthy = sorted(control.scan_iter("*:due"))
    spoilt = healthy.pop()
    theirs = control.zrange(spoilt, 0, -1)
    control.set(spoilt, "no index")
    told = []
    for _ in range(500):  # it begins anywhere
        with suppress(StoreUnavailable):
            told += [ended.user_id for ended in (await store.sweep()).ended]
        if not any(map(control.exists, healthy)):
            break
    assert sorted([*told, *theirs]) == sorted(f"user-{number}" for number in range(20))
    await store.aclose()


async def test_the_feed_is_bounded_by_count(store, control):
    with control.pipeline(transaction=False) as pipe:
        for number in range(17_000):
            pipe.xadd(f"{TAG}events", {"nonce": number, "kind": "keys"})
        pipe.execute()
    await store.end_all("revoked")
    assert 16_384 <= control.xlen(f"{TAG}events") < 16_600


async def test_an_event_is_published_as_it_stands_in_the_feed(store, control):
    await login(store, cookie("s"))
    with control.pubsub(ignore_subscribe_messages=True) as listener:
        listener.ssubscribe(f"{TAG}events")
        listener.get_message(timeout=5)
        await store.end(sid("s"), "logout")
        message = listener.get_message(timeout=5)
    entry = (await store.events())[-1]
    ident, nonce, kind, *values = json.loads(message["data"])
    assert (ident, nonce, kind) == (entry.id, entry.nonce, "ended")
    assert values[: 2 * 3] == ["sid", sid("s"), "user", "alice", "reason", "logout"]


async def test_times_are_the_servers_and_exact_to_the_microsecond(redis_url, control, anyio_backend):
    store = RedisStore(redis_url, timeout=10)
    before = control.time()
    created = await login(store, cookie("s", idle=0.1, lifetime=1e6 + 0.000001))
    after = control.time()
    record = created.loaded.record
    assert before[0] + before[1] / 1e6 <= record.created_at <= after[0] + after[1] / 1e6
    assert record.idle_expires_at == record.created_at + 0.1
    assert record.expires_at == record.created_at + (1e6 + 0.000001)
    assert (await record_of(store, "s")) == record
    await store.aclose()


async def test_any_text_is_kept_as_it_is(store):
    odd = {"": "1", "d:x": "2", "\ud800": '"\\ud800"', "a\0b\r\n": "[]"}
    await login(store, cookie("s", data=odd))
    await store.write_data(sid("s"), {"\U0001f600": "{}"}, (), max_size=65536)
    assert dict((await record_of(store, "s")).data) == {**odd, "\U0001f600": "{}"}
    assert await store.load("\ud800") is None


async def test_ten_thousand_keys_of_data_are_written_and_deleted(store):
    keys = {f"{number:x}": "1" for number in range(10_000)}
    await login(store, cookie("v", None, data=keys))
    created = await login(store, cookie("s"), data_from=presented("v"))
    assert dict(created.loaded.record.data) == keys
    await store.write_data(sid("s"), {}, list(keys), max_size=65536)
    assert dict((await record_of(store, "s")).data) == {}


async def test_keys_of_a_newer_version_stop_the_start(store, control):
    control.set(f"{TAG}once:schema", str(int(SCHEMA) + 1))
    with pytest.raises(ConfigurationError, match="another version"):
        await store.open()


# Round trips


@pytest.mark.parametrize("verb", VERBS)
async def test_each_verb_is_one_round_trip(store, control, verb):
    await furnish(store)
    # What the server read from its clients: the verb, and the second of these questions.
    before = control.info("stats")["total_reads_processed"]
    await VERBS[verb](store)
    assert control.info("stats")["total_reads_processed"] - before == 2


@pytest.mark.parametrize("verb", VERBS)
async def test_each_verb_loads_its_script_again_when_the_server_forgot_it(store, control, verb):
    await furnish(store)
    control.script_flush()
    await VERBS[verb](store)


def test_every_script_lets_the_server_refuse_it_before_anything_is_written():
    assert len(load_scripts()) > 20
    assert all(script.source.startswith(b"#!lua") for script in load_scripts().values())


# Records that cannot be read


def spoil(control: Any, name: str, how: str) -> None:
    key = f"{TAG}s:{sid(name)}"
    if how == "type":
        control.set(key, "x")
    elif how.startswith("-"):
        control.hdel(key, how[1:])
    else:
        field, _, value = how.partition("=")
        control.hset(key, field, value.encode("latin-1"))


DAMAGE = ["type", "-e", "r=x", "i=", "-m", "m=[]", "b=x", "N=x", "g1=\xff", "d:k=\xff"]


@pytest.mark.parametrize("how", DAMAGE)
async def test_a_broken_record_ends_that_session_with_an_event_and_nothing_else(store, control, how):
    await furnish(store)
    spoil(control, "a", how)
    ended = await store.load(sid("a"))
    assert isinstance(ended, Ended)
    assert ended.reason == "broken"
    assert [(event.values["sid"], event.values["reason"]) for event in await ends(store)] == [(sid("a"), "broken")]
    assert (await store.load(sid("a"))).reason == "broken"
    assert await listed(store) == [sid("b")]


@pytest.mark.parametrize("what", ["u:alice", "i:alice"])
async def test_what_cannot_be_read_of_one_user_keeps_no_other_session_from_being_collected(store, control, clock, what):
    await login(store, cookie("a", idle=1))
    await login(store, cookie("b", "bob"))
    control.delete(TAG + what)
    control.set(TAG + what, "spoilt")
    clock.advance(IDLE)
    assert (await store.sweep()).ended == (Ended(sid("b"), "bob", "idle"),)
    assert (await store.sweep()).ended == ()


@pytest.mark.parametrize("how", DAMAGE)
async def test_a_broken_record_breaks_no_other_verb(store, control, how):
    await furnish(store)
    spoil(control, "a", how)
    assert await listed(store) == [sid("b")]
    assert isinstance(await store.load(sid("a")), Ended)


@pytest.mark.parametrize("how", ["type", "-e", "r=x"])
@pytest.mark.parametrize("verb", ["write_data", "touch", "rotate", "end", "end_user", "create", "exchange"])
async def test_every_verb_that_meets_a_broken_record_ends_it(store, control, verb, how):
    await furnish(store)
    spoil(control, "b" if verb == "exchange" else "a", how)
    await VERBS[verb](store)
    assert await end_of(store, "b" if verb == "exchange" else "a") in {"broken", "replaced"}
    assert "broken" in {event.values["reason"] for event in await ends(store)}


async def test_a_users_row_that_cannot_be_read_ends_nobody(store, control):
    await furnish(store)
    control.hset(f"{TAG}u:alice", "claims", "{")
    for ask in ("load", "user", "sessions", "user_by_name", "users"):
        with pytest.raises(StoreUnavailable):
            await VERBS[ask](store)
    control.hset(f"{TAG}u:alice", mapping={"claims": "{}", "revision": "x"})
    for ask in ("load", "end", "end_user", "save_user", "user"):
        with pytest.raises(StoreUnavailable):
            await VERBS[ask](store)
    control.hset(f"{TAG}u:alice", "revision", "1")
    assert await alive(store, "a")
