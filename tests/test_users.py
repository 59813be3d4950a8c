"""Users' rows: what a directory says reaches them, and no change undoes another."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import anyio
import pytest

from asgi_auth.audit import Audit
from asgi_auth.directory import CallableDirectory, Verified
from asgi_auth.errors import InvalidRequest, StoreUnavailable, UnknownUser
from asgi_auth.model import User, UserRow
from asgi_auth.stores import Ended, Loaded, NewSession, new_sid
from asgi_auth.stores.memory import MemoryStore
from asgi_auth.users import Users

LOG = Audit("app.test")


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Application:
    """A directory of the application's own."""

    def __init__(self) -> None:
        self.users: dict[str, User] = {}
        self.asked = 0
        self.before: Callable[[], Awaitable[object]] | None = None

    async def verify(self, username: str, password: str) -> User | None:
        return self.users.get(username) if password == "right" else None

    async def by_id(self, user_id: str) -> User | None:
        self.asked += 1
        found = self.users.get(user_id)
        if self.before:
            await self.before()
        return found


class Racing(MemoryStore):
    """Before a write, somebody else writes, `times` times."""

    times = 0

    async def save_user(self, row: UserRow, **options: Any) -> Any:
        if self.times and options["expected"] is not None:
            self.times -= 1
            current = await self.user(row.id)
            assert current
            await super().save_user(replace(current, claims={"by": "another"}), expected=current.revision)
        return await super().save_user(row, **options)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> Racing:
    return Racing(clock=clock)


@pytest.fixture
def app() -> Application:
    return Application()


@pytest.fixture
def users(store: Racing, app: Application) -> Users:
    return Users(store, CallableDirectory(app.verify, app.by_id), LOG, user_refresh=300)


ALICE = User("alice", "Alice", frozenset({"read"}), {"team": "blue"})


async def session_of(store: MemoryStore, user_id: str) -> str:
    row = await store.user(user_id)
    assert row
    new = NewSession(sid=new_sid("00"), user_id=user_id, backend="session", idle=3600, lifetime=3600, digest="0" * 64)
    made = await store.create(new, revision=row.revision)
    assert not isinstance(made, str)
    return new.sid


async def end_of(store: MemoryStore, sid: str) -> str | None:
    """The reason; None: it is alive."""
    found = await store.load(sid)
    if isinstance(found, Loaded):
        return None
    assert isinstance(found, Ended)
    return found.reason


# reconcile


async def test_a_user_seen_first_gets_a_row(users: Users, store: Racing) -> None:
    row = await users.reconcile(ALICE)
    stored = await store.user("alice")
    assert stored
    assert stored.user() == row.user() == ALICE
    assert stored.revision == row.revision >= 1


async def test_a_user_like_the_stored_row_writes_nothing(users: Users, store: Racing, clock: Clock) -> None:
    first = await users.reconcile(ALICE)
    before = await store.user("alice")
    clock.now += 10
    again = await users.reconcile(User("alice", "Alice", frozenset({"read"}), {"team": "blue"}))
    assert again.revision == first.revision
    assert await store.user("alice") == before


@pytest.mark.parametrize(
    "other",
    [
        User("alice", "Alice", frozenset({"read", "write"}), {"team": "blue"}),
        User("alice", "Alice", frozenset({"read"}), {"team": "red"}),
        User("alice", "Alice L.", frozenset({"read"}), {"team": "blue"}),
    ],
)
async def test_a_user_unlike_the_stored_row_counts_as_an_update(users: Users, store: Racing, other: User) -> None:
    first = await users.reconcile(ALICE)
    sid = await session_of(store, "alice")
    second = await users.reconcile(other)
    assert second.revision > first.revision
    assert second.user() == other
    assert await end_of(store, sid) is None


async def test_a_display_name_that_was_not_given_leaves_the_stored_one(users: Users) -> None:
    await users.reconcile(ALICE)
    row = await users.reconcile(User("alice", scopes=frozenset({"read"}), claims={"team": "blue"}))
    assert row.display_name == "Alice"


async def test_claims_are_compared_as_json_keeps_them(users: Users) -> None:
    tuples = User("alice", claims={"groups": ("a", "b"), 1: None})  # type: ignore[dict-item]
    first = await users.reconcile(tuples)
    assert first.claims == {"groups": ["a", "b"], "1": None}
    assert (await users.reconcile(tuples)).revision == first.revision


