"""A real cluster of valkey-servers, made by hand: three primaries with a replica each, whose slots a test may move and
whose nodes it may kill, freeze and fail over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from ports import free_port
from redis.crc import key_slot
from valkey_server import Valkey

SLOTS = 16384


def slot_of(partition: int) -> int:
    """The slot of a partition's keys, whatever the prefix."""
    return int(key_slot(b"{%02x}" % partition))


def wait_until(condition: Callable[[], Any], *, seconds: float = 30.0) -> Any:
    """What the condition says once it is true. A node that cannot be asked is no."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if found := condition():
                return found
        except redis.RedisError:
            pass
        if time.monotonic() > deadline:
            raise TimeoutError(f"{condition} did not come true within {seconds:g} s")
        time.sleep(0.01)


class Node:
    """One server of a cluster, and a client of our own to it."""

    def __init__(self, directory: Path, **config: Any) -> None:
        self.bus, self.server = _started(directory, config)
        self.port = self.server.port
        self.client = self.server.control
        self.client.response_callbacks.pop("CLUSTER SLOTS", None)
        self.id = str(self.ask("CLUSTER", "MYID"))

    def ask(self, *command: str | int) -> Any:
        return self.client.execute_command(*command)

    def info(self) -> dict[str, str]:
        text = self.ask("CLUSTER", "INFO")
        return text if isinstance(text, dict) else dict(line.split(":", 1) for line in text.splitlines() if line)

    @property
    def is_primary(self) -> bool:
        return bool(self.ask("ROLE")[0] in ("master", b"master"))

    def owner_of(self, slot: int) -> str | None:
        """The id of the node that owns a slot, in this one's opinion."""
        return next((str(node[2]) for first, last, node, *_ in self.slots() if first <= slot <= last), None)

    @property
    def first_slot(self) -> int:
        """Of those that it takes for its own."""
        return int(next(first for first, _, node, *_ in self.slots() if node[2] == self.id))

    def slots(self) -> list[Any]:
        """CLUSTER SLOTS, as it is answered."""
        return list(self.ask("CLUSTER", "SLOTS"))

    def refusals(self, kind: str) -> int:
        """How often it has refused a command so."""
        errors: Any = self.client.info("errorstats")
        return int(errors.get(f"errorstat_{kind}", {"count": 0})["count"])

    def close(self) -> None:
        self.client.close()
        self.server.kill()


def _started(directory: Path, config: dict[str, Any]) -> tuple[int, Valkey]:
    """The port of a node's bus, and the node."""
    fixed = {"cluster_enabled": "yes", "repl_diskless_sync_delay": "0", "enable_debug_command": "yes"}
    for attempt in range(3):  # another process may take the port before the server binds it
        # The bus is 10,000 ports higher unless told otherwise, and free ports are often too high for that.
        bus = free_port()
        try:
            return bus, Valkey(directory, cluster_port=str(bus), **fixed, **config)
        except OSError:
            if attempt == 2:
                raise
    raise AssertionError


