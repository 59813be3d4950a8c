"""Which clients a user logs in from, so that a new one is noticed (ASVS 5.0, 6.3.5).

A client is a device's name at an address as far as that is kept: a browser that was updated is the same, one in another
network is not. Of either no more than a digest is stored.
"""

from __future__ import annotations

import hashlib
import json

from asgi_auth.durations import DAY
from asgi_auth.model import Client
from asgi_auth.stores import Limit, Store

REMEMBERED = 30 * DAY
"""Seconds since the last login for which a client is known at least."""


class KnownClients:
    """Counted by the store, so that of any number of logins at once one is the first.

    Args:
        session_lifetime: seconds that a session lives at the longest; as long its client is no new one.
    """

    def __init__(self, store: Store, *, session_lifetime: float) -> None:
        self._store = store
        self._window = max(REMEMBERED, session_lifetime)

    async def is_new(self, user_id: str, client: Client) -> bool:
        """Whether this user has not logged in from such a client lately. It is known from now on.

        Raises:
            StoreUnavailable: it cannot be said.
        """
        text = json.dumps([user_id, client.address, client.device])
        key = f"client:{hashlib.sha256(text.encode()).hexdigest()}"
        # A wait of no time lets everybody in, and begins the window anew with each.
        hit = await self._store.hit([Limit(key, 0, self._window, waits=(0.0, 0.0))])
        return hit.wait <= 0 and hit.counts == (1,)