@pytest.mark.parametrize(
    "user", [User("x", claims={"a": object()}), User("x", claims={"a": float("nan")}), User("x", "\ud800")]
)
async def test_what_cannot_be_stored_is_refused(users: Users, store: Racing, user: User) -> None:
    with pytest.raises(ValueError, match="cannot be stored"):
        await users.reconcile(user)
    assert await store.user("x") is None


async def test_reconcile_does_not_enable(users: Users) -> None:
    await users.reconcile(ALICE)
    await users.disable("alice")
    assert (await users.reconcile(replace(ALICE, display_name="New"))).disabled


async def test_a_deleted_id_that_comes_back_begins_anew(users: Users, store: Racing) -> None:
    first = await users.reconcile(ALICE)
    sid = await session_of(store, "alice")
    await users.delete("alice")
    row = await users.reconcile(User("alice"))
    assert row.revision > first.revision
    assert (row.display_name, row.claims) == ("alice", {})
    assert await end_of(store, sid) == "deleted"


async def test_a_write_in_between_is_read_again_and_kept(users: Users, store: Racing) -> None:
    await users.reconcile(ALICE)
    store.times = 3
    row = await users.update("alice", scopes={"write"})
    assert row.scopes == {"write"}
    assert row.claims == {"by": "another"}
    stored = await store.user("alice")
    assert stored
    assert (stored.revision, stored.scopes, stored.claims) == (row.revision, row.scopes, row.claims)


async def test_a_row_that_never_rests_is_an_outage_and_no_loop(users: Users, store: Racing) -> None:
    await users.reconcile(ALICE)
    store.times = 1000
    with pytest.raises(StoreUnavailable):
        await users.update("alice", scopes={"write"})


# update, disable, enable, delete


async def test_update_changes_what_is_given_and_no_more(users: Users) -> None:
    first = await users.reconcile(ALICE)
    row = await users.update("alice", scopes="read write")
    assert row.user() == replace(ALICE, scopes=frozenset({"read", "write"}))
    assert row.revision > first.revision
    assert (await users.update("alice", claims={})).claims == {}
    assert (await users.update("alice", display_name="A.")).display_name == "A."


async def test_update_with_a_user_replaces_its_rights(users: Users) -> None:
    await users.reconcile(ALICE)
    row = await users.update(User("alice", scopes=frozenset({"write"})))
    assert (row.scopes, row.claims, row.display_name) == ({"write"}, {}, "Alice")


async def test_update_to_the_same_raises_no_revision(users: Users) -> None:
    first = await users.reconcile(ALICE)
    assert (await users.update(ALICE)).revision == first.revision


async def test_disable_ends_all_and_enable_brings_nothing_back(users: Users, store: Racing) -> None:
    await users.reconcile(ALICE)
    sid = await session_of(store, "alice")
    assert [ended.sid for ended in await users.disable("alice")] == [sid]
    assert not (await users.enable("alice")).disabled
    assert await end_of(store, sid) == "disabled"
    assert await end_of(store, await session_of(store, "alice")) is None


async def test_enabling_who_is_not_disabled_ends_nothing(users: Users, store: Racing) -> None:
    await users.reconcile(ALICE)
    sid = await session_of(store, "alice")
    await users.enable("alice")
    assert await end_of(store, sid) is None


async def test_verbs_on_nobody_say_so(users: Users) -> None:
    await users.reconcile(ALICE)
    await users.delete("alice")
    for user_id in ("nobody", "alice"):
        for verb in (users.update(user_id, scopes=()), users.update(User(user_id)), users.enable(user_id)):
            with pytest.raises(UnknownUser):
                await verb
        for verb in (users.disable(user_id), users.delete(user_id)):
            with pytest.raises(UnknownUser):
                await verb


async def test_each_row_made_or_changed_is_told(
    store: Racing, app: Application, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "asgi_auth.security")
    users = Users(store, CallableDirectory(app.verify), Audit("app.test"))
    await users.reconcile(ALICE)
    await users.reconcile(ALICE)
    await users.update("alice", scopes={"write"})
    await users.update("alice", display_name="Al")
    told = [json.loads(record.message)["event"] for record in caplog.records]
    assert told == ["user_created:unknown,alice", "authz_change:alice,read,write", "user_updated:unknown,alice"]


