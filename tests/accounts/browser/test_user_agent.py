"""What the admin makes of a browser's own words."""

import pytest

from accounts.browser.user_agent import describe_browser

LINUX, WINDOWS, MAC = "X11; Linux x86_64", "Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10_15_7"
CHROMIUM = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"


@pytest.mark.parametrize(
    ("user_agent", "short"),
    [
        (f"Mozilla/5.0 ({LINUX}; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox 140, Linux"),
        (f"Mozilla/5.0 ({WINDOWS}) {CHROMIUM}", "Chrome 141, Windows"),
        (f"Mozilla/5.0 ({WINDOWS}) {CHROMIUM} Edg/141.0.1.2", "Edge 141, Windows"),
        (f"Mozilla/5.0 ({MAC}) {CHROMIUM} OPR/120.0.0.0", "Opera 120, macOS"),
        (
            f"Mozilla/5.0 ({MAC}) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.4 Safari/605.1.15",
            "Safari 18, macOS",
        ),
        (
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
                "Version/18.4 Mobile/15E148 Safari/604.1"
            ),
            "Safari 18, iOS",
        ),
        (f"Mozilla/5.0 (Linux; Android 10; K) {CHROMIUM}", "Chrome 141, Android"),
        (f"Mozilla/5.0 (Linux; Android 14; SM) SamsungBrowser/27.0 {CHROMIUM}", "Samsung Internet 27, Android"),
        (f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {CHROMIUM}", "Chrome 141, ChromeOS"),
        ("Firefox/140.0", "Firefox 140"),
        ("curl/8.14.1", "curl/8.14.1"),
        ("x" * 255, "x" * 30),
        ("", ""),
    ],
)
def test_a_browser_in_two_words(user_agent: str, short: str) -> None:
    assert describe_browser(user_agent) == short
