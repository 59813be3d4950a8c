"""Scenes of processes: stopped, stuck, forked, started in the middle of it. And one in which nothing happens."""

from __future__ import annotations

from contextlib import AsyncExitStack

import anyio

from .play import Play
from .proxy import Proxy


async def calm(play: Play) -> None:
    """Nothing is broken."""
    first, second, living = await play.cast()
    async with play.revoking(first, second, over=1):
        pass
    await play.lapse(1.5)
    await play.all("accepted", living)


async def stopped(play: Play) -> None:
    """Processes are stopped for longer than their lease, and wake up with what they knew."""
    first, second, living = await play.cast()
    for part, wait in ((first, False), (second, True)):
        async with AsyncExitStack() as stack:
            for process in play.followers:
                await stack.enter_async_context(process.paused())
            await play.revoke(part, over=0.5, wait=wait)
            await play.lapse(1.2)
        await play.lapse(1)
    await play.all("accepted", living)


async def blocked(play: Play) -> None:
    """Something holds up the event loops, for less and for more than a lease."""
    first, second, living = await play.cast()
    for part, wait in ((first, False), (second, True)):
        async with anyio.create_task_group() as group:
            for number, process in enumerate(play.followers):
                group.start_soon(process.ask, "pause", (0.5 + number) * play.staleness)
            await play.revoke(part, over=0.5, wait=wait)
    await play.lapse(1)
    await play.all("accepted", living)


async def forked(play: Play) -> None:
    """A process forks, and its child answers as well."""
    await play.ripen()
    first, second, living = await play.cast()
    async with anyio.create_task_group() as group:
        for process in play.followers:
            group.start_soon(play.fork, process, [*first, *second], 1.5 * play.staleness)
        await anyio.sleep(0.05)
        await play.revoke([*first, *second], over=0.1, wait=True)
    await play.all("accepted", living)


async def newcomer(play: Play) -> None:
    """A process gets its first lease between the moment when it is asked who follows and the change, and is silent
    from then on."""

    def no_beats(proxy: Proxy) -> None:
        proxy.cut = frozenset({"beats"})

    await play.ripen()
    people = await play.people(play.crowd)
    process = await play.join("newcomer", no_beats)
    await process.ask("watch", people)
    await play.all("accepted", people, by=[process])
    held = play.revoker.proxy
    held.answers_held = frozenset({"commands"})
    async with play.revoking([], people, over=0):
        await play.until(lambda: held.stuck > 0)
        process.proxy.cut = frozenset()
        await play.until(lambda: process.proxy.beats > 0)
        await anyio.sleep(0.02)
        process.proxy.silence()
        held.answers_held = frozenset()
    await play.lapse(1)


async def joining(play: Play) -> None:
    """A process begins with this history, slowly and hearing nothing, while tokens are revoked. Then it is asked."""
    people = await play.people(2 * play.crowd, "token")
    process = await play.join("newcomer")
    await play.until(lambda: len(play.server.cursors()) == len(play.everybody))
    process.proxy.late, process.proxy.lost = {"commands": 0.15}, frozenset({"messages"})
    play.server.begin_anew("1-1")
    await play.revoke(people, over=4)
    await process.ask("watch", people)
    await play.lapse(1.5)
