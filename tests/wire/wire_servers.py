"""Real servers in processes of their own, on free ports, ended whatever happens."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

HERE = Path(__file__).parent
PATIENCE = 30.0

COMMANDS: dict[str, list[str]] = {
    "uvicorn": ["uvicorn", "--port", "0", "--loop", "asyncio", "--http", "h11"],
    "uvicorn-uvloop": ["uvicorn", "--port", "0", "--loop", "uvloop", "--http", "httptools", "--ws", "wsproto"],
    "hypercorn": ["hypercorn", "-b", "127.0.0.1:0"],
    "hypercorn-trio": ["hypercorn", "-k", "trio", "-b", "127.0.0.1:0"],
}
SERVERS = list(COMMANDS)

APART = {"fastapi": "wire_fastapi:app", "quart": "wire_quart:app", "issuers": "wire_issuers:app"}

_LISTENS = re.compile(r"unning on http://([\d.]+:\d+)")


@dataclass
class Process:
    """A server. `url` once it listens; `output` what it said so far."""

    popen: subprocess.Popen[bytes]
    log: Path
    address: str = ""

    @property
    def output(self) -> str:
        return self.log.read_text()

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def wait(self) -> int:
        return self.popen.wait(PATIENCE)

    def kill(self) -> None:
        """As the machine would: at once, workers and all."""
        os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait(PATIENCE)

    def client(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, verify=False, timeout=PATIENCE)


def environment(directory: Path, **variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ASGI_AUTH_")}
    store = f"sqlite:///{directory}/wire.sqlite3"
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(map(str, (HERE, HERE.parent, HERE.parent.parent))),
        "PYTHONUNBUFFERED": "1",
        "ASGI_AUTH_STORE": store,
        **variables,
    }


def start(server: str, directory: Path, *options: str, app: str = "app", port: int = 0, **variables: str) -> Process:
    command = [part if part not in ("0", "127.0.0.1:0") else part[:-1] + str(port) for part in COMMANDS[server]]
    log = directory / f"{server}-{time.monotonic_ns()}.log"
    with log.open("wb") as output:
        popen = subprocess.Popen(
            [sys.executable, "-m", command[0], APART.get(app, f"wire_app:{app}"), *command[1:], *options],
            cwd=directory,
            env=environment(directory, **variables),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Process(popen, log)


@contextmanager
def running(server: str, directory: Path, *options: str, workers: int = 1, **more: object) -> Iterator[Process]:
    """Start and wait until it listens; afterwards end it."""
    process = start(server, directory, *options, **more)  # type: ignore[arg-type]
    try:
        _until_ready(process, workers)
        yield process
    finally:
        if process.popen.poll() is None:
            process.popen.terminate()
            try:
                process.popen.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                raise AssertionError("the server did not stop when it was told to") from None


def _until_ready(process: Process, workers: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        said = process.output
        found = _LISTENS.search(said)
        started = said.count("Application startup complete") if "Uvicorn" in said or "uvicorn" in said else workers
        if found and started >= workers:
            process.address = found[1]
            return
        if process.popen.poll() is not None:
            break
        time.sleep(0.05)
    raise AssertionError(f"the server did not start:\n{process.output}")
