"""Two browsers, two users, two processes, and whatever happens to them in any order: hypothesis drives the real thing
through `AuthMiddleware` and `Auth`, and `session_model` says what must come of it.

A request may begin before another one and end after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from clocks import Clock
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from seats import Reply
from session_model import IDLE, Answer, Entered, Login, Model
from session_world import Change, Held, World

from asgi_auth import User
from asgi_auth.stores import Store

T = TypeVar("T")

PEOPLE = ("alice", "bob")
BROWSERS = PROCESSES = st.integers(0, 1)
USERS = st.sampled_from(PEOPLE)
WHICH = st.integers(0, 99)
GRACES = st.sampled_from([10.0, 0.0])
KEYS, VALUES = st.sampled_from("ab"), st.one_of(st.integers(0, 9), st.none())
CHANGES = st.one_of(
    st.just(("visit",)),
    st.tuples(st.just("write"), KEYS, VALUES),
    st.tuples(st.just("write"), KEYS, VALUES),
    st.tuples(st.just("rotate"), GRACES),
    st.just(("elevate",)),
    st.tuples(st.just("login"), USERS),
    st.just(("logout",)),
)
SHORTEST = 5.0
"""Seconds after which a session in use is noted again, so that no use is lost."""


class Mismatch(AssertionError):
    """The real thing is not as the model says."""


def agree(what: str, found: Any, expected: Any) -> None:
    if found != expected:
        raise Mismatch(f"{what}: {found!r}, and should be {expected!r}")


@dataclass
class Jar:
    """What a browser keeps."""

    session: str = ""
    seen: str = ""

    def __str__(self) -> str:
        return "; ".join(cookie for cookie in (self.session, self.seen) if cookie)


@dataclass
class UnderWay:
    """A request that has begun."""

    browser: int
    process: int
    entered: Entered
    held: Held
    reply: asyncio.Task[Reply]


class SessionMachine(RuleBasedStateMachine):
    """Subclasses say on which store.

    Attributes:
        loop: where the real thing runs, and only while it is asked something.
        stores: makes each process's store on a clock.
    """

    loop: ClassVar[asyncio.AbstractEventLoop]
    stores: ClassVar[Callable[[Clock], Sequence[Store]]]

    world: World | None = None

    @initialize(limit=st.sampled_from([0, 1, 2]), evict=st.booleans(), shared=st.booleans())
    def open(self, limit: int, evict: bool, shared: bool) -> None:
        self.world = World(type(self).stores, limit=limit, evict=evict)
        self.life = self.loop.create_task(self.world.live())
        self.run(self.world.started.wait())
        self.model = Model(self.world.clock, limit=limit, evict=evict)
        self.model.scopes = dict.fromkeys(PEOPLE, frozenset({"read"}))
        self.jars = [Jar(), Jar()]
        self.under_way: list[UnderWay] = []
        self.issued: list[str] = []
        self.unheard: int | None = None
        self.cleared: set[tuple[int, str]] = set()
        self.looked = 0
        self.request(0, 0, ("login", PEOPLE[0]))
        if shared:
            self.steal(1, 0)

    def teardown(self) -> None:
        if self.world is None:
            return
        for request in self.under_way:
            request.held.go_on.set()
            self.run(request.reply)
        self.world.over.set()
        self.run(self.life)

    def run(self, what: Awaitable[T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(what, 30))

    # ------------------------------------------------------------------ requests

    @rule(browser=BROWSERS, process=PROCESSES, user=USERS)
    def log_in(self, browser: int, process: int, user: str) -> None:
        self.request(browser, process, ("login", user))

    @rule(browser=BROWSERS, process=PROCESSES, key=KEYS, value=VALUES)
    def write(self, browser: int, process: int, key: str, value: int | None) -> None:
        self.be_somebody(browser, process)
        self.request(browser, process, ("write", key, value))

    @rule(browser=BROWSERS, process=PROCESSES, grace=GRACES)
    def rotate(self, browser: int, process: int, grace: float) -> None:
        self.be_somebody(browser, process)
        self.request(browser, process, ("rotate", grace))

    @rule(browser=BROWSERS, process=PROCESSES, verb=st.sampled_from(["visit", "visit", "visit", "elevate", "logout"]))
    def come(self, browser: int, process: int, verb: str) -> None:
        self.request(browser, process, (verb,))

    def be_somebody(self, browser: int, process: int) -> None:
        """Most that could happen happens to those who are logged in."""
        if self.model.opened_by(self.jars[browser].session) is None:
            self.request(browser, process, ("login", PEOPLE[0]))

    def request(self, browser: int, process: int, change: Change) -> None:
        # A browser sees its own writes wherever it asks next; all else has to be heard first.
        if self.unheard is not None and self.unheard != browser:
            self.hear()
        entered = self.model.enter(self.jars[browser].session)
        expected = self.expect(process, entered, change)
        reply = self.run(self.world.ask(process, str(self.jars[browser]), self.told(change)))
        self.compare(browser, process, reply, expected)
        if expected.wrote:
            self.unheard = browser
        elif change[0] != "visit":
            self.hear()

    @rule(browser=BROWSERS, process=PROCESSES)
    def begin(self, browser: int, process: int) -> None:
        self.be_somebody(browser, process)
        self.hear()
        entered = self.model.enter(self.jars[browser].session)
        held = Held()
        asked = self.world.ask(process, str(self.jars[browser]), ("visit",), held=held)
        reply = self.loop.create_task(asked)
        self.run(held.reached.wait())
        self.under_way.append(UnderWay(browser, process, entered, held, reply))

    @precondition(lambda self: self.under_way)
    @rule(which=WHICH, change=CHANGES)
    def finish(self, which: int, change: Change) -> None:
        request = self.under_way.pop(which % len(self.under_way))
        self.hear()
        expected = self.expect(request.process, request.entered, change)
        request.held.change = self.told(change)
        request.held.go_on.set()
        self.compare(request.browser, request.process, self.run(request.reply), expected)
        self.hear()

    def expect(self, process: int, entered: Entered, change: Change) -> Answer:
        verb, *what = change
        if verb == "login":
            self.run(self.world.write_activity())  # so that the store knows who was used last
        expected: Answer = getattr(self.model, verb)(entered, *what)
        # Who sends a dead cookie again keeps none: a process clears it once.
        if expected.cookie == "cleared" and verb != "logout":
            if (process, entered.cookie.split(".")[1]) in self.cleared:
                expected.cookie = "either"
            self.cleared.add((process, entered.cookie.split(".")[1]))
        return expected

    def told(self, change: Change) -> Change:
        """The change with what the application knows besides."""
        return (*change, self.model.scopes[change[1]]) if change[0] == "login" else change

    def compare(self, browser: int, process: int, reply: Reply, expected: Answer) -> None:
        agree("status", reply.status, expected.status)
        told = {"user": expected.user, "scopes": sorted(expected.scopes), "data": expected.data}
        agree("what the request sees", reply.json(), told)
        jar, lines = self.jars[browser], reply.all("set-cookie")
        seen = [line for line in lines if "-seen=" in line]
        agree("a write is told to the browser", len(seen), int(expected.wrote))
        for line in seen:
            jar.seen = line.partition(";")[0]
        session = [line for line in lines if line not in seen]
        if len(session) > 1:
            raise Mismatch(f"one answer sets the cookie twice: {session}")
        fate = "none" if not session else "cleared" if "Max-Age=0" in session[0] else "new"
        if not (expected.cookie == "either" and fate in ("none", "cleared")):
            agree("the cookie is", fate, expected.cookie)
        if fate == "cleared":
            jar.session = ""
        elif fate == "new":
            self.take(jar, session[0].partition(";")[0], expected.made)

    def take(self, jar: Jar, cookie: str, login: Login | None) -> None:
        assert login is not None
        if cookie in self.issued:
            raise Mismatch("a secret is issued twice")
        self.issued.append(cookie)
        jar.session = login.cookie = cookie
        login.sid = login.sid or cookie.split(".")[1]
        agree("the session's id stays", cookie.split(".")[1], login.sid)

    # ------------------------------------------------------------------ what others do

    @precondition(lambda self: self.issued)
    @rule(browser=BROWSERS, which=WHICH)
    def steal(self, browser: int, which: int) -> None:
        self.jars[browser].session = self.issued[which % len(self.issued)]

    @precondition(lambda self: self.issued)
    @rule(process=PROCESSES, which=WHICH, what=st.sampled_from(["one", "one", "user", "user", "others", "all"]))
    def revoke(self, process: int, which: int, what: str) -> None:
        auth, login = self.world.auths[process], self.model.logins[which % len(self.model.logins)]
        self.hear()
        if what == "one":
            found = self.run(auth.revoke(login.sid))
            agree("whether a revoked session was alive", found, self.model.revoke(login))
        elif what == "all":
            self.run(auth.revoke_all())
            self.model.revoke_all()
        else:
            keep = login if what == "others" else None
            ended = self.run(auth.revoke_user(login.user, keep=None if keep is None else keep.sid))
            agree("how many sessions ended", ended, self.model.revoke_user(login.user, keep))
        self.hear()

    @rule(
        process=PROCESSES,
        user=USERS,
        what=st.sampled_from(["update", "update", "update", "disable", "enable", "delete"]),
    )
    def change_user(self, process: int, user: str, what: str) -> None:
        if user not in self.model.known:
            return
        auth = self.world.auths[process]
        self.hear()
        if what == "update":
            self.model.scopes[user] ^= {"write"}
            self.run(auth.update_user(User(user, scopes=self.model.scopes[user])))
        else:
            self.run(getattr(auth, f"{what}_user")(user))
            getattr(self.model, what)(user)
        self.hear()

    @rule(seconds=st.sampled_from([SHORTEST, 60.0, 600.0]))
    def wait(self, seconds: float) -> None:
        self.hear()
        self.run(self.world.pass_time(seconds))

    @precondition(lambda self: self.issued)
    @rule(which=WHICH, what=st.sampled_from(["idle", "idle", "lifetime", "grace"]), early=st.booleans())
    def wait_for_an_end(self, which: int, what: str, early: bool) -> None:
        """Until a moment at which something ends, or until a little before."""
        login = self.model.logins[-1 - which % min(3, len(self.model.logins))]
        ends = {"idle": login.used + IDLE, "lifetime": login.expires_at, "grace": login.previous_until}
        self.wait(max(SHORTEST, ends[what] - early * SHORTEST - self.model.now))

    def hear(self) -> None:
        self.run(self.world.hear())
        self.unheard = None

    # ------------------------------------------------------------------ what must be so

    @invariant()
    def each_cookie_opens_what_it_should(self) -> None:
        """In one process after the other, by requests that are no activity."""
        if self.world is None or self.unheard is not None:
            return
        self.looked += 1
        seen, lists = self.run(self.world.look(self.looked % 2, self.issued, PEOPLE))
        for cookie, found in zip(self.issued, seen, strict=True):
            told = self.model.visit(self.model.enter(cookie, passive=True))
            expected = {"user": told.user, "scopes": sorted(told.scopes), "data": told.data}
            agree("what a cookie opens", found, expected)
        for user, listed in zip(PEOPLE, lists, strict=True):
            living = [(one.sid, user, one.proved, one.expires_at) for one in self.model.living(user)]
            agree("the list of sessions", listed, living)
