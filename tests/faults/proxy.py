"""What lies between one process and its server: a TCP proxy that tells the process's connections apart, and loses,
delays, holds back and cuts what goes over them."""

from __future__ import annotations

import asyncio
import re
import socket
from contextlib import suppress
from typing import Any, Literal

import anyio

Kind = Literal["new", "commands", "beats", "messages"]
"""Of a connection, by what it was used for; `new`: its client has only said hello."""

ALL: frozenset[Kind] = frozenset({"new", "commands", "beats", "messages"})

_BEAT = re.compile(rb"\*4\r\n\$4\r\nHSET\r\n\$\d+\r\n\S+readers\r\n")
_HELLO = re.compile(rb"(?:\*\d+\r\n\$\d+\r\n(?:CLIENT|SELECT|HELLO)\r\n(?:\$\d+\r\n[^\r]*\r\n)+)*")


class _Connection:
    def __init__(self) -> None:
        self.kind: Kind = "new"
        self.writers: list[asyncio.StreamWriter] = []

    def close(self) -> None:
        for writer in self.writers:
            writer.close()

    def learn(self, request: bytes) -> None:
        if b"SUBSCRIBE" in request:
            self.kind = "messages"
        elif _BEAT.match(request):
            self.kind = "beats"
        elif self.kind == "new" and not _HELLO.fullmatch(request):
            self.kind = "commands"


class Proxy:
    """Attributes:
    asks_held: kinds of which requests do not arrive for as long; later they do, as TCP has it.
    answers_held: nor do answers.
    lost: what the server says vanishes.
    late: what the server says comes so many seconds later.
    cut: connections are closed, again and again.
    beats: as many were answered.
    stuck: answers that are held back at this moment.
    """

    def __init__(self, listener: socket.socket, server: int) -> None:
        self._listener = listener
        self._server = server
        self._listener.setblocking(False)
        self._connections: set[_Connection] = set()
        self.beats = self.stuck = 0
        self.heal()

    @property
    def url(self) -> str:
        host, port = self._listener.getsockname()
        return f"redis://{host}:{port}"

    async def run(self) -> None:
        """Until it is cancelled."""
        with self._listener:
            async with anyio.create_task_group() as group:
                while True:
                    await anyio.wait_readable(self._listener)
                    group.start_soon(self._serve, self._listener.accept()[0])

    def heal(self) -> None:
        self.asks_held: frozenset[Kind] = frozenset()
        self.answers_held: frozenset[Kind] = frozenset()
        self.lost: frozenset[Kind] = frozenset()
        self.cut: frozenset[Kind] = frozenset()
        self.late: dict[Kind, float] = {}

    def silence(self, *kinds: Kind) -> None:
        """Nothing passes, in either direction; of all kinds if none is named."""
        self.asks_held = self.answers_held = frozenset(kinds) or ALL

    def hang_up(self, *kinds: Kind) -> None:
        """Close what is open now."""
        for connection in list(self._connections):
            if connection.kind in kinds:
                connection.close()

    async def _serve(self, client: socket.socket) -> None:
        connection = _Connection()
        self._connections.add(connection)
        try:
            reader, writer = await asyncio.open_connection(sock=client)
            connection.writers.append(writer)
            with suppress(OSError):
                from_server, to_server = await asyncio.open_connection("127.0.0.1", self._server)
                connection.writers.append(to_server)
                async with anyio.create_task_group() as group:
                    group.start_soon(self._requests, connection, reader, to_server)
                    group.start_soon(self._answers, connection, from_server, writer)
        finally:
            connection.close()
            self._connections.discard(connection)

    async def _requests(self, connection: _Connection, reader: asyncio.StreamReader, to_server: Any) -> None:
        with suppress(OSError):
            while request := await reader.read(65536):
                connection.learn(request)
                while connection.kind in self.asks_held:  # noqa: ASYNC110 (the checker ends it, perhaps in turn)
                    await asyncio.sleep(0.002)
                if connection.kind in self.cut:
                    break
                to_server.write(request)
                await to_server.drain()
        connection.close()

    async def _answers(self, connection: _Connection, from_server: asyncio.StreamReader, writer: Any) -> None:
        with suppress(OSError):
            while answer := await from_server.read(65536):
                await asyncio.sleep(self.late.get(connection.kind, 0.0))
                if connection.kind in self.answers_held:
                    self.stuck += 1
                    while connection.kind in self.answers_held:  # noqa: ASYNC110 (likewise)
                        await asyncio.sleep(0.002)
                    self.stuck -= 1
                if connection.kind in self.cut:
                    break
                if connection.kind not in self.lost:
                    self.beats += connection.kind == "beats"
                    writer.write(answer)
                    await writer.drain()
        connection.close()
