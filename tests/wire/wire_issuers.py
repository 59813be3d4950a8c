"""The application of `wire_app` in a process that is in a hurry: what takes a minute of an issuer takes a second."""

from __future__ import annotations

from issuers_under_load import HURRY
from wire_app import app as app

from asgi_auth.tokens.issuers import fetching, source

fetching.FRESH = (HURRY, HURRY, HURRY)
source.COOL_DOWN = HURRY
