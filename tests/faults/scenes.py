"""What can happen, one scene each: people come, something breaks around their revocations, everybody asks all the time.

Where a scene says that all are `unsaid`, it makes sure that what it broke is broken; where it says that all are
`accepted` at its end, that the service goes on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import anyio

from .crew import Play, Unsettled, now, playing
from .judge import Verdict
from .proxy import Proxy

Acts = Callable[[Play], Awaitable[None]]


class Scene(NamedTuple):
    """`stores`: where it can be played. `options`: of `playing`."""

    acts: Acts
    stores: tuple[str, ...]
    options: dict[str, Any]


SCENES: dict[str, Scene] = {}


def scene(*stores: str, **options: Any) -> Callable[[Acts], Acts]:
    def add(acts: Acts) -> Acts:
        SCENES[acts.__name__] = Scene(acts, stores, options)
        return acts

    return add


async def perform(name: str, store: str, directory: Path, *, crowd: int = 24, bug: str = "") -> Verdict:
    """Play a scene to its end, and judge.

    Raises:
        NoNamespaces: it needs them, and they cannot be made here.
    """
    acts, _, options = SCENES[name]
    async with playing(store, directory, crowd=crowd, bug=bug, **options) as play:
        unsettled = ""
        try:
            await acts(play)
        except Unsettled as error:
            unsettled = str(error)
        return await play.verdict(unsettled)


def thirds(play: Play, people: list[Any]) -> tuple[list[Any], list[Any], list[Any]]:
    part = play.crowd // 2
    return people[:part], people[part : 2 * part], people[2 * part :]


# ---------------------------------------------------------------------- nothing happens


@scene("redis", "sqlite")
async def calm(play: Play) -> None:
    """Nothing is broken."""
    first, second, living = thirds(play, await play.people(play.crowd + 8))
    await play.revoke(first, over=1)
    await play.revoke(second, over=1, wait=True)
    await play.lapse(2)
    await play.all("accepted", living)


# ---------------------------------------------------------------------- processes


@scene("redis", "sqlite")
async def stopped(play: Play) -> None:
    """Processes are stopped for longer than their lease, and wake up with what they knew."""
    people = await play.people(play.crowd + 8)
    for part, wait in zip(thirds(play, people)[:2], (False, True), strict=True):
        for process in play.followers:
            process.stop()
        await play.revoke(part, over=0.5, wait=wait)
        await play.lapse(1.5)
        for process in play.followers:
            process.go_on()
        await play.lapse(1)
    await play.all("accepted", people[play.crowd :])


@scene("redis", "sqlite")
async def blocked(play: Play) -> None:
    """Something holds up the event loops, shorter and longer than a lease."""
    people = await play.people(play.crowd + 8)
    for part, wait in zip(thirds(play, people)[:2], (False, True), strict=True):
        async with anyio.create_task_group() as group:
            for number, process in enumerate(play.followers):
                group.start_soon(process.ask, "block", (0.5 + number) * play.staleness)
            await play.revoke(part, over=0.5, wait=wait)
    await play.lapse(1)
    await play.all("accepted", people[play.crowd :])


@scene("redis", "sqlite", staleness=0.8, followers=2)
async def forked(play: Play) -> None:
    """A process forks, and its child answers as well."""
    people = await play.people(play.crowd + 8)
    async with anyio.create_task_group() as group:
        for process in play.followers:
            group.start_soon(play.fork, process, people, 1.5 * play.staleness)
        await anyio.sleep(0.05)
        await play.revoke(people[: play.crowd], over=0.1, wait=True)
    await play.all("accepted", people[play.crowd :])


@scene("redis", staleness=1.0, followers=1)
async def newcomer(play: Play) -> None:
    """A process gets its first lease between the moment when it is asked who follows and the change, and is silent
    from then on."""

    def no_beats(proxy: Proxy) -> None:
        proxy.cut = frozenset({"beats"})

    people = await play.people(play.crowd)
    await play.lapse(1.5)  # who came to this history a moment ago waits for the longest lease in any case
    process = await play.join("newcomer", no_beats)
    await process.ask("watch", people)
    await play.all("accepted", people, by=[process])
    members = len(play.server.cursors())
    held = play.revoker.proxy
    held.answers_held = frozenset({"commands"})
    async with play.revoking([], people, over=0):
        await play.until(lambda: held.stuck > 0)
        process.proxy.cut = frozenset()
        await play.until(lambda: len(play.server.cursors()) > members)
        await anyio.sleep(0.05)
        process.proxy.silence()
        held.answers_held = frozenset()
    await play.lapse(1)


@scene("redis", followers=1)
async def joining(play: Play) -> None:
    """A process starts, slowly, while tokens are revoked, and no message reaches it."""

    def slow(proxy: Proxy) -> None:
        proxy.late, proxy.lost = {"commands": 0.15}, frozenset({"messages"})

    people = await play.people(2 * play.crowd, "token")
    async with play.revoking(people, over=7):
        process = await play.join("newcomer", slow)
        await process.ask("watch", people)
    await play.lapse(2)


# ---------------------------------------------------------------------- the way to the server


@scene("redis")
async def cut(play: Play) -> None:
    """The feed's connections are cut, and cut again, now and then for longer than a lease."""
    first, second, living = thirds(play, await play.people(play.crowd + 8))
    async with play.revoking(first, second, over=4):
        for number in range(4):
            for proxy in play.proxies:
                proxy.hang_up("beats", "messages")
                proxy.cut = frozenset({"beats", "messages"} if number % 2 else {"messages"})
            await play.lapse(0.8)
            play.heal()
            await play.lapse(0.2)
    await play.lapse(1)
    await play.all("accepted", living)


