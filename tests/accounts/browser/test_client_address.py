"""The browser's address: trusted proxies report it, and the browser cannot forge it."""

from ipaddress import ip_address

import pytest
from django.test import RequestFactory, override_settings
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from pytest_django import Settings

from accounts.browser.client_address import _warn_of_unknown_address, client_address, client_network, is_private

PEER = "198.51.100.9"


def address_of(*, forwarded: str | None = None, peer: str = PEER) -> str:
    request = RequestFactory().get("/")
    request.META["REMOTE_ADDR"] = peer
    if forwarded is not None:
        request.META["HTTP_X_FORWARDED_FOR"] = forwarded
    return client_address(request)


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, None, PEER),
        (0, "203.0.113.5", PEER),
        (1, "203.0.113.5", "203.0.113.5"),
        (1, "6.6.6.6, 203.0.113.5", "203.0.113.5"),
        (1, "6.6.6.6,,203.0.113.5 , ", "203.0.113.5"),
        (1, "nonsense, 203.0.113.5", "203.0.113.5"),
        (2, "6.6.6.6, 203.0.113.5, 192.0.2.1", "203.0.113.5"),
        (2, "203.0.113.5", "203.0.113.5"),
        (1, None, PEER),
        (3, None, PEER),
        (1, "203.0.113.7:51812", "203.0.113.7"),
        (1, "6.6.6.6:1, 203.0.113.7:51812", "203.0.113.7"),
        (1, "[2001:db8::1]:443", "2001:db8::1"),
        (1, "[2001:db8::1]", "2001:db8::1"),
        (1, '"[2001:DB8::1]:443"', "2001:db8::1"),
        (1, '"203.0.113.7"', "203.0.113.7"),
        (1, "\t203.0.113.7 ", "203.0.113.7"),
        (1, "fe80::1%eth0", "fe80::1"),
        (1, "[fe80::1%eth0]:443", "fe80::1"),
        (1, "::ffff:203.0.113.7", "203.0.113.7"),
        (1, "[::ffff:203.0.113.7]:443", "203.0.113.7"),
        (1, "unknown", ""),
        (1, "6.6.6.6, unknown", ""),
        (1, "_hidden", ""),
        (1, "unix:", ""),
        (1, "203.0.113.7:", ""),
        (1, "203.0.113.7:port", ""),
        (1, "[203.0.113.7", ""),
        (1, "[]", ""),
        (1, "[2001:db8::1]x", ""),
        (1, "6.6.6.6, 203.0.113.7.1", ""),
    ],
    ids=[
        "no proxy",
        "no proxy, forged",
        "one proxy",
        "one proxy, forged",
        "one proxy, empty entries",
        "one proxy, nonsense before",
        "two proxies, forged",
        "one of two proxies bypassed",
        "proxy bypassed",
        "all proxies bypassed",
        "with a port",
        "with a port, forged",
        "IPv6 with a port",
        "IPv6 in brackets",
        "in quotes, with a port",
        "in quotes",
        "with white space",
        "with a zone",
        "with a zone and a port",
        "IPv4 as IPv6",
        "IPv4 as IPv6 with a port",
        "unknown",
        "unknown, forged before",
        "obfuscated (RFC 7239 section 6.3)",
        "from a Unix socket",
        "a colon without a port",
        "a port that is none",
        "an open bracket",
        "empty brackets",
        "text behind the bracket",
        "too many numbers",
    ],
)
def test_the_entry_of_the_outermost_trusted_proxy_counts(
    settings: Settings, proxies: int, forwarded: str | None, address: str
) -> None:
    settings.TRUSTED_PROXY_COUNT = proxies

    assert address_of(forwarded=forwarded) == address


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("::1", "::1"),
        ("", ""),
        ("unix:", ""),
        ("localhost", ""),
        ("203.0.113.5:4711", "203.0.113.5"),
        ("::ffff:203.0.113.5", "203.0.113.5"),
        ("010.0.0.1", ""),
        ("203.0.113.5\r\nX-Admin: yes", ""),
        ("1" * 10_000, ""),
    ],
    ids=[
        "spelled out",
        "loopback",
        "unix socket",
        "unix socket with a name",
        "a name",
        "with a port",
        "IPv4 on a dual-stack socket",
        "octal",
        "line end",
        "huge",
    ],
)
def test_an_address_is_normalized_and_any_other_text_is_dropped(peer: str, address: str) -> None:
    assert address_of(peer=peer) == address


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, None, ""),
        (0, "203.0.113.5", ""),
        (1, "203.0.113.5", "203.0.113.5"),
        (1, "6.6.6.6, unknown", ""),
        (1, None, ""),
    ],
    ids=["no proxy", "no proxy, forged", "one proxy", "a proxy that knows no address", "a proxy without the header"],
)
def test_a_server_on_a_unix_socket_believes_the_header_of_trusted_proxies_alone(
    settings: Settings, proxies: int, forwarded: str | None, address: str
) -> None:
    settings.TRUSTED_PROXY_COUNT = proxies

    assert address_of(forwarded=forwarded, peer="") == address


