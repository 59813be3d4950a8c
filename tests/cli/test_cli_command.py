"""The command `asgi-auth` itself: `secret`, its extra, its help and its exits."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
from cli_helpers import GOOD, with_auth

from asgi_auth import Settings
from asgi_auth.model import UserRow


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def test_secret_prints_a_fresh_secret_and_nothing_else(command):
    first, second = (command("secret", nonsense="a broken configuration does not matter") for _ in range(2))
    assert (first.code, first.err, first.out.count("\n")) == (0, "", 1)
    assert first.out != second.out
    assert len(Settings(secret=first.out.strip()).secrets[0]) >= 43


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_the_command_says_what_to_install(missing):
    done = python(f"import sys; sys.modules[{missing!r}] = None; from asgi_auth.cli import main; main()")
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'asgi-auth[cli]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_names_every_command(cli):
    pages = "".join(cli(*page, "--help").out for page in ([], ["users"], ["keys"]))
    assert all(
        name in pages for name in ("check", "secret", "users", "keys", "add", "passwd", "disable", "list", "rotate")
    )


@pytest.mark.parametrize("arguments", [["chekc"], ["users", "remove"], ["check", "--nonsense"], ["users", "add"]])
def test_a_command_that_does_not_exist_is_told_with_exit_2(cli, arguments):
    done = cli(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err


def test_a_terminal_that_cannot_show_a_name_is_no_reason_to_fail(command, store_url, monkeypatch):
    row = UserRow("1", display_name="Zoë \N{SNOWMAN}")
    with_auth(store_url, lambda auth: auth.parts.store.save_user(row, expected=None))
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = command("users", "list")
    assert (done.code, done.err) == (0, "")
    assert r"Zo\xeb \u2603" in done.out


def test_no_command_leaves_its_logging_behind(cli):
    before = (logging.getLogger("asgi_auth").level, logging.getLogger("asgi_auth").handlers[:])
    assert cli("users", "add", "alice", input=GOOD).code == 0
    assert (logging.getLogger("asgi_auth").level, logging.getLogger("asgi_auth").handlers) == before
