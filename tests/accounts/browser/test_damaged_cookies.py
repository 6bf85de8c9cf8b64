"""A thousand damaged cookies. None signs a user in, and the response changes none of them.

Each kind of damage makes a Cookie header from a small or a large session. It changes only the inside of a value:
RFC 6265 allows spaces and quotes around a value to be trimmed, so a change there could leave the cookie the same.
"""

import random
from collections.abc import Callable, Iterator, Mapping

import pytest
from django.test import override_settings

from accounts.session.sealing import Purpose, open_sealed, seal
from tests.accounts.browser.cookie_jar import TOKEN_ALPHABET, a_session, jar_with, random_token
from tests.browsers import Browser, cookies_set

Damage = Callable[[random.Random], str]

SMALL, LARGE = (jar_with(a_session(length, seed=length)).send() for length in (600, 12_000))
OTHER = jar_with(a_session(12_000, seed=77)).send()
COUNTS = ["9", "8", "2", "3", "5", "1", "0", "", "10", "99", "-1", "4.4", "0x4", "1e1", "%34"]


def cookie_header(cookies: Mapping[str, str]) -> str:
    """A Cookie header as WSGI passes it: UTF-8, decoded as Latin-1."""
    text = "; ".join(f"{name}={value}" for name, value in cookies.items())
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def change_value(chance: random.Random, change: Callable[[str], str]) -> str:
    """A Cookie header of the small session, the large one or a second copy, with one value changed."""
    cookies = chance.choice([SMALL, LARGE, {"session-new-12345678": SMALL["session"]}])
    name = chance.choice(list(cookies))
    return cookie_header({**cookies, name: change(cookies[name])})


def random_position(chance: random.Random, value: str) -> int:
    """A position in the sealed text: behind the count of parts, and not the last character."""
    return chance.randrange(2, len(value) - 1)


def one_character_changed(chance: random.Random) -> str:
    def change(value: str) -> str:
        at = random_position(chance, value)
        return value[:at] + chance.choice(TOKEN_ALPHABET.replace(value[at], "")) + value[at + 1 :]

    return change_value(chance, change)


def truncated(chance: random.Random) -> str:
    return change_value(chance, lambda value: value[: chance.randrange(len(value))])


def beginning_removed(chance: random.Random) -> str:
    return change_value(chance, lambda value: value[chance.randrange(1, len(value)) :])


def lengthened(chance: random.Random) -> str:
    more = "".join(chance.choices(TOKEN_ALPHABET, k=chance.randrange(1, 40)))
    return change_value(chance, lambda value: chance.choice([value + more, more + value, value + "=" * len(more)]))


def sealed_for_another_purpose(chance: random.Random) -> str:
    session = a_session(chance.choice([600, 12_000]), seed=chance.randrange(10**6))
    plain = open_sealed(Purpose.COOKIE, session.seal_for_cookie())
    context = chance.choice([b"", session.id.bytes + session.secret])
    sealed = seal(chance.choice([Purpose.RECORD, Purpose.SESSION_UPDATE]), plain, context=context)
    return cookie_header({"session": chance.choice([sealed, session.seal_for_record(), session.seal_for_update()])})


def sealed_with_an_unknown_key(chance: random.Random) -> str:
    with override_settings(API_SESSION_KEYS=[random_token(48, chance.randrange(10**6))]):
        return cookie_header(jar_with(a_session(chance.choice([600, 12_000])), replacing=chance.random() < 0.5).send())


def huge(chance: random.Random) -> str:
    size = chance.randrange(8_000, 100_000)
    return change_value(
        chance, lambda value: chance.choice([value + "A" * size, "A" * size, "." * size, "9." + "A" * size])
    )


def non_ascii(chance: random.Random) -> str:
    strange = chance.choice(["é", "王", "🦭", "\u200b", "\ufeff", "\uff21", "\udcff", "\udc80\udc80", "İ"])

    def change(value: str) -> str:
        at = random_position(chance, value)
        return value[:at] + strange + value[at + chance.randrange(2) :]

    return change_value(chance, change)


def control_characters(chance: random.Random) -> str:
    strange = chance.choice([chr(code) for code in range(0x20)] + ["\x7f", " ", '"', "\\", ",", "\\054", "%00"])

    def change(value: str) -> str:
        at = random_position(chance, value)
        return value[:at] + strange + value[at + chance.randrange(2) :]

    return change_value(chance, change)


def wrong_part_count(chance: random.Random) -> str:
    cookies = chance.choice([SMALL, LARGE])
    value = cookies["session"].removeprefix("4.")
    count = chance.choice(COUNTS)
    return cookie_header({**cookies, "session": chance.choice([f"{count}.{value}", f"{count}.", count or "."])})


def missing_part(chance: random.Random) -> str:
    missing = chance.sample(list(LARGE), chance.randrange(1, len(LARGE)))
    return cookie_header({name: value for name, value in LARGE.items() if name not in missing})


def part_of_another_session(chance: random.Random) -> str:
    foreign = chance.sample(list(LARGE), chance.randrange(1, len(LARGE)))
    return cookie_header({name: (OTHER if name in foreign else LARGE)[name] for name in LARGE})


DAMAGES: list[Damage] = [
    one_character_changed,
    truncated,
    beginning_removed,
    lengthened,
    sealed_for_another_purpose,
    sealed_with_an_unknown_key,
    huge,
    non_ascii,
    control_characters,
    wrong_part_count,
    missing_part,
    part_of_another_session,
]
EACH = 84
by_damage = pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)


def damaged_headers(damage: Damage) -> Iterator[str]:
    chance = random.Random(damage.__name__)
    return (damage(chance) for _ in range(EACH))


class TestDamagedCookies:
    def test_there_are_at_least_a_thousand(self) -> None:
        assert EACH * len(DAMAGES) >= 1000

    @pytest.mark.django_db
    @pytest.mark.parametrize(
        "cookies", [SMALL, LARGE, {"session-new-12345678": SMALL["session"]}], ids=["one", "parts", "copy"]
    )
    def test_an_undamaged_cookie_signs_in(self, cookies: dict[str, str]) -> None:
        response = Browser().get("/accounts/session/", HTTP_COOKIE=cookie_header(cookies))

        assert b'"authenticated": true' in response.content

    @by_damage
    def test_a_damaged_cookie_signs_nobody_in_and_is_not_changed(self, damage: Damage) -> None:
        browser = Browser()

        for sent in damaged_headers(damage):
            response = browser.get("/accounts/session/", HTTP_COOKIE=sent)

            assert response.status_code == 200, sent
            assert b'"authenticated": false, "user": null' in response.content, sent
            assert not cookies_set(response), sent

    @by_damage
    def test_the_protected_page_redirects_to_the_sign_in_page(self, damage: Damage) -> None:
        browser = Browser()

        for sent in list(damaged_headers(damage))[::8]:
            response = browser.get("/protected/", HTTP_COOKIE=sent)

            assert response.status_code == 302, sent
            assert response["Location"] == "/accounts/login/?next=%2Fprotected%2F"
            assert not cookies_set(response), sent
