"""Proofs of possession (RFC 9449), as a request brings them: held against that request, our nonces, and all that came
before, in any process."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from asgi_auth.clock import Clock
from asgi_auth.errors import InvalidProof, NonceWanted
from asgi_auth.stores import Store
from asgi_auth.tokens.dpop import Proof, Target, read_proof
from asgi_auth.tokens.nonces import Nonces

NONCE_LIFETIME = 300.0
"""Seconds for which a nonce is taken."""

NONCE_RENEWED = 120.0
"""Seconds after which a client gets another one with the answer, before its own is too old."""


@dataclass(frozen=True, slots=True)
class Proofs:
    """Takes each proof once.

    Every proof needs a nonce of ours. It is the server's time, so that the client's clock does not matter; none can be
    made long before it is used; and no client that has been given one can be taken back to proofs without (RFC 9449
    §11.2, §11.3).

    Args:
        leeway: seconds by which the clocks of our processes may differ.
    """

    store: Store
    nonces: Nonces
    clock: Clock
    leeway: float

    def read(
        self, values: Sequence[bytes], method: str, target: Target | None, *, access_token: bytes | None = None
    ) -> Proof:
        """The proof in these `DPoP` headers, which was made for this request, lately.

        Args:
            target: of the request, as its client has it; None: nobody can say, so that no proof can be held against it.
            access_token: that the request carries; None: it asks for one.

        Raises:
            NonceWanted: its nonce is none of ours, or too old; the error has a fresh one.
            InvalidProof: it is not so.
        """
        proof = read_proof(values)
        if target is None:
            raise InvalidProof(
                "This server does not know its public address, for which the proof must be: set ASGI_AUTH_URL"
            )
        proof.check(method, target, access_token=access_token)
        age = self._age(proof)
        if age is None or not -self.leeway <= age < NONCE_LIFETIME:
            raise NonceWanted(nonce=self.fresh_nonce())
        return proof

    async def spend(self, proof: Proof | None) -> str:
        """Let a proof count that was read, once: the thumbprint of its key. Empty: there is none.

        What is kept of it outlasts its nonce in every process: the first may be a leeway behind the one that made the
        nonce, another one a leeway behind the first.

        Raises:
            InvalidProof: it has counted before.
            StoreUnavailable: nobody knows.
        """
        if proof is None:
            return ""
        # Neither its text nor its signature: one proof has several of those.
        named = "\n".join((proof.jkt, proof.jti, proof.htu))
        key = hashlib.sha256(named.encode("utf-8")).hexdigest()
        if await self.store.seen_before(f"dpop {key}", NONCE_LIFETIME + 2 * self.leeway):
            raise InvalidProof("The DPoP proof was used before")
        return proof.jkt

    def renewal(self, proof: Proof) -> str | None:
        """A fresh nonce for the client, if its own is no longer new (RFC 9449 §8.2)."""
        age = self._age(proof)
        return self.fresh_nonce() if age is None or age > NONCE_RENEWED else None

    def fresh_nonce(self) -> str:
        return self.nonces.make(self.clock())

    def _age(self, proof: Proof) -> float | None:
        made_at = None if proof.nonce is None else self.nonces.made_at(proof.nonce)
        return None if made_at is None else self.clock() - made_at
