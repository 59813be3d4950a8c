"""What is said at the start: one line on what is used, a line for each risk. `asgi-auth check` says the same."""

from __future__ import annotations

import logging
from urllib.parse import parse_qsl

from asgi_auth import audit
from asgi_auth.issuer import HOLE
from asgi_auth.parts import Parts
from asgi_auth.settings import Settings
from asgi_auth.stores.opening import in_the_clear

log = logging.getLogger("asgi_auth")


def announce(parts: Parts) -> None:
    """Write the start line, the risks and the security event."""
    settings = parts.settings
    log.info(
        "store %s; cookie %s; tokens %s of issuer %s; ours: %s",
        parts.store_name,
        _cookies(parts),
        settings.jwt_algorithm if "jwt" in settings.backends else "off",
        " and ".join([settings.issuer, *(one.name for one in settings.jwt_trusted_issuers)]),
        f"{settings.prefix}/*, /.well-known/jwks.json, /.well-known/oauth-authorization-server"
        if settings.prefix
        else "no paths",
    )
    for risk in risks(settings):
        log.warning("%s", risk)
    for kid in parts.keys.small:
        log.warning("the RSA key %s of ASGI_AUTH_JWT_KEY has less than 3072 bits: make a longer one", kid)
    parts.audit.record(audit.STARTUP)


def _cookies(parts: Parts) -> str:
    """The cookie's name and security, as far as the settings decide them."""
    settings = parts.settings
    secure, plain = (pair.session_name.decode() for pair in (parts.cookies.secure, parts.cookies.plain))
    if "session" not in settings.backends:
        return "off"
    if settings.url is not None:
        return f"{secure} (Secure)" if settings.url.startswith("https:") else f"{plain} (plain http)"
    where = "" if settings.insecure_http else " to this machine"
    return f"{secure} (Secure), over plain http{where} {plain}"


def risks(settings: Settings) -> list[str]:
    """What an operator should know of these settings, a sentence each."""
    found = []
    if not settings.secret:
        both = "the keys that sign cookies and tokens lie"
        what = both if not settings.key_texts() else "the key that signs cookies lies"
        found.append(f"{what} in the store in the clear: whoever reads it can log in; set ASGI_AUTH_SECRET")
    if settings.store.startswith("memory:"):
        found.append("the store is memory: every restart logs everybody out, and other processes have another one")
    if in_the_clear(settings.store):
        found.append(
            "the connection to Redis is not encrypted and leaves this host: whoever listens on the way can log in; "
            "use rediss://"
        )
    if ("authority", "none") in parse_qsl(settings.store.partition("?")[2]):
        found.append(
            "?authority=none in ASGI_AUTH_STORE: while the network is split, revocations may not count beside a "
            "primary that was replaced"
        )
    if settings.insecure_http:
        found.append("ASGI_AUTH_INSECURE_HTTP sends cookies over plain http: whoever listens on the way can log in")
    if settings.session_cookie and not settings.session_cookie.lower().startswith(("__host-", "__secure-")):
        found.append(
            f"the cookie {settings.session_cookie} has no __Host- prefix: other hosts of the same domain can set it"
        )
    if settings.starlette_sessions is not None:
        found.append(
            "ASGI_AUTH_STARLETTE_SESSIONS lets whoever knows that old secret log in as anybody: remove it once all of "
            "those sessions have moved in or expired"
        )
    if settings.session_partitioned and settings.session_samesite != "none":
        found.append(
            "ASGI_AUTH_SESSION_PARTITIONED is for an application in another site's frame, where browsers send no "
            f"SameSite={settings.session_samesite.capitalize()} cookie: set ASGI_AUTH_SESSION_SAMESITE=none, too"
        )
    found += [
        f"users of any tenant of issuer {record.name} count here: name those that may in its require, "
        '{"tid": ["…"]}, unless everybody may'
        for record in settings.jwt_trusted_issuers
        if any(HOLE in iss for iss in record.identifiers) and not record.require.keys() & {"tid"}
    ]
    if "jwt" in settings.backends and settings.password_grant:
        found.append(
            "the password grant is on, which RFC 9700 forbids; with ASGI_AUTH_PASSWORD_GRANT=off /login gives tokens"
        )
    if settings.dpop == "required" and settings.url is None and not settings.trusted_proxies:
        found.append(
            "ASGI_AUTH_DPOP=required without ASGI_AUTH_URL: proofs are taken on this machine alone, since nobody knows "
            "for which address else they are to be made"
        )
    if settings.session_lifetime > 400 * 86_400:
        found.append("browsers keep no cookie for more than 400 days, whatever ASGI_AUTH_SESSION_LIFETIME says")
    return found
