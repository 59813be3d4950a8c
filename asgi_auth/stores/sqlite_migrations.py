"""The tables of the SQLite store, from version to version.

Each step takes a database from its index to the next version, inside a transaction that the caller has begun. What was
released is not changed any more, and uses nothing that is: it must do in ten years what it does today.
"""

from __future__ import annotations

import json
import sqlite3

_TABLES = (
    """CREATE TABLE sessions (
        sid TEXT NOT NULL PRIMARY KEY, user_id TEXT, forget_at REAL NOT NULL, tokens_until REAL NOT NULL,
        body TEXT NOT NULL, data TEXT NOT NULL)""",
    "CREATE INDEX sessions_by_user ON sessions (user_id) WHERE user_id IS NOT NULL",
    "CREATE INDEX sessions_by_end ON sessions (forget_at)",
    """CREATE TABLE ended (
        sid TEXT NOT NULL PRIMARY KEY, user_id TEXT, reason TEXT NOT NULL, tokens_until REAL NOT NULL,
        until REAL NOT NULL) WITHOUT ROWID""",
    "CREATE INDEX ended_by_end ON ended (until)",
    """CREATE TABLE users (
        id TEXT NOT NULL PRIMARY KEY, name_key TEXT UNIQUE, deleted INTEGER NOT NULL, revision INTEGER NOT NULL,
        tokens_until REAL NOT NULL DEFAULT 0, killed_until REAL NOT NULL DEFAULT 0, body TEXT NOT NULL)""",
    "CREATE INDEX users_by_killed ON users (killed_until)",
    "CREATE TABLE eras (era INTEGER NOT NULL PRIMARY KEY, reason TEXT NOT NULL, at REAL NOT NULL)",
    """CREATE TABLE counters (
        key TEXT NOT NULL PRIMARY KEY, hits INTEGER NOT NULL, last_at REAL NOT NULL, until REAL NOT NULL
        ) WITHOUT ROWID""",
    "CREATE INDEX counters_by_end ON counters (until)",
    "CREATE TABLE settled (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT, nonce TEXT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL)""",
)

_PAGE = 1000


def _make_tables(connection: sqlite3.Connection) -> None:
    for statement in _TABLES:
        connection.execute(statement)


_NAMES_OF_2 = (
    "backend=b address=a user_agent=g amr=m remember=k digest=h previous_digest=p created_at=c seen_at=s "
    "authenticated_at=l idle=i idle_expires_at=j expires_at=e previous_until=q revision=r era=n data_version=v "
    "client_id=C granted=G generation=N token_digest=H previous_token_digest=P nonce=O asked=A made_at=M "
    "confirmed_at=F acr=x pending=w secret_at=y"
)
_SHORT_IN_2 = {long: short for long, _, short in (name.partition("=") for name in _NAMES_OF_2.split())}
_LEFT_OUT_BY_2 = {("a", ""), ("g", ""), ("k", ""), ("h", ""), ("p", ""), ("q", "0.0"), ("v", "0")}


def _sweep_by_end(connection: sqlite3.Connection) -> None:
    """Sessions are found by their end, at which each is told, and no more by when they may be forgotten. Their fields
    have short names, and what is as in most of them is left out."""
    connection.execute("ALTER TABLE sessions RENAME COLUMN forget_at TO ends_at")
    # Processes of the first version did not look whether they know this one, and would take the records for broken.
    connection.execute("ALTER TABLE sessions RENAME COLUMN body TO record")
    sid = ""
    while True:
        page = connection.execute("SELECT sid, record FROM sessions WHERE sid > ? ORDER BY sid LIMIT ?", (sid, _PAGE))
        rows = page.fetchall()
        if not rows:
            return
        connection.executemany("UPDATE sessions SET ends_at = ?, record = ? WHERE sid = ?", map(_of_2, rows))
        sid = rows[-1][0]


def _of_2(row: tuple[str, str]) -> tuple[float, str, str]:
    """The session's end and its record by short names. One that cannot be read stays so, and is over."""
    sid, body = row
    try:
        fields = json.loads(body)
        ends_at = min(float(fields["idle_expires_at"]), float(fields["expires_at"]))
        short = {
            _SHORT_IN_2.get(name, name): value for name, value in fields.items() if name not in ("user", "tokens_until")
        }
        kept = {name: value for name, value in short.items() if (name, value) not in _LEFT_OUT_BY_2}
        return ends_at, json.dumps(kept, separators=(",", ":")), sid
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return 0.0, body, sid


def _deny_tokens(connection: sqlite3.Connection) -> None:
    """Access tokens are killed one by one. (A grant may be bound to a key, too, which older processes would not heed:
    they know by the version that this is not theirs.)"""
    connection.execute("CREATE TABLE denied (jti TEXT NOT NULL PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID")
    connection.execute("CREATE INDEX denied_by_end ON denied (until)")


MIGRATIONS = (_make_tables, _sweep_by_end, _deny_tokens)

VERSION = len(MIGRATIONS)
"""Of the tables, in `PRAGMA user_version`."""
