"""Ports for the servers that tests start. Not in `conftest`, of which there are several under one name."""

from __future__ import annotations

import socket


def free_port() -> int:
    """A loopback port that nobody has at this moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
