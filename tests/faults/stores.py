"""The stores that processes share, and what befalls them: a server and a file that lose, keep and go back to data."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import redis
from sentinel_set import HERE, SentinelSet
from valkey_server import Valkey

from .network import Cable

TAG = "asgi-auth:{00}:"


class Server(Valkey):
    """A Valkey that has written down whatever it has answered, so that a kill loses nothing."""

    def __init__(self, directory: Path) -> None:
        self._data = directory / "appendonlydir"
        self._copy = directory / "copy"
        super().__init__(directory, appendonly="yes", appendfsync="no", auto_aof_rewrite_percentage="0")
        self.control: Any = redis.Redis.from_url(self.url, decode_responses=True)

    def copy(self) -> None:
        """Put today's data by."""
        shutil.copytree(self._data, self._copy)

    def lose(self) -> None:
        """Of a killed one: its data."""
        shutil.rmtree(self._data)

    def go_back(self) -> None:
        """Of a killed one: to the data put by."""
        shutil.rmtree(self._data)
        shutil.copytree(self._copy, self._data)

    def begin_anew(self, entry_id: str) -> None:
        """The feed of a server that lost it, or its tail: one entry."""
        with self.control.pipeline(transaction=True) as pipe:
            pipe.delete(f"{TAG}events")
            pipe.xadd(f"{TAG}events", {"nonce": os.urandom(8).hex(), "kind": "begun"}, id=entry_id)
            pipe.execute()

    def trim(self) -> None:
        """Only the feed's newest entry stays."""
        self.control.xtrim(f"{TAG}events", maxlen=1, approximate=False)

    def has_ended(self, sids: Sequence[str]) -> bool:
        """Whether none of these lives here."""
        return all(self.control.hexists(f"{TAG}s:{sid}", "ended") for sid in sids)

    def cursors(self) -> list[str]:
        """The entries up to which those who follow the feed have said to have come."""
        return [value.split(" ")[1] for value in self.control.hvals(f"{TAG}readers")]

    def listeners(self) -> int:
        """How many hear what the feed is told."""
        return int(self.control.pubsub_shardnumsub(f"{TAG}events")[0][1])

    def close(self) -> None:
        self.control.close()
        self.kill()


class Watched(SentinelSet):
    """A primary and its replica with three Sentinels.

    Args:
        wire: the primary and one Sentinel live at its far end, all others at the near one; None: all here.
    """

    def __init__(self, directory: Path, wire: Cable | None) -> None:
        near, far = (("10.0.0.1", wire.near), ("10.0.0.2", wire.namespace)) if wire else (HERE, HERE)
        super().__init__(directory, places=[far, near, far, near, near])
        self.wire = wire

    def replaced(self) -> None:
        """Wait until those at the near end have made the replica the primary."""
        self.failed_over(of=self.sentinels[1:] if self.wire else None)


class File:
    """A SQLite database."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "faults.sqlite3"
        self._copy = directory / "copy.sqlite3"
        self.url = f"sqlite:///{self._path}"

    def copy(self) -> None:
        """Put today's data by."""
        with closing(sqlite3.connect(self._path)) as source, closing(sqlite3.connect(self._copy)) as target:
            source.backup(target)

    def go_back(self) -> None:
        """Another file lies at the path: the one put by."""
        for side in ("-wal", "-shm"):
            self._path.with_name(self._path.name + side).unlink(missing_ok=True)
        os.replace(self._copy, self._path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else can write."""
        with closing(sqlite3.connect(self._path, isolation_level=None, timeout=20)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")

    def close(self) -> None:
        """Whoever made the directory removes it."""
