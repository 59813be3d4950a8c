"""How a connection ends with its session: why, and what its application sees of it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from asgi_auth.stores import Ended


class SessionEnded(OSError):
    """Raised into an application that sends on a connection whose session has ended, as if the client had gone."""


def is_session_ended(error: BaseException | None, *, code: int | None = None) -> bool:
    """Whether an exception is ours, or a framework's that was made of it or carries this code; a group, if all of its
    are: what else is in it is the application's."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, SessionEnded) or (code is not None and getattr(error, "code", None) == code):
            return True
        seen.add(id(error))
        members = getattr(error, "exceptions", ())  # Python 3.10 has no class of groups
        if members:
            return all(is_session_ended(member, code=code) for member in members)
        error = error.__cause__ or error.__context__
    return False


class Ending(NamedTuple):
    """Why a connection ends: `ended` or `expired` with its session, `unavailable`: nobody could say that it lives."""

    why: Literal["ended", "expired", "unavailable"]


def ending_of(found: Ended | None) -> Ending:
    """Why a connection of this dead session ends."""
    return Ending("expired" if found is not None and found.reason in ("idle", "lifetime") else "ended")