@scene("redis")
async def silent(play: Play) -> None:
    """Nothing passes between the others and the server, and nobody is told so."""
    first, second, living = thirds(play, await play.people(play.crowd + 8))
    play.silence()
    await play.revoke(first)
    await play.revoke(second, wait=True)
    await play.all("unsaid", living, by=play.followers)
    play.heal()
    await play.all("accepted", living)
    await play.lapse(1)


@scene("redis", followers=1, far=True)
async def dropped_packets(play: Play) -> None:
    """The same, where it is the network that drops every packet."""
    first, second, living = thirds(play, await play.people(play.crowd + 8))
    play.cable.lose()
    await play.revoke(first)
    await play.revoke(second, wait=True)
    await play.all("unsaid", living, by=play.followers)
    play.cable.mend()
    await play.all("accepted", living)
    await play.lapse(1)


@scene("redis")
async def slow_answers(play: Play) -> None:
    """Beats are answered after most of a lease, and no message comes."""
    people = await play.people(play.crowd + 8)
    for proxy in play.proxies:
        proxy.late = {"beats": 0.8 * play.staleness, "commands": 0.3 * play.staleness}
        proxy.lost = frozenset({"messages"})
    await play.lapse(2)
    await play.revoke(people[: play.crowd], over=4)
    await play.lapse(3)
    play.heal()
    await play.all("accepted", people[play.crowd :])


@scene("redis")
async def slow_loads(play: Play) -> None:
    """Sessions are loaded before a revocation, and the answers come after it."""
    for proxy in play.proxies:
        proxy.late = {"commands": 0.7 * play.staleness}
    people = await play.people(play.crowd, "cookie", accepted=False)
    await play.lapse(0.3)
    await play.revoke(people, how="user")
    await play.lapse(4)
    play.heal()


@scene("redis")
async def resubscribed(play: Play) -> None:
    """Of all connections only that of the messages comes back, and what was told meanwhile is told no more."""
    first, second, living = thirds(play, await play.people(play.crowd + 8))
    for proxy in play.proxies:
        proxy.silence("beats", "commands")
        proxy.lost = frozenset({"messages"})
    await play.revoke(first)
    await play.all("unsaid", living, by=play.followers)
    for proxy in play.proxies:
        proxy.lost = frozenset()
        proxy.hang_up("messages")
    await play.until(lambda: play.server.listeners() < len(play.everybody))
    await play.until(lambda: play.server.listeners() == len(play.everybody))
    await play.revoke(second, over=3)
    play.heal()
    await play.all("accepted", living)


@scene("redis")
async def unsubscribed(play: Play) -> None:
    """The server drops those who listen, as it does with one that is too slow."""
    people = await play.people(play.crowd + 8)
    for part, wait in zip(thirds(play, people)[:2], (False, True), strict=True):
        play.server.control.client_kill_filter(_type="pubsub")
        await play.revoke(part, over=0.5, wait=wait)
        await play.lapse(2)
    await play.all("accepted", people[play.crowd :])


@scene("redis")
async def deaf(play: Play) -> None:
    """No message comes at all; only beats tell."""
    first, second, living = thirds(play, await play.people(play.crowd + 8))
    for proxy in play.proxies:
        proxy.lost = frozenset({"messages"})
    await play.revoke(first, over=1)
    await play.revoke(second, over=1, wait=True)
    await play.lapse(2)
    await play.all("accepted", living)


# ---------------------------------------------------------------------- the server


@scene("redis")
async def frozen(play: Play) -> None:
    """The server stands still for longer than a lease, twice, and goes on."""
    first, second, living = thirds(play, await play.people(play.crowd + 8))
    async with play.revoking(first, second, over=4):
        for _ in range(2):
            await play.lapse(0.5)
            with play.server.frozen():
                await play.all("unsaid", living, by=play.followers)
    await play.lapse(1)
    await play.all("accepted", living)


