"""How often somebody may try: failures to log in, and sessions for visitors.

Counted in the store, so for all processes together, and before the password is looked at; a success gives its count
back. No name and no address stands in the store, only digests. Addresses come in as the prefixes they are counted by.
"""

from __future__ import annotations

import hashlib
import math
from typing import NamedTuple

from asgi_auth.durations import DAY, HOUR, MINUTE
from asgi_auth.errors import TooManyRequests
from asgi_auth.passwords import name_key
from asgi_auth.stores import Limit, Store

KNOWN_LIFETIME = 30 * DAY
"""Seconds for which an address counts as the user's own after a login from there."""

ATTACK = 100
"""Failures of one name in an hour, at addresses it never logged in from, after which it must wait there."""

WAITS = (30.0, HOUR)
ADDRESS_FACTOR = 10
VISITORS_A_MINUTE = 60
MISSES_A_MINUTE = 600


class Ticket(NamedTuple):
    """An attempt that was let in and counted.

    Attributes:
        failures: how many of this name at this address failed before it, in the window.
        last: whether the next failure's successor waits: this one has used up a limit.
        attacked: whether the name is under attack at strange addresses, and this is one.
    """

    keys: tuple[str, ...]
    pair: str
    name: str
    known: str
    failures: int
    last: bool
    attacked: bool


class LoginThrottle:
    """The limits on guessing passwords (ASVS 6.1.1, 6.3.1; NIST SP 800-63B-4 §3.2.2).

    Three counts: of the name at this address, of this address, and of the name at all addresses that it has not logged
    in from. The last never closes the door but makes it slow, and only there, so nobody can lock another out.

    Args:
        rate: failures per name and address, and their window in seconds; ten times that per address.
    """

    def __init__(self, store: Store, *, rate: tuple[int, float] = (10, MINUTE)) -> None:
        self._store = store
        self._allowed, self._window = rate

    async def enter(self, name: str, address: str) -> Ticket:
        """Count an attempt before it is made. Exactly one of `succeeded`, `withdraw` or nothing (it failed) follows.

        Raises:
            TooManyRequests: with `retry_after`; nothing was counted.
            StoreUnavailable: nobody may try uncounted.
        """
        who = _compared(name)
        pair, known = _key("pair", who, address), _key("known", who, address)
        limits = (
            Limit(pair, self._allowed, self._window),
            Limit(_key("address", address), ADDRESS_FACTOR * self._allowed, self._window),
            Limit(_key("name", who), ATTACK, HOUR, unless=known, waits=WAITS),
        )
        hit = await self._store.hit(limits)
        if hit.wait > 0:
            raise TooManyRequests(retry_after=math.ceil(hit.wait), limit=self._allowed)
        counted = tuple((limit, count) for limit, count in zip(limits, hit.counts, strict=True) if count)
        return Ticket(
            keys=tuple(limit.key for limit, _ in counted),
            pair=pair,
            name=limits[2].key,
            known=known,
            failures=hit.counts[0] - 1,
            last=any(count > limit.allowed for limit, count in counted),
            attacked=hit.counts[2] > ATTACK,
        )

    async def succeeded(self, ticket: Ticket) -> None:
        """The password was right: forget this name's failures here, and know the address for 30 days.

        A success at a known address leaves the count of strange ones alone: it says nothing about them.
        """
        undo = [key for key in ticket.keys if key not in (ticket.pair, ticket.name)]
        clear = [ticket.pair, ticket.known, *({ticket.name} & set(ticket.keys))]
        await self._store.unhit(undo, clear)
        await self._store.hit([Limit(ticket.known, 1, KNOWN_LIFETIME)])

    async def withdraw(self, ticket: Ticket) -> None:
        """The password was not looked at (busy, malformed, store down): as if nobody had tried."""
        await self._store.unhit(ticket.keys, ())

    async def anonymous_creation(self, address: str) -> None:
        """Count a session made for a visitor: 60 a minute for each address. Raises TooManyRequests."""
        await self._count("visitor", address, VISITORS_A_MINUTE)

    async def introspection(self, caller: str) -> None:
        """Count a question about a token that is none, so that nobody guesses tokens here (RFC 7662 §4): 600 a minute.
        Raises TooManyRequests."""
        await self._count("introspection", caller, MISSES_A_MINUTE)

    async def _count(self, kind: str, who: str, a_minute: int) -> None:
        # One less, since a limit lets in the one that exceeds it.
        hit = await self._store.hit([Limit(_key(kind, who), a_minute - 1, MINUTE)])
        if hit.wait > 0:
            raise TooManyRequests(retry_after=math.ceil(hit.wait), limit=a_minute)


def _compared(name: str) -> bytes:
    """A name as it is counted, however many spaces are typed, since an application's directory may well trim them. What
    can be no user's name counts as typed."""
    try:
        return name_key(" ".join(name.split())).encode()
    except ValueError:
        return b"\0" + name.encode("utf-8", "surrogatepass")


def _key(kind: str, *parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        text = part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")
        digest.update(len(text).to_bytes(4, "big") + text)
    return f"{kind}:{digest.hexdigest()}"
