"""What was found out lately, so that it need not be found out again: a dictionary of bounded length and size."""

from __future__ import annotations

from typing import Generic, TypeVar

V = TypeVar("V")


class Recent(Generic[V]):
    """Values by the very bytes they were made from. When it is full the one that was put first goes.

    Only what was verified may be put here: whoever sends garbage then neither fills it nor drives anybody out.

    Args:
        most: entries.
        size: bytes of all keys and values.
        value_size: about as many bytes are taken by a value, besides as many as its key has.
    """

    __slots__ = ("_entries", "_more", "_most", "_room", "_value_size", "get")

    def __init__(self, *, most: int, size: int, value_size: int) -> None:
        self._entries: dict[bytes, V] = {}
        self._more: dict[bytes, int] = {}
        self._most = most
        self._room = size
        self._value_size = value_size
        self.get = self._entries.get
        """The value of a key, or None."""

    def put(self, key: bytes, value: V, *, more: int = 0) -> None:
        """Keep a value. `more`: about as many bytes as it takes besides the usual."""
        if key not in self._entries:
            size = self._size(key) + more
            while self._entries and (len(self._entries) >= self._most or self._room < size):
                try:
                    oldest = next(iter(self._entries))
                    del self._entries[oldest]
                except (KeyError, RuntimeError, StopIteration):  # another event loop's thread was faster
                    continue
                self._room += self._size(oldest) + self._more.pop(oldest, 0)
            self._room -= size
            if more:
                self._more[key] = more
        self._entries[key] = value

    def __len__(self) -> int:
        return len(self._entries)

    def _size(self, key: bytes) -> int:
        return self._value_size + 2 * len(key)
