"""What belongs to one event loop: one answer for all who ask at once."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from asgi_auth.loops import Joint

pytestmark = pytest.mark.anyio


class Oracle:
    """Answers with the number of the question, when it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_answer = anyio.Event()

    async def put(self) -> int:
        self.asked += 1
        number = self.asked
        await self.may_answer.wait()
        return number


async def until(condition) -> None:
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.001)


async def test_who_comes_while_a_question_is_under_way_gets_the_answer_to_the_next_and_all_to_the_same():
    oracle = Oracle()
    joint, answers = Joint(oracle.put), {}

    async def ask(name: str) -> None:
        answers[name] = await joint.ask()

    async with anyio.create_task_group() as group:
        group.start_soon(ask, "first")
        await until(lambda: oracle.asked == 1)
        for name in ("second", "third", "fourth"):
            group.start_soon(ask, name)
        await anyio.wait_all_tasks_blocked()
        oracle.may_answer.set()
    assert answers == {"first": 1, "second": 2, "third": 2, "fourth": 2}
    assert await joint.ask() == 3


@pytest.mark.parametrize("leaves", ["first", "second"])
async def test_if_who_asked_leaves_the_others_ask_themselves(leaves):
    oracle = Oracle()
    joint, answers, scopes = Joint(oracle.put), {}, {}

    async def ask(name: str) -> None:
        with anyio.CancelScope() as scopes[name]:
            answers[name] = await joint.ask()

    async with anyio.create_task_group() as group:
        for name in ("first", "second", "third"):
            group.start_soon(ask, name)
            await anyio.wait_all_tasks_blocked()
        scopes[leaves].cancel()
        await anyio.wait_all_tasks_blocked()
        oracle.may_answer.set()
    assert set(answers) == {"first", "second", "third"} - {leaves}
    assert answers["third"] >= 2


async def test_a_question_that_failed_is_nobody_elses_failure():
    fails = [True, False]

    async def put() -> str:
        await anyio.lowlevel.checkpoint()
        if fails.pop(0):
            raise OSError("it broke")
        return "well"

    joint = Joint(put)
    with pytest.raises(OSError, match="it broke"):
        await joint.ask()
    assert await joint.ask() == "well"
