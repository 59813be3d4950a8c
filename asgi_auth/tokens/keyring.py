"""The keys of this process: those of the configuration, or of the ring that the store keeps for all processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anyio
import anyio.to_thread

from asgi_auth.clock import Clock
from asgi_auth.errors import ConfigurationError, StoreUnavailable
from asgi_auth.loops import PerLoop
from asgi_auth.stores import Store
from asgi_auth.tokens.jose import VerifyingKey
from asgi_auth.tokens.keys import SigningKey, is_small, newest_signing
from asgi_auth.tokens.ring import Ring, RingKey

LEARN_INTERVAL = 0.1
"""Seconds between two questions to the store about keys that nobody here knows."""

READ_INTERVAL = 60.0
"""Seconds after which the store is asked whether the known keys are still in the ring."""

_ATTEMPTS = 10


class KeyRing:
    """Signs with the newest key, verifies with any that can still have signed a living token.

    Args:
        configured: the keys of `JWT_KEY`, newest first; with any of them the store is not asked.
        secrets: `SECRET`, newest first, under which the store's keys are sealed.
        token_lifetime: seconds for which a retired key is kept: as long as a token signed by it can live.
        changed: counts up when the store's ring may be another one.
        made: told the name of a key that took another one's place here.
    """

    def __init__(
        self,
        store: Store,
        *,
        algorithm: str,
        configured: Sequence[SigningKey | VerifyingKey] = (),
        secrets: Sequence[bytes] = (),
        token_lifetime: float,
        clock: Clock,
        changed: Callable[[], int] = int,
        made: Callable[[str], object] = str,
    ) -> None:
        self._changed = changed
        self._made = made
        self._read_under = -1
        self._store = store
        self._algorithm = algorithm
        self._configured = configured
        self._secrets = secrets
        self._token_lifetime = token_lifetime
        self._clock = clock
        self._text: str | None = None
        self._ring = Ring()
        self._asked_at = self._read_at = float("-inf")
        self._learning = PerLoop(anyio.Lock)
        self._by_kid: dict[str, tuple[VerifyingKey, float | None]] = {
            key.kid: (key.verifying if isinstance(key, SigningKey) else key, None) for key in configured
        }

    async def open(self) -> None:
        """Read the ring, and see that there is a key to sign with. Raises ConfigurationError: the ring cannot be read
        with these secrets."""
        if not self._configured:
            await self._change(lambda ring: ring.ensure(self._algorithm, self._clock()))

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

    async def learn(self, kid: str | None) -> None:
        """Ask the store about a key that nobody here knows, once for all who wait for it, and from time to time whether
        the known ones still count. A flood of made-up names asks ten times a second."""
        if kid is None or self._configured or self._knows(kid):
            return
        async with self._learning.get():
            if self._knows(kid):
                return
            if kid not in self._by_kid:
                if abs(self._clock() - self._asked_at) < LEARN_INTERVAL:
                    return
                self._asked_at = self._clock()
            await self._read()

    def _knows(self, kid: str) -> bool:
        lately = abs(self._clock() - self._read_at) < READ_INTERVAL and self._read_under == self._changed()
        return kid in self._by_kid and lately

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
        current = self._ring.current(self._algorithm)
        if current is None:
            await self.open()
            await self._read()  # a slower answer to somebody else may have put the ring back meanwhile
            current = self._ring.current(self._algorithm)
        if current is None:
            raise StoreUnavailable("the store has no key to sign with")
        return current

    async def published(self) -> list[SigningKey | VerifyingKey]:
        """The keys that tokens may be signed by, newest first."""
        if self._configured:
            return list(self._configured)
        await self._read()
        return [*self._ring.living(self._clock())]

    async def entries(self) -> tuple[RingKey, ...]:
        """What the store keeps, newest first. None of the configuration's."""
        await self._read()
        return self._ring.keys

    async def rotate(self) -> SigningKey:
        """Make a new key for all processes to sign with. The old ones verify until the last token they signed is over.
        Raises ConfigurationError: the keys are configured, so they are rotated there."""
        if self._configured:
            raise ConfigurationError("the keys are those of ASGI_AUTH_JWT_KEY: put a new one in front there")
        await self._change(lambda ring: ring.rotate(self._algorithm, self._clock(), self._token_lifetime))
        return await self.signing_key()

    async def _read(self) -> None:
        now, under = self._clock(), self._changed()
        self._take(await self._store.keys())
        self._read_at, self._read_under = now, under

    def _take(self, text: str | None) -> None:
        if text != self._text:
            self._ring = Ring.parse(text, self._secrets)
            self._text = text
            self._by_kid = {one.key.kid: (one.key.verifying, one.until) for one in self._ring.keys}

    async def _change(self, change: Callable[[Ring], Ring]) -> None:
        """Read, change and write until nobody else wrote in between. A change makes keys, which takes a thread."""
        for _ in range(_ATTEMPTS):
            await self._read()
            # Others read and write it too while the thread works: what is replaced is what was read here.
            before, expected = self._ring, self._text
            after = (await anyio.to_thread.run_sync(change, before)).prune(self._clock())
            if after is before and not before.needs_resealing:
                return
            text = after.dump(self._secrets)
            if await self._store.put_keys(expected, text):
                self._take(text)
                if before.keys and after.keys[0].key.kid != before.keys[0].key.kid:
                    self._made(after.keys[0].key.kid)
                return
        raise StoreUnavailable("the key ring changes all the time")
