"""A process that shares its login with others by a file: `client_worker.py <url> <origin> <file> <library> [path]`. For
each line of standard input, a number, it sends so many requests at once, and says what came of them in a line of JSON.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections import Counter

import anyio

from asgi_auth.client import ClientAuth, TokenFile


async def main(url: str, origin: str, file: str, library: str, path: str = "/private") -> None:
    auth = ClientAuth(url, storage=TokenFile(file))
    async with importlib.import_module(library).AsyncClient(auth=auth, base_url=origin, timeout=30) as client:

        async def ask() -> None:
            try:
                came[str((await client.get(path)).status_code)] += 1
            except Exception as error:
                came[type(error).__name__] += 1

        while line := await anyio.to_thread.run_sync(sys.stdin.readline):
            came: Counter[str] = Counter()
            async with anyio.create_task_group() as group:
                for _ in range(int(line)):
                    group.start_soon(ask)
            print(json.dumps(came), flush=True)


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
