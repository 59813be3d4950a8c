"""One process's copy of what it lately needed from the store: sessions in use, those seen dead, what kills tokens.

Plain values: who proves that they are current, and who asks the store, is not its business.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from asgi_auth.clock import Clock
from asgi_auth.model import Event, Record
from asgi_auth.stores import Ended, History, Loaded, Revocation
from asgi_auth.view.ends import Ends, Fading
from asgi_auth.view.revocations import Revocations

SESSIONS = 50_000
SIZE = 64 * 2**20

LONGEST_LOAD = 10.0
"""Seconds after which the answer to a load is too old to be kept, whatever it says."""

NOT_KNOWN = History("", -1, 0.0)

_RECORD = 2300
"""About as many bytes are taken by a record without its data, and by its user's row without the claims."""


@dataclass(slots=True, eq=False)
class Held:
    """A living session as it was loaded: when it was asked for, when to ask again, how large it is.

    `valid` until the copy lets go of it; whoever keeps it need not look for it again.
    """

    loaded: Loaded
    at: float
    until: float
    size: int
    valid: bool = True


class Mark(NamedTuple):
    """How far the copy had got when a load was sent."""

    attachment: int
    applied: int
    at: float


class Watcher(Protocol):
    """Who is told of what ends."""

    def heard_end(self, ended: Ended) -> None:
        """A session is dead."""

    def heard_of(self, user_id: str | None) -> None:
        """A user's sessions, or everybody's (None), may be dead."""

    def heard_denied(self, jti: str) -> None:
        """A token is dead by itself."""

    def heard_of_keys(self) -> None:
        """All tokens that a key signed may be dead."""


