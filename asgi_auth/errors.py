"""Everything that this package raises, under one root.

Three kinds, for three readers: `ConfigurationError` talks to the operator, `CredentialError` is safe to show
to whoever sent the request, `StoreUnavailable` is nobody's fault.
"""

from __future__ import annotations

import traceback
from typing import ClassVar


class AuthError(Exception):
    """The root of all errors of this package."""


class ConfigurationError(AuthError):
    """A setting is wrong, or what it names cannot be used. Raised at the start only; says what to do."""


class StoreUnavailable(AuthError):
    """The store gave no answer in time. Whether a change stands is not known; every verb can be repeated."""


class Deaf(StoreUnavailable):
    """No message of the store will be heard: this process may not listen, or nobody tells anything."""


class NoSessionData(AuthError):
    """Session data was written where none can be kept; the text says why (a bearer token, another origin, …)."""


class UnknownUser(AuthError, LookupError):
    """No user has this id."""


class NameTaken(AuthError, ValueError):
    """Another user has this name already (compared in NFKC and casefold)."""


class WeakPassword(AuthError, ValueError):
    """The password is too short, too long or too common; the text tells the person which."""


class CredentialError(AuthError):
    """A request's fault: an error code of the RFCs, an HTTP status, and a description that is safe to show.

    Args:
        description: one sentence, ASCII without `"` and `\\` (it stands in `WWW-Authenticate`).
        scope: the scopes that were missing, joined by spaces (RFC 6750 §3.1).
        max_age: how old a login may be, in seconds (RFC 9470 §3).
        acr_values: the classes of which a login must have one, joined by spaces (RFC 9470 §3).
        retry_after: seconds after which a repetition can succeed.
        limit: how many attempts are let in, for the log.
        reason: for a dead cookie `expired` or `ended`.
        allow: the methods that a path has (RFC 9110 §15.5.6).
        nonce: for the client's next proof (RFC 9449 §8).
    """

    code: ClassVar[str] = "invalid_request"
    status: int = 400
    default: ClassVar[str] = "The request is invalid"

    def __init__(
        self,
        description: str | None = None,
        *,
        scope: str | None = None,
        max_age: int | None = None,
        acr_values: str | None = None,
        retry_after: int | None = None,
        limit: int | None = None,
        reason: str | None = None,
        allow: str | None = None,
        nonce: str | None = None,
    ) -> None:
        self.description = description or self.default
        self.scope = scope
        self.max_age = max_age
        self.acr_values = acr_values
        self.retry_after = retry_after
        self.limit = limit
        self.reason = reason
        self.allow = allow
        self.nonce = nonce
        super().__init__(self.description)


class InvalidRequest(CredentialError):
    """Malformed, doubled or mistyped (RFC 6749 §5.2, RFC 6750 §3.1)."""


class MalformedAuthorization(InvalidRequest):
    """The `Authorization` header is malformed or doubled, so the answer has a challenge (RFC 6750 §3.1)."""


class CookieNotKept(CredentialError):
    """The browser would drop the login's cookie; the description names the cause and the cure."""

    code = "cookie_not_kept"


class InvalidGrant(CredentialError):
    """Wrong password, or a refresh token that is unknown, expired, revoked or used (RFC 6749 §5.2)."""

    code = "invalid_grant"
    default = "The grant is invalid, expired or revoked"


class InvalidScope(CredentialError):
    """More was asked than was granted (RFC 6749 §5.2)."""

    code = "invalid_scope"
    default = "The scope is more than what was granted"


class UnsupportedGrantType(CredentialError):
    """RFC 6749 §5.2."""

    code = "unsupported_grant_type"
    default = "This grant type is not offered"


class InvalidClient(CredentialError):
    """There are public clients only, so a client secret is always wrong (RFC 6749 §5.2)."""

    code = "invalid_client"
    status = 401
    default = "Clients are public here: send a client_id without a secret"


class InvalidToken(CredentialError):
    """RFC 6750 §3.1. The description is one of the five fixed sentences, so that nobody learns more."""

    code = "invalid_token"
    status = 401
    default = "The access token is invalid"

    EXPIRED: ClassVar[str] = "The access token expired"
    OUT_OF_DATE: ClassVar[str] = "The access token is out of date"
    REVOKED: ClassVar[str] = "The access token was revoked"
    AUDIENCE: ClassVar[str] = "The access token is not for this audience"
    INVALID: ClassVar[str] = default


class InvalidProof(CredentialError):
    """A DPoP proof is missing, malformed, used already or made for something else (RFC 9449 §5, §7.1)."""

    code = "invalid_dpop_proof"
    default = "The DPoP proof is invalid"


class NonceWanted(InvalidProof):
    """A DPoP proof has no nonce of ours, or an old one; the answer has a fresh one (RFC 9449 §8, §9)."""

    code = "use_dpop_nonce"
    default = "The DPoP proof needs the nonce of this answer"


class LoginRequired(CredentialError):
    """Nobody is logged in and somebody must be."""

    code = "login_required"
    status = 401
    default = "Log in first"


class InvalidCredentials(CredentialError):
    """Name or password is wrong; which of them is not said."""

    code = "invalid_credentials"
    status = 401
    default = "The user name or the password is wrong"


class LoginRefused(CredentialError):
    """The application does not let this user in (`Auth.on("login")`), though name and password are right."""

    code = "access_denied"
    status = 403
    default = "This login is not allowed"


class InsufficientUserAuthentication(CredentialError):
    """The login is too old or too weak for this (RFC 9470 §3)."""

    code = "insufficient_user_authentication"
    status = 401
    default = "Log in again: this needs a recent login"


class InsufficientScope(CredentialError):
    """Somebody who may not (RFC 6750 §3.1)."""

    code = "insufficient_scope"
    status = 403
    default = "The scope does not allow this"


class NoSession(InsufficientScope):
    """What needs a session, asked for by a token of another issuer, which has none here."""

    default = "A token of another issuer has no session here"


class CrossOrigin(CredentialError):
    """An unsafe request that a page of another origin sent with this user's cookie."""

    code = "cross_origin"
    status = 403
    default = "A page of another origin sent this request"


class NotFound(CredentialError):
    """Nothing of that name, or nothing of yours."""

    code = "not_found"
    status = 404
    default = "There is nothing here"


class MethodNotAllowed(CredentialError):
    """A path of ours with a method that it does not have."""

    code = "method_not_allowed"
    status = 405
    default = "This path has no such method"


class SessionLimit(CredentialError):
    """The user has as many sessions as allowed, and the policy is to refuse."""

    code = "session_limit"
    status = 409
    default = "This user has too many sessions: end one first"


class ContentTooLarge(CredentialError):
    """A body or session data over its limit (RFC 9110 §15.5.14)."""

    code = "content_too_large"
    status = 413
    default = "The content is too large"


class HeadersTooLarge(ContentTooLarge):
    """The headers that say who is calling are larger than any that could (RFC 6585 §5)."""

    code = "headers_too_large"
    status = 431
    default = "The headers are too large"


class TooManyRequests(CredentialError):
    """RFC 6585 §4."""

    code = "too_many_requests"
    status = 429
    default = "Too many requests: wait and try again"


class Unavailable(CredentialError):
    """What a client is told when the store is silent or the configuration is wrong."""

    code = "unavailable"
    status = 503
    default = "Authentication is unavailable: try again"


def without_text(error: Exception) -> str:
    """What an error of the application's was and where it was raised, for the log. Not its own text, which often holds
    what was typed: a KeyError is the name."""
    return f"{type(error).__name__}:\n{''.join(traceback.format_tb(error.__traceback__))}"
