"""The deferred-update endpoint: which hand-offs become the cookie, and that no other text ever does."""

import base64
import json
import re
import secrets
from collections.abc import Callable
from dataclasses import replace

import pytest
from django.http import HttpResponse

from accounts.browser.cookies import MAX_SESSION_BYTES
from accounts.models import EndReason, SessionRecord
from accounts.rotation.ending import end_session
from accounts.session.api_session import SESSION_UPDATE_SECONDS
from tests.accounts.rotation.clocks import movable_clock
from tests.browsers import ADA, GRACE, Browser, cookies_set, records_away
from tests.demo_api.server import DemoApi

ENDPOINT = "/accounts/session/update/"
TIMES = {
    "a moment too late": SESSION_UPDATE_SECONDS + 1,
    "a day too late": 86_400.0,
    "long before": -SESSION_UPDATE_SECONDS - 1,
}

#: Where in the sealed text each part of it lies, in bytes.
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
    "half of it": lambda text: text[: len(text) // 2],
    "its header alone": lambda text: text[:44],
    "its beginning cut off": lambda text: text[4:],
    "nothing": lambda text: "",
    "a letter more": lambda text: f"{text}A",
    "padding": lambda text: f"{text}=",
    "a space before": lambda text: f" {text}",
    "a line end": lambda text: f"{text}\n",
    "the other alphabet": lambda text: text.replace("-", "+").replace("_", "/") + "+",
    "capitals": str.upper,
    "twice": lambda text: text + text,
    "no ASCII": lambda text: text[:-1] + "é",
    "half a surrogate pair": lambda text: text + "\ud800",
    "a NUL": lambda text: f"{text}\0",
    "number of parts": lambda text: f"2.{text}",
}

BODIES: dict[str, Callable[[str], bytes]] = {
    "an empty body": lambda text: b"",
    "the hand-off alone": lambda text: text.encode(),
    "half a JSON text": lambda text: json.dumps({"session": text}).encode()[:-1],
    "no UTF-8": lambda text: b"\xff\xfe\xff",
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
    "nested beyond measure": lambda text: b"[" * 20_000,
    "a number beyond measure": lambda text: b'{"session": ' + b"9" * 20_000 + b"}",
    "more than any session": lambda text: json.dumps({"session": text}).encode() + b" " * 40_000,
    "a form": lambda text: f"session={text}".encode(),
}


def session_update(browser: Browser, api: DemoApi) -> str:
    """A stream's, in whose middle the session rotated. The browser has posted it nowhere."""
    api.expire_access_tokens()
    page = b"".join(browser.get("/protected/stream/?rows=1&delay=0")).decode()
    (text,) = re.findall(r'<session-update session="([^"]+)"', page)
    return str(text)


def post(browser: Browser, text: object, **options: str) -> HttpResponse:
    return post_raw(browser, json.dumps({"session": text}).encode(), **options)


def post_raw(browser: Browser, body: bytes, **options: str) -> HttpResponse:
    return browser.post(ENDPOINT, body, content_type="application/json", **options)


def damaged(text: str, at: int) -> str:
    raw = bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    raw[at] ^= 0x01
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def assert_refused(response: HttpResponse) -> None:
    """400, with words; and whatever cookies the browser has, they stay as they are."""
    assert response.status_code == 400
    assert list(json.loads(response.content)) == ["detail"]
    assert not cookies_set(response)
    assert response["Cache-Control"] == "private, no-store"


