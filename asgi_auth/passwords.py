"""Passwords and names: what may be one, how it is compared, and Argon2id in a few worker threads.

A password comes in as text and leaves as a PHC string or as a yes or no. Who has which is not known here.
"""

from __future__ import annotations

import logging
import secrets
import threading
import unicodedata
from base64 import b64encode
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

import anyio.to_thread
import argon2
from argon2.exceptions import HashingError, VerificationError, VerifyMismatchError
from argon2.low_level import error_to_str
from argon2.profiles import RFC_9106_LOW_MEMORY

from asgi_auth.blocklist import is_common
from asgi_auth.errors import ConfigurationError, InvalidRequest, TooManyRequests, WeakPassword
from asgi_auth.loops import PerLoop

T = TypeVar("T")

MAX_BYTES = 1024
"""The longest password in UTF-8 bytes. A longer one is refused, none is ever cut."""

MAX_NAME = 255

_TOO_LONG = f"The password is too long: use at most {MAX_BYTES} bytes"
_SHORTEST_WORD = 3
_OUT_OF_MEMORY = error_to_str(-22)  # ARGON2_MEMORY_ALLOCATION_ERROR of argon2.h

logger = logging.getLogger("asgi_auth")


def name_key(name: str) -> str:
    """The form in which user names are compared: NFKC and casefold (Unicode 3.13, D146).

    Raises:
        ValueError: this is no name: empty, over 255 characters, with a space at an end, with control characters, line
            breaks or lone surrogates.
    """
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
        raise ValueError(f"a user's name has 1 to {MAX_NAME} characters")
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name):
        raise ValueError("a user's name has no control characters")
    key = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", name).casefold())
    key = unicodedata.normalize("NFKC", key.casefold())
    if key != key.strip() or name != name.strip():
        raise ValueError("a user's name neither begins nor ends with a space")
    return key


def check_password(
    password: str, *, minimum: int, name: str | None = None, host: str | None = None, extra: Collection[str] = ()
) -> None:
    """Refuse a new password that is too short, too long or too easy to guess (NIST SP 800-63B-4 §3.1.1.2).

    There are no rules on which characters it must have.

    Args:
        minimum: in code points, counted after NFC.
        name: the user's; a password that is little more than that is refused.
        host: of the application's public address; likewise.
        extra: further common passwords, as `read_blocklist` gives them.

    Raises:
        WeakPassword: its text tells the person which.
    """
    text = _text(password)
    if len(text) < minimum:
        raise WeakPassword(f"The password is too short: use at least {minimum} characters")
    folded = text.casefold()
    if is_common(folded, extra):
        raise WeakPassword("The password is one of the commonest: choose another")
    rest = folded
    for word in _words_of(name, host):
        rest = rest.replace(word, "")
    if rest != folded and len(rest) < minimum // 2:
        raise WeakPassword("The password is made of the user name or of this site's address: choose another")


def read_blocklist(path: str | Path) -> frozenset[str]:
    """The operator's common passwords: a file in UTF-8, one a line. Raises ConfigurationError: it cannot be read."""
    try:
        lines = Path(path).read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise ConfigurationError(f"ASGI_AUTH_PASSWORD_BLOCKLIST: {str(path)!r} cannot be read: {why}") from error
    return frozenset(unicodedata.normalize("NFC", line).casefold() for line in lines if line)


