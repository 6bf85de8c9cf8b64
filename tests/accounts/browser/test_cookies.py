"""The session cookie's attributes, the limits of its size, and names that look like ours."""

import dataclasses
import logging
import re

import pytest
from django.http import HttpResponse
from pytest_django import Settings

from accounts.browser.cookies import (
    MAX_SESSION_BYTES,
    WARN_FROM_BYTES,
    check_cookie_size,
    delete_cookies,
    read_cookies,
    write_cookies,
)
from accounts.exceptions import ApiMisbehaved
from tests.accounts.browser.cookie_jar import a_session, jar_with, set_cookie_headers


class TestAttributes:
    def test_in_production(self, production: None) -> None:
        (header,) = set_cookie_headers(a_session())

        name, _, attributes = header.partition("=")
        assert name == "__Host-session"
        assert set(re.sub(r"(Max-Age|expires)=[^;]+", r"\1", attributes.partition("; ")[2]).split("; ")) == {
            "Secure",
            "HttpOnly",
            "SameSite=Lax",
            "Path=/",
            "Max-Age",
            "expires",
        }

    def test_in_development(self) -> None:
        (header,) = set_cookie_headers(a_session())

        assert header.startswith("session=")
        assert "; HttpOnly; " in header
        assert "Secure" not in header
        assert "Domain" not in header

    @pytest.mark.parametrize("replacing", [False, True], ids=["alone", "over an older one"])
    @pytest.mark.parametrize("length", [600, 12_000], ids=["one cookie", "parts"])
    def test_every_cookie_has_the_same_attributes(self, production: None, length: int, replacing: bool) -> None:
        headers = set_cookie_headers(a_session(length), replacing=replacing)

        assert (len(headers) > 1) == (length > 600 or replacing)
        for header in headers:
            assert header.startswith("__Host-session")
            assert "; Max-Age=" in header
            assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} <= set(header.split("; "))
            assert "Domain" not in header

    def test_samesite_can_be_strict(self, settings: Settings) -> None:
        settings.API_SESSION_COOKIE_SAMESITE = "Strict"

        assert all("; SameSite=Strict" in header for header in set_cookie_headers(a_session(12_000)))

    @pytest.mark.parametrize("length", [600, 12_000], ids=["one cookie", "parts"])
    def test_the_cookie_lives_as_long_as_the_refresh_token(self, length: int) -> None:
        for header in set_cookie_headers(a_session(length, refresh_life=1800)):
            max_age = re.search(r"Max-Age=(\d+)", header)
            assert max_age is not None
            assert 1700 < int(max_age[1]) <= 1800

    @pytest.mark.parametrize("length", [600, 12_000], ids=["one cookie", "parts"])
    def test_with_an_unknown_expiry_it_is_a_session_cookie(self, length: int) -> None:
        for header in set_cookie_headers(a_session(length, refresh_life=None)):
            assert "Max-Age" not in header
            assert "expires" not in header

    @pytest.mark.parametrize("life", [0.0, -1.0, -1e6, 0.4])
    def test_a_refresh_token_that_has_expired_by_our_clock_deletes_nothing(self, life: float) -> None:
        (header,) = set_cookie_headers(a_session(refresh_life=life))

        assert "; Max-Age=60;" in header

    @pytest.mark.usefixtures("production")
    def test_deleted_cookies_have_the_same_attributes(self) -> None:
        response = HttpResponse()
        delete_cookies(response, presented={"__Host-session-1": "x", "__Host-session-new-12345678": "y", "other": "z"})

        assert set(response.cookies) == {"__Host-session", "__Host-session-1", "__Host-session-new-12345678"}
        for morsel in response.cookies.values():
            assert (morsel.value, morsel["max-age"]) == ("", 0)
            assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} <= set(morsel.OutputString().split("; "))


class TestForeignNames:
    @pytest.mark.parametrize(
        "rest", ["\xe9", "[]", "a b", "\x01", "", "1234567", "123456789", "1234567g", "12345678\n"]
    )
    def test_are_not_deleted(self, rest: str) -> None:
        """They look like a second copy. Another subdomain that can set cookies must not be able to break responses."""
        response = HttpResponse()

        delete_cookies(response, presented={f"session-new-{rest}": "x"})
        write_cookies(response, a_session(), presented={f"session-new-{rest}": "x"}, replacing=True)

        assert all(name == "session" or re.fullmatch("session-new-[0-9a-f]{8}", name) for name in response.cookies)


class TestSize:
    def test_the_error_names_the_size_and_the_limit(self) -> None:
        session = a_session(20_000)

        with pytest.raises(ApiMisbehaved) as caught:
            check_cookie_size(session)

        assert str(len(session.seal_for_cookie())) in str(caught.value)
        assert f"{MAX_SESSION_BYTES} bytes" in str(caught.value)
        assert session.tokens.access[:20] not in str(caught.value)

    def test_a_session_above_the_limit_is_not_written(self, caplog: pytest.LogCaptureFixture) -> None:
        session, large = a_session(), a_session(20_000)

        jar = jar_with(large, jar_with(session).kept)

        assert read_cookies(jar.send()) == session
        (record,) = [record for record in caplog.records if record.name == "accounts.browser.cookies"]
        assert record.levelno == logging.ERROR
        size = len(large.seal_for_cookie())
        assert record.getMessage() == f"session {large.id}: {size} bytes exceed the limit of {MAX_SESSION_BYTES}"
        assert large.tokens.access[:20] not in record.getMessage()

    @pytest.mark.parametrize(("length", "warned"), [(6000, False), (11_000, True)], ids=["below 8 KB", "above 8 KB"])
    def test_the_log_warns_from_8_kb_on(self, length: int, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
        session = a_session(length)
        assert (len(session.seal_for_cookie()) > WARN_FROM_BYTES) == warned

        check_cookie_size(session)
        assert read_cookies(jar_with(session).send()) == session

        assert [record.levelno for record in caplog.records] == [logging.WARNING] * warned
        size = len(session.seal_for_cookie())
        start = f"session {session.id}: its cookies have {size} bytes; servers and proxies with default limits refuse "
        assert caplog.messages == [f"{start}headers from {WARN_FROM_BYTES} on"] * warned

    @pytest.mark.parametrize("length", [100_000, 260_000, 300_000, 1_000_000])
    def test_a_session_that_passes_the_check_can_be_read_however_well_it_compresses(self, length: int) -> None:
        session = a_session()
        session = dataclasses.replace(session, tokens=dataclasses.replace(session.tokens, access="x" * length))

        try:
            check_cookie_size(session)
        except ApiMisbehaved:
            return
        assert read_cookies(jar_with(session).send()) == session
