"""The store's contract on users: rows, names, revisions, and an id that comes back."""

from __future__ import annotations

import dataclasses

import pytest
from store_helpers import add_user, alive, bearer, cookie, digest, end_of, keeping, listed, login, near, record_of, sid

from asgi_auth.model import UserRow
from asgi_auth.stores import Ended


async def test_a_user_never_heard_of_is_none(store):
    assert await store.user("nobody") is None
    assert await store.user_by_name("nobody") is None


async def test_a_user_is_read_as_it_was_written(store, clock):
    row = UserRow(
        "id-1 \N{SNOWMAN}",
        display_name="Alice \N{SNOWMAN}",
        scopes=frozenset({"read", "write:x"}),
        claims={"n": 1, "f": 1.5, "list": [], "none": None, "deep": {"a": [True, "x"]}},
        name="Alice",
        password_hash="$argon2id$v=19$m=1,t=1,p=1$a$b",
    )
    assert await store.save_user(row, name_key="alice", expected=None) == 1
    saved = await store.user(row.id)
    assert dataclasses.replace(saved, checked_at=0.0) == dataclasses.replace(row, revision=1)
    assert saved.checked_at == near(clock.now)
    assert await store.user_by_name("alice") == saved
    assert await store.user_by_name("Alice") is None


async def test_the_store_counts_the_revision_whatever_the_row_says(store):
    assert await store.save_user(UserRow("alice", revision=40, ended_below=41), expected=None) == 1
    assert await store.save_user(UserRow("alice", revision=40, ended_below=41), expected=1) == 2
    row = await store.user("alice")
    assert (row.revision, row.ended_below < row.revision) == (2, True)


@pytest.mark.parametrize("expected", [None, 0, 2])
async def test_a_row_that_changed_meanwhile_is_not_overwritten(store, expected):
    await add_user(store, "alice", display_name="first")
    assert await store.save_user(UserRow("alice", display_name="second"), expected=expected) == "changed"
    assert (await store.user("alice")).display_name == "first"


async def test_a_row_that_is_expected_and_is_not_there_is_changed(store):
    assert await store.save_user(UserRow("alice"), expected=1) == "changed"
    assert await store.user("alice") is None


async def test_a_save_without_bump_keeps_the_revision(store, clock):
    await add_user(store, "alice", password_hash="old")
    await login(store, cookie("s"))
    clock.advance(7)
    row = await store.user("alice")
    assert await store.save_user(dataclasses.replace(row, password_hash="new"), expected=1, bump=False) == 1
    saved = await store.user("alice")
    assert (saved.password_hash, saved.revision) == ("new", 1)
    assert saved.checked_at == near(clock.now)
    assert await alive(store, "s")


async def test_a_changed_user_keeps_the_sessions(store):
    await login(store, cookie("s"))
    await store.save_user(UserRow("alice", scopes=frozenset({"new"})), expected=1)
    loaded = await store.load(sid("s"))
    assert loaded.user.scopes == {"new"}
    assert (loaded.record.revision, loaded.user.revision) == (1, 2)


async def test_a_save_can_end_the_sessions_in_the_same_operation(store):
    await login(store, cookie("a"))
    await login(store, bearer("b"))
    await login(store, cookie("c"))
    revision = await store.save_user(UserRow("alice"), expected=1, ends="password", keep=keeping("c", "c2"))
    assert revision == 2
    assert await end_of(store, "a") == await end_of(store, "b") == "password"
    assert (await record_of(store, "c")).digest == digest("c2")
    assert (await store.user("alice")).ended_below == 2
    assert await listed(store) == [sid("c")]


async def test_a_save_that_ends_sessions_ends_them_without_bump_too(store):
    await login(store, cookie("a"))
    await store.save_user(UserRow("alice"), expected=1, bump=False, ends="password")
    assert await end_of(store, "a") == "password"
    await login(store, cookie("b"))
    assert await listed(store) == [sid("b")]


async def test_a_refused_save_ends_nothing(store):
    await login(store, cookie("a"))
    assert await store.save_user(UserRow("alice"), expected=9, ends="password") == "changed"
    assert await alive(store, "a")


# Names


async def test_a_name_belongs_to_one(store):
    await store.save_user(UserRow("1", name="Alice"), name_key="alice", expected=None)
    assert await store.save_user(UserRow("2", name="ALICE"), name_key="alice", expected=None) == "taken"
    assert await store.user("2") is None
    assert (await store.user_by_name("alice")).id == "1"


