"""Scenes of the store: frozen, killed, emptied, trimmed, gone back to what it was.

Old data brings back rights that were taken away since, for good; what has ended must not come back.
"""

from __future__ import annotations

import anyio

from .play import ENDS, Play, now


async def frozen(play: Play) -> None:
    """The server stands still for longer than a lease, twice, and goes on."""
    first, second, living = await play.cast()
    async with play.revoking(first, second, over=4):
        for _ in range(2):
            await play.lapse(0.5)
            with play.server.frozen():
                await play.all("unsaid", living)
    await play.lapse(1)
    await play.all("accepted", living)


async def killed(play: Play) -> None:
    """The server dies and comes back with all that it had."""
    first, second, living = await play.cast()
    async with play.revoking(first, second, over=4):
        for _ in range(2):
            await play.lapse(1)
            await play.restart()
    await play.lapse(1)
    await play.all("accepted", living)


async def lost(play: Play) -> None:
    """The server dies and comes back with nothing, and those that heard nothing meanwhile hear of it."""
    first, second, living = await play.cast()
    play.silence("beats", "commands")
    play.deafen()
    async with play.revoking(first, second, over=0):
        pass
    play.lost(now())
    await play.restart(play.server.lose)
    play.heal(hearing=False)
    await play.all("refused", living)
    await play.lapse(1.5)
    await play.people(4)


async def old_data(play: Play) -> None:
    """The server dies and comes back with old data: who was revoked lives again there. At first nobody has a lease, so
    all are asked about there; a process starts once those who know have ended them again."""
    await play.ripen()
    first, second, living = await play.cast()
    play.server.copy()
    await play.revoke(
        [*first, *second], hows=ENDS, wait=True
    )  # so everybody has heard of it, but was not asked yet about each
    for process in play.everybody:
        process.proxy.cut = frozenset({"beats"})
    await play.restart(play.server.go_back)
    await play.all("accepted", living)
    play.heal()
    with anyio.move_on_after(play.patience):
        await play.until(lambda: play.server.has_ended([person.sid for person in (*first, *second)]))
    process = await play.join("newcomer")
    await process.ask("watch", [*first, *second, *living])
    await play.all("accepted", living)
    await play.lapse(1)


async def restored(play: Play) -> None:
    """The server comes back with nothing, and some time later with its data."""
    first, second, living = await play.cast()
    play.server.copy()
    await play.revoke([*first, *second], hows=ENDS)
    await play.all("refused", [*first, *second])
    gone_at = now()
    await play.restart(play.server.lose)
    await play.all("refused", living)
    async with play.hushed():
        await play.restart(play.server.go_back)
    await play.people(4)
    await play.lapse(1)  # until then somebody may answer from what was the truth before
    play.lost(gone_at, now())
    await play.lapse(1)
    await play.all("accepted", living)


async def flushed(play: Play) -> None:
    """Everything is deleted, also what those would have heard who hear nothing for a moment."""
    first, second, living = await play.cast()
    async with play.hushed():
        play.silence("beats", "commands")
        play.deafen()
        await play.revoke(first)
        await play.revoke(second)
        play.lost(now())
        play.server.control.flushall()
        play.heal(hearing=False)
    await play.all("refused", living)
    await play.lapse(1.5)
    await play.people(4)


async def trimmed(play: Play) -> None:
    """So much is told while some hear nothing that the feed no longer has it all."""
    first, second, living = await play.cast()
    async with play.hushed():
        play.silence("beats", "commands")
        play.deafen()
        await play.revoke(first)
        play.server.trim()
        play.heal(hearing=False)
    await play.revoke(second, over=0.5)
    await play.lapse(1.5)
    await play.all("accepted", living)


async def ids_used_twice(play: Play) -> None:
    """The feed lost its end, and what came then has the ids of what was lost."""
    first, second, living = await play.cast()
    await play.until(lambda: len(set(play.server.cursors())) == 1)
    async with play.hushed():
        play.silence("beats", "commands")
        play.deafen()
        (cursor,) = set(play.server.cursors())
        await play.revoke(first)
        play.server.begin_anew(cursor)
        play.heal(hearing=False)
    await play.revoke(second, over=0.5)
    await play.lapse(1.5)
    await play.all("accepted", living)


async def ids_behind(play: Play) -> None:
    """The feed begins anew, with lower ids since the clock was ahead before."""
    play.server.begin_anew("9999999999999-1")
    first, second, living = await play.cast()
    play.deafen()
    await play.until(lambda: all(cursor.startswith("9999999999999-") for cursor in play.server.cursors()))
    play.server.begin_anew("1-1")
    await play.revoke([*first, *second], over=1)
    await play.lapse(1.5)
    await play.all("accepted", living)


async def replaced(play: Play) -> None:
    """Another file is put at the path, an older one, while everybody runs."""
    first, second, living = await play.cast()
    play.file.copy()
    await play.revoke(first, hows=ENDS)
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


async def locked(play: Play) -> None:
    """Another program keeps the file to itself for longer than anybody waits for it."""
    first, second, living = await play.cast()
    async with play.revoking(first, second, over=4):
        for _ in range(2):
            await play.lapse(1)
            with play.file.locked():
                await play.lapse(1.5)
    await play.lapse(1)
    await play.all("accepted", living)
