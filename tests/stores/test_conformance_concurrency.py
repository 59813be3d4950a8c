"""The store's contract under load: each verb happens whole and once, in one process and in several."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import anyio
import pytest
from store_helpers import (
    add_user,
    bearer,
    cookie,
    digest,
    end_of,
    exchange,
    in_processes,
    listed,
    login,
    record_of,
    sid,
)
from store_worker import gather

from asgi_auth.model import UserRow
from asgi_auth.stores import Created, Limit, Loaded
from asgi_auth.stores.opening import open_store

BIG = 65536


# In one process


async def test_of_sixteen_refreshes_at_once_one_is_made_and_fifteen_get_the_same(store):
    await login(store, bearer("r1", sid=sid("s")))
    done = await gather(16, lambda n: exchange(store, "s", 1, "r1", f"r2-{n}", revision=1))
    assert Counter(exchanged.outcome for exchanged in done) == {"made": 1, "repeated": 15}
    grant = (await record_of(store, "s")).grant
    assert {exchanged.nonce for exchanged in done if exchanged.outcome == "repeated"} == {grant.nonce}
    assert grant.digest in {digest(f"r2-{n}") for n in range(16)}
    assert grant.generation == 2


async def test_of_forty_writes_of_different_keys_at_once_forty_are_kept(store):
    await login(store, cookie("s"))
    versions = await gather(40, lambda n: store.write_data(sid("s"), {f"k{n}": str(n)}, (), max_size=BIG))
    assert len(set(versions)) == 40
    assert dict((await record_of(store, "s")).data) == {f"k{n}": str(n) for n in range(40)}


async def test_of_forty_logins_at_once_forty_are_listed_and_end_user_ends_forty(store):
    await add_user(store)
    await gather(40, lambda n: login(store, cookie(f"s{n}"), revision=1))
    assert len(await listed(store)) == 40
    assert len(await store.end_user("alice", "revoked")) == 40
    assert await listed(store) == []
    assert [await end_of(store, f"s{n}") for n in range(40)] == ["revoked"] * 40


async def test_a_limit_of_one_holds_for_fifty_logins_at_once(store):
    await add_user(store)
    done = await gather(50, lambda n: login(store, cookie(f"s{n}"), revision=1, limit=1))
    assert len(list(chain.from_iterable(created.ended for created in done))) == 49
    assert len(await listed(store)) == 1


async def test_one_of_fifty_logins_at_once_gets_the_only_seat(store):
    await add_user(store)
    done = await gather(50, lambda n: store.create(cookie(f"s{n}"), revision=1, limit=1, evict=False))
    assert Counter(isinstance(created, Created) for created in done) == {True: 1, False: 49}


async def test_nothing_is_born_after_its_sessions_end(store):
    for turn in range(10):
        await login(store, bearer(f"r{turn}", sid=sid(f"s{turn}")))

        async def one(n: int, turn: int = turn):
            if n == 0:
                return await store.end(sid(f"s{turn}"), "logout")
            return await exchange(store, f"s{turn}", 1, f"r{turn}", "next", revision=1)

        ended, *exchanged = await gather(4, one)
        assert ended is not None
        assert {done.outcome for done in exchanged} <= {"made", "repeated", "ended"}
        assert await end_of(store, f"s{turn}") == "logout"


async def test_an_end_is_told_to_one_of_many(store):
    await login(store, cookie("s"))
    done = await gather(20, lambda n: store.end(sid("s"), "logout"))
    assert sum(ended is not None for ended in done) == 1


async def test_one_of_many_saves_under_one_revision_stands(store):
    await add_user(store)
    done = await gather(20, lambda n: store.save_user(UserRow("alice", display_name=str(n)), expected=1))
    assert sorted(map(str, done)) == ["2"] + ["changed"] * 19
    assert (await store.user("alice")).display_name == str(done.index(2))


async def test_a_name_is_given_once_of_many(store):
    done = await gather(20, lambda n: store.save_user(UserRow(f"u{n}", name="a"), name_key="a", expected=None))
    assert sorted(map(str, done)) == ["1"] + ["taken"] * 19


async def test_a_revocation_racing_logins_is_decided_by_order(store):
    await add_user(store)

    async def one(n: int):
        if n == 10:
            return await store.end_user("alice", "revoked")
        return await store.create(cookie(f"s{n}"), revision=1)

    done = await gather(21, one)
    ended = {each.sid for each in done.pop(10)}
    made = {created.loaded.record.sid for created in done if isinstance(created, Created)}
    assert made == ended
    assert await listed(store) == []


async def test_hits_at_once_are_counted_each(store):
    done = await gather(30, lambda n: store.hit([Limit("k", 9, 100)]))
    assert sum(hit.wait == 0 for hit in done) == 10


# In three processes


@pytest.fixture
async def shared(shared_url, anyio_backend):
    """A store without a test's clock, for processes that have none."""
    store = open_store(shared_url, timeout=10.0)
    await store.open()
    yield store
    await store.aclose()


