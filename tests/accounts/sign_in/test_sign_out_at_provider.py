"""Sign-out after a sign-in at a provider: here, by revocation, and on the provider's own sign-out page."""

import pytest
from pytest_django import Settings

from accounts.models import EndReason, SessionRecord
from tests.accounts.at_provider import (
    CALLBACK,
    PROVIDERS_SIGN_OUT,
    begin,
    forget_documents,
    own_path,
    query_of,
    shown,
    sign_in_at_provider,
    walk,
)
from tests.accounts.odd_provider import CONFIGURATION, OddProvider
from tests.browsers import Browser, cookies_set
from tests.demo_api.server import Fault
from tests.real_apis.apis import OAuthProvider
from tests.real_apis.oauth.client import CLIENT_ID
from tests.real_apis.visitor import Visitor

REVOKE = "/o/revoke_token/"
HINT = "session-id-token"


class TestHere:
    def test_it_ends_the_session_and_revokes_at_the_provider(self, provider: OAuthProvider, newcomer: Browser) -> None:
        sign_in_at_provider(newcomer)
        session, copy = newcomer.session(), newcomer.copy()
        provider.forget_calls()

        answer = newcomer.sign_out()

        assert answer.cookies["session"]["max-age"] == 0
        assert SessionRecord.objects.get(pk=session.id).end_reason == EndReason.SIGNED_OUT
        ((call, form),) = ((call, provider.read_body(call)) for call in provider.calls)
        assert (call.method, call.path, call.status) == ("POST", REVOKE, 200)
        assert form == {"token": session.tokens.refresh, "token_type_hint": "refresh_token"}
        assert call.headers["authorization"].startswith("Basic ")
        assert not newcomer.is_signed_in()
        assert not copy.is_signed_in()

    def test_the_newest_pair_is_revoked(self, provider: OAuthProvider, newcomer: Browser) -> None:
        """The browser may have missed the latest rotation."""
        sign_in_at_provider(newcomer)
        before = newcomer.take()
        provider.expire_access_tokens()
        newcomer.open_page()
        newest = newcomer.session().tokens.refresh
        newcomer.put(before)

        newcomer.sign_out()

        (form,) = (provider.read_body(call) for call in provider.calls if call.path == REVOKE)
        assert form["token"] == newest

    def test_the_page_that_follows_leads_on_and_shows_no_token(
        self, provider: OAuthProvider, newcomer: Browser
    ) -> None:
        back = walk(begin(newcomer))
        newcomer.get(back)
        tokens = newcomer.session().tokens
        secrets = {tokens.access, tokens.refresh, query_of(back)["code"], query_of(back)["state"]}
        hint = newcomer.take()[HINT]

        page = newcomer.sign_out()

        assert page.status_code == 200
        assert "You are signed out here" in shown(page)
        assert f'href="{PROVIDERS_SIGN_OUT}"' in page.text
        assert f'http-equiv="refresh" content="0; url={PROVIDERS_SIGN_OUT}"' in page.text
        assert not any(secret in page.text for secret in {*secrets, hint, "eyJ"})
        assert "no-store" in page["Cache-Control"]

    @pytest.mark.parametrize("restarted", [False, True], ids=["warm", "after a restart of ours"])
    def test_it_works_while_the_provider_is_unavailable(
        self, provider: OAuthProvider, newcomer: Browser, restarted: bool
    ) -> None:
        sign_in_at_provider(newcomer)
        session_id = newcomer.session().id
        provider.stop_serving()
        if restarted:
            forget_documents()

        answer = newcomer.sign_out()

        assert answer.status_code == (302 if restarted else 200)
        assert answer.cookies["session"]["max-age"] == 0
        assert SessionRecord.objects.get(pk=session_id).end_reason == EndReason.SIGNED_OUT
        assert newcomer.get(PROVIDERS_SIGN_OUT).status_code == 302

    def test_it_works_while_the_revocation_fails(self, provider: OAuthProvider, newcomer: Browser) -> None:
        sign_in_at_provider(newcomer)
        provider.fail("POST", REVOKE, Fault.answer(503))

        assert newcomer.sign_out().status_code == 200

        assert not newcomer.is_signed_in()

    def test_a_script_gets_204(self, provider: OAuthProvider, newcomer: Browser) -> None:
        sign_in_at_provider(newcomer)

        answer = newcomer.post("/accounts/logout/", headers={"Accept": "application/json"})

        assert (answer.status_code, answer.content) == (204, b"")
        assert provider.count("POST", REVOKE) == 1

    def test_another_site_signs_nobody_out(self, provider: OAuthProvider, newcomer: Browser) -> None:
        sign_in_at_provider(newcomer)
        strict = Browser(newcomer.take(), csrf_checks=True)

        assert strict.sign_out().status_code == 403
        assert newcomer.client.get("/accounts/logout/").status_code == 405
        assert newcomer.is_signed_in()


