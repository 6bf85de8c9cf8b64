"""What the doctor says of the keys: a key has no date, but the sessions that it sealed have one."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from accounts.doctor.findings import Finding, Status
from accounts.doctor.keys import examine_keys
from accounts.history.events import new_event
from accounts.models import EndReason, EventKind, SessionRecord
from accounts.session.api_session import ApiSession
from accounts.session.sealing import KEY_ID_CHARACTERS, CannotOpen, Purpose, key_ids, seal, sealing_key_id
from accounts.session.tokens import User, receive_pair
from tests.browsers import records_away

NEW, OLD, OLDEST = (f"{name}-key-of-the-ring-" + "0123456789" * 3 for name in ("new", "old", "oldest"))

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _ring(settings: Settings) -> None:
    settings.API_SESSION_KEYS = [NEW, OLD]


def examined() -> dict[str, Finding]:
    return {finding.name.removeprefix("keys."): finding for finding in examine_keys()}


def signed_in(days_ago: float = 0) -> ApiSession:
    """A session that began then, whose cookie alone has its tokens so far."""
    session = ApiSession.begin(User(id=1, name="Ada"), receive_pair("a", "r"))
    SessionRecord.objects.begin(session, address="", user_agent="")
    SessionRecord.objects.filter(pk=session.id).update(signed_in_at=timezone.now() - timedelta(days=days_ago))
    return session


def rotated(settings: Settings, key: str, days_ago: float = 0, *, confirmed: bool = True) -> ApiSession:
    """A session that began thirty days ago, and was last rotated under `key`."""
    session = signed_in(30)
    settings.API_SESSION_KEYS, ring = [key], settings.API_SESSION_KEYS
    assert SessionRecord.objects.store(replace(session, generation=1), new_event(EventKind.ROTATED, session.id))
    settings.API_SESSION_KEYS = ring
    SessionRecord.objects.filter(pk=session.id).update(
        last_rotated_at=timezone.now() - timedelta(days=days_ago), confirmed=1 if confirmed else 0
    )
    return session


class TestRing:
    def test_keys_are_counted_and_not_shown(self) -> None:
        findings = examined()

        assert "2 keys, from API_SESSION_KEYS" in findings["ring"].found
        assert f"Characters: {len(NEW)}, {len(OLD)}." in findings["ring"].found
        assert NEW not in str(findings)
        assert OLD not in str(findings)

    def test_keys_that_come_from_secret_key_say_so(self, settings: Settings) -> None:
        settings.API_SESSION_KEYS = []
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = NEW, [OLD]

        findings = examined()

        assert "SECRET_KEY" in findings["ring"].found
        assert {*findings} == {"ring", "key-1", "key-2"}
        assert "SECRET_KEY_FALLBACKS" in findings["key-2"].advice


class TestUse:
    def test_how_long_the_first_key_has_been_seen_at_work(self, settings: Settings) -> None:
        rotated(settings, NEW, days_ago=3)
        rotated(settings, NEW, days_ago=1)

        finding = examined()["key-1"]

        since = timezone.now() - timedelta(days=3)
        assert "2 active sessions" in finding.found
        assert f"{since:%Y-%m-%d}" in finding.found

    def test_a_former_key_that_still_seals_sessions_is_to_stay(self, settings: Settings) -> None:
        rotated(settings, NEW)
        rotated(settings, OLD, days_ago=2)

        finding = examined()["key-2"]

        assert finding.status is Status.OK
        assert "1 active session" in finding.found
        assert "Keep it" in finding.advice

    def test_one_that_nobody_needs_can_go(self, settings: Settings) -> None:
        rotated(settings, NEW, days_ago=3)
        signed_in(days_ago=1)

        assert "Remove it" in examined()["key-2"].advice

    def test_a_session_from_before_the_new_key_that_never_rotated_may_need_the_old_one(
        self, settings: Settings
    ) -> None:
        rotated(settings, NEW, days_ago=3)
        signed_in(days_ago=10)

        finding = examined()["key-2"]

        assert "1 active session may still have a cookie" in finding.found
        assert "Keep it" in finding.advice

    def test_so_may_one_whose_browser_was_not_seen_since_its_rotation(self, settings: Settings) -> None:
        rotated(settings, NEW, days_ago=3, confirmed=False)

        assert "Keep it" in examined()["key-2"].advice

    def test_as_long_as_the_new_key_was_not_seen_at_work_any_may(self) -> None:
        signed_in()

        assert "Keep it" in examined()["key-2"].advice

    def test_ended_and_expired_sessions_need_no_key(self, settings: Settings) -> None:
        ended, expired = rotated(settings, OLD), rotated(settings, OLDEST)
        SessionRecord.objects.end(ended.id, EndReason.REVOKED)
        SessionRecord.objects.filter(pk=expired.id).update(expires_at=timezone.now() - timedelta(minutes=1))

        findings = examined()

        assert "Remove it" in findings["key-2"].advice
        assert "missing" not in findings

    def test_sessions_under_a_key_that_is_gone_are_a_problem(self, settings: Settings) -> None:
        rotated(settings, OLDEST)
        rotated(settings, OLDEST)
        rotated(settings, OLD)
        settings.API_SESSION_KEYS = [OLDEST]
        (id_,) = key_ids()
        settings.API_SESSION_KEYS = [NEW, OLD]

        finding = examined()["missing"]

        assert finding.status is Status.PROBLEM
        assert "2 active sessions" in finding.found
        assert id_ in finding.found

    def test_what_no_key_can_have_sealed_is_one_too(self) -> None:
        SessionRecord.objects.filter(pk=signed_in().id).update(sealed="by hand")

        assert "of no known kind" in examined()["missing"].found

    def test_without_the_records_only_the_ring_is_known(self) -> None:
        with records_away():
            findings = examined()

        assert {name: finding.status for name, finding in findings.items()} == {
            "ring": Status.OK,
            "use": Status.UNKNOWN,
        }


class TestIdOfASealedText:
    def test_it_is_the_id_of_the_key_that_sealed_it(self, settings: Settings) -> None:
        for key in (NEW, OLD, OLDEST):
            settings.API_SESSION_KEYS = [key]

            # Its last bits are random: those of the salt.
            assert {sealing_key_id(seal(Purpose.RECORD, b"")) for _ in range(20)} == {*key_ids()}

    def test_an_id_may_hold_what_base64_and_base64url_write_differently(self, settings: Settings) -> None:
        """The characters for 62 and 63. One key in five has one of them in the text of its id."""
        odd = []
        for number in range(200):
            settings.API_SESSION_KEYS = [f"key number {number:03} of the many that are tried here"]
            text = seal(Purpose.RECORD, b"")
            if {"-", "_"} & set(text[:KEY_ID_CHARACTERS]):
                odd.append((sealing_key_id(text), *key_ids()))

        assert odd
        assert all(read == known for read, known in odd)

    @pytest.mark.parametrize("text", ["", "AQ", "by hand", "AQAAAA", "AQAAAA!", "\u00fc" * 7, "AgAAAAA"])
    def test_any_other_text_has_none(self, text: str) -> None:
        with pytest.raises(CannotOpen):
            sealing_key_id(text)
