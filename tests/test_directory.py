"""The built-in directory, and the application's own."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import argon2
import pytest

from asgi_auth.directory import CallableDirectory, StoreDirectory, load_directory
from asgi_auth.errors import (
    ConfigurationError,
    InvalidRequest,
    NameTaken,
    StoreUnavailable,
    TooManyRequests,
    UnknownUser,
    WeakPassword,
)
from asgi_auth.model import User, UserRow
from asgi_auth.passwords import PasswordHasher
from asgi_auth.stores import Ended, Keep, Loaded, NewSession, new_sid
from asgi_auth.stores.memory import MemoryStore

GOOD = "a wombat paints the harbour"
NEW = "the harbour paints a wombat"
CHEAP = argon2.Parameters(argon2.Type.ID, 19, 16, 32, time_cost=1, memory_cost=8, parallelism=1)
STRONGER = argon2.Parameters(argon2.Type.ID, 19, 16, 32, time_cost=2, memory_cost=16, parallelism=1)


class Counting(PasswordHasher):
    """Knows how often it compared, and with what; runs something in between; may be busy."""

    def __init__(self, parameters: argon2.Parameters = CHEAP) -> None:
        super().__init__(parameters=parameters)
        self.compared: list[str | None] = []
        self.after: Callable[[], Awaitable[object]] | None = None
        self.busy = False

    async def verify(self, hash: str | None, password: str) -> bool:
        self.compared.append(hash)
        right = await super().verify(hash, password)
        if self.after:
            after, self.after = self.after, None
            await after()
        return right

    async def hash(self, password: str) -> str:
        if self.busy:
            raise TooManyRequests(retry_after=1)
        return await super().hash(password)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def hasher() -> Counting:
    return Counting()


@pytest.fixture
def directory(store: MemoryStore, hasher: Counting) -> StoreDirectory:
    return StoreDirectory(store, hasher, host="app.example.com", blocklist=frozenset({"acmewidgetsforever"}))


async def session_of(store: MemoryStore, user_id: str) -> str:
    row = await store.user(user_id)
    assert row
    new = NewSession(sid=new_sid("00"), user_id=user_id, backend="session", idle=3600, lifetime=3600, digest="0" * 64)
    assert not isinstance(await store.create(new, revision=row.revision), str)
    return new.sid


async def end_of(store: MemoryStore, sid: str) -> str | None:
    """The reason; None: it is alive."""
    found = await store.load(sid)
    if isinstance(found, Loaded):
        return None
    assert isinstance(found, Ended)
    return found.reason


# Making users.


async def test_a_user_logs_in_with_name_and_password(directory: StoreDirectory, store: MemoryStore) -> None:
    made = await directory.create_user("Alice", GOOD, scopes={"read"}, claims={"team": "blue"}, id="42")
    found = await directory.verify("Alice", GOOD)
    assert found
    assert found.user == User("42", "Alice", frozenset({"read"}), {"team": "blue"})
    assert found.row == await store.user("42")
    assert found.row
    assert found.row.revision == made.revision


@pytest.mark.parametrize("typed", ["alice", "ALICE", "Ａlice"])
async def test_a_name_is_kept_as_typed_and_compared_folded(directory: StoreDirectory, typed: str) -> None:
    made = await directory.create_user("Alice", GOOD)
    assert made.name == "Alice"
    assert await directory.verify(typed, GOOD)
    with pytest.raises(NameTaken):
        await directory.create_user(typed, GOOD)


async def test_ids_are_random_unless_given(directory: StoreDirectory) -> None:
    one, other = [await directory.create_user(name, GOOD) for name in ("one", "other")]
    assert one.id != other.id
    assert len(one.id) == 32
    with pytest.raises(NameTaken):
        await directory.create_user("third", GOOD, id=one.id)


async def test_a_new_users_password_is_checked(directory: StoreDirectory, store: MemoryStore) -> None:
    for password in ("short", "passwordpassword", "alice2alice2alice2", "app.example.com", "acmewidgetsforever"):
        with pytest.raises(WeakPassword):
            await directory.create_user("alice2", password)
    assert await store.users() == []


async def test_a_demonstrations_users_are_made_past_the_check(directory: StoreDirectory) -> None:
    await directory.create_user("alice", "wonderland", weak=True)
    assert await directory.verify("alice", "wonderland")


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "a\nb"},
        {"name": ""},
        {"id": "a\nb"},
        {"scopes": {"two words"}},
        {"claims": {"a": object()}},
        {"display_name": "\ud800"},
    ],
)
async def test_what_is_no_user_is_refused(directory: StoreDirectory, store: MemoryStore, wrong: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        await directory.create_user(**{"name": "alice", "password": GOOD, **wrong})
    assert await store.users() == []


# Verifying.


async def test_everybody_who_does_not_get_in_is_compared_once(
    directory: StoreDirectory, store: MemoryStore, hasher: Counting
) -> None:
    alice = await directory.create_user("alice", GOOD)
    bob = await directory.create_user("bob", GOOD)
    await store.end_user(bob.id, "disabled", disable=True)
    await store.save_user(UserRow("foreign", name="carol"), name_key="carol", expected=None)
    for name, password in (("nobody", GOOD), ("a\nb", GOOD), ("alice", NEW), ("bob", GOOD), ("carol", GOOD)):
        assert await directory.verify(name, password) is None
    assert hasher.compared == [None, None, alice.password_hash, bob.password_hash, None]


@pytest.mark.parametrize("name", ["alice", "nobody"])
async def test_what_can_be_no_password_is_answered_alike_for_all(directory: StoreDirectory, name: str) -> None:
    await directory.create_user("alice", GOOD)
    for password in ("x" * 1025, "\ud800"):
        with pytest.raises(InvalidRequest):
            await directory.verify(name, password)


async def test_by_id_knows_whoever_may_log_in(directory: StoreDirectory, store: MemoryStore) -> None:
    alice = await directory.create_user("alice", GOOD)
    assert await directory.by_id(alice.id) == alice.user()
    assert await directory.by_id("nobody") is None
    await store.end_user(alice.id, "disabled", disable=True)
    assert await directory.by_id(alice.id) is None
    await store.delete_user(alice.id)
    assert await directory.by_id(alice.id) is None


async def test_a_name_is_known_or_not_whatever_the_password(directory: StoreDirectory) -> None:
    alice = await directory.create_user("Alice", GOOD)
    assert await directory.known("aLICE") == alice.id
    assert await directory.known("nobody") is None
    assert await directory.known("a\nb") is None


# Renewing hashes.


async def test_a_login_renews_an_old_hash(directory: StoreDirectory, store: MemoryStore) -> None:
    made = await directory.create_user("alice", GOOD)
    sid = await session_of(store, made.id)
    later = StoreDirectory(store, Counting(STRONGER))
    found = await later.verify("alice", GOOD)
    row = await store.user(made.id)
    assert found
    assert row
    assert row.password_hash
    assert found.row
    assert found.row.password_hash == row.password_hash
    assert argon2.extract_parameters(row.password_hash) == STRONGER
    assert row.revision == made.revision
    assert await end_of(store, sid) is None
    assert await later.verify("alice", GOOD)


async def test_a_wrong_password_renews_nothing(directory: StoreDirectory, store: MemoryStore) -> None:
    made = await directory.create_user("alice", GOOD)
    assert await StoreDirectory(store, Counting(STRONGER)).verify("alice", NEW) is None
    row = await store.user(made.id)
    assert row
    assert row.password_hash == made.password_hash


async def test_renewing_never_undoes_a_password_change(directory: StoreDirectory, store: MemoryStore) -> None:
    made = await directory.create_user("alice", GOOD)
    hasher = Counting(STRONGER)
    hasher.after = lambda: directory.set_password(made.id, NEW)
    found = await StoreDirectory(store, hasher).verify("alice", GOOD)
    assert found
    assert found.row
    assert found.row.revision == made.revision  # a session made for it is refused by the store as `changed`
    assert await directory.verify("alice", NEW)
    assert await directory.verify("alice", GOOD) is None


async def test_a_login_succeeds_when_there_is_no_place_to_renew(directory: StoreDirectory, store: MemoryStore) -> None:
    made = await directory.create_user("alice", GOOD)
    busy = Counting(STRONGER)
    busy.busy = True
    found = await StoreDirectory(store, busy).verify("alice", GOOD)
    assert found
    assert found.row
    assert found.row.password_hash == made.password_hash


# Changing passwords.


async def test_set_password_ends_every_session(directory: StoreDirectory, store: MemoryStore) -> None:
    made = await directory.create_user("alice", GOOD)
    sids = [await session_of(store, made.id) for _ in range(3)]
    await directory.set_password(made.id, NEW)
    assert [await end_of(store, sid) for sid in sids] == ["password"] * 3
    assert await directory.verify("alice", GOOD) is None
    found = await directory.verify("alice", NEW)
    assert found
    assert found.row
    assert found.row.revision > made.revision


async def test_a_kept_session_survives_a_password_change(directory: StoreDirectory, store: MemoryStore) -> None:
    made = await directory.create_user("alice", GOOD)
    mine, other = await session_of(store, made.id), await session_of(store, made.id)
    assert await directory.change_password(made.id, GOOD, NEW, keep=Keep(mine, "1" * 64))
    assert await end_of(store, mine) is None
    assert await end_of(store, other) == "password"


async def test_a_wrong_current_password_changes_nothing(directory: StoreDirectory, store: MemoryStore) -> None:
    made = await directory.create_user("alice", GOOD)
    assert not await directory.change_password(made.id, "wrong", NEW)
    assert await directory.verify("alice", GOOD)
    await store.end_user(made.id, "disabled", disable=True)
    assert not await directory.change_password(made.id, GOOD, NEW)


async def test_who_does_not_know_the_current_password_learns_nothing_of_the_new_one(directory: StoreDirectory) -> None:
    made = await directory.create_user("alice", GOOD)
    assert not await directory.change_password(made.id, "wrong", "short")
    with pytest.raises(WeakPassword):
        await directory.change_password(made.id, GOOD, "short")


async def test_a_reset_in_between_is_not_overwritten_by_who_knew_the_old_password(
    directory: StoreDirectory, hasher: Counting
) -> None:
    made = await directory.create_user("alice", GOOD)
    reset = "a reset by the operator"
    hasher.after = lambda: directory.set_password(made.id, reset)
    assert not await directory.change_password(made.id, GOOD, NEW)
    assert await directory.verify("alice", reset)


async def test_another_change_in_between_does_not_fail_a_password_change(
    directory: StoreDirectory, store: MemoryStore, hasher: Counting
) -> None:
    made = await directory.create_user("alice", GOOD)

    async def another() -> None:
        row = await store.user(made.id)
        assert row
        await store.save_user(replace(row, scopes=frozenset({"new"})), name_key="alice", expected=row.revision)

    hasher.after = another
    assert await directory.change_password(made.id, GOOD, NEW)
    found = await directory.verify("alice", NEW)
    assert found
    assert found.user.scopes == {"new"}


async def test_a_new_password_is_checked_with_the_users_name(directory: StoreDirectory) -> None:
    made = await directory.create_user("wombatkeeper", GOOD)
    for password in ("short", "wombatkeeper2024"):
        with pytest.raises(WeakPassword):
            await directory.set_password(made.id, password)


async def test_who_has_no_password_here_gets_none(directory: StoreDirectory, store: MemoryStore) -> None:
    made = await directory.create_user("alice", GOOD)
    await store.delete_user(made.id)
    await store.save_user(UserRow("foreign"), expected=None)
    for user_id in (made.id, "nobody", "foreign"):
        with pytest.raises(UnknownUser):
            await directory.set_password(user_id, NEW)
        with pytest.raises(UnknownUser):
            await directory.change_password(user_id, GOOD, NEW)


async def test_a_row_that_never_rests_is_an_outage_and_no_loop(hasher: Counting) -> None:
    class Restless(MemoryStore):
        async def save_user(self, row: UserRow, **options: Any) -> Any:
            return "changed" if options["expected"] is not None else await super().save_user(row, **options)

    directory = StoreDirectory(Restless(), hasher)
    made = await directory.create_user("alice", GOOD)
    with pytest.raises(StoreUnavailable):
        await directory.set_password(made.id, NEW)
    with pytest.raises(StoreUnavailable):
        await directory.change_password(made.id, GOOD, NEW)


# The application's own.


async def one_user(username: str, password: str) -> User | None:
    return User(username) if password == "right" else None


def not_async(username: str, password: str) -> User | None:
    return None


async def wrong_arguments(username: str) -> User | None:
    return None


class Whole:
    async def verify(self, username: str, password: str) -> User | None:
        return await one_user(username, password)

    async def by_id(self, user_id: str) -> User | None:
        return User(user_id)


class CalledLikeAFunction:
    async def __call__(self, username: str, password: str) -> User | None:
        return await one_user(username, password)


class HalfAsync:
    async def verify(self, username: str, password: str) -> User | None:
        return None

    def by_id(self, user_id: str) -> User | None:
        return None


whole = Whole()
called = CalledLikeAFunction()
half_async = HalfAsync()
number = 42


@pytest.mark.parametrize(("name", "refreshes"), [("one_user", False), ("called", False), ("whole", True)])
async def test_a_directory_is_found_by_its_name(name: str, refreshes: bool) -> None:
    directory = load_directory(f"{__name__}:{name}")
    found = await directory.verify("alice", "right")
    assert found
    assert found.user.id == "alice"
    assert found.row is None
    assert await directory.verify("alice", "wrong") is None
    assert directory.refreshes is refreshes
    if refreshes:
        assert await directory.by_id("alice") == User("alice")
    else:
        with pytest.raises(ValueError, match="no by_id"):
            await directory.by_id("alice")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("store2", "module:name"),
        (":name", "module:name"),
        ("module:", "module:name"),
        ("there.is.none:name", "ModuleNotFoundError"),
        (f"{__name__}:missing", "there is no 'missing'"),
        (f"{__name__}:whole.missing", "there is no 'missing'"),
        (f"{__name__}:Whole", "is a class"),
        (f"{__name__}:number", "cannot be called"),
        (f"{__name__}:not_async", "not async"),
        (f"{__name__}:half_async", "by_id' is not async"),
        (f"{__name__}:wrong_arguments", "takes other arguments"),
    ],
)
def test_a_directory_that_is_none_stops_the_start_and_says_why(spec: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^ASGI_AUTH_USERS: .*{says}"):
        load_directory(spec)


def test_a_module_that_fails_to_import_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_users_module.py").write_text("raise RuntimeError('no database')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError, match="RuntimeError: no database"):
        load_directory("broken_users_module:login")
    assert "broken_users_module" not in sys.modules


@pytest.mark.parametrize("answer", [True, "alice", {"id": "alice"}, UserRow("alice")])
async def test_what_a_directory_returns_is_checked(answer: Any) -> None:
    async def verify(username: str, password: str) -> Any:
        return answer

    async def by_id(user_id: str) -> Any:
        return answer

    directory = CallableDirectory(verify, by_id)
    with pytest.raises(TypeError, match=r"asgi_auth\.User or None"):
        await directory.verify("alice", "right")
    with pytest.raises(TypeError, match=r"asgi_auth\.User or None"):
        await directory.by_id("alice")


async def test_a_directory_that_answers_with_somebody_else_is_not_believed() -> None:
    async def by_id(user_id: str) -> User | None:
        return User("bob")

    with pytest.raises(ValueError, match="another user"):
        await CallableDirectory(one_user, by_id).by_id("alice")
