"""The Lua scripts of the Redis store, as a server is given them."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import NamedTuple


class Script(NamedTuple):
    """A Lua script with the common part in it, and the SHA-1 by which the server knows it."""

    source: bytes
    sha: str


def load_scripts() -> dict[str, Script]:
    """All scripts by name. The first line of each (`#!lua flags=…`) stays the first: it tells the server what may run
    while it is full, a replica, or without replicas, before anything is written."""
    sources = {path.name: path.read_bytes() for path in (files("asgi_auth.stores") / "lua").iterdir()}
    common = sources.pop("common.lua")
    scripts = {}
    for name, source in sources.items():
        shebang, _, body = source.partition(b"\n")
        whole = shebang + b"\n" + common + body
        scripts[name.removesuffix(".lua")] = Script(whole, hashlib.sha1(whole, usedforsecurity=False).hexdigest())
    return scripts
