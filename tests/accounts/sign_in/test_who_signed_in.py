"""The user of a sign-in at the provider: from the ID token, or from userinfo if that has no name."""

from typing import Any

import pytest

from tests.accounts.at_provider import begin, whoami
from tests.accounts.odd_provider import USERINFO, Claims, OddProvider
from tests.browsers import Answer, Browser
from tests.demo_api.messages import Answer as ApiReply
from tests.demo_api.server import Fault

NAMELESS = {"name": None}


def sign_in(provider: OddProvider, browser: Browser) -> Answer:
    return browser.get(provider.come_back(begin(browser)))


def user(browser: Browser) -> dict[str, Any]:
    told: dict[str, Any] = browser.get("/accounts/session/").json()["user"]
    return told


class TestByTheIdToken:
    @pytest.mark.parametrize(
        ("claims", "name"),
        [
            ({"name": "Ada Lovelace", "preferred_username": "ada", "email": "ada@example.com"}, "Ada Lovelace"),
            ({"name": None, "preferred_username": "ada", "email": "ada@example.com"}, "ada"),
            ({"name": "", "email": "ada@example.com"}, "ada@example.com"),
            ({"name": ["Ada"], "email": "ada@example.com"}, "ada@example.com"),
            ({"name": "Ada\x00\nLovelace"}, "Ada  Lovelace"),
        ],
        ids=["a name", "what she calls herself", "an address", "a name that is none", "a name with control characters"],
    )
    def test_it_names_her(self, odd_provider: OddProvider, newcomer: Browser, claims: Claims, name: str) -> None:
        odd_provider.claims = claims

        sign_in(odd_provider, newcomer)

        assert user(newcomer)["name"] == name
        assert user(newcomer)["id"] == "ada-1"
        assert odd_provider.count("GET", USERINFO) == 0, "userinfo was requested although the name was known"

    def test_a_very_long_name_is_cut(self, odd_provider: OddProvider, newcomer: Browser) -> None:
        odd_provider.claims = {"name": "A" * 5000}

        sign_in(odd_provider, newcomer)

        assert 100 <= len(user(newcomer)["name"]) <= 255

    def test_a_name_with_markup_is_shown_as_text(self, odd_provider: OddProvider, newcomer: Browser) -> None:
        odd_provider.claims = {"name": "<script>alert(1)</script>"}

        sign_in(odd_provider, newcomer)

        assert "<script>alert" not in newcomer.open_page().text


class TestByUserinfo:
    def test_it_is_asked_with_the_access_token_where_the_id_token_names_nobody(
        self, odd_provider: OddProvider, newcomer: Browser
    ) -> None:
        odd_provider.claims = NAMELESS
        odd_provider.userinfo = {"email": "ada@example.com"}

        sign_in(odd_provider, newcomer)

        assert user(newcomer) == {"id": "ada-1", "name": "Ada", "email": "ada@example.com"}
        (call,) = (call for call in odd_provider.calls if call.path == USERINFO)
        assert call.headers["authorization"] == f"Bearer {newcomer.session().tokens.access}"
        assert call.query == ""

    @pytest.mark.parametrize("subject", ["grace-1", "", None, 1, "ADA-1"], ids=repr)
    def test_what_it_says_about_somebody_else_does_not_count(
        self, odd_provider: OddProvider, newcomer: Browser, subject: object
    ) -> None:
        """OpenID Connect Core 5.3.2: otherwise a user could appear under another user's name."""
        odd_provider.claims = NAMELESS
        odd_provider.userinfo = {"sub": subject, "name": "Grace"}

        assert sign_in(odd_provider, newcomer).status_code == 302

        assert whoami(newcomer) == "ada-1"

    @pytest.mark.parametrize(
        "fault",
        [
            Fault.reset(),
            Fault.answer(503),
            Fault.answer(401, {"error": "invalid_token"}),
            Fault.answer(200, b"<h1>Welcome</h1>", "text/html"),
            Fault.answer(200, b"eyJhbGciOiJSUzI1NiJ9.e30.c2ln", "application/jwt"),
            Fault.answer(200, b'["Ada"]'),
            Fault.answer(302, headers={"Location": "/elsewhere"}),
        ],
        ids=["gone", "503", "401", "HTML", "a signed answer", "a list", "a redirect"],
    )
    def test_a_name_is_not_worth_a_sign_in(self, odd_provider: OddProvider, newcomer: Browser, fault: Fault) -> None:
        odd_provider.claims = NAMELESS
        odd_provider.fail("GET", USERINFO, fault)

        assert sign_in(odd_provider, newcomer).status_code == 302

        assert whoami(newcomer) == "ada-1"
        assert newcomer.is_signed_in()

    def test_a_provider_that_has_none(self, odd_provider: OddProvider, newcomer: Browser) -> None:
        odd_provider.claims = NAMELESS
        odd_provider.metadata = {"userinfo_endpoint": None}

        sign_in(odd_provider, newcomer)

        assert whoami(newcomer) == "ada-1"


def test_the_answer_of_userinfo_cannot_change_who_it_is(odd_provider: OddProvider, newcomer: Browser) -> None:
    odd_provider.claims = NAMELESS
    odd_provider.answers[USERINFO] = ApiReply.json(200, {"sub": "ada-1", "id": "grace-1", "name": "Ada", "email": 5})

    sign_in(odd_provider, newcomer)

    assert user(newcomer) == {"id": "ada-1", "name": "Ada", "email": ""}
