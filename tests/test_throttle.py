"""How often somebody may try, and who is not hindered by others' tries."""

from __future__ import annotations

import pytest

from asgi_auth.durations import HOUR
from asgi_auth.errors import StoreUnavailable, TooManyRequests
from asgi_auth.stores import Hit, Limit
from asgi_auth.stores.memory import MemoryStore
from asgi_auth.throttle import ATTACK, KNOWN_LIFETIME, LoginThrottle

HOME = "203.0.113.7/32"
AWAY = "198.51.100.9/32"


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(clock=clock)


@pytest.fixture
def throttle(store: MemoryStore) -> LoginThrottle:
    return LoginThrottle(store, rate=(10, 60.0))


async def log_in(throttle: LoginThrottle, name: str, address: str) -> None:
    await throttle.succeeded(await throttle.enter(name, address))


async def flood(throttle: LoginThrottle, name: str, times: int) -> None:
    """Failures from as many addresses as it takes, a few from each."""
    for number in range(times):
        await throttle.enter(name, f"192.0.2.{number // 5}/32")


async def refused(throttle: LoginThrottle, name: str, address: str) -> int:
    with pytest.raises(TooManyRequests) as refusal:
        await throttle.enter(name, address)
    assert refusal.value.retry_after
    return refusal.value.retry_after


async def test_the_eleventh_failures_successor_waits(throttle: LoginThrottle, clock: Clock) -> None:
    for number in range(11):
        ticket = await throttle.enter("alice", HOME)
        assert ticket.failures == number
        assert ticket.last == (number == 10)
    assert await refused(throttle, "alice", HOME) == 60
    clock.now += 59.5
    assert await refused(throttle, "alice", HOME) == 1
    clock.now += 1
    await throttle.enter("alice", HOME)


async def test_a_refused_attempt_does_not_make_the_wait_longer(throttle: LoginThrottle, clock: Clock) -> None:
    for _ in range(11):
        await throttle.enter("alice", HOME)
    for _ in range(50):
        await refused(throttle, "alice", HOME)
    clock.now += 61
    assert (await throttle.enter("alice", HOME)).failures == 0


@pytest.mark.parametrize("spelling", ["ALICE", "Ａlice", "aLiCe", "alice ", "\t alice" + 300 * " "])
async def test_one_name_in_many_spellings_is_counted_once(throttle: LoginThrottle, spelling: str) -> None:
    for _ in range(11):
        await throttle.enter("alice", HOME)
    await refused(throttle, spelling, HOME)


@pytest.mark.parametrize("name", ["", "a\nb", "\ud800", "x" * 10_000])
async def test_what_is_no_name_is_counted_too(throttle: LoginThrottle, name: str) -> None:
    for _ in range(11):
        await throttle.enter(name, HOME)
    await refused(throttle, name, HOME)


async def test_a_success_gives_its_count_back_and_clears_the_failures(throttle: LoginThrottle) -> None:
    for _ in range(3):
        for _ in range(10):
            await throttle.enter("alice", HOME)
        ticket = await throttle.enter("alice", HOME)
        assert ticket.failures == 10
        await throttle.succeeded(ticket)
    assert (await throttle.enter("alice", HOME)).failures == 0


async def test_many_people_behind_one_address_log_in_unhindered(throttle: LoginThrottle) -> None:
    for number in range(300):
        await log_in(throttle, f"user{number % 150}", HOME)


async def test_what_was_not_looked_at_is_not_counted(throttle: LoginThrottle) -> None:
    for _ in range(50):
        await throttle.withdraw(await throttle.enter("alice", HOME))
    assert (await throttle.enter("alice", HOME)).failures == 0


async def test_one_address_fails_at_most_ten_times_as_often_as_one_name_there(throttle: LoginThrottle) -> None:
    for number in range(101):
        await throttle.enter(f"user{number}", HOME)
    await refused(throttle, "another", HOME)
    await throttle.enter("another", AWAY)


async def test_a_flood_on_alices_name_leaves_her_known_address_alone(throttle: LoginThrottle) -> None:
    await log_in(throttle, "alice", HOME)
    await flood(throttle, "alice", ATTACK + 1)
    await refused(throttle, "alice", AWAY)
    await log_in(throttle, "alice", HOME)
    assert not (await throttle.enter("alice", HOME)).attacked


