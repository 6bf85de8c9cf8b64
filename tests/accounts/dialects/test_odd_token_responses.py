"""What real providers send from their token endpoint, although no standard says so."""

from collections.abc import Callable
from urllib.parse import parse_qsl, urlsplit

import pytest
from pytest_django import Settings

from accounts.browser.id_token_hint import read_id_token_cookie
from accounts.models import EndReason, SessionRecord
from tests.accounts.at_provider import begin, skip_retry_pause, whoami
from tests.accounts.odd_provider import CLIENT_ID, TOKEN, OddProvider, renewed
from tests.browsers import Answer, Browser
from tests.demo_api.messages import Answer as Reply

PAGE = "/protected/"


def sign_in(provider: OddProvider, browser: Browser) -> Answer:
    return browser.get(provider.come_back(begin(browser)))


class TestASuccessThatIsNot200:
    @pytest.mark.parametrize("status", [201, 202, 203, 206])
    def test_signs_in_and_refreshes(self, odd_provider: OddProvider, newcomer: Browser, status: int) -> None:
        odd_provider.success_status = status

        assert sign_in(odd_provider, newcomer).status_code == 302
        odd_provider.expire_access_tokens()

        assert newcomer.open_page().status_code == 200
        assert newcomer.session().generation == 1


class TestEmptyForAbsent:
    @pytest.mark.parametrize("refresh", ["", " ", 0, False], ids=repr)
    def test_a_refresh_keeps_the_old_refresh_token(
        self, odd_provider: OddProvider, newcomer: Browser, refresh: object
    ) -> None:
        sign_in(odd_provider, newcomer)
        before = newcomer.session().tokens.refresh
        odd_provider.tokens = {"refresh_token": refresh}
        odd_provider.expire_access_tokens()

        assert newcomer.open_page().status_code == 200
        assert newcomer.session().tokens.refresh == before

    @pytest.mark.parametrize("seconds", [0, "0", -1], ids=repr)
    def test_a_lifetime_of_zero_is_no_rotation_for_each_request(
        self, odd_provider: OddProvider, newcomer: Browser, seconds: object
    ) -> None:
        odd_provider.tokens = {"expires_in": seconds}
        sign_in(odd_provider, newcomer)

        assert [newcomer.open_page().status_code for _ in range(3)] == [200] * 3
        assert odd_provider.count_refreshes() == 0


class TestARefusal:
    @pytest.mark.parametrize("status", [200, 400, 401, 403])
    @pytest.mark.parametrize(
        "error", ["bad_refresh_token", "interaction_required", "login_required", "consent_required"]
    )
    def test_at_a_refresh_ends_the_session(
        self, odd_provider: OddProvider, newcomer: Browser, status: int, error: str
    ) -> None:
        sign_in(odd_provider, newcomer)
        odd_provider.expire_access_tokens()
        odd_provider.answers[TOKEN] = Reply.json(status, {"error": error})

        page = newcomer.open_page()

        assert (page.status_code, "ended=1" in page["Location"]) == (302, True)
        assert SessionRecord.objects.get().end_reason == EndReason.REFUSED

    @pytest.mark.parametrize("status", [200, 400])
    @pytest.mark.parametrize("error", ["bad_verification_code", "invalid_grant", "login_required"])
    def test_of_a_code_leads_back_to_the_sign_in(
        self, odd_provider: OddProvider, newcomer: Browser, status: int, error: str
    ) -> None:
        odd_provider.answers[TOKEN] = Reply.json(status, {"error": error})

        assert sign_in(odd_provider, newcomer).status_code == 400
        assert whoami(newcomer) is None

    def test_is_logged_only_if_it_is_a_code(
        self, odd_provider: OddProvider, newcomer: Browser, caplog: pytest.LogCaptureFixture
    ) -> None:
        odd_provider.answers[TOKEN] = Reply.json(400, {"error": "the code 5ecret is for another client"})

        assert sign_in(odd_provider, newcomer).status_code == 502
        assert "status 400" in caplog.text
        assert "5ecret" not in caplog.text


