"""The `Store` protocol over `verbs`, for stores that live in this process or beside it. What remains to a store is how
it runs a verb: alone on its rows, and written down or merely read."""

from __future__ import annotations

from collections.abc import Callable
from types import CoroutineType
from typing import Any, Concatenate, ParamSpec, TypeVar

from asgi_auth.clock import Clock, wall_clock
from asgi_auth.model import Reason, UserRow
from asgi_auth.stores import Cursor, NewSession, Presented, user_verbs, verbs
from asgi_auth.stores.feed import Member
from asgi_auth.stores.rows import Rows

P = ParamSpec("P")
T = TypeVar("T")


def _reads(
    verb: Callable[Concatenate[Rows, P], T], *, many: bool = False
) -> Callable[Concatenate[LocalStore, P], CoroutineType[Any, Any, T]]:
    """A verb that changes nothing, as a store's method. `many`: it reads more than a few rows."""

    async def method(store: LocalStore, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await store._read(lambda rows: verb(rows, *args, **kwargs), many=many)

    return method  # type: ignore[return-value]  # mypy calls it a Coroutine


def _writes(
    verb: Callable[Concatenate[Rows, P], T], *, durable: bool | Callable[..., bool] = True
) -> Callable[Concatenate[LocalStore, P], CoroutineType[Any, Any, T]]:
    """A verb as a store's method. `durable`: when it returns, no loss of power undoes it; asked with its arguments."""

    async def method(store: LocalStore, /, *args: P.args, **kwargs: P.kwargs) -> T:
        lasting = durable if isinstance(durable, bool) else durable(*args, **kwargs)
        return await store._write(lambda rows: verb(rows, *args, **kwargs), durable=lasting)

    return method  # type: ignore[return-value]  # mypy calls it a Coroutine


def _is_login(new: NewSession, *, replaces: Presented | None = None, **others: object) -> bool:
    return new.user_id is not None or replaces is not None


def _is_felt(row: UserRow, *, bump: bool = True, ends: Reason | None = None, **others: object) -> bool:
    return bump or ends is not None


class LocalStore:
    """All verbs of `asgi_auth.stores.Store`; see there."""

    durable = False

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock

    def _now(self) -> float:
        return (self.clock or wall_clock)()

    async def _read(self, verb: Callable[[Rows], T], *, many: bool) -> T:
        raise NotImplementedError

    async def _write(self, verb: Callable[[Rows], T], *, durable: bool) -> T:
        raise NotImplementedError

    def partition(self, user_id: str | None) -> str:
        """There is one."""
        return "00"

    async def behind(self, mark: Cursor | None) -> list[Member]:
        """Nobody: who follows this feed looks at it before each answer."""
        return []

    async def expel(self, member: Member) -> None:
        """There are none."""

    once = _writes(verbs.once)
    keys = _reads(verbs.keys)
    put_keys = _writes(verbs.put_keys)
    load = _reads(verbs.load)
    load_all = _reads(verbs.load_all)
    create = _writes(verbs.create, durable=_is_login)
    write_data = _writes(verbs.write_data, durable=False)
    touch = _writes(verbs.touch, durable=False)
    rotate = _writes(verbs.rotate)
    elevate = _writes(verbs.elevate)
    end = _writes(verbs.end)
    supersede = _writes(verbs.supersede)
    end_user = _writes(user_verbs.end_user)
    end_all = _writes(verbs.end_all)
    sweep = _writes(verbs.sweep, durable=False)
    sessions = _reads(verbs.sessions, many=True)
    exchange = _writes(verbs.exchange)
    confirm = _writes(verbs.confirm, durable=False)
    deny = _writes(verbs.deny)
    denied = _reads(verbs.denied)
    seen_before = _writes(verbs.seen_before, durable=False)
    hit = _writes(verbs.hit, durable=False)
    unhit = _writes(verbs.unhit, durable=False)
    user = _reads(user_verbs.user)
    user_by_name = _reads(user_verbs.user_by_name)
    save_user = _writes(user_verbs.save_user, durable=_is_felt)
    delete_user = _writes(user_verbs.delete_user)
    users = _reads(user_verbs.users, many=True)
    events = _reads(verbs.events, many=True)
    newest = _writes(verbs.newest, durable=False)
    history = _writes(verbs.history)
    revocations = _reads(verbs.revocations, many=True)
