"""Whatever becomes of sessions, in whatever order: the end of each is told once, by what ended it or by a sweep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from random import Random

from clocks import Clock
from store_helpers import LIFETIME, bearer, cookie, exchange, login, presented, sid

from asgi_auth.stores import Ended, Keep, Presented, Store

STEPS = 40


class Lives:
    """Sessions of some users in one store, what happens to them, and whose ends were told.

    Args:
        name: of this one, so that many may share a store.
    """

    def __init__(self, store: Store, clock: Clock, random: Random, name: str) -> None:
        self.store = store
        self.clock = clock
        self.random = random
        self.name = name
        self.users = [f"{user}-{name}" for user in ("alice", "bob", "carol")]
        self.begun: list[str] = []
        self.told: Counter[str] = Counter()

    def hear(self, ended: Iterable[Ended | None]) -> None:
        self.told.update(one.sid for one in ended if one is not None)

    def one(self) -> str:
        """The name of a session, of any time."""
        return self.random.choice(self.begun or ["nobody"])

    def shown(self) -> Presented | None:
        """A cookie, of nobody, of now, or of another secret."""
        return self.random.choice([None, presented(self.one()), presented(self.one(), "another")])

    async def begin(self) -> None:
        name, user = f"{self.name}-{len(self.begun)}", self.random.choice(self.users)
        kind, idle = self.random.choice([cookie, bearer]), self.random.choice([1.0, 20.0, 500.0])
        replaces, data_from = self.shown(), self.shown()
        created = await login(
            self.store,
            kind(name, user, idle=idle),
            replaces=replaces,
            data_from=data_from,
            limit=self.random.choice([0, 0, 1, 2]),
        )
        self.begun.append(name)
        self.hear(created.ended)

    async def end(self) -> None:
        self.hear([await self.store.end(sid(self.one()), "logout")])

    async def end_user(self) -> None:
        keep = self.random.choice([None, Keep(sid(self.one()))])
        self.hear(await self.store.end_user(self.random.choice(self.users), "password", keep=keep) or ())

    async def end_all(self) -> None:
        if self.random.random() < 0.2:
            await self.store.end_all("revoked")

    async def supersede(self) -> None:
        self.hear([await self.store.supersede(sid(self.one()))])

    async def reuse(self) -> None:
        name = self.one()
        if (await exchange(self.store, name, 7, "stolen", "next")).outcome == "reused":
            self.told[sid(name)] += 1

    async def look(self) -> None:
        await self.store.sessions(self.random.choice(self.users))
        await self.store.load(sid(self.one()))

    async def touch(self) -> None:
        await self.store.touch([sid(self.one()), sid(self.one())])

    async def sweep(self) -> None:
        self.hear((await self.store.sweep(self.random.choice([1, 3, 100]))).ended)

    async def wait(self) -> None:
        self.clock.advance(self.random.choice([0.5, 1.0, 19.0, 20.0, 600.0]))

    async def live(self) -> None:
        verbs = [self.begin, self.begin, self.begin, self.look, self.look, self.touch, self.sweep, self.wait]
        verbs += [self.end, self.end_user, self.end_all, self.supersede, self.reuse]
        for _ in range(STEPS):
            await self.random.choice(verbs)()
        self.clock.advance(10 * LIFETIME)
        for _ in range(100):
            swept = await self.store.sweep()
            self.hear(swept.ended)
            if not swept.full and not swept.ended:
                return


async def test_each_end_is_told_once_whatever_came_before_it(store: Store, clock: Clock) -> None:
    for seed in range(10):
        lives = Lives(store, clock, Random(seed), str(seed))
        await lives.live()
        assert lives.told == Counter(map(sid, lives.begun)), f"seed {seed}"
