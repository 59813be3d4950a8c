"""`Issuer`: another issuer whose access tokens count here, as a record. A value; nothing is fetched here."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import urlsplit

from asgi_auth.frozen import frozen
from asgi_auth.model import scope_tokens
from asgi_auth.providers import PROVIDERS

HOLE = "{tenantid}"
AUDIENCE = "{audience}"
MAX_SIZE = 65_536
"""Bytes of a token that no record may go beyond."""

ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "Ed25519", "EdDSA"),
)
"""What others may sign with: no secrets, which whoever verifies could sign with, too."""

Path = tuple[str, ...]
"""Where a claim is: its name, and the names within it."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TENANT = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LISTS = ("aliases", "audience", "client_id", "algorithms", "typ", "scopes", "client_claims")
_FLAGS = ("shared_ids", "numeric_subject")
_URLS = ("jwks_url", "metadata_url")
_TEXTS = ("name", "issuer", "subject", "display_name", *_URLS)


@dataclass(frozen=True, slots=True)
class Issuer:
    """Another issuer, and which of its tokens count here as whom.

    Its keys are found through its metadata (OpenID Connect Discovery, RFC 8414) unless `jwks_url` says where they are.

    Args:
        name: its users are `<name>:<sub>` here; letters, digits, `.`, `_`, `-`.
        issuer: the `iss` of its tokens, to the letter. One part of its path may be `{tenantid}`, for an issuer that
            signs for many tenants by the same keys; its users are `<name>:<tenant>:<sub>` then.
        aliases: other spellings of `iss`.
        audience: who a token must be for: one of these is in its `aud`.
        client_id: to whom it must have been given: each of `client_claims` that it has names one of these, and it has
            one. There must be a rule on `audience` or on `client_id`.
        algorithms: by which its tokens may be signed; never a secret's.
        typ: what the header's `typ` may be, an empty text for none; case and `application/` do not count.
        jwks_url: where its keys are, instead of asking its metadata.
        metadata_url: where its metadata is, if not where the RFCs put it.
        max_size: bytes of its longest token, instead of `JWT_MAX_SIZE`.
        scopes: which of the scopes and roles that it gives count here; all others are as if they were not there.
        scope_claims: where they are: names of claims, or lists of names for claims within claims. `scope` is a text,
            `scp` a text or an array, any other an array.
        client_claims: where the client is named.
        require: claims that a token must have, with the one value, or one of the list of values, that they must have;
            None for any.
        subject: the claim that names the user.
        numeric_subject: whether that is a number.
        display_name: the claim with the user's name for people; empty: none.
        shared_ids: whether its users are ours: the id is `<sub>` alone.

    Raises:
        ValueError: with it tokens would count that should not, or none would; it says which and why.
    """

    name: str
    issuer: str
    aliases: tuple[str, ...] = ()
    audience: tuple[str, ...] = ()
    client_id: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    typ: tuple[str, ...] = ("at+jwt",)
    jwks_url: str = ""
    metadata_url: str = ""
    max_size: int | None = None
    scopes: frozenset[str] = frozenset()
    scope_claims: tuple[Path, ...] = (("scope",),)
    client_claims: tuple[str, ...] = ("client_id", "azp")
    require: Mapping[str, Any] = field(default_factory=dict)
    subject: str = "sub"
    numeric_subject: bool = False
    display_name: str = ""
    shared_ids: bool = False

    @classmethod
    def of(cls, provider: str, **members: Any) -> Issuer:
        """An issuer of a known kind: the shape of its tokens is known, what is given here stands above that; only what
        it requires is required besides.

        Args:
            provider: `keycloak`, `auth0`, `entra`, `entra-v1`, `okta`, `cognito` or `google`.
            members: as of `Issuer` itself.

        Raises:
            ValueError: there is no such provider; else as `Issuer`.
        """
        if provider not in PROVIDERS:
            raise ValueError(f"has no such provider: there are {', '.join(sorted(PROVIDERS))}")
        shape = PROVIDERS[provider]
        if isinstance(members.get("require"), Mapping):
            members["require"] = {**shape.get("require", {}), **members["require"]}
        return cls.parse({**shape, **members})

    @classmethod
    def parse(cls, record: Mapping[str, Any]) -> Issuer:
        """Read a record, as JSON has it. Raises ValueError: a member is unknown or missing; else as `Issuer`."""
        if "provider" in record:
            provider = record["provider"]
            return cls.of(
                provider if isinstance(provider, str) else "", **{k: v for k, v in record.items() if k != "provider"}
            )
        known = [one.name for one in fields(cls)]
        for name in record:
            if name not in known:
                raise ValueError(f"has no member {name!r}: there are provider, {', '.join(known)}")
        for name in ("name", "issuer"):
            if name not in record:
                raise ValueError(f"lacks {name!r}")
        return cls(**record)

    def __post_init__(self) -> None:
        for name in _LISTS:
            object.__setattr__(self, name, _texts(name, getattr(self, name)))
        for name, kind in ((name, bool if name in _FLAGS else str) for name in (*_TEXTS, *_FLAGS)):
            if not isinstance(getattr(self, name), kind):
                raise ValueError(f"has a {name} that is no {'text' if kind is str else 'true or false'}")
        if not _NAME.fullmatch(self.name):
            raise ValueError("has a name of other than 1 to 64 letters, digits and ._-")
        object.__setattr__(self, "scopes", scope_tokens(" ".join(self.scopes)))
        object.__setattr__(self, "typ", tuple(map(media_type, self.typ)))
        object.__setattr__(self, "scope_claims", tuple(self._paths()))
        _check_identifiers(self)
        _check_addresses(self)
        _check_claims(self)
        object.__setattr__(self, "require", frozen(self.require))

    def __hash__(self) -> int:
        return hash((self.name, self.issuer))

    @property
    def identifiers(self) -> tuple[str, ...]:
        """Everything that `iss` may be."""
        return (self.issuer, *self.aliases)

    @property
    def record(self) -> dict[str, Any]:
        """What is said of it, as JSON has it, without what goes without saying."""
        said: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if value != (one.default_factory() if callable(one.default_factory) else one.default):
                said[one.name] = sorted(value) if isinstance(value, frozenset) else value
        return said

    def tenant_of(self, iss: str) -> str | None:
        """Which tenant an `iss` of this issuer is of; empty: it has none; None: it is another issuer's."""
        return next((found for one in self.identifiers if (found := fits(one, iss)) is not None), None)

    def user_id(self, subject: str, tenant: str) -> str:
        """By which id its users are known here."""
        return subject if self.shared_ids else ":".join(part for part in (self.name, tenant, subject) if part)

    def _paths(self) -> list[Path]:
        """`scope_claims`, with each audience in the place of the one that stands for all."""
        given: Any = self.scope_claims
        found: list[Path] = []
        for one in (given,) if isinstance(given, str) or not isinstance(given, Collection) else given:
            path = _texts("scope_claims", one)
            if not all(path or ("",)):
                raise ValueError("has a scope_claims with an empty name")
            for audience in self.audience if AUDIENCE in path else ("",):
                found.append(tuple(audience if part == AUDIENCE else part for part in path))
        return found


