"""Sessions survive sealing, open only with the cookie of their own browser, and do not show in a repr."""

import dataclasses
import json
import struct
import time
import zlib
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from pytest_django import Settings

from accounts.dialects.base import Refreshed, SignedIn
from accounts.dialects.token_pair import TokenPairDialect
from accounts.models import SessionRecord
from accounts.rotation.rotate import Rotated, RotationOutcome
from accounts.session.api_session import ApiSession
from accounts.session.sealing import CannotOpen, Purpose, open_sealed, seal
from accounts.session.tokens import TokenPair, User
from accounts.upstream.calls import ApiAnswer, ApiCall

ACCESS, REFRESH, SECRET = "access-secret-1", "refresh-secret-2", b"cookie-secret-16"

texts = st.text(st.characters(codec="utf-8"), max_size=60)
token_texts = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=3000)
times = st.floats(min_value=0, max_value=1e11)
sessions = st.builds(
    ApiSession,
    id=st.uuids(),
    secret=st.binary(min_size=16, max_size=16),
    user=st.builds(User, id=st.integers() | texts, name=texts, email=texts),
    tokens=st.builds(
        TokenPair,
        access=token_texts,
        refresh=token_texts,
        received_at=times,
        access_expires_at=st.none() | times,
        refresh_expires_at=st.none() | times,
        rejected_at=st.none() | times,
        refresh_is_final=st.booleans(),
        dpop_key=st.just("") | token_texts,
    ),
    generation=st.integers(0, 2**62),
    confirmed=st.booleans(),
    signed_in_at=times,
)


def a_pair(access: str = ACCESS, refresh: str = REFRESH) -> TokenPair:
    return TokenPair(
        access=access, refresh=refresh, received_at=1000.25, access_expires_at=1300.5, refresh_expires_at=8200.75
    )


@pytest.fixture
def session() -> ApiSession:
    return ApiSession(
        id=uuid4(),
        secret=SECRET,
        user=User(id=7, name="Ada", email="ada@example.com"),
        tokens=a_pair(),
        generation=3,
        confirmed=True,
        signed_in_at=900.125,
    )


def opens(text: str) -> bool:
    """Whether a cookie of `text` opens. Any exception other than CannotOpen is a defect and is raised."""
    try:
        ApiSession.open_cookie(text)
    except CannotOpen:
        return False
    return True


class TestRoundTrip:
    @effort(deadline=None, max_examples=150)
    @given(session=sessions)
    def test_through_the_cookie(self, session: ApiSession) -> None:
        assert ApiSession.open_cookie(session.seal_for_cookie()) == session

    @effort(deadline=None, max_examples=75)
    @given(session=sessions)
    def test_through_the_record(self, session: ApiSession) -> None:
        assert session.open_record(session.seal_for_record()) == session

    @pytest.mark.parametrize(
        "changed",
        [
            {"generation": 0},
            {"generation": 10**12},
            {"confirmed": False},
            {
                "tokens": TokenPair(
                    access="a", refresh="r", received_at=0.0, access_expires_at=None, refresh_expires_at=1
                )
            },
            {
                "tokens": TokenPair(
                    access="a", refresh="r", received_at=0.0, access_expires_at=1, refresh_expires_at=None
                )
            },
            {"tokens": a_pair("x" * 6000, "y" * 6000)},
            {"tokens": a_pair("\"\\{}[],:'", "<>&;=")},
            {"user": User(id="идент-7", name="Zoë Ångström 王小明 🦭", email="zoë@example.com")},
            {"user": User(id="", name="")},
            {"secret": bytes(16)},
            {"secret": bytes(range(240, 256))},
            {"id": UUID(int=0)},
        ],
        ids=[
            "first generation",
            "late generation",
            "not confirmed",
            "access expiry unknown",
            "refresh expiry unknown",
            "6 KB tokens",
            "tokens of JSON's own characters",
            "names of any script",
            "no name",
            "secret of zeros",
            "secret of high bytes",
            "id of zeros",
        ],
    )
    def test_nothing_is_lost(self, session: ApiSession, changed: dict[str, object]) -> None:
        session = dataclasses.replace(session, **changed)  # type: ignore[arg-type]

        opened = ApiSession.open_cookie(session.seal_for_cookie())

        assert opened == session
        assert type(opened.user.id) is type(session.user.id)
        assert session.open_record(session.seal_for_record()) == session

    def test_large_tokens_are_deflated(self, session: ApiSession) -> None:
        large = dataclasses.replace(session, tokens=a_pair("x" * 6000, "y" * 6000))

        assert len(large.seal_for_cookie()) < 1000


