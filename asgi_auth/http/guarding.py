"""Rules by path, for applications whose code one does not touch: `PROTECT` and `PASSIVE_PATHS`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote

from asgi_auth.model import scope_tokens

_PATTERN = re.compile(r"(?:/[^/\\%*?#\s\x00-\x1f\x7f]+)*(?:/\*)?")
_ORDINARY = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[0-9a-z._~@-]+)+")
_SLASHES = re.compile(r"[/\\]+")
_ENCODED_PERCENT = re.compile(r"%(?:25)+", re.IGNORECASE)


MAX_DECODINGS = 8
"""More often no application decodes a path; each costs time, and thousands can be nested in one."""


class Rule(NamedTuple):
    """Who may enter: anybody, or somebody who has all these scopes (none: somebody is enough)."""

    anybody: bool
    scopes: frozenset[str] = frozenset()


class _Entry(NamedTuple):
    path: str
    below: bool
    rule: Rule

    def covers(self, path: str) -> bool:
        return path == self.path or (self.below and (not self.path or path.startswith(self.path + "/")))


@dataclass(frozen=True, slots=True)
class PathRules:
    """A list of rules, of which the first that covers a path counts.

    `/admin` covers that path alone, `/admin/*` that path and all below it, `/*` everything.

    Nobody knows how the application reads an odd path, so each is looked up as it came and in its plain forms: decoded
    as often as anybody does, `\\` as `/`, no empty segments and no last slash, without case; its dot segments kept, and
    resolved. What the rules of all forms ask must be met: scopes add up, and `any` opens only where no other form
    asks for more. So `//admin`, `/admin/`, `/x/../admin`, `/%61dmin` and `/ADMIN` need what `/admin` needs, and
    `/health=any` does not open `/health/` where `/*` asks for somebody.
    """

    entries: tuple[_Entry, ...] = ()
    plain: tuple[_Entry, ...] = ()

    @classmethod
    def parse(cls, text: str, *, requirements: bool = True) -> PathRules:
        """Read `/health=any, /admin/*=admin, /api/*=read+write, /*`; nothing after the path: somebody.

        Without `requirements` an entry is a path and nothing else (`PASSIVE_PATHS`).

        Raises:
            ValueError: an entry is malformed, or never counts because an earlier one covers it. Names it.
        """
        entries: list[_Entry] = []
        plain: list[_Entry] = []
        for part in filter(None, (part.strip() for part in text.split(","))):
            pattern, equals, wanted = (piece.strip() for piece in part.partition("="))
            if equals and not requirements:
                raise ValueError(f"{part!r}: a path alone is meant here, nothing after it")
            if pattern != "/" and not _is_pattern(pattern):
                raise ValueError(
                    f"{part!r}: a path begins with one /, is written decoded, has no last slash and no dot segments, "
                    "and a * only as its last segment (/admin/*)"
                )
            rule = _rule(part, wanted) if equals else Rule(anybody=False)
            below = pattern.endswith("/*")
            path = pattern[:-2] if below else pattern
            entry = _Entry(path.rstrip("/").casefold(), below, rule)
            if any(one.covers(entry.path) and (one.below or not below) for one in plain):
                raise ValueError(f"{part!r} never counts, since an earlier entry covers it: the first match decides")
            entries.append(_Entry(path, below, rule))
            plain.append(entry)
        return cls(tuple(entries), tuple(plain))

    def __bool__(self) -> bool:
        return bool(self.entries)

    def match(self, path: str) -> Rule | None:
        """What is asked of those who want this path (`forwarded.route_path`); None: no entry covers it in any form."""
        found = [_first(self.entries, path), *(_first(self.plain, form) for form in _plain(path))]
        rules = [rule for rule in found if rule is not None]
        if not rules:
            return None
        asking = [rule.scopes for rule in rules if not rule.anybody]
        return Rule(False, frozenset[str]().union(*asking)) if asking else rules[0]


def _is_pattern(text: str) -> bool:
    return bool(text and _PATTERN.fullmatch(text)) and not {".", ".."}.intersection(text.split("/"))


def _rule(part: str, wanted: str) -> Rule:
    if wanted == "any":
        return Rule(anybody=True)
    scopes = [scope.strip() for scope in wanted.split("+")]
    if not all(scopes):
        raise ValueError(
            f"{part!r}: after = comes any, or scopes joined by + (nothing at all, without =, for somebody)"
        )
    try:
        return Rule(anybody=False, scopes=scope_tokens(scopes))
    except ValueError as error:
        raise ValueError(f"{part!r}: {error}") from None


def _first(entries: tuple[_Entry, ...], path: str) -> Rule | None:
    return next((entry.rule for entry in entries if entry.covers(path)), None)


def _plain(path: str) -> set[str]:
    """The shortest ways to write a path, dot segments kept and resolved; the root is empty."""
    if _ORDINARY.fullmatch(path):
        return {path}
    for _ in range(MAX_DECODINGS):
        decoded = unquote(_ENCODED_PERCENT.sub("%", path), errors="replace")
        if decoded == path:
            break
        path = decoded
    kept = [segment for segment in _SLASHES.split(path.casefold()) if segment]
    resolved: list[str] = []
    for segment in kept:
        if segment == "..":
            del resolved[-1:]
        elif segment != ".":
            resolved.append(segment)
    return {"".join(f"/{segment}" for segment in segments) for segments in (kept, resolved)}
