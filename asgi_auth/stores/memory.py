"""The memory store: one process, dicts, gone with it. For tests, development, and services of one process.

Every verb runs whole under one lock and awaits nothing, so several event loops and threads may share a store.
"""

from __future__ import annotations

import secrets
import threading
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import islice
from typing import Literal, TypeVar

from asgi_auth.clock import Clock
from asgi_auth.model import Event, Record, UserRow
from asgi_auth.stores import FEED_LENGTH, Entry, Revocation, rules
from asgi_auth.stores.local import LocalStore
from asgi_auth.stores.rows import Account, Rows
from asgi_auth.stores.rules import Counter, Tombstone, Turn

T = TypeVar("T")

_SWEPT_AT_ONCE = 20


class _MemoryRows:
    """`verbs.Rows` in dicts."""

    def __init__(self) -> None:
        self._sessions: dict[str, Record | Tombstone] = {}
        self._of_user: dict[str, set[str]] = {}
        self._accounts: dict[str, Account] = {}
        self._names: dict[str, str] = {}
        self._turns: list[Turn] = []
        self._counters: dict[str, Counter] = {}
        self._values: dict[str, str] = {}
        self._feed: deque[Entry] = deque(maxlen=FEED_LENGTH)
        self._last_event = 0
        # When to look at what again. A time that moved is not moved here: who is looked at too early is put back.
        self._due: list[tuple[float, Literal["session", "counter"], str]] = []

    def session(self, sid: str) -> Record | Tombstone | None:
        return self._sessions.get(sid)

    def sessions_of(self, user_id: str) -> list[Record]:
        found = (self._sessions[sid] for sid in self._of_user.get(user_id, ()))
        return [session for session in found if isinstance(session, Record)]

    def put_session(self, record: Record, *, data: bool = True) -> None:
        if record.sid not in self._sessions:
            heappush(self._due, (rules.forget_at(record), "session", record.sid))
            if record.user_id is not None:
                self._of_user.setdefault(record.user_id, set()).add(record.sid)
        self._sessions[record.sid] = record

    def bury(self, tombstone: Tombstone) -> None:
        before = self._sessions.get(tombstone.sid)
        if before is not None:
            self._leave_user(before)
        self._sessions[tombstone.sid] = tombstone
        heappush(self._due, (tombstone.until, "session", tombstone.sid))

    def _leave_user(self, session: Record | Tombstone) -> None:
        theirs = self._of_user.get(session.user_id, set()) if session.user_id is not None else set()
        theirs.discard(session.sid)
        if not theirs and session.user_id is not None:
            self._of_user.pop(session.user_id, None)

    def account(self, user_id: str) -> Account | None:
        return self._accounts.get(user_id)

    def account_by_name(self, name_key: str) -> Account | None:
        user_id = self._names.get(name_key)
        return self._accounts[user_id] if user_id is not None else None

    def put_account(self, account: Account) -> None:
        before = self._accounts.get(account.row.id)
        if before is not None and before.name_key is not None:
            del self._names[before.name_key]
        if account.name_key is not None:
            self._names[account.name_key] = account.row.id
        self._accounts[account.row.id] = account

    def users(self, after: str, limit: int) -> list[UserRow]:
        ids = sorted(user_id for user_id in self._accounts if user_id > after)
        rows = (self._accounts[user_id].row for user_id in ids)
        return list(islice((row for row in rows if not row.deleted), limit))

    def era(self) -> int:
        return len(self._turns)

    def turn(self, era: int) -> Turn | None:
        return self._turns[era] if era < len(self._turns) else None

    def end_era(self, era: int, turn: Turn) -> None:
        self._turns.append(turn)

    def counter(self, key: str) -> Counter | None:
        return self._counters.get(key)

    def put_counter(self, key: str, counter: Counter | None) -> None:
        if counter is None:
            self._counters.pop(key, None)
            return
        if key not in self._counters:
            heappush(self._due, (counter.until, "counter", key))
        self._counters[key] = counter

    def value(self, name: str) -> str | None:
        return self._values.get(name)

    def put_value(self, name: str, value: str) -> None:
        self._values[name] = value

    def emit(self, event: Event) -> None:
        self._last_event += 1
        self._feed.append(Entry(str(self._last_event), secrets.token_hex(8), event))

    def events(self, after: str, limit: int) -> list[Entry]:
        first = int(self._feed[0].id) if self._feed else 0
        start = max(0, int(after or 0) + 1 - first)
        return list(islice(self._feed, start, start + limit))

    def revocations(self, after: str, limit: int, now: float) -> list[Revocation]:
        found = [
            Revocation("sid", session.sid, 0, session.tokens_until)
            for session in self._sessions.values()
            if isinstance(session, Tombstone) and session.tokens_until > now
        ]
        found += [
            Revocation("user", account.row.id, account.row.revision, account.killed_until)
            for account in self._accounts.values()
            if account.killed_until > now
        ]
        later = [revocation for revocation in found if f"{revocation.kind}:{revocation.key}" > after]
        return sorted(later)[:limit]

    def sweep(self, now: float) -> None:
        for _ in range(_SWEPT_AT_ONCE):
            if not self._due or self._due[0][0] > now:
                return
            _, kind, key = heappop(self._due)
            over_at = self._over_at(kind, key)
            if over_at is None:
                continue
            if over_at > now:
                heappush(self._due, (over_at, kind, key))
            elif kind == "counter":
                del self._counters[key]
            else:
                self._leave_user(self._sessions.pop(key))

    def _over_at(self, kind: Literal["session", "counter"], key: str) -> float | None:
        """When this is over by what is known now; None: it is no more."""
        if kind == "counter":
            counter = self._counters.get(key)
            return counter.until if counter is not None else None
        session = self._sessions.get(key)
        return rules.forget_at(session) if isinstance(session, Record) else session.until if session else None


class MemoryStore(LocalStore):
    """A store in this process's memory.

    Args:
        clock: decides instead of the host's clock; for tests.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self._rows = _MemoryRows()
        self._lock = threading.Lock()

    async def open(self) -> None:
        """Nothing to do."""

    async def aclose(self) -> None:
        """Nothing to do: what it keeps belongs to no event loop."""

    async def _read(self, verb: Callable[[Rows, float], T], *, many: bool = False) -> T:
        with self._lock:
            return verb(self._rows, self._now())

    async def _write(self, verb: Callable[[Rows, float], T], *, durable: bool) -> T:
        with self._lock:
            return verb(self._rows, self._now())
