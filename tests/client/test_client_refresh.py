"""Many requests, one refresh: at the end of a token, at a 401, when answers are lost, when the server is down."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import anyio
import anyio.lowlevel
import pytest
from client_server import PASSWORDS, PATIENCE, serving

from asgi_auth.client import ClientAuth, LoggedOut, TokenEndpointError, TokenMemory

MANY = 100


def with_pair(server, **more):
    return ClientAuth(server.url, tokens=server.issue(), clock=server.clock, **more)


async def at_once(client, count=MANY, path="/private"):
    """What became of so many requests: statuses, and the names of exceptions."""
    came: Counter[object] = Counter()

    async def ask():
        try:
            came[(await client.get(path)).status_code] += 1
        except Exception as error:
            came[type(error).__name__] += 1

    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(ask)
    return came


def in_threads(client, count=MANY):
    def ask(_):
        try:
            return client.get("/private").status_code
        except Exception as error:
            return type(error).__name__

    with ThreadPoolExecutor(20) as pool:
        return Counter(pool.map(ask, range(count)))


async def until(condition):
    with anyio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110 (it is another thread's)
            await anyio.sleep(0.01)


# ------------------------------------------------------------------ one refresh


async def test_a_hundred_requests_at_the_end_of_a_token_make_one_refresh(server, client):
    one = client(with_pair(server))
    assert await at_once(one) == {200: MANY}
    server.clock.advance(601)
    assert await at_once(one) == {200: MANY}
    assert server.refreshes == 1


async def test_a_hundred_401s_make_one_refresh(server, client):
    one = client(with_pair(server))
    await one.get("/private")
    server.run(server.auth.update_user("alice", scopes={"write"}))
    assert await at_once(one) == {200: MANY}
    assert (server.refreshes, server.logins) == (1, 0)
    assert server.gate.asked["/private"] > MANY + 1  # some had been refused


def test_a_hundred_requests_of_threads_make_one_refresh(server, blocking):
    one = blocking(with_pair(server))
    one.get("/private")
    server.clock.advance(601)
    assert in_threads(one) == {200: MANY}
    server.run(server.auth.update_user("alice", scopes={"write"}))
    assert in_threads(one) == {200: MANY}
    assert server.refreshes == 2


async def test_a_hundred_first_requests_make_one_login(server, client):
    one = client(ClientAuth(server.url, "alice", PASSWORDS["alice"], clock=server.clock))
    assert await at_once(one) == {200: MANY}
    assert server.logins == 1


async def test_clients_of_several_event_loops_and_of_none_make_one_refresh(server, library):
    auth = with_pair(server)

    async def asks():
        async with library.AsyncClient(auth=auth, base_url=server.origin, timeout=PATIENCE) as one:
            return await at_once(one, 20)

    def blocks():
        with library.Client(auth=auth, base_url=server.origin, timeout=PATIENCE) as one:
            return in_threads(one, 20)

    def all_at_once():
        with ThreadPoolExecutor(3) as pool:
            waiting = [
                pool.submit(anyio.run, asks, backend="asyncio"),
                pool.submit(anyio.run, asks, backend="trio"),
                pool.submit(blocks),
            ]
            return [one.result() for one in waiting]

    server.clock.advance(601)
    assert await anyio.to_thread.run_sync(all_at_once) == [{200: 20}] * 3
    assert server.refreshes == 1


async def test_an_open_stream_and_a_full_pool_hold_no_refresh_up(server, client, library):
    one = client(with_pair(server), limits=library.Limits(max_connections=2))
    async with one.stream("GET", "/stream") as stream:
        ticks = stream.aiter_raw()
        await anext(ticks)
        server.run(server.auth.update_user("alice", scopes={"write"}))
        assert await at_once(one, 20) == {200: 20}
        server.gate.streams_end.set()
        assert [tick async for tick in ticks]
    assert server.refreshes == 1


# ------------------------------------------------------------------ revoked


async def test_revoked_makes_no_storm(server, client):
    one = client(with_pair(server))
    await one.get("/private")
    server.run(server.auth.revoke_user("alice"))
    assert await at_once(one) == {401: MANY}
    assert (server.refreshes, server.logins) == (0, 0)


async def test_an_ended_login_is_found_out_once(server, client):
    one = client(with_pair(server))
    server.run(server.auth.revoke_user("alice"))
    server.clock.advance(601)
    assert await at_once(one) == {"LoggedOut": MANY}
    assert server.refreshes == 1


async def test_after_a_revocation_all_who_come_make_one_login(server, client):
    one = client(ClientAuth(server.url, "alice", PASSWORDS["alice"], clock=server.clock))
    await one.get("/private")
    server.run(server.auth.revoke_user("alice"))
    assert (await one.get("/private")).status_code == 401
    assert await at_once(one) == {200: MANY}
    assert (server.refreshes, server.logins) == (0, 2)


# ------------------------------------------------------------------ lost answers


async def test_a_refresh_whose_answer_was_lost_is_repeated_with_the_same_token(server, client):
    storage = TokenMemory()
    one = client(with_pair(server, storage=storage))
    await one.get("/private")
    before = storage.load()
    server.clock.advance(601)
    server.gate.lost["/auth/token"] = 2
    assert (await one.get("/private")).status_code == 200
    assert server.refreshes == 3
    after = storage.load()
    server.clock.advance(601)
    assert (await one.get("/private")).status_code == 200
    assert len({before.refresh_token, after.refresh_token, storage.load().refresh_token}) == 3


async def test_when_all_answers_are_lost_the_next_request_goes_on_where_it_was(server, client):
    one = client(with_pair(server))
    server.clock.advance(601)
    server.gate.lost["/auth/token"] = 3
    with pytest.raises(TokenEndpointError, match="cannot be reached"):
        await one.get("/private")
    assert (await one.get("/private")).status_code == 200
    assert server.refreshes == 4


async def test_a_login_is_not_repeated_since_each_makes_a_session(server, client):
    one = client(ClientAuth(server.url, "alice", PASSWORDS["alice"], clock=server.clock))
    server.gate.lost["/auth/login"] = 1
    with pytest.raises(TokenEndpointError):
        await one.get("/private")
    assert server.logins == 1
    assert (await one.get("/private")).status_code == 200


# ------------------------------------------------------------------ the server is down


async def test_while_the_endpoint_is_down_a_token_serves_until_its_end(server, client):
    one = client(with_pair(server))
    server.gate.failing["/auth/token"] = 503, {}
    server.clock.advance(580)
    assert await at_once(one) == {200: MANY}
    assert server.refreshes == 3  # of one attempt
    server.clock.advance(21)
    assert await at_once(one) == {"TokenEndpointError": MANY}
    assert server.refreshes <= 9
    server.gate.failing.clear()
    assert await at_once(one) == {200: MANY}


async def test_when_the_server_says_when_nothing_is_asked_before(server, client):
    one = client(with_pair(server))
    server.gate.failing["/auth/token"] = 429, {"retry-after": "3600"}
    server.clock.advance(601)
    assert await at_once(one) == {"TokenEndpointError": MANY}
    with pytest.raises(TokenEndpointError) as told:
        await one.get("/private")
    assert 3500 < told.value.retry_after <= 3600
    assert server.refreshes == 1


async def test_nobody_listens(server, client):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/auth"
        one = client(ClientAuth(url, "alice", PASSWORDS["alice"], origins=[server.origin]))
        began = time.monotonic()
        assert await at_once(one) == {"TokenEndpointError": MANY}
        assert time.monotonic() - began < PATIENCE
    assert not server.gate.asked


def test_a_server_that_comes_back_finds_everybody_logged_in(clock, redis_url, library):
    with serving(clock, store=redis_url, secret="s" * 32) as server:
        auth, port = with_pair(server), int(server.origin.rpartition(":")[2])
        with library.Client(auth=auth, base_url=server.origin) as one:
            assert one.get("/private").status_code == 200
    clock.advance(601)
    with library.Client(auth=auth, base_url=server.origin) as one:
        with pytest.raises(TokenEndpointError):
            one.get("/private")
        with serving(clock, store=redis_url, secret="s" * 32, port=port, users=False) as again:
            assert one.get("/private").status_code == 200
            assert (again.refreshes, again.logins) == (1, 0)


# ------------------------------------------------------------------ cancelled


@pytest.mark.parametrize("windows", [{}, {"refresh_grace": 0, "refresh_redelivery": 0}], ids=["redelivery", "strict"])
async def test_a_request_cancelled_in_the_middle_of_a_refresh_takes_nobody_with_it(clock, library, windows):
    release = threading.Event()
    with serving(clock, **windows) as server:
        auth = with_pair(server)
        clock.advance(601)
        server.gate.held["/auth/token"] = release
        async with library.AsyncClient(auth=auth, base_url=server.origin, timeout=PATIENCE) as one:
            came: list[int] = []

            async def other():
                came.append((await one.get("/private")).status_code)

            async with anyio.create_task_group() as others:
                async with anyio.create_task_group() as group:
                    group.start_soon(one.get, "/private")
                    await until(lambda: server.refreshes == 1)
                    for _ in range(5):
                        others.start_soon(other)
                    for _ in range(20):
                        await anyio.lowlevel.checkpoint()  # they stand in line
                    group.cancel_scope.cancel()
                release.set()
            assert came == [200] * 5
            assert server.refreshes == 1
        clock.advance(601)
        with library.Client(auth=auth, base_url=server.origin) as one:
            assert one.get("/private").status_code == 200


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_cancelled_task_of_asyncio_takes_nobody_with_it(server, client, anyio_backend):
    server.gate.held["/auth/token"] = threading.Event()
    one = client(with_pair(server))
    server.clock.advance(601)
    tasks = [asyncio.create_task(one.get("/private")) for _ in range(5)]
    await until(lambda: server.refreshes == 1)
    tasks[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    server.gate.held["/auth/token"].set()
    assert [(await task).status_code for task in tasks[1:]] == [200] * 4
    assert server.refreshes == 1


async def test_however_many_are_cancelled_in_the_middle_of_a_refresh_there_is_one_thread(server, client):
    server.gate.held["/auth/token"] = threading.Event()
    one = client(with_pair(server))
    await one.get("/private")
    server.clock.advance(601)
    before = threading.active_count()
    for _ in range(50):
        with anyio.move_on_after(0.01):
            await one.get("/private")
    assert threading.active_count() <= before + 2
    server.gate.held["/auth/token"].set()
    assert (await one.get("/private")).status_code == 200
    assert server.refreshes == 1


async def test_who_waits_for_a_login_that_fails_is_told_as_well(server, client):
    server.gate.held["/auth/login"] = threading.Event()
    one = client(ClientAuth(server.url, "alice", "looking glass", clock=server.clock))
    came: list[object] = []

    async def ask():
        with pytest.raises(LoggedOut):
            await one.get("/private")
        came.append(True)

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(ask)
        await until(lambda: server.logins == 1)
        server.gate.held["/auth/login"].set()
    assert (len(came), server.logins) == (20, 1)