# authenticate


async def test_a_right_password_gives_the_row(users: Users, app: Application) -> None:
    app.users["alice"] = ALICE
    row = await users.authenticate("alice", "right")
    assert row
    assert row.user() == ALICE
    assert await users.authenticate("alice", "wrong") is None
    assert await users.authenticate("bob", "right") is None


async def test_a_disabled_user_of_the_applications_directory_does_not_get_in(users: Users, app: Application) -> None:
    app.users["alice"] = ALICE
    await users.reconcile(ALICE)
    await users.disable("alice")
    assert await users.authenticate("alice", "right") is None


async def test_a_directory_that_fails_is_an_outage_and_its_words_are_not_logged(
    store: Racing, caplog: pytest.LogCaptureFixture
) -> None:
    async def verify(username: str, password: str) -> User | None:
        raise KeyError(username + password)

    with pytest.raises(StoreUnavailable):
        await Users(store, CallableDirectory(verify), LOG).authenticate("typed-name", "typed-password")
    assert "KeyError" in caplog.text
    assert "in verify" in caplog.text
    assert "typed" not in caplog.text


async def test_a_directorys_user_who_cannot_be_stored_is_an_outage(
    users: Users, app: Application, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    unfit = User("alice", claims={"born": object()})
    app.users["alice"] = ALICE
    row = await users.authenticate("alice", "right")
    assert row
    app.users["alice"] = unfit
    clock.now += 301
    for question in (users.authenticate("alice", "right"), users.refreshed(row, clock.now)):
        with pytest.raises(StoreUnavailable):
            await question
    assert caplog.text.count("The user directory failed with ValueError") == 2


async def test_a_directory_may_refuse_a_request_in_its_own_words(store: Racing) -> None:
    async def verify(username: str, password: str) -> User | None:
        raise InvalidRequest("This name is no e-mail address")

    with pytest.raises(InvalidRequest, match="e-mail"):
        await Users(store, CallableDirectory(verify), LOG).authenticate("a", "b")


# refreshed


async def test_a_user_in_use_is_asked_for_once_in_user_refresh(
    users: Users, store: Racing, app: Application, clock: Clock
) -> None:
    app.users["alice"] = ALICE
    await users.reconcile(ALICE)
    for _ in range(10):
        clock.now += 60
        row = await store.user("alice")
        assert row
        assert await users.refreshed(row, clock.now)
    assert app.asked == 2


async def test_an_unchanged_user_keeps_the_revision(
    users: Users, store: Racing, app: Application, clock: Clock
) -> None:
    app.users["alice"] = ALICE
    first = await users.reconcile(ALICE)
    sid = await session_of(store, "alice")
    clock.now += 301
    row = await store.user("alice")
    assert row
    refreshed = await users.refreshed(row, clock.now)
    assert refreshed
    assert refreshed.revision == first.revision
    assert await end_of(store, sid) is None


async def test_a_changed_user_counts_at_the_next_asking(users: Users, app: Application, clock: Clock) -> None:
    first = await users.reconcile(ALICE)
    app.users["alice"] = replace(ALICE, scopes=frozenset())
    row = await users.refreshed(first, clock.now + 301)
    assert row
    assert row.scopes == frozenset()
    assert row.revision > first.revision


async def test_a_user_who_is_gone_loses_all_sessions(users: Users, store: Racing, clock: Clock) -> None:
    row = await users.reconcile(ALICE)
    sid = await session_of(store, "alice")
    assert await users.refreshed(row, clock.now + 301) is None
    assert await end_of(store, sid) == "disabled"


async def test_a_copy_of_a_row_that_is_dead_is_not_asked_for(users: Users, app: Application, clock: Clock) -> None:
    app.users["alice"] = ALICE
    row = await users.reconcile(ALICE)
    await users.disable("alice")
    assert await users.refreshed(row, clock.now + 301) is None
    await users.delete("alice")
    assert await users.refreshed(row, clock.now + 301) is None
    assert app.asked == 0


async def test_who_comes_back_may_log_in_again(users: Users, app: Application, clock: Clock) -> None:
    row = await users.reconcile(ALICE)
    assert await users.refreshed(row, clock.now + 301) is None
    app.users["alice"] = ALICE
    assert await users.authenticate("alice", "right")


async def test_zero_never_asks(store: Racing, app: Application, clock: Clock) -> None:
    users = Users(store, CallableDirectory(app.verify, app.by_id), LOG, user_refresh=0)
    row = await users.reconcile(ALICE)
    assert await users.refreshed(row, clock.now + 1e9) == row
    assert app.asked == 0


async def test_a_directory_without_by_id_is_never_asked(store: Racing, app: Application, clock: Clock) -> None:
    users = Users(store, CallableDirectory(app.verify), LOG)
    row = await users.reconcile(ALICE)
    assert await users.refreshed(row, clock.now + 1e9) == row
    assert await users.always_refreshed(row) == row


async def test_an_old_copy_asks_the_store_and_not_the_directory(users: Users, app: Application, clock: Clock) -> None:
    app.users["alice"] = ALICE
    old = replace(await users.reconcile(ALICE), checked_at=clock.now)
    clock.now += 301
    assert await users.refreshed(old, clock.now)
    assert await users.refreshed(old, clock.now)
    assert app.asked == 1


async def test_a_directory_that_cannot_be_asked_lets_nobody_in(
    store: Racing, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async def by_id(user_id: str) -> User | None:
        raise OSError("no route")

    users = Users(store, CallableDirectory(Application().verify, by_id), LOG)
    row = await users.reconcile(ALICE)
    sid = await session_of(store, "alice")
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await users.refreshed(row, clock.now + 301)
    assert await end_of(store, sid) is None
    assert "OSError" in caplog.text


async def test_a_directory_that_hangs_is_an_outage(store: Racing, clock: Clock) -> None:
    async def by_id(user_id: str) -> User | None:
        await anyio.sleep_forever()
        return None

    users = Users(store, CallableDirectory(Application().verify, by_id), LOG, timeout=0.01)
    row = await users.reconcile(ALICE)
    with pytest.raises(StoreUnavailable):
        await users.refreshed(row, clock.now + 301)


async def test_while_one_request_asks_the_others_go_on_for_so_long(
    users: Users, app: Application, clock: Clock
) -> None:
    app.users["alice"] = ALICE
    row = replace(await users.reconcile(ALICE), checked_at=clock.now)
    answer = anyio.Event()
    app.before = answer.wait
    clock.now += 301
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(users.refreshed, row, clock.now)
        await anyio.wait_all_tasks_blocked()
        assert await users.refreshed(row, clock.now) is row
        assert app.asked == 1
        tasks.start_soon(users.refreshed, row, clock.now + 300)
        await anyio.wait_all_tasks_blocked()
        assert app.asked == 2
        answer.set()


async def test_a_token_refresh_always_asks(users: Users, app: Application) -> None:
    app.users["alice"] = ALICE
    row = await users.reconcile(ALICE)
    assert await users.always_refreshed(row) == row
    assert await users.always_refreshed(row) == row
    assert app.asked == 2
    del app.users["alice"]
    assert await users.always_refreshed(row) is None


async def test_a_user_disabled_while_the_directory_was_asked_stays_out(users: Users, app: Application) -> None:
    app.users["alice"] = ALICE
    row = await users.reconcile(ALICE)
    app.before = lambda: users.disable("alice")
    assert await users.always_refreshed(row) is None


async def test_a_user_deleted_while_the_directory_was_asked_stays_out(
    users: Users, store: Racing, app: Application
) -> None:
    app.users["alice"] = ALICE
    row = await users.reconcile(ALICE)
    app.before = lambda: users.delete("alice")
    assert await users.always_refreshed(row) is None
    stored = await store.user("alice")
    assert stored is None or stored.deleted


async def test_the_row_that_the_password_was_checked_against_is_the_one_that_counts(store: Racing) -> None:
    checked = UserRow("alice", revision=7)

    class BuiltIn:
        refreshes = False

        async def verify(self, username: str, password: str) -> Verified | None:
            return Verified(checked.user(), checked)

        async def by_id(self, user_id: str) -> User | None:
            raise NotImplementedError

    assert await Users(store, BuiltIn(), LOG).authenticate("alice", "right") is checked