async def test_a_taken_name_leaves_the_row_as_it_was(store):
    await store.save_user(UserRow("1", name="a"), name_key="a", expected=None)
    await store.save_user(UserRow("2", name="b"), name_key="b", expected=None)
    assert await store.save_user(UserRow("2", name="a"), name_key="a", expected=1, ends="password") == "taken"
    row = await store.user("2")
    assert (row.name, row.revision) == ("b", 1)


async def test_a_user_keeps_the_name_when_it_is_saved_again(store):
    await store.save_user(UserRow("1", name="Alice"), name_key="alice", expected=None)
    assert await store.save_user(UserRow("1", name="alice"), name_key="alice", expected=1) == 2
    assert (await store.user_by_name("alice")).name == "alice"


async def test_a_row_saved_without_the_names_key_keeps_its_name(store):
    await store.save_user(UserRow("1", name="Alice"), name_key="alice", expected=None)
    row = await store.user("1")
    await store.save_user(dataclasses.replace(row, display_name="A"), expected=1)
    assert (await store.user_by_name("alice")).display_name == "A"
    assert await store.save_user(UserRow("2", name="alice"), name_key="alice", expected=None) == "taken"


async def test_a_changed_name_frees_the_old_one(store):
    await store.save_user(UserRow("1", name="a"), name_key="a", expected=None)
    await store.save_user(UserRow("1", name="b"), name_key="b", expected=1)
    assert await store.user_by_name("a") is None
    assert (await store.user_by_name("b")).id == "1"
    assert await store.save_user(UserRow("2", name="a"), name_key="a", expected=None) == 1


async def test_users_of_another_directory_need_no_name(store):
    await add_user(store, "1")
    await add_user(store, "2")
    assert (await store.user("2")).name is None


async def test_a_name_that_is_no_text_is_nobodys(store):
    assert await store.user_by_name("\ud800") is None
    assert await store.user_by_name("a\x00b") is None


# delete_user, and an id that comes back


async def test_deleting_forgets_all_but_id_and_revision(store):
    row = UserRow("1", "Alice", frozenset({"read"}), {"a": 1}, name="a", password_hash="h")
    await store.save_user(row, name_key="a", expected=None)
    await login(store, cookie("s", "1"))
    assert await store.delete_user("1") == (Ended(sid("s"), "1", "deleted"),)
    row = await store.user("1")
    assert (row.deleted, row.revision) == (True, 2)
    assert (row.name, row.password_hash, row.scopes, dict(row.claims)) == (None, None, frozenset(), {})
    assert "Alice" not in repr(row)
    assert await store.user_by_name("a") is None
    assert await store.users() == []
    assert await end_of(store, "s") == "deleted"
    assert await listed(store, "1") == []


async def test_deleting_an_unknown_user_is_none(store):
    assert await store.delete_user("nobody") is None
    await add_user(store)
    assert await store.delete_user("alice") == ()
    assert await store.delete_user("alice") is None


async def test_a_deleted_users_name_is_free(store):
    await store.save_user(UserRow("1", name="a"), name_key="a", expected=None)
    await store.delete_user("1")
    assert await store.save_user(UserRow("2", name="a"), name_key="a", expected=None) == 1


async def test_an_id_that_comes_back_inherits_nothing_but_the_revision(store):
    await login(store, cookie("earlier"))
    await store.delete_user("alice")
    assert await store.save_user(UserRow("alice", display_name="Another"), expected=None) == 3
    row = await store.user("alice")
    assert (row.deleted, row.display_name, row.revision) == (False, "Another", 3)
    assert await end_of(store, "earlier") == "deleted"
    await login(store, cookie("later"))
    assert await listed(store) == [sid("later")]


async def test_a_deleted_row_cannot_be_written_by_its_revision(store):
    await add_user(store)
    await store.delete_user("alice")
    assert await store.save_user(UserRow("alice"), expected=2) == "changed"


# users


async def test_users_come_in_pages_by_id(store):
    ids = ["a", "A", "b", "\N{SNOWMAN}", "\U0001f600", "10", "9", "\uffee"]
    for user_id in ids:
        await add_user(store, user_id)
    await add_user(store, "gone")
    await store.delete_user("gone")
    seen: list[str] = []
    while page := await store.users(seen[-1] if seen else "", 3):
        assert len(page) <= 3
        seen += [row.id for row in page]
    assert seen == sorted(ids)


async def test_a_page_that_deleted_users_would_fill_is_not_empty(store):
    for number in range(5):
        await add_user(store, f"a{number}")
        await store.delete_user(f"a{number}")
    await add_user(store, "b")
    assert [row.id for row in await store.users(limit=2)] == ["b"]
