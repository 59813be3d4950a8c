"""Where a client keeps its pair of tokens: in memory, in a file that several processes may share, or where you say."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from asgi_auth.client.tokens import Tokens
from asgi_auth.errors import ConfigurationError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


class Storage(Protocol):
    """A place for one pair. The verbs may block: they are called in a worker thread where an event loop runs."""

    def load(self) -> Tokens | None:
        """What was saved last, by whichever process. None: nothing."""

    def save(self, tokens: Tokens | None) -> None:
        """Keep this instead, so that it is there after a crash. None: forget it. Called while the lock is held."""

    def lock(self) -> AbstractContextManager[object]:
        """Keeps out everybody else who uses this place, in whichever process and thread, until it is left. Waits for
        its turn; free again if its holder dies."""
        ...


class TokenMemory:
    """Keeps the pair as long as the process lives. The default."""

    def __init__(self) -> None:
        self._tokens: Tokens | None = None
        self._lock = threading.Lock()

    def load(self) -> Tokens | None:
        return self._tokens

    def save(self, tokens: Tokens | None) -> None:
        self._tokens = tokens

    def lock(self) -> AbstractContextManager[object]:
        return self._lock


class TokenFile:
    """Keeps the pair in a file that only this user of the machine can read; any number of processes may share it.

    Args:
        path: of the file. Beside it lies one with `.lock` at the end, which is never removed: what is locked must stay
            the same file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    def load(self) -> Tokens | None:
        """Raises ConfigurationError: the file holds something else."""
        try:
            return Tokens.from_saved(json.loads(self._path.read_bytes()))
        except FileNotFoundError:
            return None
        except ValueError:
            raise ConfigurationError(f"{self._path} holds no tokens: give another path, or remove it") from None

    def save(self, tokens: Tokens | None) -> None:
        if tokens is None:
            self._path.unlink(missing_ok=True)
            return
        # Whoever reads meanwhile sees the old pair or the new one, never half of one.
        new = self._path.with_name(f"{self._path.name}.{uuid4().hex}")
        try:
            with open(new, "w", encoding="utf-8", opener=_private) as file:
                json.dump(tokens.to_save(), file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, self._path)
        finally:
            new.unlink(missing_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The lock is the open file's, so that it keeps threads apart too, and goes when the file is closed.
        with open(self._path.with_name(f"{self._path.name}.lock"), "a", opener=_private) as file:
            _wait_for(file.fileno())
            yield


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, mode=0o600)


if sys.platform == "win32":

    def _wait_for(file: int) -> None:
        while True:
            try:
                msvcrt.locking(file, msvcrt.LK_LOCK, 1)
                return
            except OSError:  # it gives up after ten seconds
                continue

else:

    def _wait_for(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)
