"""Views beside a primary that others have replaced: the network between two halves of a Sentinel set is cut."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from faults.network import Cable, NoNamespaces, cable, enter
from sentinel_set import SentinelSet
from store_helpers import add_user, cookie, login, sid
from view_helpers import is_current, is_warm, kind_of

from asgi_auth.errors import StoreUnavailable
from asgi_auth.stores.opening import open_store
from asgi_auth.view import View

LEASE = 0.5


class Halves:
    """A cable with the primary and a Sentinel at its far end, and a replica and two Sentinels at its near end."""

    def __init__(self, wire: Cable, servers: SentinelSet, near: BlockingPortal, far: BlockingPortal) -> None:
        self.wire, self.servers, self.near, self.far = wire, servers, near, far

    def replace(self) -> None:
        """The cable is cut, and those at the near end make the replica the primary."""
        self.wire.lose()
        self.servers.failed_over(of=self.servers.sentinels[1:])


@pytest.fixture
def halves(tmp_path) -> Iterator[Halves]:
    try:
        with cable() as wire, living(wire.near) as near, living(wire.namespace) as far:
            here, there = ("10.0.0.1", wire.near), ("10.0.0.2", wire.namespace)
            servers = SentinelSet(tmp_path / "set", places=[there, here, there, here, here])
            try:
                yield Halves(wire, servers, near, far)
            finally:
                servers.close()
    except NoNamespaces as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no packets can be dropped here: {error}")


@contextmanager
def living(namespace: str) -> Iterator[BlockingPortal]:
    """An event loop in a thread that lives there. Of asyncio: trio's threads may be those of before."""
    with start_blocking_portal() as portal:
        portal.call(enter, namespace)
        yield portal


class Reader:
    """A view, and a store that others cannot see, in the loop of a portal."""

    def __init__(self, portal: BlockingPortal, url: str) -> None:
        self._portal = portal
        self.store = open_store(url, timeout=1)
        self.view = View(self.store, staleness=LEASE)

    @contextmanager
    def following(self) -> Iterator[None]:
        run = self._portal.start_task_soon(self.view.follower.run)
        try:
            yield
        finally:
            run.cancel()
            self._portal.call(self._leave)

    async def _leave(self) -> None:
        await self.view.follower.leave()
        await self.store.aclose()

    def says(self, name: str) -> str:
        """`alive`, `dead` or `unknown`; `ask`: that it cannot be said."""
        return self._portal.call(self._says, sid(name))

    async def _says(self, sid: str) -> str:
        try:
            return kind_of(await self.view.session(sid))
        except StoreUnavailable:
            return "ask"

    def is_warm(self, name: str) -> bool:
        return self._portal.call(is_warm, self.view, sid(name))

    def until(self, name: str, wanted: str, *, unless: str = "") -> None:
        deadline = time.monotonic() + 60
        while (said := self.says(name)) != wanted:
            assert said != unless
            assert time.monotonic() < deadline, f"{name} is {said}, not {wanted}"
            time.sleep(0.02)

    def until_current(self, *, turns: int) -> None:
        """The view is, at the server that so many took the place of."""
        deadline = time.monotonic() + 60
        while not (self.store.feed().turns == turns and self._portal.call(is_current, self.view)):
            assert time.monotonic() < deadline
            time.sleep(0.02)


async def make(store: Any, *names: str) -> None:
    for name in names:
        await login(store, cookie(name))


async def surely(change: Any) -> Any:
    with anyio.fail_after(60):
        while True:
            try:
                return await change()
            except StoreUnavailable:
                await anyio.sleep(0.02)


def test_a_process_beside_an_isolated_primary_stops_answering(halves):
    url = halves.servers.url
    writer = open_store(url, timeout=1)
    halves.near.call(make, writer, "a", "b")
    reader, naive = Reader(halves.far, url), Reader(halves.far, halves.servers.primary.url)
    with reader.following(), naive.following():
        for each in (reader, naive):
            each.until("a", "alive")
            each.until("b", "alive")
        halves.replace()
        halves.near.call(surely, lambda: writer.end(sid("a"), "revoked"))
        ended_at = time.monotonic()
        while time.monotonic() < ended_at + LEASE:
            time.sleep(0.01)
        while time.monotonic() < ended_at + 2 * LEASE + 1:
            assert not reader.is_warm("a")
            assert reader.says("a") == reader.says("b") == "ask"
            # Who knows no other believes the old one, which takes beats and answers.
            assert naive.says("a") == "alive"
        halves.wire.mend()
        reader.until("a", "dead")
        reader.until("b", "alive")
    halves.near.call(writer.aclose)


def test_a_login_during_a_failover_is_known_everywhere_after_it(halves):
    url = halves.servers.url
    writer = open_store(url, timeout=1)
    halves.near.call(add_user, writer)
    careful, bold = Reader(halves.far, url), Reader(halves.far, f"{url}?authority=none")
    with careful.following(), bold.following():
        for each in (careful, bold):
            each.until("a", "unknown")
        halves.replace()
        halves.near.call(surely, lambda: make(writer, "new"))
        assert careful.says("new") == "ask"
        assert bold.says("new") == "unknown"  # at the old one, where it never was
        assert bold.view._copy.unknown(sid("new"))
        halves.wire.mend()
        for each in (careful, bold):
            each.until_current(turns=1)  # nobody asks before, who would be told by the new one
            each.until("new", "alive", unless="unknown")
    halves.near.call(writer.aclose)
