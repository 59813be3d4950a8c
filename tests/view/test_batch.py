"""Loads that are under way together go to the store together, and none suffers for another."""

from __future__ import annotations

import anyio
import pytest
from redis_helpers import opened
from store_helpers import cookie, login, sid
from view_helpers import LEASE, following, is_warm, kind_of, until

from asgi_auth.errors import StoreUnavailable
from asgi_auth.stores import Loaded
from asgi_auth.stores.redis import RedisStore
from asgi_auth.view import View
from asgi_auth.view import batch as batches
from asgi_auth.view.batch import Batch

NAMES = [f"s{number}" for number in range(6)]
MANY = [*NAMES, *(f"nobody{number}" for number in range(26))]


@pytest.fixture
async def sessions(store):
    for name in NAMES:
        await login(store, cookie(name))


@pytest.fixture
def batch(stage):
    return Batch(stage)


class Together:
    """Loads that began together: what became of each."""

    def __init__(self, load, names) -> None:
        self._load, self._names = load, names
        self.answers = {}

    async def one(self, name) -> None:
        try:
            self.answers[name] = await self._load(sid(name))
        except StoreUnavailable as error:
            self.answers[name] = error

    async def run(self) -> None:
        async with anyio.create_task_group() as group:
            for name in self._names:
                group.start_soon(self.one, name)


async def load(batch, names):
    together = Together(batch.load, names)
    await together.run()
    return together.answers


async def test_one_alone_goes_at_once(batch, stage, sessions):
    assert (await load(batch, NAMES[:1]))["s0"].record.sid == sid("s0")
    assert stage.asked == ["load"]


async def test_loads_that_are_under_way_together_make_a_few_trips(batch, stage, sessions, patient):
    stage.before["load"].close()
    together = Together(batch.load, MANY)
    async with anyio.create_task_group() as group:
        group.start_soon(together.run)
        await gathered(batch, len(MANY) - 1)
        stage.before["load"].open()
    assert all(together.answers[name].record.sid == sid(name) for name in NAMES)
    assert len(together.answers) == 32
    assert stage.asked == ["load", "load_all"]


@pytest.fixture
def patient(monkeypatch):
    """A trip waits for the one before it for as long as the test takes."""
    monkeypatch.setattr(batches, "GATHER", 60)


async def gathered(batch, number):
    """Returns once so many loads wait to leave together."""
    station = batch._stations.get()[sid("s0")[:2]]
    await until(lambda: station.gathering is not None and len(station.gathering.sids) == number)


async def test_a_redis_is_asked_a_few_times_for_requests_that_are_in_flight_together(redis_url, anyio_backend):
    store = RedisStore(redis_url, timeout=10)
    await store.open()
    for name in NAMES:
        await login(store, cookie(name))
    view = View(store, staleness=0)
    assert (await view.session(sid("s0"))) is not None  # connected
    with opened(redis_url) as control:
        before = control.info("commandstats")["cmdstat_evalsha"]["calls"]
        together = Together(view.session, MANY)
        await together.run()
        assert control.info("commandstats")["cmdstat_evalsha"]["calls"] - before <= 3
    assert [kind_of(together.answers[name]) for name in MANY] == ["alive"] * 6 + ["unknown"] * 26
    await store.aclose()


async def test_each_gets_its_own_answer(batch, store, stage, sessions):
    await store.end(sid("s1"), "logout")
    answers = await load(batch, ["s0", "s1", "nobody", "s2"])
    assert [kind_of(answers[name]) for name in ("s0", "s1", "nobody", "s2")] == ["alive", "dead", "unknown", "alive"]


async def test_several_who_ask_for_the_same_ask_once(batch, stage, sessions, patient):
    stage.before["load"].close()
    async with anyio.create_task_group() as group:
        group.start_soon(batch.load, sid("s0"))
        await stage.before["load"].reached()
        for _ in range(10):
            group.start_soon(batch.load, sid("s1"))
        await gathered(batch, 1)
        await anyio.wait_all_tasks_blocked()
        stage.before["load"].open()
    assert stage.asked == ["load", "load"]


async def test_what_a_load_brings_was_read_after_it_was_asked_for(batch, store, stage, sessions, patient):
    """Who comes while a trip is under way waits for the next one."""
    stage.after["load"].close()
    answers = Together(batch.load, ["s0"])
    async with anyio.create_task_group() as group:
        group.start_soon(batch.load, sid("s0"))
        await stage.after["load"].reached()
        await store.end(sid("s0"), "logout")
        group.start_soon(answers.run)
        await gathered(batch, 1)
        stage.after["load"].open()
    assert kind_of(answers.answers["s0"]) == "dead"


