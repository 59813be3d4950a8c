"""Rows of the SQLite store: `verbs.Rows` over one connection inside a transaction, and how values become rows.

What is looked for or compared in SQL is a column, all else of a record is JSON in `body`. A session's record that
cannot be read is ended here, where it was found; while only reading, `Broken` asks for a transaction that may write.
"""

from __future__ import annotations

import json
import math
import secrets
import sqlite3
from dataclasses import asdict
from typing import Any

from asgi_auth.errors import StoreUnavailable
from asgi_auth.model import Client, Event, Grant, Record, UserRow
from asgi_auth.stores import FEED_LENGTH, TOMBSTONE_LIFETIME, Entry, Revocation, rules
from asgi_auth.stores.rows import Account
from asgi_auth.stores.rules import Counter, Tombstone, Turn
from asgi_auth.stores.verbs import ended_event

_SWEPT_AT_ONCE = 20

_SELECT_USER = "SELECT id, name_key, deleted, revision, tokens_until, killed_until, body FROM users "
_SWEEP = (
    "DELETE FROM sessions WHERE sid IN (SELECT sid FROM sessions WHERE forget_at <= ? LIMIT ?)",
    "DELETE FROM ended WHERE sid IN (SELECT sid FROM ended WHERE until <= ? LIMIT ?)",
    "DELETE FROM counters WHERE key IN (SELECT key FROM counters WHERE until <= ? LIMIT ?)",
)

_NUMBERS = ("created_at", "seen_at", "authenticated_at", "idle", "idle_expires_at", "expires_at", "previous_until")
_INTEGERS = ("revision", "era", "data_version")
_TEXTS = ("backend", "digest", "previous_digest")


class Broken(Exception):
    """A session's record cannot be read."""


def _numbers(*values: Any) -> bool:
    return set(map(type, values)) <= {int, float} and math.isfinite(sum(values))


def _texts(*values: Any) -> bool:
    return set(map(type, values)) <= {str}


def encode_record(record: Record) -> str:
    """All of a record that has no column of its own."""
    values = {name: getattr(record, name) for name in (*_NUMBERS, *_INTEGERS, *_TEXTS, "remember")}
    values["client"] = list(record.client)
    values["amr"] = dict(record.amr)
    values["grant"] = asdict(record.grant) if record.grant is not None else None
    return json.dumps(values, separators=(",", ":"))


