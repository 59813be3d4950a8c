"""`asgi-auth keys`: which keys sign access tokens, and how another one takes the place of one."""

from __future__ import annotations

import json as json_text
import sys
from pathlib import Path
from typing import Annotated

import typer

from asgi_auth.auth import Auth
from asgi_auth.cli import reports
from asgi_auth.cli.console import Json, environment, fail, run, say, show_json, show_table
from asgi_auth.durations import moment
from asgi_auth.errors import ConfigurationError, UnknownUser
from asgi_auth.tokens.keys import SigningKey, is_small, jwks, load_keys
from asgi_auth.tokens.ring import RingKey

commands = typer.Typer(help="The keys that sign access tokens.", no_args_is_help=True, rich_markup_mode=None)


@commands.command("list")
def list_keys(json: Json = False) -> None:
    """List the keys: what signs, what is next, what is retired."""
    rows = run(environment(), reports.keys)
    if json:
        show_json(row._asdict() for row in rows)
    else:
        show_table(
            columns=["KEY", "ALGORITHM", "SOURCE", "STATE", "MADE"],
            rows=(
                (
                    row.kid,
                    row.algorithm,
                    row.source,
                    row.state,
                    "" if row.created_at is None else moment(row.created_at),
                )
                for row in rows
            ),
        )


@commands.command()
def rotate(
    now: Annotated[
        bool, typer.Option("--now", help="Sign with a new key at once, though not every verifier may have it yet.")
    ] = False,
) -> None:
    """Let the next key sign, in all processes. The old ones verify until their last token is over.

    The next key is published long before it signs, so nobody notices. If it has not been there for long enough, it
    signs a little later.
    """

    async def rotated(auth: Auth) -> reports.KeyRow:
        kid = await auth.rotate_keys(at_once=now)
        return next(row for row in await reports.keys(auth) if row.kid == kid)

    row = run(environment(), rotated)
    say(f"{row.kid} signs from now on" if row.signs else f"{row.kid} {row.state}")


@commands.command(context_settings={"ignore_unknown_options": True})  # one name in 64 begins with a dash
def revoke(kid: Annotated[str, typer.Argument(help="The key's name, as `list` shows it.")]) -> None:
    """Let nothing count any more that a key signed: it got into wrong hands. The next key signs.

    When the command returns all processes know. Sessions and refresh tokens live on. Verifiers elsewhere know as soon
    as they fetch the key set again.
    """

    async def revoked(auth: Auth) -> None:
        if not await auth.revoke_key(kid, wait=True):
            raise UnknownUser(f"no key is named {kid!r}")

    run(environment(), revoked)
    say(f"{kid} is revoked, with every token that it signed")


@commands.command("import")
def import_key(
    file: Annotated[Path, typer.Argument(help="PEM or JWK, a private key or a secret; - for standard input.")],
) -> None:
    """Let an existing key sign from now on. The old ones verify until their last token is over."""
    text = _read(file)

    async def imported(auth: Auth) -> RingKey:
        found = load_keys(text, auth.settings.jwt_algorithm, source=str(file))
        if len(found) != 1 or not isinstance(found[0], SigningKey):
            raise ConfigurationError(f"{file} holds more than one private key, or none: give one")
        if "jwt" not in auth.settings.backends:
            raise ConfigurationError("ASGI_AUTH_BACKENDS has no jwt, so no key signs anything")
        return await auth.parts.keys.add(found[0])

    key = run(environment(), imported).key
    say(f"{key.kid} signs from now on")
    if is_small(key):
        sys.stderr.write(
            "It is an RSA key of less than 3072 bits: let `asgi-auth keys rotate` make a longer one soon\n"
        )


@commands.command("export-jwks")
def export_jwks() -> None:
    """Print the public keys as a JWK Set, as they are published. Secrets (HS256, …) are none of them."""

    async def published(auth: Auth) -> str:
        found = await auth.parts.keys.published() if "jwt" in auth.settings.backends else []
        return json_text.dumps(jwks(found), indent=2)

    sys.stdout.write(run(environment(), published) + "\n")


def _read(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        fail(f"{file} holds no text in UTF-8")
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}")
