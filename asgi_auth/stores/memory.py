"""The memory store: one process, dicts, gone with it. For tests, development, and services of one process.

Every verb runs whole under one lock and awaits nothing, so several event loops and threads may share a store.
"""

from __future__ import annotations

import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from heapq import heappop, heappush
from itertools import islice
from typing import Any, Literal, NamedTuple, TypeVar

from asgi_auth.clock import Clock
from asgi_auth.errors import Deaf
from asgi_auth.model import Event, Reason, Record, UserRow
from asgi_auth.stores import FEED_LENGTH, Cursor, Entry, Revocation, rules
from asgi_auth.stores.feed import NOTHING, PAGE, Beat
from asgi_auth.stores.local import LocalStore
from asgi_auth.stores.rows import Rows
from asgi_auth.stores.rules import Counter, Tombstone, Turn

T = TypeVar("T")


class _Account(NamedTuple):
    """A user's row; its name's compared form; until when its tokens live, and those made under a lower revision."""

    row: UserRow
    name_key: str | None = None
    tokens_until: float = 0.0
    killed_until: float = 0.0


class _MemoryRows:
    """`Rows` in dicts."""

    def __init__(self) -> None:
        self.now = 0.0
        self._sessions: dict[str, Record | Tombstone] = {}
        self._of_user: dict[str, set[str]] = {}
        self._accounts: dict[str, _Account] = {}
        self._names: dict[str, str] = {}
        self._turns: list[Turn] = []
        self._counters: dict[str, Counter] = {}
        self._denied: dict[str, float] = {}
        self._values: dict[str, str] = {}
        self._feed: deque[Entry] = deque(maxlen=FEED_LENGTH)
        self._last_event = 0
        # When to look at which session again. An end that moved is not moved here: who is looked at too early is put
        # back.
        self._ends: list[tuple[float, str]] = []
        # The same of what goes without a word.
        self._over: list[tuple[float, Literal["session", "counter", "token"], str]] = []

    def session(self, sid: str) -> Record | Tombstone | None:
        return self._sessions.get(sid)

    def sessions_of(self, user_id: str) -> list[Record]:
        found = (self._sessions[sid] for sid in self._of_user.get(user_id, ()))
        return [session for session in found if isinstance(session, Record)]

    def put_session(self, record: Record, *, data: bool = True) -> None:
        before = self._sessions.get(record.sid)
        if not isinstance(before, Record) or rules.ends_at(record) < rules.ends_at(before):
            heappush(self._ends, (rules.ends_at(record), record.sid))
        if before is None and record.user_id is not None:
            self._of_user.setdefault(record.user_id, set()).add(record.sid)
        self._sessions[record.sid] = record

    def bury(self, tombstone: Tombstone) -> None:
        self.drop(tombstone.sid)
        self._sessions[tombstone.sid] = tombstone
        heappush(self._over, (tombstone.until, "session", tombstone.sid))

    def drop(self, sid: str) -> None:
        session = self._sessions.pop(sid, None)
        if session is not None and session.user_id in self._of_user:
            theirs = self._of_user[session.user_id]
            theirs.discard(sid)
            if not theirs:
                del self._of_user[session.user_id]

    def era(self) -> int:
        return len(self._turns)

    def turn(self, era: int) -> Turn | None:
        return self._turns[era] if era < len(self._turns) else None

    def end_era(self, reason: Reason) -> None:
        self._turns.append(Turn(reason, self.now))

    def user(self, user_id: str) -> UserRow | None:
        account = self._accounts.get(user_id)
        return account.row if account is not None else None

    def user_by_name(self, name_key: str) -> UserRow | None:
        return self.user(self._names.get(name_key, ""))

    def users(self, after: str, limit: int) -> list[UserRow]:
        ids = sorted(user_id for user_id in self._accounts if user_id > after)
        rows = (self._accounts[user_id].row for user_id in ids)
        return list(islice((row for row in rows if not row.deleted), limit))

    def put_user(self, row: UserRow, name_key: str | None) -> None:
        before = self._accounts.get(row.id) or _Account(UserRow(row.id))
        if name_key is None and row.name is not None:
            name_key = before.name_key
        if before.name_key is not None:
            del self._names[before.name_key]
        if name_key is not None:
            self._names[name_key] = row.id
        killed_until = before.tokens_until if row.revision > before.row.revision else before.killed_until
        self._accounts[row.id] = _Account(row, name_key, before.tokens_until, killed_until)

    def tokens_live(self, user_id: str, until: float) -> None:
        account = self._accounts[user_id]
        self._accounts[user_id] = account._replace(tokens_until=max(account.tokens_until, until))

    def counters(self, keys: Iterable[str]) -> dict[str, Counter]:
        return {key: self._counters[key] for key in keys if key in self._counters}

    def put_counters(self, counters: Mapping[str, Counter]) -> None:
        for key, counter in counters.items():
            if key not in self._counters:
                heappush(self._over, (counter.until, "counter", key))
        self._counters.update(counters)

    def forget_counters(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._counters.pop(key, None)

    def denied_until(self, jti: str) -> float:
        return self._denied.get(jti, 0.0)

    def deny(self, jti: str, until: float) -> None:
        self._denied[jti] = until
        heappush(self._over, (until, "token", jti))

    def value(self, name: str) -> str | None:
        return self._values.get(name)

    def put_value(self, name: str, value: str) -> None:
        self._values[name] = value

    def emit(self, kind: Any, **values: Any) -> None:
        self._last_event += 1
        self._feed.append(Entry(str(self._last_event), secrets.token_hex(8), Event(kind, values)))

    def events(self, after: str, limit: int) -> list[Entry]:
        first = int(self._feed[0].id) if self._feed else 0
        start = max(0, int(after or 0) + 1 - first)
        return list(islice(self._feed, start, start + limit))

    def newest(self) -> Entry | None:
        return self._feed[-1] if self._feed else None

    def revocations(self, after: str, limit: int) -> list[Revocation]:
        found = [
            *(Revocation("sid", s.sid, 0, s.tokens_until) for s in self._sessions.values() if isinstance(s, Tombstone)),
            *(Revocation("jti", jti, 0, until) for jti, until in self._denied.items()),
            *(Revocation("user", a.row.id, a.row.revision, a.killed_until) for a in self._accounts.values()),
        ]
        return sorted(one for one in found if one.until > self.now and f"{one.kind}:{one.key}" > after)[:limit]

    def overdue(self, limit: int) -> list[Record]:
        found: dict[str, Record] = {}
        while len(found) < limit and self._ends and self._ends[0][0] <= self.now:
            _, sid = heappop(self._ends)
            record = self._sessions.get(sid)
            if not isinstance(record, Record):
                continue
            if rules.ends_at(record) > self.now:
                heappush(self._ends, (rules.ends_at(record), sid))
            else:
                found[sid] = record
        return list(found.values())

    def tidy(self, limit: int) -> int:
        gone = 0
        while gone < limit and self._over and self._over[0][0] <= self.now:
            _, kind, key = heappop(self._over)
            until = self._until(kind, key)
            if until is None:
                continue
            if until > self.now:
                heappush(self._over, (until, kind, key))
                continue
            gone += 1
            if kind == "session":
                self.drop(key)
            else:
                del (self._counters if kind == "counter" else self._denied)[key]
        return gone

    def _until(self, kind: str, key: str) -> float | None:
        """When it may be forgotten; None: it is gone, or a session that came to life."""
        if kind == "token":
            return self._denied.get(key)
        found = self._counters.get(key) if kind == "counter" else self._sessions.get(key)
        return None if found is None or isinstance(found, Record) else found.until


class MemoryFeed:
    """`Feed` in the same process."""

    instant = True
    turns = 0

    def __init__(
        self, read: Callable[[Callable[[Rows], list[Entry]]], list[Entry]], newest: Callable[[], Entry | None]
    ) -> None:
        self._read = read
        self._newest = newest

    def look(self, cursor: Cursor) -> Beat:
        (at,) = cursor
        if self._newest() is at:
            return NOTHING
        after = str(int(at.id) - 1)
        return Beat.of(self._read(lambda rows: rows.events(after, PAGE)), at)

    async def beat(self, cursor: Cursor, lease: float) -> Beat:
        return self.look(cursor)

    async def listen(self, hear: Callable[[Entry | None], None]) -> None:
        raise Deaf("nobody tells a process what it does itself")

    async def leave(self) -> None:
        """Nothing to do."""


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

    def feed(self) -> MemoryFeed:
        return MemoryFeed(self._run, self._rows.newest)

    async def _read(self, verb: Callable[[Rows], T], *, many: bool = False) -> T:
        return self._run(verb)

    def _run(self, verb: Callable[[Rows], T]) -> T:
        with self._lock:
            self._rows.now = self._now()
            return verb(self._rows)

    async def _write(self, verb: Callable[[Rows], T], *, durable: bool = False) -> T:
        return await self._read(verb)
