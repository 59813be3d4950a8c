"""One call of an endpoint: the request's body and query, read strictly and within bounds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from asgi_auth.context import Context
from asgi_auth.errors import ContentTooLarge, InvalidRequest, LoginRequired
from asgi_auth.http import values
from asgi_auth.http.bodies import parse_body
from asgi_auth.identity import Identity
from asgi_auth.logins import Logins
from asgi_auth.parts import Parts
from asgi_auth.settings import Settings

MAX_BODY = 16 * 1024
"""Bytes; a longer body is 413, and not read to its end."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a handler works with."""

    context: Context
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]]
    parts: Parts
    logins: Logins

    @property
    def settings(self) -> Settings:
        return self.parts.settings

    @property
    def identity(self) -> Identity:
        """Who is calling.

        Raises:
            LoginRequired: nobody.
        """
        if self.context.identity is None:
            raise LoginRequired(reason=self.context.reason or None)
        return self.context.identity

    async def body(self, *, form: bool = False) -> dict[str, object]:
        """The members of the body: JSON, with `form` also urlencoded.

        Raises:
            InvalidRequest: it is neither, or malformed.
            ContentTooLarge: it is over 16 KiB.
        """
        headers = self.context.scope["headers"]
        types = values(headers, b"content-type")
        if len(types) > 1:
            raise InvalidRequest("There are two Content-Type headers")
        return parse_body(types[0] if types else None, await self._read(), form=form)

    def query_flag(self, name: str) -> bool:
        """Whether the query has `name=true`, once.

        Raises:
            InvalidRequest: it has something else for it.
        """
        text = bytes(self.context.scope.get("query_string") or b"").decode("latin-1")
        try:
            found = parse_qs(text, keep_blank_values=True, max_num_fields=20).get(name, [])
        except ValueError:
            raise InvalidRequest("The query has too many parameters") from None
        if found not in ([], ["true"], ["false"]):
            raise InvalidRequest(f"{name} must be true or false")
        return found == ["true"]

    async def _read(self) -> bytes:
        announced = values(self.context.scope["headers"], b"content-length")
        if announced and announced[0].isdigit() and int(announced[0][:12]) > MAX_BODY:
            raise ContentTooLarge("A body here has at most 16 KiB")
        body = bytearray()
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise InvalidRequest("The client went away before the body was there")
            body += message.get("body", b"")
            if len(body) > MAX_BODY:
                raise ContentTooLarge("A body here has at most 16 KiB")
            if not message.get("more_body", False):
                return bytes(body)
