"""One process of several on the same store: says `ready`, waits for a line, does its job, prints the outcome as JSON.

python store_worker.py <url> <job> <number of this process>
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from store_helpers import bearer, cookie, digest, exchange, sid

from asgi_auth.model import UserRow
from asgi_auth.stores import Created, Limit, Store
from asgi_auth.stores.opening import open_store

Job = Callable[[Store, int], Awaitable[Any]]


async def gather(number: int, one: Callable[[int], Awaitable[Any]]) -> list[Any]:
    """The outcomes of `one(0)`, `one(1)`, … at once."""
    outcomes: list[Any] = [None] * number

    async def run(index: int) -> None:
        outcomes[index] = await one(index)

    async with anyio.create_task_group() as group:
        for index in range(number):
            group.start_soon(run, index)
    return outcomes


async def exchanges(store: Store, me: int) -> Any:
    """The refresh token `r1` of `s`, 16 times."""
    done = await gather(16, lambda n: exchange(store, "s", 1, "r1", f"r2-{me}-{n}", revision=1))
    return [[exchanged.outcome, exchanged.nonce] for exchanged in done]


async def writes(store: Store, me: int) -> Any:
    """40 keys of the data of `s`."""
    done = await gather(40, lambda n: store.write_data(sid("s"), {f"{me}-{n}": "1"}, (), max_size=65536))
    return Counter(isinstance(version, int) for version in done)[True]


async def logins(store: Store, me: int) -> Any:
    """40 logins of alice."""
    done = await gather(40, lambda n: store.create(cookie(f"{me}-{n}"), revision=1))
    return Counter(isinstance(created, Created) for created in done)[True]


async def limited(store: Store, me: int) -> Any:
    """50 logins of alice, of whom one may have a session."""
    done = await gather(50, lambda n: store.create(cookie(f"{me}-{n}"), revision=1, limit=1))
    return Counter(isinstance(created, Created) for created in done)[True]


async def refused(store: Store, me: int) -> Any:
    """50 logins of alice, of whom one may have a session; the first stays."""
    done = await gather(50, lambda n: store.create(cookie(f"{me}-{n}"), revision=1, limit=1, evict=False))
    return Counter("made" if isinstance(created, Created) else created for created in done)


async def race(store: Store, me: int) -> Any:
    """The first process ends `s` while the others refresh it, until they are told that it ended, and thrice more."""
    if me == 0:
        return [(await store.end(sid("s"), "logout")) is not None]
    outcomes: list[str] = []
    while outcomes.count("ended") < 4:
        outcomes.append((await exchange(store, "s", 1, "r1", "r2", revision=1)).outcome)
    return outcomes


async def hits(store: Store, me: int) -> Any:
    """20 hits of one limit."""
    done = await gather(20, lambda n: store.hit([Limit("k", 30, 1000)]))
    return Counter(hit.wait == 0 for hit in done)[True]


async def proofs(store: Store, me: int) -> Any:
    """Of 20 keys, which this process was the first to see."""
    return [not seen for seen in await gather(20, lambda n: store.seen_before(f"proof{n}", 1000.0))]


async def sweeps(store: Store, me: int) -> Any:
    """Steps until the end of all 200 sessions has been told, by whomever."""
    told: list[str] = []
    while sum([entry.event.kind == "ended" for entry in await store.events()]) < 200:
        told += [ended.sid for ended in (await store.sweep(7)).ended]
    return told


async def churn(store: Store, me: int) -> Any:
    """30 short logins of a user of its own, used and swept meanwhile by all, until the end of everybody's is told."""
    made, told = [f"{me}-{n}" for n in range(30)], list[str]()

    async def sweep() -> None:
        told.extend(ended.sid[2:] for ended in (await store.sweep(5)).ended)

    for name in made:
        created = await store.create(cookie(name, f"user-{me}", idle=0.05, lifetime=0.2), revision=1)
        assert isinstance(created, Created)
        await store.write_data(sid(name), {"a": "1"}, (), max_size=65536)
        await store.touch([sid(name)])
        await sweep()
    while sum([entry.event.kind == "ended" for entry in await store.events()]) < 120:
        await sweep()
        await anyio.sleep(0.01)
    return {"made": made, "told": told}


async def once(store: Store, me: int) -> Any:
    await store.open()
    return [await store.once("ring", f"of {me}"), await store.put_keys(None, f"ring of {me}")]


async def names(store: Store, me: int) -> Any:
    """The same name for ten users."""
    done = await gather(
        10, lambda n: store.save_user(UserRow(f"{me}-{n}", name="Alice"), name_key="alice", expected=None)
    )
    return Counter(str(outcome) for outcome in done)


async def saves(store: Store, me: int) -> Any:
    """Ten times: read alice's row and write it under the revision that was read."""
    saved = 0
    for _ in range(10):
        while True:
            row = await store.user("alice")
            assert row is not None
            if isinstance(await store.save_user(UserRow("alice"), expected=row.revision), int):
                saved += 1
                break
    return saved


async def flood(store: Store, me: int) -> Any:
    """Logins one after another until this process is killed, each told once it is acknowledged."""
    number = 0
    while True:
        name = f"{me}-{number}"
        created = await store.create(bearer(name, data={"a": digest(name)}), revision=1)
        assert isinstance(created, Created)
        print(name, flush=True)
        number += 1


async def hammer(store: Store, me: int) -> Any:
    """Writes of every kind, many tasks at once."""

    async def one(n: int) -> bool:
        for turn in range(6):
            name = f"{me}-{n}-{turn}"
            assert isinstance(await store.create(cookie(name), revision=1), Created)
            await store.write_data(sid(name), {"a": "1"}, (), max_size=65536)
            await store.hit([Limit(f"k{n}", 1000, 1000)])
            await store.touch([sid(name)])
            assert await store.end(sid(name), "logout") is not None
        return True

    return all(await gather(8, one))


JOBS: dict[str, Job] = {
    job.__name__: job
    for job in (
        exchanges,
        writes,
        logins,
        limited,
        refused,
        race,
        hits,
        proofs,
        sweeps,
        churn,
        once,
        names,
        saves,
        flood,
        hammer,
    )
}


async def main(url: str, job: str, me: int) -> None:
    store = open_store(url, timeout=2.0 if job == "hammer" else 10.0)
    if job != "once":
        await store.open()
    print("ready", flush=True)
    await anyio.to_thread.run_sync(sys.stdin.readline)
    outcome = await JOBS[job](store, me)
    await store.aclose()
    print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]))
