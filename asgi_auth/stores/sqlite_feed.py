"""The feed on SQLite: a beat is one pragma on a connection that only reads, where it is asked for."""

from __future__ import annotations

import json
import math
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from asgi_auth.errors import Deaf, StoreUnavailable
from asgi_auth.forks import at_fork
from asgi_auth.model import Event
from asgi_auth.stores import Cursor, Entry
from asgi_auth.stores import sqlite_schema as schema
from asgi_auth.stores.feed import NOTHING, PAGE, Beat

_LOOK_AGAIN = 0.01
"""Seconds after which it is seen that another file lies at the path."""

_ENTRIES = "SELECT id, nonce, kind, body FROM events WHERE id >= ? ORDER BY id LIMIT ?"


class SQLiteFeed:
    """`Feed` over one file. Its connection is closed while the process forks, as the store's are.

    Args:
        found: device and inode of the file that lies at the path now.
    """

    instant = True
    turns = 0

    def __init__(self, path: Path, found: Callable[[], tuple[int, int]]) -> None:
        self._path = path
        self._found = found
        self._opened: tuple[sqlite3.Connection, tuple[int, int]] | None = None
        self._proved: tuple[int, Entry] | None = None
        self._there = (0, 0)
        self._asked_at = -math.inf
        self._looking = threading.Lock()
        at_fork(before=self._hold, after_in_parent=self._release, after_in_child=self._release)

    def look(self, cursor: Cursor) -> Beat:
        with self._looking:
            try:
                return self._look(cursor[0])
            except (sqlite3.Error, OSError, ValueError) as error:
                self._close()
                raise StoreUnavailable(f"the SQLite store gave no answer ({type(error).__name__})") from error

    def _look(self, cursor: Entry) -> Beat:
        there = self._lies_there()
        if self._opened is None:
            self._opened = schema.connect(self._path), there
        connection, identity = self._opened
        if there != identity:
            self._close()
            return Beat(None)
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        if (version, cursor) == self._proved:
            return NOTHING
        # One statement, fetched to its end: a transaction left open would hide every commit.
        rows = connection.execute(_ENTRIES, (int(cursor.id), PAGE)).fetchall()
        beat = Beat.of([_entry(*row) for row in rows], cursor)
        if beat.entries is not None and not beat.more:
            self._proved = version, beat.entries[-1] if beat.entries else cursor
        return beat

    def _lies_there(self) -> tuple[int, int]:
        """As it was a moment ago: asking for the file takes as long as asking the database."""
        now = time.monotonic()
        if self._opened is None or now - self._asked_at > _LOOK_AGAIN:
            self._there, self._asked_at = self._found(), now
        return self._there

    def _close(self) -> None:
        if self._opened is not None:
            self._opened[0].close()
            self._opened = self._proved = None

    async def beat(self, cursor: Cursor, lease: float) -> Beat:
        return self.look(cursor)

    async def listen(self, hear: Callable[[Entry | None], None]) -> None:
        raise Deaf("nobody tells SQLite's readers anything")

    async def leave(self) -> None:
        with self._looking:
            self._close()

    def _hold(self) -> None:
        self._looking.acquire()
        self._close()

    def _release(self) -> None:
        self._looking.release()


def _entry(number: int, nonce: str, kind: Any, body: str) -> Entry:
    return Entry(str(number), nonce, Event(kind, json.loads(body)))
