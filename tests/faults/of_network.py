"""Scenes of the way between a process and its server: cut, silent, slow, deaf."""

from __future__ import annotations

from .play import Play


async def cut(play: Play) -> None:
    """The feed's connections are cut, and cut again, now and then for longer than a lease."""
    first, second, living = await play.cast()
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


async def silent(play: Play) -> None:
    """Nothing passes between the others and the server, and nobody is told so."""
    await play.ripen()
    first, second, living = await play.cast()
    play.silence()
    async with play.revoking(first, second, over=0):
        pass
    await play.all("unsaid", living, by=play.followers)
    play.heal()
    await play.all("accepted", living)
    await play.lapse(1)


async def dropped_packets(play: Play) -> None:
    """The same, where it is the network that drops every packet."""
    await play.ripen()
    first, second, living = await play.cast()
    play.cable.lose()
    async with play.revoking(first, second, over=0):
        pass
    await play.all("unsaid", living, by=play.followers)
    play.cable.mend()
    await play.all("accepted", living)
    await play.lapse(1)


async def slow_answers(play: Play) -> None:
    """Beats are answered after most of a lease, nothing else is, and no message comes."""
    first, second, living = await play.cast()
    play.silence("commands")
    play.deafen()
    for proxy in play.proxies:
        proxy.late = {"beats": 0.8 * play.staleness}
    await play.lapse(1.5)
    await play.revoke([*first, *second], over=4)
    await play.lapse(3)
    play.heal()
    await play.all("accepted", living)


async def slow_loads(play: Play) -> None:
    """Sessions are loaded before a right is taken away, and the answers come after everybody has heard of it."""
    await play.ripen()
    for proxy in play.proxies:
        proxy.answers_held = frozenset({"commands"})
    people = await play.people(play.crowd, "cookie", accepted=False)
    # One load goes alone, and all that come meanwhile go together.
    await play.until(lambda: all(proxy.stuck >= 2 for proxy in play.proxies))
    await play.revoke(people, hows=["right"], wait=True)
    play.heal()
    await play.lapse(1)


async def resubscribed(play: Play) -> None:
    """Of all connections only that of the messages comes back, and what was told meanwhile is told no more."""
    first, second, living = await play.cast()
    play.silence("beats", "commands")
    play.deafen()
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


async def unsubscribed(play: Play) -> None:
    """The server drops those who listen, as it does with one that is too slow."""
    first, second, living = await play.cast()
    for part, wait in ((first, False), (second, True)):
        play.server.control.client_kill_filter(_type="pubsub")
        await play.revoke(part, over=0.5, wait=wait)
        await play.lapse(1.5)
    await play.all("accepted", living)


async def deaf(play: Play) -> None:
    """No message comes at all; only beats tell."""
    first, second, living = await play.cast()
    play.deafen()
    async with play.revoking(first, second, over=1):
        pass
    await play.lapse(1.5)
    await play.all("accepted", living)
