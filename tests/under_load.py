"""Processes that log in, read and revoke while a deployment is disturbed, and what came of it.

Each process writes what it did into a file and reads what the others did, so that everybody reads everybody's sessions.
All times are of CLOCK_MONOTONIC, which the processes of one machine share. An acceptance is as old as the moment when
it was asked for, and a revocation as young as the moment when it had returned: a machine that stalls accuses nobody.

python tests/under_load.py <scene> [--seconds 60] [--staleness 0.5]     prints figures; see `SCENES`
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import anyio

sys.path.append(str(Path(__file__).resolve().parent / "stores"))

from store_helpers import digest

from asgi_auth.errors import StoreUnavailable
from asgi_auth.model import UserRow
from asgi_auth.stores import Loaded, NewSession, new_sid
from asgi_auth.stores.opening import open_store
from asgi_auth.view import View

USERS = [f"user{number}" for number in range(40)]
PROCESSES, WRITERS, READERS = 3, 4, 4
TIMEOUT = 2.0


class Figures(NamedTuple):
    """What came of it. The first four must be empty.

    Attributes:
        late: accepted longer than the promise after the revocation had returned; by how many seconds.
        strangers: accepted, though nobody had made such a session.
        wrong: accepted as another user.
        revived: revoked, and alive once all was over.
        forgotten: logins that were acknowledged, not revoked, and are gone.
        unavailable: answers that were a 503, of reads and of changes.
        longest: seconds for which one process had no other answer, of reads and of changes.
    """

    late: list[float]
    strangers: list[str]
    wrong: list[str]
    revived: list[str]
    forgotten: list[str]
    logins: int
    revocations: int
    reads: int
    unavailable: tuple[int, int]
    longest: tuple[float, float]


class Worker:
    """One process: a store, a view over it, and tasks that use them."""

    def __init__(self, url: str, staleness: float, book: Path, number: int) -> None:
        self._store = open_store(url, timeout=TIMEOUT)
        self._view = View(self._store, staleness=staleness)
        self._book, self._number = book, number
        self._file: TextIO = (book / str(number)).open("w", buffering=1)
        self._sids: list[str] = []
        self._stops = self._pauses = False
        self._busy = 0
        """Changes under way."""

    def _write(self, *line: Any) -> None:
        print(json.dumps(line), file=self._file)

    async def run(self) -> None:
        await self._store.open()
        async with anyio.create_task_group() as group, anyio.create_task_group() as workers:
            group.start_soon(self._view.follower.run)
            workers.start_soon(self._watch)
            workers.start_soon(self._calm)
            for _ in range(WRITERS):
                workers.start_soon(self._change)
            for _ in range(READERS):
                workers.start_soon(self._read)
            with anyio.open_signal_receiver(signal.SIGTERM) as signals:
                async for _ in signals:
                    self._stops = True
                    break
            with anyio.move_on_after(20):
                while self._busy:  # noqa: ASYNC110
                    await anyio.sleep(0.01)
            workers.cancel_scope.cancel()
            group.cancel_scope.cancel()
        await self._view.follower.leave()
        await self._store.aclose()

    async def _watch(self) -> None:
        """What the others have made."""
        files = {}
        while True:
            for path in self._book.iterdir():
                if path.name != str(self._number) and path.name not in files:
                    files[path.name] = path.open()
            for file in files.values():
                for line in file.readlines():
                    if line.startswith('["made"') and line.endswith("\n"):
                        self._sids.append(json.loads(line)[1])
            del self._sids[:-300]
            await anyio.sleep(0.02)

    async def _calm(self) -> None:
        """Now and then little is read."""
        while True:
            await anyio.sleep(random.random())
            self._pauses = random.random() < 0.2

    async def _change(self) -> None:
        """Log in, and revoke some time later; who gets no answer asks again."""
        while not self._stops:
            user = random.choice(USERS)
            sid = new_sid(self._store.partition(user))
            new = NewSession(sid, user, "session", idle=1000.0, lifetime=1000.0, digest=digest(sid), amr=("pwd",))
            self._busy += 1
            try:
                await self._store.create(new, revision=1)
                self._write("made", sid, user, time.monotonic())
                self._sids.append(sid)
            except StoreUnavailable:
                self._write("unavailable", 1, time.monotonic())
                continue
            finally:
                self._busy -= 1
            await anyio.sleep(random.random() * 0.2)
            if random.random() < 0.7:
                await self._revoke(sid)

    async def _revoke(self, sid: str) -> None:
        self._busy += 1
        self._write("revoking", sid)
        while True:
            try:
                await self._store.end(sid, "revoked")
                break
            except StoreUnavailable:
                self._write("unavailable", 1, time.monotonic())
                await anyio.sleep(0.01)
        self._write("revoked", sid, time.monotonic())
        self._busy -= 1

    async def _read(self) -> None:
        while not self._stops:
            await anyio.sleep(0.1 if self._pauses else 0.004)
            stranger = not self._sids or random.random() < 0.05
            sid = new_sid(self._store.partition("user0")) if stranger else random.choice(self._sids)
            asked_at = time.monotonic()
            try:
                found = await self._view.session(sid)
            except StoreUnavailable:
                self._write("unavailable", 0, time.monotonic())
                continue
            user = found.record.user_id if isinstance(found, Loaded) else None
            self._write("read", sid, user, asked_at, time.monotonic())


# What came of it


def read(book: Path) -> list[list[Any]]:
    """What each process has written."""
    return [[json.loads(line) for line in path.read_text().splitlines()] for path in book.iterdir()]


def judge(lines: list[list[Any]], staleness: float, alive: dict[str, bool]) -> Figures:
    """Hold what all have written against the promise. `alive`: which sessions live now that all is over."""
    every = [line for some in lines for line in some]
    made = {line[1]: line[2] for line in every if line[0] == "made"}
    revoked = {line[1]: line[2] for line in every if line[0] == "revoked"}
    wanted = {line[1] for line in every if line[0] == "revoking"}
    accepted = [line for line in every if line[0] == "read" and line[2] is not None]
    ages = [(line[3] - revoked[line[1]]) for line in accepted if line[1] in revoked]
    return Figures(
        late=[age for age in ages if age > staleness],
        strangers=[line[1] for line in accepted if line[1] not in made],
        wrong=[line[1] for line in accepted if made.get(line[1], line[2]) != line[2]],
        revived=[sid for sid in revoked if alive[sid]],
        forgotten=[sid for sid in made if sid not in wanted and not alive[sid]],
        logins=len(made),
        revocations=len(revoked),
        reads=sum(line[0] == "read" for line in every),
        unavailable=(_unavailable(every, 0), _unavailable(every, 1)),
        longest=(
            max(_longest(some, {"read"}) for some in lines),
            max(_longest(some, {"made", "revoked"}) for some in lines),
        ),
    )


def _unavailable(lines: list[Any], what: int) -> int:
    return sum(line[:2] == ["unavailable", what] for line in lines)


def _longest(lines: list[Any], good: set[str]) -> float:
    """Seconds between two good answers of one process, at most."""
    times = [line[-1] for line in lines if line[0] in good]
    return max((after - before for before, after in pairwise(times)), default=0.0)


@contextmanager
def processes(url: str, staleness: float, book: Path) -> Iterator[None]:
    """So many of them at work; when this ends they have stopped."""
    arguments = [sys.executable, __file__, "worker", url, str(staleness), str(book)]
    running = [subprocess.Popen([*arguments, str(number)]) for number in range(PROCESSES)]
    try:
        yield
        for process in running:
            process.terminate()
        codes = [process.wait(60) for process in running]
        assert codes == [0] * PROCESSES, f"a process failed: {codes}"
    finally:
        for process in running:
            process.kill()
            process.wait()


def wait_for_work(book: Path, lines: int = 50) -> None:
    """Until each process has done something."""
    deadline = time.monotonic() + 60
    while not all((book / str(number)).exists() for number in range(PROCESSES)) or any(
        len((book / str(number)).read_text().splitlines()) < lines for number in range(PROCESSES)
    ):
        assert time.monotonic() < deadline, "the processes do nothing"
        time.sleep(0.02)


async def _prepare(url: str) -> None:
    store = open_store(url, timeout=TIMEOUT)
    await store.open()
    for user in USERS:
        await store.save_user(UserRow(user), expected=None)
    await store.aclose()


async def _living(url: str, sids: list[str]) -> dict[str, bool]:
    """Whether each of some sessions lives."""
    store = open_store(url, timeout=10.0)
    await store.open()
    alive = {}
    for start in range(0, len(sids), 100):
        while True:
            try:
                found = await store.load_all(sids[start : start + 100])
                break
            except StoreUnavailable:
                await anyio.sleep(0.1)
        alive |= {sid: isinstance(one, Loaded) for sid, one in found.items()}
    await store.aclose()
    return alive


def run(url: str, disturb: Callable[[], object], *, staleness: float, book: Path) -> Figures:
    """Let the processes work while `disturb` runs, and look what came of it."""
    book.mkdir(parents=True, exist_ok=True)
    anyio.run(_prepare, url)
    with processes(url, staleness, book):
        wait_for_work(book)
        disturb()
        time.sleep(2 * staleness)
    lines = read(book)
    made = [line[1] for some in lines for line in some if line[0] == "made"]
    return judge(lines, staleness, anyio.run(_living, url, made))


# Scenes


def _slots() -> list[int]:
    from cluster_set import slot_of

    return sorted({slot_of(partition) for partition in range(16)})


def _moves(way: str) -> Callable[[Any, float], object]:
    def disturb(cluster: Any, seconds: float) -> object:
        until, moves = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            for slot in _slots():
                getattr(cluster, f"move_{way}")(slot)
                moves += 1
        return f"{moves} moves"

    return disturb


def _failovers(way: str) -> Callable[[Any, float], object]:
    def disturb(cluster: Any, seconds: float) -> object:
        until, rounds = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            old = cluster.owner(_slots()[rounds % 16])
            if way == "planned":
                cluster.fail_over(old)
            else:
                (old.server.kill if way == "killed" else old.server.freeze)()
                cluster.replaced(old)
                (old.server.start if way == "killed" else old.server.thaw)()
            cluster.settle()
            time.sleep(0.5)
            rounds += 1
        return f"{rounds} failovers"

    return disturb


SCENES: dict[str, Callable[[Any, float], object]] = {
    "quiet": lambda cluster, seconds: time.sleep(seconds),
    "moved-by-hand": _moves("by_hand"),
    "moved-at-once": _moves("at_once"),
    "planned": _failovers("planned"),
    "killed": _failovers("killed"),
    "frozen": _failovers("frozen"),
}


def main() -> None:
    from cluster_set import ClusterSet

    parser = argparse.ArgumentParser()
    parser.add_argument("scene", choices=SCENES)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--staleness", type=float, default=0.5)
    parser.add_argument("--options", default="")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        cluster = ClusterSet(Path(directory) / "cluster", appendonly="yes")
        said: list[object] = []
        try:
            figures = run(
                cluster.url + asked.options,
                lambda: said.append(SCENES[asked.scene](cluster, asked.seconds)),
                staleness=asked.staleness,
                book=Path(directory) / "book",
            )
        finally:
            cluster.close()
    print(asked.scene, f"{asked.seconds:g} s", *said)
    for name, value in figures._asdict().items():
        print(
            f"  {name}: {len(value) if isinstance(value, list) else value}",
            value[:3] if isinstance(value, list) else "",
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        _, _, url, staleness, book, number = sys.argv
        anyio.run(Worker(url, float(staleness), Path(book), int(number)).run)
    else:
        main()
