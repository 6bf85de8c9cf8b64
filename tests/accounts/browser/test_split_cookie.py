"""A session that is split over several cookies: how it comes back, and what lost or mixed parts do to it."""

from itertools import product

import pytest
from django.http import HttpResponse
from django.test import override_settings
from hypothesis import assume, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from accounts.browser.cookies import MAX_COOKIE_BYTES, MAX_SESSION_BYTES, delete_cookies, read_cookies
from tests.accounts.browser.cookie_jar import a_session, jar_with, set_cookie_headers


class TestSplitting:
    @effort(deadline=None, max_examples=200)
    @given(
        length=st.integers(2, 15_500),
        seed=st.integers(0, 2**32),
        name=st.sampled_from(["session", "__Host-session", "s", "n" * 100]),
        samesite=st.sampled_from(["Lax", "Strict"]),
        life=st.none() | st.floats(-10, 10 * 365 * 24 * 3600),
        replacing=st.booleans(),
    )
    def test_a_session_of_any_size_comes_back_from_the_browser(
        self, length: int, seed: int, name: str, samesite: str, life: float | None, replacing: bool
    ) -> None:
        session = a_session(length, seed=seed, refresh_life=life)
        assume(len(session.seal_for_cookie()) < MAX_SESSION_BYTES - 100)

        with override_settings(
            API_SESSION_COOKIE_NAME=name, API_SESSION_COOKIE_SECURE=True, API_SESSION_COOKIE_SAMESITE=samesite
        ):
            headers = set_cookie_headers(session, replacing=replacing)
            assert all(len(f"Set-Cookie: {header}".encode()) <= 4096 + len("Set-Cookie: ") for header in headers)
            assert read_cookies(jar_with(session, replacing=replacing).send()) == session

    def test_no_size_between_one_cookie_and_two_is_too_large_for_either(self, production: None) -> None:
        for length in range(2500, 4200, 23):
            session = a_session(length, seed=length)

            headers = set_cookie_headers(session)

            assert max(len(header.encode()) for header in headers) <= MAX_COOKIE_BYTES
            assert read_cookies(jar_with(session).send()) == session

    def test_a_session_of_ordinary_size_is_one_cookie(self) -> None:
        assert set(jar_with(a_session(1200)).kept) == {"session"}

    def test_a_large_session_needs_no_more_than_one_extra_cookie(self, production: None) -> None:
        session = a_session(12_000)
        fewest = -(-len(session.seal_for_cookie()) // 4096)

        assert fewest <= len(jar_with(session).kept) <= fewest + 1

    def test_a_session_that_grows_gets_more_parts(self) -> None:
        session = a_session()
        large = session.rotated(a_session(12_000).tokens)

        jar = jar_with(large, jar_with(session).kept)

        assert len(jar.kept) > 1
        assert read_cookies(jar.send()) == large

    @pytest.mark.parametrize("length", [600, 5000, 9000, 12_000])
    def test_a_session_that_shrinks_leaves_no_part_behind(self, length: int) -> None:
        large = a_session(14_000)
        smaller = large.rotated(a_session(length).tokens)

        jar = jar_with(smaller, {**jar_with(large).kept, "other": "cookie", "session-name": "not ours"})

        assert set(jar.kept) == {*jar_with(smaller).kept, "other", "session-name"}
        assert read_cookies(jar.send()) == smaller

    def test_deletion_removes_every_part(self) -> None:
        jar = jar_with(a_session(14_000), {"other": "cookie"})
        response = HttpResponse()

        delete_cookies(response, presented=jar.send())
        jar.receive(response)

        assert jar.kept == {"other": "cookie"}

    def test_a_single_cookie_ignores_parts_that_were_left_behind(self) -> None:
        session = a_session()

        assert read_cookies({**jar_with(a_session(12_000)).send(), **jar_with(session).send()}) == session


class TestMixedParts:
    @pytest.fixture
    def mine(self) -> dict[str, str]:
        return jar_with(a_session(12_000, seed=1)).send()

    def test_parts_of_two_sessions_read_as_none(self, mine: dict[str, str]) -> None:
        other = jar_with(a_session(12_000, seed=9)).send()
        assert mine.keys() == other.keys()
        assert len(mine) == 4

        for choice in product([mine, other], repeat=len(mine)):
            mixed = {name: source[name] for name, source in zip(mine, choice, strict=True)}
            if mixed not in (mine, other):
                assert read_cookies(mixed) is None

    def test_parts_of_two_generations_read_as_none(self) -> None:
        session = a_session(12_000)
        older, newer = jar_with(session).send(), jar_with(session.rotated(session.tokens)).send()

        for name in older:
            assert read_cookies({**older, name: newer[name]}) is None

    def test_a_missing_part_reads_as_none(self, mine: dict[str, str]) -> None:
        for missing in mine:
            assert read_cookies({name: value for name, value in mine.items() if name != missing}) is None
            assert read_cookies({**mine, missing: ""}) is None

    def test_swapped_parts_read_as_none(self, mine: dict[str, str]) -> None:
        assert read_cookies({**mine, "session-1": mine["session-2"], "session-2": mine["session-1"]}) is None

    @pytest.mark.parametrize("count", ["", "0", "1", "2", "3", "5", "9", "10", "04", "٤", "-4", "4.4", "4 "])
    def test_a_wrong_count_reads_as_none(self, mine: dict[str, str], count: str) -> None:
        assert mine["session"].startswith("4.")

        assert read_cookies({**mine, "session": count + mine["session"][1:]}) is None

    def test_a_whole_session_under_the_name_of_a_part_reads_as_none(self) -> None:
        text = a_session().seal_for_cookie()

        assert read_cookies({"session": f"1.{text}"}) is None
        assert read_cookies({"session": f"2.{text}"}) is None
        assert read_cookies({"session-1": text}) is None