class TestWhoCanOpenIt:
    def test_a_records_copy_opens_only_with_the_secret_of_its_own_cookie(self, session: ApiSession) -> None:
        copy = session.seal_for_record()
        newer = session.rotated(a_pair("a1", "r1"))

        assert newer.open_record(copy) == session
        for stranger in (
            dataclasses.replace(session, secret=b"another-secret-1"),
            dataclasses.replace(session, id=uuid4()),
            ApiSession.begin(session.user, session.tokens),
        ):
            with pytest.raises(CannotOpen):
                stranger.open_record(copy)

    def test_a_records_copy_does_not_open_as_a_cookie(self, session: ApiSession) -> None:
        assert not opens(session.seal_for_record())

    def test_a_cookie_does_not_open_as_a_records_copy(self, session: ApiSession) -> None:
        with pytest.raises(CannotOpen):
            session.open_record(session.seal_for_cookie())

    @pytest.mark.parametrize("copy", ["", "x", "not a copy", "é", "\ud800"], ids=ascii)
    def test_a_damaged_copy_does_not_open(self, session: ApiSession, copy: str) -> None:
        with pytest.raises(CannotOpen):
            session.open_record(copy)

    def test_an_old_key_still_opens_and_a_removed_one_does_not(self, session: ApiSession, settings: Settings) -> None:
        old, new = "o" * 48, "n" * 48
        settings.API_SESSION_KEYS = [old]
        text = session.seal_for_cookie()

        settings.API_SESSION_KEYS = [new, old]
        assert ApiSession.open_cookie(text) == session
        settings.API_SESSION_KEYS = [new]
        assert not opens(text)


class TestSessionUpdate:
    @effort(deadline=None, max_examples=50)
    @given(session=sessions)
    def test_it_opens_unchanged(self, session: ApiSession) -> None:
        assert ApiSession.open_update(session.seal_for_update()) == session

    def test_it_does_not_open_as_a_cookie_or_as_a_records_copy(self, session: ApiSession) -> None:
        session_update = session.seal_for_update()

        assert not opens(session_update)
        with pytest.raises(CannotOpen):
            session.open_record(session_update)

    def test_a_cookie_and_a_records_copy_do_not_open_as_one(self, session: ApiSession) -> None:
        for text in (session.seal_for_cookie(), session.seal_for_record()):
            with pytest.raises(CannotOpen):
                ApiSession.open_update(text)

    @pytest.mark.parametrize(
        ("age", "good"),
        [(0, True), (30, True), (120, False), (1e9, False), (-30, True), (-120, False)],
        ids=["new", "half a minute", "two minutes", "years", "a host ahead", "a host far ahead"],
    )
    def test_it_lasts_for_a_minute(self, session: ApiSession, age: float, good: bool) -> None:
        plain = open_sealed(Purpose.COOKIE, session.seal_for_cookie())
        session_update = seal(Purpose.SESSION_UPDATE, struct.pack(">d", time.time() - age) + plain)

        if good:
            assert ApiSession.open_update(session_update) == session
        else:
            with pytest.raises(CannotOpen):
                ApiSession.open_update(session_update)

    @pytest.mark.parametrize("data", [b"", b"short", struct.pack(">d", 0), b"[" * 20], ids=["none", "cut", "time", "x"])
    def test_another_releases_format_does_not_open(self, data: bytes) -> None:
        with pytest.raises(CannotOpen):
            ApiSession.open_update(seal(Purpose.SESSION_UPDATE, data))


class TestAnotherRelease:
    """A text that another release sealed is authentic, but this release cannot read it."""

    FIELDS = ["0" * 32, "00" * 16, [7, "Ada", ""], ["a", "r", 0.0, None, None], 0, True, 0.0]

    def test_the_present_format_opens(self) -> None:
        assert opens(seal(Purpose.COOKIE, json.dumps(self.FIELDS).encode()))

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"[",
            b"[]",
            b"{}",
            b"null",
            b"[\xff]",
            b"pickle",
            json.dumps([*FIELDS, "more"]).encode(),
            json.dumps(FIELDS[:-1]).encode(),
            json.dumps({"id": "0" * 32}).encode(),
            json.dumps(["no uuid", *FIELDS[1:]]).encode(),
            json.dumps([5, *FIELDS[1:]]).encode(),
            json.dumps([None, *FIELDS[1:]]).encode(),
            json.dumps([[], *FIELDS[1:]]).encode(),
            json.dumps([FIELDS[0], "no hex", *FIELDS[2:]]).encode(),
            json.dumps([FIELDS[0], 5, *FIELDS[2:]]).encode(),
            json.dumps([*FIELDS[:2], ["Ada"], *FIELDS[3:]]).encode(),
            json.dumps([*FIELDS[:2], {"name": "Ada"}, *FIELDS[3:]]).encode(),
            json.dumps([*FIELDS[:2], None, *FIELDS[3:]]).encode(),
            json.dumps([*FIELDS[:3], ["a", "r"], *FIELDS[4:]]).encode(),
            zlib.compress(b"["),
            zlib.compress(json.dumps(FIELDS).encode())[:-5],
            zlib.compress(b"[" + b" " * 10_000_000 + b"]"),
            zlib.compress(json.dumps(FIELDS).encode() + b" " * 17_000_000),
        ],
        ids=[
            "nothing",
            "no JSON",
            "no fields",
            "empty object",
            "null",
            "no text",
            "another format",
            "one field more",
            "one field less",
            "an object",
            "id is no UUID",
            "id a number",
            "id null",
            "id a list",
            "secret no hex",
            "secret a number",
            "user incomplete",
            "user an object",
            "user null",
            "tokens incomplete",
            "deflated nonsense",
            "deflated and cut off",
            "deflated beyond all bounds",
            "deflated with more space than any cookie holds",
        ],
    )
    def test_any_other_format_does_not_open(self, data: bytes) -> None:
        assert not opens(seal(Purpose.COOKIE, data))


