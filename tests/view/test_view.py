"""What a view says of sessions: at once while it is proved current, else by the store; and never that a dead one
lives."""

from __future__ import annotations

from itertools import permutations, product

import anyio
import pytest
from store_helpers import IDLE, bearer, cookie, digest, exchange, keeping, login, presented, sid
from view_helpers import LEASE, Stage, following, here, hold, is_current, is_warm, kind_of, stamp_of, until

from asgi_auth.errors import StoreUnavailable
from asgi_auth.model import UserRow
from asgi_auth.stores import Ended, Loaded
from asgi_auth.stores.memory import MemoryStore
from asgi_auth.view import View

ORDERS = [
    "".join(order)
    for order in permutations("SXARM")
    if order.index("S") < order.index("X") < order.index("A") and order.index("R") < order.index("M")
]
"""A load is sent, executed by the store, and answered; a revocation is made, and heard of."""

REVOCATIONS = {
    "end": lambda store, name: store.end(sid(name), "revoked"),
    "end_user": lambda store, name: store.end_user(name, "revoked"),
    "end_all": lambda store, name: store.end_all("revoked"),
}


def make(stage: Stage) -> View:
    return View(stage, staleness=LEASE)


def test_these_are_all_orders():
    assert len(ORDERS) == 10


@pytest.mark.parametrize("order", ORDERS)
async def test_a_record_loaded_before_its_revocation_never_enters_the_view(store, stage, order):
    view = make(stage)
    async with following(view):
        ways = ["look"] if stage.own_feed.instant else ["message", "beat"]
        for name, heard_by in product(REVOCATIONS, ways):
            user = f"{name}-{heard_by}"
            await login(store, cookie(user, user))
            await run_in_order(store, stage, view, order, user, REVOCATIONS[name], heard_by)
            assert not is_warm(view, sid(user)), user
            assert await here(view, stage, sid(user)) != "alive", user
            assert kind_of(await view.session(sid(user))) == "dead", user


async def run_in_order(store, stage, view, order, name, revoke, heard_by):
    read, answered, feed = stage.before["load"], stage.after["load"], stage.own_feed
    last, answers = await store.newest(), []

    async def ask() -> None:
        answers.append(await view.session(sid(name)))

    async def hear() -> None:
        if heard_by == "look":
            assert is_current(view)
        elif heard_by == "message":
            feed.sent.close()
            await feed.tell(*await store.events(last))
        else:
            await feed.pulse()

    async with anyio.create_task_group() as group:
        for step in order:
            if step == "S":
                read.close()
                answered.close()
                group.start_soon(ask)
                await until(lambda: read.waiting or answers)
            elif step == "X" and not answers:
                read.open()
                await answered.reached()
            elif step == "A":
                answered.open()
                await until(lambda: answers)
            elif step == "R":
                await revoke(store, name)
            elif step == "M":
                await hear()
    if not feed.instant:
        feed.sent.open()
        await feed.pulse()


async def test_a_change_between_a_load_and_its_answer_makes_it_load_again(store, stage):
    await login(store, cookie("a"))
    view = make(stage)
    async with following(view):
        stage.after["load"].close()
        answers = []

        async def ask() -> None:
            answers.append(await view.session(sid("a")))

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await stage.after["load"].reached()
            await view.store.write_data(sid("a"), {"k": "1"}, [], max_size=100)
            stage.after["load"].open()
        assert answers[0].record.data == {"k": "1"}
        assert stage.loads == 2
        assert view.held(sid("a")).loaded.record.data == {"k": "1"}


async def test_an_answer_that_took_very_long_is_not_kept(store, stage, clock):
    await login(store, cookie("a"))
    view = make(stage)
    async with following(view):
        stage.after["load"].close()
        async with anyio.create_task_group() as group:
            group.start_soon(view.session, sid("a"))
            await stage.after["load"].reached()
            clock.advance(10.1)
            stage.after["load"].open()
        assert stage.loads == 2
        assert is_warm(view, sid("a"))


async def test_a_session_is_loaded_once_and_answered_here_from_then_on(store, stage, clock):
    await login(store, cookie("a", data={"k": "1"}))
    view = make(stage)
    async with following(view):
        first = await view.session(sid("a"))
        clock.advance(5)
        again = await view.session(sid("a"))
        assert stage.loads == 1
        assert again.record == first.record
        assert again.now == pytest.approx(first.now + 5)
        assert again.remaining == pytest.approx(IDLE - 5)
        assert await here(view, stage, sid("a")) == "alive"


async def test_without_a_follower_the_store_is_asked_each_time(store, stage):
    await login(store, cookie("a"))
    view = make(stage)
    for _ in range(2):
        assert kind_of(await view.session(sid("a"))) == "alive"
    assert stage.loads == 2
    await store.end(sid("a"), "logout")
    assert kind_of(await view.session(sid("a"))) == "dead"


async def test_after_the_follower_has_ended_the_store_is_asked(store, stage):
    await login(store, cookie("a"))
    view = make(stage)
    async with following(view):
        await hold(view, sid("a"))
    assert not is_current(view)
    assert not is_warm(view, sid("a"))
    assert await here(view, stage, sid("a")) == "ask"


