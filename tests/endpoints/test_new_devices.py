"""`login_new_device`: once for each client that a user logs in from (ASVS 5.0, 6.3.5)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anyio
import httpx2
import pytest
from endpoint_house import PASSWORDS, House

from asgi_auth import User
from asgi_auth.errors import StoreUnavailable
from asgi_auth.known_clients import KnownClients
from asgi_auth.model import Client
from asgi_auth.stores.opening import open_store

FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:{0}.0) Gecko/20100101 Firefox/{0}.0"
DAY = 86_400
Told = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Told:
    """The events so far that a client was new."""
    caplog.set_level("INFO", logger="asgi_auth")

    def read() -> list[dict[str, Any]]:
        lines = [json.loads(one.getMessage()) for one in caplog.records if one.name == "asgi_auth.security"]
        return [line for line in lines if line["event"].startswith("login_new_device:")]

    return read


def device(house: House, user_agent: str = FIREFOX.format(140), address: str = "203.0.113.9") -> httpx2.AsyncClient:
    client = house.stranger(address=address)
    client.headers["user-agent"] = user_agent
    return client


async def test_login_new_device_once_per_client(house: House, told: Told) -> None:
    """Logins by cookie and for tokens, sessions that end in between, a browser that is updated: one client. Another
    user, another browser or another network: another."""
    first = device(house)
    session = (await house.login(client=first))["session"]
    assert [(one["event"], one["sid"]) for one in told()] == [("login_new_device:alice", session["id"])]
    assert told()[0]["useragent"] == FIREFOX.format(140)
    assert (await first.post("/auth/logout")).status_code == 204
    await house.login(client=first)
    await house.tokens(client=device(house))
    await house.login(client=device(house, FIREFOX.format(141), "203.0.113.77"))
    assert len(told()) == 1
    for other in (device(house, "curl/8.5.0"), device(house, address="198.51.100.1")):
        await house.login(client=other)
        await house.login(client=other)
    await house.login("bob", client=device(house))
    assert [one["event"].partition(":")[2] for one in told()] == ["alice", "alice", "alice", "bob"]


async def test_a_client_is_known_until_thirty_days_after_its_last_login(house: House, told: Told) -> None:
    for _ in range(3):
        await house.login(client=device(house))
        house.clock.advance(29 * DAY)
    assert len(told()) == 1
    house.clock.advance(2 * DAY)
    await house.login(client=device(house))
    assert len(told()) == 2


async def test_as_long_as_a_session_can_live_its_client_is_known(houses: Any, told: Told) -> None:
    house = await houses(session_lifetime="90d", session_idle="90d")
    await house.login(client=device(house))
    house.clock.advance(89 * DAY)
    await house.login(client=device(house))
    assert len(told()) == 1


async def test_a_failed_login_makes_no_client_known(house: House, told: Told) -> None:
    wrong = {"username": "alice", "password": "wrong"}
    assert (await device(house).post("/auth/login", json=wrong)).status_code == 401
    await house.login(client=device(house))
    assert len(told()) == 1


async def test_a_session_that_a_script_issues_comes_from_no_client(house: House, told: Told) -> None:
    await house.auth.issue(User("robot"))
    assert told() == []


async def test_without_addresses_the_device_alone_counts(houses: Any, told: Told) -> None:
    house = await houses(client_address="off")
    await house.login(client=device(house))
    await house.login(client=device(house, address="198.51.100.1"))
    assert len(told()) == 1
    assert told()[0]["source_ip"] is None


async def test_a_login_stands_though_nobody_can_say_whether_its_client_is_new(
    house: House, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(*_: Any) -> bool:
        raise StoreUnavailable("no answer")

    monkeypatch.setattr(KnownClients, "is_new", silent)
    body = {"username": "alice", "password": PASSWORDS["alice"]}
    assert (await device(house).post("/auth/login", json=body)).status_code == 200
    assert told() == []


async def test_of_many_logins_at_once_one_is_the_first(any_store: str) -> None:
    store = open_store(any_store, timeout=5.0)
    await store.open()
    clients = [KnownClients(store, session_lifetime=DAY) for _ in range(2)]
    new: list[bool] = []

    async def log_in(number: int) -> None:
        new.append(await clients[number % 2].is_new("alice", Client("203.0.113.0/24", "curl/8")))

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(log_in, number)
    assert sorted(new) == [False] * 19 + [True]
    await store.aclose()