class Copy:
    """Sessions lately used, bounded by count and bytes; sessions seen dead.

    A load enters only under its mark, and only if nothing about its session or user was heard since: the answer may be
    older than what was heard. What is dead stays dead, whatever a load says.

    Attributes:
        revocations: of tokens.
        ends: what was seen to end.
        history: the store's, as far as it is known.
        keys_changed: counts up when the key ring may be another one.
        version: counts up with whatever may kill a token that stood before.

    Args:
        clock: steady; for ages and deadlines.
        token_lifetime: seconds for which a revocation is kept at least.
    """

    def __init__(
        self, clock: Clock, *, token_lifetime: float = 3600.0, sessions: int = SESSIONS, size: int = SIZE
    ) -> None:
        self._clock = clock
        self.revocations = Revocations(clock, shortest=token_lifetime)
        self.history = NOT_KNOWN
        self._epoch = ""
        self.keys_changed = 0
        self.version = 0
        self.watcher: Watcher | None = None
        self._ahead = 0.0
        self._most = sessions
        self._size = self._room = size
        self._held: dict[str, Held] = {}
        self._of_user: dict[str, set[str]] = {}
        self.ends = Ends(clock)
        self._unknown: Fading[bool] = Fading(clock)
        self._attachment = 0
        self._applied = 0
        self._touched: dict[str, int] = {}
        self._touched_before: dict[str, int] = {}
        self._turned_at = clock()
        self._all_touched = 0

    def held(self, sid: str) -> Held | None:
        """A living session, if it is here and its end is not near enough to ask."""
        found = self._held.get(sid)
        return found if found is not None and self._clock() < found.until else None

    def dead(self, sid: str) -> Ended | None:
        """A session that was seen dead within the last hour."""
        return self.ends.sessions.get(sid)

    def unknown(self, sid: str) -> bool:
        """Whether the store lately did not know it: ids are random and ours, so it never comes to life."""
        return self._unknown.get(sid) is not None

    def ended_with_others(self, record: Record) -> bool:
        """Whether a session that a store has as living was seen to end with its user's or with everybody's. While it is
        not known which history this is, it counts as the one before."""
        return self.ends.cover(self._epoch, record)

    # What loads bring

    def mark(self) -> Mark:
        """Taken before a load is sent."""
        return Mark(self._attachment, self._applied, self._clock())

    def admit(self, sid: str, mark: Mark, answer: Loaded | Ended | None) -> bool:
        """Keep what a load brought. False: something was heard since, so the answer may be out of date."""
        if mark.attachment != self._attachment or self._clock() - mark.at > LONGEST_LOAD:
            return False
        user_id = answer.record.user_id if isinstance(answer, Loaded) else None
        if max(self._last(sid), self._last(f"user {user_id}"), self._all_touched) > mark.applied:
            return False
        if isinstance(answer, Ended):
            self._bury(answer)
            self.revocations.ended(sid)  # nor do its tokens come back, if the store should lose this end
            self.version += 1
        elif answer is None:
            self._drop(sid)  # what is held is of a history that is over
            self._unknown.put(sid, True, mark.at)
            self.version += 1
        elif self.dead(sid) is None and answer.record.previous_until <= answer.now:
            # A secret in its grace is for the store to judge, whose clock decides.
            self._put(sid, answer, mark.at)
        return True

    def _put(self, sid: str, loaded: Loaded, at: float) -> None:
        self._drop(sid)
        held = Held(loaded, at, at + loaded.remaining, _size_of(loaded))
        self._room -= held.size
        while self._held and (len(self._held) >= self._most or self._room < 0):
            self._drop(next(iter(self._held)))
        self._held[sid] = held
        if loaded.record.user_id is not None:
            self._of_user.setdefault(loaded.record.user_id, set()).add(sid)

    # What the feed, and this process's own changes, bring

    def apply(self, event: Event) -> None:
        """A change was heard of. Repeatable, in any order."""
        values = event.values
        if event.kind == "ended":
            self.ended(Ended(values["sid"], values["user"], values["reason"]), values["tokens_until"])
        elif event.kind == "changed":
            self.changed(values["sid"])
        elif event.kind == "user":
            self.user_changed(values["id"], values["revision"])
            self.ends.user(self.history.epoch, values["id"], values["ended_below"])
        elif event.kind == "all":
            self._all_heard(values["era"], partly="partly" in values)
        elif event.kind == "keys":
            self.ring_changed()
        elif event.kind == "denied":
            self.denied(values["jti"], values["until"])
        self._count()

    def ended(self, ended: Ended, tokens_until: float = 0.0) -> None:
        """A session is dead. `tokens_until`: when its last token is over, on the store's clock."""
        self._bury(ended)
        self._over(ended, tokens_until)

    def gone(self, sid: str) -> None:
        """A session is dead, nobody has said why."""
        self._over(Ended(sid, None, "revoked"), 0.0)

    def _over(self, ended: Ended, tokens_until: float) -> None:
        self.changed(ended.sid)
        self.revocations.ended(ended.sid, tokens_until - self._ahead)
        self.version += 1
        if self.watcher is not None:
            self.watcher.heard_end(ended)

    @property
    def store_time(self) -> float:
        """What the store's clock says, as far as it is known."""
        return self._clock() + self._ahead

    def denied(self, jti: str, until: float) -> None:
        """A token is dead by itself. `until`: when it would be over, on the store's clock."""
        self.revocations.denied(jti, until - self._ahead)
        self.ends.token(self.history.epoch, jti, until)
        self.version += 1
        if self.watcher is not None:
            self.watcher.heard_denied(jti)

    def revoked(self, page: list[Revocation]) -> None:
        """What kills tokens, as the store keeps it."""
        self.version += 1
        for one in page:
            if one.kind == "sid":
                self.revocations.ended(one.key, one.until - self._ahead)
            elif one.kind == "jti":
                self.revocations.denied(one.key, one.until - self._ahead)
            else:
                self.revocations.raised(one.key, one.value, one.until - self._ahead)

    def changed(self, sid: str) -> None:
        """A session is another than before."""
        self._drop(sid)
        self._touched[sid] = self._count()

    def user_changed(self, user_id: str, revision: int | None) -> None:
        """A user, or which of the user's sessions live. `revision`: the user's now; None: another than before."""
        for sid in tuple(self._of_user.get(user_id, ())):
            self._drop(sid)
        self._touched[f"user {user_id}"] = self._count()
        self.version += 1
        if revision is not None:
            self.revocations.raised(user_id, revision)
        else:
            self.revocations.doubt(user_id)
        if self.watcher is not None:
            self.watcher.heard_of(user_id)

    def all_changed(self, era: int | None) -> None:
        """Everybody's sessions ended. `era`: the store's now; None: another than before."""
        self._forget_living()
        if era is not None:
            self.history = self.history._replace(era=max(era, self.history.era))
        else:
            self.revocations.doubt()
        self.version += 1

    def _all_heard(self, era: int, *, partly: bool) -> None:
        """As `all_changed`. `partly`: not everywhere yet, so that it cannot be said of which era who lives is."""
        if not partly:
            self.all_changed(era)
            self.ends.everybody(self.history.epoch, era)
            return
        self._forget_living()
        if self.history.era < era:
            self.history = self.history._replace(era=-1)

    def superseded(self, sid: str) -> None:
        """A dead session, unknown or not, is remembered as replaced from now on."""
        self.changed(sid)
        self._unknown.forget(sid)
        ended = self.dead(sid)
        if ended is not None:
            self.ends.sessions.correct(sid, ended._replace(reason="replaced"))

    def reset(self, history: History | None = None) -> None:
        """Another history, or nobody knows which: forget who is alive and who was unknown; what is dead stays dead."""
        self._forget_living()
        self._unknown.clear()
        self._attachment += 1
        self.ring_changed()
        self.history = history or NOT_KNOWN
        if history is not None:
            self._epoch = history.epoch
            self._ahead = history.now - self._clock()

    def ring_changed(self) -> None:
        """The key ring may be another one, and a key may be gone from it."""
        self.keys_changed += 1
        self.version += 1
        if self.watcher is not None:
            self.watcher.heard_of_keys()

    def _forget_living(self) -> None:
        # Several event loops may be here at once, each in a thread of its own: nothing is gone through that may grow.
        if self.watcher is not None:
            self.watcher.heard_of(None)
        gone, self._held = self._held, {}
        for held in tuple(gone.values()):
            held.valid = False
        self.version += 1
        self._of_user.clear()
        self._room = self._size
        self._all_touched = self._count()

    def _count(self) -> int:
        now = self._clock()
        if now - self._turned_at > LONGEST_LOAD:
            self._touched_before, self._touched, self._turned_at = self._touched, {}, now
        self._applied += 1
        return self._applied

    def _last(self, key: str) -> int:
        return self._touched.get(key) or self._touched_before.get(key, 0)

    def _bury(self, ended: Ended) -> None:
        self._drop(ended.sid)
        self.ends.sessions.put(ended.sid, ended, self._clock())

    def _drop(self, sid: str) -> None:
        held = self._held.pop(sid, None)
        if held is None:
            return
        held.valid = False
        self._room += held.size
        user_id = held.loaded.record.user_id
        theirs = self._of_user.get(user_id) if user_id is not None else None
        if theirs is not None:
            theirs.discard(sid)
            if not theirs:
                self._of_user.pop(str(user_id), None)


def _size_of(loaded: Loaded) -> int:
    """About as many bytes are taken by a session."""
    data = sum(sys.getsizeof(key) + sys.getsizeof(text) for key, text in loaded.record.data.items())
    return _RECORD + data + (_deep(loaded.user.claims) if loaded.user is not None and loaded.user.claims else 0)


def _deep(value: Any) -> int:
    size = sys.getsizeof(value)
    if isinstance(value, dict):
        size += sum(sys.getsizeof(key) + _deep(member) for key, member in value.items())
    elif isinstance(value, (list, tuple)):
        size += sum(map(_deep, value))
    return size