async def test_who_comes_after_a_trip_has_left_does_not_get_its_answers(batch, store, stage, sessions, patient):
    stage.before["load"].close()
    stage.after["load_all"].close()
    early, late = Together(batch.load, ["s1", "s2"]), Together(batch.load, ["s1"])
    async with anyio.create_task_group() as group:
        group.start_soon(batch.load, sid("s0"))
        await stage.before["load"].reached()
        group.start_soon(early.run)
        await gathered(batch, 2)
        stage.before["load"].open()
        await stage.after["load_all"].reached()
        await store.end(sid("s1"), "logout")
        group.start_soon(late.run)
        await gathered(batch, 1)
        stage.after["load_all"].open()
    assert kind_of(early.answers["s1"]) == "alive"
    assert kind_of(late.answers["s1"]) == "dead"


async def test_a_slow_trip_holds_nobody_up_for_long(batch, stage, sessions):
    """The first answer never comes; the others do not wait for it."""
    stage.after["load"].close()
    async with anyio.create_task_group() as group:
        group.start_soon(batch.load, sid("s0"))
        await stage.after["load"].reached()
        with anyio.fail_after(5):
            answers = await load(batch, ["s1", "s2"])
        assert len(answers) == 2
        group.cancel_scope.cancel()


@pytest.mark.parametrize("moment", ["gathering", "under way"])
async def test_who_led_a_trip_and_was_cancelled_strands_nobody(batch, stage, sessions, patient, moment):
    stage.before["load"].close()
    leader, others = anyio.CancelScope(), Together(batch.load, ["s2", "s3", "s4"])

    async def lead() -> None:
        with leader:
            await batch.load(sid("s1"))

    async with anyio.create_task_group() as group:
        group.start_soon(batch.load, sid("s0"))
        await stage.before["load"].reached()
        group.start_soon(lead)
        await gathered(batch, 1)
        group.start_soon(others.run)
        await gathered(batch, 4)
        if moment == "under way":
            stage.before["load_all"].close()
            stage.before["load"].open()
            await stage.before["load_all"].reached()
        leader.cancel()
        stage.before["load"].open()
        stage.before["load_all"].open()
    assert leader.cancelled_caught
    assert [kind_of(others.answers[name]) for name in ("s2", "s3", "s4")] == ["alive"] * 3


async def test_a_follower_that_was_cancelled_hurts_nobody(batch, stage, sessions, patient):
    stage.before["load"].close()
    others, gone = Together(batch.load, ["s1", "s3"]), anyio.CancelScope()

    async def leave() -> None:
        with gone:
            await batch.load(sid("s2"))

    async with anyio.create_task_group() as group:
        group.start_soon(batch.load, sid("s0"))
        await stage.before["load"].reached()
        group.start_soon(others.run)
        await gathered(batch, 2)
        group.start_soon(leave)
        await gathered(batch, 3)
        gone.cancel()
        stage.before["load"].open()
    assert [kind_of(answer) for answer in others.answers.values()] == ["alive", "alive"]


async def test_a_failure_reaches_all_and_the_next_trip_goes(batch, stage, sessions, patient):
    stage.down = {"load", "load_all"}
    stage.before["load"].close()
    together = Together(batch.load, MANY)
    async with anyio.create_task_group() as group:
        group.start_soon(together.run)
        await gathered(batch, len(MANY) - 1)
        stage.before["load"].open()
    answers = together.answers
    assert stage.asked == ["load", "load_all"]
    assert len(answers) == len(MANY)
    assert all(isinstance(answer, StoreUnavailable) for answer in answers.values())
    assert len({id(answer) for answer in answers.values()}) == len(MANY)  # each its own, with its own traceback
    stage.down = set()
    answers = await load(batch, NAMES)
    assert all(isinstance(answer, Loaded) for answer in answers.values())


async def test_a_batch_through_a_view_enters_it_under_the_marks_of_each(redis_store, redis_stage, patient):
    """A revocation that is heard while a batch is under way concerns its session alone."""
    names = NAMES[1:]
    for name in NAMES:
        await login(redis_store, cookie(name))
    view = View(redis_stage, staleness=LEASE)
    async with following(view):
        redis_stage.before["load"].close()
        redis_stage.after["load_all"].close()
        together = Together(view.session, names)
        async with anyio.create_task_group() as group:
            group.start_soon(view.session, sid("s0"))
            await redis_stage.before["load"].reached()
            group.start_soon(together.run)
            await gathered(view._batch, len(names))
            redis_stage.before["load"].open()
            await redis_stage.after["load_all"].reached()
            await view.store.end(sid("s2"), "revoked")
            redis_stage.after["load_all"].open()
        assert [kind_of(together.answers[name]) for name in names] == ["alive", "dead", "alive", "alive", "alive"]
        assert [is_warm(view, sid(name)) for name in names] == [True, False, True, True, True]
