"""Another process (`worker`), as the checker holds it."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from .proxy import Proxy
from .worker import Role, serve

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["asgi_auth.stores.redis", "asgi_auth.stores.sqlite", "asgi_auth.middleware"])

LONGEST = 100.0
"""Seconds after which a process that says nothing is broken."""


class Process:
    """Starts when it is made.

    Args:
        proxy: on its way to a server; a file has none.
    """

    def __init__(self, role: Role, proxy: Proxy | None) -> None:
        self.name = role.name
        self._proxy = proxy
        self._pipe, theirs = CONTEXT.Pipe()
        self._process = CONTEXT.Process(target=serve, args=(theirs, role), daemon=True)
        self._process.start()
        theirs.close()
        self._numbers = itertools.count()
        self._asked: dict[int, tuple[anyio.Event, list[Any]]] = {}
        self._broken = ""

    @property
    def proxy(self) -> Proxy:
        assert self._proxy is not None
        return self._proxy

    async def listen(self) -> None:
        """Take in what it answers, until this is cancelled or it breaks."""
        with self._pipe:
            while not self._broken:
                await anyio.wait_readable(self._pipe.fileno())
                try:
                    number, answer = self._pipe.recv()
                except EOFError:
                    number, answer = None, "it is gone"
                if number is None:
                    self._broken = answer
                for answered, answers in self._asked.values() if number is None else [self._asked[number]]:
                    answers.append(answer)
                    answered.set()

    async def ask(self, verb: str, *arguments: Any) -> Any:
        """Have it do something, perhaps beside other things.

        Raises:
            RuntimeError: it is broken.
        """
        number = next(self._numbers)
        answered, answers = self._asked[number] = anyio.Event(), []
        self._pipe.send((number, verb, *arguments))
        with anyio.fail_after(LONGEST):
            await answered.wait()
        if self._broken:
            raise RuntimeError(f"{self.name} broke:\n{self._broken}")
        return answers[0]

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Stopped, and asked by everybody before it does anything else."""
        async with anyio.create_task_group() as group:
            group.start_soon(self.ask, "pause", None)
            while not self._is_stopped():  # noqa: ASYNC110 (another process does it)
                await anyio.sleep(0.002)
            try:
                yield
            finally:
                self.go_on()

    def _is_stopped(self) -> bool:
        return Path(f"/proc/{self._pid}/stat").read_text().rpartition(") ")[2][0] == "T"

    def stop(self) -> None:
        os.kill(self._pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self._pid, signal.SIGCONT)

    @property
    def _pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
