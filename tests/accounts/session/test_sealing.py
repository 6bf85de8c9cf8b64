"""A sealed text opens only for its own purpose and context, and not after any change."""

import base64

import pytest
from django.test import override_settings
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from pytest_django import Settings

from accounts.session.sealing import CannotOpen, Purpose, open_sealed, seal

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
NEWEST, OLDER, OLDEST, FOREIGN = (f"{name}-key-of-the-ring-" + "x" * 32 for name in ("newest", "older", "oldest", "no"))

purposes = st.sampled_from(Purpose)
contexts = st.binary(max_size=48)
contents = st.binary(max_size=300)


def opens(purpose: Purpose, text: str, *, context: bytes = b"") -> bool:
    """Whether `text` opens. Any exception other than CannotOpen is a defect and is raised."""
    try:
        open_sealed(purpose, text, context=context)
    except CannotOpen:
        return False
    return True


class TestRoundTrip:
    @effort(deadline=None, max_examples=200)
    @given(data=contents, purpose=purposes, context=contexts)
    def test_what_was_sealed_opens(self, data: bytes, purpose: Purpose, context: bytes) -> None:
        assert open_sealed(purpose, seal(purpose, data, context=context), context=context) == data

    @pytest.mark.parametrize("size", [0, 1, 2, 3, 4096, 1_000_000])
    def test_size_does_not_matter(self, size: int) -> None:
        data = bytes(index % 251 for index in range(size))

        assert open_sealed(Purpose.COOKIE, seal(Purpose.COOKIE, data)) == data

    def test_the_text_needs_no_escaping_in_cookies_and_attributes(self) -> None:
        assert set(seal(Purpose.COOKIE, bytes(range(256)))) <= set(ALPHABET)

    def test_the_same_data_gives_a_different_text_each_time(self) -> None:
        assert len({seal(Purpose.COOKIE, b"data") for _ in range(100)}) == 100

    def test_the_data_is_not_in_the_text(self) -> None:
        text = seal(Purpose.COOKIE, b"a refresh token")

        assert b"refresh" not in base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class TestPurposeAndContext:
    @pytest.mark.parametrize("purpose", Purpose)
    @pytest.mark.parametrize("other", Purpose)
    def test_a_text_of_another_purpose_does_not_open(self, purpose: Purpose, other: Purpose) -> None:
        assert opens(other, seal(purpose, b"data")) == (purpose is other)

    @effort(deadline=None, max_examples=200)
    @given(purpose=purposes, context=contexts, other=contexts)
    def test_a_text_of_another_context_does_not_open(self, purpose: Purpose, context: bytes, other: bytes) -> None:
        assert opens(purpose, seal(purpose, b"data", context=context), context=other) == (context == other)

    @pytest.mark.parametrize(
        ("context", "other"),
        [(b"", b"\0"), (b"ab", b"a"), (b"ab", b"ba"), (b"a", b"A"), (b"", b"session cookie")],
        ids=["none", "shorter", "turned round", "another case", "the purpose's name"],
    )
    def test_similar_contexts_are_different(self, context: bytes, other: bytes) -> None:
        text = seal(Purpose.RECORD, b"data", context=context)

        assert not opens(Purpose.RECORD, text, context=other)
        assert opens(Purpose.RECORD, text, context=context)


