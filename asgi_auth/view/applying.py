"""A store whose changes are applied to a copy before they return, also when nobody can say whether they happened."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal, cast

from asgi_auth.errors import StoreUnavailable
from asgi_auth.model import Reason, UserRow
from asgi_auth.stores import SWEPT, Created, Ended, Exchange, Exchanged, Loaded, NewSession, Presented, Store, Swept
from asgi_auth.view.copy import Copy


def applying(store: Store, copy: Copy) -> Store:
    """The same store. What is changed through it is known to `copy` when the verb returns."""
    return cast(Store, _Applying(store, copy))


class _Applying:
    """Verbs that change nothing a copy holds are the store's own."""

    def __init__(self, store: Store, copy: Copy) -> None:
        self._store = store
        self._copy = copy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def _all_ended(self, ended: Collection[Ended]) -> None:
        for one in ended:
            self._copy.ended(one)

    async def create(
        self,
        new: NewSession,
        *,
        replaces: Presented | None = None,
        data_from: Presented | None = None,
        **options: Any,
    ) -> Created | Literal["changed", "limit", "over"]:
        try:
            created = await self._store.create(new, replaces=replaces, data_from=data_from, **options)
        finally:
            for shown in (replaces, data_from):
                if shown is not None:
                    self._copy.changed(shown.sid)
        if isinstance(created, Created):
            self._all_ended(created.ended)
            for shown in (replaces, data_from):
                if shown is not None:  # whatever it ended of before, its place is taken now
                    self._copy.superseded(shown.sid)
        return created

    async def write_data(
        self, sid: str, put: Mapping[str, str], delete: Collection[str], *, max_size: int
    ) -> int | Literal["gone", "too_large"]:
        try:
            return await self._store.write_data(sid, put, delete, max_size=max_size)
        finally:
            self._copy.changed(sid)

    async def touch(self, sids: Collection[str] | Mapping[str, float]) -> None:
        try:
            await self._store.touch(sids)
        finally:
            for sid in sids:
                self._copy.changed(sid)

    async def rotate(self, presented: Presented, digest: str, *, grace: float) -> bool:
        try:
            return await self._store.rotate(presented, digest, grace=grace)
        finally:
            self._copy.changed(presented.sid)

    async def elevate(self, presented: Presented, digest: str, **options: Any) -> Loaded | None:
        try:
            return await self._store.elevate(presented, digest, **options)
        finally:
            self._copy.changed(presented.sid)

    async def end(self, sid: str, reason: Reason) -> Ended | None:
        self._copy.changed(sid)
        try:
            ended = await self._store.end(sid, reason)
        except StoreUnavailable:
            self._copy.ended(Ended(sid, None, reason))
            raise
        if ended is not None:
            self._copy.ended(ended)
        else:  # by a change that may not have been heard of here
            self._copy.gone(sid)
        return ended

    async def supersede(self, sid: str) -> Ended | None:
        try:
            return await self._store.supersede(sid)
        finally:
            self._copy.superseded(sid)

    async def sweep(self, limit: int = SWEPT) -> Swept:
        swept = await self._store.sweep(limit)
        self._all_ended(swept.ended)
        return swept

    async def end_user(self, user_id: str, reason: Reason, **options: Any) -> tuple[Ended, ...] | None:
        try:
            ended = await self._store.end_user(user_id, reason, **options)
        finally:
            self._copy.user_changed(user_id, None)
        self._all_ended(ended or ())
        return ended

    async def end_all(self, reason: Reason) -> None:
        before = self._copy.history  # what tells of this change may come before the answer
        try:
            await self._store.end_all(reason)
        finally:
            self._copy.all_changed(None)
            self._copy.ends.everybody(before.epoch, before.era + 1)

    async def exchange(self, asked: Exchange) -> Exchanged:
        try:
            exchanged = await self._store.exchange(asked)
        finally:
            self._copy.changed(asked.sid)
        if exchanged.outcome == "reused":
            self._copy.ended(Ended(asked.sid, None, "reuse"))
        return exchanged

    async def put_keys(self, expected: str | None, ring: str) -> bool:
        try:
            return await self._store.put_keys(expected, ring)
        finally:
            self._copy.ring_changed()

    async def deny(self, jti: str, lifetime: float) -> None:
        try:
            await self._store.deny(jti, lifetime)
        finally:
            self._copy.denied(jti, self._copy.store_time + lifetime)

    async def confirm(self, sid: str, generation: int) -> None:
        try:
            await self._store.confirm(sid, generation)
        finally:
            self._copy.changed(sid)

    async def save_user(self, row: UserRow, **options: Any) -> int | Literal["changed", "taken"]:
        saved: int | Literal["changed", "taken"] | None = None
        try:
            saved = await self._store.save_user(row, **options)
            return saved
        finally:
            self._copy.user_changed(row.id, saved if isinstance(saved, int) else None)

    async def delete_user(self, user_id: str) -> tuple[Ended, ...] | None:
        try:
            ended = await self._store.delete_user(user_id)
        finally:
            self._copy.user_changed(user_id, None)
        self._all_ended(ended or ())
        return ended