class TestTheNewestIdToken:
    def test_of_a_refresh_is_the_hint_at_the_sign_out(self, odd_provider: OddProvider, newcomer: Browser) -> None:
        sign_in(odd_provider, newcomer)
        first = read_id_token_cookie(newcomer.take())
        newer = renewed(odd_provider)
        odd_provider.tokens = {"id_token": newer}
        odd_provider.expire_access_tokens()

        newcomer.open_page()

        assert first.count(".") == 2
        assert read_id_token_cookie(newcomer.take()) == newer
        newcomer.sign_out()
        location = newcomer.get("/accounts/logout/provider/")["Location"]
        assert dict(parse_qsl(urlsplit(location).query))["id_token_hint"] == newer

    @pytest.mark.parametrize("sent", ["", " ", "new\ud800er", "no.id.token", None, 5, {}], ids=repr)
    def test_stays_if_a_refresh_has_none(self, odd_provider: OddProvider, newcomer: Browser, sent: object) -> None:
        sign_in(odd_provider, newcomer)
        first = read_id_token_cookie(newcomer.take())
        odd_provider.tokens = {"id_token": sent}
        odd_provider.expire_access_tokens()

        assert newcomer.open_page().status_code == 200
        assert read_id_token_cookie(newcomer.take()) == first


class TestTheIdTokenOfARefresh:
    def test_of_another_user_ends_the_session_and_its_pair_is_never_used(
        self, odd_provider: OddProvider, newcomer: Browser, caplog: pytest.LogCaptureFixture
    ) -> None:
        sign_in(odd_provider, newcomer)
        before, session = newcomer.copy(), newcomer.session()
        odd_provider.tokens = {"id_token": renewed(odd_provider, sub="grace-1"), "access_token": "graces-token"}
        odd_provider.expire_access_tokens()

        answer = newcomer.open_page()

        assert answer["Location"] == "/accounts/login/?next=%2Fprotected%2F&ended=1"
        assert SessionRecord.objects.get(pk=session.id).end_reason == EndReason.OTHER_USER
        assert odd_provider.count(*odd_provider.revoke_call) == 1
        assert not any("graces-token" in str(call.headers) for call in odd_provider.calls)
        assert "tokens of another user" in caplog.text
        assert "graces-token" not in caplog.text
        assert before.open_page().status_code == 302

    @pytest.mark.parametrize(
        "changes",
        [
            {"iss": "https://evil.example"},
            {"iss": None},
            {"aud": "another-site"},
            {"aud": []},
            {"aud": None},
            {"azp": "another-site"},
        ],
        ids=str,
    )
    def test_of_another_issuer_or_client_is_refused_and_the_session_stays(
        self, odd_provider: OddProvider, newcomer: Browser, changes: dict[str, object]
    ) -> None:
        sign_in(odd_provider, newcomer)
        odd_provider.tokens = {"id_token": renewed(odd_provider, **changes)}
        odd_provider.expire_access_tokens()

        assert newcomer.open_page().status_code == 503
        assert newcomer.session().generation == 0

        skip_retry_pause()
        odd_provider.tokens = {"id_token": renewed(odd_provider, aud=[CLIENT_ID, "another-site"], sub=None)}
        assert newcomer.open_page().status_code == 200

    def test_may_be_the_first_one_that_the_password_grant_gets(
        self, odd_provider: OddProvider, newcomer: Browser, settings: Settings
    ) -> None:
        settings.API_DIALECT, settings.OAUTH_ISSUER = "oauth2-password", ""
        settings.OAUTH_TOKEN_ENDPOINT = f"{odd_provider.url}{TOKEN}"
        odd_provider.tokens = {"id_token": None}
        newcomer.sign_in("ada", "tide-table")
        assert newcomer.session().user.id == "ada", (
            "django-oauth-toolkit names its users only in ID tokens of refreshes"
        )

        odd_provider.tokens = {"id_token": renewed(odd_provider, iss="https://inside.example", sub="1")}
        odd_provider.expire_access_tokens()

        assert newcomer.open_page().status_code == 200
        assert (newcomer.session().generation, newcomer.session().user.id) == (1, "ada")


class TestTokensThatCannotBeUsed:
    @pytest.mark.parametrize(
        "spoil",
        [
            lambda provider: provider.tokens.update(access_token="a\r\nX: 1"),
            lambda provider: provider.tokens.update(refresh_token="r\x7f"),
            lambda provider: provider.tokens.update(id_token="no.id.token"),
            lambda provider: provider.tokens.update(id_token=None),
            lambda provider: provider.claims.update(nonce="of another sign-in"),
        ],
        ids=["an access token with a line break", "a refresh token with DEL", "no JWT", "no ID token", "a wrong nonce"],
    )
    def test_are_revoked(
        self, odd_provider: OddProvider, newcomer: Browser, spoil: Callable[[OddProvider], None]
    ) -> None:
        spoil(odd_provider)

        assert sign_in(odd_provider, newcomer).status_code == 502

        assert whoami(newcomer) is None
        assert odd_provider.count(*odd_provider.revoke_call) == 1
