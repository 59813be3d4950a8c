"""The keys of this process: those of the configuration, or of the ring that the store keeps for all processes."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import anyio
import anyio.to_thread

from asgi_auth.clock import Clock
from asgi_auth.errors import ConfigurationError, StoreUnavailable
from asgi_auth.loops import PerLoop
from asgi_auth.stores import Store
from asgi_auth.tokens import ring_text
from asgi_auth.tokens.jose import VerifyingKey
from asgi_auth.tokens.keys import SigningKey, is_small, newest_signing
from asgi_auth.tokens.ring import Plan, Ring, RingKey

LEARN_INTERVAL = 0.1
"""Seconds between two questions to the store about keys that nobody here knows."""

READ_INTERVAL = 60.0
"""Seconds after which the store is asked whether the known keys are still in the ring."""

_SILENCE = 1.0
_PATIENCE = 60.0
_ATTEMPTS = 10
_CONFIGURED = "the keys are those of ASGI_AUTH_JWT_KEY or ASGI_AUTH_JWT_KEY_FILE: "


class KeyRing:
    """Signs with the newest key, verifies with any that can still have signed a living token.

    The store's ring is kept by whoever signs: a key that is too old gives way to the next one then, and whose last
    token is over is forgotten. Nothing of it is done where nothing is signed, and nothing in the background.

    Args:
        configured: the keys of `JWT_KEY`, newest first; with any of them the store is not asked.
        secrets: `SECRET`, newest first, under which the store's keys are sealed.
        changed: counts up when the store's ring may be another one.
        current: whether that is heard of as soon as it counts.
        made: told the name of a key that took another one's place here.
    """

    def __init__(
        self,
        store: Store,
        *,
        plan: Plan,
        configured: Sequence[SigningKey | VerifyingKey] = (),
        secrets: Sequence[bytes] = (),
        clock: Clock,
        changed: Callable[[], int] = int,
        current: Callable[[], bool] = bool,
        made: Callable[[str], object] = str,
    ) -> None:
        self._changed = changed
        self._current = current
        self._made = made
        self._read_under = -1
        self._store = store
        if plan.every is not None:  # some wait longer than others, so that few make a key of which one is kept
            plan = plan._replace(every=plan.every + random.uniform(0, min(_PATIENCE, plan.every / 10)))  # noqa: S311
        self._plan = plan
        self._configured = configured
        self._secrets = secrets
        self._clock = clock
        self._text: str | None = None
        self._ring = Ring()
        self._revoked: set[str] = set()
        self._asked_at = self._read_at = self._silent_at = float("-inf")
        self._asked = self._taken = self._unanswered = 0
        self._learning, self._keeping = PerLoop(anyio.Lock), PerLoop(anyio.Lock)
        self._by_kid: dict[str, tuple[VerifyingKey, float | None]] = {
            key.kid: (key.verifying if isinstance(key, SigningKey) else key, None) for key in configured
        }

    async def open(self) -> None:
        """Read the ring, and see that there is a key to sign with. Raises ConfigurationError: the ring cannot be read
        with these secrets."""
        if not self._configured:
            await self._change(self._kept, reseal=True)

    @property
    def configured(self) -> bool:
        """Whether the keys are the configuration's, so that the store has none."""
        return bool(self._configured)

    @property
    def signs(self) -> bool:
        """Whether tokens can be issued here; with public keys alone they can only be verified."""
        return not self._configured or newest_signing(self._configured) is not None

    @property
    def small(self) -> list[str]:
        """The names of the configured RSA keys that are shorter than those that we make."""
        return [key.kid for key in self._configured if is_small(key)]

    @property
    def max_age(self) -> int:
        """Seconds for which others may keep what is published: a key signs only after it was there for twice as long,
        so they have it by then, whatever their clocks say."""
        return int(self._plan.lead / 2)

    def find(self, kid: str) -> VerifyingKey | None:
        """The key of this name, as far as this process knows, while a token that it signed can live."""
        key, until = self._by_kid.get(kid, (None, None))
        return key if until is None or self._clock() < until else None

    def good_until(self, kid: str) -> float:
        """Until when what `find` says of a key need not be looked at again, unless the ring changes."""
        if self._configured:
            return float("inf")
        _, until = self._by_kid.get(kid, (None, None))
        looked_again = self._read_at + READ_INTERVAL
        return looked_again if until is None else min(until, looked_again)

    async def learn(self, kid: str | None, *, lenient: bool = False) -> None:
        """Ask the store about a key that nobody here knows, once for all who wait for it, and from time to time whether
        the known ones still count. A flood of made-up names asks ten times a second.

        Args:
            lenient: a silent store takes no known key away, and is not asked again for a second.

        Raises:
            StoreUnavailable: no answer.
        """
        if not kid or self._configured or self._knows(kid):
            return
        known, asked = kid in self._by_kid, self._asked
        if not known:
            await anyio.sleep(max(0.0, LEARN_INTERVAL - abs(self._clock() - self._asked_at)))
        elif lenient and abs(self._clock() - self._silent_at) < _SILENCE:
            return
        try:
            async with self._learning.get():
                if not self._knows(kid):
                    if not known and self._taken <= asked:
                        self._asked_at = self._clock()
                    await self._read_since(asked)
        except StoreUnavailable:
            if not (known and lenient):
                raise

    async def prove(self) -> None:
        """Return once what `find` says is what the store says, too: at once, where its changes are heard of.

        Raises:
            StoreUnavailable: it cannot be said.
        """
        if not self._configured and not (self._current() and self._read_under == self._changed()):
            asked = self._asked
            async with self._learning.get():
                await self._read_since(asked)

    async def is_revoked(self, kid: str) -> bool:
        """Whether nothing counts that this key signed. Raises StoreUnavailable: it cannot be said."""
        await self.prove()
        return kid in self._revoked

    async def _read_since(self, asked: int) -> None:
        """Read the ring, unless somebody has since so many questions: their answer is everybody's who waits."""
        if self._unanswered > asked:
            raise StoreUnavailable("the store does not say which keys count")
        if self._taken <= asked:
            await self._read()
        if self._ring.needs_writing:  # a failover or a restore has brought a revoked key back
            await self._keep()

    def _knows(self, kid: str) -> bool:
        if kid not in self._by_kid or self._read_under != self._changed():
            return False
        return abs(self._clock() - self._read_at) < READ_INTERVAL or self._current()

    async def signing_key(self) -> SigningKey:
        """The key to sign with now, as the store has it. Raises ConfigurationError: only public keys are configured."""
        if self._configured:
            key = newest_signing(self._configured)
            if key is None:
                raise ConfigurationError(
                    "ASGI_AUTH_JWT_KEY holds public keys alone: tokens can be verified, not issued"
                )
            return key
        await self._read()
        if not self._ring.is_kept(self._plan, self._clock()):
            await self._keep()
        current = self._signing()
        if current is None:
            raise StoreUnavailable("the store has no key to sign with")
        return current.key

    async def published(self) -> list[SigningKey | VerifyingKey]:
        """The keys that tokens may be signed by, newest first."""
        if self._configured:
            return list(self._configured)
        return [entry.key for entry in await self.entries()]

    async def entries(self) -> tuple[RingKey, ...]:
        """What the store keeps: the keys that sign, the next ones, the retired. None of the configuration's."""
        await self._read()
        now = self._clock()
        return tuple(entry for entry in self._ring.keys if not entry.is_over(now))

    async def rotate(self, *, at_once: bool = False) -> RingKey:
        """Let the next key sign in all processes; the old ones verify until the last token they signed is over.

        Args:
            at_once: a wholly new key signs now, though verifiers elsewhere may not have it yet.

        Returns:
            The key that signs, or from its `signs_from` on is going to.

        Raises:
            ConfigurationError: the keys are configured, so they are rotated there.
        """
        if self._configured:
            raise ConfigurationError(f"{_CONFIGURED}put a new one in front there")
        await self._change(lambda ring, now: ring.rotate(self._plan, now, at_once=at_once))
        return self._newest()

    async def revoke(self, kid: str) -> bool:
        """Forget a key for good, so that nothing it signed counts any more. If it signed until now, the next one does.
        Whether it was there.

        Raises:
            ConfigurationError: the keys are configured, so they are taken out there.
        """
        if self._configured:
            raise ConfigurationError(f"{_CONFIGURED}take it out there")
        was_there = False

        def revoked(ring: Ring, now: float) -> Ring:
            nonlocal was_there
            was_there = kid in ring
            return ring.revoke(kid, self._plan, now) if was_there else ring

        await self._change(revoked)
        return was_there

    async def add(self, key: SigningKey) -> RingKey:
        """Let a key sign from now on that was made elsewhere; those before verify until their last token is over.

        Raises:
            ConfigurationError: it is in the ring already, or was revoked, or the keys are configured.
        """
        if self._configured:
            raise ConfigurationError(f"{_CONFIGURED}put it in front there")
        await self._change(lambda ring, now: ring.add(key, self._plan, now))
        return self._newest()

    def _signing(self) -> RingKey | None:
        return self._ring.signing(self._plan.algorithm, self._clock())

    def _newest(self, ring: Ring | None = None) -> RingKey:
        """The key that is going to sign, else the one that does."""
        ring, now = ring or self._ring, self._clock()
        found = ring.coming(self._plan.algorithm, now) or ring.signing(self._plan.algorithm, now)
        if found is None:
            raise StoreUnavailable("the key ring changes all the time")
        return found

    def _kept(self, ring: Ring, now: float) -> Ring:
        return ring.keep(self._plan, now)

    async def _keep(self) -> None:
        """Do what is to be done, once for all who come meanwhile; who can sign does not wait for it."""
        lock = self._keeping.get()
        if lock.locked() and self._signing() is not None:
            return
        async with lock:
            if not self._ring.is_kept(self._plan, self._clock()):
                await self._change(self._kept)

    async def _read(self) -> None:
        now, under = self._clock(), self._changed()
        number = self._next_number()
        try:
            text = await self._store.keys()
        except StoreUnavailable:
            self._unanswered, self._silent_at = number, now
            raise
        if number > self._taken:  # not a slower answer to an earlier question
            self._take(text, number)
        self._read_at, self._read_under = now, under

    def _next_number(self) -> int:
        self._asked += 1
        return self._asked

    def _take(self, text: str | None, number: int) -> None:
        if text != self._text:
            ring = ring_text.parse(text, self._secrets)
            self._revoked.update(ring.revoked)
            self._ring = ring.without(self._revoked)
            self._text = text
            self._by_kid = {one.key.kid: (one.key.verifying, one.until) for one in self._ring.keys}
        self._taken = number

    async def _change(self, change: Callable[[Ring, float], Ring], *, reseal: bool = False) -> None:
        """Read, change and write until nobody else wrote in between. A change makes keys, which takes a thread."""
        for _ in range(_ATTEMPTS):
            await self._read()
            # Others read and write it too while the thread works: what is replaced is what was read here.
            before, expected = self._ring, self._text
            after = await anyio.to_thread.run_sync(change, before, self._clock())
            if after is before and not (reseal and before.needs_resealing):
                return
            # A process that starts seals under its newest secret. One that runs may have been started before that was
            # the newest, so it keeps to the one that it found.
            secret = self._secrets[0 if reseal else before.sealed_under] if self._secrets else None
            text = ring_text.dump(after, secret)
            if await self._store.put_keys(expected, text):
                self._take(text, self._next_number())
                if before.keys:
                    self._tell(before, after)
                return
        raise StoreUnavailable("the key ring changes all the time")

    def _tell(self, before: Ring, after: Ring) -> None:
        kid = self._newest(after).key.kid
        now, algorithm = self._clock(), self._plan.algorithm
        if kid not in {k.key.kid for k in (before.coming(algorithm, now), before.signing(algorithm, now)) if k}:
            self._made(kid)
