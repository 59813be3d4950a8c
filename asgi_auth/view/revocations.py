"""What kills tokens that can still live. Never evicted: packed when there is very much of it, and when there is too
much, it is said that the store must be asked."""

from __future__ import annotations

import struct
from typing import TypeVar

from asgi_auth.clock import Clock

V = TypeVar("V")

EXACT = 100_000
"""As many are kept as they are; those that come after them are packed."""

MOST = 4_000_000
"""As many are kept at most. What comes then is not kept, so the store is asked about all tokens until it is over."""

DOUBT = 60.0
"""Seconds after which whatever this process changed has long come back by the feed."""

_BUCKETS = 2**15
_PARTS = 4
"""Of the shortest life; what is over is let go of after each."""
_HASH = struct.Struct("<q")


def _let_go(known: dict[str, V], over: list[str]) -> None:
    """In place: what another event loop puts there meanwhile, in a thread of its own, must stay."""
    for key in over:
        known.pop(key, None)


class Revocations:
    """Ended sessions, the revision that a user's tokens must have, and single tokens, until the last token that they
    kill is over.

    A packed one is remembered by 64 bits of a keyed hash: what seems to be there may, once in 2^40 times, be another,
    so that a hit means "ask", never "no". Those that are over at about the same time lie together, and go together.

    Args:
        clock: steady.
        shortest: seconds for which each is kept at least, from when it was heard of.
    """

    def __init__(self, clock: Clock, *, shortest: float) -> None:
        self._clock = clock
        self._shortest = shortest
        self._part = shortest / _PARTS
        self._sweep_at = clock() + self._part
        self._sids: dict[str, float] = {}
        self._floors: dict[str, tuple[int, float]] = {}
        self._jtis: dict[str, float] = {}
        self._doubted: dict[str, float] = {}
        self._packed: dict[int, dict[int, bytearray]] = {}
        self._packed_count = 0
        self._packs_users = self._packs_jtis = False
        self._lost_until: float | None = None

    def __len__(self) -> int:
        return len(self._sids) + len(self._floors) + len(self._jtis) + self._packed_count

    def ended(self, sid: str, until: float = 0.0) -> None:
        """A session is over. `until`: when its last token is, on this clock."""
        until = self._at_least(until)
        if sid in self._sids or len(self._sids) < EXACT:
            self._sids[sid] = max(until, self._sids.get(sid, 0.0))
        else:
            self._pack(sid, until)

    def raised(self, user_id: str, revision: int, until: float = 0.0) -> None:
        """A user's tokens of a lower revision are out of date."""
        until = self._at_least(until)
        known = self._floors.get(user_id)
        if known is not None:
            self._floors[user_id] = max(revision, known[0]), max(until, known[1])
        elif len(self._floors) < EXACT:
            self._floors[user_id] = revision, until
        else:
            self._packs_users = True
            self._pack(f"user:{user_id}", until)

    def denied(self, jti: str, until: float = 0.0) -> None:
        """One token is killed."""
        until = self._at_least(until)
        if jti in self._jtis or len(self._jtis) < EXACT:
            self._jtis[jti] = max(until, self._jtis.get(jti, 0.0))
        else:
            self._packs_jtis = True
            self._pack(f"jti:{jti}", until)

    def is_denied(self, jti: str) -> bool | None:
        """Whether this token was killed by itself; None: it may have been."""
        if jti in self._jtis:
            return True
        return None if self._is_lost() or (self._packs_jtis and self._is_packed(f"jti:{jti}")) else False

    def doubt(self, user_id: str = "") -> None:
        """A user's tokens, or everybody's, may be dead by a change of this process whose outcome the feed will tell."""
        self._doubted[user_id] = self._clock() + DOUBT

    def hits(self, sid: str, user_id: str, revision: int, jti: str = "") -> bool:
        """Whether a token of this session, user and revision may be dead. Where there is too much, all of them may."""
        if sid in self._sids or jti in self._jtis:
            return True
        if user_id in self._floors and revision < self._floors[user_id][0]:
            return True
        if self._doubted and self._is_doubted(user_id):
            return True
        if self._packed and (
            self._is_packed(sid)
            or (self._packs_users and self._is_packed(f"user:{user_id}"))
            or (self._packs_jtis and self._is_packed(f"jti:{jti}"))
        ):
            return True
        return self._is_lost()

    def _is_lost(self) -> bool:
        return self._lost_until is not None and self._clock() < self._lost_until

    def _is_doubted(self, user_id: str) -> bool:
        now = self._clock()
        _let_go(self._doubted, [user for user, until in tuple(self._doubted.items()) if until <= now])
        return user_id in self._doubted or "" in self._doubted

    def _pack(self, key: str, until: float) -> None:
        if self._packed_count >= MOST:
            self._lost_until = max(self._lost_until or until, until)
            return
        number = hash(key)
        together = self._packed.setdefault(int(until // self._part) + 1, {})
        bucket = together.setdefault(number % _BUCKETS, bytearray())
        packed = _HASH.pack(number)
        if packed not in bucket:
            bucket += packed
            self._packed_count += 1

    def _is_packed(self, key: str) -> bool:
        number = hash(key)
        packed, place = _HASH.pack(number), number % _BUCKETS
        for together in tuple(self._packed.values()):  # noqa: SIM110 (a generator takes longer than the search)
            # A match across the border of two entries is one hit too many, and only asks.
            if packed in together.get(place, b""):
                return True
        return False

    def _at_least(self, until: float) -> float:
        """When something is over that was heard of now. What is over already goes."""
        now = self._clock()
        if now >= self._sweep_at:
            self._sweep(now)
        return max(until, now + self._shortest)

    def _sweep(self, now: float) -> None:
        self._sweep_at = now + self._part
        _let_go(self._sids, [sid for sid, until in tuple(self._sids.items()) if until <= now])
        _let_go(self._jtis, [jti for jti, until in tuple(self._jtis.items()) if until <= now])
        _let_go(self._floors, [user for user, floor in tuple(self._floors.items()) if floor[1] <= now])
        for part in [part for part in self._packed if part * self._part <= now]:
            buckets = self._packed.pop(part)
            self._packed_count -= sum(map(len, buckets.values())) // _HASH.size
