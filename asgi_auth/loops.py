"""What belongs to one event loop. Locks and limiters do, and each loop of a process makes its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Generic, TypeVar

from anyio import Event, create_task_group, get_cancelled_exc_class
from anyio.abc import TaskGroup
from anyio.lowlevel import RunVar

T = TypeVar("T")


@asynccontextmanager
async def beside() -> AsyncIterator[TaskGroup]:
    """A task group for what runs beside the body and ends with it. What the body raises leaves as it is, not in an
    ExceptionGroup."""
    problem: BaseException | None = None
    async with create_task_group() as group:
        try:
            yield group
        except get_cancelled_exc_class():
            raise
        except BaseException as error:
            problem = error
        group.cancel_scope.cancel()
    if problem is not None:
        raise problem


async def together(jobs: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """What each says, side by side. The first problem ends the others and leaves as it is."""
    if len(jobs) == 1:
        return [await jobs[0]()]
    results: dict[int, T] = {}
    problems: list[Exception] = []

    async def run(number: int) -> None:
        try:
            results[number] = await jobs[number]()
        except Exception as error:
            problems.append(error)
            group.cancel_scope.cancel()

    async with create_task_group() as group:
        for number in range(len(jobs)):
            group.start_soon(run, number)
    if problems:
        raise problems[0]
    return [results[number] for number in range(len(jobs))]


class PerLoop(Generic[T]):
    """One value for each event loop, made when it is first asked for there.

    Args:
        make: makes one, inside the loop.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._values: RunVar[T] = RunVar(f"asgi_auth_{token_hex(8)}")

    def get(self) -> T:
        """The running event loop's own."""
        try:
            return self._values.get()
        except LookupError:
            return self.renew()

    def renew(self) -> T:
        """Another one for the running event loop from now on."""
        value = self._make()
        self._values.set(value)
        return value


class Joint(Generic[T]):
    """A question that many may ask at once. Each gets the answer to one that was put after it asked, but while one is
    under way all who come put the next one together.

    Args:
        put: asks it.
    """

    def __init__(self, put: Callable[[], Awaitable[T]]) -> None:
        self._put = put
        self._lines: PerLoop[_Line[T]] = PerLoop(_Line)

    async def ask(self) -> T:
        """The answer, or what `put` raises."""
        line = self._lines.get()
        while line.following is not None:
            joined = line.following
            await joined.over.wait()
            if joined.answers:
                return joined.answers[0]
            # Who put it failed, or was cancelled.
        own = line.following = _Asking()
        try:
            if line.under_way is not None:
                await line.under_way.over.wait()
            line.under_way, line.following = own, None
            answer = await self._put()
            own.answers.append(answer)
            return answer
        finally:
            if line.following is own:
                line.following = None
            if line.under_way is own:
                line.under_way = None
            own.over.set()


class _Asking(Generic[T]):
    """One question for several; without an answer though it is over: there is none."""

    def __init__(self) -> None:
        self.answers: list[T] = []
        self.over = Event()


class _Line(Generic[T]):
    """Of one event loop: the question under way, and the one for those who came since."""

    def __init__(self) -> None:
        self.under_way: _Asking[T] | None = None
        self.following: _Asking[T] | None = None
