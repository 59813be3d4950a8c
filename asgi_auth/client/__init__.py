"""The other end of JWT mode: `ClientAuth` for clients of httpx and httpx2. Needs nothing of the server.

    client = httpx.AsyncClient(auth=ClientAuth("https://app.example.com/auth", "alice", "…"))

Logs in, attaches the access token, refreshes it once for however many requests, and keeps the pair where it is told.
"""

from __future__ import annotations

from asgi_auth.client.auth import ClientAuth
from asgi_auth.client.errors import LoggedOut, TokenEndpointError
from asgi_auth.client.storage import Storage, TokenFile, TokenMemory
from asgi_auth.client.tokens import Tokens

__all__ = ["ClientAuth", "LoggedOut", "Storage", "TokenEndpointError", "TokenFile", "TokenMemory", "Tokens"]
