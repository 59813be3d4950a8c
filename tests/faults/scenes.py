"""What can happen, one scene each: people come, something breaks around their revocations, everybody asks all the time.

Where a scene says that all are `unsaid`, it makes sure that what it broke is broken; where it says that all are
`accepted` at its end, that the service goes on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from . import of_failovers, of_network, of_processes, of_stores
from .judge import Verdict
from .play import Play, Unsettled, playing

BOTH = ("redis", "sqlite")
REDIS = ("redis",)
SQLITE = ("sqlite",)
SENTINEL = ("sentinel",)


class Scene(NamedTuple):
    """`stores`: where it can be played. `options`: of `playing`."""

    acts: Callable[[Play], Awaitable[None]]
    stores: tuple[str, ...] = REDIS
    options: Mapping[str, Any] = {}


SCENES = {
    "calm": Scene(of_processes.calm, BOTH),
    "stopped": Scene(of_processes.stopped, BOTH),
    "blocked": Scene(of_processes.blocked, BOTH),
    "forked": Scene(of_processes.forked, BOTH, {"staleness": 0.8}),
    "newcomer": Scene(of_processes.newcomer, REDIS, {"staleness": 1.0, "followers": 1}),
    "joining": Scene(of_processes.joining, REDIS, {"followers": 1}),
    "cut": Scene(of_network.cut),
    "silent": Scene(of_network.silent),
    "dropped_packets": Scene(of_network.dropped_packets, REDIS, {"followers": 1, "far": True}),
    "slow_answers": Scene(of_network.slow_answers),
    "slow_loads": Scene(of_network.slow_loads, REDIS, {"staleness": 1.0}),
    "resubscribed": Scene(of_network.resubscribed),
    "unsubscribed": Scene(of_network.unsubscribed),
    "deaf": Scene(of_network.deaf),
    "frozen": Scene(of_stores.frozen),
    "killed": Scene(of_stores.killed),
    "lost": Scene(of_stores.lost),
    "old_data": Scene(of_stores.old_data),
    "restored": Scene(of_stores.restored),
    "flushed": Scene(of_stores.flushed),
    "trimmed": Scene(of_stores.trimmed),
    "ids_used_twice": Scene(of_stores.ids_used_twice),
    "ids_behind": Scene(of_stores.ids_behind),
    "locked": Scene(of_stores.locked, SQLITE),
    "replaced": Scene(of_stores.replaced, SQLITE),
    "failover": Scene(of_failovers.failover, SENTINEL, {"staleness": 1.0}),
    "thawed": Scene(of_failovers.thawed, SENTINEL, {"staleness": 1.0}),
    "isolated": Scene(of_failovers.isolated, SENTINEL, {"staleness": 1.0, "far": True}),
}

PLAYS = [(name, store) for name, scene in SCENES.items() for store in scene.stores]


async def perform(name: str, store: str, directory: Path, *, crowd: int = 24, bug: str = "") -> Verdict:
    """Play a scene to its end, and judge.

    Args:
        crowd: about as many sessions are ended.
        bug: planted in all processes.

    Raises:
        NoNamespaces: it needs them, and they cannot be made here.
    """
    acts, _, options = SCENES[name]
    async with playing(store, directory, crowd=crowd, bug=bug, **options) as play:
        unsettled = ""
        try:
            await acts(play)
        except Unsettled as error:
            unsettled = str(error)
        return await play.verdict(unsettled)