@pytest.mark.parametrize(("proxies", "forwarded"), [(0, None), (1, "unknown"), (1, None)])
def test_the_log_says_once_what_to_set_where_an_address_is_unknown(
    settings: Settings, caplog: pytest.LogCaptureFixture, proxies: int, forwarded: str | None
) -> None:
    settings.TRUSTED_PROXY_COUNT = proxies
    _warn_of_unknown_address.cache_clear()

    for _ in range(3):
        address_of(forwarded=forwarded, peer="")

    (warning,) = caplog.records
    assert warning.levelname == "WARNING"
    assert "TRUSTED_PROXY_COUNT" in warning.getMessage()


@pytest.mark.parametrize(
    "peer", ["fe80::1%eth0", "fe80::1%<b>", "::1%" + "x" * 5000], ids=["interface", "markup", "huge"]
)
def test_the_zone_of_a_link_local_address_is_dropped(peer: str) -> None:
    # The text after the % is arbitrary. Neither PostgreSQL's inet nor a column of 39 characters accepts it.
    assert address_of(peer=peer) in ("", peer.partition("%")[0])


@effort(deadline=None, max_examples=200)
@given(forged=st.text(st.characters(codec="latin-1")))
def test_the_browser_cannot_forge_an_address_behind_a_proxy(forged: str) -> None:
    with override_settings(TRUSTED_PROXY_COUNT=1):
        assert address_of(forwarded=f"{forged}, 203.0.113.5") == "203.0.113.5"


@effort(deadline=None, max_examples=200)
@given(forwarded=st.text(st.characters(codec="latin-1")), proxies=st.integers(0, 5))
def test_any_header_gives_an_address_or_nothing(forwarded: str, proxies: int) -> None:
    with override_settings(TRUSTED_PROXY_COUNT=proxies):
        address = address_of(forwarded=forwarded)

    assert address == "" or ip_address(address)


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "[::1]", "::1", "10.0.0.7", "laptop", "Laptop.local", "api.internal", ""]
)
def test_private_hosts(host: str) -> None:
    assert is_private(host)


@pytest.mark.parametrize("host", ["www.example.com", ".example.com", "*", "8.8.8.8", "[2606:4700::1]", "local.example"])
def test_public_hosts(host: str) -> None:
    assert not is_private(host)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("198.51.100.9", "198.51.100.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::", "2001:db8:1:2::"),
        ("::1", "::"),
        ("::ffff:198.51.100.9", "198.51.100.9"),
        ("", ""),
    ],
)
def test_rate_limits_count_ipv6_by_its_64_bit_network(address: str, network: str) -> None:
    assert client_network(address) == network


def test_and_by_its_48_bit_network() -> None:
    assert client_network("2001:db8:1:2:3:4:5:6", 48) == "2001:db8:1::"
    assert client_network("198.51.100.9", 48) == "198.51.100.9"
