"""The name of a browser, by its User-Agent header."""

import re

from accounts.text import clean_text

# In this order: the header of each also names some of those below it.
_BROWSERS = {
    "Edge": re.compile(r"\bEdg(?:e|A|iOS)?/(\d+)"),
    "Opera": re.compile(r"\bOPR/(\d+)"),
    "Samsung Internet": re.compile(r"\bSamsungBrowser/(\d+)"),
    "Firefox": re.compile(r"\b(?:Firefox|FxiOS)/(\d+)"),
    "Chrome": re.compile(r"\b(?:Chrome|CriOS|HeadlessChrome)/(\d+)"),
    "Safari": re.compile(r"\bVersion/(\d+)[\d.]* (?:Mobile/\w+ )?Safari/"),
}
_SYSTEMS = {
    "Android": re.compile(r"\bAndroid\b"),
    "iOS": re.compile(r"\b(?:iPhone|iPad)\b"),
    "Windows": re.compile(r"\bWindows\b"),
    "macOS": re.compile(r"\bMac OS X\b"),
    "ChromeOS": re.compile(r"\bCrOS\b"),
    "Linux": re.compile(r"\bLinux\b"),
}
_MAX_LENGTH = 30


def describe_browser(user_agent: str) -> str:
    """Such as "Firefox 140, Linux"; for an unknown browser, the beginning of the header."""
    found = ((name, pattern.search(user_agent)) for name, pattern in _BROWSERS.items())
    browser = next((f"{name} {version[1]}" for name, version in found if version), "")
    if not browser:
        return clean_text(user_agent, _MAX_LENGTH)
    system = next((name for name, pattern in _SYSTEMS.items() if pattern.search(user_agent)), "")
    return f"{browser}, {system}" if system else browser