class ClusterSet:
    """A cluster of its own. Ready once it is made.

    Args:
        replicas: of each primary.
        node_timeout: milliseconds after which a silent node counts as failing.
        config: for each server; see `Valkey`.
    """

    def __init__(
        self, directory: Path, *, primaries: int = 3, replicas: int = 1, node_timeout: int = 1000, **config: Any
    ) -> None:
        self.nodes = [
            Node(directory / f"node{number}", cluster_node_timeout=str(node_timeout), **config)
            for number in range(primaries * (1 + replicas))
        ]
        try:
            self._join(primaries)
        except BaseException:
            self.close()
            raise

    def _join(self, primaries: int) -> None:
        first, *others = self.nodes
        for number, node in enumerate(self.nodes, 1):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number)  # else they collide, and settle that for seconds
        for node in others:
            first.ask("CLUSTER", "MEET", "127.0.0.1", node.port, node.bus)
        for number, node in enumerate(self.nodes[:primaries]):
            begin, end = SLOTS * number // primaries, SLOTS * (number + 1) // primaries - 1
            node.ask("CLUSTER", "ADDSLOTSRANGE", begin, end)
        for number, node in enumerate(self.nodes[primaries:]):
            wait_until(lambda node=node, of=self.nodes[number % primaries]: _replicates(node, of))
        self.settle()

    def settle(self) -> None:
        """Return once all nodes agree that everybody is well and who has which slot."""

        def settled() -> bool:
            views = [sorted(map(str, node.slots())) for node in self.nodes]
            whole = all(node.info()["cluster_state"] == "ok" for node in self.nodes)
            return whole and all(map(_is_linked, self.nodes)) and all(view == views[0] for view in views)

        wait_until(settled)

    def close(self) -> None:
        for node in self.nodes:
            node.close()

    @property
    def url(self) -> str:
        scheme = self.nodes[0].server.url.partition("://")[0]
        return f"{scheme}+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:3])

    def alive(self) -> list[Node]:
        return [node for node in self.nodes if node.server.runs]

    def primaries(self) -> list[Node]:
        return [node for node in self.alive() if node.is_primary and node.id in self._owners()]

    def _owners(self) -> set[str]:
        return {str(entry[2][2]) for entry in self.alive()[0].slots()}

    def owner(self, slot: int) -> Node:
        """Who has a slot, in the opinion of whoever has it."""
        return wait_until(lambda: next((node for node in self.alive() if node.owner_of(slot) == node.id), None))

    def other(self, slot: int) -> Node:
        """A primary that does not have a slot."""
        owner = self.owner(slot)
        return next(node for node in self.primaries() if node is not owner)

    def flush(self) -> None:
        for node in self.nodes:
            if node.is_primary:
                node.ask("FLUSHALL", "SYNC")

    # Slots on the move

    @contextmanager
    def moving(self, slot: int) -> Iterator[Move]:
        """A slot on the move by hand; when this ends, it has moved."""
        move = Move(self, slot)
        try:
            yield move
        finally:
            move.finish()

    def move_by_hand(self, slot: int) -> None:
        Move(self, slot).finish()

    def move_at_once(self, slot: int) -> None:
        """Valkey 9's way: the slot with all its keys, atomically."""
        source, target = self.owner(slot), self.other(slot)
        source.ask("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", target.id)
        # The source serves on until it hears of it, too.
        wait_until(lambda: all(node.owner_of(slot) == target.id for node in (target, source)))

    def fail_over(self, primary: Node) -> Node:
        """The planned way, nothing is lost. The new primary."""
        replica = self.replica_of(primary)
        replica.ask("CLUSTER", "FAILOVER")
        wait_until(lambda: replica.is_primary)
        return replica

    def replaced(self, primary: Node) -> None:
        """Return once a primary that is away has a successor, which all the others follow."""

        def served(node: Node) -> bool:
            owners = {entry[2][2] for entry in node.slots()}
            return primary.id not in owners and node.info()["cluster_state"] == "ok"

        wait_until(lambda: all(served(node) for node in self.nodes if node is not primary))

    def isolate(self, primary: Node) -> Node:
        """A primary that hears none of the others any more, and answers on as if it still had its slots, which its
        replica takes. That replica."""
        replica, slot = self.replica_of(primary), primary.first_slot
        primary.ask("CONFIG", "SET", "cluster-node-timeout", 600_000)  # it does not notice
        primary.ask("DEBUG", "DROP-CLUSTER-PACKET-FILTER", -2)
        replica.ask("CLUSTER", "FAILOVER", "TAKEOVER")
        wait_until(lambda: all(node.owner_of(slot) == replica.id for node in self.nodes if node is not primary))
        return replica

    def replica_of(self, primary: Node) -> Node:
        return wait_until(lambda: next((node for node in self.alive() if _primary_of(node) == primary.port), None))


class Move:
    """A slot moved by hand, as redis-cli does it: the new owner imports, the old one migrates, and the keys go one by
    one."""

    def __init__(self, cluster: ClusterSet, slot: int) -> None:
        self._cluster, self._slot = cluster, slot
        self.source, self.target = cluster.owner(slot), cluster.other(slot)
        self.target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", self.source.id)
        self.source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", self.target.id)

    def keys(self, *names: str) -> None:
        """Move these; without names all that are there now."""
        if moved := names or self.source.ask("CLUSTER", "GETKEYSINSLOT", self._slot, SLOTS):
            self.source.ask("MIGRATE", "127.0.0.1", self.target.port, "", 0, 5000, "KEYS", *moved)

    def refusals(self) -> int:
        """How often somebody was told to try again, by either."""
        return self.source.refusals("TRYAGAIN") + self.target.refusals("TRYAGAIN")

    def finish(self) -> None:
        """Move the rest, and let everybody know."""
        while self.source.ask("CLUSTER", "COUNTKEYSINSLOT", self._slot):
            self.keys()
        for node in (self.target, self.source, *self._cluster.primaries()):
            node.ask("CLUSTER", "SETSLOT", self._slot, "NODE", self.target.id)


def _replicates(node: Node, primary: Node) -> bool:
    """Make a node a replica once it has heard of its primary."""
    try:
        node.ask("CLUSTER", "REPLICATE", primary.id)
    except redis.ResponseError as error:
        if "Unknown node" in str(error):
            return False
        raise
    return True


def _is_linked(node: Node) -> bool:
    """Whether it is no replica, or one that has all that its primary has."""
    return bool(node.client.info("replication").get("master_link_status", "up") == "up")


def _primary_of(node: Node) -> int | None:
    role: Any = node.client.info("replication")
    return int(role["master_port"]) if role["role"] == "slave" else None


class Ferry:
    """Moves slots to and fro until told to stop, in a thread of its own.

    Attributes:
        moves: how many were made.
    """

    def __init__(self, move: Callable[[int], None], slots: list[int]) -> None:
        self._move, self._slots = move, slots
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self.moves = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                for slot in self._slots:
                    self._move(slot)
                    self.moves += 1
        except BaseException as error:
            self._error = error

    def __enter__(self) -> Ferry:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)
        if self._error is not None:
            raise self._error
