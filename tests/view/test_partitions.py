"""A view over a store of several partitions: alice is in one, bob in another."""

from __future__ import annotations

from contextlib import ExitStack

import anyio
import pytest
from redis_helpers import opened
from store_helpers import bearer, cookie, login, owners, sid
from view_helpers import following, hold, is_warm, kind_of, stamp_of, until, worker

from asgi_auth.errors import StoreUnavailable
from asgi_auth.model import Event
from asgi_auth.stores import History
from asgi_auth.stores.redis import RedisStore
from asgi_auth.view import View
from asgi_auth.view.batch import Batch
from asgi_auth.view.copy import Copy

STALENESS = 0.5


@pytest.fixture
def url(redis_url):
    return f"{redis_url}?partitions=16"


@pytest.fixture
async def store(url, anyio_backend):
    store = RedisStore(url, timeout=10)
    await store.open()
    owners.clear()
    yield store
    await store.aclose()


async def test_a_revocation_in_any_partition_reaches_every_process_before_it_returns(url, store):
    users = {"a": "alice", "b": "bob", "c": "carol", "d": "dave"}
    for name, user_id in users.items():
        await login(store, cookie(name, user_id))
    view = View(store, staleness=STALENESS)
    with ExitStack() as stack:
        processes = [stack.enter_context(worker(url, STALENESS)) for _ in range(2)]
        for process in processes:
            assert await process.hear() == "ready"
            for name in users:
                assert (await process.ask("hold", sid(name)))["warm"]
        async with following(view):
            for name in users:
                async with view.settled(True):
                    await view.store.end(sid(name), "revoked")
                for process in processes:
                    assert await process.ask("ask", sid(name)) == {"warm": False, "state": "dead", "asked": False}


async def test_a_message_of_any_partition_counts_at_once(store, url):
    await login(store, cookie("a"))
    await login(store, cookie("b", "bob"))
    view = View(store, staleness=100.0)
    async with following(view):
        with opened(url.partition("?")[0]) as control:
            channels = [f"asgi-auth:{{{partition:02x}}}:events" for partition in range(16)]
            await until(lambda: all(count for _, count in control.pubsub_shardnumsub(*channels)))
        for name in "ab":
            await hold(view, sid(name))
            await store.end(sid(name), "logout")
            await until(lambda name=name: not is_warm(view, sid(name)))
            assert kind_of(await view.session(sid(name))) == "dead"


async def test_a_flush_of_one_partition_empties_the_view(store, url):
    await login(store, cookie("a"))
    view = View(store, staleness=STALENESS)
    async with following(view):
        await hold(view, sid("a"))
        epoch = await view.epoch()
        with opened(url.partition("?")[0]) as control:
            control.delete(*control.scan_iter("asgi-auth:{07}:*"))
        await until(lambda: view.held(sid("a")) is None)
        assert kind_of(await view.session(sid("a"))) == "unknown"
        assert await view.epoch() != epoch


async def end_of_everybody_in(store, partition):
    """As far as an end of everybody comes whose process dies in the middle of it."""
    await store._each(store._known, "end_all", {partition: ("revoked", 1, "")}, change=True)


async def test_while_some_partitions_have_not_heard_of_an_end_of_everybody_each_token_is_asked_about(store):
    for name, user_id in {"a": "alice", "b": "bob"}.items():
        await login(store, bearer(name, user_id))
    stamps = {name: await stamp_of(store, sid(name)) for name in "ab"}
    before, later = View(store, staleness=STALENESS), View(store, staleness=STALENESS)
    async with following(before):
        assert all(before.stands(stamp, before.clock()) for stamp in stamps.values())
        await end_of_everybody_in(store, store._known.of_user("alice"))
        await until(lambda: not before.stands(stamps["a"], before.clock()))
        async with following(later):
            for view in (before, later):
                assert not any(view.stands(stamp, view.clock()) for stamp in stamps.values())
                assert (await view.token(stamps["a"])).state == "revoked"
                assert (await view.token(stamps["b"])).state == "current"
                assert kind_of(await view.session(sid("b"))) == "alive"
            await store.end_all("revoked")
            await login(store, bearer("c", "carol"))
            after = await stamp_of(store, sid("c"))
            for view in (before, later):
                await until(lambda view=view: view.stands(after, view.clock()))
                assert (await view.token(stamps["b"])).state == "revoked"


@pytest.mark.parametrize(
    ("heard", "era"),
    [
        ([(3, False)], 3),
        ([(3, True)], -1),
        ([(3, True), (3, False)], 3),
        ([(3, False), (3, True)], 3),
        ([(3, False), (4, True)], -1),
        ([(4, True), (3, False), (4, False)], 4),
        ([(2, True)], 2),
    ],
)
def test_the_era_is_known_once_it_is_the_same_everywhere(clock, heard, era):
    copy = Copy(clock)
    copy.reset(History("0" * 8, 2, 0.0))
    for number, partly in heard:
        copy.apply(Event("all", {"era": number, **({"partly": "1"} if partly else {})}))
    assert copy.history.era == era


async def test_loads_of_one_partition_do_not_fail_with_those_of_another(store, monkeypatch):
    await login(store, cookie("a"))
    for name in ("b", "b2"):
        await login(store, cookie(name, "bob"))
    answered, failed = [], []
    batch = Batch(store)
    run = store._client.run

    async def without_bobs(name, asked, **options):
        if any("{00}" in key for key in asked):
            raise StoreUnavailable("that server is down")
        return await run(name, asked, **options)

    async def load(name):
        try:
            answered.append((await batch.load(sid(name))).record.sid)
        except StoreUnavailable:
            failed.append(sid(name))

    monkeypatch.setattr(store._client, "run", without_bobs)
    async with anyio.create_task_group() as group:
        for name in ("b", "b2", "a", "a"):
            group.start_soon(load, name)
    assert answered == [sid("a")] * 2
    assert sorted(failed) == [sid("b"), sid("b2")]
