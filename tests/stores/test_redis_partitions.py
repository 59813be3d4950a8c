"""A Redis store of several partitions: where its keys lie, and that what takes several steps is safe after each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from redis_helpers import opened
from store_helpers import add_user, alive, bearer, cookie, end_of, listed, login, owners, presented, record_of, sid

from asgi_auth.errors import ConfigurationError, StoreUnavailable
from asgi_auth.model import UserRow
from asgi_auth.stores import Created, Ended, Limit, new_sid
from asgi_auth.stores.opening import open_store
from asgi_auth.stores.redis import RedisStore
from asgi_auth.stores.redis_layout import Layout
from asgi_auth.stores.redis_users import RESERVED
from asgi_auth.stores.values import advanced

LEASE = 5.0
SIXTEEN = Layout("asgi-auth:", 16)


@pytest.fixture
def control(redis_url: str) -> Iterator[Any]:
    with opened(redis_url) as client:
        yield client


@pytest.fixture
async def store(redis_url: str, clock: Callable[[], float], anyio_backend: Any) -> AsyncIterator[RedisStore]:
    store = RedisStore(f"{redis_url}?partitions=16", timeout=10, clock=clock)
    await store.open()
    owners.clear()
    yield store
    await store.aclose()


# Where things lie


def test_a_user_is_in_the_same_partition_for_good():
    places = {name: SIXTEEN.of_user(name) for name in ("alice", "bob", "", "\N{SNOWMAN}", "\ud800")}
    assert places == {"alice": 7, "bob": 0, "": 0, "\N{SNOWMAN}": 4, "\ud800": 8}


def test_users_are_spread_over_all_partitions():
    places = [SIXTEEN.of_user(f"user-{number}") for number in range(1600)]
    assert min(places.count(partition) for partition in range(16)) > 50


@pytest.mark.parametrize(("text", "partition"), [("0aXYZ", 10), ("ffXYZ", 15), ("", 0), ("zz", 0), ("\ud800", 0)])
def test_any_sid_leads_somewhere(text, partition):
    assert SIXTEEN.of_sid(text) == partition
    assert Layout("", 1).of_sid(text) == 0


async def test_a_sid_begins_with_the_partition_of_its_user(store):
    assert store.partition("alice") == "07"
    assert store._known.of_sid(new_sid(store.partition("bob"))) == store._known.of_user("bob")


async def test_visitors_are_spread(store):
    assert len({store.partition(None) for _ in range(200)}) > 8


async def test_a_store_that_was_never_opened_cannot_say_where_a_user_belongs(redis_url, anyio_backend):
    store = RedisStore(redis_url)
    with pytest.raises(StoreUnavailable, match="not opened"):
        store.partition("alice")


async def test_all_that_is_a_users_lies_under_one_hash_tag(store, control):
    await add_user(store, "alice", name=None)
    await login(store, cookie("a"))
    await login(store, bearer("b"))
    await store.end(sid("b"), "logout")
    of_alice = [key for key in control.scan_iter() if "alice" in key or sid("a") in key or sid("b") in key]
    assert len(of_alice) == 4  # her row, the index, two sessions
    assert {key.split("}")[0] for key in of_alice} == {"asgi-auth:{07"}
    assert control.zrange("asgi-auth:{07}:dead", 0, -1) == [f"sid:{sid('b')}"]


async def test_what_is_nobodys_lies_in_the_first_partition(store, control):
    await store.once("ring", "r")
    await store.put_keys(None, "ring")
    await store.hit([Limit("k", 5, 60)])
    for name in ("once:ring", "once:partitions", "keys", "h:k"):
        assert control.exists(f"asgi-auth:{{00}}:{name}")


# How many there are


@pytest.mark.parametrize("number", ["0", "257", "-1", "x", "", "1.5", "\N{ARABIC-INDIC DIGIT TWO}"])
def test_a_number_of_partitions_that_cannot_be_stops_the_start(number):
    with pytest.raises(ConfigurationError, match=r"\?partitions= is a number from 1 to 256"):
        open_store(f"redis://localhost?partitions={number}", timeout=1.0)


async def test_one_server_has_one_partition_unless_it_is_told_otherwise(redis_url, control, anyio_backend):
    store = RedisStore(redis_url)
    await store.open()
    assert store.partition("alice") == "00"
    assert control.get("asgi-auth:{00}:once:partitions") == "1"
    await store.aclose()


@pytest.mark.parametrize("query", ["", "?partitions=16", "?partitions=4"])
async def test_the_number_of_the_first_start_stands(store, redis_url, clock, caplog, query):
    await login(store, cookie("a"))
    later = RedisStore(f"{redis_url}{query}", clock=clock)
    await later.open()
    assert later.partition("alice") == "07"
    assert await alive(later, "a")
    assert ("was made with 16, which stands" in caplog.text) == (query == "?partitions=4")
    await later.aclose()


async def test_a_store_of_before_there_were_several_has_one(redis_url, control, caplog, anyio_backend):
    store = RedisStore(redis_url)
    await store.open()
    await login(store, cookie("a"))
    await store.aclose()
    control.delete("asgi-auth:{00}:once:partitions")
    later = RedisStore(f"{redis_url}?partitions=16")
    await later.open()
    assert await alive(later, "a")
    assert "was made with 1, which stands" in caplog.text
    await later.aclose()


async def test_a_store_that_was_emptied_has_the_number_of_who_begins_it_anew(store, redis_url, control, clock):
    feed, cursor = store.feed(), await store.newest()
    control.flushall()
    other = RedisStore(f"{redis_url}?partitions=4", clock=clock)
    await other.open()
    assert (await feed.beat(cursor, LEASE)).entries is None
    await store.history()
    assert store.partition("alice") == other.partition("alice")
    assert (await feed.beat(cursor, LEASE)).entries is None
    assert (await feed.beat(await store.newest(), LEASE)).entries == ()
    await feed.leave()
    await other.aclose()


# Trips


READS: dict[str, Callable[[RedisStore], Any]] = {
    "load_all": lambda store: store.load_all([f"{partition:02x}s" for partition in range(16)]),
    "touch": lambda store: store.touch([f"{partition:02x}s" for partition in range(16)]),
    "users": lambda store: store.users(),
    "newest": lambda store: store.newest(),
    "behind": lambda store: store.behind(None),
    "load": lambda store: store.load(sid("a")),
    "end": lambda store: store.end(sid("a"), "logout"),
    "create": lambda store: store.create(cookie("n"), revision=1, replaces=presented("a")),
    "end_user": lambda store: store.end_user("alice", "revoked"),
    "save_user": lambda store: store.save_user(UserRow("alice"), expected=1),
    "sessions": lambda store: store.sessions("alice"),
    "user": lambda store: store.user("alice"),
    "hit": lambda store: store.hit([Limit("a", 1, 1), Limit("b", 1, 1)]),
}


@pytest.mark.parametrize("verb", READS)
async def test_what_one_user_needs_or_is_asked_of_all_partitions_is_one_trip(store, control, verb):
    await login(store, cookie("a"))
    await READS[verb](store)
    before = control.info("stats")["total_reads_processed"]
    await READS[verb](store)
    assert control.info("stats")["total_reads_processed"] - before == 2


async def test_a_beat_over_all_partitions_is_one_trip(store, control):
    feed, cursor = store.feed(), await store.newest()
    await feed.beat(cursor, LEASE)
    before = control.info("stats")["total_reads_processed"]
    assert (await feed.beat(cursor, LEASE)).entries == ()
    assert control.info("stats")["total_reads_processed"] - before == 2
    await feed.leave()


async def test_a_script_that_the_server_forgot_is_loaded_again_for_all_partitions(store, control):
    await login(store, cookie("a"))
    await login(store, cookie("b", "bob"))
    control.script_flush()
    found = await store.load_all([sid("a"), sid("b")])
    assert [loaded.record.user_id for loaded in found.values()] == ["alice", "bob"]


# The feed


async def test_a_beat_brings_what_each_partition_has(store):
    await login(store, cookie("a"))
    await login(store, cookie("b", "bob"))
    feed, cursor = store.feed(), await store.newest()
    await store.end(sid("a"), "logout")
    await store.end(sid("b"), "logout")
    entries = (await feed.beat(cursor, LEASE)).entries
    assert [(entry.partition, entry.event.values["sid"]) for entry in entries] == [(0, sid("b")), (7, sid("a"))]
    for entry in entries:
        cursor = advanced(cursor, entry)
    assert (await feed.beat(cursor, LEASE)).entries == ()
    await feed.leave()


@pytest.mark.parametrize("how", ["lost", "trimmed"])
async def test_a_cursor_that_one_partition_has_lost_is_lost(store, control, how):
    await login(store, cookie("a"))
    feed, cursor = store.feed(), await store.newest()
    if how == "lost":
        control.delete("asgi-auth:{05}:events")
    else:
        await store.end(sid("a"), "logout")
        control.xtrim("asgi-auth:{07}:events", maxlen=1, approximate=False)
    assert (await feed.beat(cursor, LEASE)).entries is None
    await feed.leave()


async def test_who_has_not_applied_what_one_partition_told_is_behind(store):
    await login(store, cookie("a"))
    feed, cursor = store.feed(), await store.newest()
    await feed.beat(cursor, LEASE)
    assert len(await store.behind(None)) == 16
    await store.end(sid("a"), "logout")
    mark = await store.newest()
    (member,) = await store.behind(mark)
    assert (member.partition, member.lease) == (7, LEASE)
    await feed.beat(mark, LEASE)
    assert await store.behind(mark) == []
    await feed.leave()
    assert await store.behind(None) == []


async def test_each_beginning_of_a_store_is_a_history_of_its_own(store, control):
    epochs = set()
    for _ in range(3):
        epochs.add((await store.history()).epoch)
        control.flushall()
    assert len(epochs) == 3


async def test_another_history_of_one_partition_is_another_of_the_store(store, control):
    before = await store.history()
    assert (await store.history()).epoch == before.epoch
    control.delete("asgi-auth:{05}:once:epoch")
    assert (await store.history()).epoch != before.epoch


# A crash after any step


class Crash(BaseException):
    """No error that somebody could handle."""


def crashing(monkeypatch: pytest.MonkeyPatch, store: RedisStore, at: int, *, done: bool) -> list[str]:
    """The scripts that are run; the one with the number `at` is the last. `done`: it still arrives."""
    run, scripts = store._client.run, []

    async def watched(name: str, *arguments: Any, **options: Any) -> Any:
        scripts.append(name)
        if len(scripts) != at + 1:
            return await run(name, *arguments, **options)
        if done:
            await run(name, *arguments, **options)
        raise Crash

    monkeypatch.setattr(store._client, "run", watched)
    return scripts


STEPS = [(at, done) for at in range(9) for done in (False, True)]


async def whole(step: Any) -> bool:
    """Whether it went to its end."""
    try:
        await step()
    except Crash:
        return False
    return True


@pytest.mark.parametrize(("at", "done"), STEPS)
async def test_a_login_in_anothers_browser_is_safe_after_each_step(store, monkeypatch, at, done):
    await add_user(store, "bob")
    await login(store, cookie("alices"))
    await login(store, cookie("v", None, data={"cart": "1", "lang": "2"}))
    new = cookie("bobs", "bob", data={"lang": "3"})

    async def log_in() -> Any:
        return await store.create(new, revision=1, replaces=presented("alices"), data_from=presented("v"))

    with monkeypatch.context() as patch:
        scripts = crashing(patch, store, at, done=done)
        finished = await whole(log_in)
    assert finished == (at >= 6)
    assert scripts == ["create", "shown", "replace", "shown", "create", "replace"][: at + 1]
    made = await alive(store, "bobs")
    assert not (made and await alive(store, "alices"))
    assert made or dict((await record_of(store, "v")).data) == {"cart": "1", "lang": "2"}
    created = await log_in()
    assert isinstance(created, Created)
    assert dict((await record_of(store, "bobs")).data) == {"cart": "1", "lang": "3"}
    assert await listed(store, "bob") == [sid("bobs")]
    assert [await end_of(store, name) for name in ("alices", "v")] == ["replaced", "replaced"]


async def test_who_ended_for_a_login_of_another_partition_is_told(store):
    await add_user(store, "bob")
    await login(store, cookie("alices"))
    await login(store, cookie("v", None))
    created = await store.create(
        cookie("bobs", "bob"), revision=1, replaces=presented("alices"), data_from=presented("v")
    )
    assert set(created.ended) == {Ended(sid("alices"), "alice", "replaced"), Ended(sid("v"), None, "replaced")}


@pytest.mark.parametrize(("revision", "limit", "refusal"), [(9, 0, "changed"), (1, 1, "limit")])
async def test_a_refused_login_in_anothers_browser_ends_nothing(store, revision, limit, refusal):
    await login(store, cookie("bobs", "bob"))
    await login(store, cookie("alices"))
    await login(store, cookie("v", None, data={"cart": "1"}))
    shown = {"replaces": presented("alices"), "data_from": presented("v")}
    new = cookie("new", "bob")
    assert await store.create(new, revision=revision, limit=limit, evict=False, **shown) == refusal
    assert [await alive(store, name) for name in ("bobs", "alices", "v", "new")] == [True, True, True, False]


async def test_what_a_visitor_wrote_while_it_was_copied_is_not_lost(store, monkeypatch):
    await add_user(store, "bob")
    await login(store, cookie("v", None, data={"cart": "1", "old": "1"}))
    run = store._client.run

    async def writing(name: str, *arguments: Any, **options: Any) -> Any:
        answer = await run(name, *arguments, **options)
        if name == "shown":
            monkeypatch.undo()
            await store.write_data(sid("v"), {"cart": "2", "late": "1"}, ["old"], max_size=100)
        return answer

    monkeypatch.setattr(store._client, "run", writing)
    created = await store.create(cookie("bobs", "bob", data={"late": "0"}), revision=1, data_from=presented("v"))
    assert dict(created.loaded.record.data) == {"cart": "2", "old": "1", "late": "0"}
    assert dict((await record_of(store, "bobs")).data) == {"cart": "2", "old": "1", "late": "0"}


@pytest.mark.parametrize(("at", "done"), [(at, done) for at in range(4) for done in (False, True)])
async def test_an_end_of_everybody_is_whole_when_it_is_asked_again(store, monkeypatch, at, done):
    names = {"a": "alice", "b": "bob", "c": "carol", "d": "dave"}
    for name, user_id in names.items():
        await login(store, cookie(name, user_id))
    before = await store.history()
    cursor = await store.newest()
    with monkeypatch.context() as patch:
        crashing(patch, store, at, done=done)
        finished = await whole(lambda: store.end_all("revoked"))
    assert finished == (at >= 3)
    # That it is so everywhere is told only if it is.
    told = [entry for entry in await store.events(cursor) if "partly" not in entry.event.values]
    assert not told or not any([await alive(store, name) for name in names])
    assert ((await store.history()).era > before.era) == bool(told)
    await login(store, cookie("between", "dave"))
    await store.end_all("revoked")
    assert not any([await alive(store, name) for name in (*names, "between")])
    era = (await store.history()).era
    await login(store, cookie("later", "dave"))
    await login(store, cookie("later2", "alice"))
    assert (await record_of(store, "later")).era == (await record_of(store, "later2")).era == era


# Names


async def test_a_name_that_is_kept_elsewhere_belongs_to_one(store):
    ids = [f"user-{number}" for number in range(20)]  # in many partitions
    saved = [await store.save_user(UserRow(one, name="Alice"), name_key="alice", expected=None) for one in ids]
    assert saved == [1, *["taken"] * 19]
    assert (await store.user_by_name("alice")).id == ids[0]
    assert [row.id for row in await store.users()] == ids[:1]


@pytest.mark.parametrize(("at", "done"), [(at, done) for at in range(3) for done in (False, True)])
async def test_a_user_who_was_half_made_leaves_nobody_without_the_name(store, clock, monkeypatch, at, done):
    async def make(user_id: str) -> Any:
        return await store.save_user(UserRow(user_id, name="Alice"), name_key="alice", expected=None)

    with monkeypatch.context() as patch:
        scripts = crashing(patch, store, at, done=done)
        finished = await whole(lambda: make("1"))
    assert finished == (at >= 2)
    assert scripts == ["reserve", "save_user"][: at + 1]
    found = await store.user_by_name("alice")
    assert (found is not None) == (await store.user("1") is not None)
    second = await make("2")
    if at == 0 and not done:
        assert second == 1
    else:
        assert second == "taken"  # it is being made, as far as anybody knows
    clock.advance(RESERVED)
    third = await make("3")
    holders = [user_id for user_id in ("1", "2", "3") if await store.user(user_id) is not None]
    assert len(holders) == 1
    assert (await store.user_by_name("alice")).id == holders[0]
    assert (third == 1) == (holders == ["3"])


@pytest.mark.parametrize(("at", "done"), [(at, done) for at in range(3) for done in (False, True)])
async def test_a_user_who_was_half_renamed_has_one_name_and_the_other_becomes_free(store, clock, monkeypatch, at, done):
    await store.save_user(UserRow("1", name="Alice"), name_key="alice", expected=None)

    with monkeypatch.context() as patch:
        crashing(patch, store, at, done=done)
        await whole(lambda: store.save_user(UserRow("1", name="Al"), name_key="al", expected=1))
    name = (await store.user("1")).name
    held, other = ("al", "alice") if name == "Al" else ("alice", "al")
    assert (await store.user_by_name(held)).id == "1"
    assert await store.user_by_name(other) is None
    clock.advance(RESERVED)
    assert await store.save_user(UserRow("2", name=other), name_key=other, expected=None) == 1
    assert await store.save_user(UserRow("3", name=held), name_key=held, expected=None) == "taken"
    assert (await store.user_by_name(held)).id == "1"
    assert (await store.user_by_name(other)).id == "2"


@pytest.mark.parametrize(("at", "done"), [(at, done) for at in range(2) for done in (False, True)])
async def test_a_user_who_was_half_deleted_keeps_no_name(store, clock, monkeypatch, at, done):
    await store.save_user(UserRow("1", name="Alice"), name_key="alice", expected=None)
    clock.advance(RESERVED)
    with monkeypatch.context() as patch:
        crashing(patch, store, at, done=done)
        await whole(lambda: store.delete_user("1"))
    if await store.user_by_name("alice") is not None:
        await store.delete_user("1")
    assert await store.user_by_name("alice") is None
    assert await store.save_user(UserRow("2", name="Alice"), name_key="alice", expected=None) == 1


async def test_a_name_that_somebody_has_by_now_is_not_let_go_of(store, clock, monkeypatch):
    await store.save_user(UserRow("1", name="Alice"), name_key="alice", expected=None)
    clock.advance(RESERVED)
    with monkeypatch.context() as patch:
        crashing(patch, store, 0, done=True)
        await whole(lambda: store.delete_user("1"))
    await store.save_user(UserRow("2", name="Alice"), name_key="alice", expected=None)
    await store._free(store._known, "alice", "1")
    assert (await store.user_by_name("alice")).id == "2"


async def test_a_save_that_is_refused_reserves_no_name(store):
    assert await store.save_user(UserRow("1", name="Alice"), name_key="alice", expected=7) == "changed"
    assert await store.save_user(UserRow("2", name="Alice"), name_key="alice", expected=None) == 1
