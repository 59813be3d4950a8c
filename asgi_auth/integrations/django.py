"""Django: who is calling, where its users look: `request.user`, `await request.auser()`, `login_required`,
`permission_required` (scopes are permissions).

    application = AuthMiddleware(get_asgi_application())                      # asgi.py
    MIDDLEWARE = [..., "asgi_auth.integrations.django.user_middleware"]       # after Django's own

`request.session` stays Django's; ours is `request.scope["session"]`. Where the middleware never ran (`runserver` as
WSGI, Django's test clients), each request raises RuntimeError, instead of being nobody's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from inspect import iscoroutinefunction
from typing import Any

from django.utils.decorators import sync_and_async_middleware

from asgi_auth.context import Context


class DjangoUser:
    """A user of ours as Django's code expects one. Everything is known already: nothing is looked up, so that it can be
    used in sync and async views alike.

    Attributes:
        user: ours.
        id, pk: the user's id; None for nobody.
    """

    is_staff = False
    is_superuser = False

    def __init__(self, context: Context) -> None:
        self.user = context.user
        self.id = self.pk = self.user.id
        self.is_authenticated = self.is_active = context.identity is not None
        self.is_anonymous = not self.is_authenticated
        self._scopes = frozenset[str]() if context.identity is None else context.identity.scopes

    def get_username(self) -> str:
        return self.id or ""

    def __str__(self) -> str:
        return self.user.display_name or "AnonymousUser"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DjangoUser) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def get_all_permissions(self, obj: object = None) -> set[str]:
        return set(self._scopes)

    def has_perm(self, perm: str, obj: object = None) -> bool:
        """Whether the user has this scope."""
        return perm in self._scopes

    def has_perms(self, perm_list: Iterable[str], obj: object = None) -> bool:
        return all(perm in self._scopes for perm in perm_list)

    def has_module_perms(self, app_label: str) -> bool:
        """Whether one of the scopes begins with `app_label.` or `app_label:`."""
        return any(scope.startswith((f"{app_label}.", f"{app_label}:")) for scope in self._scopes)

    async def aget_all_permissions(self, obj: object = None) -> set[str]:
        return self.get_all_permissions(obj)

    async def ahas_perm(self, perm: str, obj: object = None) -> bool:
        return self.has_perm(perm, obj)

    async def ahas_perms(self, perm_list: Iterable[str], obj: object = None) -> bool:
        return self.has_perms(perm_list, obj)

    async def ahas_module_perms(self, app_label: str) -> bool:
        return self.has_module_perms(app_label)


@sync_and_async_middleware  # type: ignore[untyped-decorator]
def user_middleware(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """One entry of `MIDDLEWARE`: sets `request.user` and `request.auser`.

    Raises:
        RuntimeError: at a request that `AuthMiddleware` has not seen.
    """
    if iscoroutinefunction(get_response):

        async def asynchronous(request: Any) -> Any:
            _fill(request)
            return await get_response(request)

        return asynchronous

    def synchronous(request: Any) -> Any:
        _fill(request)
        return get_response(request)

    return synchronous


def _fill(request: Any) -> None:
    user = DjangoUser(Context.of(getattr(request, "scope", None)))

    async def auser() -> DjangoUser:
        return user

    request.user, request.auser = user, auser