class TestInThreeProcesses:
    """The other processes run asyncio whatever this one runs, so once is enough."""

    @pytest.fixture(params=["asyncio"])
    def anyio_backend(self, request):
        return request.param

    async def run(self, url: str, job: str):
        return await anyio.to_thread.run_sync(in_processes, url, job)

    async def test_one_refresh_is_made(self, shared, shared_url):
        await login(shared, bearer("r1", sid=sid("s")))
        done = list(chain.from_iterable(await self.run(shared_url, "exchanges")))
        assert Counter(outcome for outcome, _ in done) == {"made": 1, "repeated": 47}
        grant = (await record_of(shared, "s")).grant
        assert {nonce for outcome, nonce in done if outcome == "repeated"} == {grant.nonce}

    async def test_every_write_of_data_is_kept(self, shared, shared_url):
        await login(shared, cookie("s"))
        assert await self.run(shared_url, "writes") == [40] * 3
        record = await record_of(shared, "s")
        assert len(record.data) == 120

    async def test_every_login_is_listed_and_ended(self, shared, shared_url):
        await add_user(shared)
        assert await self.run(shared_url, "logins") == [40] * 3
        assert len(await listed(shared)) == 120
        assert len(await shared.end_user("alice", "revoked")) == 120
        assert await listed(shared) == []

    async def test_a_limit_of_one_holds(self, shared, shared_url):
        await add_user(shared)
        assert await self.run(shared_url, "limited") == [50] * 3
        assert len(await listed(shared)) == 1

    async def test_one_login_gets_the_only_seat(self, shared, shared_url):
        await add_user(shared)
        assert sum((Counter(done) for done in await self.run(shared_url, "refused")), Counter()) == {
            "made": 1,
            "limit": 149,
        }

    async def test_nothing_is_born_after_its_sessions_end(self, shared, shared_url):
        await login(shared, bearer("r1", sid=sid("s")))
        ended, *refreshed = await self.run(shared_url, "race")
        assert ended == [True]
        assert not isinstance(await shared.load(sid("s")), Loaded)
        for outcomes in refreshed:
            assert outcomes[-4:] == ["ended"] * 4
            assert set(outcomes[:-4]) <= {"made", "repeated"}

    async def test_hits_are_counted_together(self, shared, shared_url):
        assert sum(await self.run(shared_url, "hits")) == 31

    async def test_processes_that_start_together_agree(self, shared_url):
        done = await self.run(shared_url, "once")
        assert len({ring for ring, _ in done}) == 1
        assert sorted(put for _, put in done) == [False, False, True]

    async def test_a_name_is_given_once(self, shared, shared_url):
        done = sum((Counter(each) for each in await self.run(shared_url, "names")), Counter())
        assert done == {"1": 1, "taken": 29}

    async def test_no_save_overwrites_another(self, shared, shared_url):
        await add_user(shared)
        assert await self.run(shared_url, "saves") == [10] * 3
        assert (await shared.user("alice")).revision == 31
