"""What the three examples share: the page, its headers, JSON that comes in, two demo users. Knows no framework."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, Final, Protocol

from asgi_auth.errors import ConfigurationError, NameTaken, StoreUnavailable

PAGE: Final = Path(__file__).resolve().parent / "page"

CSP: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
PAGE_HEADERS: Final[dict[str, str]] = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""What every answer with a file of the page carries."""

_MEDIA_TYPES: Final = {
    "index.html": "text/html; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
}
_DEMO_USERS: Final = (("alice", "wonderland", ("read",)), ("bob", "builder", ("read", "admin")))

# A child of the package's logger, so it is seen wherever the package's own lines are.
_log = logging.getLogger("asgi_auth.examples")


class CreatesUsers(Protocol):
    """The one verb of `Auth` that is needed here."""

    async def create_user(self, name: str, password: str, /, *, scopes: frozenset[str], id: str, check: bool) -> object:
        """Put a user into the built-in directory; `check=False` takes a password that is too weak for people."""


def page_file(name: str) -> tuple[bytes, str]:
    """A file of the page and its media type: `index.html`, `page.js` or `page.css`.

    Raises:
        FileNotFoundError: any other name; a 404.
    """
    media_type = _MEDIA_TYPES.get(name)
    if media_type is None:  # only names of the table are ever joined to a path
        raise FileNotFoundError(f"the page has no file {name!r}")
    return (PAGE / name).read_bytes(), media_type


def json_value(body: bytes | str) -> Any:
    """The JSON value in a request's body.

    Raises:
        ValueError: it is none.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("the body is no well-formed JSON") from None


def bad_request(error: Exception) -> dict[str, str]:
    """The body of a 400, in the same shape as the refusals of the package."""
    return {"error": "invalid_request", "error_description": str(error)}


async def add_demo_users(auth: CreatesUsers) -> None:
    """Put alice and bob into the built-in directory, unless they are there.

    Several workers may do it at once: whoever comes second finds the name taken. Neither a store that is silent nor a
    directory elsewhere (`ASGI_AUTH_USERS`) keeps the example from starting.
    """
    for name, password, scopes in _DEMO_USERS:
        try:
            await auth.create_user(name, password, scopes=frozenset(scopes), id=name, check=False)
        except NameTaken:
            continue
        except StoreUnavailable:
            _log.warning("the demo users were not added, since the store gives no answer: start again when it does")
            return
        except ConfigurationError as error:
            _log.info("no demo users: %s", error)
            return
        _log.info(
            "added the demo user %s (scopes: %s) with the password that the page at / names", name, ", ".join(scopes)
        )
