"""What the deferred-update endpoint refuses: a refused request never changes the cookie."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from django.http import HttpResponse

from accounts.models import EndReason, SessionRecord
from accounts.rotation.ending import end_session
from accounts.session.api_session import SESSION_UPDATE_SECONDS
from tests.accounts.rotation.clocks import movable_clock
from tests.accounts.session_updates import ENDPOINT, assert_refused, flip_bit, post, post_raw, session_update
from tests.browsers import ADA, GRACE, Browser, records_away
from tests.demo_api.server import DemoApi

TIMES = {
    "a moment too late": SESSION_UPDATE_SECONDS + 1,
    "a day too late": 86_400.0,
    "long before": -SESSION_UPDATE_SECONDS - 1,
}

#: The position of each part in the sealed bytes.
REGIONS = {
    "the version": 0,
    "the key id": 1,
    "the salt": 5,
    "the nonce": 21,
    "the first byte of the ciphertext": 33,
    "the last byte before the tag": -17,
    "the tag": -16,
    "the last byte": -1,
}

CHANGES: dict[str, Callable[[str], str]] = {
    "one character less": lambda text: text[:-1],
    "four characters less": lambda text: text[:-4],
    "the first half": lambda text: text[: len(text) // 2],
    "the header alone": lambda text: text[:44],
    "without its beginning": lambda text: text[4:],
    "nothing": lambda text: "",
    "an extra letter": lambda text: f"{text}A",
    "padding": lambda text: f"{text}=",
    "a space before": lambda text: f" {text}",
    "a line end": lambda text: f"{text}\n",
    "the other alphabet": lambda text: text.replace("-", "+").replace("_", "/") + "+",
    "capitals": str.upper,
    "twice": lambda text: text + text,
    "not ASCII": lambda text: text[:-1] + "é",
    "half a surrogate pair": lambda text: text + "\ud800",
    "a NUL": lambda text: f"{text}\0",
    "a count of parts": lambda text: f"2.{text}",
}

BODIES: dict[str, Callable[[str], bytes]] = {
    "an empty body": lambda text: b"",
    "the update alone": lambda text: text.encode(),
    "half a JSON text": lambda text: json.dumps({"session": text}).encode()[:-1],
    "not UTF-8": lambda text: b"\xff\xfe\xff",
    "a list": lambda text: json.dumps([text]).encode(),
    "a list of an object": lambda text: json.dumps([{"session": text}]).encode(),
    "a string": lambda text: json.dumps(text).encode(),
    "null": lambda text: b"null",
    "a number": lambda text: b"7",
    "an object without it": lambda text: b"{}",
    "another key": lambda text: json.dumps({"Session": text}).encode(),
    "a number as the session": lambda text: b'{"session": 7}',
    "null as the session": lambda text: b'{"session": null}',
    "a list as the session": lambda text: json.dumps({"session": [text]}).encode(),
    "an object as the session": lambda text: json.dumps({"session": {"session": text}}).encode(),
    "nested too deep": lambda text: b"[" * 20_000,
    "a number with too many digits": lambda text: b'{"session": ' + b"9" * 20_000 + b"}",
    "too large": lambda text: json.dumps({"session": text}).encode() + b" " * 40_000,
    "a form": lambda text: f"session={text}".encode(),
}


class TestRefused:
    @pytest.mark.parametrize("at", REGIONS.values(), ids=REGIONS)
    def test_a_text_with_one_bit_changed(self, signed_in: Browser, api: DemoApi, at: int) -> None:
        assert_refused(post(signed_in, flip_bit(session_update(signed_in, api), at)))

        assert signed_in.session().generation == 0

    @pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
    def test_a_changed_text(self, signed_in: Browser, api: DemoApi, change: Callable[[str], str]) -> None:
        assert_refused(post(signed_in, change(session_update(signed_in, api))))

        assert signed_in.session().generation == 0
        assert signed_in.is_signed_in()

    @pytest.mark.parametrize("make", BODIES.values(), ids=BODIES)
    def test_a_body_that_is_no_json_object_with_an_update(
        self, signed_in: Browser, api: DemoApi, make: Callable[[str], bytes]
    ) -> None:
        assert_refused(post_raw(signed_in, make(session_update(signed_in, api))))

        assert signed_in.session().generation == 0
        assert signed_in.is_signed_in()

    @pytest.mark.parametrize(
        ("make", "why"),
        [
            (BODIES["half a JSON text"], "the body is not JSON"),
            (BODIES["too large"], "the body is too large"),
            (BODIES["an object without it"], "the body contains no session"),
            (lambda text: json.dumps({"session": text[:-1]}).encode(), "it cannot be decrypted, or is too old"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_the_log_says_why(
        self,
        signed_in: Browser,
        api: DemoApi,
        caplog: pytest.LogCaptureFixture,
        make: Callable[[str], bytes],
        why: str,
    ) -> None:
        assert_refused(post_raw(signed_in, make(session_update(signed_in, api))))

        assert f"a session update was refused: {why}" in caplog.messages

    @pytest.mark.parametrize("kind", ["multipart/form-data", "application/x-www-form-urlencoded"])
    def test_a_form(self, signed_in: Browser, api: DemoApi, caplog: pytest.LogCaptureFixture, kind: str) -> None:
        fields = {"session": session_update(signed_in, api)}
        if kind == "multipart/form-data":
            response: HttpResponse = signed_in.post(ENDPOINT, fields)
        else:
            response = signed_in.post(ENDPOINT, f"session={fields['session']}", content_type=kind)

        assert_refused(response)
        assert "a session update was refused: the body is not JSON" in caplog.messages

    @pytest.mark.parametrize("kind", ["multipart/form-data", "application/x-www-form-urlencoded"])
    def test_a_form_with_its_csrf_token(self, signed_in: Browser, api: DemoApi, kind: str) -> None:
        """The CSRF check reads the whole form body, so the view finds nothing to parse."""
        text = session_update(signed_in, api)
        strict = Browser(signed_in.take(), csrf_checks=True)
        fields = {"session": text, "csrfmiddlewaretoken": strict.take()["csrftoken"]}
        if kind == "multipart/form-data":
            response: HttpResponse = strict.post(ENDPOINT, fields)
        else:
            body = "&".join(f"{name}={value}" for name, value in fields.items())
            response = strict.post(ENDPOINT, body, content_type=kind)

        assert_refused(response)

    def test_a_length_that_is_no_number(self, signed_in: Browser, api: DemoApi) -> None:
        """Some WSGI servers pass an invalid Content-Length on."""
        assert_refused(post(signed_in, session_update(signed_in, api), CONTENT_LENGTH="many"))

    def test_a_text_sealed_for_another_purpose(self, signed_in: Browser, api: DemoApi) -> None:
        session_update(signed_in, api)
        another_tab = signed_in.copy()
        another_tab.open_page()

        for text in (
            signed_in.take()["session"],
            another_tab.take()["session"],
            signed_in.record().sealed,
            another_tab.session().seal_for_record(),
        ):
            assert_refused(post(signed_in, text))
        assert signed_in.session().generation == 0

    def test_an_update_does_not_work_as_a_cookie(self, signed_in: Browser, api: DemoApi) -> None:
        thief = Browser({"session": session_update(signed_in, api)})

        assert thief.open_page().status_code == 302

    @pytest.mark.parametrize("user", [GRACE, ADA], ids=["another user", "the same user, signed in once more"])
    def test_the_update_of_another_session(
        self, signed_in: Browser, api: DemoApi, caplog: pytest.LogCaptureFixture, user: str
    ) -> None:
        text = session_update(signed_in, api)
        other = Browser()
        other.sign_in(user)
        before = other.take()

        assert_refused(post(other, text))

        why = "it belongs to another session, or is older than the browser's cookie"
        assert f"a session update was refused: {why}" in caplog.messages
        assert other.take() == before
        assert user in other.open_page().text
        assert post(signed_in, text).status_code == 204, "the right browser can still post it"

    def test_the_update_of_another_session_for_an_unconfirmed_cookie(self, signed_in: Browser, api: DemoApi) -> None:
        text = session_update(signed_in, api)
        other = Browser()
        other.sign_in(GRACE)
        api.expire_access_tokens()
        other.open_page()
        assert not other.session().confirmed
        before = other.take()

        assert_refused(post(other, text))

        assert other.take() == before
        assert other.is_signed_in()

    def test_an_older_generation_than_the_browser_has(self, signed_in: Browser, api: DemoApi) -> None:
        late = session_update(signed_in, api)
        signed_in.open_page()
        api.expire_access_tokens()
        signed_in.open_page()
        assert signed_in.session().generation == 2
        signed_in.open_page()
        before = signed_in.take()

        assert_refused(post(signed_in, late))

        assert signed_in.take() == before
        assert signed_in.is_signed_in()

    @pytest.mark.parametrize("seconds", TIMES.values(), ids=TIMES)
    def test_an_update_from_another_time(self, signed_in: Browser, api: DemoApi, seconds: float) -> None:
        with movable_clock() as clock:
            text = session_update(signed_in, api)
            clock.ahead = seconds

            assert_refused(post(signed_in, text))

        assert signed_in.session().generation == 0

    def test_the_last_moment_is_accepted(self, signed_in: Browser, api: DemoApi) -> None:
        with movable_clock() as clock:
            text = session_update(signed_in, api)
            clock.ahead = SESSION_UPDATE_SECONDS - 30

            assert post(signed_in, text).status_code == 204

    def test_an_update_for_a_browser_without_a_session(self, signed_in: Browser, api: DemoApi) -> None:
        text = session_update(signed_in, api)

        for cookies in ({}, {"session": "junk"}, {"session": text}):
            assert_refused(post(Browser(cookies), text))

    def test_an_update_of_an_ended_session(
        self, signed_in: Browser, api: DemoApi, caplog: pytest.LogCaptureFixture
    ) -> None:
        text = session_update(signed_in, api)
        end_session(signed_in.session().id, EndReason.REVOKED)

        assert_refused(post(signed_in, text))

        assert "a session update was refused: its session is over" in caplog.messages
        assert signed_in.session().generation == 0

    def test_an_update_of_an_ended_session_for_an_unconfirmed_cookie(self, signed_in: Browser, api: DemoApi) -> None:
        text = session_update(signed_in, api)
        signed_in.put({**signed_in.take(), "session": replace(signed_in.session(), confirmed=False).seal_for_cookie()})
        end_session(signed_in.session().id, EndReason.REVOKED)

        assert_refused(post(signed_in, text))

    def test_nothing_newer_while_the_database_is_unavailable(self, signed_in: Browser, api: DemoApi) -> None:
        """Without the record, it is unknown whether the session has ended, and the update brings nothing new."""
        text = session_update(signed_in, api)
        assert post(signed_in, text).status_code == 204

        with records_away():
            assert_refused(post(signed_in, text))

        assert signed_in.is_signed_in()

    def test_an_update_without_a_record(self, signed_in: Browser, api: DemoApi) -> None:
        text = session_update(signed_in, api)
        SessionRecord.objects.all().delete()

        assert_refused(post(signed_in, text))

    def test_an_update_after_sign_out(self, signed_in: Browser, api: DemoApi) -> None:
        text = session_update(signed_in, api)
        cookies = signed_in.take()
        signed_in.sign_out()

        assert_refused(post(signed_in, text))
        assert_refused(post(Browser(cookies), text))
        assert not signed_in.is_signed_in()

    def test_a_copied_cookie_after_its_leeway(self, signed_in: Browser, api: DemoApi) -> None:
        """An attacker who copied an old cookie and a new session update gets no newer session."""
        with movable_clock() as clock:
            thief = signed_in.copy()
            api.expire_access_tokens()
            signed_in.open_page()
            signed_in.open_page()  # confirms generation 1, which retires the copied one
            clock.ahead = 40
            text = session_update(signed_in, api)
            api.forget_calls()

            assert_refused(post(thief, text))

            assert thief.session().generation == 0
