"""The mistakes that the view must not make, each made on purpose in the real code, with the scene that shows it.

The rows are those of the traps that the view was built around. An edit replaces text that must stand exactly once in a
function's source, so a change of the code that makes a bug meaningless is told, not passed over.
"""

from __future__ import annotations
import __future__

import asyncio
import inspect
import sys
import textwrap
from typing import Any, NamedTuple

from asgi_auth.stores import redis_replies as replies
from asgi_auth.stores.feed import Beat
from asgi_auth.stores.redis_client import RedisClient
from asgi_auth.stores.redis_feed import RedisFeed
from asgi_auth.stores.redis_sentinel import Sentinels
from asgi_auth.stores.sqlite_feed import SQLiteFeed
from asgi_auth.view import View
from asgi_auth.view.copy import Copy
from asgi_auth.view.ends import Ends
from asgi_auth.view.follower import Follower
from asgi_auth.view.revocations import Revocations


class Edit(NamedTuple):
    owner: Any
    function: str
    old: str
    new: str


class Bug(NamedTuple):
    """`row`: the trap's. `store`: where it is looked for. `scene`: by whose name."""

    row: int
    scene: str
    edits: tuple[Edit, ...]
    store: str = "redis"


_READS_AFTER_AN_ID = (
    Edit(RedisFeed, "beat", 'events", at.id, "+"', 'events", f"({at.id}", "+"'),
    Edit(RedisFeed, "beat", "Beat.of([replies.entry(at.partition, *reply) for reply in page], at)", "_after(at, page)"),
)

BUGS: dict[str, Bug] = {
    "a load needs no mark": Bug(
        1,
        "slow_loads",
        (Edit(Copy, "admit", "> mark.applied:", "> mark.applied and False:"),),
    ),
    "the mark is taken at the answer": Bug(
        1,
        "slow_loads",
        (Edit(View, "_ask", "answer = await self._batch.load(sid)", "answer, mark = await _late_mark(self, sid)"),),
    ),
    "the lease begins at the answer": Bug(
        2,
        "slow_answers",
        (Edit(Follower, "_catch_up", "self._proved(sent_at, number)", "self._proved(self._clock(), number)"),),
    ),
    "the lease is a flag, and a timer takes it away": Bug(
        3,
        "stopped",
        (
            Edit(
                Follower,
                "_proved",
                "self.lease_until = max(self.lease_until, sent_at + self._staleness)",
                "_raise_flag(self, sent_at + self._staleness)",
            ),
        ),
    ),
    "a message renews the lease": Bug(
        4,
        "resubscribed",
        (
            Edit(
                Follower,
                "_hear",
                "self._copy.apply(entry.event)",
                "self._copy.apply(entry.event); self.lease_until = self._clock() + self._staleness",
            ),
        ),
    ),
    "the feed is read after an id, in a feed whose ids are lower": Bug(5, "ids_behind", _READS_AFTER_AN_ID),
    "the feed is read after an id, in a feed that was trimmed": Bug(6, "trimmed", _READS_AFTER_AN_ID),
    "a cursor is an id without a nonce": Bug(
        7,
        "ids_used_twice",
        (Edit(Beat, "of", "found[0][:2] != cursor[:2]", "found[0].id != cursor.id"),),
    ),
    "a reset forgets the dead": Bug(
        8,
        "old_data",
        (Edit(Copy, "reset", "self._unknown.clear()", "self._unknown.clear(); _forget_the_dead(self)"),),
    ),
    "what a store has forgotten is not ended again": Bug(
        8,
        "old_data",
        (Edit(Follower, "_end_again", "await end_again(self._store, some[-1])", "pass"),),
    ),
    "a reset keeps the living": Bug(
        9,
        "trimmed",
        (Edit(Copy, "reset", "self._forget_living()", "pass"),),
    ),
    "a beat is believed whoever answers it": Bug(
        10,
        "isolated",
        (Edit(RedisClient, "beat", "if not await self._topology.have_authority(owners, change=False):", "if False:"),),
        store="sentinel",
    ),
    "whoever is asked outside the lease is believed": Bug(
        10,
        "isolated",
        (
            Edit(
                RedisClient,
                "_ask",
                "await self._topology.have_authority({key: owner}, change=change)",
                "(not change or await self._topology.have_authority({key: owner}, change=change))",
            ),
        ),
        store="sentinel",
    ),
    "nobody is asked whether a server still is the one": Bug(
        11,
        "thawed",
        (Edit(Sentinels, "have_authority", "if not self.decides and", "if True or"),),
        store="sentinel",
    ),
    "one Sentinel's word is enough": Bug(
        12,
        "isolated",
        (Edit(Sentinels, "_chosen", "of=max(len(self._all), len(self._seeds)) if self.decides else 1", "of=1"),),
        store="sentinel",
    ),
    "a cursor is told before it is applied": Bug(
        17,
        "deaf",
        (Edit(Follower, "_take", "self._copy.apply(entry.event)", "_apply_later(self, entry)"),),
    ),
    "waiting ignores who is silent": Bug(
        18,
        "silent",
        (Edit(Follower, "_wait_for_others", "while late and", "while False and"),),
    ),
    "waiting ignores who came meanwhile": Bug(
        19,
        "newcomer",
        (
            Edit(Follower, "settled", "await self._store.behind(None)", "await _known_members(self)"),
            Edit(
                Follower,
                "_wait_for_others",
                "first = late = await self._store.behind(mark)",
                "first = late = [one for one in await self._store.behind(mark) if one.name in self._known]",
            ),
        ),
    ),
    "the cursor is taken last": Bug(
        19,
        "joining",
        (Edit(Follower, "_attach", "self._cursor = cursor", "self._cursor = await self._store.newest()"),),
    ),
    "a reset keeps the unknown": Bug(
        20,
        "restored",
        (Edit(Copy, "reset", "self._unknown.clear()", "pass"),),
    ),
    "only messages are applied": Bug(
        21,
        "unsubscribed",
        (Edit(Follower, "_take", "self._copy.apply(entry.event)", "pass"),),
    ),
    "another file at the path is not noticed": Bug(
        23,
        "replaced",
        (Edit(SQLiteFeed, "_look", "if there != identity:", "if False:"),),
        store="sqlite",
    ),
    "the reader's transaction stays open": Bug(
        23,
        "calm",
        (Edit(SQLiteFeed, "_look", "schema.connect(self._path), there", "_transaction(self._path), there"),),
        store="sqlite",
    ),
    "revocations are evicted": Bug(
        29,
        "calm",
        (
            Edit(
                Revocations,
                "ended",
                "until = self._at_least(until)",
                "until = self._at_least(until); len(self._sids) < 4 or self._sids.pop(next(iter(self._sids)))",
            ),
        ),
    ),
    "a forked child keeps the lease": Bug(
        30,
        "forked",
        (
            Edit(
                Follower,
                "_forked",
                'self.lease_until, self._cursor, self._attached_at = float("-inf"), None, float("inf")',
                "return",
            ),
        ),
    ),
}


