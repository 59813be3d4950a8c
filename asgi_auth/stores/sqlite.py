"""The SQLite store: one file for the processes of one machine, in WAL mode.

Single rows are read where they are asked for, which takes microseconds and waits for nobody. Everything else runs in
worker threads; a write is a `BEGIN IMMEDIATE` transaction there, which a cancelled request cannot leave open.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import anyio

from asgi_auth.clock import Clock
from asgi_auth.errors import StoreUnavailable
from asgi_auth.forks import at_fork
from asgi_auth.loops import PerLoop
from asgi_auth.stores import sqlite_schema as schema
from asgi_auth.stores.codec import Broken
from asgi_auth.stores.local import LocalStore
from asgi_auth.stores.rows import Rows
from asgi_auth.stores.sqlite_feed import SQLiteFeed
from asgi_auth.stores.sqlite_rows import SQLiteRows

T = TypeVar("T")

_KEPT_OPEN = 8


class _Replaced(Exception):
    """Another file lies at the path now, or another database in the same file."""


class _Connections:
    """Connections to one file, lent to one thread at a time. None is open while the process forks.

    SQLite forgets which process a lock belongs to when a process forks with a connection open, even if the child never
    uses it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.identity: tuple[int, int] | None = None  # device and inode of the file that was opened; None: not yet
        self._idle: list[sqlite3.Connection] = []
        self._lent = 0
        self._changed = threading.Condition()
        at_fork(before=self._hold, after_in_parent=self._release, after_in_child=self._release)

    def found(self) -> tuple[int, int]:
        """Device and inode of the file at the path."""
        status = os.stat(self.path)
        return status.st_dev, status.st_ino

    @contextmanager
    def lend(self) -> Iterator[sqlite3.Connection]:
        """A connection, closed if anything goes wrong with it, which also ends its transaction.

        Raises:
            _Replaced: another file lies there.
            OSError: none does.
        """
        with self._changed:
            connection = self._idle.pop() if self._idle else None
            self._lent += 1
        fine = False
        try:
            if connection is None:
                connection = schema.connect(self.path)
            if self.identity is not None and self.found() != self.identity:
                raise _Replaced
            yield connection
            fine = True
        finally:
            keep = fine and len(self._idle) < _KEPT_OPEN
            if connection is not None and not keep:
                connection.close()
            with self._changed:
                if connection is not None and keep:
                    self._idle.append(connection)
                self._lent -= 1
                self._changed.notify_all()

    def forget(self) -> None:
        """Whatever lies at the path is to be opened anew."""
        self.identity = None
        self.close()

    def close(self) -> None:
        """Close those that nobody uses."""
        with self._changed:
            idle, self._idle = self._idle, []
            self._lent += len(idle)
        for connection in idle:
            connection.close()
        with self._changed:
            self._lent -= len(idle)
            self._changed.notify_all()

    def _hold(self) -> None:
        self._changed.acquire()
        self._changed.wait_for(lambda: self._lent == 0)
        while self._idle:
            self._idle.pop().close()

    def _release(self) -> None:
        self._changed.release()


