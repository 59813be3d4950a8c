"""What devices are called in a list of sessions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_auth.devices import MAX_LENGTH, device_name

WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64)"
MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)"
LINUX = "Mozilla/5.0 (X11; Linux x86_64)"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X)"
IPAD = "Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X)"
ANDROID = "Mozilla/5.0 (Linux; Android 10; K)"
WEBKIT, KHTML = "AppleWebKit/605.1.15 (KHTML, like Gecko)", "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("user_agent", "device"),
    [
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Windows"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        ("Mozilla/5.0 (Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0", "Firefox on Android"),
        (f"{WINDOWS} {KHTML} Chrome/139.0.0.0 Safari/537.36", "Chrome on Windows"),
        (f"{WINDOWS} {KHTML} Chrome/139.0.0.0 Safari/537.36 Edg/139.0.0.0", "Edge on Windows"),
        (f"{WINDOWS} {KHTML} Chrome/137.0.0.0 Safari/537.36 OPR/121.0.0.0", "Opera on Windows"),
        (f"{LINUX} {KHTML} Chrome/138.0.0.0 Safari/537.36 Vivaldi/7.5", "Vivaldi on Linux"),
        (f"{LINUX} {KHTML} HeadlessChrome/139.0.0.0 Safari/537.36", "Chrome on Linux"),
        (f"{LINUX} {KHTML} Chromium/139.0.0.0 Chrome/139.0.0.0 Safari/537.36", "Chromium on Linux"),
        ("Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) " + KHTML + " Chrome/138.0.0.0 Safari/537.36", "Chrome on ChromeOS"),
        (f"{MAC} {WEBKIT} Version/18.5 Safari/605.1.15", "Safari on macOS"),
        (f"{MAC} {KHTML} Chrome/139.0.0.0 Safari/537.36", "Chrome on macOS"),
        (f"{MAC} {KHTML} Slack/4.44 Chrome/134.0.0.0 Electron/35.1.2 Safari/537.36", "Electron on macOS"),
        (f"{IPHONE} {WEBKIT} Version/18.5 Mobile/15E148 Safari/604.1", "Safari on iPhone"),
        (f"{IPHONE} {WEBKIT} CriOS/139.0.7258.76 Mobile/15E148 Safari/604.1", "Chrome on iPhone"),
        (f"{IPHONE} {WEBKIT} FxiOS/140.0 Mobile/15E148 Safari/604.1", "Firefox on iPhone"),
        (f"{IPHONE} {WEBKIT} EdgiOS/138.0 Version/18.0 Mobile/15E148 Safari/604.1", "Edge on iPhone"),
        (f"{IPHONE} {WEBKIT} Mobile/15E148", "iPhone"),
        (f"{IPAD} {WEBKIT} Version/16.6 Mobile/15E148 Safari/604.1", "Safari on iPad"),
        (f"{ANDROID} {KHTML} Chrome/139.0.0.0 Mobile Safari/537.36", "Chrome on Android"),
        (f"{ANDROID} {KHTML} SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36", "Samsung Internet on Android"),
        (
            f"Mozilla/5.0 (Linux; Android 14; Pixel 8; wv) {KHTML} Version/4.0 Chrome/139.0 Mobile Safari/537.36",
            "an app on Android",
        ),
        ("Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko", "Internet Explorer on Windows"),
        ("Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; Trident/4.0)", "Internet Explorer on Windows"),
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "Googlebot"),
        ("Mozilla/5.0 (SMART-TV)", "Mozilla"),
        ("curl/8.5.0", "curl"),
        ("python-httpx/0.28.1", "python-httpx"),
        ("okhttp/4.12.0", "okhttp"),
        ("PostmanRuntime/7.44.1", "PostmanRuntime"),
        ("MyApp/1.2 CFNetwork/1494.0.7 Darwin/23.4.0", "MyApp"),
        ("Dalvik/2.1.0 (Linux; U; Android 14; Pixel 8)", "Dalvik"),
        ("Netscape 4", "Netscape"),
        ("curl", "curl"),
        ("", ""),
        (" ", ""),
        ("<script>alert(1)</script>", ""),
        ("x" * 1000, "x" * MAX_LENGTH),
        ("Mozilla/5.0 (compatible; " + "x" * 1000 + "/1)", "x" * MAX_LENGTH),
    ],
)
def test_a_device_has_a_name_that_people_know(user_agent: str, device: str) -> None:
    assert device_name(user_agent) == device


@given(st.text())
def test_whatever_a_client_calls_itself_its_name_is_short_and_harmless(user_agent: str) -> None:
    name = device_name(user_agent)
    assert len(name) <= MAX_LENGTH
    assert name.isascii()
    assert not set(name) & set('<>"\\/()\n\r')


@pytest.mark.parametrize("user_agent", ["Mozilla/5.0 (compatible; " * 5000, "Mozilla/5.0 " + "(" * 100_000])
def test_a_long_user_agent_takes_no_time(user_agent: str) -> None:
    assert device_name(user_agent) == "Mozilla"
