"""`asgi-auth sessions`: who is logged in, and how to end it. When a command returns it has ended everywhere."""

from __future__ import annotations

from typing import Annotated

import typer

from asgi_auth.auth import Auth
from asgi_auth.cli.console import Id, Json, Name, environment, fail, run, say, show_json, show_table
from asgi_auth.cli.lookups import user_of
from asgi_auth.durations import moment
from asgi_auth.errors import UnknownUser
from asgi_auth.model import Session

commands = typer.Typer(help="The sessions of users, in both modes.", no_args_is_help=True, rich_markup_mode=None)


@commands.command("list")
def list_sessions(name: Name = None, id: Id = None, json: Json = False) -> None:
    """List a user's sessions, the latest first."""

    async def listed(auth: Auth) -> list[Session]:
        return await auth.sessions(await user_of(auth, name, id))

    rows = run(environment(), listed)
    if json:
        show_json({**row.public(current=False), "user_id": row.user_id, "acr": row.acr or None} for row in rows)
    else:
        show_table(
            columns=["SESSION", "MODE", "BEGAN", "LAST SEEN", "ENDS", "METHODS", "ADDRESS", "DEVICE"],
            rows=(
                (
                    row.id,
                    row.backend,
                    moment(row.created_at),
                    moment(row.last_seen_at),
                    moment(min(row.idle_expires_at, row.expires_at)),
                    " ".join(row.amr),
                    row.client.address,
                    row.client.device,
                )
                for row in rows
            ),
        )


@commands.command()
def revoke(session_id: Annotated[str, typer.Argument(help="The session's id, as `list` shows it.")]) -> None:
    """End one session, its tokens and its open connections."""

    async def revoked(auth: Auth) -> None:
        if not await auth.revoke(session_id, wait=True):
            raise UnknownUser(f"no session {session_id!r} is alive")

    run(environment(), revoked)
    say(f"{session_id} has ended")


@commands.command("revoke-user")
def revoke_user(name: Name = None, id: Id = None) -> None:
    """End all sessions of a user, who may log in again."""

    async def revoked(auth: Auth) -> int:
        return await auth.revoke_user(await user_of(auth, name, id), wait=True)

    say(f"{run(environment(), revoked)} sessions of {name or id} have ended")


@commands.command("revoke-all")
def revoke_all(
    yes: Annotated[bool, typer.Option("--yes", help="Do it: everybody has to log in again.")] = False,
) -> None:
    """End every session of everybody, visitors' data too."""
    if not yes:
        fail("This logs everybody out. If that is meant: asgi-auth sessions revoke-all --yes")
    run(environment(), lambda auth: auth.revoke_all(wait=True))
    say("Every session has ended")
