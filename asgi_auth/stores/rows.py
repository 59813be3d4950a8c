"""What the verbs ask of a place to keep things, inside one transaction. Knows no rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from asgi_auth.model import Event, Record, UserRow
from asgi_auth.stores import Entry, Revocation
from asgi_auth.stores.rules import Counter, Tombstone, Turn


@dataclass(frozen=True, slots=True)
class Account:
    """A user's row and what only the store knows of it.

    Attributes:
        name_key: the name's compared form.
        tokens_until: when the last access token of any of the user's sessions expires.
        killed_until: when the last one expires that was made under a lower revision than the user's now.
    """

    row: UserRow
    name_key: str | None = None
    tokens_until: float = 0.0
    killed_until: float = 0.0


class Rows(Protocol):
    """Rows as they are in this transaction. What is put is seen by later questions, and by others once it is over."""

    def session(self, sid: str) -> Record | Tombstone | None: ...
    def sessions_of(self, user_id: str) -> list[Record]:
        """All that are there, living or not, without tombstones."""
        ...

    def put_session(self, record: Record, *, data: bool = True) -> None:
        """`data` False: the data is what it was."""
        ...

    def bury(self, tombstone: Tombstone) -> None:
        """Put it in the place of whatever the session was."""
        ...

    def account(self, user_id: str) -> Account | None: ...
    def account_by_name(self, name_key: str) -> Account | None: ...
    def put_account(self, account: Account) -> None: ...
    def users(self, after: str, limit: int) -> list[UserRow]: ...
    def era(self) -> int: ...
    def turn(self, era: int) -> Turn | None:
        """What ended this era; None: it is the present one."""
        ...

    def end_era(self, era: int, turn: Turn) -> None: ...
    def counter(self, key: str) -> Counter | None: ...
    def put_counter(self, key: str, counter: Counter | None) -> None: ...
    def value(self, name: str) -> str | None: ...
    def put_value(self, name: str, value: str) -> None: ...
    def emit(self, event: Event) -> None: ...
    def events(self, after: str, limit: int) -> list[Entry]: ...
    def revocations(self, after: str, limit: int, now: float) -> list[Revocation]: ...
    def sweep(self, now: float) -> None:
        """Drop a few of what is over: sessions, tombstones, counters."""
        ...
