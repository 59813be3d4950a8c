"""The process's own clocks. A store has another one, and no two are ever compared: see `stores`."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

Clock = Callable[[], float]
"""Gives seconds, since the epoch or since some moment. Tests hand in one that they move."""

wall_clock: Clock = time.time


steady_clock: Clock = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)
"""Never goes back, and goes on while the machine sleeps, where the system has such a clock."""
