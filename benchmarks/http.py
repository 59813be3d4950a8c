"""Over HTTP: requests per second of each contestant on each server, in short rounds that take turns, each next to one
of the bare application.

All servers are started once and share one core; whoever makes the requests has another one.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.contestants import BY_KEY, Contestant
from benchmarks.driving import Headers
from benchmarks.figures import spread
from benchmarks.processes import LOAD_CORE, bound
from benchmarks.servers import COMMANDS, Server, missing_servers, running
from benchmarks.world import World

CONNECTIONS = 16

KEYS = [
    "bare",
    "ours-anonymous",
    "ours-session-redis",
    "ours-token-ES256",
    "session",
    "session-renewed",
    "starsessions",
    "pyjwt-ES256",
]
"""Who takes part."""

_PATIENCE = 30.0

_ANSWERED = re.compile(r"(\d+) requests in ([\d.]+)s,")
_BAD = re.compile(r"Non-2xx or 3xx responses: (\d+)|Socket errors: (.*)")


class Load(NamedTuple):
    """Requests per second, and microseconds of CPU that the server's processes had for each."""

    per_second: float
    cpu_us: float


@dataclass(slots=True)
class Runner:
    """A contestant on a server, ready, and what each round said of it and of the bare application beside it."""

    contestant: Contestant
    server: Server
    headers: Headers
    seen: list[Load] = field(default_factory=list)
    bare: list[Load] = field(default_factory=list)


def run(world: World, *, rounds: int, seconds: float) -> dict[str, Any]:
    """All of it.

    Args:
        seconds: of each block.
    """
    load = _wrk if shutil.which("wrk") else _own_client
    here = [BY_KEY[key] for key in KEYS if BY_KEY[key].missing is None]
    kinds = [kind for kind in COMMANDS if kind not in missing_servers()]
    with ExitStack() as stack:
        runners = [runner for kind in kinds for runner in _ready(world, stack, kind, here)]
        for runner in runners:  # warm
            load(runner, min(seconds, 0.5))
        bare = {runner.server.kind: runner for runner in runners if runner.contestant.key == "bare"}
        order = random.Random(1)  # noqa: S311 - an order, the same in each run
        for _ in range(rounds):
            order.shuffle(turns := list(runners))
            for runner in turns:
                if runner.contestant.key != "bare":
                    both = [(runner, runner.seen), (bare[runner.server.kind], runner.bare)]
                    order.shuffle(both)
                    for asked, seen in both:
                        seen.append(_loaded(load, asked, seconds))
    return {
        "rounds": rounds,
        "seconds": seconds,
        "client": "wrk" if load is _wrk else "benchmarks.client, since wrk is not installed",
        "connections": CONNECTIONS,
        "missing": [*missing_servers(), *(BY_KEY[key].title for key in KEYS if BY_KEY[key].missing)],
        "rows": _rows(runners),
    }


def _ready(world: World, stack: ExitStack, kind: str, here: list[Contestant]) -> list[Runner]:
    """One server for each application; each request tried."""
    servers: dict[str, Server] = {}
    runners = []
    for contestant in here:
        if contestant.app not in servers:
            servers[contestant.app] = stack.enter_context(running(world, kind, contestant.app))
        server = servers[contestant.app]
        credential = asyncio.run(contestant.prepare(world, server.call))
        runners.append(Runner(contestant, server, server.headers(credential)))
    return runners


def _loaded(load: Callable[[Runner, float], tuple[float, float]], runner: Runner, seconds: float) -> Load:
    before = runner.server.cpu()
    answered, taken = load(runner, seconds)
    return Load(answered / taken, (runner.server.cpu() - before) / answered * 1e6)


def _wrk(runner: Runner, seconds: float) -> tuple[float, float]:
    """Answers and seconds, as wrk counts them. Its shortest run is a second."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s"]
    for name, value in runner.headers:
        if name not in (b"host", b"connection"):  # wrk's own
            command += ["-H", f"{name.decode()}: {value.decode()}"]
    done = subprocess.run(  # noqa: S603
        [*command, runner.server.url],
        check=True,
        capture_output=True,
        text=True,
        timeout=seconds + _PATIENCE,
        preexec_fn=bound(LOAD_CORE),
    )
    found = _ANSWERED.search(done.stdout)
    if found is None or _BAD.search(done.stdout):
        raise RuntimeError(f"{runner.contestant.title} on {runner.server.kind}:\n{done.stdout}")
    return float(found[1]), float(found[2])


def _own_client(runner: Runner, seconds: float) -> tuple[float, float]:
    """The same by our own client."""
    head = b"".join(b"%b: %b\r\n" % header for header in runner.headers)
    asked = {
        "host": "127.0.0.1",
        "port": runner.server.port,
        "request": (b"GET / HTTP/1.1\r\n" + head + b"\r\n").decode("latin-1"),
        "connections": CONNECTIONS,
        "seconds": seconds,
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.client"],
        cwd=Path(__file__).parents[1],
        input=json.dumps(asked),
        check=True,
        capture_output=True,
        text=True,
        timeout=seconds + _PATIENCE,
        preexec_fn=bound(LOAD_CORE),
    )
    found = json.loads(done.stdout)
    if found["bad"]:
        raise RuntimeError(f"{runner.contestant.title} on {runner.server.kind}: {found}")
    return float(found["answered"]), float(found["seconds"])


def _rows(runners: list[Runner]) -> list[dict[str, Any]]:
    for runner in runners:
        if runner.contestant.key == "bare":
            kind = runner.server.kind
            runner.seen = runner.bare = [seen for other in runners if other.server.kind == kind for seen in other.bare]
    return [_row(runner, list(zip(runner.seen, runner.bare, strict=True))) for runner in runners]


def _row(runner: Runner, pairs: list[tuple[Load, Load]]) -> dict[str, Any]:
    return {
        "key": runner.contestant.key,
        "title": runner.contestant.title,
        "side": runner.contestant.side,
        "server": runner.server.kind,
        "per_second": spread([seen.per_second for seen, _ in pairs]),
        "of_bare": spread([seen.per_second / bare.per_second for seen, bare in pairs]),
        "cpu_us": spread([seen.cpu_us for seen, _ in pairs]),
        "added_cpu_us": spread([seen.cpu_us - bare.cpu_us for seen, bare in pairs]),
        "per_second_each_round": [round(seen.per_second) for seen, _ in pairs],
        "bare_each_round": [round(bare.per_second) for _, bare in pairs],
    }
