"""What the verbs ask of a place to keep things, inside one transaction. Knows no rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from asgi_auth.model import Reason, Record, UserRow
from asgi_auth.stores import Entry, Revocation
from asgi_auth.stores.rules import Counter, Tombstone, Turn


class Rows(Protocol):
    """Rows as they are in this transaction. What is put is seen by later questions, and by others once it is over."""

    now: float
    """The transaction's time."""

    def session(self, sid: str) -> Record | Tombstone | None: ...
    def sessions_of(self, user_id: str) -> list[Record]:
        """All that are there, living or not, without tombstones."""
        ...

    def put_session(self, record: Record, *, data: bool = True) -> None:
        """`data` False: the data is what it was."""

    def bury(self, tombstone: Tombstone) -> None:
        """Put it in the place of whatever the session was."""

    def era(self) -> int: ...
    def turn(self, era: int) -> Turn | None:
        """What ended this era; None: it is the present one."""

    def end_era(self, reason: Reason) -> None: ...
    def user(self, user_id: str) -> UserRow | None: ...
    def user_by_name(self, name_key: str) -> UserRow | None: ...
    def users(self, after: str, limit: int) -> list[UserRow]: ...
    def put_user(self, row: UserRow, name_key: str | None) -> None:
        """`name_key`: the name's compared form; None: as it was, if the row has a name. A revision that rises kills the
        tokens that were made until now."""

    def tokens_live(self, user_id: str, until: float) -> None:
        """Tokens of this user must be remembered so long if they die. Never shorter than before."""

    def counters(self, keys: Iterable[str]) -> dict[str, Counter]: ...
    def put_counters(self, counters: Mapping[str, Counter]) -> None: ...
    def forget_counters(self, keys: Iterable[str]) -> None: ...
    def denied_until(self, jti: str) -> float:
        """Until when an access token stays killed; 0: it was not."""
        ...

    def deny(self, jti: str, until: float) -> None: ...
    def value(self, name: str) -> str | None: ...
    def put_value(self, name: str, value: str) -> None: ...
    def emit(self, kind: str, **values: Any) -> None: ...
    def events(self, after: str, limit: int) -> list[Entry]: ...
    def newest(self) -> Entry | None: ...
    def revocations(self, after: str, limit: int) -> list[Revocation]: ...
    def overdue(self, limit: int) -> list[Record]:
        """Sessions whose idle or absolute end has passed, the earliest first. Each is then buried, dropped or put."""
        ...

    def drop(self, sid: str) -> None:
        """Forget a session without a tombstone."""

    def tidy(self, limit: int) -> int:
        """Forget what is over and is told to nobody: tombstones, counters, denied tokens. How many rows that were."""
        ...
