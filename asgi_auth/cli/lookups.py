"""Who is meant by what was typed."""

from __future__ import annotations

from asgi_auth.auth import Auth
from asgi_auth.directory import StoreDirectory
from asgi_auth.errors import ConfigurationError, NameTaken, UnknownUser


async def free(auth: Auth, name: str) -> None:
    """See that nobody has this name, before a password is asked for."""
    if await named(auth, name) is not None:
        raise NameTaken("another user has this name")


async def user_of(auth: Auth, name: str | None, id: str | None) -> str:
    """The id of the user who is meant.

    Raises:
        UnknownUser: there is none.
    """
    if id is not None and name is None:
        row = await auth.parts.store.user(id)
        if row is None or row.deleted:
            raise UnknownUser(f"there is no user with the id {id!r}")
        return id
    if id is not None or name is None:
        raise ConfigurationError("Give the user's name or --id, one of them")
    user_id = await named(auth, name)
    if user_id is None:
        raise UnknownUser(f"there is no user with the name {name!r}")
    return user_id


async def named(auth: Auth, name: str) -> str | None:
    directory = auth.parts.directory
    if not isinstance(directory, StoreDirectory):
        raise ConfigurationError(
            "ASGI_AUTH_USERS names another directory: names and passwords are kept there; `users disable` takes --id"
        )
    return await directory.known(name)
