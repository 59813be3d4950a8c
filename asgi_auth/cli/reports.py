"""What `check` and the lists say: values, gathered from an opened `Auth`. No secret is among them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from asgi_auth.auth import Auth
from asgi_auth.durations import moment
from asgi_auth.endpoints import Endpoints
from asgi_auth.http.cookies import CookieSpec
from asgi_auth.model import UserRow
from asgi_auth.tokens.keys import SigningKey


class Fact(NamedTuple):
    """Something that would be used. `kind`: `used`, `key` or `setting`; in `check`'s list also `risk`, which has no
    name."""

    kind: str
    name: str
    value: str


class KeyRow(NamedTuple):
    """A key that tokens are signed or verified by. Times are seconds since the epoch.

    Attributes:
        signs: whether tokens are signed with it now.
        signs_from: since when, or from when on; None: it is the next one, or one of the configuration.
        until: the last token that it signed is over by then; None: that is not known yet.
    """

    kid: str
    algorithm: str
    source: str
    signs: bool
    created_at: float | None = None
    signs_from: float | None = None
    until: float | None = None

    @property
    def state(self) -> str:
        if self.signs:
            return "signs and verifies"
        if self.until is not None:
            return f"verifies until {moment(self.until)}"
        if self.created_at is None:
            return "verifies"
        return "signs next" if self.signs_from is None else f"signs from {moment(self.signs_from)}"


async def facts(auth: Auth) -> list[Fact]:
    """What this configuration comes to, then every setting."""
    settings = auth.settings
    found = [Fact("used", name, value) for name, value in [*_places(auth), *_cookies(auth)]]
    if "jwt" in settings.backends:
        found += [
            Fact("used", "algorithm", settings.jwt_algorithm),
            Fact("used", "issuer", settings.issuer),
            Fact("used", "audience", settings.audience),
        ]
    found += await _issuers(auth)
    found += [Fact("used", "path", path) for path in Endpoints(settings).paths]
    found += [Fact("key", key.kid, f"{key.algorithm}, {key.state}") for key in await keys(auth)]
    return found + [Fact("setting", name, value) for name, value in settings.describe().items()]


async def keys(auth: Auth) -> list[KeyRow]:
    """The keys: what signs, what is next, what is retired; none while the backend `jwt` is off."""
    settings, ring = auth.settings, auth.parts.keys
    if "jwt" not in settings.backends:
        return []
    rows: list[KeyRow] = []
    if ring.configured:
        for key in await ring.published():
            signs = isinstance(key, SigningKey) and not any(row.signs for row in rows)
            rows.append(KeyRow(key.kid, key.algorithm, "configuration", signs))
        return rows
    now = auth.clock()
    for entry in await ring.entries():
        # A process with another algorithm signs with a key of that one.
        signs = entry.signs(now) and entry.key.algorithm == settings.jwt_algorithm
        row = KeyRow(
            entry.key.kid,
            entry.key.algorithm,
            "store",
            signs,
            created_at=entry.created_at,
            signs_from=entry.signs_from,
            until=entry.until,
        )
        rows.append(row)
    return rows


async def users(auth: Auth) -> list[UserRow]:
    """All users that the store knows, in the order of their ids."""
    found: list[UserRow] = []
    while page := await auth.parts.store.users(found[-1].id if found else ""):
        found += page
    return found


async def _issuers(auth: Auth) -> list[Fact]:
    """The other issuers of the configuration, each of which is asked for its keys once."""
    backend = auth.issuer_backend
    found: list[Fact] = []
    for source in () if backend is None else backend.sources:
        keys, known = await source.newer(), source.known
        name, issuer = f"issuer {source.record.name}", source.record.issuer
        if keys is None or known is None:
            found.append(Fact("used", name, f"{issuer}: no keys"))
            found.append(Fact("risk", "", f"the keys of {name}, {issuer}, could not be read: {source.problem}"))
        else:
            found.append(Fact("used", name, f"{issuer}: keys {', '.join(keys.names)} of {known.jwks_url}"))
    return found


def _places(auth: Auth) -> Iterator[tuple[str, str]]:
    users = auth.settings.users
    yield "store", auth.parts.store_name
    yield "users", "the built-in directory in the store" if users == "store" else users


def _cookies(auth: Auth) -> Iterator[tuple[str, str]]:
    """The session's cookie, by how a request comes."""
    settings, pairs = auth.settings, auth.parts.cookies
    if "session" not in settings.backends:
        return
    if settings.url is not None:
        pair = pairs.secure if settings.url.startswith("https:") else pairs.plain
        yield "cookie", _cookie(pair.session.spec)
        return
    yield "cookie", _cookie(pairs.secure.session.spec)
    where = "any host" if settings.insecure_http else "a loopback host"
    yield f"cookie, plain http to {where}", _cookie(pairs.plain.session.spec)


def _cookie(spec: CookieSpec) -> str:
    domain = f"; Domain={spec.domain}" if spec.domain else ""
    flags = ("; Secure" if spec.secure else "; not Secure") + ("; Partitioned" if spec.partitioned else "")
    return f"{spec.name}; Path={spec.path}{domain}; HttpOnly; SameSite={spec.same_site.capitalize()}{flags}"
