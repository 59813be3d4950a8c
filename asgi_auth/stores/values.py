"""What a store is given and gives back."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, NamedTuple

from asgi_auth.model import BackendName, Client, Event, Reason, Record, UserRow

_SID = re.compile(r"[0-9a-f]{2}[0-9A-Za-z_-]{22}")

TOMBSTONE_LIFETIME = 3600.0
"""Seconds for which an ended session is remembered with its reason."""

FEED_LENGTH = 16384
"""About as many events are kept, by count and never by time."""

SWEPT = 100
"""At most as many rows are collected in one step, so that it never holds a writer up."""

LISTED = 1000
"""At most as many sessions of one user are listed, so that a user with very many cannot hold the store up."""


def new_sid(partition: str) -> str:
    """A session's public id: its partition's two hex digits and 132 random bits, 24 characters of base64url."""
    return partition + secrets.token_urlsafe(17)[:22]


def is_sid(text: str) -> bool:
    """Whether a text has the form of a session's public id."""
    return _SID.fullmatch(text) is not None


def data_size(data: Mapping[str, str]) -> int:
    """UTF-8 bytes of keys and values."""
    return sum(len(text.encode("utf-8", "surrogatepass")) for pair in data.items() for text in pair)


class Presented(NamedTuple):
    """A session secret that somebody showed: whose, and its SHA-256 (hex)."""

    sid: str
    digest: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """A living session, its user's row and the store's clock at that moment. `user` is None for a visitor's."""

    record: Record
    user: UserRow | None
    now: float

    @property
    def remaining(self) -> float:
        """Seconds until the session's idle or absolute end, whichever comes first."""
        return min(self.record.idle_expires_at, self.record.expires_at) - self.now


class Ended(NamedTuple):
    """A session that was, and why it is no more."""

    sid: str
    user_id: str | None
    reason: Reason


@dataclass(frozen=True, slots=True)
class NewGrant:
    """The JWT half of a new session: `Grant` at generation 1. `token_lifetime`: seconds of its first access token."""

    client_id: str
    granted: str | None
    digest: str
    token_lifetime: float
    jkt: str = ""


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session to be made. Durations in seconds; the store turns them into times.

    `user_id` None: a visitor's data. `digest` is empty in JWT mode, `grant` None in cookie mode. `pending`: a login
    that is not complete; it is not listed, and no limit counts it. `completes`: it is what a pending login has become,
    which must be alive for that. `authenticated_ago`: seconds since the user has proved who it is, where that was
    before.
    """

    sid: str
    user_id: str | None
    backend: BackendName
    idle: float
    lifetime: float
    digest: str = ""
    amr: tuple[str, ...] = ()
    client: Client = Client()  # noqa: RUF009 (a NamedTuple)
    remember: bool = False
    data: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    grant: NewGrant | None = None
    acr: str = ""
    pending: bool = False
    completes: bool = False
    authenticated_ago: float = 0.0


class Swept(NamedTuple):
    """What one step has collected: the sessions whose end is told by it. `full`: there may be more at once."""

    ended: tuple[Ended, ...]
    full: bool


class Created(NamedTuple):
    """The new session, and those whose end is told by it: replaced, evicted, or over before and not collected yet."""

    loaded: Loaded
    ended: tuple[Ended, ...]


class Windows(NamedTuple):
    """The durations of a refresh, in seconds: how far activity moves the idle end, how long the access token lives
    (leeway included), and how long a predecessor may be presented again (see `exchange`)."""

    idle: float
    token_lifetime: float
    grace: float
    redelivery: float


class Exchange(NamedTuple):
    """A refresh token to be used up, whose signature was verified.

    Attributes:
        generation, digest: the token's number, and its secret's SHA-256 (hex).
        client_id, jkt, scope: who presents it, with proof of which key (empty: none), and the `scope` parameter.
        revision: the user's, as it was when the user was found fit.
        nonce, next_digest: of the successor, should one be made.
    """

    sid: str
    generation: int
    digest: str
    client_id: str
    jkt: str
    scope: str
    revision: int
    nonce: str
    next_digest: str
    windows: Windows


class Exchanged(NamedTuple):
    """What became of a refresh token. `loaded` is the session afterwards for `made` and `repeated`, else None."""

    outcome: Literal["made", "repeated", "reused", "mismatch", "scope", "changed", "ended"]
    nonce: str = ""
    loaded: Loaded | None = None


class Keep(NamedTuple):
    """The one session that survives its user's others. `digest`: its new secret, at once; empty: it keeps its own."""

    sid: str
    digest: str = ""


class Limit(NamedTuple):
    """One throttle of `hit`.

    Attributes:
        key: what is counted.
        allowed: hits in a window; the one that exceeds it is still let in, its successors are not.
        window: seconds, from the first hit.
        unless: a counter's key; while that one stands, this limit neither counts nor refuses.
        waits: the shortest and the longest wait in seconds. Given, more than `allowed` hits do not close the door:
            each further one must come `shortest`, twice that, four times that, … at most `longest` seconds after
            the last, and the window starts anew with each.
    """

    key: str
    allowed: int
    window: float
    unless: str = ""
    waits: tuple[float, float] | None = None


class Hit(NamedTuple):
    """`wait` 0: let in, and counted. Else nothing was counted, and `wait` seconds remain. `counts`: of each limit,
    after (0 for one that did not apply)."""

    wait: float
    counts: tuple[int, ...]


class History(NamedTuple):
    """One unbroken history of a store; a flush begins another.

    Attributes:
        epoch: its name, 8 hex digits; random.
        era: how often everybody's sessions were ended in it; -1: some partitions have not heard of the last time.
        now: the store's clock.
    """

    epoch: str
    era: int
    now: float


class Entry(NamedTuple):
    """An event in the feed. `id` orders the entries of a partition, `nonce` tells two histories with the same ids
    apart."""

    id: str
    nonce: str
    event: Event
    partition: int = 0

    def is_after(self, cursor: Cursor) -> bool:
        """Whether this one came later than what is applied, if both are of one history."""
        return self.partition < len(cursor) and self.order > cursor[self.partition].order

    @property
    def order(self) -> tuple[int, ...]:
        """What the id says, as numbers."""
        return tuple(map(int, self.id.split("-")))


Cursor = tuple[Entry, ...]
"""How far a feed was applied: of each partition the last entry."""


def advanced(cursor: Cursor, entry: Entry) -> Cursor:
    """The cursor, with this entry applied."""
    return (*cursor[: entry.partition], entry, *cursor[entry.partition + 1 :])


class Revocation(NamedTuple):
    """What kills tokens that can still live. `kind` `jti`: `key` is one access token, `value` 0. `kind` `sid`: `key` is
    the session, `value` 0. `kind` `user`: `key` is the user and `value` the revision that tokens must have. `until`:
    when the last token that it kills expires (store's clock)."""

    kind: Literal["jti", "sid", "user"]
    key: str
    value: int
    until: float
