"""What a server serves: `BENCHMARK_APP` names one of `apps.APPS`, `BENCHMARK_WORLD` the run."""

from __future__ import annotations

import os

from benchmarks.apps import APPS
from benchmarks.processes import quiet
from benchmarks.world import World

quiet()
app = APPS[os.environ["BENCHMARK_APP"]](World.load())
