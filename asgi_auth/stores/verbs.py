"""The store's verbs, written once for the stores that run Python inside a transaction: memory and SQLite.

Each takes the rows as they are inside that transaction, and the store's clock. It decides first and changes then, so
that a refusal has changed nothing. The contract of each is in `asgi_auth.stores`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from asgi_auth.model import Event, Reason, Record, UserRow
from asgi_auth.stores import (
    TOMBSTONE_LIFETIME,
    Created,
    Ended,
    Exchanged,
    Hit,
    Keep,
    Limit,
    Loaded,
    NewSession,
    Presented,
    Windows,
    rules,
)
from asgi_auth.stores.rows import Account, Rows
from asgi_auth.stores.rules import Tombstone, Turn

_KEYS = "keys"


# Values for everybody


def once(rows: Rows, now: float, name: str, default: str) -> str:
    found = rows.value(f"once:{name}")
    if found is None:
        rows.put_value(f"once:{name}", default)
    return default if found is None else found


def keys(rows: Rows, now: float) -> str | None:
    return rows.value(_KEYS)


def put_keys(rows: Rows, now: float, expected: str | None, ring: str) -> bool:
    if rows.value(_KEYS) != expected:
        return False
    rows.put_value(_KEYS, ring)
    rows.emit(Event("keys", {}))
    return True


# One session


def load(rows: Rows, now: float, sid: str) -> Loaded | Ended | None:
    found = rows.session(sid)
    if found is None:
        return None
    if isinstance(found, Tombstone):
        return Ended(found.sid, found.user_id, found.reason)
    account = rows.account(found.user_id) if found.user_id is not None else None
    row = account.row if account is not None else None
    reason = rules.death(found, row, rows.turn(found.era), now)
    return Loaded(found, row, now) if reason is None else Ended(found.sid, found.user_id, reason)


def _living(rows: Rows, now: float, sid: str) -> Record | None:
    loaded = load(rows, now, sid)
    return loaded.record if isinstance(loaded, Loaded) else None


def _living_of(rows: Rows, now: float, row: UserRow) -> list[Record]:
    return [
        record for record in rows.sessions_of(row.id) if rules.death(record, row, rows.turn(record.era), now) is None
    ]


def _bury(rows: Rows, now: float, record: Record, reason: Reason) -> Ended:
    rows.bury(rules.tombstone(record, reason, now))
    return Ended(record.sid, record.user_id, reason)


def _end(rows: Rows, now: float, record: Record, reason: Reason) -> Ended:
    rows.emit(ended_event(record.sid, record.user_id, reason, record.tokens_until))
    return _bury(rows, now, record, reason)


def ended_event(sid: str, user_id: str | None, reason: Reason, tokens_until: float) -> Event:
    return Event("ended", {"sid": sid, "user": user_id, "reason": reason, "tokens_until": tokens_until})


def _changed_event(record: Record) -> Event:
    return Event("changed", {"sid": record.sid, "data_version": record.data_version})


def create(
    rows: Rows,
    now: float,
    new: NewSession,
    *,
    revision: int,
    replaces: Presented | None,
    data_from: Presented | None,
    limit: int,
    evict: bool,
) -> Created | Literal["changed", "limit"]:
    rows.sweep(now)
    present = load(rows, now, new.sid)
    if isinstance(present, Loaded) and rules.same_login(present.record, new):
        return Created(present, ())
    if present is not None:
        return "changed"
    account = rows.account(new.user_id) if new.user_id is not None else None
    if new.user_id is not None and not _may_log_in(account, revision):
        return "changed"

    replaced = _shown(rows, now, replaces)
    visitor = _shown(rows, now, data_from)
    if visitor is not None and visitor.user_id is not None:
        visitor = None
    ends: dict[str, tuple[Record, Reason]] = {
        record.sid: (record, "replaced") for record in (replaced, visitor) if record is not None
    }
    if limit > 0 and account is not None:
        others = [record for record in _living_of(rows, now, account.row) if record.sid not in ends]
        too_many = len(others) - limit + 1
        if too_many > 0 and not evict:
            return "limit"
        ends |= {record.sid: (record, "evicted") for record in rules.least_seen(others, max(0, too_many))}

    for presented in (replaces, data_from):
        _relabel(rows, now, presented)
    ended = tuple(_end(rows, now, record, reason) for record, reason in ends.values())
    data = rules.inherited(new, replaced, visitor)
    stamp = revision if account is not None else 0
    record = rules.new_record(new, revision=stamp, era=rows.era(), data=data, now=now)
    rows.put_session(record)
    _raise_tokens_until(rows, account, record)
    return Created(Loaded(record, account.row if account is not None else None, now), ended)


def _may_log_in(account: Account | None, revision: int) -> bool:
    if account is None or account.row.deleted or account.row.disabled:
        return False
    return account.row.revision == revision


def _shown(rows: Rows, now: float, presented: Presented | None) -> Record | None:
    """The living session whose secret was shown."""
    record = _living(rows, now, presented.sid) if presented is not None else None
    if record is None or presented is None or not rules.shows(record, presented.digest, now):
        return None
    return record


def _relabel(rows: Rows, now: float, presented: Presented | None) -> None:
    """A dead session in whose place another one comes, a forgotten one too: who still holds its cookie must not clear the
    new one's."""
    if presented is None or _living(rows, now, presented.sid) is not None:
        return
    found = rows.session(presented.sid)
    if isinstance(found, Record):
        found = rules.tombstone(found, "replaced", now)
    elif found is None:
        found = Tombstone(presented.sid, None, "replaced", 0.0, 0.0)
    rows.bury(found._replace(reason="replaced", until=max(found.until, now + TOMBSTONE_LIFETIME)))


