"""What belongs to one event loop. Locks and limiters do, and each loop of a process makes its own."""

from __future__ import annotations

from collections.abc import Callable
from secrets import token_hex
from typing import Generic, TypeVar

from anyio.lowlevel import RunVar

T = TypeVar("T")


class PerLoop(Generic[T]):
    """One value for each event loop, made when it is first asked for there.

    Args:
        make: makes one, inside the loop.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._values: RunVar[T] = RunVar(f"asgi_auth_{token_hex(8)}")

    def get(self) -> T:
        """The running event loop's own."""
        try:
            return self._values.get()
        except LookupError:
            value = self._make()
            self._values.set(value)
            return value
