"""What kills tokens that can still live. Never evicted: packed when there is very much of it, and when there is too
much, it is said that the store must be asked."""

from __future__ import annotations

import struct

from asgi_auth.clock import Clock

EXACT = 100_000
"""As many are kept as they are; those that come after them are packed."""

MOST = 4_000_000
"""With more than these, tokens are answered by the store."""

DOUBT = 60.0
"""Seconds after which whatever this process changed has long come back by the feed."""

_BUCKETS = 2**16
_SWEPT_AT_ONCE = 2
_PACKED = struct.Struct("<qI")
_KEY = struct.Struct("<q")


class Revocations:
    """Ended sessions, and the revision that a user's tokens must have, until the last token that they kill is over.

    A packed one is remembered by 64 bits of a keyed hash: what seems to be there may, once in 2^40 times, be another,
    so that a hit means "ask", never "no".

    Args:
        clock: steady.
        shortest: seconds for which each is kept at least, from when it was heard of.
    """

    def __init__(self, clock: Clock, *, shortest: float) -> None:
        self._clock = clock
        self._shortest = shortest
        self._began = clock()
        self._swept = self._began
        self._sids: dict[str, float] = {}
        self._floors: dict[str, tuple[int, float]] = {}
        self._doubted: dict[str, float] = {}
        self._packed: list[bytearray] | None = None
        self._packed_count = 0
        self._turn = 0

    def __len__(self) -> int:
        return len(self._sids) + len(self._floors) + self._packed_count

    def ended(self, sid: str, until: float = 0.0) -> None:
        """A session is over. `until`: when its last token is, on this clock."""
        until = max(until, self._clock() + self._shortest)
        if sid in self._sids or len(self._sids) < EXACT:
            self._sids[sid] = max(until, self._sids.get(sid, 0.0))
        else:
            self._pack(sid, until)
        self._sweep()

    def raised(self, user_id: str, revision: int, until: float = 0.0) -> None:
        """A user's tokens of a lower revision are out of date."""
        until = max(until, self._clock() + self._shortest)
        known = self._floors.get(user_id)
        if known is not None:
            self._floors[user_id] = max(revision, known[0]), max(until, known[1])
        elif len(self._floors) < EXACT:
            self._floors[user_id] = revision, until
        else:
            self._pack(f"user:{user_id}", until)
        self._sweep()

    def doubt(self, user_id: str = "") -> None:
        """A user's tokens, or everybody's, may be dead by a change of this process whose outcome the feed will tell."""
        self._doubted[user_id] = self._clock() + DOUBT

    def hits(self, sid: str, user_id: str, revision: int) -> bool:
        """Whether a token of this session, user and revision may be dead. Where there is too much, all of them may."""
        if sid in self._sids:
            return True
        if user_id in self._floors and revision < self._floors[user_id][0]:
            return True
        if self._doubted and self._is_doubted(user_id):
            return True
        return self._packed is not None and self._may_be_packed(sid, user_id)

    def _is_doubted(self, user_id: str) -> bool:
        now = self._clock()
        self._doubted = {user: until for user, until in self._doubted.items() if until > now}
        return user_id in self._doubted or "" in self._doubted

    def _pack(self, key: str, until: float) -> None:
        if self._packed is None:
            self._packed = [bytearray() for _ in range(_BUCKETS)]
        number = hash(key)
        bucket = self._packed[number % _BUCKETS]
        if len(self) < MOST and _KEY.pack(number) not in bucket:
            bucket += _PACKED.pack(number, self._seconds(until) + 1)
            self._packed_count += 1

    def _may_be_packed(self, sid: str, user_id: str) -> bool:
        return len(self) >= MOST or self._is_packed(sid) or self._is_packed(f"user:{user_id}")

    def _is_packed(self, key: str) -> bool:
        assert self._packed is not None
        number = hash(key)
        bucket = self._packed[number % _BUCKETS]
        # A match across the border of two entries is one hit too many, and only asks.
        return bool(bucket) and _KEY.pack(number) in bucket

    def _seconds(self, at: float) -> int:
        return max(0, int(at - self._began))

    def _sweep(self) -> None:
        """What is over goes: of what is packed a little each time, the rest once in a while."""
        now = self._clock()
        if self._packed is not None:
            for _ in range(_SWEPT_AT_ONCE):
                self._sweep_bucket(self._packed, self._seconds(now))
        if now - self._swept >= self._shortest / 2:
            self._swept = now
            self._sids = {sid: until for sid, until in self._sids.items() if until > now}
            self._floors = {user: floor for user, floor in self._floors.items() if floor[1] > now}

    def _sweep_bucket(self, packed: list[bytearray], now: int) -> None:
        bucket = packed[self._turn]
        self._turn = (self._turn + 1) % _BUCKETS
        if bucket:
            left = [entry for entry in _PACKED.iter_unpack(bucket) if entry[1] > now]
            self._packed_count -= len(bucket) // _PACKED.size - len(left)
            bucket[:] = b"".join(_PACKED.pack(*entry) for entry in left)
