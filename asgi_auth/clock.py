"""The process's own clock. A store has another one, and the two are never compared: see `stores`."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Gives the seconds since the epoch. Tests hand in one that they move."""

wall_clock: Clock = time.time
