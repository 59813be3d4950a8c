"""Two processes, one login in a file: one refresh at a time, and neither is logged out, whatever befalls the other."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from client_server import PASSWORDS, PATIENCE, Served, serving

from asgi_auth.client import ClientAuth, TokenFile

WORKER = Path(__file__).parent / "client_worker.py"


class Worker:
    def __init__(self, server: Served, file: Path, library: str) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, str(WORKER), server.url, server.origin, str(file), library],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(self, count: int) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write(f"{count}\n")
        self.popen.stdin.flush()

    def end(self) -> dict[str, int]:
        assert self.popen.stdout is not None
        return dict(json.loads(self.popen.stdout.readline()))

    def close(self) -> None:
        self.popen.kill()
        self.popen.communicate()


@pytest.fixture
def shared(clock, redis_url) -> Iterator[Served]:
    with serving(clock, store=redis_url, secret="s" * 32) as served:
        yield served


@pytest.fixture
def workers(shared: Served, tmp_path: Path) -> Iterator[Callable[[], list[Worker]]]:
    file, started = tmp_path / "tokens.json", list[Worker]()
    ClientAuth(shared.url, storage=TokenFile(file), clock=shared.clock).login("alice", PASSWORDS["alice"])

    def start() -> list[Worker]:
        started.extend(Worker(shared, file, library) for library in ("httpx", "httpx2"))
        return started

    yield start
    for one in started:
        one.close()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_two_processes_make_one_refresh_at_a_time_and_neither_is_logged_out(shared, workers):
    pair = workers()
    for round in range(4):
        for one in pair:
            one.begin(10)
        assert [one.end() for one in pair] == [{"200": 10}] * 2
        assert shared.refreshes == round
        shared.clock.advance(601)
    assert shared.logins == 1


def test_two_processes_whose_token_is_refused_make_one_refresh(shared, workers):
    pair = workers()
    for round in range(4):
        for one in pair:
            one.begin(10)
        assert [one.end() for one in pair] == [{"200": 10}] * 2
        assert shared.refreshes == round
        shared.run(shared.auth.update_user("alice", scopes={"read", f"round{round}"}))
    assert shared.logins == 1


def test_a_process_that_dies_in_the_middle_of_a_refresh_logs_nobody_out(shared, workers):
    first, second = workers()
    for one in (first, second):
        one.begin(1)
        assert one.end() == {"200": 1}
    shared.clock.advance(601)
    shared.gate.held["/auth/token"] = threading.Event()
    first.begin(5)
    until(lambda: shared.refreshes == 1)
    second.begin(5)
    first.close()
    until(lambda: shared.refreshes == 2)
    shared.gate.held["/auth/token"].set()
    assert second.end() == {"200": 5}
    shared.clock.advance(601)
    second.begin(5)
    assert second.end() == {"200": 5}
    assert (shared.logins, shared.refreshes) == (1, 3)


def test_one_process_logs_in_for_both(shared, workers, tmp_path):
    first, second = workers()
    shared.run(shared.auth.revoke_user("alice"))
    shared.clock.advance(601)
    first.begin(3)
    assert first.end() == {"LoggedOut": 3}
    ClientAuth(shared.url, storage=TokenFile(tmp_path / "tokens.json")).login("alice", PASSWORDS["alice"])
    for one in (first, second):
        one.begin(3)
        assert one.end() == {"200": 3}


def test_a_process_whose_login_was_ended_takes_up_the_next_one(shared, workers, tmp_path):
    first, _ = workers()
    first.begin(3)
    assert first.end() == {"200": 3}
    another = ClientAuth(shared.url, storage=TokenFile(tmp_path / "tokens.json"), clock=shared.clock)
    another.logout()
    another.login("alice", PASSWORDS["alice"])
    first.begin(1)
    assert first.end() == {"401": 1}
    first.begin(3)
    assert first.end() == {"200": 3}
    assert shared.refreshes == 0