def fits(identifier: str, iss: str) -> str | None:
    """The tenant of an `iss` by this spelling; empty: it has none; None: it is not this one. Compared code point by
    code point, never as a part."""
    head, hole, tail = identifier.partition(HOLE)
    if not hole:
        return "" if iss == identifier else None
    tenant = iss[len(head) : len(iss) - len(tail)]
    return tenant if iss == head + tenant + tail and _TENANT.fullmatch(tenant) else None


def media_type(typ: str) -> str:
    """A header's `typ` as it is compared (RFC 7515 §4.1.9)."""
    return typ.lower().removeprefix("application/")


def is_safe_url(url: object, *, plain: bool = True) -> bool:
    """Whether keys may be fetched from here: https, or, where `plain`, http from this machine alone; no user, no
    fragment."""
    if not isinstance(url, str) or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return False
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    if not host or "@" in parts.netloc or "#" in url:
        return False
    return parts.scheme == "https" or (plain and parts.scheme == "http" and is_this_machine(host))


def is_this_machine(host: str) -> bool:
    """Whether a host's name or address is loopback, so that nobody is on the way."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _texts(name: str, value: object) -> tuple[str, ...]:
    found = (value,) if isinstance(value, str) else value
    if not isinstance(found, (list, tuple, set, frozenset)) or not all(isinstance(one, str) for one in found):
        raise ValueError(f"has a {name} that is no text and no list of texts")
    return tuple(dict.fromkeys(found))


def _check_identifiers(record: Issuer) -> None:
    for iss in record.identifiers:
        if not 0 < len(iss) <= 255 or not iss.isprintable() or " " in iss:
            raise ValueError("has an issuer of other than 1 to 255 characters without white space")
        if iss.count(HOLE) > 1 or "{" in iss.replace(HOLE, "") or (HOLE in iss and f"/{HOLE}/" not in f"{iss}/"):
            raise ValueError(f"has an issuer with braces other than one /{HOLE}/ as a part of its path")
    if len({HOLE in iss for iss in record.identifiers}) > 1:
        raise ValueError(f"has an issuer with {HOLE} and one without: users of both could have one id")
    if record.shared_ids and HOLE in record.issuer:
        raise ValueError(f"has shared_ids and {HOLE}: each tenant could name the users of all others, and ours")
    for name in ("audience", "client_id", "client_claims"):
        if "" in getattr(record, name):
            raise ValueError(f"has an empty {name}")


def _check_addresses(record: Issuer) -> None:
    for name in _URLS:
        if getattr(record, name) and not is_safe_url(getattr(record, name)):
            raise ValueError(f"has a {name} that is not https (or http on this machine)")
    if record.jwks_url or record.metadata_url:
        return
    if HOLE in record.issuer:
        raise ValueError(f"has an issuer with {HOLE}, of which nobody can be asked: give it a metadata_url or jwks_url")
    if not is_safe_url(record.issuer) or "?" in record.issuer:
        raise ValueError("has an issuer that is no https address (or http on this machine), and no jwks_url")


def _is_plain(value: object) -> bool:
    """Whether a claim can be told to have exactly this value, or one of these."""
    several = value if isinstance(value, (list, tuple)) else [value]
    return all(isinstance(one, (str, int, type(None))) for one in several)


def _check_claims(record: Issuer) -> None:
    if not record.audience and not record.client_id:
        raise ValueError(
            "has no rule on who its tokens are for: give it an audience or a client_id, or any token that it made for "
            "another application would be a login here"
        )
    if record.client_id and not record.client_claims:
        raise ValueError("has a client_id and no client_claims to find it in")
    wrong = [one for one in record.algorithms if one not in ALGORITHMS]
    if wrong or not record.algorithms:
        raise ValueError(f"has other algorithms than {', '.join(ALGORITHMS)}")
    if not record.typ:
        raise ValueError('has no typ: name those that its tokens may have, "" for none')
    if not record.subject:
        raise ValueError("has an empty subject: name the claim with the user's id")
    wanted = record.require.items() if isinstance(record.require, Mapping) else [("", None)]
    if not all(isinstance(name, str) and name and _is_plain(value) for name, value in wanted):
        raise ValueError(
            "has a require that is no object of claims, each with a text, a whole number, true, false or null"
        )
    size = record.max_size
    if size is not None and (type(size) is not int or not 1024 <= size <= MAX_SIZE):
        raise ValueError(f"has a max_size that is no number from 1024 to {MAX_SIZE}")
