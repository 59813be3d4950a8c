"""What backends ask: is this session alive, does this token still stand.

Each answer comes from the store, so it is as current as the store is. Holds values that it does not open: it knows no
cookie and no token's text.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from asgi_auth.model import UserRow
from asgi_auth.stores import Ended, Loaded, Store


class Standing(NamedTuple):
    """How an access token stands. `user` and the store's clock `now` come with a current one."""

    state: Literal["current", "out_of_date", "revoked"]
    user: UserRow | None = None
    now: float = 0.0


class View:
    """The local answer to "who is this", over one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def session(self, sid: str) -> Loaded | Ended | None:
        """A session that a cookie names: alive, ended with its reason, or unknown.

        Raises:
            StoreUnavailable: it cannot be said.
        """
        return await self._store.load(sid)

    async def token(self, *, sid: str, user_id: str, revision: int, generation: int) -> Standing:
        """How an access token stands whose signature and times were verified.

        `generation` is of the refresh token that it came with: seeing the token confirms that one.

        Raises:
            StoreUnavailable: it cannot be said.
        """
        loaded = await self._store.load(sid)
        if not isinstance(loaded, Loaded) or loaded.user is None or loaded.user.id != user_id:
            return Standing("revoked")
        if revision != loaded.user.revision:
            return Standing("out_of_date")
        grant = loaded.record.grant
        if grant is not None and grant.generation == generation and grant.confirmed_at is None:
            await self._store.confirm(sid, generation)
        return Standing("current", loaded.user, loaded.now)
