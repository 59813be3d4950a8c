"""What `docs/client.md` shows works, against a real server."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import anyio

from asgi_auth.client import ClientAuth

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "client.md").read_text(encoding="utf-8")


def test_the_examples_work(server, tmp_path):
    page: dict[str, Any] = {"directory": tmp_path}
    for snippet in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(snippet.replace("https://app.example.com", server.origin), "client.md", "exec"), page)
    assert page["answer"].json()["user"] == "alice"
    assert anyio.run(page["main"]).json()["user"] == "alice"
    assert server.logins == 2
    assert not (tmp_path / "tokens.json").exists()


def test_every_option_is_told():
    options = set(inspect.signature(ClientAuth).parameters) - {"clock"}
    told = set(re.findall(r"\b([a-z_]+)\b", PAGE))
    assert options <= told
