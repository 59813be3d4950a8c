"""The store: where sessions, refresh tokens, users, keys and revocations live.

A store is dumb and atomic: it knows no cookie, no token, no password and no setting; it gets digests and durations, and
each verb is one operation, which happens whole or not at all, and once for all processes. A new store is one file that
passes `tests/stores/` unchanged.

**Everything is found by `sid`**, the session's public id, which begins with the two hex digits of its partition.

**One clock**: the store's own (Redis `TIME`, this host's for SQLite and memory). Verbs take durations; what they give
back says what the clock was (`Loaded.now`). Nobody compares it with a clock of their own.

**Who is alive**: a record that is there, is not past `idle_expires_at` or `expires_at`, whose `era` is not below the
store's and whose `revision` is not below its user's `ended_below`, and whose user is there. Everything else is dead,
and no verb brings it back.

**Unknown is a value, broken is an exception**: not there is None or a named outcome, never an error. `StoreUnavailable`
means that no answer came; what was asked for may or may not have happened, and every verb may be repeated. One record
that cannot be read ends that session (reason `broken`), and nothing else.

**Events**: a verb marked *E* writes its event in the same operation. A plain create, touches, counters and `confirm`
write none.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from asgi_auth.clock import Clock
from asgi_auth.model import BackendName, Client, Event, Reason, Record, UserRow

if TYPE_CHECKING:
    from asgi_auth.stores.feed import Feed, Member

_SID = re.compile(r"[0-9a-f]{2}[0-9A-Za-z_-]{22}")

TOMBSTONE_LIFETIME = 3600.0
"""Seconds for which an ended session is remembered with its reason."""

FEED_LENGTH = 16384
"""About as many events are kept, by count and never by time."""

LISTED = 1000
"""At most as many sessions of one user are listed, so that a user with very many cannot hold the store up."""


def new_sid(partition: str = "00") -> str:
    """A session's public id: its partition's two hex digits and 132 random bits, 24 characters of base64url."""
    return partition + secrets.token_urlsafe(17)[:22]


def is_sid(text: str) -> bool:
    """Whether a text has the form of a session's public id."""
    return _SID.fullmatch(text) is not None


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


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session to be made. Durations in seconds; the store turns them into times.

    `user_id` None: a visitor's data. `digest` is empty in JWT mode, `grant` None in cookie mode.
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


class Created(NamedTuple):
    """The new session, and those that ended for it (replaced, evicted)."""

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
        client_id, scope: who presents it, and the `scope` parameter.
        revision: the user's, as it was when the user was found fit.
        nonce, next_digest: of the successor, should one be made.
    """

    sid: str
    generation: int
    digest: str
    client_id: str
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
        era: how often everybody's sessions were ended in it.
        now: the store's clock.
    """

    epoch: str
    era: int
    now: float


class Entry(NamedTuple):
    """An event in the feed. `id` orders the entries, `nonce` tells two histories with the same ids apart."""

    id: str
    nonce: str
    event: Event

    def is_after(self, other: Entry) -> bool:
        """Whether this one came later, if both are of one history."""
        return _order(self.id) > _order(other.id)


def _order(entry_id: str) -> tuple[int, ...]:
    return tuple(map(int, entry_id.split("-")))


class Revocation(NamedTuple):
    """What kills tokens that can still live. `kind` `sid`: `key` is the session, `value` 0. `kind` `user`: `key` is the
    user and `value` the revision that tokens must have. `until`: when the last token that it kills expires (store's
    clock)."""

    kind: Literal["sid", "user"]
    key: str
    value: int
    until: float


