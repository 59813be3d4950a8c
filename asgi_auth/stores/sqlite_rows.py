"""Rows of the SQLite store, as tables inside one transaction. All SQL of the verbs stands here, and no rule does.

What is looked for or compared in SQL is a column, all else is JSON in `body`, or `record` by short names (`codec`). A
session's record that cannot be read is ended here, where it was found; while only reading, `Broken` asks for a
transaction that may write.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

from asgi_auth.model import Event, Reason, Record, UserRow
from asgi_auth.stores import FEED_LENGTH, TOMBSTONE_LIFETIME, Entry, Revocation, codec, rules
from asgi_auth.stores.codec import Broken, compact
from asgi_auth.stores.rules import Counter, Tombstone, Turn
from asgi_auth.stores.verbs import bury_and_tell

_SESSION = "SELECT sid, user_id, tokens_until, record, data FROM sessions"
_TIDY = (
    "DELETE FROM ended WHERE sid IN (SELECT sid FROM ended WHERE until <= ? LIMIT ?)",
    "DELETE FROM counters WHERE key IN (SELECT key FROM counters WHERE until <= ? LIMIT ?)",
    "DELETE FROM denied WHERE jti IN (SELECT jti FROM denied WHERE until <= ? LIMIT ?)",
)
_COLUMNS = ("u", "t")
"""Fields of a record that are columns, and so not in `record`."""


def _plain(key: str) -> str:
    """A key from outside as SQLite can hold it: lone surrogates are no text."""
    return key.encode("utf-8", "backslashreplace").decode()


def _user(row: tuple[str, str] | None) -> UserRow | None:
    if row is None:
        return None
    user_id, body = row
    try:
        fields = json.loads(body)
    except ValueError:
        fields = {}
    return codec.user_row(user_id, fields)


class SQLiteRows:
    """`Rows` over one connection inside a transaction. Without `writing` nothing may be changed."""

    def __init__(self, connection: sqlite3.Connection, now: float, *, writing: bool) -> None:
        self.now = now
        self._connection = connection
        self._writing = writing

    def _run(self, statement: str, *values: Any) -> sqlite3.Cursor:
        return self._connection.execute(statement, values)

    # Sessions

    def session(self, sid: str) -> Record | Tombstone | None:
        row = self._run(f"{_SESSION} WHERE sid = ?", _plain(sid)).fetchone()
        if row is not None:
            return self._record(*row) or self.session(sid)
        row = self._run("SELECT * FROM ended WHERE sid = ?", _plain(sid)).fetchone()
        return Tombstone(*row) if row is not None else None

    def sessions_of(self, user_id: str) -> list[Record]:
        rows = self._run(f"{_SESSION} WHERE user_id = ?", _plain(user_id)).fetchall()
        return [record for row in rows if (record := self._record(*row)) is not None]

    def _record(self, sid: str, user_id: str | None, tokens_until: Any, body: str, data: str) -> Record | None:
        """The record; None: it could not be read, and that session has ended."""
        try:
            fields = {**json.loads(body), "t": repr(tokens_until)}
            if user_id is not None:
                fields["u"] = user_id
            return codec.record(sid, fields, json.loads(data))
        except (Broken, ValueError, TypeError, RecursionError) as error:
            if not self._writing:
                raise Broken from error
        remembered = self.now + TOMBSTONE_LIFETIME
        killed = tokens_until if isinstance(tokens_until, float) else remembered
        bury_and_tell(self, Tombstone(sid, user_id, "broken", killed, max(killed, remembered)))
        return None

    def put_session(self, record: Record, *, data: bool = True) -> None:
        fields = codec.record_fields(record)
        body = compact({name: value for name, value in fields.items() if name not in _COLUMNS})
        ends = (rules.ends_at(record), record.tokens_until, body)
        if not data:
            self._run("UPDATE sessions SET ends_at = ?, tokens_until = ?, record = ? WHERE sid = ?", *ends, record.sid)
            return
        self._run(
            "INSERT INTO sessions (sid, user_id, ends_at, tokens_until, record, data) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (sid) DO UPDATE SET ends_at = excluded.ends_at, tokens_until = excluded.tokens_until, "
            "record = excluded.record, data = excluded.data",
            *(record.sid, record.user_id, *ends, compact(dict(record.data))),
        )

    def bury(self, tombstone: Tombstone) -> None:
        self.drop(tombstone.sid)
        self._run("INSERT OR REPLACE INTO ended VALUES (?, ?, ?, ?, ?)", *tombstone)

    def drop(self, sid: str) -> None:
        self._run("DELETE FROM sessions WHERE sid = ?", sid)

    def overdue(self, limit: int) -> list[Record]:
        rows = self._run(f"{_SESSION} WHERE ends_at <= ? ORDER BY ends_at LIMIT ?", self.now, limit).fetchall()
        return [record for row in rows if (record := self._record(*row)) is not None]

    def tidy(self, limit: int) -> int:
        gone = 0
        for statement in _TIDY:
            gone += self._run(statement, self.now, limit - gone).rowcount
        return gone

    def era(self) -> int:
        (era,) = self._run("SELECT coalesce(max(era) + 1, 0) FROM eras").fetchone()
        return int(era)

    def turn(self, era: int) -> Turn | None:
        row = self._run("SELECT reason, at FROM eras WHERE era = ?", era).fetchone()
        return Turn(*row) if row is not None else None

    def end_era(self, reason: Reason) -> None:
        self._run("INSERT INTO eras (era, reason, at) VALUES (?, ?, ?)", self.era(), reason, self.now)

    # Users

    def user(self, user_id: str) -> UserRow | None:
        return _user(self._run("SELECT id, body FROM users WHERE id = ?", _plain(user_id)).fetchone())

    def user_by_name(self, name_key: str) -> UserRow | None:
        return _user(self._run("SELECT id, body FROM users WHERE name_key = ?", _plain(name_key)).fetchone())

    def users(self, after: str, limit: int) -> list[UserRow]:
        statement = "SELECT id, body FROM users WHERE id > ? AND NOT deleted ORDER BY id LIMIT ?"
        return [row for found in self._run(statement, _plain(after), limit) if (row := _user(found)) is not None]

    def put_user(self, row: UserRow, name_key: str | None) -> None:
        counted = {"revision": str(row.revision), "ended_below": str(row.ended_below)}
        told = {"checked_at": repr(row.checked_at), "deleted": "1" if row.deleted else ""}
        body = compact({**codec.user_fields(row), **counted, **told})
        self._run(
            "INSERT INTO users (id, name_key, deleted, revision, body) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET name_key = coalesce(excluded.name_key, CASE WHEN ? THEN name_key END), "
            "killed_until = CASE WHEN excluded.revision > revision THEN tokens_until ELSE killed_until END, "
            "deleted = excluded.deleted, revision = excluded.revision, body = excluded.body",
            *(row.id, _plain(name_key) if name_key is not None else None),
            *(row.deleted, row.revision, body, row.name is not None),
        )

    def tokens_live(self, user_id: str, until: float) -> None:
        self._run("UPDATE users SET tokens_until = max(tokens_until, ?) WHERE id = ?", until, user_id)

    # Access tokens

    def denied_until(self, jti: str) -> float:
        row = self._run("SELECT until FROM denied WHERE jti = ?", _plain(jti)).fetchone()
        return float(row[0]) if row is not None else 0.0

    def deny(self, jti: str, until: float) -> None:
        self._run("INSERT OR REPLACE INTO denied VALUES (?, ?)", _plain(jti), until)

    # Counters, values for everybody

    def counters(self, keys: Iterable[str]) -> dict[str, Counter]:
        statement = "SELECT hits, last_at, until FROM counters WHERE key = ?"
        found = {key: self._run(statement, _plain(key)).fetchone() for key in keys}
        return {key: Counter(*row) for key, row in found.items() if row is not None}

    def put_counters(self, counters: Mapping[str, Counter]) -> None:
        for key, counter in counters.items():
            self._run("INSERT OR REPLACE INTO counters VALUES (?, ?, ?, ?)", _plain(key), *counter)

    def forget_counters(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._run("DELETE FROM counters WHERE key = ?", _plain(key))

    def value(self, name: str) -> str | None:
        row = self._run("SELECT value FROM settled WHERE name = ?", name).fetchone()
        return row[0] if row is not None else None

    def put_value(self, name: str, value: str) -> None:
        self._run("INSERT OR REPLACE INTO settled VALUES (?, ?)", name, value)

    # The feed

    def emit(self, kind: str, **values: Any) -> None:
        statement = "INSERT INTO events (nonce, kind, body) VALUES (?, ?, ?)"
        number = self._run(statement, secrets.token_hex(8), kind, compact(values)).lastrowid or 0
        self._run("DELETE FROM events WHERE id <= ?", number - FEED_LENGTH)

    def events(self, after: str, limit: int) -> list[Entry]:
        statement = "SELECT id, nonce, kind, body FROM events WHERE id > ? ORDER BY id LIMIT ?"
        rows = self._run(statement, int(after or 0), limit)
        return [Entry(str(number), nonce, Event(kind, json.loads(body))) for number, nonce, kind, body in rows]

    def newest(self) -> Entry | None:
        row = self._run("SELECT max(id) FROM events").fetchone()
        return None if row[0] is None else self.events(str(row[0] - 1), 1)[0]

    def revocations(self, after: str, limit: int) -> list[Revocation]:
        kind, _, key = after.partition(":")
        rows = self._run(
            "SELECT * FROM (SELECT 'sid' AS kind, sid AS key, 0, tokens_until AS until FROM ended UNION ALL "
            "SELECT 'jti', jti, 0, until FROM denied UNION ALL SELECT 'user', id, revision, killed_until FROM users) "
            "WHERE (kind, key) > (?, ?) AND until > ? ORDER BY kind, key LIMIT ?",
            *(kind, key, self.now, limit),
        )
        return [Revocation(*row) for row in rows]