class TestDamage:
    def test_no_character_can_be_exchanged_for_another(self) -> None:
        text = seal(Purpose.COOKIE, b"data")

        for position, character in enumerate(text):
            for other in ALPHABET.replace(character, ""):
                assert not opens(Purpose.COOKIE, text[:position] + other + text[position + 1 :]), (position, other)

    @pytest.mark.parametrize("more", ["!!!!", "    ", "\n\n\n\n", "====", "++++", "////", "!", "!!", "!!!"])
    def test_nothing_can_be_put_in_between(self, more: str) -> None:
        """A lenient decoder ignores characters that are not base64, so one session would have many texts."""
        text = seal(Purpose.COOKIE, b"data" * 10)

        for position in range(len(text) + 1):
            assert not opens(Purpose.COOKIE, text[:position] + more + text[position:]), position

    def test_no_end_can_be_cut_off(self) -> None:
        text = seal(Purpose.COOKIE, b"data" * 10)

        assert not any(opens(Purpose.COOKIE, text[:length]) for length in range(len(text)))
        assert not any(opens(Purpose.COOKIE, text[start:]) for start in range(1, len(text)))

    @effort(deadline=None, max_examples=300)
    @given(data=contents, position=st.integers(0, 10_000), inserted=st.text(min_size=1, max_size=8))
    def test_nothing_can_be_inserted_or_appended(self, data: bytes, position: int, inserted: str) -> None:
        text = seal(Purpose.COOKIE, data)
        position = min(position, len(text))

        assert not opens(Purpose.COOKIE, text[:position] + inserted + text[position:])

    @effort(deadline=None, max_examples=300)
    @given(data=contents, position=st.integers(0, 10_000), other=st.characters())
    def test_no_character_can_be_replaced_by_any_of_unicode(self, data: bytes, position: int, other: str) -> None:
        text = seal(Purpose.COOKIE, data)
        position %= len(text)

        changed = text[:position] + other + text[position + 1 :]

        assert opens(Purpose.COOKIE, changed) == (changed == text)

    @effort(deadline=None, max_examples=200)
    @given(first=contents, second=contents, cut=st.integers(1, 10_000))
    def test_two_texts_cannot_be_joined(self, first: bytes, second: bytes, cut: int) -> None:
        one, other = seal(Purpose.COOKIE, first), seal(Purpose.COOKIE, second)
        joined = one[: cut % len(one)] + other[cut % len(one) :]

        # The first few characters, version and key id, are the same in both.
        assert opens(Purpose.COOKIE, joined) == (joined in (one, other))

    @effort(deadline=None, max_examples=500)
    @given(text=st.one_of(st.text(), st.text(alphabet=ALPHABET, max_size=200), st.text(alphabet="-_A.=\0 \ud800é")))
    def test_random_text_does_not_open(self, text: str) -> None:
        assert not opens(Purpose.COOKIE, text)

    @pytest.mark.parametrize("version", [0, 2, 255])
    def test_another_version_does_not_open(self, version: int) -> None:
        text = seal(Purpose.COOKIE, b"data" * 3)
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

        changed = base64.urlsafe_b64encode(bytes([version]) + raw[1:]).decode().rstrip("=")

        assert not opens(Purpose.COOKIE, changed)

    def test_the_error_does_not_contain_the_text(self) -> None:
        text = seal(Purpose.COOKIE, b"data")

        with pytest.raises(CannotOpen) as caught:
            open_sealed(Purpose.SESSION_UPDATE, text)

        assert str(caught.value) == ""


