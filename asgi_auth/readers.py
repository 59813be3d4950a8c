"""How the value of one setting is read, and how it is shown: text (or what a keyword brought) in, ready value out.

Pure functions. Each raises ValueError with what is wrong, in words that go into the start's message: they repeat an
entry of a list, never a secret, nor an address that may hold one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import SecretBytes, SecretStr

from asgi_auth.durations import format_duration, parse_duration
from asgi_auth.http.cookies import CookieSpec, check
from asgi_auth.http.forwarded import Proxies, is_loopback
from asgi_auth.http.guarding import PathRules
from asgi_auth.http.origin import parse_origin
from asgi_auth.http.starlette_sessions import StarletteSessions
from asgi_auth.http.strict import strict_json
from asgi_auth.issuer import Issuer, fits

VARIABLES = "ASGI_AUTH_"
"""What the name of every variable begins with."""

MIN_SECRET = 32
"""Bytes."""

STORES = (
    *("memory://", "sqlite:///", "redis://", "rediss://", "unix://"),
    *("redis+sentinel://", "rediss+sentinel://", "redis+cluster://", "rediss+cluster://"),
)
STORE_OPTIONS = frozenset({"prefix", "authority", "acks", "partitions"})

Algorithm = Literal[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512",
    "Ed25519", "EdDSA",
]  # fmt: skip

_FLAGS = {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}
_PREFIX = re.compile(r"(?:/[0-9A-Za-z._~-]+)*")
_DIRECTORY = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_UNFIT = re.compile(r"[\s\x00-\x1f\x7f]")
_USER_INFO = re.compile(r"(?<=://).*@", re.DOTALL)


def not_empty(value: Any) -> Any:
    """Any value but a text (or secret) of nothing or white space, or one that is no UTF-8."""
    text = value.get_secret_value() if isinstance(value, (SecretStr, SecretBytes)) else value
    if isinstance(text, (str, bytes)) and not text.strip():
        raise ValueError("is empty: give it a value, or leave it out")
    if isinstance(text, str):
        _utf8(text)
    return value


def entries(value: object) -> tuple[Any, ...]:
    """The entries of a text with commas, or of a list, tuple or set."""
    if isinstance(value, str):
        parts = tuple(part.strip() for part in value.split(",")) if value.strip() else ()
        if "" in parts:
            raise ValueError("has an empty entry: there is a comma too many")
        return parts
    if isinstance(value, (list, tuple, set, frozenset)):
        return tuple(value)
    raise ValueError(f"is a text with commas or a list, not {type(value).__name__}")


def texts(value: object) -> tuple[str, ...]:
    """The entries, all of them text."""
    found = entries(value)
    if not all(isinstance(entry, str) for entry in found):
        raise ValueError("has an entry that is no text")
    return found


def words(value: object) -> tuple[str, ...]:
    """At least one entry; case does not count."""
    found = tuple(text.lower() for text in texts(value))
    if not found:
        raise ValueError("names nothing")
    return found


def lower(value: object) -> object:
    """A word whose case does not count."""
    return value.strip().lower() if isinstance(value, str) else value


def flag(value: object) -> bool:
    """`on` or `off`, `true` or `false`, `1` or `0`; case does not count."""
    found = value if isinstance(value, bool) else _FLAGS.get(str(lower(value)))
    if found is None:
        raise ValueError("is on or off")
    return found


def algorithm(value: object) -> object:
    """The name of an algorithm as RFC 7518 and RFC 9864 spell it; case does not count."""
    return {name.lower(): name for name in get_args(Algorithm)}.get(str(lower(value)), value)


def positive(value: object) -> float:
    """A duration longer than nothing, in seconds."""
    seconds = parse_duration(value)
    if not seconds:
        raise ValueError("must be longer than 0")
    return seconds


def off_or_positive(value: object) -> float | None:
    """A duration longer than nothing, in seconds; None for `off`."""
    return None if value is None or value == "off" else positive(value)


def secrets(value: object) -> tuple[SecretBytes, ...]:
    """Secrets, newest first, each long enough. As a keyword their order counts, so no set."""
    if isinstance(value, (bytes, SecretBytes, SecretStr)):
        value = (value,)
    if isinstance(value, (set, frozenset)):
        raise ValueError("has an order, newest first: give a list")
    found = tuple(_secret(entry, number) for number, entry in enumerate(entries(value), 1))
    if not found:
        raise ValueError("holds no secret: give it one, or leave it out")
    return found


def _secret(entry: object, number: int) -> SecretBytes:
    raw = entry.get_secret_value() if isinstance(entry, (SecretStr, SecretBytes)) else entry
    if isinstance(raw, str):
        raw = _utf8(raw)
    if not isinstance(raw, bytes):
        raise ValueError(f"entry {number} is neither text nor bytes")
    if len(raw) < MIN_SECRET:
        raise ValueError(f"entry {number} is shorter than {MIN_SECRET} bytes")
    return SecretBytes(raw)


def secret_text(value: object) -> SecretStr:
    """Key material as text; what it holds is for `tokens` to say."""
    if isinstance(value, SecretStr):
        return value
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError("is not UTF-8") from None
    if not isinstance(value, str):
        raise ValueError("is no text")
    return SecretStr(value)


def file(value: object) -> Path:
    """The path of a file. A key that landed here by mistake is refused, or it would be shown as a path."""
    if isinstance(value, Path):
        return value
    text = _text(value)
    if not text.isprintable() or text.startswith(("-----", "{")):
        raise ValueError("is the path of a file, not what is in it")
    return Path(text)


def store(value: object) -> str:
    """The URL of a store, of a kind that there is. Never repeated, since it may hold a password."""
    if not isinstance(value, str) or _UNFIT.search(value):
        raise ValueError("is no URL")
    if not value.startswith(STORES):
        raise ValueError(f"begins with none of {', '.join(STORES)}")
    place = value.partition("://")[2].partition("?")[0].strip("/")
    if bool(place) == value.startswith("memory:"):
        raise ValueError("names a place that memory:// has not" if place else "names no place after ://")
    return value


def url(value: object) -> str:
    """An https origin, or an http one of this machine, without a last slash. Never repeated."""
    try:
        origin = parse_origin(value.removesuffix("/")).decode("ascii") if isinstance(value, str) else ""
    except ValueError:
        origin = ""
    scheme, _, host = origin.partition("://")
    if scheme not in ("https", "http"):
        raise ValueError("is not the address of a site: write https://host or https://host:port and nothing after it")
    if scheme == "http" and not is_loopback(host.encode("ascii")):
        raise ValueError("must be https: over plain http only a loopback host such as localhost is safe")
    return origin


def path_rules(value: object) -> PathRules:
    """Rules by path with what they ask, at least one."""
    rules = value if isinstance(value, PathRules) else PathRules.parse(",".join(texts(value)))
    if not rules:
        raise ValueError("names no path")
    return rules


def paths(value: object) -> PathRules | None:
    """Paths alone; None: none of them."""
    if value is None or isinstance(value, PathRules):
        return value or None
    return PathRules.parse(",".join(texts(value)), requirements=False) or None


def users(value: object) -> str:
    """`store`, or where a directory is found."""
    text = _text(value)
    if text != "store" and not _DIRECTORY.fullmatch(text):
        raise ValueError("is neither store nor of the form module:name")
    return text


def prefix(value: object) -> str:
    """A path, or nothing."""
    text = _text(value)
    if not _PREFIX.fullmatch(text) or {".", ".."}.intersection(text.split("/")):
        raise ValueError("is no such path: it begins with /, has no last slash, and is of letters, digits and -._~")
    return text


def cookie_name(value: object) -> str:
    """A name that browsers keep."""
    return _kept(CookieSpec(_text(value))).name


def cookie_path(value: object) -> str:
    """A path that browsers keep."""
    return _kept(CookieSpec("session", path=_text(value))).path


def cookie_domain(value: object) -> str:
    """A domain that browsers keep. A dot in front means nothing any more (RFC 6265 §5.2.3) and goes."""
    domain = _kept(CookieSpec("session", domain=_text(value).removeprefix(".").lower())).domain or ""
    if domain.startswith("."):
        raise ValueError("begins with two dots")
    from publicsuffixlist import PublicSuffixList  # 70 ms, for those who set it only

    if PublicSuffixList().is_public(domain):
        raise ValueError("is a public suffix, for which browsers keep no cookie: name a domain of your own")
    return domain


def identifier(value: object) -> str:
    """What RFC 7519 §2 calls StringOrURI, without white space and control characters."""
    text = _text(value)
    if len(text) > 255 or not text.isprintable() or " " in text:
        raise ValueError("has at most 255 characters, and none of them is white space or control")
    return text


def issuer(value: object) -> str:
    """An identifier that, as an address, has neither query nor fragment (RFC 8414 §2)."""
    text = identifier(value)
    if text.lower().startswith(("https://", "http://")) and ("?" in text or "#" in text):
        raise ValueError("is an address with a query or a fragment, which an issuer has not")
    return text


def origins(value: object) -> frozenset[bytes]:
    """Origins as browsers write them."""
    decoded = [entry.decode("latin-1") if isinstance(entry, bytes) else entry for entry in entries(value)]
    return frozenset(map(parse_origin, texts(decoded)))


def proxies(value: object) -> Proxies:
    """Addresses, networks and `unix`."""
    return value if isinstance(value, Proxies) else Proxies.parse(texts(value))


def starlette_sessions(value: object) -> StarletteSessions:
    """A record as JSON, or a mapping."""
    if isinstance(value, StarletteSessions):
        return value
    if isinstance(value, str):
        try:
            value = strict_json(value.encode("utf-8"))
        except ValueError:
            raise ValueError("is no JSON") from None
    if not isinstance(value, Mapping):
        raise ValueError("is a record")
    return StarletteSessions.parse(value)


def issuers(value: object) -> tuple[Issuer, ...]:
    """A list of records as JSON, or of mappings and `Issuer`s. No two are of one name, or may be of one token."""
    if isinstance(value, str):
        try:
            value = strict_json(value.encode("utf-8"))
        except ValueError:
            raise ValueError("is no JSON") from None
    if not isinstance(value, (list, tuple)) or not all(isinstance(one, (Mapping, Issuer)) for one in value):
        raise ValueError("is a list of records")
    found: list[Issuer] = []
    for number, one in enumerate(value, 1):
        try:
            record = one if isinstance(one, Issuer) else Issuer.parse(one)
        except ValueError as error:
            raise ValueError(f"record {number} {error}") from None
        for other in found:
            if other.name == record.name:
                raise ValueError(f"has two records of the name {record.name}: their users would be the same")
            if any(_overlap(ours, theirs) for ours in record.identifiers for theirs in other.identifiers):
                raise ValueError(f"has two records for one issuer: {other.name} and {record.name}")
        found.append(record)
    return tuple(found)


def _overlap(one: str, other: str) -> bool:
    """Whether two spellings of `iss` may be of one token."""
    return fits(one, other) is not None or fits(other, one) is not None or one == other


def shown(value: object) -> str:
    """A value as text that its reader takes again; of secrets only how many there are. Empty: not set."""
    match value:
        case None | ():
            return ""
        case SecretStr() | StarletteSessions():
            return "set"
        case (SecretBytes(), *_):
            return f"set ({len(value)})"
        case (Issuer(), *_):
            return json.dumps([one.record for one in value if isinstance(one, Issuer)])
        case bool():
            return "on" if value else "off"
        case float():
            return format_duration(value)
        case frozenset():
            return ",".join(sorted(one.decode("ascii") if isinstance(one, bytes) else str(one) for one in value))
        case Proxies():
            return ",".join([*map(str, value.networks), *(["unix"] if value.unix else [])])
        case PathRules():
            return ",".join(_rules(value))
    return str(value)


def without_password(store: str) -> str:
    """A store's URL without what may be secret: user and password, and options that are not ours."""
    if store.startswith(("memory:", "sqlite:")):
        return store
    # To the last @ of all: in a password that nobody quoted there may be any character.
    address, mark, query = _USER_INFO.sub("***@", store).partition("?")
    if not mark:
        return address
    options = (option.partition("=") for option in query.split("&"))
    return f"{address}?" + "&".join(f"{name}={text if name in STORE_OPTIONS else '***'}" for name, _, text in options)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"is a text, not {type(value).__name__}")
    return value.strip()


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("is not UTF-8") from None


def _kept(spec: CookieSpec) -> CookieSpec:
    if problem := check(spec):
        raise ValueError(problem)
    return spec


def _rules(rules: PathRules) -> Iterator[str]:
    for path, below, rule in rules.entries:
        asks = "=any" if rule.anybody else "=" + "+".join(sorted(rule.scopes))
        yield path + "/*" * below + asks.removesuffix("=")
