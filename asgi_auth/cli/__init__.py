"""The command `asgi-auth` (extra `cli`): what would be used and what is risky about it, users,
sessions, keys, a fresh secret."""

from __future__ import annotations

import io
import sys


def main() -> None:
    """Run the command line.

    Exit codes: 0 fine, 1 risks with `check --strict`, 2 wrong configuration or no such thing.
    """
    try:
        from asgi_auth.cli.commands import app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"typer", "rich"}:
            raise
        sys.stderr.write("The command asgi-auth needs typer and rich: pip install 'asgi-auth[cli]'\n")
        raise SystemExit(2) from None
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a name is no reason to fail
    app()
