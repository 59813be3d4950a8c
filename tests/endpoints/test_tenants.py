"""Tenants made at run time: the application says whose tokens count, and is asked no oftener than it must be."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import pytest
from clocks import Clock
from foreign_tokens import refused, trusting, whoami
from local_issuer import LocalIssuer

from asgi_auth import Issuer
from asgi_auth.errors import Unavailable
from asgi_auth.tokens.issuers.trusted import ANSWER, ASKING, MOST_TENANTS, Trusted

MakeIssuer = Callable[..., LocalIssuer]


async def test_tenants_made_at_run_time_are_asked_of_the_application(
    houses: Any, issuers: MakeIssuer, clock: Clock
) -> None:
    one, two, stranger = issuers(), issuers(), issuers()
    tenants = {idp.url: Issuer(name, idp.url, audience="api") for name, idp in (("one", one), ("two", two))}
    asked: list[str] = []

    async def find(iss: str) -> Issuer | None:
        asked.append(iss)
        return tenants.get(iss)

    house = await houses(issuers=find)
    for _ in range(3):
        assert (await whoami(house, one.token()))["user"] == "one:42"
        assert (await whoami(house, two.token()))["user"] == "two:42"
        await refused(house, stranger.token())
    assert asked == [one.url, two.url, stranger.url]
    assert stranger.fetches == 0
    assert one.fetches == 2
    del tenants[two.url]
    clock.now += ANSWER
    for _ in range(2):
        await refused(house, two.token())
    assert (await whoami(house, one.token()))["user"] == "one:42"
    assert one.fetches == 2
    tenants[stranger.url] = Issuer("late", stranger.url, audience="api")
    clock.now += ANSWER
    assert (await whoami(house, stranger.token()))["user"] == "late:42"


async def test_an_error_of_the_application_is_503_never_yes(houses: Any, idp: LocalIssuer, clock: Clock) -> None:
    problem: list[Exception] = []

    async def find(iss: str) -> Issuer | None:
        if problem:
            raise problem[0]
        return Issuer("one", iss, audience="api")

    house = await houses(issuers=find)
    problem.append(RuntimeError("the tenants' database is away"))
    for _ in range(2):
        answer = await house.get("/whoami", idp.token())
        assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")
    problem.clear()
    assert (await whoami(house, idp.token()))["user"] == "one:42"
    problem.append(KeyError("gone"))
    assert (await whoami(house, idp.token()))["user"] == "one:42"
    clock.now += ANSWER
    for _ in range(2):
        assert (await house.get("/whoami", idp.token())).status_code == 503


@pytest.mark.parametrize(
    "wrong",
    [
        lambda iss: Issuer("one", "https://another.example", audience="api"),
        lambda iss: Issuer("one", iss, aliases="asgi-auth", audience="api"),
        lambda iss: {"name": "one", "issuer": iss, "audience": "api"},
        lambda iss: True,
    ],
)
async def test_an_answer_that_cannot_be_is_503(houses: Any, idp: LocalIssuer, wrong: Any) -> None:
    async def find(iss: str) -> Any:
        return wrong(iss)

    house = await houses(issuers=find)
    assert (await house.get("/whoami", idp.token())).status_code == 503
    assert idp.fetches == 0


async def test_two_tenants_never_share_a_name(houses: Any, issuers: MakeIssuer) -> None:
    one, two = issuers(), issuers()

    async def find(iss: str) -> Issuer | None:
        return Issuer("same", iss, audience="api")

    house = await houses(issuers=find)
    assert (await whoami(house, one.token()))["user"] == "same:42"
    assert (await house.get("/whoami", two.token())).status_code == 503


async def test_no_tenant_has_the_name_of_a_record_however_many_there_are(clock: Clock) -> None:
    async def find(iss: str) -> Issuer | None:
        return Issuer(iss.rpartition("/")[2], iss, audience="api")

    trusted = Trusted([Issuer("corp", "https://corp.example", audience="api")], find, own="us", clock=clock)
    for number in range(MOST_TENANTS + 1):
        await trusted.of(f"https://tenants.example/{number}")
    with pytest.raises(Unavailable):
        await trusted.of("https://tenants.example/corp")


async def test_an_answer_that_came_late_is_as_old_as_its_question(clock: Clock) -> None:
    answered = anyio.Event()

    async def find(iss: str) -> Issuer | None:
        asked.append(iss)
        if len(asked) == 1:
            await answered.wait()
            return Issuer("one", iss, audience="api")
        return None

    asked: list[str] = []
    trusted = Trusted([], find, own="us", clock=clock)
    async with anyio.create_task_group() as group:
        group.start_soon(trusted.of, "https://one.example")
        await anyio.wait_all_tasks_blocked()
        clock.now += ANSWER
        answered.set()
    assert await trusted.of("https://one.example") is None


async def test_while_the_application_hangs_its_last_answer_counts_no_longer_than_a_little_while(clock: Clock) -> None:
    answered, asked = anyio.Event(), 0

    async def find(iss: str) -> Issuer | None:
        nonlocal asked
        asked += 1
        if asked == 1:
            return Issuer("one", iss, audience="api")
        await answered.wait()
        return None

    async def of() -> None:
        found.append(await trusted.of("https://one.example"))

    found: list[object] = []
    trusted = Trusted([], find, own="us", clock=clock)
    await of()
    clock.now += ANSWER
    async with anyio.create_task_group() as group:
        group.start_soon(of)  # asks for all
        await anyio.wait_all_tasks_blocked()
        await of()
        assert len(found) == 2
        clock.now += ASKING
        for _ in range(2):
            group.start_soon(of)
            await anyio.wait_all_tasks_blocked()
        assert len(found) == 2
        answered.set()
    assert found[2:] == [None, None, None]


def test_made_up_issuers_fail_in_no_thread(clock: Clock) -> None:
    async def find(iss: str) -> Issuer | None:
        return None

    trusted, before = Trusted([], find, own="us", clock=clock), sys.getswitchinterval()

    async def flood(thread: int) -> None:
        for number in range(4000):
            assert await trusted.of(f"https://{thread}.example/{number}") is None

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda thread: anyio.run(flood, thread), range(4)))
    finally:
        sys.setswitchinterval(before)


async def test_a_tenant_may_have_larger_tokens_too(houses: Any, idp: LocalIssuer) -> None:
    async def find(iss: str) -> Issuer | None:
        return Issuer("one", iss, audience="api", max_size=20_000)

    house = await houses(issuers=find)
    assert (await whoami(house, idp.token(padding="x" * 10_000)))["user"] == "one:42"


async def test_records_stand_above_what_the_application_says(houses: Any, idp: LocalIssuer) -> None:
    async def find(iss: str) -> Issuer | None:
        raise AssertionError("nobody asks for what is known")

    house = await houses(issuers=find, **trusting(idp))
    assert (await whoami(house, idp.token()))["user"] == "idp:42"
    assert (await whoami(house, (await house.tokens())["access_token"]))["user"] == "alice"