def plant(name: str) -> None:
    """Make this mistake in this process, for good.

    Raises:
        ValueError: the code is no longer what it was when the bug was thought of.
    """
    sources: dict[tuple[Any, str], str] = {}
    for owner, function, old, new in BUGS[name].edits:
        source = sources.get((owner, function)) or _source(owner, function)
        if source.count(old) != 1:
            raise ValueError(f"{name}: {old!r} stands {source.count(old)} times in {owner.__name__}.{function}")
        sources[owner, function] = source.replace(old, new)
    for (owner, function), source in sources.items():
        flags = __future__.annotations.compiler_flag
        code = compile(source, f"<{name}>", "exec", flags=flags, dont_inherit=True)
        made: dict[str, Any] = {}
        exec(code, {**vars(sys.modules[owner.__module__]), **_HELPERS}, made)
        setattr(owner, function, made[function])


def _source(owner: Any, function: str) -> str:
    return textwrap.dedent(inspect.getsource(inspect.unwrap(getattr(owner, function))))


# What edits call


def _after(at: Any, page: Any) -> Beat:
    return Beat(tuple(replies.entry(at.partition, *reply) for reply in page), more=len(page) >= 1000)


async def _late_mark(view: Any, sid: str) -> Any:
    return await view._batch.load(sid), view._copy.mark()


def _raise_flag(follower: Any, until: float) -> None:
    follower.lease_until = float("inf")
    if timer := getattr(follower, "_timer", None):
        timer.cancel()

    def lower() -> None:
        follower.lease_until = float("-inf")

    follower._timer = asyncio.get_running_loop().call_later(until - follower._clock(), lower)


def _forget_the_dead(copy: Any) -> None:
    copy.ends = Ends(copy._clock)


def _apply_later(follower: Any, entry: Any) -> None:
    asyncio.get_running_loop().call_later(0.2, follower._copy.apply, entry.event)


async def _known_members(follower: Any) -> Any:
    members = await follower._store.behind(None)
    follower._known = {member.name for member in members}
    return members


def _transaction(path: Any) -> Any:
    from asgi_auth.stores import sqlite_schema

    connection = sqlite_schema.connect(path)
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM events").fetchall()
    return connection


_HELPERS = {
    helper.__name__: helper
    for helper in (_after, _late_mark, _raise_flag, _forget_the_dead, _apply_later, _known_members, _transaction)
}
