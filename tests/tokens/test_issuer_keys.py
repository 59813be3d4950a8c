"""The keys of other issuers, kept: read once for all who need them, and for as long as they serve."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from clocks import Clock
from local_issuer import JWKS, OIDC, LocalIssuer, jwks, kids, new_key, record, respond, silent

from asgi_auth.tokens.issuers import source
from asgi_auth.tokens.issuers.fetching import read
from asgi_auth.tokens.issuers.keyset import KeySet
from asgi_auth.tokens.issuers.source import COOL_DOWN, STALE, KeySource
from asgi_auth.tokens.issuers.trusted import Trusted


@pytest.fixture
def idp() -> Iterator[LocalIssuer]:
    issuer = LocalIssuer()
    yield issuer
    issuer.stop()


def keeper(idp: LocalIssuer, clock: Clock, **members: Any) -> KeySource:
    return KeySource(record(idp.url, **members), clock=clock)


async def until(condition: Callable[[], Any]) -> None:
    with anyio.fail_after(20):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.01)


async def test_the_first_who_needs_keys_waits_for_them_and_the_others_with_them(idp: LocalIssuer, clock: Clock) -> None:
    keys = keeper(idp, clock)
    assert idp.fetches == 0
    assert keys.look() is None
    found: list[KeySet | None] = []

    async def wait() -> None:
        found.append(await keys.newer())

    async with anyio.create_task_group() as group:
        for _ in range(300):
            group.start_soon(wait)
    assert len(found) == 300
    assert {id(one) for one in found} == {id(keys.look())}
    assert idp.asked == {OIDC: 1, JWKS: 1}


async def test_a_thousand_unknown_kids_with_the_issuer_down_make_one_attempt(
    idp: LocalIssuer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[float] = []

    async def counted(*args: Any) -> Any:
        attempts.append(clock())
        return await read(*args)

    monkeypatch.setattr(source, "read", counted)
    keys = keeper(idp, clock)
    assert kids(await keys.newer()) == [idp.key.kid]
    idp.stop()
    for _ in range(3):
        attempts.clear()
        clock.now += COOL_DOWN
        async with anyio.create_task_group() as group:
            for _ in range(1000):
                group.start_soon(keys.newer)
        for _ in range(100):
            await keys.newer()
        assert len(attempts) == 1
        assert keys.problem
    clock.now += COOL_DOWN - 0.1
    assert kids(await keys.newer()) == [idp.key.kid]
    assert len(attempts) == 1


async def test_an_issuer_may_change_its_key_right_after_it_was_asked(idp: LocalIssuer, clock: Clock) -> None:
    keys = keeper(idp, clock)
    await keys.newer()
    key = new_key()
    idp.publish(key)
    assert kids(await keys.newer()) == [key.kid]
    for _ in range(100):
        await keys.newer()
    assert idp.asked[JWKS] == 2
    clock.now += 600
    keys.look()
    await until(lambda: idp.asked[JWKS] == 3)
    idp.publish(idp.key)
    assert kids(await keys.newer()) == [idp.key.kid]


async def test_an_issuer_that_never_answered_is_asked_once_per_cool_down(
    idp: LocalIssuer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    idp.stop()
    keys = keeper(idp, clock)
    for _ in range(50):
        assert await keys.newer() is None
        assert keys.look() is None
    assert len([line for line in caplog.messages if "could not be read" in line]) == 1
    idp.start()
    assert await keys.newer() is None
    clock.now += COOL_DOWN
    assert kids(await keys.newer()) == [idp.key.kid]
    assert not keys.problem


async def test_a_known_key_never_waits_for_a_fetch(idp: LocalIssuer, clock: Clock) -> None:
    keys = keeper(idp, clock)
    known = await keys.newer()
    over = threading.Event()
    idp.answers[JWKS] = silent(over)
    clock.now += COOL_DOWN
    async with anyio.create_task_group() as group:
        group.start_soon(keys.newer)  # for an unknown one
        await until(lambda: idp.asked[JWKS] == 2)
        began = time.monotonic()
        for _ in range(1000):
            assert keys.look() is known
        clock.now += 4000  # old, too
        for _ in range(1000):
            assert keys.look() is known
        assert time.monotonic() - began < 0.5
        over.set()


async def test_old_keys_serve_while_the_issuer_is_down_and_not_for_ever(idp: LocalIssuer, clock: Clock) -> None:
    keys = keeper(idp, clock)
    known = await keys.newer()
    idp.stop()
    clock.now += 3600
    assert keys.look() is known
    await until(lambda: keys.problem)
    assert keys.look() is known
    assert await keys.newer() is known
    clock.now += STALE - 3601
    assert keys.look() is known
    clock.now += 1
    assert keys.look() is None
    idp.start()
    clock.now += COOL_DOWN
    assert kids(await keys.newer()) == [idp.key.kid]


async def test_old_keys_are_read_again_in_the_background(idp: LocalIssuer, clock: Clock) -> None:
    keys = keeper(idp, clock)
    known = await keys.newer()
    key = new_key()
    idp.publish(idp.key, key)
    clock.now += 599
    assert keys.look() is known
    assert idp.asked[JWKS] == 1
    clock.now += 1
    assert keys.look() is known
    await until(lambda: keys.look() is not known)
    assert kids(keys.look()) == sorted([idp.key.kid, key.kid])
    assert idp.asked == {OIDC: 1, JWKS: 2}


@pytest.mark.parametrize("wrong", [b"{", b"{}", jwks(), jwks({"kty": "oct"}), b"\xff"])
async def test_a_failed_fetch_keeps_what_was_there(idp: LocalIssuer, clock: Clock, wrong: bytes) -> None:
    keys = keeper(idp, clock)
    known = await keys.newer()
    idp.documents[JWKS] = wrong
    clock.now += COOL_DOWN
    assert await keys.newer() is known
    assert keys.problem
    idp.publish(idp.key)
    clock.now += COOL_DOWN
    assert await keys.newer() is known
    assert not keys.problem


async def test_keys_that_have_moved_are_found_again(idp: LocalIssuer, clock: Clock) -> None:
    keys = keeper(idp, clock)
    await keys.newer()
    key = new_key()
    del idp.documents[JWKS]
    idp.documents["/moved"] = {"keys": [dict(key.public or {})]}
    idp.documents[OIDC] = {"issuer": idp.url, "jwks_uri": f"{idp.url}/moved"}
    clock.now += COOL_DOWN
    assert kids(await keys.newer()) == [idp.key.kid]
    clock.now += COOL_DOWN
    assert kids(await keys.newer()) == [key.kid]


async def test_who_goes_away_leaves_the_fetch_to_the_others(idp: LocalIssuer, clock: Clock) -> None:
    keys = keeper(idp, clock)
    over = threading.Event()
    publish = idp.documents[JWKS]

    def slow(handler: BaseHTTPRequestHandler) -> None:
        over.wait(10)
        respond(handler, 200, json.dumps(publish).encode())

    idp.answers[JWKS] = slow
    async with anyio.create_task_group() as group:
        with anyio.move_on_after(0.1):
            await keys.newer()
        group.start_soon(keys.newer)
        await anyio.lowlevel.checkpoint()
        over.set()
    assert kids(keys.look()) == [idp.key.kid]
    assert idp.asked[JWKS] == 1


def test_loops_of_several_threads_share_one_fetch(idp: LocalIssuer, clock: Clock) -> None:
    keys = keeper(idp, clock)
    found: list[KeySet | None] = []

    def loop(backend: str) -> None:
        async def run() -> None:
            async with anyio.create_task_group() as group:
                for _ in range(20):
                    group.start_soon(wait)

        async def wait() -> None:
            found.append(await keys.newer())

        anyio.run(run, backend=backend)

    threads = [threading.Thread(target=loop, args=(backend,)) for backend in ("asyncio", "trio") * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(found) == 120
    assert {id(one) for one in found} == {id(keys.look())}
    assert idp.asked == {OIDC: 1, JWKS: 1}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process forks here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_asks_for_itself(idp: LocalIssuer, clock: Clock) -> None:
    """Forked while a fetch is under way, whose thread stays behind."""
    over = threading.Event()
    published = json.dumps(idp.documents[JWKS]).encode()

    def slow(handler: BaseHTTPRequestHandler) -> None:
        if idp.asked[JWKS] == 1:
            over.wait(20)
        respond(handler, 200, published)

    idp.answers[JWKS] = slow
    trusted = Trusted([record(idp.url)], None, own="asgi-auth", clock=clock)
    [keys] = trusted.fixed
    keys.look()
    deadline = time.monotonic() + 20
    while idp.asked[JWKS] == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if kids(anyio.run(keys.newer)) == [idp.key.kid] else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    over.set()
    assert os.waitstatus_to_exitcode(status) == 0