class TestOneTextForOneMeaning:
    """Base64 decoders are lenient: many texts decode to the same bytes. Only one of them may open."""

    @pytest.mark.parametrize("data", [b"", b"x"], ids=["four spare bits", "two spare bits"])
    def test_other_trailing_bits_do_not_open(self, data: bytes) -> None:
        text = seal(Purpose.COOKIE, data)
        padding = "=" * (-len(text) % 4)
        assert padding
        same_bytes = [
            text[:-1] + other
            for other in ALPHABET.replace(text[-1], "")
            if base64.urlsafe_b64decode(text[:-1] + other + padding) == base64.urlsafe_b64decode(text + padding)
        ]

        assert len(same_bytes) == {1: 3, 2: 15}[len(padding)]
        assert not any(opens(Purpose.COOKIE, changed) for changed in same_bytes)

    @pytest.mark.parametrize("data", [b"", b"x", b"xx"], ids=["two missing", "one missing", "none missing"])
    @pytest.mark.parametrize("padding", ["=", "==", "===", "===="])
    def test_padding_does_not_open(self, data: bytes, padding: str) -> None:
        assert not opens(Purpose.COOKIE, seal(Purpose.COOKIE, data) + padding)

    @pytest.mark.parametrize("space", [" ", "\n", "\r\n", "\t", "\0", "\v", "\u00a0", "\u200b", "\ufeff"])
    @pytest.mark.parametrize("place", ["before", "within", "after"])
    def test_whitespace_does_not_open(self, space: str, place: str) -> None:
        text = seal(Purpose.COOKIE, b"data")
        at = {"before": 0, "within": len(text) // 2, "after": len(text)}[place]

        assert not opens(Purpose.COOKIE, text[:at] + space + text[at:])

    @pytest.mark.parametrize(("ours", "theirs"), [("-", "+"), ("_", "/")])
    def test_the_other_base64_alphabet_does_not_open(self, ours: str, theirs: str) -> None:
        text = next(text for _ in range(1000) if ours in (text := seal(Purpose.COOKIE, b"data" * 40)))

        assert opens(Purpose.COOKIE, text)
        assert not opens(Purpose.COOKIE, text.replace(ours, theirs))


class TestKeyRing:
    def test_old_keys_of_the_ring_still_open(self, settings: Settings) -> None:
        texts = []
        for key in (OLDEST, OLDER, NEWEST):
            settings.API_SESSION_KEYS = [key]
            texts.append(seal(Purpose.COOKIE, key.encode()))

        settings.API_SESSION_KEYS = [NEWEST, OLDER, OLDEST]

        assert [open_sealed(Purpose.COOKIE, text) for text in texts] == [
            key.encode() for key in (OLDEST, OLDER, NEWEST)
        ]

    def test_the_newest_key_seals(self, settings: Settings) -> None:
        settings.API_SESSION_KEYS = [NEWEST, OLDER]
        text = seal(Purpose.COOKIE, b"data")

        settings.API_SESSION_KEYS = [OLDER]
        assert not opens(Purpose.COOKIE, text)
        settings.API_SESSION_KEYS = [NEWEST]
        assert opens(Purpose.COOKIE, text)

    def test_a_removed_key_opens_nothing(self, settings: Settings) -> None:
        settings.API_SESSION_KEYS = [NEWEST, OLDER, OLDEST]
        settings.API_SESSION_KEYS = [OLDER]
        text = seal(Purpose.COOKIE, b"data")

        settings.API_SESSION_KEYS = [NEWEST, OLDEST]

        assert not opens(Purpose.COOKIE, text)

    @effort(deadline=None, max_examples=100)
    @given(data=contents, purpose=purposes, other=st.text(st.characters(codec="utf-8"), min_size=1, max_size=64))
    def test_no_other_key_opens(self, data: bytes, purpose: Purpose, other: str) -> None:
        with override_settings(API_SESSION_KEYS=[FOREIGN]):
            text = seal(purpose, data)

        with override_settings(API_SESSION_KEYS=[other, NEWEST]):
            assert opens(purpose, text) == (other == FOREIGN)

    def test_a_key_that_is_twice_in_the_ring_does_no_harm(self, settings: Settings) -> None:
        settings.API_SESSION_KEYS = [NEWEST, NEWEST]
        text = seal(Purpose.COOKIE, b"data")

        assert open_sealed(Purpose.COOKIE, text) == b"data"
        assert not opens(Purpose.COOKIE, text[:-6] + "AAAAAA")

    def test_without_session_keys_the_ring_is_djangos_secret_key_and_its_fallbacks(self, settings: Settings) -> None:
        settings.API_SESSION_KEYS = []
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = OLDER, []
        text = seal(Purpose.COOKIE, b"data")

        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = NEWEST, [OLDER]
        assert open_sealed(Purpose.COOKIE, text) == b"data"
        settings.SECRET_KEY_FALLBACKS = []
        assert not opens(Purpose.COOKIE, text)
