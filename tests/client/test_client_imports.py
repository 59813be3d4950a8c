"""What `import asgi_auth.client` brings along, and what it needs, each time in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

SERVER_HALF = ("starlette", "pydantic", "cryptography", "jwt", "argon2", "redis", "itsdangerous", "asgi_auth.auth")


def python(*statements: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", "\n".join(statements)], capture_output=True, text=True, timeout=60)


def without(*names: str) -> list[str]:
    """As if these were not installed."""
    return [
        "import sys",
        "class Missing:",
        "    def find_spec(self, name, path=None, target=None):",
        f"        if name in {names!r}:",
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)",
        "sys.meta_path.insert(0, Missing())",
    ]


def test_the_client_half_brings_nothing_of_the_server_half():
    done = python("import sys, asgi_auth.client", f"print(sorted(set(sys.modules) & set({SERVER_HALF!r})))")
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize("missing", ["httpx", "httpx2"])
def test_one_of_the_two_libraries_is_enough(server, missing):
    here = {"httpx": "httpx2", "httpx2": "httpx"}[missing]
    done = python(
        *without(missing),
        f"import {here}",
        "from asgi_auth.client import ClientAuth",
        f"auth = ClientAuth({server.url!r}, 'alice', 'wonderland')",
        f"print({here}.Client(auth=auth).get({server.origin!r} + '/private').json()['user'])",
    )
    assert (done.stdout, done.returncode) == ("alice\n", 0), done.stderr


def test_without_either_it_says_what_to_install():
    done = python(*without("httpx", "httpx2"), "import asgi_auth.client")
    assert "pip install httpx" in done.stderr
