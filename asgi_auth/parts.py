"""Puts the parts together from `Settings`: first what needs nobody, then what the store knows of them."""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from asgi_auth import audit
from asgi_auth.audit import Audit
from asgi_auth.backends.issuers import IssuerBackend
from asgi_auth.backends.jwt import JWTBackend
from asgi_auth.backends.session import SessionBackend
from asgi_auth.clock import Clock
from asgi_auth.directory import Directory, StoreDirectory, load_directory
from asgi_auth.errors import ConfigurationError
from asgi_auth.hooks import Endings, Hooks
from asgi_auth.http.refresh_cookies import RefreshCookies
from asgi_auth.known_clients import KnownClients
from asgi_auth.live import Lives
from asgi_auth.passwords import PasswordHasher, read_blocklist
from asgi_auth.proofs import Proofs
from asgi_auth.sessions.activity import Activity
from asgi_auth.sessions.codec import CookieCodec
from asgi_auth.sessions.cookies import SessionCookies
from asgi_auth.sessions.sweeper import Sweeper
from asgi_auth.settings import Settings
from asgi_auth.stores import Store
from asgi_auth.stores.opening import open_store
from asgi_auth.throttle import LoginThrottle
from asgi_auth.tokens.access import AccessTokens
from asgi_auth.tokens.grants import Grants, Lifetimes
from asgi_auth.tokens.issuers.trusted import Find, Trusted
from asgi_auth.tokens.keyring import KeyRing
from asgi_auth.tokens.keys import load_all
from asgi_auth.tokens.nonces import Nonces
from asgi_auth.tokens.refresh import RefreshCodec
from asgi_auth.tokens.ring import LEAD, Plan
from asgi_auth.users import Users
from asgi_auth.view import View

_log = logging.getLogger("asgi_auth")


@dataclass(frozen=True, slots=True)
class Foundation:
    """What can be made from the settings alone. `store_name` is fit to be shown; `issuer_backend` is there where tokens
    of other issuers count."""

    settings: Settings
    clock: Clock
    audit: Audit
    hooks: Hooks
    endings: Endings
    store: Store
    store_name: str
    view: View
    lives: Lives
    activity: Activity
    sweeper: Sweeper
    directory: Directory
    users: Users
    throttle: LoginThrottle
    clients: KnownClients
    keys: KeyRing
    tokens: AccessTokens
    jwt_backend: JWTBackend
    issuer_backend: IssuerBackend | None


@dataclass(frozen=True, slots=True)
class Parts(Foundation):
    """Everything. `ring` is the id of the key ring, by which our cookies know each other."""

    ring: str
    cookies: SessionCookies
    refresh_cookies: RefreshCookies | None
    codec: CookieCodec
    visitor_codec: CookieCodec
    session_backend: SessionBackend
    grants: Grants
    proofs: Proofs


def found(
    settings: Settings,
    *,
    clock: Clock,
    directory: Directory | None,
    store: Store | None,
    issuers: Find | None = None,
    hooks: Hooks,
) -> Foundation:
    """Make what needs no answer from the store. Nothing is opened.

    Args:
        directory, store: instead of the ones that the settings name.
        issuers: what the application says of issuers that the settings do not name.

    Raises:
        ConfigurationError: a setting names something that is not there or cannot be used.
    """
    store_name = _store_name(settings) if store is None else type(store).__name__
    if store is None:
        store = open_store(settings.store, timeout=settings.store_timeout)
    view = View(store, staleness=settings.staleness, token_lifetime=settings.access_lifetime + settings.jwt_leeway)
    store = view.store
    if directory is None:
        directory = _directory(settings, store)
    log = Audit(settings.realm, clock=clock)
    keys = KeyRing(
        store,
        plan=_key_plan(settings),
        configured=load_all(settings.key_texts(), settings.jwt_algorithm),
        secrets=settings.secrets,
        clock=clock,
        changed=lambda: view.keys_changed,
        current=lambda: view.is_current(view.clock()),
        made=lambda kid: log.record(audit.KEY_ROTATED, kid),
    )
    tokens = AccessTokens(
        issuer=settings.issuer,
        audience=settings.audience,
        leeway=settings.jwt_leeway,
        max_size=settings.jwt_max_size,
        longest_lifetime=settings.session_lifetime,
    )
    endings = Endings(log, hooks)
    users = Users(store, directory, log, endings=endings, user_refresh=settings.user_refresh)
    return Foundation(
        settings=settings,
        clock=clock,
        audit=log,
        hooks=hooks,
        endings=endings,
        store=store,
        store_name=store_name,
        view=view,
        lives=Lives(view, revocation=settings.jwt_revocation, clock=clock, is_revoked=keys.is_revoked),
        activity=Activity(store, view.clock, idle=min(settings.session_idle, settings.anonymous_idle)),
        sweeper=Sweeper(store, view.clock, endings.tell),
        directory=directory,
        users=users,
        throttle=LoginThrottle(store, rate=settings.login_rate),
        clients=KnownClients(store, session_lifetime=settings.session_lifetime),
        keys=keys,
        tokens=tokens,
        jwt_backend=JWTBackend(
            tokens,
            keys,
            view,
            log,
            clock=clock,
            revocation=settings.jwt_revocation,
            rows=users.follows_directory,
            bearer=settings.dpop != "required",
        ),
        issuer_backend=_issuers(settings, issuers, clock=clock, steady=view.clock),
    )


