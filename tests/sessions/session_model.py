"""What should be: every login as a plain value, every rule of sessions in a line or two. Knows no store, no view and no
cookie's signature; the machine asks it what the real thing must answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

IDLE, LIFETIME, REMEMBERED = 1000.0, 5000.0, 3600.0

CookieFate = Literal["none", "new", "cleared", "either"]
"""What the answer does to the session's cookie. `either`: the store may have forgotten why it is dead."""


@dataclass
class Login:
    """One session.

    Attributes:
        proved: when its user last showed who it is.
        superseded_at: since when something else is in its cookie's place, which nobody may clear.
    """

    sid: str
    user: str
    cookie: str
    began: float
    used: float
    data: dict[str, int] = field(default_factory=dict)
    proved: float = 0.0
    previous: str = ""
    previous_until: float = 0.0
    ended: bool = False
    superseded_at: float | None = None

    @property
    def expires_at(self) -> float:
        return self.began + LIFETIME


@dataclass(frozen=True)
class Entered:
    """A request as it came in: whose it was then, and what it saw."""

    cookie: str
    login: Login | None
    scopes: frozenset[str] = frozenset()
    data: dict[str, int] = field(default_factory=dict)


@dataclass
class Answer:
    """What the client gets. `made`: the session whose cookie a `new` one is."""

    status: int
    user: str | None
    scopes: frozenset[str]
    data: dict[str, int]
    cookie: CookieFate = "none"
    made: Login | None = None
    wrote: bool = False


class Model:
    """A store, its users and their sessions.

    Args:
        limit: sessions a user; 0: any number.
        evict: at the limit the least recently used one goes; else the new one is refused.
    """

    def __init__(self, clock: Callable[[], float], *, limit: int, evict: bool) -> None:
        self._clock = clock
        self._limit = limit
        self._evict = evict
        self.logins: list[Login] = []
        self.scopes: dict[str, frozenset[str]] = {}
        self.known: set[str] = set()
        self.disabled: set[str] = set()

    # What is

    @property
    def now(self) -> float:
        return self._clock()

    def alive(self, login: Login) -> bool:
        return not login.ended and self.now < min(login.used + IDLE, login.expires_at)

    def living(self, user: str) -> list[Login]:
        """The latest first."""
        found = [login for login in self.logins if login.user == user and self.alive(login)]
        return sorted(found, key=lambda login: (login.began, login.sid), reverse=True)

    def opened_by(self, cookie: str) -> Login | None:
        for login in self.logins:
            current, before = cookie == login.cookie, cookie == login.previous and self.now < login.previous_until
            if (current or before) and self.alive(login):
                return login
        return None

    def named_by(self, cookie: str) -> Login | None:
        return next((login for login in self.logins if cookie and login.sid == cookie.split(".")[1]), None)

    # Requests

    def enter(self, cookie: str, *, passive: bool = False) -> Entered:
        login = self.opened_by(cookie)
        if login is None:
            return Entered(cookie, None)
        if not passive:
            login.used = self.now
        return Entered(cookie, login, self.scopes[login.user], dict(login.data))

    def visit(self, request: Entered) -> Answer:
        user = None if request.login is None else request.login.user
        return Answer(200, user, request.scopes, dict(request.data), self._fate(request))

    def _fate(self, request: Entered) -> CookieFate:
        """A cookie goes if it opens nothing and never will, unless something else has taken its place."""
        named = self.named_by(request.cookie)
        if request.login is not None or named is None or self.alive(named):
            return "none"
        if named.superseded_at is None:
            return "cleared"
        return "none" if self.now < named.superseded_at + REMEMBERED else "either"

    def write(self, request: Entered, key: str, value: int | None) -> Answer:
        """None: the key goes. Only what the request changed is written, and only into a session that still lives."""
        answer = self.visit(request)
        if request.login is None or request.data.get(key) == value:
            return answer
        answer.wrote = self.alive(request.login)
        for data in (answer.data, request.login.data) if answer.wrote else (answer.data,):
            data.pop(key, None)
            if value is not None:
                data[key] = value
        return answer

    def rotate(self, request: Entered, grace: float) -> Answer:
        answer, login = self.visit(request), request.login
        if login is None or not self.alive(login) or login.cookie != request.cookie:
            answer.status = 401
            return answer
        login.previous, login.previous_until = (login.cookie, self.now + grace) if grace else ("", 0.0)
        answer.cookie, answer.made = "new", login
        return answer

    def elevate(self, request: Entered) -> Answer:
        """The request goes on with what the user may do by then."""
        answer = self.rotate(request, 0)
        if answer.made is not None:
            answer.made.proved = self.now
            answer.scopes = self.scopes[answer.made.user]
        return answer

    def login(self, request: Entered, user: str) -> Answer:
        answer = self.visit(request)
        if user in self.disabled:
            answer.status = 401
            return answer
        self.known.add(user)
        replaced, named = self.opened_by(request.cookie), self.named_by(request.cookie)
        others = sorted(
            (one for one in self.living(user) if one is not replaced), key=lambda one: (one.used, one.began, one.sid)
        )
        too_many = len(others) - self._limit + 1 if self._limit else 0
        if too_many > 0 and not self._evict:
            answer.status = 409
            return answer
        self._end(others[: max(too_many, 0)])
        data = dict(replaced.data) if replaced is not None and replaced.user == user else {}
        if replaced is not None:
            self._supersede(replaced)
        elif named is not None:  # it may live under another secret, which the browser is about to get
            self._supersede(named)
        now = self.now
        made = Login("", user, "", began=now, used=now, proved=now, data=data)
        self.logins.append(made)
        return Answer(200, user, self.scopes[user], dict(data), "new", made)

    def logout(self, request: Entered) -> Answer:
        login, named = request.login, self.named_by(request.cookie)
        answer = Answer(200, None, frozenset(), {})
        if login is not None and self.alive(login):
            answer.cookie = "cleared"
            self._supersede(login)
        else:
            gone = login or named
            answer.cookie = self._fate(Entered(request.cookie, None))
            if login is None and gone is not None:
                self._supersede(gone)
        return answer

    # What others do

    def revoke(self, login: Login) -> bool:
        alive = self.alive(login)
        self._end([login])
        return alive

    def revoke_user(self, user: str, keep: Login | None = None) -> int:
        ending = [login for login in self.living(user) if login is not keep]
        self._end(ending)
        return len(ending)

    def revoke_all(self) -> None:
        self._end(self.logins)

    def disable(self, user: str) -> None:
        self.revoke_user(user)
        self.disabled.add(user)

    def enable(self, user: str) -> None:
        self.disabled.discard(user)

    def delete(self, user: str) -> None:
        self.revoke_user(user)
        self.known.discard(user)
        self.disabled.discard(user)

    def _end(self, logins: list[Login]) -> None:
        for login in logins:
            login.ended = login.ended or self.alive(login)

    def _supersede(self, login: Login) -> None:
        login.ended, login.superseded_at = True, self.now
