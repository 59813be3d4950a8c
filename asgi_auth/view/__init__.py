"""What backends ask: is this session alive, does this token still stand.

Answered from a copy while it is proved current, else by the store. Holds values that it does not open: it knows no
cookie and no token's text.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from typing import Literal, NamedTuple

from asgi_auth.clock import steady_clock
from asgi_auth.errors import StoreUnavailable
from asgi_auth.model import UserRow
from asgi_auth.stores import Ended, Loaded, Store
from asgi_auth.view.applying import applying
from asgi_auth.view.batch import Batch
from asgi_auth.view.copy import Copy, Watcher
from asgi_auth.view.copy import Held as Held
from asgi_auth.view.follower import Follower

_TRIES = 3


class Stamp(NamedTuple):
    """What an access token says of the moment when it was made.

    Attributes:
        user_id, revision: whose it is, and that user's revision.
        epoch, era: of the store's history; an empty epoch: not said.
        jti: its own id.
    """

    sid: str
    user_id: str
    revision: int
    epoch: str
    era: int
    jti: str = ""


class Standing(NamedTuple):
    """How an access token stands. `user` and the store's clock `now` come with a current one if the store was asked."""

    state: Literal["current", "out_of_date", "revoked"]
    user: UserRow | None = None
    now: float = 0.0


_CURRENT = Standing("current")
_REVOKED = Standing("revoked")