def _raise_tokens_until(rows: Rows, account: Account | None, record: Record) -> None:
    if account is not None and record.tokens_until > account.tokens_until:
        rows.put_account(replace(account, tokens_until=record.tokens_until))


def write_data(
    rows: Rows, now: float, sid: str, put: Mapping[str, str], delete: Collection[str], *, max_size: int
) -> int | Literal["gone", "too_large"]:
    record = _living(rows, now, sid)
    if record is None:
        return "gone"
    written = rules.written(record, put, delete, max_size=max_size)
    if written is None:
        return "too_large"
    rows.put_session(written)
    rows.emit(_changed_event(written))
    return written.data_version


def touch(rows: Rows, now: float, sids: Collection[str]) -> None:
    for sid in sids:
        record = _living(rows, now, sid)
        if record is not None:
            rows.put_session(rules.seen(record, record.idle, now), data=False)


def rotate(rows: Rows, now: float, presented: Presented, digest: str, *, grace: float) -> bool:
    record = _living(rows, now, presented.sid)
    if record is None:
        return False
    if rules.same(record.digest, digest):
        return True  # done already: the first answer did not arrive
    if not rules.same(record.digest, presented.digest):
        return False
    record = rules.rotated(record, digest, grace=grace, now=now)
    rows.put_session(record, data=False)
    rows.emit(_changed_event(record))
    return True


def end(rows: Rows, now: float, sid: str, reason: Reason) -> Ended | None:
    record = _living(rows, now, sid)
    return _end(rows, now, record, reason) if record is not None else None


def end_all(rows: Rows, now: float, reason: Reason) -> None:
    era = rows.era()
    rows.end_era(era, Turn(reason, now))
    rows.emit(Event("all", {"era": era + 1}))


def sessions(rows: Rows, now: float, user_id: str) -> list[Loaded]:
    account = rows.account(user_id)
    if account is None:
        return []
    living = _living_of(rows, now, account.row)
    return [Loaded(record, account.row, now) for record in rules.latest_first(living)]


# Refresh tokens


def exchange(
    rows: Rows,
    now: float,
    sid: str,
    *,
    generation: int,
    digest: str,
    client_id: str,
    scope: str,
    revision: int,
    nonce: str,
    next_digest: str,
    windows: Windows,
) -> Exchanged:
    loaded = load(rows, now, sid)
    if not isinstance(loaded, Loaded) or loaded.record.grant is None:
        return Exchanged("ended")
    record, grant, user = loaded.record, loaded.record.grant, loaded.user
    if client_id != grant.client_id:
        return Exchanged("mismatch")
    if user is None or user.revision != revision:
        return Exchanged("changed")
    outcome = rules.judge(grant, generation=generation, digest=digest, scope=scope, windows=windows, now=now)
    if outcome == "scope":
        return Exchanged("scope")
    if outcome == "reused":
        _end(rows, now, record, "reuse")
        return Exchanged("reused")
    if outcome == "made":
        record = rules.succeeded(
            record, grant, nonce=nonce, next_digest=next_digest, scope=scope, windows=windows, now=now
        )
    record = rules.token_issued(record, windows.token_lifetime, now)
    rows.put_session(record, data=False)
    _raise_tokens_until(rows, rows.account(user.id), record)
    return Exchanged(outcome, nonce if outcome == "made" else grant.nonce, Loaded(record, user, now))


