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
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
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
            answer = client.get(path)
        assert answer.status_code == 200, self.output
        return answer.json()

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
                self.refresh_token = pair["refresh_token"]
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
    log = directory / f"server-{port}.log"
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


# ---------------------------------------------------------------------- what becomes of a user


@pytest.fixture(scope="module")
def elsewhere(server: Server) -> Iterator[Server]:
    """Another process over the same store."""
    with serving("uvicorn", server.log.parent) as process:
        yield process


def refreshed(caller: Caller) -> httpx2.Response:
    """What the server says to the refresh token of somebody who is logged in by token."""
    with caller.server.client() as client:
        form = {"grant_type": "refresh_token", "refresh_token": caller.refresh_token}
        return client.post("/auth/token", data=form)


def test_update_user_reaches_cookies_tokens_and_sockets(server: Server, elsewhere: Server) -> None:
    """A right that is taken away in another process: cookies have less with their next request, tokens are out of date
    and refresh into less, and sockets behind a `require` that no longer holds are closed."""
    user = f"ursula-{server.name}"
    cookie, token = (Caller(server, f"{user}/read+write", token=by_token) for by_token in (False, True))
    with server.client() as client, ExitStack() as stack:
        for one in (cookie, token):
            assert client.get("/", headers=one.headers).json()["scopes"] == ["read", "write"]
        guarded = [stack.enter_context(one.socket("/starlette/readers")) for one in (cookie, token)]
        open_to_all = stack.enter_context(cookie.socket("/starlette/echo"))
        echoes(*guarded, open_to_all)

        elsewhere.get(f"/update/{user}/read")  # what the guarded ones need is still there
        eventually(lambda: client.get("/", headers=cookie.headers).json()["scopes"] == ["read"])
        refused = client.get("/", headers=token.headers)
        assert refused.status_code == 401
        assert refused.json()["error_description"] == "The access token is out of date"
        pair = refreshed(token)
        assert pair.status_code == 200
        assert pair.json()["scope"] == "read"
        echoes(*guarded, open_to_all)

        elsewhere.get(f"/update/{user}/write")
        assert [close_of(each)[0] for each in guarded] == [server.closes_with] * 2
        echoes(open_to_all)


def echoes(*sockets: ClientConnection) -> None:
    """Each of them is open."""
    for each in sockets:
        each.send("hello")
        assert each.recv(timeout=10) == "hello"


def test_disable_user_ends_both_modes_and_sockets(server: Server, elsewhere: Server) -> None:
    user = f"dora-{server.name}"
    cookie, token = Caller(server, user), Caller(server, user, token=True)
    other = Caller(server, "somebody-else")
    with ExitStack() as stack, server.client() as client:
        sockets = [stack.enter_context(one.socket("/echo")) for one in (cookie, token, other)]
        echoes(*sockets)
        elsewhere.get(f"/disable/{user}")
        assert [close_of(each)[0] for each in sockets[:2]] == [server.closes_with] * 2
        assert client.get("/", headers=cookie.headers).json()["user"] == ""
        assert client.get("/", headers=token.headers).status_code == 401
        assert client.get("/", headers=other.headers).json()["user"] == "somebody-else"
        refused = refreshed(token)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
        echoes(sockets[2])


def eventually(holds: Callable[[], bool]) -> None:
    """A change is heard of within `STALENESS`; a busy machine may take longer to answer."""
    deadline = time.monotonic() + 15
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# ---------------------------------------------------------------------- sockets that are refused


def test_refused_sockets_write_no_error_log(server: Server) -> None:
    """A refusal is nobody's mistake: what writes an ERROR for each calls people at night. By us, and by a guard."""
    caller = Caller(server, "norman/write")
    before = len(server.output)
    for path, headers, status in (
        ("/echo", {"authorization": "Bearer garbage"}, 401),
        ("/starlette/readers", {}, 401),
        ("/starlette/readers", caller.headers, 403),
    ):
        for _ in range(3):
            url = f"ws://127.0.0.1:{server.port}{path}"
            with pytest.raises(InvalidStatus) as refused, connect(url, additional_headers=headers):
                pass
            assert refused.value.response.status_code == (403 if server.name == "daphne" else status)
    server.get("/")  # whatever there was to be said has been said
    said = re.sub(r'.*"level": ".*', "", server.output[before:])
    # Sockets of tests before this one, whose clients have gone: the applications raised for that, in their own time.
    said = re.sub(r".*ERROR +Exception inside application: \(100[0-9], .*", "", said)
    assert "ERROR" not in said
    assert "Traceback" not in said