class TestAtTheProvider:
    def test_its_own_session_ends_without_a_question(self, provider: OAuthProvider, newcomer: Browser) -> None:
        visitor = Visitor()
        sign_in_at_provider(newcomer, visitor=visitor)
        newcomer.sign_out()
        provider.forget_calls()

        answer = newcomer.get(PROVIDERS_SIGN_OUT)

        target, told = answer["Location"].partition("?")[0], query_of(answer["Location"])
        assert (answer.status_code, target) == (302, f"{provider.issuer}/logout/")
        assert told.pop("id_token_hint").count(".") == 2
        assert told == {"client_id": CLIENT_ID, "post_logout_redirect_uri": "http://testserver/"}
        assert "no-store" in answer["Cache-Control"]
        assert own_path(visitor.follow(answer["Location"])) == "/"
        assert provider.count("POST", "/o/logout/") == 0, "the provider asked the user, so it did not use the hint"
        sign_in_at_provider(newcomer, visitor=visitor)
        assert provider.count("POST", "/login/") == 1, "the provider's own session did not end"

    def test_the_hint_is_used_once(self, provider: OAuthProvider, newcomer: Browser) -> None:
        sign_in_at_provider(newcomer)
        newcomer.sign_out()

        answer = newcomer.get(PROVIDERS_SIGN_OUT)

        assert (answer.cookies[HINT]["max-age"], answer.cookies[HINT]["path"]) == (0, "/accounts/logout/")
        assert "id_token_hint" not in query_of(newcomer.get(PROVIDERS_SIGN_OUT)["Location"])

    def test_a_hint_that_was_changed_is_none(self, provider: OAuthProvider, newcomer: Browser) -> None:
        sign_in_at_provider(newcomer)
        newcomer.sign_out()
        hint = newcomer.take()[HINT]

        for changed in ("", "x", hint[:-1], hint + "A"):
            browser = Browser({HINT: changed})
            assert "id_token_hint" not in query_of(browser.get(PROVIDERS_SIGN_OUT)["Location"])

    def test_a_rotation_keeps_the_hint(self, provider: OAuthProvider, newcomer: Browser) -> None:
        sign_in_at_provider(newcomer)
        provider.expire_access_tokens()
        newcomer.open_page()
        newcomer.sign_out()

        assert "id_token_hint" in query_of(newcomer.get(PROVIDERS_SIGN_OUT)["Location"])

    def test_the_address_does_nothing_while_the_user_is_signed_in(
        self, provider: OAuthProvider, newcomer: Browser
    ) -> None:
        """Any site can redirect a browser there."""
        sign_in_at_provider(newcomer)
        before = newcomer.take()
        provider.forget_calls()

        answer = newcomer.get(PROVIDERS_SIGN_OUT)

        assert (answer.status_code, answer["Location"]) == (302, "/")
        assert not answer.cookies
        assert newcomer.take() == before
        assert provider.calls == []
        assert newcomer.is_signed_in()

    def test_it_takes_a_get_alone(self, provider: OAuthProvider, newcomer: Browser) -> None:
        assert newcomer.post(PROVIDERS_SIGN_OUT).status_code == 405

    def test_a_provider_without_such_a_place(self, odd_provider: OddProvider, newcomer: Browser) -> None:
        odd_provider.metadata = {"end_session_endpoint": None}
        newcomer.get(odd_provider.come_back(begin(newcomer)))

        answer = newcomer.sign_out()

        assert (answer.status_code, answer["Location"]) == (302, "/")
        assert newcomer.get(PROVIDERS_SIGN_OUT)["Location"] == "/"

    def test_a_provider_that_cannot_revoke(self, odd_provider: OddProvider, newcomer: Browser) -> None:
        odd_provider.metadata = {"revocation_endpoint": None}
        newcomer.get(odd_provider.come_back(begin(newcomer)))

        assert newcomer.sign_out().status_code == 200

        assert odd_provider.count(*odd_provider.revoke_call) == 0
        assert not newcomer.is_signed_in()

    def test_a_query_of_the_address_stays(self, odd_provider: OddProvider, newcomer: Browser) -> None:
        odd_provider.metadata = {"end_session_endpoint": f"{odd_provider.issuer}/sign-out?tenant=quay"}
        newcomer.get(odd_provider.come_back(begin(newcomer)))
        newcomer.sign_out()

        told = query_of(newcomer.get(PROVIDERS_SIGN_OUT)["Location"])

        assert (told["tenant"], told["client_id"]) == ("quay", CLIENT_ID)
        assert odd_provider.count("GET", CONFIGURATION) == 1


@pytest.mark.parametrize("dialect", ["token-pair", "simplejwt", "oauth2-password"])
class TestAnotherDialect:
    def test_has_no_such_address(
        self, odd_provider: OddProvider, newcomer: Browser, settings: Settings, dialect: str
    ) -> None:
        newcomer.get(odd_provider.come_back(begin(newcomer)))
        settings.API_DIALECT = dialect

        answer = newcomer.sign_out()

        assert (answer.status_code, answer["Location"]) == (302, "/")
        assert "session" in cookies_set(answer)
        assert newcomer.get(PROVIDERS_SIGN_OUT).status_code == 404
        assert newcomer.get(CALLBACK).status_code == 404

    def test_has_none_for_those_who_are_signed_in_either(
        self, odd_provider: OddProvider, newcomer: Browser, settings: Settings, dialect: str
    ) -> None:
        newcomer.get(odd_provider.come_back(begin(newcomer)))
        settings.API_DIALECT = dialect

        assert newcomer.get(CALLBACK).status_code == 404
        assert newcomer.get(PROVIDERS_SIGN_OUT).status_code == 404
