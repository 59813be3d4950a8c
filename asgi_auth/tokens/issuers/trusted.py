"""Whose tokens count here: the records of the configuration, and what the application says of tenants while it runs."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import NamedTuple, TypeVar

from asgi_auth.clock import Clock
from asgi_auth.errors import Unavailable, without_text
from asgi_auth.forks import at_fork
from asgi_auth.issuer import HOLE, MAX_SIZE, Issuer
from asgi_auth.tokens.issuers.source import KeySource

K = TypeVar("K")
V = TypeVar("V")

Find = Callable[[str], Awaitable[Issuer | None]]
"""The application's word on an `iss`: whose record that is; None: nobody's. An exception: it cannot say."""

ANSWER = 60.0
"""Seconds for which the application is not asked again."""

ASKING = 5.0
"""Seconds for which its last answer counts on while one asks again for all."""

MOST_TENANTS, MOST_STRANGERS = 10_000, 1_000
"""Answers that are kept. Those of nobody are apart, so that who makes up issuers drives no tenant out."""

_LONGEST = 255

log = logging.getLogger("asgi_auth")


class Answer(NamedTuple):
    """Whose keys are asked for an `iss`, and of which tenant that is; good until then. `late`: for a little while more,
    since somebody asks again."""

    source: KeySource
    tenant: str
    until: float = float("inf")
    late: bool = False


class Trusted:
    """The other issuers, by `iss`. What is not among them is never asked for anything.

    Args:
        own: our own `iss`.
        clock: steady.
    """

    def __init__(self, records: Sequence[Issuer], find: Find | None, *, own: str, clock: Clock) -> None:
        self._find = find
        self._own = own
        self._clock = clock
        self.fixed = [KeySource(record, clock=clock) for record in records]
        self._exact = {iss: Answer(one, "") for one in self.fixed for iss in one.record.identifiers if HOLE not in iss}
        self._tenants: dict[str, Answer] = {}
        self._strangers: dict[str, float] = {}
        self._sources: dict[Issuer, KeySource] = {}
        self._names: dict[str, tuple[str, float]] = {}
        self._taken = {record.name for record in records}
        at_fork(after_in_child=self._forked)

    @property
    def largest(self) -> int:
        """Bytes of the longest token that a record may allow; 0: none says."""
        return MAX_SIZE if self._find else max((one.record.max_size or 0 for one in self.fixed), default=0)

    async def of(self, iss: str) -> Answer | None:
        """Who answers for an `iss`; None: nobody does.

        Raises:
            Unavailable: the application could not say, or says what cannot be.
        """
        found = self._exact.get(iss)
        if found is not None:
            return found
        for source in self.fixed:
            tenant = source.record.tenant_of(iss)
            if tenant is not None:
                return Answer(source, tenant)
        if self._find is None or not 0 < len(iss) <= _LONGEST or not iss.isprintable():
            return None
        now = self._clock()
        held = self._tenants.get(iss)
        if held is not None and now < held.until:
            return held
        if self._strangers.get(iss, now) > now:
            return None
        if held is not None and not held.late:  # once: the application may hang, or who asks may go away
            self._tenants[iss] = held._replace(until=now + ASKING, late=True)
        return await self._ask(self._find, iss)

    async def _ask(self, find: Find, iss: str) -> Answer | None:
        until = self._clock() + ANSWER  # what is answered late is not good for longer
        try:
            record = await find(iss)
            tenant = None if record is None else self._checked(record, iss)
        except Exception as error:
            self._tenants.pop(iss, None)
            log.error("issuers() could not say whose tokens count: %s", without_text(error))
            raise Unavailable(retry_after=1) from error
        if record is None or tenant is None:
            self._tenants.pop(iss, None)
            _put(self._strangers, iss, until, MOST_STRANGERS)
            return None
        source = self._sources.get(record)
        if source is None:
            source = KeySource(record, clock=self._clock)
            _put(self._sources, record, source, MOST_TENANTS)
        answer = Answer(source, tenant, until)
        _put(self._names, record.name, (record.issuer, until), MOST_TENANTS)
        _put(self._tenants, iss, answer, MOST_TENANTS)
        return answer

    def _checked(self, record: Issuer, iss: str) -> str:
        """The tenant. Raises ValueError: this is no answer to what was asked."""
        tenant = record.tenant_of(iss)
        if tenant is None or record.tenant_of(self._own) is not None:
            raise ValueError("issuers() gave the record of another issuer")
        issuer, until = self._names.get(record.name, (record.issuer, 0.0))
        if record.name in self._taken or (issuer != record.issuer and until > self._clock()):
            raise ValueError("issuers() gave two issuers of one name: the users of both would be the same")
        return tenant

    def _forked(self) -> None:
        for source in (*self.fixed, *self._sources.values()):
            source.forked()


def _put(held: dict[K, V], key: K, value: V, most: int) -> None:
    """Keep a value; of too many the one that was put first goes."""
    held.pop(key, None)
    while len(held) >= most:
        with suppress(KeyError, RuntimeError, StopIteration):  # another event loop's thread was faster
            del held[next(iter(held))]
    held[key] = value