def _issuers(settings: Settings, find: Find | None, *, clock: Clock, steady: Clock) -> IssuerBackend | None:
    """What reads tokens of other issuers; None: none of them counts."""
    records = settings.jwt_trusted_issuers
    if not records and find is None:
        return None
    if "jwt" not in settings.backends:
        raise ConfigurationError("Auth(issuers=) is given, and ASGI_AUTH_BACKENDS has no jwt to read their tokens")
    return IssuerBackend(
        Trusted(records, find, own=settings.issuer, clock=steady),
        own=settings.issuer,
        clock=clock,
        steady=steady,
        leeway=settings.jwt_leeway,
        max_size=settings.jwt_max_size,
        longest_lifetime=settings.session_lifetime,
        bearer=settings.dpop != "required",
    )


async def complete(base: Foundation) -> Parts:
    """Open the store and learn from it what all processes share. Repeatable.

    Raises:
        ConfigurationError: this cannot be the store, or its keys cannot be read with these secrets.
        StoreUnavailable: no answer.
    """
    settings, store, clock = base.settings, base.store, base.clock
    await store.open()
    ring, signing = await _shared(settings, store, _ring_id(settings, store), secrets.token_urlsafe(32))
    secret = "" if settings.secrets else signing[0].decode("ascii")

    async def begun() -> None:
        """A store that was emptied gets what this process signs with, so that those that start later know it."""
        if await _shared(settings, store, ring, secret) != (ring, signing):
            _log.error("the store was emptied, and another process has made a new key ring: restart this one")

    base.view.follower.begun = begun
    base.view.follower.stale = lambda: base.audit.record(audit.VIEW_STALE)
    if "jwt" in settings.backends:
        try:
            await base.keys.open()
        except ConfigurationError:
            base.audit.record(audit.UNREADABLE, None, reason="key ring")
            raise
    codec = CookieCodec(ring, signing, salt="asgi-auth session")
    lifetimes = Lifetimes(
        access=settings.access_lifetime,
        refresh=settings.refresh_lifetime,
        session=settings.session_lifetime,
        grace=settings.refresh_grace,
        redelivery=settings.refresh_redelivery,
        leeway=settings.jwt_leeway,
    )
    return Parts(
        **{name: getattr(base, name) for name in Foundation.__slots__},
        ring=ring,
        cookies=SessionCookies(
            ring,
            name=settings.session_cookie,
            same_site=settings.session_samesite,
            domain=settings.session_domain,
            path=settings.session_path,
            partitioned=settings.session_partitioned,
        ),
        refresh_cookies=RefreshCookies(ring) if settings.refresh_cookie else None,
        codec=codec,
        visitor_codec=CookieCodec(ring, signing, salt="asgi-auth visitor"),
        session_backend=SessionBackend(codec, base.view),
        grants=Grants(
            store,
            base.keys,
            base.tokens,
            RefreshCodec(signing),
            lifetimes,
            clock=clock,
            epoch=base.view.epoch,
        ),
        proofs=Proofs(store, Nonces(signing), clock=clock, leeway=settings.jwt_leeway),
    )


async def _shared(settings: Settings, store: Store, ring: str, secret: str) -> tuple[str, tuple[bytes, ...]]:
    """The id of the key ring and the secrets that sign cookies; those given, if there are none yet."""
    ring = await store.once("ring", ring)
    return ring, settings.secrets or ((await store.once("secret", secret)).encode("ascii"),)


def _key_plan(settings: Settings) -> Plan:
    # A token may come from a process whose clock is ahead of the one that retired its key, and be shown to one whose
    # clock is behind the one that forgets the key.
    token_lifetime = settings.access_lifetime + 3 * settings.jwt_leeway
    every = settings.jwt_rotate
    return Plan(settings.jwt_algorithm, token_lifetime, LEAD if every is None else min(LEAD, every / 2), every)


def _store_name(settings: Settings) -> str:
    """The store's URL without its password, and where on this host a file is: a relative path depends on the start."""
    url = settings.describe()["ASGI_AUTH_STORE"]
    if url.startswith("sqlite:///"):
        return f"{url} (the file {Path(url.removeprefix('sqlite:///')).absolute()})"
    return url


def _directory(settings: Settings, store: Store) -> Directory:
    if settings.users != "store":
        return load_directory(settings.users)
    blocklist = settings.password_blocklist
    return StoreDirectory(
        store,
        PasswordHasher(workers=settings.password_workers),
        minimum=settings.password_min_length,
        host=settings.realm if settings.url else None,
        blocklist=read_blocklist(blocklist) if blocklist else frozenset(),
    )


def _ring_id(settings: Settings, store: Store) -> str:
    """A new ring's id: random, but where a restart forgets it the same again, so that it knows its old cookies."""
    if store.durable:
        return secrets.token_hex(4)
    seed = settings.secrets[-1] if settings.secrets else os.fsencode(Path.cwd())
    return hashlib.sha256(b"asgi-auth ring id" + seed).hexdigest()[:8]
