"""`asgi-auth token`: makes tokens, says what one is, and why one does not count.

A token is never an argument: those stand in the shell's history and in the list of processes.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from getpass import getpass
from typing import Annotated

import typer

from asgi_auth.auth import Auth
from asgi_auth.cli.console import Id, Json, Name, environment, fail, note, run, say, show_json, show_table
from asgi_auth.cli.inspection import describe
from asgi_auth.cli.lookups import user_of
from asgi_auth.cli.verdicts import verdict
from asgi_auth.clock import wall_clock
from asgi_auth.durations import moment
from asgi_auth.errors import ConfigurationError, UnknownUser
from asgi_auth.tokens.grants import DEFAULT_CLIENT, TokenPair

commands = typer.Typer(help="Tokens: made, looked at, judged.", no_args_is_help=True, rich_markup_mode=None)

_LONGEST = 65_536
_SCHEMES = ("bearer ", "dpop ")

Source = Annotated[
    str,
    typer.Argument(metavar="[-]", help="Nothing, or `-`: the token is one line of standard input.", show_default=False),
]


@commands.command()
def issue(
    name: Name = None,
    id: Id = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="No more than this, now and later; as often as needed.")
    ] = None,
    client_id: Annotated[str, typer.Option(help="Who alone may use the refresh token.")] = DEFAULT_CLIENT,
    lifetime: Annotated[
        str | None, typer.Option(help="Of the login, shorter than SESSION_LIFETIME: 8h.", show_default=False)
    ] = None,
    audience: Annotated[
        str | None, typer.Option(help="Of another service, for which the access token is.", show_default=False)
    ] = None,
    jkt: Annotated[
        str | None, typer.Option(help="Thumbprint of the key that they are bound to (DPoP).", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Log a user in and print the access token, then the refresh token, a line each. No password is asked for.

    With --audience there is no refresh token, since what is refreshed is for us.
    """

    async def issued(auth: Auth) -> TokenPair:
        user_id = await user_of(auth, name, id)
        row = await auth.parts.users.known(user_id)
        if row is None:
            raise UnknownUser(f"the user {user_id!r} may not log in")
        scopes = None if scope is None else " ".join(scope)
        try:
            pair = await auth.issue(row.user(), client_id=client_id, scopes=scopes, lifetime=lifetime, jkt=jkt or "")
        except ValueError as error:
            raise ConfigurationError(str(error)) from None
        return pair if audience is None else await _for(auth, pair, audience)

    auth = environment()
    pair = run(auth, issued)
    if json:
        show_json([{name: value for name, value in pair.public().items() if value != ""}])
    else:
        for token in filter(None, (pair.access_token, pair.refresh_token)):
            say(token)
    if auth.settings.store.startswith("memory:"):
        note("The store is memory: the login has gone with this command, and these tokens open nothing")
    else:
        note(f"Whoever has these is {pair.session.user_id} until {moment(pair.session.expires_at)}.")
        note(f"To end that: asgi-auth sessions revoke {pair.session.id}")


@commands.command()
def inspect(source: Source = "-", json: Json = False) -> None:
    """Say what a token seems to be and what it says. Asks for no key and no store: nothing is known to be true."""
    rows = describe(_token(source), now=wall_clock())
    if json:
        show_json(row._asdict() for row in rows)
    else:
        show_table((row.part, row.name, row.text, row.words) for row in rows)


@commands.command()
def verify(source: Source = "-", json: Json = False) -> None:
    """Say whether a token counts here, and if not, why: all that is wrong with it, what decides first.

    Exit code 0: it counts; 1: it does not; 2: that cannot be said.
    """
    token = _token(source)
    found = run(environment(), lambda auth: verdict(auth, token))
    if json:
        show_json([{"accepted": found.accepted, "told": found.told, "reasons": list(found.reasons)}])
    else:
        say("It is accepted:" if found.accepted else f"It is refused. A client is told: {found.told}")
        for reason in found.reasons:
            say(f"  {reason}")
    raise typer.Exit(0 if found.accepted else 1)


async def _for(auth: Auth, pair: TokenPair, audience: str) -> TokenPair:
    """The access token once more, for another service."""
    parts, now = auth.parts, auth.clock()
    claims = parts.tokens.verify(pair.access_token.encode("ascii"), parts.keys.find, now=now)
    token = parts.tokens.issue(
        await parts.keys.signing_key(),
        subject=claims.sub,
        session_id=claims.sid,
        generation=claims.generation,
        client_id=claims.client_id,
        scope=claims.scope,
        auth_time=claims.auth_time,
        amr=claims.methods,
        revision=claims.ver,
        now=now,
        lifetime=claims.exp - now,
        audience=audience,
        acr=claims.acr,
        history=claims.history if claims.history[0] else None,
        jkt=claims.jkt,
    )
    return replace(pair, access_token=token, refresh_token="")


def _token(source: str) -> str:
    """The token of standard input; the scheme of an `Authorization` header before it does not matter."""
    if source != "-":
        fail("A token is no argument, since those stand in the shell's history: send it as one line of standard input")
    try:
        if sys.stdin is not None and sys.stdin.isatty():
            text = getpass("Token: ")
        else:
            line = b"" if sys.stdin is None else sys.stdin.buffer.readline(_LONGEST + 1)
            text = line.decode("utf-8", "backslashreplace")
    except EOFError:
        text = ""
    text = text.removesuffix("\n").removesuffix("\r")
    for scheme in _SCHEMES:
        if text[: len(scheme)].lower() == scheme:
            text = text[len(scheme) :]
    if not text or len(text) > _LONGEST:
        fail(f"There is no token: send one line of at most {_LONGEST} characters to standard input")
    return text
