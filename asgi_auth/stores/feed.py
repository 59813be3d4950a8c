"""The event feed as a process follows it: a beat proves, a message hurries.

A **cursor** is an entry (of each partition), not a number: its nonce tells this history from another with the same
ids. A **beat** asks for what came after the cursor; its answer proves what was true at some moment after it was asked,
never later. A **message** says that there is something new, or what; it may be lost, so it proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from asgi_auth.stores import Cursor, Entry

PAGE = 1000
"""Entries of a partition that one beat brings at most."""


class Beat(NamedTuple):
    """What a beat found.

    Attributes:
        entries: what came after the cursor, in order (of each partition); None: an entry of the cursor is not there, so
            this is another history (a flush, a restart with old data, a restore) or too much was trimmed.
        more: there may be more behind them, so nothing is proved yet.
    """

    entries: tuple[Entry, ...] | None
    more: bool = False

    @classmethod
    def of(cls, found: Sequence[Entry], cursor: Entry) -> Beat:
        """Of one partition, from the entries beginning with the cursor's id, `PAGE` at most."""
        if not found or found[0][:2] != cursor[:2]:
            return cls(None)
        return cls(tuple(found[1:]), more=len(found) >= PAGE)

    @classmethod
    def joined(cls, beats: Iterable[Beat]) -> Beat:
        """Of all partitions. Where one is lost, all are."""
        entries: list[Entry] = []
        more = False
        for beat in beats:
            if beat.entries is None:
                return beat
            entries += beat.entries
            more = more or beat.more
        return cls(tuple(entries), more)


NOTHING = Beat(())
"""Nothing came, and no more is there."""


class Member(NamedTuple):
    """A process that follows the feed and may answer from its copy, as one partition knows it.

    Attributes:
        name: its own, random.
        lease: seconds for which a beat lets it answer.
        value: what it last said; another one means that it lives.
    """

    name: str
    lease: float
    value: str
    partition: int = 0


class Feed(Protocol):
    """One process's way to the feed. Made by `Store.feed`; used by one event loop at a time.

    Attributes:
        instant: whether `look` serves: the feed lies beside this process, and each answer can be proved by itself. Else
            a beat is a trip, trusted for the length of a lease, and `listen` tells when the next one is worth it.
        turns: counts up when another server took the place of one. What was read before is of another one, which may
            have known more, or less: a reader begins anew.
    """

    instant: bool

    @property
    def turns(self) -> int: ...

    def look(self, cursor: Cursor) -> Beat:
        """A beat without waiting.

        Raises:
            StoreUnavailable: no answer.
        """
        ...

    async def beat(self, cursor: Cursor, lease: float) -> Beat:
        """Ask what came after `cursor`, and tell the others that this one is applied and for how many seconds the
        answer will be trusted. Sent once, to one connection: nothing is repeated inside.

        Raises:
            StoreUnavailable: no answer came.
        """
        ...

    async def listen(self, hear: Callable[[Entry | None], None]) -> None:
        """Call `hear` with each message, until cancelled: an entry that is new, or None for "look now".

        Raises:
            Deaf: nothing will be heard.
            StoreUnavailable: nothing can be heard at present.
        """
        ...

    async def leave(self) -> None:
        """Say that nothing is answered from the copy any more, and close what was opened.

        Raises:
            StoreUnavailable: it could not be said; everything is closed.
        """
        ...