class SQLiteStore(LocalStore):
    """A store in one SQLite file on a local disk.

    Args:
        path: of the file; made with mode 0600 if it is not there.
        timeout: seconds after which a verb raises `StoreUnavailable`.
        clock: decides instead of the host's clock; for tests.
    """

    durable = True

    def __init__(self, path: str | os.PathLike[str], *, timeout: float = 2.0, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self.path = Path(path).absolute()
        self._timeout = timeout
        self._connections = _Connections(self.path)
        # Where nobody closes the store (no lifespan), its connections still are when it goes.
        weakref.finalize(self, self._connections.close)
        # Writers of one event loop wait in the order in which they came, and hold one thread; those of several loops
        # and processes meet at SQLite's lock.
        self._writers = PerLoop(lambda: anyio.CapacityLimiter(1))
        self._readers = PerLoop(lambda: anyio.CapacityLimiter(4))

    async def open(self) -> None:
        await self._in_thread(self._reopen, self._writers.get())

    async def aclose(self) -> None:
        await anyio.to_thread.run_sync(self._connections.close, limiter=self._writers.get())

    async def _read(self, verb: Callable[[Rows], T], *, many: bool) -> T:
        try:
            if not many and self._connections.identity is not None:
                try:
                    return self._reading(verb)
                except _Replaced:
                    pass
                except sqlite3.Error as error:  # locked: somebody recovers the log, or closes it as the last one
                    if not schema.is_locked(error):
                        raise
            return await self._in_thread(lambda deadline: self._reading(verb), self._readers.get())
        except Broken:
            return await self._write(verb, durable=True)
        except (sqlite3.Error, OSError) as error:
            raise schema.unavailable(error, self.path) from error

    async def _write(self, verb: Callable[[Rows], T], *, durable: bool) -> T:
        return await self._in_thread(
            lambda deadline: self._writing(verb, durable=durable, deadline=deadline), self._writers.get()
        )

    async def _in_thread(self, attempt: Callable[[float], T], limiter: anyio.CapacityLimiter) -> T:
        """Run in a worker thread, which ends by itself at a deadline: it is waited for even if the caller gives up."""
        deadline = time.monotonic() + self._timeout
        try:
            with anyio.move_on_after(self._timeout):
                return await anyio.to_thread.run_sync(self._patiently, attempt, deadline, limiter=limiter)
        except (sqlite3.Error, OSError) as error:
            raise schema.unavailable(error, self.path) from error
        raise StoreUnavailable("the SQLite store gave no answer in time: too many writes are waiting")

    def feed(self) -> SQLiteFeed:
        return SQLiteFeed(self.path, self._connections.found)

    # From here on: no event loop

    def _patiently(self, attempt: Callable[[float], T], deadline: float) -> T:
        while True:
            try:
                if self._connections.identity is None:
                    self._reopen(deadline)
                return attempt(deadline)
            except _Replaced:
                self._connections.forget()
            except sqlite3.Error as error:
                if not schema.is_locked(error) or time.monotonic() >= deadline:
                    raise
            _pause()

    def _reading(self, verb: Callable[[Rows], T]) -> T:
        with self._connections.lend() as connection:
            connection.execute("BEGIN")
            if not schema.is_current(connection):
                raise _Replaced
            answer = verb(SQLiteRows(connection, self._now(), writing=False))
            connection.execute("COMMIT")
        return answer

    def _writing(self, verb: Callable[[Rows], T], *, durable: bool, deadline: float) -> T:
        with self._connections.lend() as connection:
            connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            _begin(connection, deadline)
            if not schema.is_current(connection):
                raise _Replaced
            answer = verb(SQLiteRows(connection, self._now(), writing=True))
            connection.execute("COMMIT")
        return answer

    def _reopen(self, deadline: float) -> None:
        self._connections.forget()
        schema.prepare(self.path)
        try:
            identity = self._connections.found()
            with self._connections.lend() as connection:
                schema.use_wal(connection, self.path)
                connection.execute("PRAGMA synchronous=FULL")
                _begin(connection, deadline)
                schema.migrate(connection, self.path)
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            wrong = schema.misconfiguration(error, self.path)
            if wrong is None:
                raise
            raise wrong from error
        if self._connections.found() != identity:
            raise _Replaced
        self._connections.identity = identity


def _begin(connection: sqlite3.Connection, deadline: float) -> None:
    """Become the writer. SQLite's own waiting sleeps ever longer, so that who waits longest tries least often and
    starves beside busy processes; everybody who tries as often has the same chance at each turn."""
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            if not schema.is_locked(error) or time.monotonic() >= deadline:
                raise
        _pause()


def _pause() -> None:
    time.sleep(random.uniform(0.0002, 0.002))  # noqa: S311 (no secret)