async def test_a_flood_on_alices_name_does_not_touch_bob(throttle: LoginThrottle) -> None:
    await flood(throttle, "alice", ATTACK + 1)
    await log_in(throttle, "bob", AWAY)


async def test_her_login_at_home_does_not_open_the_door_for_the_flood(throttle: LoginThrottle) -> None:
    await log_in(throttle, "alice", HOME)
    await flood(throttle, "alice", ATTACK + 1)
    await log_in(throttle, "alice", HOME)
    await refused(throttle, "alice", AWAY)


async def test_waits_grow_for_a_name_under_attack(throttle: LoginThrottle, clock: Clock) -> None:
    await flood(throttle, "alice", ATTACK)
    assert (await throttle.enter("alice", AWAY)).attacked
    waits = []
    for number in range(7):
        waits.append(await refused(throttle, "alice", f"192.0.2.{number}/32"))
        clock.now += waits[-1]
        assert (await throttle.enter("alice", f"192.0.2.{number}/32")).attacked
    assert waits == [30, 60, 120, 240, 480, 960, 1920]
    assert await refused(throttle, "alice", AWAY) == HOUR


async def test_an_hour_without_attempts_ends_an_attack(throttle: LoginThrottle, clock: Clock) -> None:
    await flood(throttle, "alice", ATTACK + 1)
    clock.now += HOUR
    assert not (await throttle.enter("alice", AWAY)).attacked


async def test_a_success_at_a_strange_address_ends_the_waiting(throttle: LoginThrottle, clock: Clock) -> None:
    await flood(throttle, "alice", ATTACK + 1)
    clock.now += await refused(throttle, "alice", AWAY)
    await log_in(throttle, "alice", AWAY)
    await throttle.enter("alice", "192.0.2.200/32")
    await throttle.enter("alice", "192.0.2.201/32")


async def test_an_address_is_known_for_30_days_after_the_last_login_there(
    throttle: LoginThrottle, clock: Clock
) -> None:
    await log_in(throttle, "alice", HOME)
    clock.now += KNOWN_LIFETIME - 60
    await log_in(throttle, "alice", HOME)
    clock.now += KNOWN_LIFETIME - 10
    await flood(throttle, "alice", ATTACK + 1)
    await throttle.enter("alice", HOME)
    clock.now += 11
    await refused(throttle, "alice", HOME)


async def test_a_known_address_still_has_its_own_limit(throttle: LoginThrottle) -> None:
    await log_in(throttle, "alice", HOME)
    for _ in range(11):
        await throttle.enter("alice", HOME)
    await refused(throttle, "alice", HOME)


async def test_bobs_address_is_not_alices(throttle: LoginThrottle) -> None:
    await log_in(throttle, "bob", HOME)
    await flood(throttle, "alice", ATTACK + 1)
    await refused(throttle, "alice", HOME)


async def test_a_visitors_address_makes_60_sessions_a_minute(throttle: LoginThrottle, clock: Clock) -> None:
    for _ in range(60):
        await throttle.anonymous_creation(HOME)
    with pytest.raises(TooManyRequests) as refusal:
        await throttle.anonymous_creation(HOME)
    assert refusal.value.retry_after == 60
    await throttle.anonymous_creation(AWAY)
    clock.now += 61
    await throttle.anonymous_creation(HOME)


class Watched(MemoryStore):
    """Remembers which keys it was given; without an answer if `down`."""

    def __init__(self) -> None:
        super().__init__()
        self.keys_seen: list[str] = []
        self.down = False

    async def hit(self, limits: list[Limit]) -> Hit:  # type: ignore[override]
        if self.down:
            raise StoreUnavailable("down")
        self.keys_seen += [text for limit in limits for text in (limit.key, limit.unless)]
        return await super().hit(limits)


async def test_no_name_and_no_address_stands_in_the_store() -> None:
    store = Watched()
    throttle = LoginThrottle(store)
    await log_in(throttle, "alice", HOME)
    await throttle.anonymous_creation(HOME)
    assert store.keys_seen
    assert not [key for key in store.keys_seen if "alice" in key or "203.0.113" in key]


async def test_without_the_store_nobody_tries_uncounted() -> None:
    store = Watched()
    store.down = True
    with pytest.raises(StoreUnavailable):
        await LoginThrottle(store).enter("alice", HOME)
