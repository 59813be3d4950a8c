"""A real store whose answers and whose feed a test holds back, and short ways to say what a view knows."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio

from asgi_auth.errors import StoreUnavailable
from asgi_auth.stores import Cursor, Ended, Entry, Loaded
from asgi_auth.stores.feed import Beat
from asgi_auth.view import Stamp, View

LEASE = 100.0
"""So long that no beat comes but those that a test asks for: what passes is the test's clock."""


async def until(condition: Callable[[], Any]) -> None:
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110 (what is waited for happens in other tasks and processes)
            await anyio.sleep(0.0005)


async def until_told(ask: Callable[[], Awaitable[Any]]) -> None:
    """The same of a condition that somebody has to be asked about."""
    with anyio.fail_after(10):
        while not await ask():  # noqa: ASYNC110
            await anyio.sleep(0.002)


async def until_it_is_dead(store: Any, sid: str) -> None:
    async def dead() -> bool:
        return not isinstance(await store.load(sid), Loaded)

    await until_told(dead)


def hurry(view: View) -> None:
    """The next beat comes now, and not after a quarter of the lease."""
    view.follower._hurried.get().set()


class Gate:
    """Open at first. While it is closed, whoever comes waits before it."""

    def __init__(self) -> None:
        self._opened: anyio.Event | None = None
        self.waiting = 0

    def close(self) -> None:
        self._opened = self._opened or anyio.Event()

    def open(self) -> None:
        if self._opened is not None:
            self._opened.set()
            self._opened = None

    async def passed(self) -> None:
        if self._opened is not None:
            self.waiting += 1
            try:
                await self._opened.wait()
            finally:
                self.waiting -= 1

    async def reached(self) -> None:
        """Returns once somebody waits."""
        await until(lambda: self.waiting)


class StagedFeed:
    """A store's feed that beats when the test says so, and hears what the test tells.

    Attributes:
        sent, answered: gates before a beat is sent, and before its answer arrives.
        watch: called with the cursor when a beat is sent.
        listens: hears what the store's feed does instead.
        heard: messages that came this way.
    """

    def __init__(self, feed: Any) -> None:
        self._feed = feed
        self.instant, self.look, self.leave = feed.instant, feed.look, feed.leave
        self.turns = feed.turns
        self.sent, self.answered = Gate(), Gate()
        self.watch: Callable[[Cursor], None] = lambda cursor: None
        self.listens = False
        self.heard = self.started = self.done = 0
        self._told: list[Entry | None] = []

    async def beat(self, cursor: Cursor, lease: float) -> Beat:
        self.started += 1
        try:
            await self.sent.passed()
            self.watch(cursor)
            beat: Beat = await self._feed.beat(cursor, lease)
            await self.answered.passed()
            return beat
        finally:
            self.done += 1

    async def listen(self, hear: Callable[[Entry | None], None]) -> None:
        def told(entry: Entry | None) -> None:
            hear(entry)
            self.heard += 1

        while True:
            while not self.listens and not self._told:  # noqa: ASYNC110
                await anyio.sleep(0.0005)
            if self.listens:
                await self._feed.listen(told)
            else:
                told(self._told.pop(0))

    async def tell(self, *entries: Entry | None) -> None:
        """Messages come, and what they say is applied."""
        wanted = self.heard + len(entries)
        self._told += entries
        await until(lambda: self.heard == wanted)

    async def pulse(self) -> None:
        """A beat, and those that follow from it."""
        before = self.done
        await self.tell(None)
        await until(lambda: self.done > before and self.done == self.started)


class Stage:
    """A store with a gate before and after each verb.

    Attributes:
        before, after: the gates, by the verb's name.
        asked: the verbs that were called, in order.
        down: verbs that never arrive (`*`: all of them); `lost`: those that happen, and whose answer never comes.
        feeds: those that were made of it.
    """

    def __init__(self, store: Any) -> None:
        self._store = store
        self.before: defaultdict[str, Gate] = defaultdict(Gate)
        self.after: defaultdict[str, Gate] = defaultdict(Gate)
        self.asked: list[str] = []
        self.down: set[str] = set()
        self.lost: set[str] = set()
        self.feeds: list[StagedFeed] = []

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._store, name)
        if not inspect.iscoroutinefunction(verb):
            return verb

        async def asked(*args: Any, **options: Any) -> Any:
            self.asked.append(name)
            await self.before[name].passed()
            if not self.down.isdisjoint({"*", name}):
                raise StoreUnavailable("it never arrived")
            answer = await verb(*args, **options)
            await self.after[name].passed()
            if name in self.lost:
                raise StoreUnavailable("the answer was lost")
            return answer

        return asked

    def feed(self) -> StagedFeed:
        self.feeds.append(StagedFeed(self._store.feed()))
        return self.feeds[-1]

    @property
    def own_feed(self) -> StagedFeed:
        """That of the view over this stage."""
        return self.feeds[-1]

    @property
    def loads(self) -> int:
        return self.asked.count("load") + self.asked.count("load_all")


@asynccontextmanager
async def following(view: View) -> AsyncIterator[None]:
    """The view is kept current, as a lifespan does it."""
    async with anyio.create_task_group() as group:
        group.start_soon(view.follower.run)
        await until(lambda: is_current(view))
        yield
        group.cancel_scope.cancel()
    await view.follower.leave()


def is_current(view: View) -> bool:
    return view.follower.is_current(view.clock())


async def hold(view: View, *sids: str) -> None:
    """The view has living sessions, and would answer from there."""
    for sid in sids:
        assert isinstance(await view.session(sid), Loaded)
        await until(lambda sid=sid: is_warm(view, sid))  # on a busy machine a lease may have run out meanwhile


def is_warm(view: View, sid: str) -> bool:
    """Whether a request with this session's cookie is answered at once."""
    held = view.held(sid)
    return held is not None and view.warm(held, view.clock())


async def here(view: View, stage: Stage, sid: str) -> str:
    """What the view says by itself: `alive`, `dead`, `unknown`, or `ask`."""
    stage.down.add("*")
    try:
        return kind_of(await view.session(sid))
    except StoreUnavailable:
        return "ask"
    finally:
        stage.down.discard("*")


def kind_of(answer: Loaded | Ended | None) -> str:
    return "unknown" if answer is None else "dead" if isinstance(answer, Ended) else "alive"


async def stamp_of(store: Any, sid: str) -> Stamp:
    """What an access token of this session would say, were it made now."""
    loaded, history = await store.load(sid), await store.history()
    assert isinstance(loaded, Loaded)
    assert loaded.user is not None
    return Stamp(sid, loaded.user.id, loaded.user.revision, history.epoch, history.era)


WORKER = Path(__file__).with_name("view_worker.py")


class Worker:
    """Another process with a view, see `view_worker`."""

    def __init__(self, url: str, staleness: float) -> None:
        arguments = [sys.executable, str(WORKER), url, str(staleness)]
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def say(self, *words: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()

    async def hear(self) -> Any:
        assert self.process.stdout is not None
        with anyio.fail_after(20):
            line = await anyio.to_thread.run_sync(self.process.stdout.readline, abandon_on_cancel=True)
        return json.loads(line)

    async def ask(self, *words: str) -> Any:
        self.say(*words)
        return await self.hear()


@contextmanager
def worker(url: str, staleness: float) -> Iterator[Worker]:
    made = Worker(url, staleness)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.communicate()
