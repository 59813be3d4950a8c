"""The commands themselves: arguments in, lines out. `reports` gathers what they say, `console` says it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

import typer

from asgi_auth.auth import Auth
from asgi_auth.cli import keys, reports, sessions, tokens
from asgi_auth.cli.console import Id, Json, Name, environment, fail, password, run, say, show_json, show_table
from asgi_auth.cli.lookups import free, user_of
from asgi_auth.directory import storable
from asgi_auth.model import User, scope_text, scope_tokens
from asgi_auth.passwords import name_key
from asgi_auth.secret import new_secret
from asgi_auth.startup import risks

app = typer.Typer(
    name="asgi-auth",
    help="Sessions and tokens as the environment (ASGI_AUTH_…) configures them: users, sessions, keys, tokens.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they can show what variables hold
    rich_markup_mode=None,
)
users = typer.Typer(help="The users in the store.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(users, name="users")
app.add_typer(sessions.commands, name="sessions")
app.add_typer(keys.commands, name="keys")
app.add_typer(tokens.commands, name="token")


TAKES_ARGUMENTS = {"allow_extra_args": True}  # to say what is wrong with them without repeating them

SECTIONS = {"used": "Used", "key": "Keys", "setting": "Settings"}


@app.command()
def check(
    json: Json = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if anything is risky.")] = False,
) -> None:
    """Show what would be used and what is risky about it. Opens the store, as a start does, and asks other issuers for
    their keys."""
    auth = environment()
    warned: list[str] = []
    facts = run(auth, reports.facts, warned=warned)
    told = [fact.value for fact in facts if fact.kind == "risk"]
    facts = [fact for fact in facts if fact.kind != "risk"]
    found = list(dict.fromkeys([*risks(auth.settings), *told, *warned]))
    if json:
        show_json(fact._asdict() for fact in [*facts, *(reports.Fact("risk", "", risk) for risk in found)])
    else:
        _show_facts(facts, auth.settings.describe(changed=True), found)
    raise typer.Exit(1 if strict and found else 0)


@app.command()
def secret() -> None:
    """Print a fresh secret, good for ASGI_AUTH_SECRET."""
    say(new_secret())


@users.command(context_settings=TAKES_ARGUMENTS)
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What the user types to log in.")],
    scope: Annotated[list[str] | None, typer.Option(help="What the user may do; as often as needed.")] = None,
    id: Annotated[str | None, typer.Option(help="Random if not given.", show_default=False)] = None,
    display_name: Annotated[str | None, typer.Option(help="The name if not given.", show_default=False)] = None,
) -> None:
    """Add a user to the built-in directory. Asks for the password, or reads it as one line of standard input."""
    _nothing_more(context)
    try:
        scopes = scope_tokens(" ".join(scope or ()))
        name_key(name)
        storable(User(name if id is None else id, display_name or name, scopes))
    except ValueError as error:
        fail(str(error))
    auth = environment()
    run(auth, lambda auth: free(auth, name))
    chosen = password()
    user = run(auth, lambda auth: auth.create_user(name, chosen, scopes=scopes, id=id, display_name=display_name))
    say(f"Added {name}, id {user.id}")


@users.command(context_settings=TAKES_ARGUMENTS)
def passwd(context: typer.Context, name: Name = None, id: Id = None) -> None:
    """Give a user a new password, which ends all the user's sessions. Asks for it, or reads it as one line of standard
    input."""
    _nothing_more(context)
    auth = environment()
    user_id = run(auth, lambda auth: user_of(auth, name, id))
    chosen = password()
    run(auth, lambda auth: auth.set_password(user_id, chosen))
    say(f"{name or id} has a new password; all sessions have ended")


@users.command()
def disable(name: Name = None, id: Id = None) -> None:
    """Let a user log in no more, and end all the user's sessions."""

    async def disabled(auth: Auth) -> None:
        await auth.disable_user(await user_of(auth, name, id))

    run(environment(), disabled)
    say(f"{name or id} can log in no more; all sessions have ended")


@users.command()
def enable(name: Name = None, id: Id = None) -> None:
    """Let a disabled user log in again."""

    async def enabled(auth: Auth) -> None:
        await auth.enable_user(await user_of(auth, name, id))

    run(environment(), enabled)
    say(f"{name or id} can log in")


@users.command()
def delete(name: Name = None, id: Id = None) -> None:
    """Forget a user, and end all the user's sessions."""

    async def deleted(auth: Auth) -> None:
        await auth.delete_user(await user_of(auth, name, id))

    run(environment(), deleted)
    say(f"{name or id} is gone; all sessions have ended")


@users.command("list")
def list_users(json: Json = False) -> None:
    """List all users that the store knows."""
    rows = run(environment(), reports.users)
    if json:
        show_json({**row.user().public(), "name": row.name, "disabled": row.disabled} for row in rows)
    else:
        show_table(
            columns=["ID", "NAME", "DISPLAY NAME", "SCOPES", "STATE"],
            rows=(
                (row.id, row.name or "", row.display_name, scope_text(row.scopes), "disabled" if row.disabled else "")
                for row in rows
            ),
        )


def _show_facts(facts: list[reports.Fact], given: Collection[str], found: list[str]) -> None:
    """`given`: the settings that are no defaults."""
    for kind, heading in SECTIONS.items():
        say(heading)
        show_table(
            (f"  {name}", value or "none", "" if kind != "setting" or name in given else "(default)")
            for one, name, value in facts
            if one == kind
        )
    say("Risks" if found else "Risks: none")
    for risk in found:
        say(f"  {risk}")


def _nothing_more(context: typer.Context) -> None:
    if context.args:
        fail("One name and no more: a password is no argument, since other users of this machine can read those")
