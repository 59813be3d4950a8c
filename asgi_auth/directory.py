"""User directories: a name and a password in, a user or None out.

`StoreDirectory` is the built-in one, whose users stand in the store; `CallableDirectory` asks the application's own
function or object, which `load_directory` finds by its name.
"""

from __future__ import annotations

import importlib
import inspect
import json
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, Protocol

import anyio.to_thread

from asgi_auth.errors import ConfigurationError, NameTaken, StoreUnavailable, TooManyRequests, UnknownUser
from asgi_auth.model import User, UserRow
from asgi_auth.passwords import PasswordHasher, check_password, name_key
from asgi_auth.stores import Keep, Store

ATTEMPTS = 10
"""How often a compare and set is repeated before the store counts as unavailable."""


class Verified(NamedTuple):
    """Somebody whose password was right. `row`: what the store held of them when it was checked; None: not known."""

    user: User
    row: UserRow | None = None


class Directory(Protocol):
    """Where users and their passwords are."""

    @property
    def refreshes(self) -> bool:
        """Whether `by_id` asks somebody who can say more than the store."""
        ...

    async def verify(self, username: str, password: str) -> Verified | None:
        """The user with this name and password; None: there is no such, and nobody learns why."""

    async def by_id(self, user_id: str) -> User | None:
        """The user as the directory knows them now; None: gone, or no longer allowed to log in."""


class StoreDirectory:
    """The built-in directory: users with name and Argon2id hash in the store.

    Args:
        minimum: code points that a new password has at least.
        host: of the application's public address; no password may be made of it.
        blocklist: further common passwords, as `passwords.read_blocklist` gives them.
    """

    refreshes = False

    def __init__(
        self,
        store: Store,
        hasher: PasswordHasher,
        *,
        minimum: int = 15,
        host: str | None = None,
        blocklist: Collection[str] = frozenset(),
    ) -> None:
        self._store = store
        self._hasher = hasher
        self._check = partial(check_password, minimum=minimum, host=host, extra=blocklist)

    async def verify(self, username: str, password: str) -> Verified | None:
        """As `Directory.verify`: one way and one time for unknown, disabled, without password and wrong.

        A hash of other Argon2 parameters than today's is renewed. Raises as `PasswordHasher.verify`.
        """
        row = await self._named(username)
        right = await self._hasher.verify(None if row is None else row.password_hash, password)
        if row is None or row.disabled or not right:
            return None
        row = await self._renewed(row, password)
        return Verified(row.user(), row)

    async def by_id(self, user_id: str) -> User | None:
        row = await self._store.user(user_id)
        return None if row is None or row.deleted or row.disabled else row.user()

    async def create_user(
        self,
        name: str,
        password: str,
        *,
        scopes: Collection[str] = (),
        claims: Mapping[str, Any] | None = None,
        display_name: str | None = None,
        id: str | None = None,
        weak: bool = False,
    ) -> UserRow:
        """Make a user.

        Args:
            name: what the user types to log in; kept as typed, compared in NFKC and casefold.
            display_name: for people; the name if not given.
            id: random if not given.
            weak: let any password pass. For the users of a demonstration.

        Raises:
            NameTaken: another user has this name, or this id.
            WeakPassword: with the reason.
            ValueError: the name, the id or a scope is none.
        """
        key = name_key(name)
        user = storable(User(id or secrets.token_hex(16), display_name or name, frozenset(scopes), claims or {}))
        if not weak:
            await self._checked(password, name)
        fresh = await self._hasher.hash(password)
        row = UserRow(user.id, user.display_name, user.scopes, user.claims, name=name, password_hash=fresh)
        saved = await self._store.save_user(row, name_key=key, expected=None)
        if saved == "taken":
            raise NameTaken("another user has this name")
        if saved == "changed":
            raise NameTaken("another user has this id")
        return replace(row, revision=saved)

    async def set_password(self, user_id: str, password: str, *, keep: Keep | None = None) -> None:
        """Give a user a new password, whatever the old one was, and end the user's sessions (reason `password`).

        Args:
            keep: the one session that survives.

        Raises:
            UnknownUser: there is none, or none with a password here.
            WeakPassword: with the reason.
        """
        await self._replace(user_id, None, password, keep)

    async def change_password(self, user_id: str, current: str, new: str, *, keep: Keep | None = None) -> bool:
        """As `set_password`, for somebody who knows the current one; False: it is wrong, or the user is disabled.

        The new password replaces no other than the one that was checked.

        Raises:
            UnknownUser, WeakPassword: as `set_password`.
            InvalidRequest: the current password is over 1,024 bytes or no text.
        """
        return await self._replace(user_id, current, new, keep)

    async def _replace(self, user_id: str, current: str | None, new: str, keep: Keep | None) -> bool:
        fresh = ""
        for _ in range(ATTEMPTS):
            row = await self._known(user_id)
            if current is not None:
                right = await self._hasher.verify(row.password_hash, current)
                if row.disabled or not right:
                    return False
            if not fresh:
                await self._checked(new, row.name)
                fresh = await self._hasher.hash(new)
            saved = await self._store.save_user(
                replace(row, password_hash=fresh),
                name_key=stored_key(row),
                expected=row.revision,
                ends="password",
                keep=keep,
            )
            if isinstance(saved, int):
                return True
        raise StoreUnavailable("the user's row changes all the time")

    async def _renewed(self, row: UserRow, password: str) -> UserRow:
        """The password under today's parameters. The old hash stays if it was changed meanwhile, or if we are busy."""
        if row.password_hash is None or not self._hasher.needs_rehash(row.password_hash):
            return row
        try:
            renewed = replace(row, password_hash=await self._hasher.hash(password))
        except TooManyRequests:
            return row
        saved = await self._store.save_user(renewed, name_key=stored_key(row), expected=row.revision, bump=False)
        return renewed if isinstance(saved, int) else row

    async def known(self, username: str) -> str | None:
        """The id of the user with this name, whatever the password; None: there is none."""
        row = await self._named(username)
        return None if row is None else row.id

    async def _named(self, username: str) -> UserRow | None:
        try:
            key = name_key(username)
        except ValueError:
            return None
        return await self._store.user_by_name(key)

    async def _known(self, user_id: str) -> UserRow:
        row = await self._store.user(user_id)
        if row is None or row.deleted:
            raise UnknownUser(f"there is no user with the id {user_id!r}")
        if row.name is None:
            raise UnknownUser(f"the user {user_id!r} is of another directory and has no password here")
        return row

    async def _checked(self, password: str, name: str | None) -> None:
        # The list of common passwords takes a moment at the first question.
        await anyio.to_thread.run_sync(partial(self._check, password, name=name))