async def test_with_a_staleness_of_nothing_the_store_is_asked(store, stage):
    await login(store, cookie("a"))
    view = View(stage, staleness=0)
    async with anyio.create_task_group() as group:
        group.start_soon(view.follower.run)
        await until(lambda: "revocations" in stage.asked)
        loads = stage.loads
        for _ in range(3):
            assert kind_of(await view.session(sid("a"))) == "alive"
            assert not is_current(view)
            assert not is_warm(view, sid("a"))
        assert stage.loads == loads + 3
        group.cancel_scope.cancel()
    await view.follower.leave()


async def test_who_was_unknown_is_not_asked_about_again_until_the_history_ends(store, stage):
    view = make(stage)
    async with following(view):
        assert await view.session(sid("later")) is None
        assert await view.session(sid("later")) is None
        assert stage.loads == 1
        view.follower._copy.reset()  # as another history does it, see `test_follower`
        await login(store, cookie("later"))
        assert kind_of(await view.session(sid("later"))) == "alive"


async def test_whoever_was_seen_dead_is_known_for_an_hour(store, stage, clock):
    await login(store, cookie("a"))
    await store.end(sid("a"), "logout")
    view = make(stage)
    async with following(view):
        assert await view.session(sid("a")) == Ended(sid("a"), "alice", "logout")
        clock.advance(3599)
        assert await here(view, stage, sid("a")) == "dead"
        await pass_time(stage, clock, 2)
        assert await here(view, stage, sid("a")) == "ask"


async def test_a_session_used_only_in_another_process_does_not_idle_out_here(store, stage, clock):
    await login(store, cookie("a"))
    view = make(stage)
    async with following(view):
        await hold(view, sid("a"))
        held = view.held(sid("a"))
        await pass_time(stage, clock, 0.9 * IDLE)
        assert await here(view, stage, sid("a")) == "alive"
        await store.touch([sid("a")])
        await pass_time(stage, clock, 0.2 * IDLE)
        assert not view.warm(held, view.clock())
        assert await here(view, stage, sid("a")) == "ask"
        await hold(view, sid("a"))
        await pass_time(stage, clock, IDLE)
        assert kind_of(await view.session(sid("a"))) == "dead"


async def pass_time(stage, clock, seconds):
    """More than a lease: then it takes a beat until the view is current again."""
    clock.advance(seconds)
    if not stage.own_feed.instant:
        await stage.own_feed.pulse()


async def test_a_session_whose_old_secret_is_in_its_grace_is_for_the_store_to_judge(store, stage, clock):
    await login(store, cookie("a"))
    view = make(stage)
    async with following(view):
        await hold(view, sid("a"))
        assert await view.store.rotate(presented("a"), digest("a2"), grace=10)
        for _ in range(2):
            assert kind_of(await view.session(sid("a"))) == "alive"
            assert not is_warm(view, sid("a"))
        assert stage.loads == 3
        clock.advance(10.1)
        await hold(view, sid("a"))


async def test_a_newer_version_of_the_data_is_asked_for(store, stage):
    await login(store, cookie("a"))
    view = make(stage)
    async with following(view):
        await hold(view, sid("a"))
        if stage.own_feed.instant:
            return  # there is no such thing as an older copy
        version = await store.write_data(sid("a"), {"k": "1"}, [], max_size=100)
        assert (await view.session(sid("a"), version=version - 1)).record.data == {}
        assert (await view.session(sid("a"), version=version)).record.data == {"k": "1"}
        assert stage.loads == 2
        assert (await view.session(sid("a"), version=version)).record.data == {"k": "1"}
        assert stage.loads == 2
        # Made up: it costs a question, and no more.
        assert (await view.session(sid("a"), version=version + 1)).record.data_version == version


# Its own changes

