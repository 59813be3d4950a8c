"""Servers with one worker each, in processes of their own on the measured core."""

from __future__ import annotations

import asyncio
import http.client
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.driving import BROWSER, Answer, Call, Headers
from benchmarks.processes import MEASURED_CORE, bound, free_port
from benchmarks.world import World

_HOST = "127.0.0.1"
_PATIENCE = 30.0

_COMMON = ["--host", _HOST, "--loop", "uvloop"]

COMMANDS = {
    "uvicorn": [*_COMMON, "--http", "httptools", "--log-level", "critical", "--no-access-log"],
    "granian": [*_COMMON, "--http", "1", "--interface", "asgi", "--no-log"],
}
"""By the module that is run; the application and `--port` are added."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running one."""

    kind: str
    app: str
    port: int
    group: int = 0
    """The group of its processes."""

    def cpu(self) -> float:
        """Seconds of CPU that its processes have had."""
        return sum(_cpu(status.read_text(), self.group) for status in Path("/proc").glob("[0-9]*/stat"))

    @property
    def url(self) -> str:
        return f"http://{_HOST}:{self.port}/"

    def headers(self, more: Headers = ()) -> Headers:
        """A browser's, to this address."""
        address = f"{_HOST}:{self.port}".encode()
        return [(name, address if name == b"host" else value) for name, value in (*BROWSER, *more)]

    @property
    def call(self) -> Call:
        """Sends one request over a connection of its own."""

        async def call(method: str, path: str, headers: Headers = (), body: bytes = b"") -> Answer:
            return await asyncio.to_thread(self._call, method, path, headers, body)

        return call

    def _call(self, method: str, path: str, headers: Headers, body: bytes) -> Answer:
        connection = http.client.HTTPConnection(_HOST, self.port, timeout=_PATIENCE)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers(headers):
                connection.putheader(name.decode(), value.decode())
            if body:
                connection.putheader("content-length", str(len(body)))
            connection.endheaders(body or None)
            answer = connection.getresponse()
            given = [(name.encode(), value.encode()) for name, value in answer.getheaders()]
            return Answer(answer.status, given, answer.read())
        finally:
            connection.close()


def _cpu(status: str, group: int) -> float:
    """A process's seconds, if it is of that group (proc(5), from the third field on)."""
    fields = status.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if int(fields[2]) == group else 0.0


def missing_servers() -> list[str]:
    """Those that are not installed."""
    return [kind for kind in COMMANDS if importlib.util.find_spec(kind) is None]


@contextmanager
def running(world: World, kind: str, app: str) -> Iterator[Server]:
    """A server around one of `apps.APPS`, once it answers; ended afterwards."""
    port = free_port()
    log = world.directory / f"{kind}-{app}.log"
    command = [sys.executable, "-m", kind, "benchmarks.served:app", *COMMANDS[kind], "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603
            command,
            cwd=Path(__file__).parents[1],
            env=world.environment(BENCHMARK_APP=app),
            stdout=output,
            stderr=output,
            preexec_fn=bound(MEASURED_CORE),
            start_new_session=True,
        )
    server = Server(kind, app, port, process.pid)
    try:
        _until_it_answers(server, process, log)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until_it_answers(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            server._call("GET", "/", (), b"")
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{server.kind} does not serve {server.app}:\n{log.read_text()}") from None
            time.sleep(0.05)