class PasswordHasher:
    """Argon2id (RFC 9106, low-memory profile) in at most `workers` threads of this process, whatever its event loops.

    Args:
        workers: how many passwords are hashed at the same time; each takes 64 MiB meanwhile.
        queue: how many more may wait.
        parameters: Argon2's; hashes of others still verify.
    """

    def __init__(
        self, *, workers: int = 2, queue: int = 64, parameters: argon2.Parameters = RFC_9106_LOW_MEMORY
    ) -> None:
        self._argon2 = argon2.PasswordHasher.from_parameters(parameters)
        self._dummy = _dummy(parameters)
        self._threads = PerLoop(lambda: anyio.CapacityLimiter(workers))
        self._turns = threading.BoundedSemaphore(workers)
        self._places = threading.BoundedSemaphore(workers + queue)

    async def hash(self, password: str) -> str:
        """A new hash, in PHC form with its own salt and parameters.

        Raises:
            WeakPassword: over 1,024 bytes, or no text.
            TooManyRequests: too many wait already.
        """
        secret = _text(password).encode()
        return await self._run(lambda: self._make(secret))

    async def verify(self, hash: str | None, password: str) -> bool:
        """Whether this is the password. Takes as long when there is none to compare with.

        Args:
            hash: in PHC form; None: the user is unknown or has no password, and the answer is no.

        Raises:
            InvalidRequest: no password of ours is over 1,024 bytes or no text.
            TooManyRequests: too many wait already.
        """
        try:
            secret = _text(password).encode()
        except WeakPassword as error:
            raise InvalidRequest(str(error)) from None
        return await self._run(lambda: self._check(hash, secret))

    def needs_rehash(self, hash: str) -> bool:
        """Whether a hash was made with other parameters than today's."""
        return self._argon2.check_needs_rehash(hash)

    def _make(self, secret: bytes) -> str:
        try:
            return self._argon2.hash(secret)
        except HashingError as error:
            logger.error("A password could not be hashed: %s", error)
            raise TooManyRequests(retry_after=1) from None

    def _check(self, hash: str | None, secret: bytes) -> bool:
        try:
            return self._matches(self._dummy if hash is None else hash, secret)
        except (ValueError, VerificationError):
            logger.error("A stored password hash is no Argon2 hash: nobody can log in with it until it is set anew")
            return self._matches(self._dummy, secret)

    def _matches(self, hash: str, secret: bytes) -> bool:
        try:
            return self._argon2.verify(hash, secret)
        except VerifyMismatchError:
            return False
        except VerificationError as error:
            if str(error) != _OUT_OF_MEMORY:
                raise
            # Not an answer to the question: a machine without memory is no wrong password.
            logger.error("A password could not be checked: %s", error)
            raise TooManyRequests(retry_after=1) from None

    async def _run(self, work: Callable[[], T]) -> T:
        if not self._places.acquire(blocking=False):
            raise TooManyRequests(retry_after=1)
        try:
            # The loop's limiter keeps its threads few; the semaphore counts those of all loops together.
            return await anyio.to_thread.run_sync(self._in_turn, work, limiter=self._threads.get())
        finally:
            self._places.release()

    def _in_turn(self, work: Callable[[], T]) -> T:
        with self._turns:
            return work()


def _dummy(parameters: argon2.Parameters) -> str:
    """A hash that no password has, as costly to compare with as a real one, and made without any cost."""
    random = (secrets.token_bytes(length) for length in (parameters.salt_len, parameters.hash_len))
    salt, tag = (b64encode(raw).decode().rstrip("=") for raw in random)
    cost = f"m={parameters.memory_cost},t={parameters.time_cost},p={parameters.parallelism}"
    return f"$argon2id$v={parameters.version}${cost}${salt}${tag}"


def _text(password: str) -> str:
    """A password in NFC, which is text and not too long."""
    # No longer text becomes short enough by NFC, which sorts long runs of accents slowly.
    if len(password) > 3 * MAX_BYTES:
        raise WeakPassword(_TOO_LONG)
    text = unicodedata.normalize("NFC", password)
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise WeakPassword("The password holds something that is no character") from None
    if size > MAX_BYTES:
        raise WeakPassword(_TOO_LONG)
    return text


def _words_of(name: str | None, host: str | None) -> list[str]:
    """What a password must not be made of: longest first, so that a part never hides the whole."""
    words: set[str] = set()
    for text, mark in ((name, "@"), (host, ".")):
        folded = unicodedata.normalize("NFC", text or "").casefold()
        words |= {folded, *folded.split(mark)}
    return sorted((word for word in words if len(word) >= _SHORTEST_WORD), key=len, reverse=True)