class View:
    """The local answer to "who is this", over one store.

    Attributes:
        store: the same store; what is changed through it is known here before the change returns.
        follower: keeps the answers current.
        clock: steady; what `warm` and `stands` are given is its time.

    Args:
        staleness: seconds for which answers may be given without proof that they are current; 0: the store is asked.
        token_lifetime: seconds for which an access token is accepted.
    """

    def __init__(self, store: Store, *, staleness: float = 1.0, token_lifetime: float = 3600.0) -> None:
        # A store with a clock of its own is a test's, and so is its time.
        self.clock = store.clock or steady_clock
        self._copy = Copy(self.clock, token_lifetime=token_lifetime)
        self.store = applying(store, self._copy)
        self.follower = Follower(store, self._copy, staleness=staleness, clock=self.clock)
        self._batch = Batch(self.store)
        self._confirmed: dict[tuple[str, int], None] = {}
        self._epoch = ""

    @property
    def is_instant(self) -> bool:
        """Whether the feed lies beside this process and tells nothing before it is looked at."""
        return self.follower.is_instant

    def is_current(self, now: float) -> bool:
        """Whether what is known here is proved to be all that there is to know."""
        return self.follower.is_current(now)

    def watch(self, watcher: Watcher) -> None:
        """Tell somebody of ends and changes, in the same step in which they are heard of here."""
        self._copy.watcher = watcher

    @property
    def keys_changed(self) -> int:
        """Counts up when the key ring may be another one."""
        return self._copy.keys_changed

    # Without waiting

    def held(self, sid: str) -> Held | None:
        """A living session as it is held here, to be shown to `warm`; None: it is not here."""
        return self._copy.held(sid)

    def warm(self, held: Held, now: float) -> bool:
        """Whether a session that was held here is proved to be what it was. No `await` may stand between this and what
        is done with it."""
        if now < self.follower.lease_until:
            return held.valid and now < held.until
        # Looking at the feed may tell more, and only what is known then counts.
        return self.follower.is_current(now) and held.valid and now < held.until

    @property
    def version(self) -> int:
        """Counts up with whatever may kill a token that stood before."""
        return self._copy.version

    def unchanged(self, version: int, now: float) -> bool:
        """Whether a token that stood at this version is proved to stand. No `await` may stand between this and what is
        done with it."""
        if now < self.follower.lease_until:
            return version == self._copy.version
        return self.follower.is_current(now) and version == self._copy.version

    def stands(self, stamp: Stamp, now: float) -> bool:
        """Whether a token is known to be current, by all that kills tokens. False: it must be asked."""
        if now >= self.follower.lease_until and not self.follower.is_current(now):
            return False
        sid, user_id, revision, epoch, era, jti = stamp
        copy = self._copy
        if (epoch, era) != copy.history[:2] or copy.unknown(sid):
            return False
        return not copy.revocations.hits(sid, user_id, revision, jti)

    def hits(self, stamp: Stamp) -> bool:
        """Whether something that is known here, however old, kills this token."""
        sid, user_id, revision, epoch, era, jti = stamp
        copy = self._copy
        if copy.dead(sid) is not None or copy.revocations.hits(sid, user_id, revision, jti):
            return True
        known = copy.history.epoch
        return bool(known and epoch and known != epoch) or copy.ends.is_over(epoch, era)

    # With the store, if need be

    async def session(self, sid: str, *, version: int = 0) -> Loaded | Ended | None:
        """A session that a cookie names: alive, ended with its reason, or unknown. `version`: its data has this one at
        least. A store that came back with old data is not believed: who was seen dead there is dead, or, where only
        the end of all of a user's sessions was seen, it cannot be said until they are ended again.

        Raises:
            StoreUnavailable: it cannot be said.
        """
        dead = self._copy.dead(sid)
        if dead is not None:
            return dead
        found = self._here(sid, version)
        return found if found is not _ASK else await self._ask(sid)  # type: ignore[return-value]

    async def asked(self, sid: str) -> Loaded | Ended | None:
        """As `session`, but whatever is known here the store is asked: why a dead one is dead may change in silence,
        and a copy may lag behind what the caller knows.

        Raises:
            StoreUnavailable: it gave no answer.
        """
        return await self._ask(sid)

    def _here(self, sid: str, version: int) -> Loaded | Ended | object | None:
        """The copy's answer, or `_ASK`."""
        now = self.clock()
        if not self.follower.is_current(now):
            return _ASK
        held = self._copy.held(sid)
        if held is not None:
            loaded = held.loaded
            if loaded.record.data_version < version:
                return _ASK
            return Loaded(loaded.record, loaded.user, loaded.now + now - held.at)
        return self._copy.dead(sid) or (None if self._copy.unknown(sid) else _ASK)

    async def _ask(self, sid: str) -> Loaded | Ended | None:
        answer: Loaded | Ended | None = None
        for _ in range(_TRIES):
            mark = self._copy.mark()
            answer = await self._batch.load(sid)
            if isinstance(answer, Loaded):
                dead = self._copy.dead(sid)
                if dead is not None:
                    return dead  # an answer never revives
                if self._copy.ended_with_others(answer.record):
                    continue  # it may be older than what was heard
            if not self.follower.is_followed or self._copy.admit(sid, mark, answer):
                return answer
        if isinstance(answer, Loaded) and self._copy.ended_with_others(answer.record):
            raise StoreUnavailable("the store has lost an end that was seen here")
        return answer

    async def token(self, stamp: Stamp, *, row: bool = False) -> Standing:
        """How an access token stands whose signature and times were verified. `row`: the user's row is wanted.

        Raises:
            StoreUnavailable: it cannot be said.
        """
        if not row and self.stands(stamp, self.clock()):
            return _CURRENT
        loaded = await self.session(stamp.sid)
        if not isinstance(loaded, Loaded) or loaded.user is None or loaded.user.id != stamp.user_id:
            return _REVOKED
        if await self.denied(stamp.jti):
            return _REVOKED
        if stamp.revision != loaded.user.revision:
            return Standing("out_of_date")
        return Standing("current", loaded.user, loaded.now)

    async def denied(self, jti: str) -> bool:
        """Whether a token was killed by itself. Empty: it has no id.

        Raises:
            StoreUnavailable: it cannot be said.
        """
        if not jti:
            return False
        known = self._copy.revocations.is_denied(jti)
        if known is False and not self.follower.is_current(self.clock()):
            known = None
        return await self.store.denied(jti) if known is None else known

    def settled(self, wait: bool) -> AbstractAsyncContextManager[None]:
        """What is changed inside counts everywhere when this is left; see `Follower.settled`. `wait` False: at once."""
        return self.follower.settled() if wait else nullcontext()

    async def epoch(self) -> str:
        """The store's history, for the stamps of new tokens.

        Raises:
            StoreUnavailable: it is not known yet.
        """
        if not self._copy.history.epoch and not self._epoch:
            self._epoch = (await self.store.history()).epoch
        return self._copy.history.epoch or self._epoch

    async def confirm(self, sid: str, generation: int) -> None:
        """An access token of this refresh generation was seen; the first time is told to the store.

        Raises:
            StoreUnavailable: it could not be told.
        """
        seen = sid, generation
        # The first one has no predecessor that somebody could still present.
        if generation < 2 or seen in self._confirmed:
            return
        await self.store.confirm(sid, generation)
        while len(self._confirmed) >= _CONFIRMED:
            with suppress(KeyError, RuntimeError, StopIteration):  # another event loop's thread was faster
                del self._confirmed[next(iter(self._confirmed))]
        self._confirmed[seen] = None


_ASK = object()
_CONFIRMED = 10_000
