"""The session in the browser's cookies: how it gets there, how it comes back, and what damage does to it."""

import dataclasses
import logging
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import product

import pytest
from django.http import HttpResponse, parse_cookie
from django.test import override_settings
from hypothesis import assume, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from pytest_django import Settings

from accounts.browser.cookies import (
    MAX_COOKIE_BYTES,
    MAX_SESSION_BYTES,
    WARN_FROM_BYTES,
    check_cookie_size,
    delete_cookies,
    is_overwritten,
    read_cookies,
    write_cookies,
)
from accounts.exceptions import ApiMisbehaved
from accounts.session.api_session import ApiSession
from accounts.session.sealing import Purpose, open_sealed, seal
from accounts.session.tokens import TokenPair, User
from tests.browsers import Browser, cookies_set
from tests.demo_api.server import DemoApi

TOKEN_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def random_token(length: int, seed: int = 0) -> str:
    """A token that deflates no better than a real one."""
    return "".join(random.Random(seed).choices(TOKEN_ALPHABET, k=length))


def a_session(tokens_length: int = 600, *, seed: int = 0, refresh_life: float | None = 1800) -> ApiSession:
    """A session whose two tokens have `tokens_length` characters together."""
    now = time.time()
    access = random_token(max(1, tokens_length * 2 // 3), seed)
    refresh = random_token(max(1, tokens_length - len(access)), seed + 1)
    expires_at = None if refresh_life is None else now + refresh_life
    pair = TokenPair(
        access=access, refresh=refresh, received_at=now, access_expires_at=now + 300, refresh_expires_at=expires_at
    )
    return ApiSession.begin(User(id=7, name="Ada", email="ada@example.com"), pair)


class Jar:
    """Cookies as browsers keep them: what is too large is dropped in silence, and a life of no seconds deletes."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def receive(self, response: HttpResponse) -> None:
        for morsel in response.cookies.values():
            header = morsel.OutputString()
            pair, *attributes = header.split("; ")
            name, _, value = pair.partition("=")
            if len(header.encode()) > 4096 or (name.startswith("__Host-") and "Secure" not in attributes):
                continue
            if "Max-Age=0" in attributes:
                self.kept.pop(name, None)
            else:
                self.kept[name] = value

    def send(self) -> dict[str, str]:
        """What Django makes of the Cookie header that the browser sends."""
        return parse_cookie("; ".join(f"{name}={value}" for name, value in self.kept.items()))


def written(session: ApiSession, presented: Mapping[str, str] | None = None, *, replacing: bool = False) -> Jar:
    """The cookies of a browser that had those `presented`, after an answer with `session`."""
    jar = Jar()
    jar.kept.update(presented or {})
    response = HttpResponse()
    write_cookies(response, session, presented=jar.send(), replacing=replacing)
    jar.receive(response)
    return jar


def set_cookie_headers(session: ApiSession, *, replacing: bool = False) -> list[str]:
    response = HttpResponse()
    write_cookies(response, session, presented={}, replacing=replacing)
    return [morsel.OutputString() for morsel in response.cookies.values()]


@pytest.fixture
def production(settings: Settings) -> None:
    """What config/settings.py makes of these without DEBUG."""
    settings.API_SESSION_COOKIE_NAME = "__Host-session"
    settings.API_SESSION_COOKIE_SECURE = True


class TestFlags:
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

    def test_on_a_developers_machine(self) -> None:
        (header,) = set_cookie_headers(a_session())

        assert header.startswith("session=")
        assert "; HttpOnly; " in header
        assert "Secure" not in header
        assert "Domain" not in header

    @pytest.mark.parametrize("replacing", [False, True], ids=["alone", "over an older one"])
    @pytest.mark.parametrize("length", [600, 12_000], ids=["one cookie", "parts"])
    def test_every_cookie_has_them(self, production: None, length: int, replacing: bool) -> None:
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
    def test_where_that_is_unknown_it_lives_as_long_as_the_browser(self, length: int) -> None:
        for header in set_cookie_headers(a_session(length, refresh_life=None)):
            assert "Max-Age" not in header
            assert "expires" not in header

    @pytest.mark.parametrize("life", [0.0, -1.0, -1e6, 0.4])
    def test_a_refresh_token_that_has_expired_by_our_clock_deletes_nothing(self, life: float) -> None:
        (header,) = set_cookie_headers(a_session(refresh_life=life))

        assert "; Max-Age=60;" in header

    @pytest.mark.usefixtures("production")
    def test_deleting_has_them_too(self) -> None:
        response = HttpResponse()
        delete_cookies(response, presented={"__Host-session-1": "x", "__Host-session-new-12345678": "y", "other": "z"})

        assert set(response.cookies) == {"__Host-session", "__Host-session-1", "__Host-session-new-12345678"}
        for morsel in response.cookies.values():
            assert (morsel.value, morsel["max-age"]) == ("", 0)
            assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} <= set(morsel.OutputString().split("; "))


class TestNamesThatAreNotOurs:
    @pytest.mark.parametrize(
        "rest", ["\xe9", "[]", "a b", "\x01", "", "1234567", "123456789", "1234567g", "12345678\n"]
    )
    def test_are_left_alone(self, rest: str) -> None:
        """They look like a second copy. Who can set cookies for this host must not be able to break its answers."""
        response = HttpResponse()

        delete_cookies(response, presented={f"session-new-{rest}": "x"})
        write_cookies(response, a_session(), presented={f"session-new-{rest}": "x"}, replacing=True)

        assert all(name == "session" or re.fullmatch("session-new-[0-9a-f]{8}", name) for name in response.cookies)


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
            assert read_cookies(written(session, replacing=replacing).send()) == session

    def test_no_size_between_one_cookie_and_two_is_too_large_for_either(self, production: None) -> None:
        for length in range(2500, 4200, 23):
            session = a_session(length, seed=length)

            headers = set_cookie_headers(session)

            assert max(len(header.encode()) for header in headers) <= MAX_COOKIE_BYTES
            assert read_cookies(written(session).send()) == session

    def test_a_session_of_ordinary_size_is_one_cookie(self) -> None:
        assert set(written(a_session(1200)).kept) == {"session"}

    def test_a_large_one_is_as_few_as_will_do(self, production: None) -> None:
        session = a_session(12_000)
        fewest = -(-len(session.seal_for_cookie()) // 4096)

        assert fewest <= len(written(session).kept) <= fewest + 1

    def test_when_it_grows_parts_are_added(self) -> None:
        session = a_session()
        large = session.rotated(a_session(12_000).tokens)

        jar = written(large, written(session).kept)

        assert len(jar.kept) > 1
        assert read_cookies(jar.send()) == large

    @pytest.mark.parametrize("length", [600, 5000, 9000, 12_000])
    def test_when_it_shrinks_no_part_is_left_over(self, length: int) -> None:
        large = a_session(14_000)
        smaller = large.rotated(a_session(length).tokens)

        jar = written(smaller, {**written(large).kept, "other": "cookie", "session-name": "not ours"})

        assert set(jar.kept) == {*written(smaller).kept, "other", "session-name"}
        assert read_cookies(jar.send()) == smaller

    def test_deleting_leaves_nothing_of_it(self) -> None:
        jar = written(a_session(14_000), {"other": "cookie"})
        response = HttpResponse()

        delete_cookies(response, presented=jar.send())
        jar.receive(response)

        assert jar.kept == {"other": "cookie"}

    def test_left_over_parts_that_a_single_cookie_does_not_count_are_ignored(self) -> None:
        session = a_session()

        assert read_cookies({**written(a_session(12_000)).send(), **written(session).send()}) == session


class TestPartsThatDoNotBelongTogether:
    @pytest.fixture
    def mine(self) -> dict[str, str]:
        return written(a_session(12_000, seed=1)).send()

    def test_parts_of_two_sessions_read_as_none(self, mine: dict[str, str]) -> None:
        other = written(a_session(12_000, seed=9)).send()
        assert mine.keys() == other.keys()
        assert len(mine) == 4

        for choice in product([mine, other], repeat=len(mine)):
            mixed = {name: source[name] for name, source in zip(mine, choice, strict=True)}
            if mixed not in (mine, other):
                assert read_cookies(mixed) is None

    def test_parts_of_two_generations_read_as_none(self) -> None:
        session = a_session(12_000)
        older, newer = written(session).send(), written(session.rotated(session.tokens)).send()

        for name in older:
            assert read_cookies({**older, name: newer[name]}) is None

    def test_without_any_one_part_there_is_none(self, mine: dict[str, str]) -> None:
        for missing in mine:
            assert read_cookies({name: value for name, value in mine.items() if name != missing}) is None
            assert read_cookies({**mine, missing: ""}) is None

    def test_parts_that_changed_places_read_as_none(self, mine: dict[str, str]) -> None:
        assert read_cookies({**mine, "session-1": mine["session-2"], "session-2": mine["session-1"]}) is None

    @pytest.mark.parametrize("count", ["", "0", "1", "2", "3", "5", "9", "10", "04", "٤", "-4", "4.4", "4 "])
    def test_another_count_reads_as_none(self, mine: dict[str, str], count: str) -> None:
        assert mine["session"].startswith("4.")

        assert read_cookies({**mine, "session": count + mine["session"][1:]}) is None

    def test_a_whole_session_that_claims_to_be_a_part_reads_as_none(self) -> None:
        text = a_session().seal_for_cookie()

        assert read_cookies({"session": f"1.{text}"}) is None
        assert read_cookies({"session": f"2.{text}"}) is None
        assert read_cookies({"session-1": text}) is None


class TestTooLarge:
    def test_the_error_names_size_and_limit(self) -> None:
        session = a_session(20_000)

        with pytest.raises(ApiMisbehaved) as caught:
            check_cookie_size(session)

        assert str(len(session.seal_for_cookie())) in str(caught.value)
        assert f"{MAX_SESSION_BYTES} bytes" in str(caught.value)
        assert session.tokens.access[:20] not in str(caught.value)

    def test_it_is_not_written_and_what_the_browser_has_stays(self, caplog: pytest.LogCaptureFixture) -> None:
        session, large = a_session(), a_session(20_000)

        jar = written(large, written(session).kept)

        assert read_cookies(jar.send()) == session
        (record,) = [record for record in caplog.records if record.name == "accounts.browser.cookies"]
        assert record.levelno == logging.ERROR
        size = len(large.seal_for_cookie())
        told = f"session {large.id}: {size} bytes exceed the limit of {MAX_SESSION_BYTES}"
        assert record.getMessage() == told
        assert large.tokens.access[:20] not in record.getMessage()

    @pytest.mark.parametrize(("length", "warned"), [(6000, False), (11_000, True)], ids=["below 8 KB", "above 8 KB"])
    def test_from_8_kb_on_the_log_warns(self, length: int, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
        session = a_session(length)
        assert (len(session.seal_for_cookie()) > WARN_FROM_BYTES) == warned

        check_cookie_size(session)
        assert read_cookies(written(session).send()) == session

        assert [record.levelno for record in caplog.records] == [logging.WARNING] * warned
        size = len(session.seal_for_cookie())
        told = f"session {session.id}: its cookies have {size} bytes; servers and proxies with default limits refuse "
        assert caplog.messages == [f"{told}headers from {WARN_FROM_BYTES} on"] * warned

    @pytest.mark.parametrize("length", [100_000, 260_000, 300_000, 1_000_000])
    def test_what_passes_the_check_can_be_opened_again_however_well_it_deflates(self, length: int) -> None:
        session = a_session()
        session = dataclasses.replace(session, tokens=dataclasses.replace(session.tokens, access="x" * length))

        try:
            check_cookie_size(session)
        except ApiMisbehaved:
            return
        assert read_cookies(written(session).send()) == session


def spare_name(session: ApiSession) -> str:
    return f"session-new-{session.id.hex[:8]}"


class TestSignInOverAnOlderSession:
    @pytest.fixture
    def older(self) -> ApiSession:
        return a_session(seed=1)

    @pytest.fixture
    def newer(self) -> ApiSession:
        return a_session(seed=2)

    def test_the_second_copy_goes_when_the_cookie_is_written_after_the_leeway(
        self, older: ApiSession, newer: ApiSession
    ) -> None:
        jar = written(newer, written(older).kept, replacing=True)
        assert spare_name(newer) in jar.send()

        rotated = newer.rotated(older.tokens)
        assert spare_name(newer) in written(rotated, jar.kept).send()
        aged = dataclasses.replace(rotated, signed_in_at=time.time() - 31)
        assert spare_name(newer) not in written(aged, jar.kept).send()

    def test_a_late_answer_of_the_older_session_does_not_replace_it(self, older: ApiSession, newer: ApiSession) -> None:
        jar = written(newer, written(older).kept, replacing=True)

        late = HttpResponse()
        write_cookies(late, older.rotated(older.tokens), presented=written(older).send(), replacing=False)
        jar.receive(late)

        assert read_cookies(jar.send()) == newer

    def test_a_session_in_parts_is_written_once(self, older: ApiSession) -> None:
        """Twice its size is more than the servers on the way take, so it has to do without a second copy."""
        newer = a_session(12_000, seed=2)

        jar = written(newer, written(older).kept, replacing=True)

        assert not any(name.startswith("session-new") for name in jar.send())
        assert read_cookies(jar.send()) == newer

    def test_a_late_answer_of_the_older_session_does_not_delete_it(self, older: ApiSession, newer: ApiSession) -> None:
        jar = written(newer, written(older).kept, replacing=True)

        late = HttpResponse()
        delete_cookies(late, presented=written(older).send())
        jar.receive(late)

        assert read_cookies(jar.send()) == newer

    def test_a_late_answer_of_the_second_sign_in_does_not_undo_the_third(
        self, older: ApiSession, newer: ApiSession
    ) -> None:
        """It had a second copy itself, and its answer rewrites that, or takes it away."""
        jar = written(newer, written(older).kept, replacing=True)
        presented = jar.send()
        newest = dataclasses.replace(a_session(seed=3), signed_in_at=newer.signed_in_at + 1)
        jar = written(newest, jar.kept, replacing=True)

        for signed_in_at in (time.time(), time.time() - 60):
            late = HttpResponse()
            aged = dataclasses.replace(newer, signed_in_at=signed_in_at - 60)
            write_cookies(late, aged, presented=presented, replacing=False)
            jar.receive(late)
        late = HttpResponse()
        delete_cookies(late, presented=presented)
        jar.receive(late)

        assert read_cookies(jar.send()) == newest

    def test_its_next_generation_counts_though_the_second_copy_is_of_the_first(
        self, older: ApiSession, newer: ApiSession
    ) -> None:
        jar = written(newer, written(older).kept, replacing=True)
        rotated = newer.rotated(older.tokens)

        assert read_cookies(written(rotated, jar.kept).send()) == rotated

    def test_a_second_copy_that_no_key_opens_hides_nothing(self, newer: ApiSession) -> None:
        assert read_cookies({"session": newer.seal_for_cookie(), spare_name(newer): "nonsense"}) == newer

    def test_a_second_copy_of_an_older_sign_in_hides_nothing(self, older: ApiSession, newer: ApiSession) -> None:
        newer = dataclasses.replace(newer, signed_in_at=older.signed_in_at + 1)

        assert read_cookies({"session": newer.seal_for_cookie(), spare_name(older): older.seal_for_cookie()}) == newer

    def test_only_where_the_first_copy_is_another_sessions_it_has_been_overwritten(
        self, older: ApiSession, newer: ApiSession
    ) -> None:
        cookies = written(newer, written(older).kept, replacing=True).send()

        assert not is_overwritten(cookies, newer)
        assert is_overwritten({**cookies, "session": older.seal_for_cookie()}, newer)

    def test_signing_out_deletes_both(self, older: ApiSession, newer: ApiSession) -> None:
        jar = written(newer, written(older).kept, replacing=True)
        response = HttpResponse()

        delete_cookies(response, presented=jar.send())
        jar.receive(response)

        assert jar.kept == {}

    @pytest.mark.parametrize("length", [600, 12_000], ids=["one cookie", "parts"])
    def test_a_third_sign_in_is_not_hidden_by_the_second_ones_copy(
        self, older: ApiSession, newer: ApiSession, length: int
    ) -> None:
        newest = a_session(length, seed=3)

        jar = written(newer, written(older).kept, replacing=True)
        jar = written(newest, jar.kept, replacing=True)

        assert read_cookies(jar.send()) == newest

    def test_it_outlives_the_second_copy_after_a_late_answer_of_the_older_session(
        self, signed_in: Browser, api: DemoApi
    ) -> None:
        older = signed_in.take()["session"]
        signed_in.sign_in("grace@example.com")
        newer = signed_in.session()
        assert spare_name(signed_in.session()) in signed_in.take()
        # The older session's last answer arrives only now, and the user reads on.
        signed_in.put({**signed_in.take(), "session": older})
        assert signed_in.open_page().status_code == 200

        # The leeway is over, and with it the second copy.
        signed_in.put({name: value for name, value in signed_in.take().items() if not name.startswith("session-new-")})

        assert signed_in.is_signed_in()
        assert signed_in.session().id == newer.id


# --- A thousand damaged cookies --------------------------------------------------------------------------------------
# Each damage makes a Cookie header from what two browsers hold: a small session and a large one each. The inside of a
# value only: around it, RFC 6265 lets everybody trim spaces and quotes, and the cookie is the same one.

Damage = Callable[[random.Random], str]

SMALL, LARGE = (written(a_session(length, seed=length)).send() for length in (600, 12_000))
STRANGERS = written(a_session(12_000, seed=77)).send()
COUNTS = ["9", "8", "2", "3", "5", "1", "0", "", "10", "99", "-1", "4.4", "0x4", "1e1", "%34"]


def header(cookies: Mapping[str, str]) -> str:
    """As it comes out of WSGI: UTF-8, read as Latin-1."""
    text = "; ".join(f"{name}={value}" for name, value in cookies.items())
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def changed(chance: random.Random, change: Callable[[str], str]) -> str:
    """One value of the small or the large session, changed; or the small one's second copy."""
    cookies = chance.choice([SMALL, LARGE, {"session-new-12345678": SMALL["session"]}])
    name = chance.choice(list(cookies))
    return header({**cookies, name: change(cookies[name])})


def inside(chance: random.Random, value: str) -> int:
    """A place within the sealed text: after a part's count, and not the last character."""
    return chance.randrange(2, len(value) - 1)


def flipped(chance: random.Random) -> str:
    def change(value: str) -> str:
        at = inside(chance, value)
        return value[:at] + chance.choice(TOKEN_ALPHABET.replace(value[at], "")) + value[at + 1 :]

    return changed(chance, change)


def split_cookie(chance: random.Random) -> str:
    return changed(chance, lambda value: value[: chance.randrange(len(value))])


def beheaded(chance: random.Random) -> str:
    return changed(chance, lambda value: value[chance.randrange(1, len(value)) :])


def lengthened(chance: random.Random) -> str:
    more = "".join(chance.choices(TOKEN_ALPHABET, k=chance.randrange(1, 40)))
    return changed(chance, lambda value: chance.choice([value + more, more + value, value + "=" * len(more)]))


def of_a_foreign_purpose(chance: random.Random) -> str:
    session = a_session(chance.choice([600, 12_000]), seed=chance.randrange(10**6))
    plain = open_sealed(Purpose.COOKIE, session.seal_for_cookie())
    context = chance.choice([b"", session.id.bytes + session.secret])
    sealed = seal(chance.choice([Purpose.RECORD, Purpose.SESSION_UPDATE]), plain, context=context)
    return header({"session": chance.choice([sealed, session.seal_for_record(), session.seal_for_update()])})


def of_an_unknown_key(chance: random.Random) -> str:
    with override_settings(API_SESSION_KEYS=[random_token(48, chance.randrange(10**6))]):
        return header(written(a_session(chance.choice([600, 12_000])), replacing=chance.random() < 0.5).send())


def huge(chance: random.Random) -> str:
    size = chance.randrange(8_000, 100_000)
    return changed(chance, lambda value: chance.choice([value + "A" * size, "A" * size, "." * size, "9." + "A" * size]))


def not_ascii(chance: random.Random) -> str:
    strange = chance.choice(["é", "王", "🦭", "\u200b", "\ufeff", "\uff21", "\udcff", "\udc80\udc80", "İ"])

    def change(value: str) -> str:
        at = inside(chance, value)
        return value[:at] + strange + value[at + chance.randrange(2) :]

    return changed(chance, change)


def with_control_characters(chance: random.Random) -> str:
    strange = chance.choice([chr(code) for code in range(0x20)] + ["\x7f", " ", '"', "\\", ",", "\\054", "%00"])

    def change(value: str) -> str:
        at = inside(chance, value)
        return value[:at] + strange + value[at + chance.randrange(2) :]

    return changed(chance, change)


def miscounted(chance: random.Random) -> str:
    cookies = chance.choice([SMALL, LARGE])
    value = cookies["session"].removeprefix("4.")
    count = chance.choice(COUNTS)
    return header({**cookies, "session": chance.choice([f"{count}.{value}", f"{count}.", count or "."])})


def without_a_part(chance: random.Random) -> str:
    missing = chance.sample(list(LARGE), chance.randrange(1, len(LARGE)))
    return header({name: value for name, value in LARGE.items() if name not in missing})


def with_a_strangers_part(chance: random.Random) -> str:
    strangers = chance.sample(list(LARGE), chance.randrange(1, len(LARGE)))
    return header({name: (STRANGERS if name in strangers else LARGE)[name] for name in LARGE})


DAMAGES: list[Damage] = [
    flipped,
    split_cookie,
    beheaded,
    lengthened,
    of_a_foreign_purpose,
    of_an_unknown_key,
    huge,
    not_ascii,
    with_control_characters,
    miscounted,
    without_a_part,
    with_a_strangers_part,
]
EACH = 84
by_damage = pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)


def headers_of(damage: Damage) -> Iterator[str]:
    chance = random.Random(damage.__name__)
    return (damage(chance) for _ in range(EACH))


class TestDamagedCookies:
    def test_there_are_a_thousand(self) -> None:
        assert EACH * len(DAMAGES) >= 1000

    @pytest.mark.django_db
    @pytest.mark.parametrize(
        "cookies", [SMALL, LARGE, {"session-new-12345678": SMALL["session"]}], ids=["one", "parts", "copy"]
    )
    def test_undamaged_they_are_let_in(self, cookies: dict[str, str]) -> None:
        response = Browser().get("/accounts/session/", HTTP_COOKIE=header(cookies))

        assert b'"authenticated": true' in response.content

    @by_damage
    def test_none_is_let_in_and_each_is_left_alone(self, damage: Damage) -> None:
        browser = Browser()

        for sent in headers_of(damage):
            response = browser.get("/accounts/session/", HTTP_COOKIE=sent)

            assert response.status_code == 200, sent
            assert b'"authenticated": false, "user": null' in response.content, sent
            assert not cookies_set(response), sent

    @by_damage
    def test_the_protected_page_sends_them_to_the_sign_in_page(self, damage: Damage) -> None:
        browser = Browser()

        for sent in list(headers_of(damage))[::8]:
            response = browser.get("/protected/", HTTP_COOKIE=sent)

            assert response.status_code == 302, sent
            assert response["Location"] == "/accounts/login/?next=%2Fprotected%2F"
            assert not cookies_set(response), sent