CHANGES = {
    "end": lambda store: store.end(sid("a"), "logout"),
    "end_user": lambda store: store.end_user("alice", "password", keep=keeping("b", "b2")),
    "end_all": lambda store: store.end_all("revoked"),
    "delete_user": lambda store: store.delete_user("alice"),
    "disable": lambda store: store.end_user("alice", "disabled", disable=True),
    "save_user": lambda store: store.save_user(UserRow("alice"), expected=1, ends="password"),
    "create": lambda store: store.create(cookie("c"), revision=1, replaces=presented("a")),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_process_knows_its_own_change_when_the_verb_returns(store, stage, change):
    await login(store, cookie("a"))
    await login(store, cookie("b"))
    view = make(stage)
    async with following(view):
        await hold(view, sid("a"), sid("b"))
        stage.own_feed.sent.close()
        held = view.held(sid("a"))
        await CHANGES[change](view.store)
        assert not held.valid
        assert await here(view, stage, sid("a")) != "alive"
        assert kind_of(await view.session(sid("a"))) == "dead"
        stage.own_feed.sent.open()


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_whose_outcome_is_unknown_counts_here_as_made(store, stage, change):
    await login(store, cookie("a"))
    await login(store, cookie("b"))
    view = make(stage)
    async with following(view):
        await hold(view, sid("a"), sid("b"))
        stage.own_feed.sent.close()
        stage.lost = {"end", "end_user", "end_all", "delete_user", "save_user", "create"}
        with pytest.raises(StoreUnavailable):
            await CHANGES[change](view.store)
        assert await here(view, stage, sid("a")) in ("dead", "ask")
        assert kind_of(await view.session(sid("a"))) == "dead"
        stage.own_feed.sent.open()


async def test_a_session_whose_end_never_reached_the_store_is_dead_here(store, stage):
    await login(store, cookie("a"))
    view = make(stage)
    async with following(view):
        await hold(view, sid("a"))
        stage.down.add("end")
        with pytest.raises(StoreUnavailable):
            await view.store.end(sid("a"), "logout")
        assert isinstance(await store.load(sid("a")), Loaded)
        assert await view.session(sid("a")) == Ended(sid("a"), None, "logout")


@pytest.mark.parametrize(
    "change",
    [
        lambda store: store.write_data(sid("a"), {"k": "1"}, [], max_size=100),
        lambda store: store.touch([sid("a")]),
        lambda store: store.rotate(presented("a"), digest("a2"), grace=0),
    ],
    ids=["write_data", "touch", "rotate"],
)
@pytest.mark.parametrize("outcome", ["known", "unknown"])
async def test_what_was_written_here_is_read_here(store, stage, clock, change, outcome):
    await login(store, cookie("a"))
    view = make(stage)
    async with following(view):
        await hold(view, sid("a"))
        stage.own_feed.sent.close()
        clock.advance(1)
        if outcome == "unknown":
            stage.lost = {"write_data", "touch", "rotate"}
            with pytest.raises(StoreUnavailable):
                await change(view.store)
        else:
            await change(view.store)
        assert (await view.session(sid("a"))).record == (await store.load(sid("a"))).record
        assert stage.loads == 2
        stage.own_feed.sent.open()


async def test_the_others_sessions_stay_where_they_are(store, stage):
    await login(store, cookie("a"))
    await login(store, cookie("b", "bob"))
    view = make(stage)
    async with following(view):
        await hold(view, sid("a"), sid("b"))
        await view.store.end_user("alice", "revoked")
        await view.store.end(sid("nobody"), "logout")
        assert await here(view, stage, sid("b")) == "alive"
        assert stage.loads == 2


async def test_an_end_of_everybody_of_ones_own_counts_once_though_its_message_was_first(anyio_backend):
    """Who took it for two would end, when it begins anew, those who have logged in since."""

    class Quick(MemoryStore):
        async def end_all(self, reason, **options):
            await super().end_all(reason, **options)
            view._copy.apply((await self.newest())[0].event)

    view = View(Quick(), staleness=LEASE)
    async with following(view):
        (era, epoch) = view._copy.history.era, view._copy.history.epoch
        await view.store.end_all("revoked")
        assert (await view.store.history()).era == era + 1
        assert view._copy.ends.is_over(epoch, era)
        assert not view._copy.ends.is_over(epoch, era + 1)


async def test_a_dead_session_may_be_asked_about_again(store, stage):
    await login(store, cookie("a"))
    view = make(stage)
    async with following(view):
        await view.store.end(sid("a"), "revoked")
        await store.supersede(sid("a"))  # somebody else knows better, in silence
        assert (await view.session(sid("a"))).reason == "revoked"
        assert (await view.asked(sid("a"))).reason == "replaced"
        await view.store.supersede(sid("b"))
        assert (await view.session(sid("b"))).reason == "replaced"


async def test_a_refresh_token_used_twice_is_known_here_at_once(redis_store, redis_stage):
    await login(redis_store, bearer("t"))
    view = make(redis_stage)
    async with following(view):
        await hold(view, sid("t"))
        stamp = await stamp_of(redis_store, sid("t"))
        assert view.stands(stamp, view.clock())
        redis_stage.own_feed.sent.close()
        assert (await exchange(view.store, "t", 1, "t", "t2", revision=1)).outcome == "made"
        assert (await exchange(view.store, "t", 1, "guess", "t3", revision=1)).outcome == "reused"
        assert kind_of(await view.session(sid("t"))) == "dead"
        assert not view.stands(stamp, view.clock())


async def test_a_load_of_before_does_not_outlive_an_end_that_was_made_elsewhere_too(redis_store, redis_stage):
    await login(redis_store, cookie("a"))
    view, loaded, ending = make(redis_stage), redis_stage.after["load"], redis_stage.before["end"]
    async with following(view), anyio.create_task_group() as group:
        ending.close()
        group.start_soon(view.store.end, sid("a"), "revoked")
        await ending.reached()
        loaded.close()
        group.start_soon(view.session, sid("a"))
        await loaded.reached()
        await redis_store.end(sid("a"), "logout")
        ending.open()
        await until(lambda: redis_stage.asked.count("end") == 1 and not ending.waiting)
        await anyio.sleep(0.05)
        loaded.open()
    assert view.held(sid("a")) is None
