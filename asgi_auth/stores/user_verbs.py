"""The verbs on users, beside those on sessions: what ends all of a user's sessions raises the user's revision."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from asgi_auth.model import Reason, UserRow
from asgi_auth.stores import Ended, Keep, rules
from asgi_auth.stores.rows import Rows
from asgi_auth.stores.verbs import living_of


def user(rows: Rows, user_id: str) -> UserRow | None:
    return rows.user(user_id)


def user_by_name(rows: Rows, name_key: str) -> UserRow | None:
    return rows.user_by_name(name_key)


def users(rows: Rows, after: str = "", limit: int = 100) -> list[UserRow]:
    return rows.users(after, limit)


def end_user(
    rows: Rows,
    user_id: str,
    reason: Reason,
    *,
    keep: Keep | None = None,
    disable: bool | None = None,
    lost: int | None = None,
) -> tuple[Ended, ...] | None:
    user = rows.user(user_id)
    if user is None or user.deleted:
        return None
    if lost is not None:
        if user.ended_below >= lost:
            return ()
        user = replace(user, revision=max(user.revision, lost - 1))
    after = replace(user, disabled=user.disabled if disable is None else disable)
    _, ended = _revise(rows, user, after, ends=reason, keep=keep)
    return ended


def save_user(
    rows: Rows,
    row: UserRow,
    *,
    name_key: str | None = None,
    expected: int | None,
    bump: bool = True,
    ends: Reason | None = None,
    keep: Keep | None = None,
) -> int | Literal["changed", "taken"]:
    before = rows.user(row.id) or UserRow(row.id, deleted=True)
    if expected != (None if before.deleted else before.revision):
        return "changed"
    holder = rows.user_by_name(name_key) if name_key is not None else None
    if holder is not None and holder.id != row.id:
        return "taken"
    after = replace(row, ended_below=before.ended_below, deleted=False, checked_at=rows.now)
    if not bump and ends is None and not before.deleted:
        rows.put_user(replace(after, revision=before.revision), name_key)
        return before.revision
    revision, _ = _revise(rows, before, after, name_key=name_key, ends=ends, keep=keep)
    return revision


def delete_user(rows: Rows, user_id: str) -> tuple[Ended, ...] | None:
    user = rows.user(user_id)
    if user is None or user.deleted:
        return None
    _, ended = _revise(rows, user, UserRow(user_id, deleted=True), ends="deleted")
    return ended


def _revise(
    rows: Rows,
    before: UserRow,
    after: UserRow,
    *,
    name_key: str | None = None,
    ends: Reason | None,
    keep: Keep | None = None,
) -> tuple[int, tuple[Ended, ...]]:
    """Write a user's row under the next revision: with `ends`, the sessions before it are dead. One event tells it."""
    revision, ended_below = before.revision + 1, after.ended_below
    survivor: str | None = None
    ended: list[Ended] = []
    if ends is not None:
        ended_below = revision
        for record in living_of(rows, before):
            if keep is None or record.sid != keep.sid:
                rows.bury(rules.tombstone(record, ends, rows.now))
                ended.append(Ended(record.sid, record.user_id, ends))
                continue
            survivor = record.sid
            if keep.digest:
                record = rules.rotated(record, keep.digest, grace=0, now=rows.now)
            rows.put_session(replace(record, revision=revision), data=False)
    rows.put_user(replace(after, revision=revision, ended_below=ended_below), name_key)
    rows.emit("user", id=after.id, revision=revision, ended_below=ended_below, kept=survivor)
    return revision, tuple(ended)
