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

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from asgi_auth.clock import Clock
from asgi_auth.model import Reason, UserRow
from asgi_auth.stores.values import (
    FEED_LENGTH,
    LISTED,
    SWEPT,
    TOMBSTONE_LIFETIME,
    Created,
    Cursor,
    Ended,
    Entry,
    Exchange,
    Exchanged,
    History,
    Hit,
    Keep,
    Limit,
    Loaded,
    NewGrant,
    NewSession,
    Presented,
    Revocation,
    Swept,
    Windows,
    is_sid,
    new_sid,
)

if TYPE_CHECKING:
    from asgi_auth.stores.feed import Feed, Member

__all__ = [
    "FEED_LENGTH",
    "LISTED",
    "SWEPT",
    "TOMBSTONE_LIFETIME",
    "Created",
    "Cursor",
    "Ended",
    "Entry",
    "Exchange",
    "Exchanged",
    "History",
    "Hit",
    "Keep",
    "Limit",
    "Loaded",
    "NewGrant",
    "NewSession",
    "Presented",
    "Revocation",
    "Store",
    "Swept",
    "Windows",
    "is_sid",
    "new_sid",
]


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

    def partition(self, user_id: str | None) -> str:
        """Where a session of this user belongs: the two hex digits with which its sid begins. None: a visitor's, which
        belongs anywhere.

        Raises:
            StoreUnavailable: the store was not opened yet.
        """
        ...

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
    ) -> Created | Literal["changed", "limit", "over"]:
        """Make a session, and in the same operation end those that it takes the place of. E: `ended` for each.

        - `changed`: the user's revision is not `revision` or the user is gone or disabled (a password takes long to
          check; an old one must not make a session after its change). Not asked for a visitor's.
        - `replaces`: the session whose secret the browser showed. Living, with that digest (or the previous one in its
          grace): ends as `replaced`; its data passes to the new one if it has the same user or none. Dead already, or
          forgotten: a tombstone says `replaced` from now on, and one that was over and not collected yet is told here
          (`sweep`). Anything else is left alone.
        - `data_from`: a visitor's data in the same way: it passes to the new one and the visitor's session ends. Where
          both have a key, `new.data` wins over it, and it over the replaced session's.
        - `new.completes`: `over` is returned and nothing happened, unless `replaces` shows a living pending login.
        - `limit` > 0: the user has at most so many living sessions, counted in both modes after `replaces`, pending
          logins apart. `evict`:
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

    async def elevate(
        self, presented: Presented, digest: str, *, amr: Collection[str], acr: str, token_lifetime: float
    ) -> Loaded | None:
        """Somebody has proved more of who it is: the methods `amr` have the present time, `authenticated_at` too, `acr`
        is set unless it is empty, and the session gets a new secret, if `presented` is its current one: the cookie's,
        dead at once, or in JWT mode the refresh token's, whose successor is of the next generation and is never given
        again for it (`exchange` says `mismatch`); `tokens_until` is raised by `token_lifetime` from now. Expiries stay.
        The session as it is then; None: it is no living login, or that secret is not its current one. E: `changed`."""
        ...

    async def end(self, sid: str, reason: Reason) -> Ended | None:
        """End one session. None: it was not alive. E: `ended`, if it was."""

    async def supersede(self, sid: str) -> Ended | None:
        """Remember a dead session, a forgotten one too, as `replaced`: who still holds its cookie must not clear
        another one's. A living one is left alone. The session, if it was over and not collected yet: it is told here
        and by no `sweep`. E: `ended`, then only."""
        ...

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
        """The user's living sessions in both modes, the latest first: the `LISTED` that would live longest. No pending
        logins."""
        ...

    async def exchange(self, asked: Exchange) -> Exchanged:
        """Use up a refresh token. Of any number at once, one is `made`.

        In this order:

        - `ended`: the session is not alive, or has no refresh tokens.
        - `mismatch`: another `client_id`, another key (`jkt`) than the grant is bound to, one where it is bound to
          none, or the token that an elevation has taken the place of. Nothing changes.
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

    async def deny(self, jti: str, lifetime: float) -> None:
        """Kill one access token, for as long as it would be accepted. E: `denied`, unless it is as long already."""

    async def denied(self, jti: str) -> bool:
        """Whether this access token was killed by `deny`, and would be accepted still."""
        ...

    async def seen_before(self, key: str, lifetime: float) -> bool:
        """Whether anybody has asked this about `key` before. Of any number at once, the first one is told False; for
        `lifetime` seconds from then everybody else is told True, and nobody makes it last longer."""
        ...

    async def sweep(self, limit: int = SWEPT) -> Swept:
        """Collect what is over, in one small step of at most about `limit` rows of each partition.

        A user's session past its idle or absolute end becomes a tombstone and is told here: once, by whichever process
        swept it, with the reason for which it is dead. Whatever else makes a tombstone of it first tells it instead
        (`create`, `supersede`). A visitor's, and a pending one, is dropped and told to
        nobody. Tombstones, counters, revocations, what was
        seen before, and entries of indexes that are over go too. E: `ended` for each that is told.
        """
        ...

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

    async def events(self, after: Cursor = (), limit: int = 1000) -> list[Entry]:
        """What came after this cursor, in the order of each partition; from the oldest kept one if empty."""
        ...

    async def revocations(self, after: str = "", limit: int = 5000) -> list[Revocation]:
        """What kills tokens that can still live, in the order of `kind:key`, after that one. Without what is over."""
        ...

    def feed(self) -> Feed:
        """This process's way to follow the feed."""
        ...

    async def newest(self) -> Cursor:
        """The newest entry of each partition's feed, which is made if there is none (kind `begun`)."""
        ...

    async def behind(self, mark: Cursor | None) -> list[Member]:
        """Who follows the feed under a lease and has not yet said that `mark` is applied; None: all who do.

        Raises:
            StoreUnavailable: `mark` is not in the feed, so members may have been lost with it.
        """
        ...

    async def expel(self, member: Member) -> None:
        """Forget a member that has said nothing since."""

    async def history(self) -> History:
        """Which one this is."""
        ...
