"""What the client half raises. No text holds a credential."""

from __future__ import annotations

from asgi_auth.errors import AuthError


class LoggedOut(AuthError):
    """The login has ended, or there was none, and nothing here can make another: somebody has to log in."""


class TokenEndpointError(AuthError):
    """The token endpoint gave no tokens, though the login may stand: repeat, or mend what the text says.

    Args:
        code: the error code of the answer (RFC 6749 §5.2); empty: there was no such answer.
        retry_after: seconds after which a repetition can succeed, if the server named any.
    """

    def __init__(self, text: str, *, code: str = "", retry_after: float = 0.0) -> None:
        self.code = code
        self.retry_after = retry_after
        super().__init__(text)