class CallableDirectory:
    """The application's own directory: its two functions, whose answers are checked. No `by_id`: nobody is asked again.
    Raises TypeError: at a question, if what came back is neither a User nor None."""

    def __init__(
        self,
        verify: Callable[[str, str], Awaitable[User | None]],
        by_id: Callable[[str], Awaitable[User | None]] | None = None,
    ) -> None:
        self._verify = verify
        self._by_id = by_id

    @property
    def refreshes(self) -> bool:
        return self._by_id is not None

    async def verify(self, username: str, password: str) -> Verified | None:
        user = _a_user(await self._verify(username, password))
        return None if user is None else Verified(user)

    async def by_id(self, user_id: str) -> User | None:
        """As `Directory.by_id`. Raises ValueError: it is another user, or there is no `by_id` to ask."""
        if self._by_id is None:
            raise ValueError("this directory has no by_id")
        user = _a_user(await self._by_id(user_id))
        if user is not None and user.id != user_id:
            raise ValueError("by_id returned another user than the one asked for")
        return user


def load_directory(spec: str) -> CallableDirectory:
    """The directory that `module:name` names: an async function, or an object with `verify` and maybe `by_id`.
    Raises ConfigurationError: what is wrong with it, and what it should be."""
    module_name, _, path = spec.partition(":")
    if not (module_name and path):
        raise ConfigurationError(f"ASGI_AUTH_USERS: {spec!r} is not of the form module:name, like myapp.users:login")
    try:
        target: Any = importlib.import_module(module_name)
    except Exception as error:
        text = f"ASGI_AUTH_USERS: {spec!r}: importing {module_name!r} failed: {type(error).__name__}: {error}"
        raise ConfigurationError(text) from error
    for name in path.split("."):
        if not hasattr(target, name):
            raise ConfigurationError(f"ASGI_AUTH_USERS: {spec!r}: there is no {name!r} in {module_name!r}")
        target = getattr(target, name)
    if inspect.isclass(target):
        raise ConfigurationError(f"ASGI_AUTH_USERS: {spec!r} is a class; name an instance of it")
    if not hasattr(target, "verify"):
        return CallableDirectory(_async(target, spec, "username", "password"))
    by_id = getattr(target, "by_id", None)
    return CallableDirectory(
        _async(target.verify, f"{spec}.verify", "username", "password"),
        None if by_id is None else _async(by_id, f"{spec}.by_id", "user_id"),
    )


def stored_key(row: UserRow) -> str | None:
    """The compared form of the name that a row has, if it has one."""
    return None if row.name is None else name_key(row.name)


def storable(user: User) -> User:
    """The user as the store will give it back: claims as JSON keeps them. Raises ValueError: the claims are no JSON
    object, or the display name is no text."""
    try:
        user.display_name.encode()
        claims = json.loads(json.dumps(dict(user.claims), allow_nan=False))
    except (TypeError, ValueError, RecursionError, AttributeError) as error:
        raise ValueError(f"the user {user.id!r} cannot be stored: {error}") from error
    return replace(user, claims=claims)


def _async(function: Any, what: str, *arguments: str) -> Any:
    wanted = f"`async def ({', '.join(arguments)})` that returns an asgi_auth.User or None"
    if not callable(function):
        raise ConfigurationError(f"ASGI_AUTH_USERS: {what!r} cannot be called; it must be {wanted}")
    if not (inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)):
        raise ConfigurationError(f"ASGI_AUTH_USERS: {what!r} is not async; it must be {wanted}")
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError as error:
        raise ConfigurationError(f"ASGI_AUTH_USERS: {what!r} takes other arguments; it must be {wanted}") from error
    return function


def _a_user(found: object) -> User | None:
    if found is None or isinstance(found, User):
        return found
    raise TypeError(f"the user directory must return an asgi_auth.User or None, not {type(found).__name__}")