def confirm(rows: Rows, now: float, sid: str, generation: int) -> None:
    record = _living(rows, now, sid)
    grant = record.grant if record is not None else None
    if record is not None and grant is not None and grant.generation == generation and grant.confirmed_at is None:
        rows.put_session(replace(record, grant=replace(grant, confirmed_at=now)), data=False)


# Throttling


def hit(rows: Rows, now: float, limits: Sequence[Limit]) -> Hit:
    rows.sweep(now)
    names = {limit.key for limit in limits} | {limit.unless for limit in limits if limit.unless}
    counters = {key: counter for key in names if (counter := rows.counter(key)) is not None}
    answer, changed = rules.throttle(limits, counters, now)
    for key, counter in changed.items():
        rows.put_counter(key, counter)
    return answer


def unhit(rows: Rows, now: float, undo: Collection[str], clear: Collection[str]) -> None:
    for key in undo:
        counter = rows.counter(key)
        if counter is not None:
            left = counter._replace(hits=counter.hits - 1)
            rows.put_counter(key, left if left.hits > 0 else None)
    for key in clear:
        rows.put_counter(key, None)


# Users


def user(rows: Rows, now: float, user_id: str) -> UserRow | None:
    account = rows.account(user_id)
    return account.row if account is not None else None


def user_by_name(rows: Rows, now: float, name_key: str) -> UserRow | None:
    account = rows.account_by_name(name_key)
    return account.row if account is not None else None


def end_user(
    rows: Rows, now: float, user_id: str, reason: Reason, *, keep: Keep | None, disable: bool | None
) -> tuple[Ended, ...] | None:
    account = rows.account(user_id)
    if account is None or account.row.deleted:
        return None
    disabled = account.row.disabled if disable is None else disable
    _, ended = _raise(rows, now, account, replace(account.row, disabled=disabled), ends=reason, keep=keep)
    return ended


def save_user(
    rows: Rows,
    now: float,
    row: UserRow,
    *,
    name_key: str | None,
    expected: int | None,
    bump: bool,
    ends: Reason | None,
    keep: Keep | None,
) -> int | Literal["changed", "taken"]:
    account = rows.account(row.id)
    present = account is not None and not account.row.deleted
    if (account.row.revision if account is not None and present else None) != expected:
        return "changed"
    if name_key is not None:
        holder = rows.account_by_name(name_key)
        if holder is not None and holder.row.id != row.id:
            return "taken"
    elif account is not None and row.name is not None:
        name_key = account.name_key  # the name is not what changes
    before = account if account is not None else Account(UserRow(row.id))
    row = replace(row, revision=before.row.revision, ended_below=before.row.ended_below, deleted=False, checked_at=now)
    before = replace(before, name_key=name_key)
    if present and not bump and ends is None:
        rows.put_account(replace(before, row=row))
        return row.revision
    account, _ = _raise(rows, now, before, row, ends=ends, keep=keep)
    return account.row.revision


def delete_user(rows: Rows, now: float, user_id: str) -> tuple[Ended, ...] | None:
    account = rows.account(user_id)
    if account is None or account.row.deleted:
        return None
    remains = UserRow(user_id, revision=account.row.revision, deleted=True)
    _, ended = _raise(rows, now, replace(account, name_key=None), remains, ends="deleted", keep=None)
    return ended


def _raise(
    rows: Rows, now: float, account: Account, row: UserRow, *, ends: Reason | None, keep: Keep | None
) -> tuple[Account, tuple[Ended, ...]]:
    """Write a user's row under the next revision: with `ends`, the sessions before it are dead. One event tells it."""
    revision = account.row.revision + 1
    survivor: str | None = None
    ended: list[Ended] = []
    for record in _living_of(rows, now, account.row) if ends is not None else ():
        if keep is not None and record.sid == keep.sid:
            rows.put_session(rules.kept(record, keep, revision), data=False)
            survivor = record.sid
        else:
            ended.append(_bury(rows, now, record, ends or "revoked"))
    row = replace(row, revision=revision, ended_below=revision if ends is not None else row.ended_below)
    account = replace(account, row=row, killed_until=account.tokens_until)
    rows.put_account(account)
    values = {"id": row.id, "revision": revision, "ended_below": row.ended_below, "kept": survivor}
    rows.emit(Event("user", values))
    return account, tuple(ended)
