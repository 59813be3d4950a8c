"""Open connections end with their session, on every server: sockets, event streams, downloads."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from wire_servers import PATIENCE, environment

COMMANDS = {
    "uvicorn": ["uvicorn", "--port", "PORT"],
    "uvicorn-wsproto": ["uvicorn", "--port", "PORT", "--http", "h11", "--ws", "wsproto"],
    "uvicorn-no-lifespan": ["uvicorn", "--port", "PORT", "--lifespan", "off"],
    "hypercorn": ["hypercorn", "-b", "127.0.0.1:PORT"],
    "hypercorn-trio": ["hypercorn", "-k", "trio", "-b", "127.0.0.1:PORT"],
    "granian": ["granian", "--interface", "asgi", "--port", "PORT"],
    "daphne": ["daphne", "-p", "PORT"],
}


@dataclass
class Server:
    """One that listens at `port`. `output`: what it said so far."""

    name: str
    port: int
    log: Path

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def closes_with(self) -> int:
        """daphne takes no other codes than 1000 and those from 3000 on."""
        return 3000 if self.name == "daphne" else 1008

    def client(self) -> httpx2.Client:
        return httpx2.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=PATIENCE)

    def get(self, path: str) -> Any:
        with self.client() as client:
            return client.get(path).json()

    def seen(self, name: str) -> str:
        """What the application's side noted, once it did."""
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            if found := self.get("/seen").get(name):
                return str(found)
            time.sleep(0.02)
        raise AssertionError(f"the application never noted what became of {name}")


class Caller:
    """Somebody who is logged in, by cookie or by token."""

    def __init__(self, server: Server, user: str, *, token: bool = False) -> None:
        self.server = server
        with server.client() as client:
            if token:
                pair = client.get(f"/token/{user}").json()
                self.headers = {"authorization": f"Bearer {pair['access_token']}"}
            else:
                cookie = client.get(f"/login/{user}").headers["set-cookie"].partition(";")[0]
                self.headers = {"cookie": cookie}
            self.sid = client.get("/", headers=self.headers).json()["session"]

    def socket(self, path: str) -> ClientConnection:
        url = f"ws://127.0.0.1:{self.server.port}{path}"
        return connect(url, additional_headers=self.headers, close_timeout=2, max_size=None)

    def end(self) -> None:
        assert self.server.get(f"/revoke/{self.sid}") is True


@contextmanager
def serving(name: str, directory: Path) -> Iterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    module, *options = (part.replace("PORT", str(port)) for part in COMMANDS[name])
    log = directory / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *options, "wire_live:app"],
            cwd=directory,
            env=environment(directory),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(name, port, log)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, server.output
                assert time.monotonic() < deadline, server.output
                time.sleep(0.05)
        yield server
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # an application that sleeps would keep it
        process.wait(PATIENCE)


@pytest.fixture(scope="module", params=list(COMMANDS))
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(request.param, tmp_path_factory.mktemp("live")) as process:
        yield process


