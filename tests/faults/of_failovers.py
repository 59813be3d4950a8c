"""Scenes of a primary that Sentinels replace: it dies, sleeps, or is cut off with some of those who ask it."""

from __future__ import annotations

import anyio.to_thread

from .play import Play


async def failover(play: Play) -> None:
    """The primary dies while some are revoked and others come."""
    first, second, living = await play.cast()
    async with play.revoking(first, second, over=3):
        await play.lapse(0.5)
        play.watched.primary.kill()
        newcomers = await play.people(8)
        await anyio.to_thread.run_sync(play.watched.replaced)
    await play.lapse(1)
    await play.all("accepted", [*living, *newcomers])


async def thawed(play: Play) -> None:
    """The primary stands still until it is replaced, and goes on as if nothing had happened. So do processes that stood
    still as long, and know no other."""
    first, second, living = await play.cast()
    for process in play.followers:
        process.stop()
    play.watched.primary.freeze()
    await anyio.to_thread.run_sync(play.watched.replaced)
    await play.revoke([*first, *second])
    play.watched.primary.thaw()
    for process in play.followers:
        process.go_on()
    await play.lapse(4)
    await play.all("accepted", living)


async def isolated(play: Play) -> None:
    """The primary, one Sentinel and the others are cut off from all the rest, where a replica takes its place."""
    first, second, living = await play.cast()
    assert play.watched.wire is not None
    play.watched.wire.lose()
    await anyio.to_thread.run_sync(play.watched.replaced)
    async with play.revoking(first, second, over=2):
        await play.lapse(3)
    await play.all("unsaid", living, by=play.followers)
    play.watched.wire.mend()
    await play.lapse(1)
    await play.all("accepted", living)
