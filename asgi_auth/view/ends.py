"""Ends that this process has seen: what is dead stays dead here, and is ended again where a store has lost it.

A store that comes back with old data (a restart from a snapshot, a restore) does not know what it was told last.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from asgi_auth.clock import Clock
from asgi_auth.model import Event, Record
from asgi_auth.stores import TOMBSTONE_LIFETIME, Ended, Store

DEAD = 100_000
"""About as many are remembered of each kind."""

_LATELY = 60.0
"""Seconds in which none goes, however many there are."""

_EPOCHS = 16

V = TypeVar("V")


class Fading(Generic[V]):
    """What was learnt within the last hour. The oldest go first where there is very much."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: dict[str, tuple[V, float]] = {}

    def get(self, key: str) -> V | None:
        found = self._entries.get(key)
        return None if found is None or found[1] + TOMBSTONE_LIFETIME <= self._clock() else found[0]

    def put(self, key: str, value: V, at: float) -> None:
        """Remember what was true at some moment."""
        self._entries.pop(key, None)
        self._entries[key] = value, at
        while len(self._entries) > DEAD:
            oldest = next(iter(self._entries))
            if at - self._entries[oldest][1] < _LATELY:
                break
            del self._entries[oldest]

    def correct(self, key: str, value: V) -> None:
        """Another value for what is remembered."""
        if key in self._entries:
            self._entries[key] = value, self._entries[key][1]

    def forget(self, key: str) -> None:
        self._entries.pop(key, None)

    def clear(self) -> None:
        self._entries.clear()

    def since(self, at: float) -> list[V]:
        """What was learnt at that time or later, but within the last hour."""
        at = max(at, self._clock() - TOMBSTONE_LIFETIME)
        return [value for value, learnt_at in tuple(self._entries.values()) if learnt_at >= at]


class Ends:
    """Of sessions, of users' sessions, of everybody's, of single tokens.

    Args:
        clock: steady.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.sessions: Fading[Ended] = Fading(clock)
        self._users: Fading[tuple[str, str, int]] = Fading(clock)
        self._tokens: Fading[tuple[str, str, float]] = Fading(clock)
        self._eras: dict[str, int] = {}

    def user(self, epoch: str, user_id: str, ended_below: int) -> None:
        """In a history all sessions of a user ended that have a lower revision."""
        known = self._users.get(f"{epoch} {user_id}")
        below = ended_below if known is None else max(ended_below, known[2])  # a store with old data may tell less
        self._users.put(f"{epoch} {user_id}", (epoch, user_id, below), self._clock())

    def token(self, epoch: str, jti: str, until: float) -> None:
        """In a history a token was denied, until a time of the store's."""
        self._tokens.put(f"{epoch} {jti}", (epoch, jti, until), self._clock())

    def everybody(self, epoch: str, era: int) -> None:
        """In a history all sessions of a lower era ended. Without a name for it, nobody could tell which."""
        if not epoch:
            return
        era = max(era, self._eras.pop(epoch, 0))
        self._eras[epoch] = era
        if len(self._eras) > _EPOCHS:
            del self._eras[next(iter(self._eras))]

    def is_over(self, epoch: str, era: int) -> bool:
        """Whether everybody's sessions of this era are known to have ended."""
        return era < self._eras.get(epoch, 0)

    def cover(self, epoch: str, record: Record) -> bool:
        """Whether a session of this history was seen to end with its user's or with everybody's."""
        seen = None if record.user_id is None else self._users.get(f"{epoch} {record.user_id}")
        return (seen is not None and record.revision < seen[2]) or self.is_over(epoch, record.era)

    def since(self, at: float, epoch: str) -> list[Event]:
        """What was seen to end in this history since a moment of the last hour, and its era, to be ended again."""
        again = [Event("ended", ended._asdict()) for ended in self.sessions.since(at)]
        again += [
            Event("user", {"id": user_id, "ended_below": below})
            for of, user_id, below in self._users.since(at)
            if of == epoch
        ]
        again += [
            Event("denied", {"jti": jti, "until": until}) for of, jti, until in self._tokens.since(at) if of == epoch
        ]
        if epoch in self._eras:
            again.append(Event("all", {"era": self._eras[epoch]}))
        return again


async def end_again(store: Store, event: Event) -> None:
    """End what an event says to have ended, if the store does not know it.

    Raises:
        StoreUnavailable: it cannot be said whether it does now.
    """
    values = event.values
    if event.kind == "ended":
        await store.end(values["sid"], values["reason"])
    elif event.kind == "user":
        await store.end_user(values["id"], "revoked", lost=values["ended_below"])
    elif event.kind == "denied":
        await store.deny(values["jti"], values["until"] - (await store.history()).now)
    elif event.kind == "all":
        await store.end_all("revoked", lost=values["era"])
