"""What belongs to one event loop. Locks and limiters do, and each loop of a process makes its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Generic, TypeVar

from anyio import create_task_group, get_cancelled_exc_class
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