class TestTheHandOver:
    def test_a_hand_off_becomes_the_cookie_which_the_next_request_confirms(
        self, signed_in: Browser, api: DemoApi
    ) -> None:
        text = session_update(signed_in, api)

        response = post(signed_in, text)

        assert (response.status_code, response.content) == (204, b"")
        assert response["Cache-Control"] == "private, no-store"
        cookie = cookies_set(response)["session"]
        assert (cookie["httponly"], cookie["path"], cookie["domain"]) == (True, "/", "")
        assert int(cookie["max-age"]) > 0
        session = signed_in.session()
        assert (session.generation, session.confirmed, signed_in.record().confirmed) == (1, False, 0)

        api.forget_calls()
        assert signed_in.is_signed_in()
        session = signed_in.session()
        assert (session.generation, session.confirmed, signed_in.record().confirmed) == (1, True, 1)
        assert [(call.path, call.status) for call in api.calls] == [("/protected-route", 200)]

    def test_posting_it_twice_does_no_harm(self, signed_in: Browser, api: DemoApi) -> None:
        text = session_update(signed_in, api)

        assert [post(signed_in, text).status_code for _ in range(3)] == [204] * 3

        assert signed_in.session().generation == 1
        assert signed_in.is_signed_in()
        assert signed_in.record().confirmed == 1
        assert post(signed_in, text).status_code == 204
        assert signed_in.is_signed_in()
        assert api.count("POST", "/auth/refresh") == 1

    def test_tokens_and_secrets_never_come_back_to_the_script(self, signed_in: Browser, api: DemoApi) -> None:
        text = session_update(signed_in, api)
        good, bad = post(signed_in, text), post(signed_in, damaged(text, 40))

        session = signed_in.session()
        for secret in (session.tokens.access, session.tokens.refresh, session.secret.hex(), text):
            assert secret not in good.serialize().decode() + bad.serialize().decode()

    def test_what_was_rotated_meanwhile_counts(self, signed_in: Browser, api: DemoApi) -> None:
        """Between the stream's rotation and the post, another tab rotated once more, and its answer got lost."""
        text = session_update(signed_in, api)
        another_tab = signed_in.copy()
        assert another_tab.open_page().status_code == 200
        api.expire_access_tokens()
        assert another_tab.open_page().status_code == 200
        assert another_tab.session().generation == 2

        assert post(signed_in, text).status_code == 204

        assert signed_in.session().generation == 2
        assert signed_in.is_signed_in()
        assert api.count("POST", "/auth/refresh") == 2
        assert api.reuses == 0

    def test_a_browser_that_missed_several_hand_overs_gets_in(self, signed_in: Browser, api: DemoApi) -> None:
        first = session_update(signed_in, api)
        second = session_update(signed_in, api)

        assert post(signed_in, second).status_code == 204
        assert signed_in.session().generation == 2
        assert signed_in.is_signed_in()
        assert_refused(post(signed_in, first))
        assert signed_in.is_signed_in()

    def test_a_database_that_is_away_does_not_keep_it_from_the_cookie(self, signed_in: Browser, api: DemoApi) -> None:
        text = session_update(signed_in, api)

        with records_away():
            assert post(signed_in, text).status_code == 204

        assert signed_in.session().generation == 1
        assert signed_in.is_signed_in()

    def test_the_largest_session_comes_through(self, signed_in: Browser, api: DemoApi) -> None:
        session_update(signed_in, api)
        another_tab = signed_in.copy()
        another_tab.open_page()
        session = another_tab.session()
        # Chance cannot be deflated: 11,000 bytes of it make some 15 KB of cookies.
        large = replace(session, tokens=replace(session.tokens, access=secrets.token_urlsafe(11_000)))
        assert MAX_SESSION_BYTES * 0.9 < len(large.seal_for_cookie()) <= MAX_SESSION_BYTES

        assert post(signed_in, large.seal_for_update()).status_code == 204


