"""The verbs of `Auth` that are about users: who there is, what they may do, whether they may still come in."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from asgi_auth import audit
from asgi_auth.directory import StoreDirectory
from asgi_auth.errors import ConfigurationError
from asgi_auth.model import User, scope_tokens
from asgi_auth.parts import Parts
from asgi_auth.renewals import Renewals
from asgi_auth.runtime import Runtime


class Accounts(Runtime):
    """See `Auth`, which is one."""

    async def create_user(
        self,
        name: str,
        password: str,
        *,
        scopes: str | Collection[str] = (),
        claims: Mapping[str, Any] | None = None,
        display_name: str | None = None,
        id: str | None = None,
        check: bool = True,
    ) -> User:
        """Put a user into the built-in directory.

        Args:
            name: what the user types to log in; compared in NFKC and casefold.
            id: random if not given.
            check: whether the password must be good enough (length, common ones).

        Raises:
            NameTaken: another user has this name, or this id.
            WeakPassword: with the reason.
            ConfigurationError: users are kept elsewhere.
        """
        parts, directory = await self._built_in()
        row = await directory.create_user(
            name,
            password,
            scopes=scope_tokens(scopes),
            claims=claims,
            display_name=display_name,
            id=id,
            weak=not check,
        )
        parts.audit.record(audit.USER_CREATED, None, row.id)
        return row.user()

    async def set_password(self, user_id: str, password: str) -> None:
        """Give a user of the built-in directory a new password, and end all sessions in both modes.

        Raises:
            UnknownUser: there is none, or none with a password here.
            WeakPassword: with the reason.
        """
        parts, directory = await self._built_in()
        renewals = Renewals(parts)
        ending = await renewals.ending(user_id)
        await directory.set_password(user_id, password)
        parts.audit.record(audit.PASSWORD_CHANGED, user_id)
        await renewals.tell(ending)

    async def update_user(
        self,
        user: User | str,
        *,
        scopes: str | Collection[str] | None = None,
        claims: Mapping[str, Any] | None = None,
        display_name: str | None = None,
        wait: bool = False,
    ) -> User:
        """Change what a user may do, at once and everywhere: cookies have it with their next request, access tokens
        made before are out of date and refresh into it.

        Args:
            user: a User, whose scopes and claims replace the stored ones; or an id, and only what is given changes.
            wait: as in `revoke`.

        Raises:
            UnknownUser: no user has this id.
        """
        parts = await self.opened()
        async with parts.view.settled(wait):
            row = await parts.users.update(user, scopes=scopes, claims=claims, display_name=display_name)
        return row.user()

    async def disable_user(self, user_id: str, *, wait: bool = False) -> None:
        """Let a user log in no more, and end all sessions in both modes. `wait`: as in `revoke`.

        Raises:
            UnknownUser: no user has this id.
        """
        parts = await self.opened()
        async with parts.view.settled(wait):
            ended = await parts.users.disable(user_id)
        parts.audit.record(audit.USER_DISABLED, None, user_id)
        await parts.endings.tell(ended)

    async def enable_user(self, user_id: str) -> None:
        """Let a disabled user log in again.

        Raises:
            UnknownUser: no user has this id.
        """
        parts = await self.opened()
        await parts.users.enable(user_id)

    async def delete_user(self, user_id: str) -> None:
        """Forget a user, and end all sessions in both modes.

        Raises:
            UnknownUser: no user has this id.
        """
        parts = await self.opened()
        ended = await parts.users.delete(user_id)
        parts.audit.record(audit.USER_DELETED, None, user_id)
        await parts.endings.tell(ended)

    async def _built_in(self) -> tuple[Parts, StoreDirectory]:
        parts = await self.opened()
        if not isinstance(parts.directory, StoreDirectory):
            raise ConfigurationError("ASGI_AUTH_USERS names another directory: users and passwords are kept there")
        return parts, parts.directory
