"""The cookie in which a browser keeps a refresh token: its name and attributes, by where a request came to.

Only our own pages get it sent (SameSite=Strict), and no script reads it. What stands in it is not known here.
"""

from __future__ import annotations

from asgi_auth.http.cookies import CookieSpec, SetCookie


class RefreshCookies:
    """The cookie on https, and on plain http. Cookies know no ports, and these no paths, so the key ring's id is part
    of the name: several applications of one host do not meet.

    Args:
        ring: the key ring's id.
    """

    def __init__(self, ring: str) -> None:
        self.secure = SetCookie(CookieSpec(f"__Host-refresh-{ring[:4]}", same_site="strict"))
        self.plain = SetCookie(CookieSpec(f"refresh-{ring[:4]}", secure=False, same_site="strict"))
