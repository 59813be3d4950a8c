"""A real primary with its replicas and the Sentinels that watch over them, each of which a test may kill, freeze, cut
off and bring back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis
from valkey_server import BINARY, Valkey

HERE = ("127.0.0.1", "")
"""A place as `Valkey` takes them."""

NAME = "ours"
"""What the Sentinels call the primary."""


def until(condition: Callable[[], Any], *, seconds: float = 60.0) -> Any:
    """What the condition says once it is true. A server that cannot be asked is no."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(redis.RedisError):
            if found := condition():
                return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"{condition} did not come true within {seconds:g} s")
        time.sleep(0.01)


class SentinelSet:
    """Ready once it is made: the replicas are in step, and all Sentinels know all of them and one another.

    Args:
        down_after: milliseconds after which a Sentinel takes a silent server for dead.
        binary: the server that all of them run.
        places: of each server, then of each Sentinel, as `Valkey` takes them; None: all here.
        config: of the servers; `sentinel_config`: of the Sentinels.
    """

    def __init__(
        self,
        directory: Path,
        *,
        replicas: int = 1,
        sentinels: int = 3,
        down_after: int = 500,
        binary: Path | str = BINARY,
        places: list[tuple[str, str]] | None = None,
        sentinel_config: dict[str, str] | None = None,
        **config: str,
    ) -> None:
        places = places or [HERE] * (1 + replicas + sentinels)
        self.all: list[Valkey] = []
        self.servers: list[Valkey] = []
        self.sentinels: list[Valkey] = []
        self._down_after = down_after
        try:
            for number in range(1 + replicas):
                more = {"replicaof": f"{self.primary.host} {self.primary.port}"} if number else {}
                server = Valkey(
                    directory / f"server{number}",
                    binary=binary,
                    place=places[number],
                    repl_diskless_sync_delay="0",
                    repl_ping_replica_period="1",
                    repl_timeout="5",
                    **more,
                    **config,
                )
                self.servers.append(server)
                self.all.append(server)
            until(lambda: self.in_step(replicas))
            for place in places[1 + replicas :]:
                self.add_sentinel(directory / f"sentinel{len(self.sentinels)}", binary, place, sentinel_config)
            until(lambda: all(self.knows(one, replicas, sentinels - 1) for one in self.sentinels))
        except BaseException:
            self.close()
            raise

    def add_sentinel(
        self,
        directory: Path,
        binary: Path | str = BINARY,
        place: tuple[str, str] = HERE,
        config: Mapping[str, str] | None = None,
    ) -> Valkey:
        """One more. More than half of them have to agree that a primary is dead."""
        sentinel = Valkey(directory, binary=binary, place=place, sentinel=True, **(config or {}))
        self.sentinels.append(sentinel)
        self.all.append(sentinel)
        control = sentinel.control
        quorum = len(self.sentinels) // 2 + 1
        control.execute_command("SENTINEL", "MONITOR", NAME, self.primary.host, self.primary.port, quorum)
        for option, value in (
            ("down-after-milliseconds", self._down_after),
            ("failover-timeout", 3000),
            ("parallel-syncs", 4),
        ):
            control.execute_command("SENTINEL", "SET", NAME, option, value)
        return sentinel

    @property
    def primary(self) -> Valkey:
        """The one that was the primary at the start."""
        return self.servers[0]

    @property
    def url(self) -> str:
        hosts = ",".join(f"{one.host}:{one.port}" for one in self.sentinels)
        scheme = self.primary.url.partition("://")[0]
        return f"{scheme}+sentinel://{hosts}/{NAME}"

    def named_by(self, sentinel: Valkey) -> Valkey | None:
        """The server that a Sentinel takes for the primary."""
        named = sentinel.control.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
        if named is None:
            return None
        return next(server for server in self.servers if [server.host, str(server.port)] == [str(one) for one in named])

    def in_step(self, replicas: int) -> bool:
        info = self.primary.control.info("replication")
        online = [info[f"slave{number}"]["state"] == "online" for number in range(info["connected_slaves"])]
        if sum(online) < replicas:
            return False
        self.primary.control.set("x", "y")
        return replicas == 0 or int(self.primary.control.wait(replicas, 1000)) >= replicas

    def knows(self, sentinel: Valkey, replicas: int, others: int) -> bool:
        (state,) = [
            one for one in sentinel.control.execute_command("SENTINEL", "MASTERS") if _field(one, "name") == NAME
        ]
        peers = sentinel.control.execute_command("SENTINEL", "SENTINELS", NAME)
        ready = all(_field(peer, "runid") for peer in peers)
        return ready and int(_field(state, "num-slaves")) >= replicas and len(peers) >= others

    def failed_over(self, *, of: list[Valkey] | None = None) -> Valkey:
        """The new primary, once all Sentinels, or those, name it, and it is one."""

        def new() -> Valkey | None:
            named = {self.named_by(sentinel) for sentinel in of or self.sentinels}
            (server,) = named if len(named) == 1 else (None,)
            return server if server not in (None, self.primary) and server.control.role()[0] == "master" else None

        found = until(new)
        assert isinstance(found, Valkey)
        return found

    def close(self) -> None:
        for server in self.all:
            server.kill()


def _field(flat: Any, name: str) -> str:
    fields = flat if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))
    return str(fields.get(name, ""))