@scene("redis")
async def killed(play: Play) -> None:
    """The server dies and comes back with all that it had."""
    first, second, living = thirds(play, await play.people(play.crowd + 8))
    async with play.revoking(first, second, over=4):
        for _ in range(2):
            await play.lapse(1)
            await play.restart()
    await play.lapse(1)
    await play.all("accepted", living)


@scene("redis")
async def lost(play: Play) -> None:
    """The server dies and comes back with nothing, and those that heard nothing meanwhile hear of it."""
    first, second, living = thirds(play, await play.people(play.crowd + 8))
    play.silence()
    await play.revoke(first)
    await play.revoke(second, wait=True)
    play.lost(now())
    await play.restart(play.server.lose)
    play.heal()
    await play.all("refused", living)
    await play.lapse(2)
    await play.people(4)


@scene("redis")
async def old_data(play: Play) -> None:
    """The server dies and comes back with old data: who was revoked lives again there. At first nobody has a lease, so
    all are asked about there; later a process starts."""
    people = await play.people(play.crowd + 8)
    ended, living = people[: play.crowd], people[play.crowd :]
    play.server.copy()
    await play.revoke(ended)
    await play.all("refused", ended)
    for process in play.everybody:
        process.proxy.cut = frozenset({"beats"})
    await play.restart(play.server.go_back)
    await play.all("accepted", living)
    play.heal()
    await play.lapse(4)
    process = await play.join("newcomer")
    await process.ask("watch", people)
    await play.all("accepted", living)
    await play.lapse(1)


@scene("redis")
async def restored(play: Play) -> None:
    """The server comes back with nothing, and some time later with its data."""
    people = await play.people(play.crowd + 8)
    ended, living = people[: play.crowd], people[play.crowd :]
    play.server.copy()
    await play.revoke(ended)
    await play.all("refused", ended)
    gone_at = now()
    await play.restart(play.server.lose)
    await play.all("refused", living)
    await play.restart(play.server.go_back)
    await play.all("accepted", living)
    play.lost(gone_at, now())
    await play.lapse(1)


@scene("redis", staleness=1.0)
async def flushed(play: Play) -> None:
    """Everything is deleted, also what those would have heard who hear nothing for a moment."""
    first, second, living = thirds(play, await play.people(play.crowd + 8))
    play.silence()
    await play.revoke(first)
    await play.revoke(second)
    play.lost(now())
    play.server.control.flushall()
    play.heal()
    await play.all("refused", living)
    await play.lapse(1.5)
    await play.people(4)


@scene("redis", staleness=1.0)
async def trimmed(play: Play) -> None:
    """So much is told while some hear nothing that the feed no longer has it all."""
    first, second, living = thirds(play, await play.people(play.crowd + 8))
    play.silence()
    await play.revoke(first)
    await play.revoke(second)
    play.server.trim()
    play.heal()
    await play.lapse(2)
    await play.all("accepted", living)


@scene("redis", staleness=1.0)
async def ids_used_twice(play: Play) -> None:
    """The feed lost its end, and what came then has the ids of what was lost."""
    people = await play.people(play.crowd + 8)
    await play.until(lambda: len(set(play.server.cursors())) == 1)
    play.silence()
    (cursor,) = set(play.server.cursors())
    await play.revoke(people[: play.crowd])
    play.server.begin_anew(cursor)
    play.heal()
    await play.lapse(2)
    await play.all("accepted", people[play.crowd :])


@scene("redis")
async def ids_behind(play: Play) -> None:
    """The feed begins anew, with lower ids since the clock was ahead before."""
    play.server.begin_anew("9999999999999-1")
    people = await play.people(play.crowd + 8)
    for proxy in play.proxies:
        proxy.lost = frozenset({"messages"})
    await play.until(lambda: all(cursor.startswith("9999999999999-") for cursor in play.server.cursors()))
    play.server.begin_anew("1-1")
    await play.revoke(people[: play.crowd], over=1)
    await play.lapse(2)
    await play.all("accepted", people[play.crowd :])


# ---------------------------------------------------------------------- the file


@scene("sqlite")
async def replaced(play: Play) -> None:
    """Another file is put at the path, an older one, while everybody runs."""
    first, second, living = thirds(play, await play.people(play.crowd + 8))
    play.file.copy()
    await play.revoke(first)
    await play.all("refused", first)
    for process in play.everybody:
        process.stop()
    play.file.go_back()
    for process in play.everybody:
        process.go_on()
    await play.all("accepted", living)
    await play.revoke(second, over=1)
    await play.lapse(1)
    await play.all("accepted", living)

