"""Processes and cores: who runs where, so that what is measured has a core for itself."""

from __future__ import annotations

import logging
import os
import socket
import warnings
from collections.abc import Callable

CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
"""Those that this run may use; empty where nobody can say."""

MEASURED_CORE = CORES[0] if CORES else None
"""For what is measured."""

LOAD_CORE = CORES[1] if len(CORES) > 1 else None
"""For whoever makes the requests."""

SPARE_CORE = CORES[2] if len(CORES) > 2 else LOAD_CORE
"""For the store: a third one, or the load's."""


def bind(core: int | None) -> None:
    """Keep this process on one core. None: leave it to the system."""
    if core is not None:
        os.sched_setaffinity(0, {core})


def unbind() -> None:
    """Give this process all cores back."""
    if CORES:
        os.sched_setaffinity(0, CORES)


def bound(core: int | None) -> Callable[[], None]:
    """For a process to start: `bind`, in the child."""
    return lambda: bind(core)


def free_port() -> int:
    """A loopback port that nobody has at this moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def quiet() -> None:
    """Log nothing and warn of nothing: what contestants say is not what is measured. For the process's whole life."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    warnings.showwarning = _silent  # some packages undo the line above for their own


def _silent(*args: object, **more: object) -> None:
    """Show nothing."""
