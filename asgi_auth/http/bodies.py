"""Request bodies in, checked members out. Strict: what two readers understand differently is a way in (ASVS 15.3).

How long a body may be is decided by whoever receives it, before it comes here.
"""

from __future__ import annotations

import re
from typing import Literal, overload
from urllib.parse import parse_qsl

from asgi_auth.errors import InvalidRequest
from asgi_auth.http.strict import MAX_DEPTH, strict_json

MAX_MEMBERS = 100

_CHARSET = re.compile(rb';[ \t]*charset[ \t]*=[ \t]*"?([^";]*)', re.IGNORECASE)
_FORM_FLAGS = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}


class Form(dict[str, object]):
    """The members of a form: texts, none of them empty."""


def parse_body(content_type: bytes | None, body: bytes, *, form: bool) -> dict[str, object]:
    """The members of a JSON object or, with `form`, of an `application/x-www-form-urlencoded` body (a `Form`).

    JSON: UTF-8, no member twice, no NaN or Infinity, at most 16 levels, no half of a surrogate pair. Forms: UTF-8, no
    parameter twice, no NUL; an empty parameter counts as absent (RFC 6749 §3.2).

    Raises:
        InvalidRequest: the body is anything else. Nothing else is raised, whatever comes.
    """
    media_type, _, parameters = (content_type or b"").partition(b";")
    media_type = media_type.strip().lower()
    charset = _CHARSET.search(b";" + parameters)
    if charset and charset[1].strip().lower() not in (b"utf-8", b"utf8"):
        raise InvalidRequest("Send the body in UTF-8")
    if media_type == b"application/json":
        return _json(body)
    if form and media_type == b"application/x-www-form-urlencoded":
        return _form(body)
    raise InvalidRequest(
        "Send the body as application/json" + (" or application/x-www-form-urlencoded" if form else "")
    )


def _json(body: bytes) -> dict[str, object]:
    try:
        value = strict_json(body, parse_int=int)
    except ValueError:
        rules = f"UTF-8, no member twice, no NaN or Infinity, at most {MAX_DEPTH} levels"
        raise InvalidRequest(f"The body is no well-formed JSON: {rules}") from None
    if not isinstance(value, dict):
        raise InvalidRequest("The body is no JSON object")
    return value


def _form(body: bytes) -> Form:
    try:
        pairs = parse_qsl(
            body.decode("utf-8"), keep_blank_values=True, encoding="utf-8", errors="strict", max_num_fields=MAX_MEMBERS
        )
    except ValueError:
        raise InvalidRequest("The body is no well-formed form in UTF-8") from None
    if len({name for name, _ in pairs}) != len(pairs):
        raise InvalidRequest("A parameter of the body is doubled")
    if any("\0" in name or "\0" in value for name, value in pairs):
        raise InvalidRequest("The body holds a NUL character")
    return Form({name: value for name, value in pairs if value})


@overload
def text(body: dict[str, object], name: str, *, required: Literal[True]) -> str: ...
@overload
def text(body: dict[str, object], name: str, *, required: bool = False) -> str | None: ...
def text(body: dict[str, object], name: str, *, required: bool = False) -> str | None:
    """A member that is a text; None if it is absent or empty.
    Raises InvalidRequest, which names it: it is no text, holds NUL, or is required and absent or empty."""
    value = body.get(name, "")
    if not isinstance(value, str) or "\0" in value:
        raise InvalidRequest(f"{name} must be a text")
    if required and not value:
        raise InvalidRequest(f"{name} is missing")
    return value or None


def flag(body: dict[str, object], name: str) -> bool:
    """A member that is a JSON boolean, in a form `true`, `on`, `1` or `false`, `off`, `0`; False if it is absent.
    Raises InvalidRequest, which names it: it is anything else."""
    value = body.get(name, False)
    if isinstance(body, Form) and isinstance(value, str):
        value = _FORM_FLAGS.get(value)
    if not isinstance(value, bool):
        raise InvalidRequest(f"{name} must be true or false")
    return value
