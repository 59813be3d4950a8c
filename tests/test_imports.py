"""What `import asgi_auth` brings along, each time in a process of its own: no more than it stands on."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

OPTIONAL = ("httpx", "httpx2", "redis", "hiredis", "typer", "rich", "click", "fastapi", "quart", "sqlite3", "trio")


def modules_after(*statements: str) -> set[str]:
    """The names of all modules that these statements bring in."""
    code = "\n".join(["import json, sys", *statements, "print(json.dumps(list(sys.modules)))"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(done.stdout))


@pytest.fixture(scope="module")
def imported() -> set[str]:
    return modules_after("from asgi_auth import *")


@pytest.mark.parametrize("name", OPTIONAL)
def test_the_package_imports_nothing_that_is_optional(imported, name):
    assert not {module for module in imported if module.split(".")[0] == name}


def test_the_package_imports_of_starlette_only_types_authentication_and_exceptions(imported):
    """With what those three import themselves."""
    three = modules_after("import starlette.types, starlette.authentication, starlette.exceptions")
    assert {name for name in imported if name.startswith("starlette")} <= three


def test_the_package_imports_neither_a_store_nor_the_command_nor_an_integration(imported):
    inside = {name for name in imported if name.startswith("asgi_auth.")}
    assert {name for name in inside if name.startswith(("asgi_auth.cli", "asgi_auth.integrations"))} == set()
    stores = {name for name in inside if name.startswith("asgi_auth.stores")}
    assert stores <= {"asgi_auth.stores", "asgi_auth.stores.opening", "asgi_auth.stores.values"}


def test_the_package_alone_brings_nothing_with_it():
    stdlib_only = modules_after("import importlib, typing")
    assert modules_after("import asgi_auth") - stdlib_only <= {"asgi_auth", "__future__"}


def test_every_public_name_is_there():
    import asgi_auth

    assert all(hasattr(asgi_auth, name) for name in asgi_auth.__all__)
    assert set(asgi_auth.__all__) <= set(dir(asgi_auth))
    with pytest.raises(AttributeError, match="asgi_auth"):
        asgi_auth.Nothing  # noqa: B018


def test_an_auth_in_memory_imports_neither_redis_nor_sqlite():
    made = "import anyio; from asgi_auth import Auth, Settings"
    used = "async def use():\n    async with Auth(Settings(store='memory://')): pass\nanyio.run(use)"
    assert not {"redis", "sqlite3"} & modules_after(made, used)


def test_the_import_starts_nothing():
    """No thread, no event loop, no handler of a logger."""
    code = (
        "import asgi_auth, logging, threading; assert threading.active_count() == 1; "
        "assert not logging.getLogger('asgi_auth').handlers and not logging.getLogger('asgi_auth.security').handlers"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
