"""Environment -> `Settings`: every setting read once, checked once, ready to use.

A wrong one stops the start with a line that says which, why, and what a right one looks like. No message, `repr` or
listing holds a secret. How one setting is read and shown stands in `readers`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator as Read
from pydantic import Field, SecretBytes, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from asgi_auth import key_files, readers
from asgi_auth.contradictions import contradictions
from asgi_auth.durations import DAY, HOUR, MINUTE, Rate, parse_duration
from asgi_auth.errors import ConfigurationError
from asgi_auth.http.forwarded import Proxies, hostname
from asgi_auth.http.guarding import PathRules
from asgi_auth.http.starlette_sessions import StarletteSessions
from asgi_auth.issuer import Issuer
from asgi_auth.model import BackendName
from asgi_auth.readers import VARIABLES

DEFAULT_ISSUER = "asgi-auth"

Flag = Annotated[bool, Read(readers.flag)]
Seconds = Annotated[float, Read(readers.positive)]
SecondsOrZero = Annotated[float, Read(parse_duration)]

_KUBERNETES = (f"{VARIABLES}SERVICE_", f"{VARIABLES}PORT")
_MAY_BE_EMPTY = frozenset({"prefix", "passive_paths", "trusted_origins", "trusted_proxies"})


class Settings(BaseSettings):
    """All settings. Each is a variable `ASGI_AUTH_…` and a keyword in lower case; the keyword wins.

    Durations are seconds, as a number, a text (`90`, `15m`, `12h`, `30d`) or a `timedelta`; lists are text with commas
    or any sequence. The environment is read here and now, and nothing else is: no `.env`, no file of secrets.

    Raises:
        ConfigurationError: a value is wrong, settings contradict one another, or a name is unknown; a line for each.
    """

    model_config = SettingsConfigDict(
        env_prefix=VARIABLES,
        enable_decoding=False,
        validate_default=False,
        frozen=True,
        extra="forbid",
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
        defer_build=True,
    )

    backends: Annotated[frozenset[BackendName], Read(readers.words)] = Field(
        frozenset({"session", "jwt"}), examples=["session,jwt"]
    )
    """Which credentials are accepted."""

    store: Annotated[str, Read(readers.store)] = Field(
        "sqlite:///asgi-auth.sqlite3", examples=["redis://localhost:6379/0"]
    )
    """Where sessions, users and keys live, as a URL. May hold a password: `describe` shows it without."""

    store_timeout: Seconds = Field(2.0, examples=["2s"])
    """The longest a request waits for the store."""

    staleness: SecondsOrZero = Field(1.0, examples=["1s"])
    """The longest that a process answers from its view without proof that it is current. 0: the store is asked on every
    request."""

    secret: Annotated[tuple[SecretBytes, ...], Read(readers.secrets)] = Field(
        (), examples=["$(python -c 'import secrets; print(secrets.token_urlsafe(32))')"]
    )
    """Signs cookies and encrypts the key ring; newest first. Empty: the ring in the store does both, in the clear."""

    url: Annotated[str, Read(readers.url)] | None = Field(None, examples=["https://app.example.com"])
    """The public address of the app, as an origin. Never guessed from a request."""

    protect: Annotated[PathRules, Read(readers.path_rules)] | None = Field(
        None, examples=["/health=any, /admin/*=admin, /*"]
    )
    """Who may enter which path. None: left to the application."""

    users: Annotated[str, Read(readers.users)] = Field("store", examples=["myapp.users:directory"])
    """The user directory: the built-in one, `store`, or `module:name`."""

    user_refresh: SecondsOrZero = Field(5 * MINUTE, examples=["5m"])
    """How often a directory with `by_id` is asked again about a user in use. 0: never."""

    prefix: Annotated[str, Read(readers.prefix)] = Field("/auth", examples=["/auth"])
    """Where the endpoints answer. Empty: nowhere, the `.well-known` documents included."""

    session_cookie: Annotated[str, Read(readers.cookie_name)] | None = Field(None, examples=["__Host-session"])
    """The cookie's name, used as it is. None: the safest that the other settings and the request allow."""

    session_samesite: Annotated[Literal["lax", "strict", "none"], Read(readers.lower)] = Field("lax", examples=["lax"])
    session_domain: Annotated[str, Read(readers.cookie_domain)] | None = Field(None, examples=["example.com"])
    session_path: Annotated[str, Read(readers.cookie_path)] = Field("/", examples=["/"])

    session_partitioned: Flag = Field(False, examples=["true"])
    """Keep the cookies apart for each site that embeds the application in a frame (CHIPS)."""

    session_idle: Seconds = Field(24 * HOUR, examples=["24h"])
    """A session without activity ends after this; in JWT mode `refresh_lifetime` takes its place."""

    session_lifetime: Seconds = Field(30 * DAY, examples=["30d"])
    """Every session ends after this, whatever happens. No token outlives it."""

    session_limit: int = Field(0, ge=0, examples=["5"])
    """Sessions per user. 0: any number."""

    session_limit_policy: Annotated[Literal["evict", "refuse"], Read(readers.lower)] = Field(
        "evict", examples=["evict"]
    )
    """At the limit the least recently seen session goes (`evict`), or the new one is refused."""

    session_rotate: Annotated[float | None, Read(readers.off_or_positive)] = Field(None, examples=["24h"])
    """The age of a session's secret from which on a navigation gets a new one. None: never."""

    session_max_size: int = Field(65_536, ge=1, le=16_777_216, examples=["65536"])
    """Bytes of a session's data."""

    anonymous_idle: Seconds = Field(HOUR, examples=["1h"])
    """A visitor's data without activity is forgotten after this."""

    passive_paths: Annotated[PathRules | None, Read(readers.paths)] = Field(None, examples=["/poll, /notifications/*"])
    """Paths whose requests are no activity."""

    insecure_http: Flag = Field(False, examples=["true"])
    """Allow cookies over plain http on any host, for boxes in a LAN."""

    jwt_algorithm: Annotated[readers.Algorithm, Read(readers.algorithm)] = Field("ES256", examples=["ES256"])
    """Signs access tokens. Another one makes a new key, it never re-labels an old one."""

    jwt_key: Annotated[SecretStr, Read(readers.secret_text)] | None = Field(None, examples=["$(cat signing-key.pem)"])
    """PEM, JWK, JWKS or secrets to sign with, newest first. None: `jwt_key_file`, else the key ring in the store."""

    jwt_key_file: Annotated[Path, Read(readers.file)] | None = Field(None, examples=["/run/secrets/signing-key.pem"])
    """A file of such text, or a directory of such files, of which the last name is the newest."""

    jwt_rotate: Annotated[float | None, Read(readers.off_or_positive)] = Field(90 * DAY, examples=["90d"])
    """The age at which a key of the ring is retired and the next one signs. None: only when somebody says so."""

    jwt_issuer: Annotated[str, Read(readers.issuer)] | None = Field(None, examples=["https://app.example.com"])
    """The `iss` of access tokens, to the letter; see `issuer`."""

    jwt_audience: Annotated[str, Read(readers.identifier)] | None = Field(None, examples=["https://api.example.com"])
    """The `aud` of access tokens; see `audience`."""

    jwt_trusted_issuers: Annotated[tuple[Issuer, ...], Read(readers.issuers)] = Field(
        (),
        examples=['[{"name": "corp", "issuer": "https://login.example.com", "audience": "https://api.example.com"}]'],
    )
    """Other issuers whose access tokens count here."""

    jwt_leeway: SecondsOrZero = Field(30.0, le=10 * MINUTE, examples=["30s"])
    """By how much clocks may differ."""

    jwt_max_size: int = Field(8192, ge=1024, le=65_536, examples=["8192"])
    """Bytes of the longest token looked at."""

    jwt_revocation: Annotated[Literal["strict", "available", "off"], Read(readers.lower)] = Field(
        "strict", examples=["available"]
    )
    """`strict`: a token counts only where it is known that nothing revoked it; `available`: without the store its
    signature is enough, and the log says so; `off`: its signature is always enough."""

    access_lifetime: Seconds = Field(10 * MINUTE, examples=["10m"])
    refresh_lifetime: Seconds = Field(30 * DAY, examples=["30d"])

    refresh_grace: SecondsOrZero = Field(10.0, examples=["10s"])
    """A refresh token is still answered so long after its successor was seen."""

    refresh_redelivery: SecondsOrZero = Field(HOUR, examples=["1h"])
    """The longest that a successor which nobody has used yet is given again. This and the grace 0: strict rotation."""

    refresh_cookie: Flag = Field(False, examples=["on"])
    """Whether refresh tokens go to browsers as a cookie that no script reads, instead of in the body."""

    password_grant: Flag = Field(True, examples=["off"])
    """Whether `/token` takes passwords, which RFC 9700 §2.4 forbids and Swagger UI needs."""

    dpop: Annotated[Literal["off", "optional", "required"], Read(readers.lower)] = Field(
        "optional", examples=["required"]
    )
    """Tokens that count with the proof of a key alone (RFC 9449): `optional`: for clients that ask with one;
    `required`: no others are made or taken; `off`: proofs are not looked at."""

    login_rate: Annotated[Rate, Read(Rate.parse)] = Field(Rate(10, MINUTE), examples=["10/minute"])
    """Failed logins per name and client address; ten times that per address."""

    password_min_length: int = Field(15, ge=8, le=64, examples=["15"])
    """Characters: 15, with a second factor 8, and 64 are always allowed (NIST SP 800-63B-4 §3.1.1.2)."""

    password_blocklist: Annotated[Path, Read(readers.file)] | None = Field(
        None, examples=["/etc/asgi-auth/blocklist.txt"]
    )
    """A file of passwords that nobody may choose, one a line, besides the built-in list."""

    password_workers: int = Field(2, ge=1, le=64, examples=["2"])
    """Threads that hash passwords; each hash takes 64 MiB while it is made."""

    fresh: Seconds = Field(15 * MINUTE, examples=["15m"])
    """How recent a login must be to end other sessions."""

    starlette_sessions: Annotated[StarletteSessions, Read(readers.starlette_sessions)] | None = Field(
        None, examples=['{"secret_key": "the one that it had", "user_key": "user_id"}']
    )
    """Sessions of Starlette's `SessionMiddleware` that go on as ours: the arguments it had, and `user_key`, under which
    they hold the user's id. None: they count for nothing."""

    client_address: Annotated[Literal["prefix", "full", "off"], Read(readers.lower)] = Field(
        "prefix", examples=["prefix"]
    )
    """What is kept of clients' addresses, in sessions and in the log."""

    trusted_origins: Annotated[frozenset[bytes], Read(readers.origins)] = Field(
        frozenset(), examples=["https://www.example.com, https://admin.example.com:8443"]
    )
    """Other origins whose pages may send unsafe requests with a cookie, as browsers write them."""

    trusted_proxies: Annotated[Proxies, Read(readers.proxies)] = Field(Proxies(), examples=["10.0.0.0/8, unix"])
    """Whose `X-Forwarded-*` and `Forwarded` headers are believed."""

    def __init__(self, **values: Any) -> None:
        problems = [*_unknown_keywords(values), *_unknown_variables(os.environ)]
        try:
            super().__init__(**{name: value for name, value in values.items() if name in type(self).model_fields})
        except ValidationError as error:
            problems += [_problem(str(one["loc"][0]), _what(one)) for one in error.errors(include_url=False)]
        else:
            problems += [_problem(name, text) for name, text in contradictions(self)]
        if problems:
            # Outside the handler: what pydantic raised holds the values, and must not travel along as the context.
            raise ConfigurationError("\n".join(dict.fromkeys(problems)))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Keywords, then the environment, and nothing that merely lies about in the working directory."""
        return init_settings, env_settings

    @field_validator("*", mode="before")
    @classmethod
    def _means_something(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse an empty text: what `$NOT_SET` became must not quietly open `PROTECT` or drop `JWT_KEY`."""
        return value if info.field_name in _MAY_BE_EMPTY else readers.not_empty(value)

    @property
    def issuer(self) -> str:
        """The `iss` of our access tokens: `jwt_issuer`, else `url`, else `asgi-auth`."""
        return self.jwt_issuer or self.url or DEFAULT_ISSUER

    @property
    def audience(self) -> str:
        """The `aud` of our access tokens: `jwt_audience`, else the issuer."""
        return self.jwt_audience or self.issuer

    @property
    def host(self) -> bytes | None:
        """The `Host` that browsers send to `url`, or None."""
        return self.url.partition("://")[2].encode("ascii") if self.url else None

    @property
    def realm(self) -> str:
        """What challenges name: the host of `url`, else `asgi-auth`."""
        return hostname(self.host) if self.host else DEFAULT_ISSUER

    @property
    def takes_proofs(self) -> bool:
        """Whether access tokens may be bound to a key."""
        return self.dpop != "off" and "jwt" in self.backends

    @property
    def own_origins(self) -> frozenset[bytes]:
        """The origin of `url`, if there is one, as `trusted_origins` has them."""
        return frozenset({self.url.encode("ascii")} if self.url else ())

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The bytes of `secret`, newest first. Not to be shown."""
        return tuple(one.get_secret_value() for one in self.secret)

    def key_texts(self) -> dict[str, str]:
        """The texts of `jwt_key`, or of the file or files of `jwt_key_file`, newest first, by where each comes from;
        empty: neither is set. Not to be shown. Raises ConfigurationError: a file cannot be read, or is empty."""
        if self.jwt_key is not None:
            return {f"{VARIABLES}JWT_KEY": self.jwt_key.get_secret_value()}
        if self.jwt_key_file is None:
            return {}
        try:
            texts = key_files.texts(self.jwt_key_file)
        except ValueError as error:
            raise ConfigurationError(_problem("jwt_key_file", str(error))) from error
        return {f"{VARIABLES}JWT_KEY_FILE ({file})": text for file, text in texts.items()}

    def describe(self, *, changed: bool = False) -> dict[str, str]:
        """Every variable with its value as text, fit to be shown: secrets as `set (2)`, the store without its password.

        Args:
            changed: only those that the environment or a keyword has set.
        """
        names = [name for name in type(self).model_fields if not changed or name in self.model_fields_set]
        texts = {VARIABLES + name.upper(): readers.shown(getattr(self, name)) for name in names}
        store = f"{VARIABLES}STORE"
        return texts | ({store: readers.without_password(self.store)} if store in texts else {})

    def __repr_args__(self) -> Iterator[tuple[str, str]]:
        for variable, text in self.describe(changed=True).items():
            yield variable.removeprefix(VARIABLES).lower(), text


def _unknown_variables(environ: Mapping[str, str]) -> Iterator[str]:
    """Variables of ours that do not exist, and those that are there twice (case does not count)."""
    known = {VARIABLES + name.upper() for name in Settings.model_fields}
    seen: dict[str, str] = {}
    for spelled in environ:
        name = spelled.upper()
        if name in known and name in seen:
            yield f"{seen[name]} and {spelled} are the same setting: keep one of them"
        elif name.startswith(VARIABLES) and name not in known and not name.startswith(_KUBERNETES):
            yield _unknown(spelled, name.removeprefix(VARIABLES).lower(), VARIABLES)
        seen[name] = spelled


def _unknown_keywords(values: Mapping[str, Any]) -> Iterator[str]:
    for name in values:
        if name not in Settings.model_fields:
            yield _unknown(name, name.lower())


def _unknown(spelled: str, name: str, written: str = "") -> str:
    """`name` as a keyword is spelled; `written` in front of it where it is a variable."""
    what = f"{spelled.encode('unicode_escape').decode('ascii')}: there is no such setting"
    near = get_close_matches(name, Settings.model_fields, n=1)
    if not near:
        return f"{what}: remove it"
    right = written + near[0].upper() if written else near[0]
    return f"{what}; is {right} meant? Valid: {VARIABLES}{near[0].upper()}={_example(near[0])}"


def _problem(name: str, what: str) -> str:
    variable = VARIABLES + name.upper()
    return f"{variable}: {what}. Valid: {variable}={_example(name)}"


def _what(error: Mapping[str, Any]) -> str:
    """What a reader of ours, or pydantic itself, said of a value; neither repeats what may be secret."""
    raised = error.get("ctx", {}).get("error")
    return str(raised or error["msg"]).removeprefix("Input ")


def _example(name: str) -> str:
    text = str((Settings.model_fields[name].examples or [""])[0])
    mark = "'" if '"' in text else '"'
    return f"{mark}{text}{mark}" if " " in text else text
