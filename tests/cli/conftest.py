"""The command line, run in two ways: the installed command in a process of its own, and the same in this one."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from cli_helpers import Cli, Done
from typer.testing import CliRunner

from asgi_auth.cli.commands import app

PATIENCE = 60.0
"""Seconds after which a command that says nothing is stuck."""

SEATED = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Makes standard input the terminal that /dev/tty is, as a login does, where Ctrl-C counts though it may not for us."""


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("ASGI_AUTH_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'cli.sqlite3'}"


def variables(store_url: str, settings: dict[str, str]) -> dict[str, str]:
    return {f"ASGI_AUTH_{name.upper()}": text for name, text in ({"store": store_url} | settings).items()}


@pytest.fixture
def cli(store_url: str) -> Cli:
    """Runs the command in this process: arguments, `input` for standard input, and settings by their names."""

    def run(*arguments: str, input: str | bytes | None = None, **settings: str) -> Done:
        result = CliRunner().invoke(app, list(arguments), input=input, env=variables(store_url, settings))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Done(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def script() -> str:
    found = shutil.which("asgi-auth", path=str(Path(sys.executable).parent))
    assert found is not None, "the package is not installed with its scripts"
    return found


@pytest.fixture
def command(script: str, store_url: str, tmp_path: Path) -> Cli:
    """Runs the installed command; arguments as `cli`."""

    def run(*arguments: str, input: str = "", **settings: str) -> Done:
        done = subprocess.run(
            [script, *arguments],
            input=input.encode(),
            capture_output=True,
            cwd=tmp_path,
            env=os.environ | variables(store_url, settings),
            timeout=PATIENCE,
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


@pytest.fixture
def terminal(script: str, store_url: str) -> Iterator[Callable[[Sequence[str], Sequence[tuple[str, str]]], Done]]:
    """Runs the installed command at a terminal of its own: arguments, then what is typed once which prompt is there.
    `out` is all that the screen showed."""
    ours, theirs = pty.openpty()

    def until(prompt: bytes | None) -> bytes:
        """What the screen shows up to this; None: up to the end."""
        shown = b""
        while prompt is None or prompt not in shown:
            assert select.select([ours], [], [], PATIENCE)[0], f"nothing more came after {shown!r}"
            try:
                chunk = os.read(ours, 4096)
            except OSError:  # the command has ended
                chunk = b""
            if not chunk:
                assert prompt is None, f"it ended after {shown!r}"
                break
            shown += chunk
        return shown

    started: list[subprocess.Popen[bytes]] = []

    def run(arguments: Sequence[str], typed: Sequence[tuple[str, str]]) -> Done:
        process = subprocess.Popen(
            [sys.executable, "-c", SEATED, script, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=os.environ | variables(store_url, {}),
        )
        started.append(process)
        os.close(theirs)
        screen = b""
        for prompt, text in typed:
            screen += until(prompt.encode())
            os.write(ours, text.encode())
        screen += until(None)
        return Done(process.wait(PATIENCE), screen.decode(), "")

    yield run
    for process in started:
        process.kill()
        process.wait()
    os.close(ours)