class TestHowItIsAsked:
    @pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
    def test_it_is_for_posts_only(self, signed_in: Browser, api: DemoApi, method: str) -> None:
        body = json.dumps({"session": session_update(signed_in, api)})

        response = signed_in.client.generic(method, ENDPOINT, body, "application/json")

        assert (response.status_code, response["Allow"]) == (405, "POST")
        assert not response.cookies

    def test_another_site_cannot_make_a_browser_post(self, signed_in: Browser, api: DemoApi) -> None:
        text = session_update(signed_in, api)
        strict = Browser(signed_in.take(), csrf_checks=True)
        token = strict.take()["csrftoken"]
        before = strict.take()

        for refused in (
            post(strict, text),
            post(strict, text, HTTP_X_CSRFTOKEN="0" * 64),
            post(strict, text, HTTP_X_CSRFTOKEN=token, HTTP_ORIGIN="https://evil.example"),
        ):
            assert refused.status_code == 403
            assert not cookies_set(refused)
        assert strict.take() == before

        assert post(strict, text, HTTP_X_CSRFTOKEN=token).status_code == 204
        assert strict.session().generation == 1

    def test_a_streams_answer_brings_the_csrf_cookie_that_its_script_needs(
        self, browser: Browser, api: DemoApi
    ) -> None:
        browser.sign_in()
        browser.drop("csrftoken")
        text = session_update(browser, api)

        strict = Browser(browser.take(), csrf_checks=True)
        assert post(strict, text, HTTP_X_CSRFTOKEN=strict.take()["csrftoken"]).status_code == 204


