"""What a scene plays with: processes, their store, what lies between them, and those who log in."""

from __future__ import annotations

import itertools
import math
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from asgi_auth.loops import beside

from .judge import Answer, Revocation, Run, Span, Verdict, judge
from .network import cable
from .process import Process
from .proxy import Kind, Proxy
from .stores import File, Server, Watched
from .worker import Person, Role

PATIENCE = 30.0
"""Seconds for which whatever must happen is waited for, on a machine that is busy with other things."""

STALENESS = 0.4
"""Seconds, where a scene needs no more: so short that much happens in little time."""

ENDS = ("session", "user")
HOWS = (*ENDS, "right")
"""In which ways somebody is revoked."""


class Unsettled(Exception):
    """What had to come never came."""


class Play:
    """What a scene plays with. Sessions are made and ended by the `revoker`; the others, `followers`, hear of it.

    Attributes:
        staleness: seconds.
        crowd: as many sessions as a scene ends, or so.
        patience: seconds for which it is waited for an answer that must come.
    """

    def __init__(
        self, store: Server | Watched | File, tasks: TaskGroup, *, staleness: float, crowd: int, bug: str, proxied: bool
    ) -> None:
        self.staleness = staleness
        self.crowd = crowd
        self._store = store
        self._tasks = tasks
        self._bug = bug
        self._proxied = proxied
        self.patience = 3.0 if bug else PATIENCE
        self._numbers = itertools.count(1)
        self._revocations: list[Revocation] = []
        self._more_runs: list[Run] = []
        self._gone: list[Span] = []
        self.revoker: Process
        self.followers: list[Process] = []
        self.closing = ExitStack()

    @property
    def server(self) -> Server:
        assert isinstance(self._store, Server)
        return self._store

    @property
    def watched(self) -> Watched:
        assert isinstance(self._store, Watched)
        return self._store

    @property
    def file(self) -> File:
        assert isinstance(self._store, File)
        return self._store

    @property
    def everybody(self) -> list[Process]:
        return [self.revoker, *self.followers]

    @property
    def proxies(self) -> list[Proxy]:
        """Of the followers."""
        return [process.proxy for process in self.followers]

    async def process(self, name: str, *, far: bool = False, prepare: Callable[[Proxy], None] | None = None) -> Process:
        """Another one. `far`: at the other end of a `cable`; `prepare`: done with its proxy before it starts."""
        proxy, url, namespace = None, self._store.url, ""
        if isinstance(self._store, Server) and self._proxied:
            if far:
                self.cable = self.closing.enter_context(cable())
                namespace = self.cable.namespace
            proxy = Proxy(self.cable.listener() if far else socket.create_server(("127.0.0.1", 0)), self._store.port)
            if prepare is not None:
                prepare(proxy)
            self._tasks.start_soon(proxy.run)
            url = proxy.url
        if isinstance(self._store, Watched) and self._store.wire is not None:
            namespace = self._store.wire.namespace if far else self._store.wire.near
        made = Process(Role(name, url, self.staleness, self._bug, namespace), proxy)
        self._tasks.start_soon(made.listen)
        self.closing.callback(made.kill)
        return made

    async def enter(self, followers: int, *, far: bool) -> None:
        self.revoker = await self.process("revoker")
        self.followers = [await self.process(f"follower {n}", far=far) for n in range(1, followers + 1)]
        if isinstance(self._store, Server):
            await self.until(lambda: len(self.server.cursors()) == len(self.everybody))

    async def ripen(self) -> None:
        """So much time goes by that the revoker need not wait for leases that it may not know of."""
        await self.lapse(1.1)

    async def join(self, name: str, prepare: Callable[[Proxy], None] | None = None) -> Process:
        """One that comes later."""
        self.followers.append(await self.process(name, prepare=prepare))
        return self.followers[-1]

    # What happens to everybody

    async def people(self, number: int, kind: str = "both", *, accepted: bool = True) -> list[Person]:
        """So many log in, by `cookie`, by `token` or by both, and ask everybody from now on. `accepted`: all of them
        were, by everybody, when this returns."""
        names = [f"user{next(self._numbers)}" for _ in range(number)]
        tokens = {"cookie": 0, "token": number, "both": number // 2}[kind]
        cookies = await self.revoker.ask("log_in", names[tokens:], False)
        bearers = await self.revoker.ask("log_in", names[:tokens], True)
        pairs = itertools.zip_longest(cookies, bearers)
        people = [person for pair in pairs for person in pair if person is not None]
        await self._all(lambda process: process.ask("watch", people))
        if accepted:
            await self.all("accepted", people)
        return people

    async def cast(self) -> tuple[list[Person], list[Person], list[Person]]:
        """Two halves of the crowd, and some who live on."""
        people = await self.people(self.crowd + 8)
        half = self.crowd // 2
        return people[:half], people[half : 2 * half], people[2 * half :]

    async def revoke(
        self, people: Sequence[Person], *, hows: Sequence[str] = HOWS, wait: bool = False, over: float = 0.0
    ) -> None:
        """One after another within `over` times `staleness`; see `worker`."""
        self._revocations += await self.revoker.ask("revoke", people, hows, wait, over * self.staleness)

    @asynccontextmanager
    async def revoking(self, *groups: Sequence[Person], over: float) -> AsyncIterator[None]:
        """The first group ends while the body goes on, and the second one with `wait`. All of them have, after it."""
        problem: Unsettled | None = None
        async with anyio.create_task_group() as group:
            for people, wait in zip(groups, (False, True), strict=False):
                group.start_soon(partial(self.revoke, people, wait=wait, over=over))
            try:
                yield
            except Unsettled as error:
                problem = error
        if problem is not None:
            raise problem

    async def fork(self, process: Process, people: Sequence[Person], seconds: float) -> None:
        """A child of this process is asked, too."""
        self._more_runs += await process.ask("fork", people, seconds)

    async def lapse(self, times: float) -> None:
        """So many times `staleness` goes by."""
        await anyio.sleep(times * self.staleness)

    async def all(self, answer: Answer, people: Sequence[Person], *, by: Sequence[Process] = ()) -> None:
        """Returns once all of these get this answer, from everybody (or `by` these).

        Raises:
            Unsettled: somebody never does.
        """

        async def wait(process: Process) -> None:
            if not await process.ask("until", answer, people, self.patience):
                raise Unsettled(f"{process.name} never had all people {answer}")

        await self._all(wait, by)

    async def until(self, condition: Callable[[], bool]) -> None:
        with anyio.move_on_after(PATIENCE):
            while not condition():  # noqa: ASYNC110 (what is waited for happens in other tasks and processes)
                await anyio.sleep(0.005)
            return
        raise Unsettled("what a scene waited for never came")

    async def _all(self, act: Callable[[Process], Any], by: Sequence[Process] = ()) -> None:
        errors: list[Unsettled] = []

        async def run(process: Process) -> None:
            try:
                await act(process)
            except Unsettled as error:
                errors.append(error)

        async with anyio.create_task_group() as group:
            for process in by or self.everybody:
                group.start_soon(run, process)
        if errors:
            raise errors[0]

    def silence(self, *kinds: Kind) -> None:
        """Nothing passes between the followers and the server; see `Proxy`."""
        for proxy in self.proxies:
            proxy.silence(*kinds)

    def deafen(self) -> None:
        """No message reaches the followers."""
        for proxy in self.proxies:
            proxy.lost = frozenset({"messages"})

    def heal(self, *, hearing: bool = True) -> None:
        """Everything passes; but what is lost stays lost, if they are not `hearing`."""
        for process in self.everybody:
            process.proxy.heal()
        if not hearing:
            self.deafen()

    @asynccontextmanager
    async def hushed(self) -> AsyncIterator[None]:
        """Nobody asks anything, so that nothing is learnt by asking the store. After it everybody's next beats have
        come back."""
        await self._all(lambda process: process.ask("hush", True))
        yield
        before = [process.proxy.beats for process in self.everybody]
        pairs = list(zip(self.everybody, before, strict=True))
        await self.until(lambda: all(process.proxy.beats >= beats + 3 for process, beats in pairs))
        await self._all(lambda process: process.ask("hush", False))

    async def restart(self, change: Callable[[], None] | None = None) -> None:
        """The server dies and comes back; meanwhile its data may change."""
        self.server.kill()
        if change is not None:
            change()
        await anyio.to_thread.run_sync(self.server.start)

    def lost(self, since: float, until: float = math.inf) -> None:
        """Who lived was not in the store for this time, so nobody has to know them."""
        self._gone.append(Span(since, until))

    async def verdict(self, unsettled: str) -> Verdict:
        runs = [run for process in self.everybody for run in await process.ask("runs")]
        return judge(
            self._revocations,
            [*runs, *self._more_runs],
            staleness=self.staleness,
            gone=self._gone,
            unsettled=unsettled,
        )


@asynccontextmanager
async def playing(
    store: str,
    directory: Path,
    *,
    followers: int = 2,
    far: bool = False,
    staleness: float = STALENESS,
    crowd: int = 24,
    bug: str = "",
    proxied: bool = True,
) -> AsyncIterator[Play]:
    """Everything that a scene needs, at its beginning.

    Args:
        store: `redis`, `sentinel` or `sqlite`.
        far: the followers live at the other end of a cable.
        bug: of all processes.
        proxied: false: nothing lies between the processes and a server.
    """
    with ExitStack() as stack:
        made: Server | Watched | File
        if store == "sentinel":
            wire = stack.enter_context(cable()) if far else None
            made = await anyio.to_thread.run_sync(Watched, directory / "set", wire)
        else:
            made = Server(directory) if store == "redis" else File(directory)
        stack.callback(made.close)
        async with beside() as tasks:
            play = Play(made, tasks, staleness=staleness, crowd=crowd, bug=bug, proxied=proxied)
            with play.closing:
                await play.enter(followers, far=far)
                yield play


def now() -> float:
    return time.monotonic()
