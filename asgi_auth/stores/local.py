"""The `Store` protocol over `verbs`, for stores that live in this process or beside it. What remains to a store is how
it runs a verb: alone on its rows, and written down or merely read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal, TypeVar

from asgi_auth.clock import Clock, wall_clock
from asgi_auth.model import Reason, UserRow
from asgi_auth.stores import (
    Created,
    Ended,
    Entry,
    Exchanged,
    Hit,
    Keep,
    Limit,
    Loaded,
    NewSession,
    Presented,
    Revocation,
    Windows,
    verbs,
)
from asgi_auth.stores.rows import Rows

T = TypeVar("T")


class LocalStore:
    """All verbs of `asgi_auth.stores.Store`; see there."""

    durable = False

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock

    def _now(self) -> float:
        return (self.clock or wall_clock)()

    async def _read(self, verb: Callable[[Rows, float], T], *, many: bool = False) -> T:
        """Run a verb that changes nothing. `many`: it reads more than a few rows."""
        raise NotImplementedError

    async def _write(self, verb: Callable[[Rows, float], T], *, durable: bool) -> T:
        """Run a verb as one operation. `durable`: when this returns, no loss of power undoes it."""
        raise NotImplementedError

    async def once(self, name: str, default: str) -> str:
        return await self._write(lambda rows, now: verbs.once(rows, now, name, default), durable=True)

    async def keys(self) -> str | None:
        return await self._read(verbs.keys)

    async def put_keys(self, expected: str | None, ring: str) -> bool:
        return await self._write(lambda rows, now: verbs.put_keys(rows, now, expected, ring), durable=True)

    async def load(self, sid: str) -> Loaded | Ended | None:
        return await self._read(lambda rows, now: verbs.load(rows, now, sid))

    async def create(
        self,
        new: NewSession,
        *,
        revision: int = 0,
        replaces: Presented | None = None,
        data_from: Presented | None = None,
        limit: int = 0,
        evict: bool = True,
    ) -> Created | Literal["changed", "limit"]:
        return await self._write(
            lambda rows, now: verbs.create(
                rows,
                now,
                new,
                revision=revision,
                replaces=replaces,
                data_from=data_from,
                limit=limit,
                evict=evict,
            ),
            durable=new.user_id is not None or replaces is not None,
        )

    async def write_data(
        self, sid: str, put: Mapping[str, str], delete: Collection[str], *, max_size: int
    ) -> int | Literal["gone", "too_large"]:
        return await self._write(
            lambda rows, now: verbs.write_data(rows, now, sid, put, delete, max_size=max_size), durable=False
        )

    async def touch(self, sids: Collection[str]) -> None:
        await self._write(lambda rows, now: verbs.touch(rows, now, sids), durable=False)

    async def rotate(self, presented: Presented, digest: str, *, grace: float) -> bool:
        return await self._write(
            lambda rows, now: verbs.rotate(rows, now, presented, digest, grace=grace), durable=True
        )

    async def end(self, sid: str, reason: Reason) -> Ended | None:
        return await self._write(lambda rows, now: verbs.end(rows, now, sid, reason), durable=True)

    async def end_user(
        self, user_id: str, reason: Reason, *, keep: Keep | None = None, disable: bool | None = None
    ) -> tuple[Ended, ...] | None:
        return await self._write(
            lambda rows, now: verbs.end_user(rows, now, user_id, reason, keep=keep, disable=disable), durable=True
        )

    async def end_all(self, reason: Reason) -> None:
        await self._write(lambda rows, now: verbs.end_all(rows, now, reason), durable=True)

    async def sessions(self, user_id: str) -> list[Loaded]:
        return await self._read(lambda rows, now: verbs.sessions(rows, now, user_id), many=True)

    async def exchange(
        self,
        sid: str,
        *,
        generation: int,
        digest: str,
        client_id: str,
        scope: str,
        revision: int,
        nonce: str,
        next_digest: str,
        windows: Windows,
    ) -> Exchanged:
        return await self._write(
            lambda rows, now: verbs.exchange(
                rows,
                now,
                sid,
                generation=generation,
                digest=digest,
                client_id=client_id,
                scope=scope,
                revision=revision,
                nonce=nonce,
                next_digest=next_digest,
                windows=windows,
            ),
            durable=True,
        )

    async def confirm(self, sid: str, generation: int) -> None:
        await self._write(lambda rows, now: verbs.confirm(rows, now, sid, generation), durable=False)

    async def hit(self, limits: Sequence[Limit]) -> Hit:
        return await self._write(lambda rows, now: verbs.hit(rows, now, limits), durable=False)

    async def unhit(self, undo: Collection[str], clear: Collection[str]) -> None:
        await self._write(lambda rows, now: verbs.unhit(rows, now, undo, clear), durable=False)

    async def user(self, user_id: str) -> UserRow | None:
        return await self._read(lambda rows, now: verbs.user(rows, now, user_id))

    async def user_by_name(self, name_key: str) -> UserRow | None:
        return await self._read(lambda rows, now: verbs.user_by_name(rows, now, name_key))

    async def save_user(
        self,
        row: UserRow,
        *,
        name_key: str | None = None,
        expected: int | None,
        bump: bool = True,
        ends: Reason | None = None,
        keep: Keep | None = None,
    ) -> int | Literal["changed", "taken"]:
        return await self._write(
            lambda rows, now: verbs.save_user(
                rows, now, row, name_key=name_key, expected=expected, bump=bump, ends=ends, keep=keep
            ),
            durable=bump or ends is not None,
        )

    async def delete_user(self, user_id: str) -> tuple[Ended, ...] | None:
        return await self._write(lambda rows, now: verbs.delete_user(rows, now, user_id), durable=True)

    async def users(self, after: str = "", limit: int = 100) -> list[UserRow]:
        return await self._read(lambda rows, now: rows.users(after, limit), many=True)

    async def events(self, after: str = "", limit: int = 1000) -> list[Entry]:
        return await self._read(lambda rows, now: rows.events(after, limit), many=True)

    async def revocations(self, after: str = "", limit: int = 5000) -> list[Revocation]:
        return await self._read(lambda rows, now: rows.revocations(after, limit, now), many=True)
