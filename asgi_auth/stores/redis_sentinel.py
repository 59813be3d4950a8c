"""A primary that Sentinels watch over, and replace: the one that more than half of all of them name.

Of all, not of those in the URL: whoever has more than half decides, and two majorities share a Sentinel. An opinion
changes once, so a Sentinel that told a reader "the old one" told it before it told "the new one" to whoever changed
something there. One Sentinel's word is not enough, it may be the last to know.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import anyio
import redis
import redis.exceptions

from asgi_auth.clock import Clock
from asgi_auth.errors import ConfigurationError, StoreUnavailable
from asgi_auth.loops import Joint
from asgi_auth.stores.redis_address import Address
from asgi_auth.stores.redis_links import Links
from asgi_auth.stores.redis_topology import Redirect, Server

SURVEY = 5.0
"""Seconds after which all Sentinels are asked which others they know."""

GRACE = 0.01
"""Seconds for which the last ones are waited for once it is decided. Who is late is asked again with the survey."""

LOOK = 1.0
"""Seconds after which it is looked who the primary is, where that is not asked each time."""

_MYID = (b"SENTINEL", b"MYID")

_log = logging.getLogger("asgi_auth")


class Answer(NamedTuple):
    """What a Sentinel says: who it is, whom it names (None: nobody), where the others are that it knows."""

    sentinel: str
    primary: Server | None
    others: dict[str, Server]


class Found(NamedTuple):
    """What they say together. `primary` None: not enough of them name the same. `error`: why some said nothing."""

    primary: Server | None = None
    error: BaseException | None = None


class Sentinels:
    """`Topology` of one primary.

    Args:
        timeout: seconds for which a call of the store lasts at most. Sentinels are waited for a quarter as long: a call
            may have to wait for one question to be over, and then for its own.
        clock: steady.
    """

    mode = "standalone"

    def __init__(self, address: Address, timeout: float, clock: Clock = time.monotonic) -> None:
        assert address.sentinel_way is not None
        self.decides = address.authority
        self.turns = 0
        self.known: frozenset[Server] = frozenset()
        self._name = address.primary.encode()
        self._patience = timeout / 4
        self._clock = clock
        self._links = Links(address.sentinel_way, timeout)
        self._seeds = address.sentinels
        self._all: dict[str, Server] = {}  # by their ids: every one that was heard of
        self._places = frozenset(self._seeds)  # where somebody listens, or may
        self._answering = self._places
        self._surveyed_at = self._looked_at = -math.inf
        self._primary: Server | None = None
        self._doubtful = True
        self._named = Joint(self._ask)

    # What the client asks

    async def servers(self) -> frozenset[Server]:
        found = await self._named.ask()
        wrong = _misconfiguration(found.error) if found.primary is None else None
        if wrong is not None:
            raise ConfigurationError(f"ASGI_AUTH_STORE: {wrong}") from found.error
        return frozenset({await self.server("")})

    async def server(self, key: str) -> Server:
        if self._primary is None or self._doubtful:
            found = await self._named.ask()
            if found.primary is None:
                raise StoreUnavailable("not enough Sentinels name the same primary") from found.error
            self._doubtful = False
        assert self._primary is not None
        return self._primary

    async def have_authority(self, owners: Mapping[str, Server], *, change: bool) -> bool:
        if not self.decides and self._clock() - self._looked_at < LOOK:
            return True
        found = await self._named.ask()
        return not self.decides or set(owners.values()) == {found.primary}

    def failed(self, server: Server) -> None:
        if server == self._primary:
            self._doubtful = True

    async def redirected(self, server: Server, key: str, replies: Sequence[Any]) -> Redirect | None:
        if not any(isinstance(reply, redis.exceptions.ReadOnlyError) for reply in replies):
            return None
        self.failed(server)  # it has become a replica
        now = await self.server(key)
        return Redirect(now) if now != server else None

    async def aclose(self) -> None:
        await self._links.aclose()

    # What the Sentinels are asked

    async def _ask(self) -> Found:
        """Those are asked that answered last. If that decides nothing, or it is time, all are, and once more if others
        come to light."""
        self._looked_at = self._clock()
        found = Found()
        if self._looked_at - self._surveyed_at < SURVEY:
            found = await self._round(self._answering, survey=False)
        places: frozenset[Server] | None = None
        while found.primary is None and places != self._places:
            places = self._places
            found = await self._round(places, survey=True)
        if found.primary is not None and found.primary != self._primary:
            if self._primary is not None:
                _log.warning("the Sentinels name another primary, so whatever was read before is read anew")
                self.turns += 1
            self._primary, self.known = found.primary, frozenset({found.primary})
        return found

    async def _round(self, places: Collection[Server], *, survey: bool) -> Found:
        answers: dict[Server, Answer] = {}
        errors: list[BaseException] = []

        async def hear(place: Server) -> None:
            try:
                answers[place] = await self._hear(place, survey)
            except (redis.RedisError, OSError) as error:
                errors.append(error)
            if self._chosen(answers.values()) is not None:
                scope.deadline = min(scope.deadline, anyio.current_time() + GRACE)

        # Others wait for these answers too: whoever asks for them may leave, and none of the connections is given up.
        with anyio.move_on_after(self._patience, shield=True) as scope:
            async with anyio.create_task_group() as group:
                for place in places:
                    group.start_soon(hear, place)
        self._answering = frozenset(answers)
        if survey:
            self._learn(answers)
        found = self._chosen(answers.values())
        if answers and not any(answer.primary for answer in answers.values()):
            errors.append(redis.ResponseError("No such master with that name"))
        return Found(found, errors[-1] if errors else None)

    async def _hear(self, place: Server, survey: bool) -> Answer:
        commands = [_MYID, (b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", self._name)]
        if survey:
            commands.append((b"SENTINEL", b"SENTINELS", self._name))
        link = await self._links.to(place, self._places)
        try:
            replies = await link.exchange(commands, fresh=False)
        except redis.AuthenticationError:
            raise
        except (redis.ConnectionError, OSError):  # it was restarted
            replies = await link.exchange(commands, fresh=True)
        return _answer(*replies)

    def _chosen(self, answers: Collection[Answer]) -> Server | None:
        return chosen(answers, of=max(len(self._all), len(self._seeds)) if self.decides else 1)

    def _learn(self, answers: Mapping[Server, Answer]) -> None:
        self._all = census(self._all, answers)
        places = frozenset((*self._seeds, *self._all.values()))
        if places != self._places:
            self._places = places
        if answers:
            self._surveyed_at = self._clock()


def chosen(answers: Collection[Answer], *, of: int) -> Server | None:
    """The server that more than half of so many Sentinels name. One that answers at two addresses counts once."""
    named = Counter({answer.sentinel: answer.primary for answer in answers if answer.primary is not None}.values())
    return next((server for server, votes in named.most_common(1) if 2 * votes > of), None)


def census(before: Mapping[str, Server], answers: Mapping[Server, Answer]) -> dict[str, Server]:
    """All Sentinels that there are, by those that were known before and what some say, each at its place. Only if most
    of those before say so are there fewer: one that has forgotten the others must not become all."""
    told = {name: place for answer in answers.values() for name, place in answer.others.items()}
    told |= {answer.sentinel: place for place, answer in answers.items()}
    heard = before.keys() & {answer.sentinel for answer in answers.values()}
    return told if 2 * len(heard) > len(before) else {**before, **told}


def _answer(own: Any, named: Any, others: Any = ()) -> Answer:
    for reply in (own, named):
        if isinstance(reply, redis.RedisError):
            raise reply
    peers = (
        [] if isinstance(others, redis.RedisError) else [dict(zip(one[::2], one[1::2], strict=True)) for one in others]
    )
    places = {peer[b"runid"] or peer[b"name"]: Server(peer[b"ip"].decode(), int(peer[b"port"])) for peer in peers}
    return Answer(
        own.decode(),
        Server(named[0].decode(), int(named[1])) if named else None,
        {name.decode(): place for name, place in places.items()},
    )


def _misconfiguration(error: BaseException | None) -> str | None:
    """What is wrong with the settings, if a repetition cannot cure what Sentinels said."""
    if isinstance(error, redis.AuthenticationError | redis.exceptions.AuthorizationError):
        return "the Sentinels refuse the user or the password: name them by ?sentinel_username= and ?sentinel_password="
    if isinstance(error, redis.exceptions.NoPermissionError):
        return (
            "this user of the Sentinels may not ask them: "
            "ACL SETUSER … +sentinel|myid +sentinel|get-master-addr-by-name +sentinel|sentinels"
        )
    if isinstance(error, redis.ResponseError) and "No such master" in str(error):
        return "no Sentinel knows a primary of that name: correct it in redis+sentinel://host:26379/name"
    if isinstance(error, redis.ResponseError) and "unknown command" in str(error).lower():
        return "what answers there is no Sentinel: name those, usually at port 26379, and not the servers"
    return None
