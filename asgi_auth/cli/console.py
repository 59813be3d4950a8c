"""What the commands share: one piece of work on an `Auth` of the environment, a password, arguments, what is shown."""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from getpass import GetPassWarning, getpass
from typing import Annotated, Any, NoReturn, TypeVar

import anyio
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from asgi_auth.audit import security_logger
from asgi_auth.auth import Auth
from asgi_auth.errors import AuthError, ConfigurationError, StoreUnavailable
from asgi_auth.readers import without_password

T = TypeVar("T")

Json = Annotated[bool, typer.Option("--json", help="A list of objects, for programs.")]
Name = Annotated[str | None, typer.Argument(help="What the user types to log in.", show_default=False)]
Id = Annotated[str | None, typer.Option("--id", help="The user's id, instead of the name.", show_default=False)]

_LONGEST_LINE = 8192
_ANY_WIDTH = 100_000

log = logging.getLogger("asgi_auth")


def environment() -> Auth:
    """The Auth that the environment makes. A directory of the application's is found from the working directory, as
    servers find the application."""
    auth = Auth()
    if auth.problem is None and auth.settings.users != "store":
        sys.path.append(os.getcwd())  # at the end: nothing that lies about here may take a dependency's place
    return auth


def run(auth: Auth, work: Callable[[Auth], Awaitable[T]], *, warned: list[str] | None = None) -> T:
    """Open the store, do the work, close it. What is wrong is told on standard error, with exit code 2.

    What is logged while the work is done shows up there too, security events above all; that something starts and
    stops does not.

    Args:
        warned: takes what a start warns of.
    """
    lines = _Lines([] if warned is None else warned)

    async def opened() -> T:
        try:
            await auth.opened()
            with lines.shown():
                return await work(auth)
        finally:
            await auth.aclose()

    try:
        with lines:
            return anyio.run(opened)
    except StoreUnavailable as error:
        why = ": ".join([str(error), *_system_says(error)])
        fail(f"The store {without_password(auth.settings.store)} does not answer: {why}")
    except ConfigurationError as error:
        fail(*str(error).split("\n"))
    except AuthError as error:
        fail(str(error))


def say(line: str) -> None:
    """One line on standard output."""
    sys.stdout.write(f"{visible(line)}\n")


def note(line: str) -> None:
    """One line on standard error, for whoever reads along: the answer is on standard output."""
    sys.stderr.write(f"{visible(line)}\n")


def fail(*lines: str) -> NoReturn:
    """Say on standard error what is wrong, and end with 2."""
    for line in lines:
        note(line)
    raise typer.Exit(2)


def password() -> str:
    """A new password: from the terminal, unseen and twice; without one the first line of standard input."""
    try:
        if sys.stdin is not None and sys.stdin.isatty():
            return _typed()
        line = b"" if sys.stdin is None else sys.stdin.buffer.readline(_LONGEST_LINE)
        text = line.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        fail("The password on standard input is not UTF-8")
    if not text:
        fail("There is no password: type it at a terminal, or send it as one line of standard input")
    return text


def _typed() -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error", GetPassWarning)
        try:
            first = getpass("Password: ")
            if first and first != getpass("The same again: "):
                fail("The two passwords differ: nothing was changed")
        except GetPassWarning:
            fail("This terminal cannot hide what is typed: send the password as one line of standard input")
        except EOFError:
            first = ""
    return first or fail("There is no password: nothing was changed")


def visible(value: object) -> str:
    """A value on one line, whatever is in it: what cannot be seen, or would move the cursor, becomes its code."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in str(value))


def show_json(rows: Iterable[Mapping[str, Any]]) -> None:
    """A list of objects, one a line."""
    lines = ",\n".join(json.dumps(row) for row in rows)
    sys.stdout.write(f"[\n{lines}\n]\n" if lines else "[]\n")


def show_table(rows: Iterable[Sequence[object]], *, columns: Sequence[str] = ()) -> None:
    """A table as wide as the terminal; elsewhere a row is a line, however long."""
    table = Table(*columns, box=None, pad_edge=False, show_header=bool(columns))
    for row in rows:
        table.add_row(*(Text(visible(value)) for value in row))
    for column in table.columns:
        column.overflow = "fold"
    console = Console(width=None if sys.stdout.isatty() else _ANY_WIDTH)
    with console.capture() as capture:
        console.print(table)
    for line in capture.get().splitlines():
        sys.stdout.write(f"{line.rstrip()}\n")


def _system_says(error: BaseException) -> list[str]:
    """The operating system's word on it, if there is one. Other texts may hold what was sent to the store."""
    said = []
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            said = [cause.strerror]
        cause = cause.__cause__ or cause.__context__
    return said


class _Lines(logging.Handler):
    """Takes our log lines: shows them, or keeps their warnings."""

    def __init__(self, warned: list[str]) -> None:
        super().__init__()
        self._warned = warned
        self._showing = False

    def __enter__(self) -> None:
        self._level = log.level
        log.setLevel(logging.INFO)
        log.addHandler(self)

    def __exit__(self, *_: object) -> None:
        log.removeHandler(self)
        log.setLevel(self._level)

    @contextmanager
    def shown(self) -> Iterator[None]:
        self._showing = True
        try:
            yield
        finally:
            self._showing = False

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if self._showing:
            sys.stderr.write(f"{text if record.name == security_logger.name else visible(text)}\n")
        elif record.name == log.name and record.levelno >= logging.WARNING:
            self._warned.append(text)
