"""Activity inside the interval: written at its end, many at a time, and never lost by an orderly end."""

from __future__ import annotations

import anyio
import pytest
from clocks import Clock

from asgi_auth.errors import StoreUnavailable
from asgi_auth.sessions import activity as activities
from asgi_auth.sessions.activity import Activity


class Book:
    """A store, as far as activity knows it: what it was told, and whether it answers, or a partition of it does."""

    def __init__(self) -> None:
        self.told: list[dict[str, float]] = []
        self.down = False
        self.silent = "none"

    async def touch(self, used):
        if self.down or any(sid.startswith(self.silent) for sid in used):
            raise StoreUnavailable("down")
        self.told.append(dict(used))


@pytest.fixture
def book():
    return Book()


@pytest.fixture
async def activity(book, anyio_backend):
    """Looks every millisecond; what is due is said by a clock that the test moves."""
    clock = Clock()
    one = Activity(book, clock, idle=0.04)
    one.clock = clock
    async with anyio.create_task_group() as group:
        group.start_soon(one.run)
        await anyio.wait_all_tasks_blocked()
        yield one
        group.cancel_scope.cancel()


async def told(book, count):
    with anyio.fail_after(5):
        while len(book.told) < count:  # noqa: ASYNC110
            await anyio.sleep(0.001)


async def test_the_last_use_is_written_at_the_end_of_the_interval(activity, book):
    activity.note("a", 60)
    activity.clock.advance(50)
    activity.note("a", 10)
    activity.note("b", 60)
    activity.clock.advance(9)
    for _ in range(20):
        await anyio.sleep(0.001)
    assert book.told == []
    activity.clock.advance(2)
    await told(book, 1)
    assert book.told == [{"a": pytest.approx(11)}]
    activity.clock.advance(60)
    await told(book, 2)
    assert book.told[1] == {"b": pytest.approx(71)}


async def test_what_a_request_has_written_meanwhile_is_not_written_again(activity, book):
    activity.note("a", 60)
    activity.note("b", 60)
    activity.written("a")
    activity.clock.advance(61)
    await told(book, 1)
    assert [set(page) for page in book.told] == [{"b"}]


async def test_a_store_that_is_down_is_told_later(activity, book):
    book.down = True
    activity.note("a", 60)
    activity.clock.advance(61)
    for _ in range(20):
        await anyio.sleep(0.001)
    book.down = False
    await told(book, 1)
    assert set(book.told[0]) == {"a"}


async def test_a_partition_that_is_silent_keeps_no_other_from_being_told(activity, book):
    book.silent = "0f"
    for number in range(450):
        activity.note(f"0f{number}", 60)
        activity.note(f"0a{number}", 60)
    activity.clock.advance(61)
    with anyio.fail_after(5):
        while len({sid for page in book.told for sid in page if sid.startswith("0a")}) < 450:  # noqa: ASYNC110
            await anyio.sleep(0.001)


async def test_many_are_written_in_pages(activity, book):
    for number in range(450):
        activity.note(f"00{number}", 60)
    activity.clock.advance(61)
    await told(book, 3)
    assert [len(page) for page in book.told] == [200, 200, 50]


async def test_a_bound_keeps_the_newcomers_out(activity, book, monkeypatch):
    monkeypatch.setattr(activities, "MOST", 2)
    for name in "abca":
        activity.note(f"00{name}", 60)
    activity.clock.advance(61)
    await told(book, 1)
    assert set(book.told[0]) == {"00a", "00b"}


async def test_an_orderly_end_writes_the_rest(book, anyio_backend):
    activity = Activity(book, Clock(), idle=4000)
    async with anyio.create_task_group() as group:
        group.start_soon(activity.run)
        await anyio.wait_all_tasks_blocked()
        activity.note("a", 60)
        group.cancel_scope.cancel()
    assert [set(page) for page in book.told] == [{"a"}]


async def test_where_nobody_writes_nothing_is_kept(book, anyio_backend):
    activity = Activity(book, Clock(), idle=4000)
    activity.note("a", 60)
    assert activity._used == {}
