"""Where the keys of a Redis store lie: in partitions, each under a hash tag of its own, for a cluster to spread them.

A session, its user, that user's revocations and the stream that tells of them share a partition, whose digits the
session's id begins with. Pure functions.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import NamedTuple

MOST = 256
"""Partitions: two hex digits in a sid."""


class Layout(NamedTuple):
    """How many partitions a store has, for good. `prefix`: of all its keys."""

    prefix: str
    size: int

    def tag(self, partition: int) -> str:
        """What the keys of a partition begin with."""
        return f"{self.prefix}{{{partition:02x}}}:"

    def of_sid(self, sid: str) -> int:
        """Where a session is. What begins with no digits is nobody's, and as well there as anywhere."""
        try:
            return int(sid[:2], 16) % self.size
        except ValueError:
            return 0

    def of_user(self, user_id: str) -> int:
        """Where a user is, with all sessions."""
        return self._spread(user_id)

    def of_name(self, name_key: str) -> int:
        """Where it stands whose name this is; the user may be elsewhere."""
        return self._spread(name_key)

    def of_token(self, text: str) -> int:
        """Where it stands that a token is denied, or a proof was seen before. Neither is asked about together with a
        session or a user, and they come with every request: so they are spread over all, by themselves."""
        return self._spread(text)

    def grouped(self, sids: Iterable[str]) -> dict[int, list[str]]:
        """Sessions by partition."""
        groups: dict[int, list[str]] = {}
        for sid in sids:
            groups.setdefault(self.of_sid(sid), []).append(sid)
        return groups

    def _spread(self, text: str) -> int:
        # The same in every process and version, for good: what is written is found there.
        return zlib.crc32(text.encode("utf-8", "surrogatepass")) % self.size
