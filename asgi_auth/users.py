"""What is known of users: their rows in the store, kept like what their directory says.

Whatever changes what a user may do goes through here, by compare and set, so that no change undoes another.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import anyio

from asgi_auth import audit
from asgi_auth.audit import Audit
from asgi_auth.directory import ATTEMPTS, Directory, Verified, storable, stored_key
from asgi_auth.errors import CredentialError, StoreUnavailable, UnknownUser, without_text
from asgi_auth.hooks import Endings, Hooks
from asgi_auth.model import User, UserRow, scope_text, scope_tokens
from asgi_auth.stores import Ended, Store

T = TypeVar("T")

logger = logging.getLogger("asgi_auth")


class Users:
    """The users' rows, and the directory that they follow. Verbs on an id raise `UnknownUser` if there is none of it.

    Args:
        user_refresh: after how many seconds a directory with `by_id` is asked again about a user in use; 0: never.
        timeout: seconds that `by_id` may take.
        log: told of each row made or changed here. `disable` and `delete` are not told: whoever asks for them knows who
            did it.
        endings: told of sessions of somebody the directory knows no more; None: the log alone is.
    """

    def __init__(
        self,
        store: Store,
        directory: Directory,
        log: Audit,
        *,
        endings: Endings | None = None,
        user_refresh: float = 300.0,
        timeout: float = 10.0,
    ) -> None:
        self._store = store
        self._directory = directory
        self._user_refresh = user_refresh
        self._timeout = timeout
        self._audit = log
        self._endings = endings or Endings(log, Hooks())
        self._asking: set[str] = set()

    async def authenticate(self, username: str, password: str) -> UserRow | None:
        """Who has this name and password; None: nobody, and nobody learns why.

        The row is the one that the password was checked against, so a session made for its revision never outruns a
        password change.

        Raises:
            StoreUnavailable: the store or the directory gave no answer.
            InvalidRequest, TooManyRequests: as `StoreDirectory.verify`.
        """
        found = await self._answer(self._verified(username, password))
        if found is None:
            return None
        row = found.row or await self.reconcile(found.user)
        return None if row.disabled else row

    async def known(self, user_id: str) -> UserRow | None:
        """The row of a user who is known by the id alone; None: the directory, or else the store, does not know them,
        or they may not log in.

        Raises:
            StoreUnavailable: no answer.
        """
        if self._directory.refreshes:
            user = await self._answer(self._in_time(user_id))
            row = None if user is None else await self.reconcile(user)
        else:
            row = await self._store.user(user_id)
        return None if row is None or row.deleted or row.disabled else row

    async def reconcile(self, user: User) -> UserRow:
        """The stored row of a user that somebody vouches for, made or changed where it is unlike. Like it: no write.

        A display name equal to the id means that none was given, and leaves the stored one. The row may be `disabled`.

        Raises:
            ValueError: claims that JSON cannot hold.
            StoreUnavailable: no answer, or others change the row all the time.
        """
        wanted = storable(user)
        return await self._write(user.id, lambda row: _like(row or UserRow(user.id), wanted))

    async def update(
        self,
        user: User | str,
        *,
        scopes: str | Collection[str] | None = None,
        claims: Mapping[str, Any] | None = None,
        display_name: str | None = None,
    ) -> UserRow:
        """Change what a user may do or is called. A change raises the revision; what is not given stays.

        Args:
            user: the id; or a User, all of whose scopes and claims replace the stored ones.

        Raises:
            ValueError: a scope is none, or claims that JSON cannot hold.
        """
        user_id = user if isinstance(user, str) else user.id

        def changed(row: UserRow | None) -> UserRow:
            row = _known(user_id, row)
            given = row.user() if isinstance(user, str) else user
            wanted = replace(
                given,
                display_name=given.display_name if display_name is None else display_name,
                scopes=given.scopes if scopes is None else scope_tokens(scopes),
                claims=given.claims if claims is None else claims,
            )
            return _like(row, storable(wanted))

        return await self._write(user_id, changed)

    async def disable(self, user_id: str) -> tuple[Ended, ...]:
        """Let a user log in no more, and end all sessions (reason `disabled`), which are returned."""
        return _known(user_id, await self._store.end_user(user_id, "disabled", disable=True))

    async def enable(self, user_id: str) -> UserRow:
        """Let a disabled user log in again. One who is not disabled keeps all sessions."""
        return await self._write(user_id, lambda row: replace(_known(user_id, row), disabled=False))

    async def delete(self, user_id: str) -> tuple[Ended, ...]:
        """Forget a user but for the id, and end all sessions (reason `deleted`), which are returned."""
        return _known(user_id, await self._store.delete_user(user_id))

    async def refreshed(self, row: UserRow, now: float) -> UserRow | None:
        """A row that its directory was asked about at most `user_refresh` ago; None: the user is gone.

        One request asks; others of this process meanwhile go on with the row they have, unless it is twice as old. What
        is returned should replace a copy of the row, or its next request looks into the store again.

        Args:
            now: on the store's clock, when `row` was read.

        Raises:
            StoreUnavailable: the directory failed (logged) or took too long, or the store did.
        """
        age = now - row.checked_at
        if not self._is_due(row, now) or (row.id in self._asking and age < 2 * self._user_refresh):
            return row
        self._asking.add(row.id)
        try:
            current = await self._store.user(row.id)
            if current is None or current.deleted or current.disabled:
                return None
            return await self._asked(current) if self._is_due(current, now) else current
        finally:
            self._asking.discard(row.id)

    @property
    def follows_directory(self) -> bool:
        """Whether `refreshed` ever asks."""
        return self._directory.refreshes and self._user_refresh > 0

    def refreshed_for(self, row: UserRow, now: float) -> float:
        """Seconds for which `refreshed` gives this row back; `now`: on the store's clock."""
        return row.checked_at + self._user_refresh - now if self.follows_directory else math.inf

    async def always_refreshed(self, row: UserRow) -> UserRow | None:
        """As `refreshed`, but the directory is asked whenever it has a `by_id`. For a token refresh."""
        return await self._asked(row) if self._directory.refreshes else row

    def _is_due(self, row: UserRow, now: float) -> bool:
        return self.follows_directory and self._user_refresh <= now - row.checked_at

    async def _asked(self, row: UserRow) -> UserRow | None:
        user = await self._answer(self._in_time(row.id))
        if user is None:
            await self._endings.tell(await self._store.end_user(row.id, "disabled") or ())
            return None
        if _like(row, user) == row:
            # Nothing but the time of asking is new, which every write of the row notes.
            saved = await self._store.save_user(row, name_key=stored_key(row), expected=row.revision, bump=False)
            if isinstance(saved, int):
                return row
        try:
            row = await self._write(row.id, lambda current: _like(_known(row.id, current), user))
        except UnknownUser:
            return None
        return None if row.disabled else row

    async def _verified(self, username: str, password: str) -> Verified | None:
        found = await self._directory.verify(username, password)
        return None if found is None else found._replace(user=storable(found.user))

    async def _in_time(self, user_id: str) -> User | None:
        with anyio.fail_after(self._timeout):
            user = await self._directory.by_id(user_id)
        return None if user is None else storable(user)

    async def _answer(self, question: Awaitable[T]) -> T:
        """What the directory says. Its failures are nobody's fault: logged, and a 503 for the client."""
        try:
            return await question
        except (CredentialError, StoreUnavailable):
            raise
        except Exception as error:
            logger.error("The user directory failed with %s", without_text(error))
        raise StoreUnavailable("the user directory failed")

    async def _write(self, user_id: str, change: Callable[[UserRow | None], UserRow]) -> UserRow:
        """Read, change and write a row until nobody else wrote in between. `change` gets None for no such user."""
        for _ in range(ATTEMPTS):
            row = await self._store.user(user_id)
            before = None if row is None or row.deleted else row
            after = change(before)
            if after == before:
                return after
            expected = None if before is None else before.revision
            saved = await self._store.save_user(after, name_key=stored_key(after), expected=expected)
            if isinstance(saved, int):
                after = replace(after, revision=saved, ended_below=0 if row is None else row.ended_below)
                self._log_change(before, after)
                return after
        raise StoreUnavailable("the user's row changes all the time")

    def _log_change(self, before: UserRow | None, after: UserRow) -> None:
        record = self._audit.record
        if before is None:
            record(audit.USER_CREATED, None, after.id)
        elif before.scopes != after.scopes:
            record(audit.RIGHTS_CHANGED, after.id, scope_text(before.scopes), scope_text(after.scopes))
        else:
            record(audit.USER_UPDATED, None, after.id)


def _like(row: UserRow, user: User) -> UserRow:
    """The row as the user is. A display name equal to the id was not given."""
    name = user.display_name
    if name == user.id:
        name = row.display_name or name
    return replace(row, display_name=name, scopes=user.scopes, claims=user.claims, session_limit=user.session_limit)


def _known(user_id: str, found: T | None) -> T:
    if found is None:
        raise UnknownUser(f"there is no user with the id {user_id!r}")
    return found
