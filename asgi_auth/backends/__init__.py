"""Backends turn a credential into an identity. There are two, and neither knows the other.

A backend answers with a value whether the credential is good or bad; only a store that gives no answer is an exception.
What follows from a bad credential (a 401, a cleared cookie, an anonymous request) is the middleware's to decide.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from asgi_auth.identity import Identity, Rejected

Credential = TypeVar("Credential", contravariant=True)


class Backend(Protocol[Credential]):
    """Anything that can tell who a credential speaks for."""

    async def identify(self, credential: Credential) -> Identity | Rejected:
        """Who this is, or that it is nobody.

        Raises:
            StoreUnavailable: it cannot be said. Never taken for an answer.
        """
        ...
