"""The cookie's text and the secrets in it: `<ring>.<sid>.<secret>` and a signature. Pure; knows no header.

The signature keeps garbage from the store, the secret's digest in the store keeps everybody else out. A text is
accepted byte for byte as it was issued, or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from itsdangerous import BadSignature
from itsdangerous.encoding import base64_decode, base64_encode

from asgi_auth.secret import digest, signer
from asgi_auth.stores import Presented

_FORM = re.compile(rb"([0-9a-f]{8})\.([0-9A-Za-z_-]{24})\.([0-9A-Za-z_-]{43})\.[0-9A-Za-z_-]{43}")


class CookieCodec:
    """Writes and reads the text of one kind of cookie.

    Args:
        ring: the id of the key ring, 8 hex digits. Another ring's cookies belong to another application.
        keys: signing secrets, newest first; each still opens what it signed.
        salt: keeps the kinds of cookies apart, so that one cannot be presented as the other.
    """

    def __init__(self, ring: str, keys: Sequence[bytes], *, salt: str) -> None:
        self._ring = ring
        self._signer = signer(keys, salt=salt)

    def encode(self, sid: str, secret: str) -> str:
        return self._signer.sign(f"{self._ring}.{sid}.{secret}").decode("ascii")

    def decode(self, text: bytes) -> Presented | Literal["foreign", "forged"]:
        """Whose secret this is. `foreign`: another application's, to be left alone; `forged`: nobody issued it."""
        form = _FORM.fullmatch(text)
        if form is None:
            return "forged"
        ring, sid, secret = (part.decode("ascii") for part in form.groups())
        if ring != self._ring:
            return "foreign"
        signature = text[-43:]
        try:
            self._signer.unsign(text)
        except BadSignature:
            return "forged"
        if base64_encode(base64_decode(signature)) != signature:
            return "forged"  # the same signature in another spelling
        return Presented(sid, digest(secret))