def decode_record(sid: str, user_id: str | None, tokens_until: Any, body: str, data: str) -> Record:
    """Raises:
    Broken: this is no record.
    """
    try:
        values = json.loads(body)
        client, grant = Client(*values.pop("client")), values.pop("grant")
        record = Record(
            sid=sid,
            user_id=user_id,
            tokens_until=tokens_until,
            client=client,
            grant=Grant(**grant) if grant is not None else None,
            data=json.loads(data),
            **values,
        )
        sound = (
            _numbers(tokens_until, *(values[name] for name in _NUMBERS), *record.amr.values())
            and {type(values[name]) for name in _INTEGERS} == {int}
            and _texts(*(values[name] for name in _TEXTS), *client, *record.data, *record.data.values())
            and (record.grant is None or _is_grant(record.grant))
            and type(record.remember) is bool
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise Broken from error
    if not sound:
        raise Broken
    return record


def _is_grant(grant: Grant) -> bool:
    return (
        _texts(grant.client_id, grant.digest, grant.previous_digest, grant.nonce, grant.asked, grant.granted or "")
        and _numbers(grant.made_at, grant.confirmed_at or 0.0)
        and type(grant.generation) is int
    )


def encode_row(row: UserRow) -> str:
    values = {name: getattr(row, name) for name in ("display_name", "name", "password_hash", "ended_below", "disabled")}
    values |= {"scopes": sorted(row.scopes), "claims": dict(row.claims), "checked_at": row.checked_at}
    return json.dumps(values, separators=(",", ":"))


def _account(row: tuple[Any, ...] | None) -> Account | None:
    if row is None:
        return None
    user_id, name_key, deleted, revision, tokens_until, killed_until, body = row
    try:
        values = json.loads(body)
        scopes = frozenset(values.pop("scopes"))
        user = UserRow(user_id, scopes=scopes, revision=revision, deleted=bool(deleted), **values)
        if not isinstance(user.claims, dict) or type(user.ended_below) is not int or type(user.disabled) is not bool:
            raise ValueError("a member of another type")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreUnavailable(f"the row of the user {user_id!r} cannot be read") from error
    return Account(user, name_key, tokens_until, killed_until)


def _plain(key: str) -> str:
    """A key from outside as SQLite can hold it: lone surrogates are no text."""
    return key.encode("utf-8", "backslashreplace").decode()


class SQLiteRows:
    """`verbs.Rows`. `now` is the transaction's time; without `writing` nothing may be changed."""

    def __init__(self, connection: sqlite3.Connection, now: float, *, writing: bool) -> None:
        self._execute = connection.execute
        self._now = now
        self._writing = writing

    def _one(self, statement: str, *values: Any) -> Any:
        return self._execute(statement, values).fetchone()

    # Sessions

    def session(self, sid: str) -> Record | Tombstone | None:
        row = self._one("SELECT sid, user_id, tokens_until, body, data FROM sessions WHERE sid = ?", _plain(sid))
        if row is not None:
            record = self._decode(row)
            return record if record is not None else self.session(sid)
        row = self._one("SELECT sid, user_id, reason, tokens_until, until FROM ended WHERE sid = ?", _plain(sid))
        return Tombstone(*row) if row is not None else None

    def sessions_of(self, user_id: str) -> list[Record]:
        statement = "SELECT sid, user_id, tokens_until, body, data FROM sessions WHERE user_id = ?"
        rows = self._execute(statement, (_plain(user_id),)).fetchall()
        return [record for row in rows if (record := self._decode(row)) is not None]

    def _decode(self, row: tuple[Any, ...]) -> Record | None:
        """The record; None: it could not be read, and that session has ended."""
        try:
            return decode_record(*row)
        except Broken:
            if not self._writing:
                raise
        sid, user_id, tokens_until = row[:3]
        tokens_until = tokens_until if _numbers(tokens_until) else self._now + TOMBSTONE_LIFETIME
        self.emit(ended_event(sid, user_id, "broken", tokens_until))
        until = max(self._now + TOMBSTONE_LIFETIME, tokens_until)
        self.bury(Tombstone(sid, user_id, "broken", tokens_until, until))
        return None

    def put_session(self, record: Record, *, data: bool = True) -> None:
        ends = (rules.forget_at(record), record.tokens_until, encode_record(record))
        if not data:
            statement = "UPDATE sessions SET forget_at = ?, tokens_until = ?, body = ? WHERE sid = ?"
            self._execute(statement, (*ends, record.sid))
            return
        text = json.dumps(dict(record.data), separators=(",", ":"))
        statement = (
            "INSERT INTO sessions (sid, user_id, forget_at, tokens_until, body, data) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (sid) DO UPDATE SET forget_at = excluded.forget_at, tokens_until = excluded.tokens_until, "
            "body = excluded.body, data = excluded.data"
        )
        self._execute(statement, (record.sid, record.user_id, *ends, text))

    def bury(self, tombstone: Tombstone) -> None:
        self._execute("DELETE FROM sessions WHERE sid = ?", (tombstone.sid,))
        self._execute("INSERT OR REPLACE INTO ended VALUES (?, ?, ?, ?, ?)", tombstone)

    def era(self) -> int:
        (era,) = self._one("SELECT coalesce(max(era) + 1, 0) FROM eras")
        return int(era)

    def turn(self, era: int) -> Turn | None:
        row = self._one("SELECT reason, at FROM eras WHERE era = ?", era)
        return Turn(*row) if row is not None else None

    def end_era(self, era: int, turn: Turn) -> None:
        self._execute("INSERT INTO eras (era, reason, at) VALUES (?, ?, ?)", (era, *turn))

    # Users

    def account(self, user_id: str) -> Account | None:
        return _account(self._one(_SELECT_USER + "WHERE id = ?", _plain(user_id)))

    def account_by_name(self, name_key: str) -> Account | None:
        return _account(self._one(_SELECT_USER + "WHERE name_key = ?", _plain(name_key)))

    def put_account(self, account: Account) -> None:
        row = account.row
        name_key = _plain(account.name_key) if account.name_key is not None else None
        lasts = (account.tokens_until, account.killed_until, encode_row(row))
        statement = (
            "INSERT INTO users (id, name_key, deleted, revision, tokens_until, killed_until, body) "
            "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
            "name_key = excluded.name_key, deleted = excluded.deleted, revision = excluded.revision, "
            "tokens_until = excluded.tokens_until, killed_until = excluded.killed_until, body = excluded.body"
        )
        self._execute(statement, (row.id, name_key, row.deleted, row.revision, *lasts))

    def users(self, after: str, limit: int) -> list[UserRow]:
        statement = _SELECT_USER + "WHERE id > ? AND NOT deleted ORDER BY id LIMIT ?"
        accounts = map(_account, self._execute(statement, (_plain(after), limit)).fetchall())
        return [account.row for account in accounts if account is not None]

    # Counters, values

    def counter(self, key: str) -> Counter | None:
        row = self._one("SELECT hits, last_at, until FROM counters WHERE key = ?", _plain(key))
        return Counter(*row) if row is not None else None

    def put_counter(self, key: str, counter: Counter | None) -> None:
        if counter is None:
            self._execute("DELETE FROM counters WHERE key = ?", (_plain(key),))
        else:
            self._execute("INSERT OR REPLACE INTO counters VALUES (?, ?, ?, ?)", (_plain(key), *counter))

    def value(self, name: str) -> str | None:
        row = self._one("SELECT value FROM settled WHERE name = ?", name)
        return row[0] if row is not None else None

    def put_value(self, name: str, value: str) -> None:
        self._execute("INSERT OR REPLACE INTO settled VALUES (?, ?)", (name, value))

    # The feed

    def emit(self, event: Event) -> None:
        statement = "INSERT INTO events (nonce, kind, body) VALUES (?, ?, ?)"
        body = json.dumps(dict(event.values), separators=(",", ":"))
        number = self._execute(statement, (secrets.token_hex(8), event.kind, body)).lastrowid or 0
        self._execute("DELETE FROM events WHERE id <= ?", (number - FEED_LENGTH,))

    def events(self, after: str, limit: int) -> list[Entry]:
        statement = "SELECT id, nonce, kind, body FROM events WHERE id > ? ORDER BY id LIMIT ?"
        rows = self._execute(statement, (int(after or 0), limit)).fetchall()
        return [Entry(str(number), nonce, Event(kind, json.loads(body))) for number, nonce, kind, body in rows]

    def revocations(self, after: str, limit: int, now: float) -> list[Revocation]:
        kind, _, key = after.partition(":")
        found: list[Revocation] = []
        if kind != "user":
            statement = "SELECT sid, tokens_until FROM ended WHERE sid > ? AND tokens_until > ? ORDER BY sid LIMIT ?"
            rows = self._execute(statement, (key, now, limit)).fetchall()
            found = [Revocation("sid", sid, 0, until) for sid, until in rows]
            key = ""
        if len(found) < limit:
            statement = (
                "SELECT id, revision, killed_until FROM users WHERE id > ? AND killed_until > ? ORDER BY id LIMIT ?"
            )
            rows = self._execute(statement, (key, now, limit - len(found))).fetchall()
            found += [Revocation("user", user_id, revision, until) for user_id, revision, until in rows]
        return found

    def sweep(self, now: float) -> None:
        for statement in _SWEEP:
            self._execute(statement, (now, _SWEPT_AT_ONCE))
