"""Two browsers, two users, and whatever happens to them in any order: every cookie that was ever issued opens what a
simple model says that it opens, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import anyio
from clocks import Clock
from hypothesis import given, settings
from hypothesis import strategies as st
from seats import USERS, call, handled, http_scope, new_auth
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from asgi_auth import Auth, AuthMiddleware, NoSessionData
from asgi_auth.errors import InvalidCredentials, LoginRequired

IDLE, GRACE = 1000.0, 10.0
PEOPLE = st.sampled_from(["alice", "bob"])
BROWSERS = st.integers(0, 1)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("login"), BROWSERS, PEOPLE),
        st.tuples(st.just("logout"), BROWSERS, st.none()),
        st.tuples(st.just("rotate"), BROWSERS, st.none()),
        st.tuples(st.just("visit"), BROWSERS, st.none()),
        st.tuples(st.just("write"), BROWSERS, st.integers(0, 9)),
        st.tuples(st.just("steal"), BROWSERS, st.integers(0, 50)),
        st.tuples(st.just("revoke"), BROWSERS, st.none()),
        st.tuples(st.just("revoke_user"), BROWSERS, PEOPLE),
        st.tuples(st.just("disable"), BROWSERS, PEOPLE),
        st.tuples(st.just("enable"), BROWSERS, PEOPLE),
        st.tuples(st.just("wait"), BROWSERS, st.sampled_from([1.0, GRACE - 1, GRACE + 1, 70.0, IDLE - 1, IDLE + 1])),
    ),
    min_size=12,
    max_size=40,
)


@dataclass
class Login:
    """What the model knows of one session."""

    user: str
    cookie: str
    seen: float
    data: int | None = None
    previous: str = ""
    previous_until: float = 0.0
    ended: bool = False

    def opens(self, cookie: str, now: float) -> bool:
        known = cookie == self.cookie or (cookie == self.previous and now < self.previous_until)
        return known and not self.ended and now < self.seen + IDLE


class World:
    def __init__(self) -> None:
        self.clock = Clock()
        self.auth: Auth = new_auth(clock=self.clock, session_idle=IDLE)
        self.app = AuthMiddleware(handled(self.page), self.auth)
        self.jars = [""] * 2
        self.logins: list[Login] = []
        self.issued: list[str] = []
        self.disabled: set[str] = set()

    async def page(self, request: Request) -> Response:
        verb, *rest = request.url.path.strip("/").split("/")
        status = 200
        try:
            if verb == "login":
                await self.auth.login(request, USERS[rest[0]])
            elif verb == "logout":
                await self.auth.logout(request)
            elif verb == "rotate":
                await self.auth.rotate(request, grace=GRACE)
            elif verb == "write" and request.user.is_authenticated:
                request.session["n"] = int(rest[0])
        except (InvalidCredentials, LoginRequired, NoSessionData) as error:
            status = getattr(error, "status", 400)
        return JSONResponse({"user": request.user.identity, "data": request.session.get("n")}, status)

    async def ask(self, path: str, cookie: str) -> Any:
        return await call(self.app, http_scope(path, headers=[("cookie", cookie)] if cookie else []))

    def behind(self, cookie: str) -> Login | None:
        return next((one for one in self.logins if one.opens(cookie, self.clock.now)), None)

    def active(self, cookie: str) -> Login | None:
        """Whose request this is; it counts as activity."""
        login = self.behind(cookie)
        if login is not None and self.clock.now - login.seen >= min(60.0, IDLE / 20):
            login.seen = self.clock.now
        return login

    async def step(self, verb: str, number: int, what: Any) -> None:
        cookie = self.jars[number]
        if verb == "wait":
            self.clock.advance(what)
        elif verb == "steal":
            self.jars[number] = self.issued[what % len(self.issued)] if self.issued else ""
        elif verb in ("revoke_user", "disable", "enable"):
            await self.about(verb, what)
        elif verb == "revoke":
            login = self.behind(cookie)
            if login is not None:
                assert await self.auth.revoke(cookie.split(".")[1])
                login.ended = True
        else:
            await self.request(verb, number, what)

    async def about(self, verb: str, name: str) -> None:
        if await self.auth.parts.store.user(name) is None:
            return
        if verb == "enable":
            await self.auth.enable_user(name)
            self.disabled.discard(name)
            return
        await (self.auth.revoke_user(name) if verb == "revoke_user" else self.auth.disable_user(name))
        if verb == "disable":
            self.disabled.add(name)
        for login in self.logins:
            login.ended |= login.user == name

    async def request(self, verb: str, number: int, what: Any) -> None:
        cookie, now = self.jars[number], self.clock.now
        before = self.active(cookie)
        reply = await self.ask(f"/{verb}/{what}", cookie)
        if verb == "login" and what not in self.disabled:
            data = None
            if before is not None:
                before.ended = True
                data = before.data if before.user == what else None
            self.take(number, reply)
            self.logins.append(Login(what, self.jars[number], now, data))
            assert reply.json() == {"user": what, "data": data}
            return
        if verb == "logout" and before is not None:
            before.ended = True
            assert reply.json() == {"user": "", "data": None}
        elif verb == "rotate" and before is not None and cookie == before.cookie:
            self.take(number, reply)
            before.previous, before.previous_until, before.cookie = cookie, now + GRACE, self.jars[number]
        elif verb == "write" and before is not None:
            before.data = what
        elif verb == "login":
            assert reply.status == 401
        if verb != "logout":
            expected = {"user": before.user, "data": before.data} if before is not None else {"user": "", "data": None}
            assert reply.json() == expected
        self.cleared(number, reply)

    def take(self, number: int, reply: Any) -> None:
        (line,) = reply.all("set-cookie")
        self.jars[number] = line.partition(";")[0]
        assert self.jars[number] not in self.issued
        self.issued.append(self.jars[number])

    def cleared(self, number: int, reply: Any) -> None:
        """A cookie is cleared only if it opens nothing."""
        for line in reply.all("set-cookie"):
            if "Max-Age=0" in line:
                assert self.behind(self.jars[number]) is None
                self.jars[number] = ""

    async def check(self) -> None:
        """Each cookie that there ever was, and the list of sessions."""
        for cookie in self.issued:
            login = self.behind(cookie)
            headers = [("cookie", cookie), ("auth-passive", "1")]
            reply = await call(self.app, http_scope("/visit", headers=headers))
            assert reply.json()["user"] == ("" if login is None else login.user)
        for name in USERS:
            alive = [one for one in self.logins if one.user == name and one.opens(one.cookie, self.clock.now)]
            assert len(await self.auth.sessions(name)) == len(alive)


@settings(deadline=None, max_examples=150)
@given(steps=STEPS)
def test_every_cookie_opens_what_it_should_and_nothing_else(steps: list[tuple[str, int, Any]]) -> None:
    async def run() -> None:
        world = World()
        await world.auth.opened()
        for step in steps:
            await world.step(*step)
        await world.check()

    anyio.run(run)