def close_of(connection: ClientConnection) -> tuple[int | None, str]:
    """How the server closed a socket, whatever came before it."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            connection.recv(timeout=10)
        except ConnectionClosed as closed:
            return (None, "") if closed.rcvd is None else (closed.rcvd.code, closed.rcvd.reason)
    raise AssertionError("the socket stayed open")


def test_revocation_closes_a_socket_that_waits_for_a_message(server: Server) -> None:
    caller = Caller(server, "alice")
    with caller.socket("/echo") as waiting:
        waiting.send("hello")
        assert waiting.recv(timeout=10) == "hello"
        caller.end()
        code, reason = close_of(waiting)
    assert code == server.closes_with
    assert reason == ("" if server.name == "daphne" else "session ended")
    assert server.seen("/echo") == "disconnect 1008"


def test_a_close_code_the_server_refuses_falls_back(server: Server) -> None:
    """daphne takes 1008 for an error in the middle of `send`. The application dies of nothing (1011)."""
    caller = Caller(server, "alice")
    before = len(server.output)
    with caller.socket("/starlette/echo") as waiting:
        waiting.send("hello")
        assert waiting.recv(timeout=10) == "hello"
        caller.end()
        assert close_of(waiting)[0] == server.closes_with
    assert server.seen("starlette echo") == "over"
    assert "Traceback" not in server.output[before:]


@pytest.mark.parametrize("framework", ["starlette", "fastapi", "quart"])
def test_an_echo_handler_is_over_after_revocation(server: Server, framework: str) -> None:
    if framework == "quart" and server.name in ("hypercorn-trio", "daphne"):
        pytest.skip("Quart runs on asyncio, and its sockets want a scheme, which daphne does not tell")
    caller = Caller(server, "alice", token=True)
    with caller.socket(f"/{framework}/echo") as waiting:
        waiting.send("hello")
        assert waiting.recv(timeout=10) == "hello"
        caller.end()
        assert close_of(waiting)[0] == server.closes_with
    assert server.seen(f"{framework} echo") == "over"


def test_a_socket_closes_while_its_app_sleeps(server: Server) -> None:
    caller = Caller(server, "alice")
    with caller.socket("/asleep") as asleep:
        assert asleep.recv(timeout=10) == "asleep"
        caller.end()
        assert close_of(asleep)[0] == server.closes_with


def test_nothing_of_the_apps_reaches_the_server_after_our_close(server: Server) -> None:
    caller = Caller(server, "alice")
    before = len(server.output)
    with caller.socket("/chatty") as chatty:
        assert chatty.recv(timeout=10) == "chat"
        caller.end()
        assert close_of(chatty)[0] == server.closes_with
    assert server.seen("/chatty") == "SessionEnded"
    assert "Traceback" not in server.output[before:]
    assert "ERROR" not in server.output[before:]


def drain(raw: socket.socket) -> None:
    """Read until the server closes."""
    with suppress(OSError):
        while raw.recv(1_000_000):
            pass


def test_a_blocked_send_ends_with_the_session(server: Server) -> None:
    """The client reads nothing, so the application is stuck in `send`."""
    if server.name == "daphne":
        pytest.skip("daphne's send never waits: it keeps in memory what the client does not take")
    caller = Caller(server, "alice")
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        header = "\r\n".join(f"{name}: {value}" for name, value in caller.headers.items())
        raw.sendall(
            f"GET /flood HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{header}\r\n\r\n".encode()
        )
        assert b"101" in raw.recv(100)
        time.sleep(0.3)  # so that the pipe is full
        caller.end()
        if server.name == "hypercorn-trio":  # nothing interrupts what is in its pipe; the client takes it, or goes
            drain(raw)
        assert server.seen("/flood") == "SessionEnded"


@pytest.mark.parametrize("token", [False, True], ids=["cookie", "token"])
def test_revoking_a_user_closes_all_of_theirs_and_nobody_elses(server: Server, token: bool) -> None:
    user = f"carol{token}"
    first, second, other = Caller(server, user, token=token), Caller(server, user, token=token), Caller(server, "dave")
    with first.socket("/echo") as one, second.socket("/echo") as two, other.socket("/echo") as three:
        for each in (one, two, three):
            each.send("hello")
            assert each.recv(timeout=10) == "hello"
        assert server.get(f"/revoke-user/{user}") == 2
        assert [close_of(each)[0] for each in (one, two)] == [server.closes_with] * 2
        three.send("still here")
        assert three.recv(timeout=10) == "still here"


def streamed(caller: Caller, path: str, end: Callable[[], None]) -> tuple[bytes, str]:
    """What came of a stream, the session of which ended once something had, and the error at its end."""
    came = bytearray()
    error = ""

    def read() -> None:
        nonlocal error
        try:
            with caller.server.client() as client, client.stream("GET", path, headers=caller.headers) as response:
                for part in response.iter_bytes():
                    came.extend(part)
        except httpx2.HTTPError as problem:
            error = type(problem).__name__

    thread = threading.Thread(target=read)
    thread.start()
    deadline = time.monotonic() + 10
    while not came and time.monotonic() < deadline:
        time.sleep(0.01)
    assert came
    end()
    thread.join(10)
    assert not thread.is_alive(), "the stream went on"
    return bytes(came), error


def test_a_revoked_download_ends_as_an_error_and_an_event_stream_cleanly(server: Server) -> None:
    caller = Caller(server, "alice")
    assert streamed(caller, "/events", caller.end)[1] == ""
    caller = Caller(server, "alice")
    # A client of daphne would wait for ever for what does not come.
    assert streamed(caller, "/download", caller.end)[1] == ("" if server.name == "daphne" else "RemoteProtocolError")


def test_a_revoked_download_is_an_error_for_the_client(server: Server) -> None:
    """One whose length was told: half of it never looks like all of it."""
    if server.name == "daphne":
        pytest.skip("daphne never cuts an answer whose application has gone: the client gets no more, and waits")
    caller = Caller(server, "alice")
    came, error = streamed(caller, "/file", caller.end)
    assert 0 < len(came) < 18_000
    assert error == "RemoteProtocolError"


@pytest.mark.parametrize("framework", ["starlette", "fastapi", "quart"])
def test_an_ended_streams_generator_is_closed(server: Server, framework: str) -> None:
    if framework == "quart" and server.name == "hypercorn-trio":
        pytest.skip("Quart runs on asyncio")
    caller = Caller(server, "alice", token=True)
    streamed(caller, f"/{framework}/stream", caller.end)
    assert server.seen(framework) == "closed"


def test_what_ends_a_connection_is_no_error_of_the_application(server: Server) -> None:
    """uvicorn says once for each download that it was cut."""
    said = re.sub(r".*returned without completing response.*", "", server.output)
    assert "Traceback" not in said
    assert json.dumps(server.get("/seen"))
