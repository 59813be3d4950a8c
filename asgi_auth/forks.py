"""What an object does when the process forks. Where no process forks, nothing; and nothing keeps the object for it."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from functools import partial


def at_fork(
    *,
    after_in_child: Callable[[], None],
    before: Callable[[], None] | None = None,
    after_in_parent: Callable[[], None] | None = None,
) -> None:
    """Have methods called around each fork, as by `os.register_at_fork`, for as long as their object is there."""
    if not hasattr(os, "register_at_fork"):
        return
    os.register_at_fork(after_in_child=_weakly(after_in_child))
    if before is not None:
        os.register_at_fork(before=_weakly(before))
    if after_in_parent is not None:
        os.register_at_fork(after_in_parent=_weakly(after_in_parent))


def _weakly(method: Callable[[], None]) -> Callable[[], None]:
    return partial(_call, weakref.WeakMethod(method))


def _call(method: weakref.WeakMethod[Callable[[], None]]) -> None:
    found = method()
    if found is not None:
        found()