class TestWhatIsRefused:
    @pytest.mark.parametrize("at", REGIONS.values(), ids=REGIONS)
    def test_a_text_with_one_bit_changed(self, signed_in: Browser, api: DemoApi, at: int) -> None:
        assert_refused(post(signed_in, damaged(session_update(signed_in, api), at)))

        assert signed_in.session().generation == 0

    @pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
    def test_a_text_that_is_not_quite_it(self, signed_in: Browser, api: DemoApi, change: Callable[[str], str]) -> None:
        assert_refused(post(signed_in, change(session_update(signed_in, api))))

        assert signed_in.session().generation == 0
        assert signed_in.is_signed_in()

    @pytest.mark.parametrize("make", BODIES.values(), ids=BODIES)
    def test_a_body_that_is_no_json_object_with_it(
        self, signed_in: Browser, api: DemoApi, make: Callable[[str], bytes]
    ) -> None:
        assert_refused(post_raw(signed_in, make(session_update(signed_in, api))))

        assert signed_in.session().generation == 0
        assert signed_in.is_signed_in()

    @pytest.mark.parametrize(
        ("make", "why"),
        [
            (BODIES["half a JSON text"], "the body is not JSON"),
            (BODIES["more than any session"], "the body is too large"),
            (BODIES["an object without it"], "the body holds no session"),
            (lambda text: json.dumps({"session": text[:-1]}).encode(), "it does not open, or is too old"),
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

        assert f"a hand-off was refused: {why}" in caplog.messages

    @pytest.mark.parametrize("kind", ["multipart/form-data", "application/x-www-form-urlencoded"])
    def test_a_form(self, signed_in: Browser, api: DemoApi, caplog: pytest.LogCaptureFixture, kind: str) -> None:
        fields = {"session": session_update(signed_in, api)}
        if kind == "multipart/form-data":
            response: HttpResponse = signed_in.post(ENDPOINT, fields)
        else:
            response = signed_in.post(ENDPOINT, f"session={fields['session']}", content_type=kind)

        assert_refused(response)
        assert "a hand-off was refused: the body is not JSON" in caplog.messages

    @pytest.mark.parametrize("kind", ["multipart/form-data", "application/x-www-form-urlencoded"])
    def test_a_form_with_its_csrf_token(self, signed_in: Browser, api: DemoApi, kind: str) -> None:
        """The CSRF check reads a form's body to its end, and leaves nothing to be read as JSON."""
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
        """Some servers pass it on as it came."""
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

    def test_a_hand_off_is_no_cookie(self, signed_in: Browser, api: DemoApi) -> None:
        thief = Browser({"session": session_update(signed_in, api)})

        assert thief.open_page().status_code == 302

    @pytest.mark.parametrize("user", [GRACE, ADA], ids=["another user", "the same user, signed in once more"])
    def test_another_sessions_hand_off(
        self, signed_in: Browser, api: DemoApi, caplog: pytest.LogCaptureFixture, user: str
    ) -> None:
        text = session_update(signed_in, api)
        other = Browser()
        other.sign_in(user)
        before = other.take()

        assert_refused(post(other, text))

        why = "the hand-off is not for the session of this browser, or older than it"
        assert f"a hand-off was refused: {why}" in caplog.messages
        assert other.take() == before
        assert user in other.open_page().text
        assert post(signed_in, text).status_code == 204, "and it is still good where it belongs"

    def test_another_sessions_hand_off_with_a_cookie_that_is_not_confirmed_yet(
        self, signed_in: Browser, api: DemoApi
    ) -> None:
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
    def test_one_from_another_time(self, signed_in: Browser, api: DemoApi, seconds: float) -> None:
        with movable_clock() as clock:
            text = session_update(signed_in, api)
            clock.ahead = seconds

            assert_refused(post(signed_in, text))

        assert signed_in.session().generation == 0

    def test_the_last_moment_is_not_too_late(self, signed_in: Browser, api: DemoApi) -> None:
        with movable_clock() as clock:
            text = session_update(signed_in, api)
            clock.ahead = SESSION_UPDATE_SECONDS - 30

            assert post(signed_in, text).status_code == 204

    def test_one_from_a_browser_without_a_session(self, signed_in: Browser, api: DemoApi) -> None:
        text = session_update(signed_in, api)

        for cookies in ({}, {"session": "junk"}, {"session": text}):
            assert_refused(post(Browser(cookies), text))

    def test_one_whose_session_is_over(
        self, signed_in: Browser, api: DemoApi, caplog: pytest.LogCaptureFixture
    ) -> None:
        text = session_update(signed_in, api)
        end_session(signed_in.session().id, EndReason.REVOKED)

        assert_refused(post(signed_in, text))

        assert "a hand-off was refused: the session of this hand-off is over" in caplog.messages
        assert signed_in.session().generation == 0

    def test_one_whose_session_is_over_with_a_cookie_that_is_not_confirmed_yet(
        self, signed_in: Browser, api: DemoApi
    ) -> None:
        text = session_update(signed_in, api)
        signed_in.put({**signed_in.take(), "session": replace(signed_in.session(), confirmed=False).seal_for_cookie()})
        end_session(signed_in.session().id, EndReason.REVOKED)

        assert_refused(post(signed_in, text))

    def test_one_that_brings_nothing_new_while_the_database_is_away(self, signed_in: Browser, api: DemoApi) -> None:
        """What a browser has already is not worth believing without a look at whether it is over."""
        text = session_update(signed_in, api)
        assert post(signed_in, text).status_code == 204

        with records_away():
            assert_refused(post(signed_in, text))

        assert signed_in.is_signed_in()

    def test_one_whose_record_is_gone(self, signed_in: Browser, api: DemoApi) -> None:
        text = session_update(signed_in, api)
        SessionRecord.objects.all().delete()

        assert_refused(post(signed_in, text))

    def test_one_that_a_signed_out_user_kept(self, signed_in: Browser, api: DemoApi) -> None:
        text = session_update(signed_in, api)
        cookies = signed_in.take()
        signed_in.sign_out()

        assert_refused(post(signed_in, text))
        assert_refused(post(Browser(cookies), text))
        assert not signed_in.is_signed_in()

    def test_a_copied_cookie_that_is_long_retired(self, signed_in: Browser, api: DemoApi) -> None:
        """Whoever copied the old cookie and a fresh hand-off together gets nothing newer for them."""
        with movable_clock() as clock:
            thief = signed_in.copy()
            api.expire_access_tokens()
            signed_in.open_page()
            signed_in.open_page()  # confirms, and so retires the copied generation
            clock.ahead = 40
            text = session_update(signed_in, api)
            api.forget_calls()

            assert_refused(post(thief, text))

            assert thief.session().generation == 0
