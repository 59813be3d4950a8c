"""An example as its users run it: in a process of its own, behind a real server, on a free port."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx2

ROOT = Path(__file__).resolve().parent.parent
PASSWORDS = {"alice": "wonderland", "bob": "builder"}

COMMANDS = {
    "uvicorn": ("uvicorn", "--port", "0"),
    "hypercorn-trio": ("hypercorn", "-k", "trio", "-b", "127.0.0.1:0"),
}
_LISTENS = re.compile(r"unning on (http://[\d.:]+)")
_READY = re.compile(
    r"Application startup complete|Running on http"
)  # of uvicorn after, of hypercorn before its address
_PATIENCE = 30.0


class Example(NamedTuple):
    url: str
    log: Path


def browser(example: Example) -> httpx2.Client:
    """A client that has never been here. Without TLS, whose certificates take long to load."""
    return httpx2.Client(base_url=example.url, verify=False)


def log_in(client: httpx2.Client, user: str, **more: object) -> httpx2.Response:
    return client.post("/auth/login", json={"username": user, "password": PASSWORDS[user], **more})


def tokens(client: httpx2.Client, user: str) -> dict[str, str]:
    form = {"grant_type": "password", "username": user, "password": PASSWORDS[user]}
    answer = client.post("/auth/token", data=form)
    assert answer.status_code == 200, answer.text
    return answer.json()


@contextmanager
def running(
    framework: str, directory: Path, store: str | None = None, *, server: str = "uvicorn", options: tuple[str, ...] = ()
) -> Iterator[Example]:
    """Start `examples/<framework>_app.py`, wait until it listens, end it, and see that it died of nothing else and
    logged no traceback.

    Args:
        directory: for the log, and for the SQLite file if `store` is None.
    """
    log = directory / f"{framework}-{server}.log"
    command, *arguments = COMMANDS[server]
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", command, f"examples.{framework}_app:app", *arguments, *options],
            cwd=ROOT,
            env=environment({"ASGI_AUTH_STORE": store or f"sqlite:///{directory}/auth.sqlite3"}),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Example(_address(process, log), log)
    finally:
        process.terminate()
        try:
            status = process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert status in (0, -15), log.read_text()
    assert "Traceback" not in log.read_text(), log.read_text()


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with these settings of ours and no others."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ASGI_AUTH_")} | dict(settings)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        text = log.read_text()
        found = _LISTENS.search(text)
        if found and _READY.search(text):
            return found[1]
        assert process.poll() is None, text
        time.sleep(0.02)
    raise AssertionError(f"no server within {_PATIENCE:.0f} s:\n{log.read_text()}")