class Store(Protocol):
    """See the module. Every verb raises `StoreUnavailable` when no answer came within the store's timeout."""

    clock: Clock | None
    """Given: decides instead of the store's own clock. For tests."""

    durable: bool
    """Whether what it keeps outlives this process, and other processes see it."""

    async def open(self) -> None:
        """Make or migrate the schema. Repeatable; many processes may do it at once.

        Raises:
            ConfigurationError: this cannot be a store (unwritable file, a server that evicts, a newer schema, …).
        """

    async def aclose(self) -> None:
        """Close what the running event loop opened. A later verb opens it again."""

    async def once(self, name: str, default: str) -> str:
        """The first writer's value, for everybody and for ever."""
        ...

    async def keys(self) -> str | None:
        """The key ring, as it was put; None: there is none yet."""

    async def put_keys(self, expected: str | None, ring: str) -> bool:
        """Replace the key ring if it is still `expected`. E: `keys`."""
        ...

    async def load(self, sid: str) -> Loaded | Ended | None:
        """A living session; one that ended and is remembered, or is past its end; None: unknown or forgotten."""

    async def load_all(self, sids: Collection[str]) -> dict[str, Loaded | Ended | None]:
        """What `load` says of each, in one trip."""
        ...

    async def create(
        self,
        new: NewSession,
        *,
        revision: int = 0,
        replaces: Presented | None = None,
        data_from: Presented | None = None,
        limit: int = 0,
        evict: bool = True,
    ) -> Created | Literal["changed", "limit"]:
        """Make a session, and in the same operation end those that it takes the place of. E: `ended` for each.

        - `changed`: the user's revision is not `revision` or the user is gone or disabled (a password takes long to
          check; an old one must not make a session after its change). Not asked for a visitor's.
        - `replaces`: the session whose secret the browser showed. Living, with that digest (or the previous one in its
          grace): ends as `replaced`; its data passes to the new one if it has the same user or none. Dead already, or
          forgotten: a tombstone says `replaced` from now on. Anything else is left alone.
        - `data_from`: a visitor's data in the same way: it passes to the new one and the visitor's session ends. Where
          both have a key, `new.data` wins over it, and it over the replaced session's.
        - `limit` > 0: the user has at most so many living sessions, counted in both modes after `replaces`. `evict`:
          the least recently seen end as `evicted`; else `limit` is returned and nothing happened.
        - The same `sid` and digests once more (a repetition after no answer): the session as it is.
        - The absolute end is `lifetime` from now, the idle end `idle` from now but no later. `tokens_until` and the
          first access token end no later either.
        """
        ...

    async def write_data(
        self, sid: str, put: Mapping[str, str], delete: Collection[str], *, max_size: int
    ) -> int | Literal["gone", "too_large"]:
        """Set and delete single keys of a living session's data. The new `data_version`, or `gone`; `too_large` if keys
        and values together would exceed `max_size` UTF-8 bytes and are more than before. E: `changed`."""
        ...

    async def touch(self, sids: Collection[str] | Mapping[str, float]) -> None:
        """Somebody is there: moves `seen_at` and the idle end of those that live. A mapping says how many seconds ago
        each was used; nothing moves back."""

    async def rotate(self, presented: Presented, digest: str, *, grace: float) -> bool:
        """Give a living session a new secret if `presented` is its current one. The old one is good for `grace` seconds
        more (0: dead at once). Expiries stay. E: `changed`."""
        ...

    async def end(self, sid: str, reason: Reason) -> Ended | None:
        """End one session. None: it was not alive. E: `ended`, if it was."""

    async def supersede(self, sid: str) -> None:
        """Remember a dead session, a forgotten one too, as `replaced`: who still holds its cookie must not clear
        another one's. A living one is left alone. No event."""

    async def end_user(
        self,
        user_id: str,
        reason: Reason,
        *,
        keep: Keep | None = None,
        disable: bool | None = None,
        lost: int | None = None,
    ) -> tuple[Ended, ...] | None:
        """End all of a user's sessions, in both modes, those missing from any index too, by raising `revision` and
        `ended_below`. `keep` survives if it is a living session of this user. `disable` sets or lifts `disabled`.
        `lost`: the `ended_below` that was seen before the store lost it; one that has it does nothing. None: no such
        user. E: one `user`, with `kept`."""

    async def end_all(self, reason: Reason, *, lost: int | None = None) -> None:
        """End every session, visitors' too, by raising the era. No loop over users. `lost`: the era that was seen
        before the store lost it; one that has it does nothing. E: `all`."""

    async def sessions(self, user_id: str) -> list[Loaded]:
        """The user's living sessions in both modes, the latest first: the `LISTED` that would live longest."""
        ...

    async def exchange(self, asked: Exchange) -> Exchanged:
        """Use up a refresh token. Of any number at once, one is `made`.

        In this order:

        - `ended`: the session is not alive, or has no refresh tokens.
        - `mismatch`: another `client_id`. Nothing changes.
        - `changed`: the user's revision is not `revision`. Nothing changes; load again.
        - the current token: `made`. The generation rises, `next_digest` and `nonce` are the successor's, `scope` is
          remembered; `seen_at` is now and the idle end moves by `windows.idle`, never past the absolute one.
        - the one before it, until it is too late (below): `scope` if this `scope` is not the one remembered, else
          `repeated` with the nonce that made its successor.
        - anything else is `reused`: the session has ended, reason `reuse`, when this returns. E: `ended`.

        Too late is `grace` after the successor was confirmed, or after `redelivery` went by since it was made,
        whichever came first. A successor is confirmed by `confirm`, and by being exchanged itself.
        `made` and `repeated` raise `tokens_until` by `windows.token_lifetime` from now.
        """
        ...

    async def confirm(self, sid: str, generation: int) -> None:
        """The refresh token of this generation, or an access token of it, has been seen. The first time counts."""

    async def hit(self, limits: Sequence[Limit]) -> Hit:
        """Count one attempt under every limit, or under none if one of them refuses."""
        ...

    async def unhit(self, undo: Collection[str], clear: Collection[str]) -> None:
        """Take one hit of each of `undo` back; forget the counters `clear`."""

    async def user(self, user_id: str) -> UserRow | None:
        """A user's row, deleted ones too."""

    async def user_by_name(self, name_key: str) -> UserRow | None:
        """The user whose name, in its compared form, is this."""

    async def save_user(
        self,
        row: UserRow,
        *,
        name_key: str | None = None,
        expected: int | None,
        bump: bool = True,
        ends: Reason | None = None,
        keep: Keep | None = None,
    ) -> int | Literal["changed", "taken"]:
        """Write a user's row (not its `revision` and `ended_below`, which the store counts, and `checked_at`, which is
        now). The user's revision afterwards.

        - `expected`: the revision that the row must still have; None: there must be no row, or a deleted one, whose
          revision goes on. Else `changed`.
        - `name_key`: the name's compared form, or `taken` if another user has it.
        - `bump`: raise the revision. Without it nothing that sessions or tokens depend on may differ.
        - `ends`: end the user's sessions with this reason, but `keep`, in the same operation.
        - E: `user`, if the revision rose.
        """
        ...

    async def delete_user(self, user_id: str) -> tuple[Ended, ...] | None:
        """End the user's sessions (reason `deleted`) and forget all but id and revision; the name is free again.
        None: no such user. E: `user`."""

    async def users(self, after: str = "", limit: int = 100) -> list[UserRow]:
        """Users in the order of their ids, those after `after`; no deleted ones."""
        ...

    async def events(self, after: str = "", limit: int = 1000) -> list[Entry]:
        """The feed from the entry `after`, exclusive; from the oldest kept one if empty."""
        ...

    async def revocations(self, after: str = "", limit: int = 5000) -> list[Revocation]:
        """What kills tokens that can still live, in the order of `kind:key`, after that one. Without what is over."""
        ...

    def feed(self) -> Feed:
        """This process's way to follow the feed."""
        ...

    async def newest(self) -> Entry:
        """The newest entry of the feed, which is made if there is none (kind `begun`)."""
        ...

    async def behind(self, mark: Entry | None) -> list[Member]:
        """Who follows the feed under a lease and has not yet said that `mark` is applied; None: all who do."""
        ...

    async def expel(self, member: Member) -> None:
        """Forget a member that has said nothing since."""

    async def history(self) -> History:
        """Which one this is."""
        ...
