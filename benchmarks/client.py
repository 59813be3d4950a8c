"""A small client for machines without wrk: the same request again and again over a few connections, on one loop.

It may be the slower side: ratios to the bare application then look better than they are.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import cast


class _Connection(asyncio.Protocol):
    """Sends the request, waits for the answer's end, sends it again."""

    def __init__(self, request: bytes, until: float) -> None:
        self.answered = self.refused = 0
        self.over = asyncio.get_running_loop().create_future()
        self._request = request
        self._until = until
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found or not body:
            return
        self.answered += 1
        self.refused += not head.startswith(b"HTTP/1.1 200")
        self._buffer = b""
        if time.perf_counter() < self._until:
            self._transport.write(self._request)
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.over.set_result(error)


async def measure(host: str, port: int, request: bytes, *, connections: int, seconds: float) -> dict[str, float]:
    """Answers, seconds, and how many were not 200 or never came."""
    loop = asyncio.get_running_loop()
    begun = time.perf_counter()
    made = [
        (await loop.create_connection(lambda: _Connection(request, begun + seconds), host, port))[1]
        for _ in range(connections)
    ]
    errors = [error for error in [await one.over for one in made] if error is not None]
    answered = sum(one.answered for one in made)
    taken = time.perf_counter() - begun
    return {"answered": answered, "seconds": taken, "bad": sum(one.refused for one in made) + len(errors)}


if __name__ == "__main__":
    import uvloop

    asked = json.load(sys.stdin)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        host, port, text = asked.pop("host"), asked.pop("port"), asked.pop("request")
        print(json.dumps(runner.run(measure(host, port, text.encode("latin-1"), **asked))))
