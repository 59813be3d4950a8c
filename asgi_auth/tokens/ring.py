"""The key ring: which signing keys there are, and which of them signs when. A value; the time is an argument.

In each algorithm's line one key signs, the next one is published already, and retired ones verify what they signed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from asgi_auth.errors import ConfigurationError
from asgi_auth.tokens.keys import SigningKey, generate

LEAD = 600.0
"""Seconds for which a key is published before anything is signed with it, unless keys are rotated very often."""

_REVOKED = 1000
"""The names of so many revoked keys are kept."""


@dataclass(frozen=True, slots=True, eq=False)
class RingKey:
    """A key of the ring. Times are seconds since the epoch.

    Attributes:
        created_at: since when it is published.
        signs_from: since when, or from when on, tokens are signed with it; None: it is the next one, for some day.
        retired_at: when another takes its place; None: that is not known yet.
        token_lifetime: the longest, in seconds, that any process accepts a token after it was signed.
    """

    key: SigningKey
    created_at: float
    signs_from: float | None = None
    retired_at: float | None = None
    token_lifetime: float = 0.0

    @property
    def until(self) -> float | None:
        """When the last token that it signed is over; None: that is not known yet."""
        return None if self.retired_at is None else self.retired_at + self.token_lifetime

    def signs(self, now: float) -> bool:
        return self.signs_from is not None and self.signs_from <= now and (self.retired_at or float("inf")) > now

    def is_over(self, now: float) -> bool:
        """Whether no token of it can live."""
        return self.until is not None and self.until <= now

    def retired(self, at: float) -> RingKey:
        """The same, retired by then at the latest."""
        return replace(self, retired_at=at if self.retired_at is None else min(self.retired_at, at))


class Plan(NamedTuple):
    """What a process wants of the ring. Durations in seconds.

    Attributes:
        algorithm: what it signs with.
        token_lifetime: how long its tokens are accepted after they were signed, by clocks that differ a little.
        lead: for how long a key is published before it signs.
        every: the age at which a key that signs is retired; None: whatever its age.
    """

    algorithm: str
    token_lifetime: float
    lead: float = LEAD
    every: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Ring:
    """The signing keys that an application made for itself. What changes it gives back another one.

    Attributes:
        keys: those that sign, the next ones, and the retired, the newest of each first.
        revoked: the names of keys that must never count again, newest first.
        needs_writing: what the store has counts no longer.
        needs_resealing: a key lies in the clear, or under an older secret, though there is a newer one.
        sealed_under: which of the secrets the keys are sealed under.
    """

    keys: tuple[RingKey, ...] = ()
    revoked: tuple[str, ...] = ()
    needs_writing: bool = False
    needs_resealing: bool = False
    sealed_under: int = 0

    def __contains__(self, kid: str) -> bool:
        return any(k.key.kid == kid for k in self.keys)

    def signing(self, algorithm: str, now: float) -> RingKey | None:
        """The key to sign with."""
        found = (k for k in self._line(algorithm) if k.signs(now))
        return max(found, key=lambda k: k.signs_from or 0.0, default=None)

    def coming(self, algorithm: str, now: float) -> RingKey | None:
        """The key that is going to sign from a moment on that is fixed."""
        return next((k for k in self._line(algorithm) if k.retired_at is None and (k.signs_from or 0.0) > now), None)

    def next(self, algorithm: str) -> RingKey | None:
        """The key that is published, and signs some day."""
        return next((k for k in self._line(algorithm) if k.signs_from is None), None)

    def living(self, now: float) -> list[SigningKey]:
        """The keys by which tokens are verified."""
        return [k.key for k in self.keys if not k.is_over(now)]

    # What is to be done from time to time

    def is_kept(self, plan: Plan, now: float) -> bool:
        """Whether `keep` would change nothing. Takes no time."""
        signing = self.signing(plan.algorithm, now)
        return (
            not self.needs_writing
            and signing is not None
            and self.next(plan.algorithm) is not None
            and not self._is_due(signing, plan, now)
            and not any(k.is_over(now) or _is_left(k, plan, now) for k in self.keys)
            and all(k.retired_at or k.token_lifetime >= plan.token_lifetime for k in self._line(plan.algorithm))
        )

    def keep(self, plan: Plan, now: float) -> Ring:
        """See that a key of this process's algorithm signs, that it is not too old, and that the next one is published.
        Keys whose last token is over are forgotten. Those of other algorithms stay as they are, unless nobody has
        rotated them for twice the time. The same object, if there was nothing to do.
        """
        if self.is_kept(plan, now):
            return self
        ring = self._cleared(plan, now)
        signing = ring.signing(plan.algorithm, now)
        if signing is None:
            first = ring.coming(plan.algorithm, now) or ring.next(plan.algorithm) or _new(plan, now)
            ring = ring._with(replace(first, signs_from=now))
        elif ring._is_due(signing, plan, now):
            following = ring.next(plan.algorithm)
            assert following is not None
            ring = ring._with(replace(following, signs_from=now), signing.retired(now))
        if ring.next(plan.algorithm) is None:
            ring = ring._with(_new(plan, now))
        return ring

    def _is_due(self, signing: RingKey, plan: Plan, now: float) -> bool:
        following = self.next(plan.algorithm)
        old = plan.every is not None and (signing.signs_from or 0.0) + plan.every <= now
        return (
            old and signing.retired_at is None and following is not None and _known_at(following, signing, plan) <= now
        )

    def _cleared(self, plan: Plan, now: float) -> Ring:
        return replace(self, keys=_ordered([*self._still_there(plan, now)]), needs_writing=False)

    def _still_there(self, plan: Plan, now: float) -> Iterator[RingKey]:
        for k in self.keys:
            if k.is_over(now):
                continue
            if _is_left(k, plan, now):
                if k.signs_from is not None:
                    yield k.retired(now)
            elif k.key.algorithm == plan.algorithm and k.retired_at is None:
                yield replace(k, token_lifetime=max(k.token_lifetime, plan.token_lifetime))
            else:
                yield k

    # What somebody wants done

    def rotate(self, plan: Plan, now: float, *, at_once: bool = False) -> Ring:
        """Let the next key sign as soon as it has been published for long enough, and retire those before it, of
        whatever algorithm. If one is on its way already, it stays with that.

        Args:
            at_once: a new key signs now, published or not, and the next one is a new one, too.
        """
        ring = self.keep(plan, now)
        following, signing = ring.next(plan.algorithm), ring.signing(plan.algorithm, now)
        if at_once or following is None or signing is None:
            return ring._taken_over(replace(_new(plan, now), signs_from=now)).keep(plan, now)
        if ring.coming(plan.algorithm, now) is not None:
            return ring
        start = max(now, _known_at(following, signing, plan))
        return ring._taken_over(replace(following, signs_from=start)).keep(plan, now)

    def add(self, key: SigningKey, plan: Plan, now: float) -> Ring:
        """Let a key sign from now on that was made elsewhere. Raises ConfigurationError: it is, or was, in the ring."""
        if key.kid in self.revoked:
            raise ConfigurationError(f"the key {key.kid} was revoked, so it signs nothing any more: make another one")
        if key.kid in self:
            raise ConfigurationError(f"the key {key.kid} is in the ring already")
        ring = self.keep(plan, now)
        added = RingKey(key, now, now, token_lifetime=plan.token_lifetime)
        return ring._taken_over(added, ring.next(plan.algorithm)).keep(plan, now)

    def revoke(self, kid: str, plan: Plan, now: float) -> Ring:
        """Forget a key, with all that it signed. If it was the one that signs, the next one does, now."""
        return self.without((kid,)).keep(plan, now)

    def without(self, kids: Collection[str]) -> Ring:
        """Revoked are these, too. The same object, if none of them is here."""
        if not any(kid in self for kid in kids):
            return self
        revoked = tuple(dict.fromkeys([*kids, *self.revoked]))[:_REVOKED]
        return replace(
            self, keys=tuple(k for k in self.keys if k.key.kid not in kids), revoked=revoked, needs_writing=True
        )

    # How

    def _line(self, algorithm: str) -> Iterator[RingKey]:
        return (k for k in self.keys if k.key.algorithm == algorithm)

    def _with(self, *changed: RingKey) -> Ring:
        kids = {k.key.kid for k in changed}
        return replace(self, keys=_ordered([*changed, *(k for k in self.keys if k.key.kid not in kids)]))

    def _taken_over(self, successor: RingKey, following: RingKey | None = None) -> Ring:
        """A successor to all that sign. Of those that never did only `following` stays."""
        at = successor.signs_from or 0.0
        before = [k.retired(at) for k in self.keys if k.signs_from is not None and k.key.kid != successor.key.kid]
        return replace(self, keys=_ordered([successor, *([following] if following else []), *before]))


def _known_at(following: RingKey, signing: RingKey, plan: Plan) -> float:
    """When whoever verifies what is signed now has the next key, too: at once, if they were published together."""
    return following.created_at + (0.0 if following.created_at == signing.created_at else plan.lead)


def _is_left(k: RingKey, plan: Plan, now: float) -> bool:
    """Whether a key is of a line that no process has cared for in a long time, so that none signs with it."""
    if plan.every is None or k.retired_at is not None or k.key.algorithm == plan.algorithm:
        return False
    return (k.created_at if k.signs_from is None else k.signs_from) + 2 * (plan.every + plan.lead) <= now


def _ordered(keys: Collection[RingKey]) -> tuple[RingKey, ...]:
    def place(k: RingKey) -> tuple[int, float]:
        if k.retired_at is not None:
            return 2, -k.retired_at
        return (1, -k.created_at) if k.signs_from is None else (0, -k.signs_from)

    return tuple(sorted(keys, key=place))


def _new(plan: Plan, now: float) -> RingKey:
    return RingKey(SigningKey.from_jwk(generate(plan.algorithm)), now, token_lifetime=plan.token_lifetime)
