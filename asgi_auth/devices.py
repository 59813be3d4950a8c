"""`User-Agent` in a few words, so that people know their devices again in a list. Nothing is decided by it: it is what
the client says of itself."""

from __future__ import annotations

import re

MAX_LENGTH = 64
"""Characters of a name."""

# The first mark that is found counts: browsers name those before them whom they resemble.
_BROWSERS = (
    ("Edg/", "Edge"),
    ("EdgA/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("OPR/", "Opera"),
    ("OPiOS/", "Opera"),
    ("OPT/", "Opera"),
    ("Vivaldi/", "Vivaldi"),
    ("YaBrowser/", "Yandex Browser"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("DuckDuckGo/", "DuckDuckGo"),
    ("Ddg/", "DuckDuckGo"),
    ("FxiOS/", "Firefox"),
    ("Firefox/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Electron/", "Electron"),
    ("HeadlessChrome/", "Chrome"),
    ("Chromium/", "Chromium"),
    ("; wv)", "an app"),
    ("Chrome/", "Chrome"),
    ("Trident/", "Internet Explorer"),
    ("MSIE ", "Internet Explorer"),
    ("Safari/", "Safari"),
)
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Macintosh", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
    ("FreeBSD", "FreeBSD"),
)
_COMPATIBLE = re.compile(r"\(compatible; ([!#$%&'*+.^_`|~0-9A-Za-z-]+)/")
_PRODUCT = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def device_name(user_agent: str) -> str:
    """Browser and system (`Firefox on Windows`), or the program's own name (`curl`); empty if it says nothing."""
    product = _PRODUCT.match(user_agent)
    if product is None:
        return ""
    name = product[0][:MAX_LENGTH]
    if name != "Mozilla":  # a program that claims to be no browser
        return name
    robot = _COMPATIBLE.search(user_agent)
    if robot is not None and robot[1] != "MSIE":
        return robot[1][:MAX_LENGTH]
    browser, system = _first(_BROWSERS, user_agent), _first(_SYSTEMS, user_agent)
    if browser and system:
        return f"{browser} on {system}"
    return browser or system or name


def _first(marks: tuple[tuple[str, str], ...], text: str) -> str:
    return next((name for mark, name in marks if mark in text), "")
