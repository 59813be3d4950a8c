"""Settings that are right alone and wrong together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from asgi_auth.durations import format_duration
from asgi_auth.http.cookies import CookieSpec, check, keep_problem
from asgi_auth.http.forwarded import is_loopback
from asgi_auth.readers import VARIABLES

if TYPE_CHECKING:
    from asgi_auth.settings import Settings


def contradictions(settings: Settings) -> Iterator[tuple[str, str]]:
    """The name to blame, and why."""
    given = settings.model_fields_set
    for name in ("session_idle", "access_lifetime", "refresh_lifetime"):
        # A default that SESSION_LIFETIME cuts short is no mistake; a value that somebody chose is.
        if name in given and getattr(settings, name) > settings.session_lifetime:
            most = format_duration(settings.session_lifetime)
            yield name, f"is longer than {VARIABLES}SESSION_LIFETIME ({most}), which ends every session"
    if settings.jwt_key is not None and settings.jwt_key_file is not None:
        yield "jwt_key", f"is set, and {VARIABLES}JWT_KEY_FILE too: keep one of them"
    if settings.jwt_trusted_issuers and "jwt" not in settings.backends:
        yield "jwt_trusted_issuers", f"is set, and {VARIABLES}BACKENDS has no jwt to read their tokens"
    if settings.refresh_cookie and "jwt" not in settings.backends:
        yield "refresh_cookie", f"is on, and {VARIABLES}BACKENDS has no jwt, so there are no refresh tokens"
    for record in settings.jwt_trusted_issuers:
        if record.tenant_of(settings.issuer) is not None:
            yield "jwt_trusted_issuers", f"names our own issuer, {settings.issuer}: our tokens count without that"
    yield from _cookie_contradictions(settings)
    old = settings.starlette_sessions
    if old is not None and "session" not in settings.backends:
        yield "starlette_sessions", f"is set, and {VARIABLES}BACKENDS has no session for them to become"
    elif old is not None and old.session_cookie == settings.session_cookie:
        yield "starlette_sessions", f"names the cookie of {VARIABLES}SESSION_COOKIE: ours needs a name of its own"


def _cookie_contradictions(settings: Settings) -> Iterator[tuple[str, str]]:
    https = settings.url is not None and settings.url.startswith("https:")
    plain = not https and (settings.url is not None or settings.insecure_http)
    prefixed = "__Secure-session" if settings.session_domain or settings.session_path != "/" else "__Host-session"
    spec = CookieSpec(
        settings.session_cookie or ("session" if plain else prefixed),
        secure=not plain,
        same_site=settings.session_samesite,
        domain=settings.session_domain,
        path=settings.session_path,
        partitioned=settings.session_partitioned,
    )
    if plain and spec.partitioned:
        why = "is true, which browsers take from https only"
        yield "session_partitioned", f"{why}: set {VARIABLES}URL to an https address, without {VARIABLES}INSECURE_HTTP"
    elif plain and spec.same_site == "none":
        why = "is none, which browsers take from https only"
        yield "session_samesite", f"{why}: set {VARIABLES}URL to an https address, without {VARIABLES}INSECURE_HTTP"
    elif problem := check(spec):
        yield "session_cookie", problem
    if settings.host is not None and keep_problem(
        spec, scheme="https" if https else "http", host=settings.host, loopback=is_loopback(settings.host)
    ):
        yield "session_domain", f"{VARIABLES}URL is not within it, so every browser would drop the cookie"
