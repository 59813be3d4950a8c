"""Two network namespaces and a virtual cable between them, which can swallow every packet without a word."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NAMES = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_NOBODY = "02:00:00:00:00:ff"
"""A hardware address that nobody at the cable has: what is sent there is gone."""


class NoNamespaces(Exception):
    """They cannot be made here, and why."""


def enter(namespace: str) -> None:
    """The running thread, and those that it starts, live in this namespace from now on."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(namespace, os.O_RDONLY)
    try:
        if libc.setns(descriptor, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
    finally:
        os.close(descriptor)


class Cable:
    """Attributes:
    near, namespace: where processes at the near and at the far end live, by their files.
    """

    def __init__(self) -> None:
        self._ends = [f"faults-{os.getpid()}-{os.urandom(3).hex()}-{side}" for side in ("near", "far")]
        self.near, self.namespace = (str(_NAMES / end) for end in self._ends)

    def lay(self) -> None:
        """Raises NoNamespaces: not here."""
        if shutil.which("ip") is None:
            raise NoNamespaces("there is no `ip` here (Debian: apt-get install iproute2)")
        try:
            for name in self._ends:
                _ip("netns", "add", name)
            first, second = self._ends
            _ip("-n", first, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", second)
            for number, name in enumerate(self._ends, 1):
                _ip("-n", name, "link", "set", "cable", "address", f"02:00:00:00:00:0{number}", "up")
                _ip("-n", name, "addr", "add", f"10.0.0.{number}/24", "dev", "cable")
                _ip("-n", name, "link", "set", "lo", "up")  # for who talks to its own address
            self.mend()
        except subprocess.CalledProcessError as error:
            raise NoNamespaces(f"`{' '.join(error.cmd)}` failed: {error.stderr.strip()}") from None

    def lose(self) -> None:
        """From now on every packet is sent, and none arrives."""
        self._address(_NOBODY, _NOBODY)

    def mend(self) -> None:
        self._address("02:00:00:00:00:01", "02:00:00:00:00:02")

    def _address(self, first: str, second: str) -> None:
        """Where either end believes the other one to be."""
        for name, other, address in ((self._ends[0], "10.0.0.2", second), (self._ends[1], "10.0.0.1", first)):
            _ip(*f"-n {name} neigh replace {other} lladdr {address} nud permanent dev cable".split())

    def listener(self) -> socket.socket:
        """A listening socket at the near end, for a process that lives elsewhere."""
        made: list[socket.socket] = []

        def listen() -> None:
            enter(self.near)
            made.append(socket.create_server(("10.0.0.1", 0)))

        thread = threading.Thread(target=listen)
        thread.start()
        thread.join()
        return made[0]

    def remove(self) -> None:
        for name in self._ends:
            with suppress(subprocess.CalledProcessError, FileNotFoundError):
                _ip("netns", "del", name)


@contextmanager
def cable() -> Iterator[Cable]:
    """Raises NoNamespaces: not here."""
    made = Cable()
    try:
        made.lay()
        yield made
    finally:
        made.remove()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, timeout=20)