class TestGenerations:
    def test_a_sign_in_begins_confirmed_at_generation_0_with_a_new_id_and_a_new_secret(self) -> None:
        user, pair = User(id=7, name="Ada"), a_pair()

        sessions = [ApiSession.begin(user, pair) for _ in range(100)]

        assert len({session.id for session in sessions}) == len({session.secret for session in sessions}) == 100
        assert all(len(session.secret) == 16 for session in sessions)
        assert {(session.generation, session.confirmed) for session in sessions} == {(0, True)}
        assert abs(sessions[0].signed_in_at - time.time()) < 60

    def test_a_sign_in_over_another_session_is_newer_whatever_the_clock_says(self, session: ApiSession) -> None:
        """The clock of the host that wrote the other session may be ahead."""
        older = dataclasses.replace(session, signed_in_at=time.time() + 3600)

        assert ApiSession.begin(session.user, session.tokens, after=older).signed_in_at > older.signed_in_at

    def test_a_rotation_changes_the_pair_and_the_generation_and_nothing_else(self, session: ApiSession) -> None:
        pair = a_pair("a1", "r1")

        assert session.rotated(pair) == dataclasses.replace(session, tokens=pair, generation=4, confirmed=False)

    @pytest.mark.parametrize(
        ("what", "name"), [("session", "generation"), ("tokens", "refresh"), ("user", "name")], ids=lambda name: name
    )
    def test_nothing_can_be_changed_in_place(self, session: ApiSession, what: str, name: str) -> None:
        thing = {"session": session, "tokens": session.tokens, "user": session.user}[what]

        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(thing, name, "other")


class TestRepr:
    """Error pages and logs print the values of variables."""

    @pytest.fixture
    def things(self, session: ApiSession) -> dict[str, object]:
        body = json.dumps({"accessToken": ACCESS, "refreshToken": REFRESH}).encode()
        record = SessionRecord(id=session.id, sealed=session.seal_for_record(), user_name="Ada")
        return {
            "TokenPair": session.tokens,
            "ApiSession": session,
            "ApiCall": ApiCall(method="POST", path="/auth/refresh", json={"refreshToken": REFRESH}),
            "ApiCall of the dialect": TokenPairDialect().refresh(session.tokens),
            "ApiCall of a sign-in": TokenPairDialect().sign_in("ada@example.com", ACCESS),
            "ApiAnswer": ApiAnswer(status=200, headers={"set-cookie": f"token={REFRESH}"}, body=body),
            "Refreshed": Refreshed(session.tokens),
            "SignedIn": SignedIn(session.user, session.tokens),
            "Rotated": Rotated(session, RotationOutcome.MINTED),
            "Rotated, adopted": Rotated(session, RotationOutcome.ADOPTED, record),
        }

    @pytest.mark.parametrize("show", [repr, str, "{0}".format, "{0!r}".format, ascii], ids=["r", "s", "f", "f!r", "a"])
    def test_no_secret_is_printed(self, things: dict[str, object], show: object) -> None:
        assert callable(show)

        for name, thing in things.items():
            text = show([thing]) + show(thing)
            for secret in (ACCESS, REFRESH, repr(SECRET)[2:-1], SECRET.hex()):
                assert secret not in text, name

    def test_other_fields_are_printed(self, session: ApiSession) -> None:
        assert str(session.id) in repr(session)
        assert "generation=3" in repr(session)
        assert "/auth/refresh" in repr(TokenPairDialect().refresh(session.tokens))
