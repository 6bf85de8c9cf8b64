"""The site with a real SimpleJWT server, in each variant that teams run."""

import json
from collections.abc import Iterator

import pytest
from pytest_django import Settings

from accounts.models import EndReason, SessionRecord
from tests.accounts.conftest import SimpleJwtStarter, point_at
from tests.browsers import ADA, Browser, cookies_set
from tests.demo_api.server import DEMO_USERS, Fault
from tests.real_apis.apis import SimpleJwtApi

GUEST = "guest@example.com"  # no other test uses it: one test deletes it
ROUTE = "/protected-route"
SIGN_IN, REFRESH, REVOKE = "/token/", "/token/refresh/", "/token/blacklist/"

VARIANTS: dict[str, dict[str, object]] = {
    "rotation and blacklist": {},
    "no rotation": {"rotation": False},
    "no blacklist": {"blacklist": False},
    "neither": {"rotation": False, "blacklist": False},
    "users by e-mail": {"username_field": "email"},
}


def use(api: SimpleJwtApi, settings: Settings) -> Iterator[SimpleJwtApi]:
    """Configure the site for a shared API, and leave the API without faults."""
    point_at(settings, api.site_environment)
    api.forget_calls()
    yield api
    api.heal()


# Parametrized per module, so that pytest runs all tests of one variant together.
@pytest.fixture(scope="module", params=VARIANTS.values(), ids=list(VARIANTS))
def running_variant(request: pytest.FixtureRequest, shared_simplejwt: SimpleJwtStarter) -> SimpleJwtApi:
    return shared_simplejwt(**request.param)


@pytest.fixture
def variant(running_variant: SimpleJwtApi, settings: Settings, transactional_db: None) -> Iterator[SimpleJwtApi]:
    """The real server in one of its variants, and the site configured for it."""
    yield from use(running_variant, settings)


@pytest.fixture
def rotates(request: pytest.FixtureRequest, variant: SimpleJwtApi) -> bool:
    """Whether each refresh of the variant brings a new refresh token."""
    return request.node.callspec.id not in ("no rotation", "neither")


@pytest.fixture
def simplejwt(shared_simplejwt: SimpleJwtStarter, settings: Settings, transactional_db: None) -> Iterator[SimpleJwtApi]:
    """The real server with rotation and blacklist, and the site configured for it."""
    yield from use(shared_simplejwt(), settings)


def wire(api: SimpleJwtApi) -> list[tuple[str, str, int]]:
    """The calls since the last time."""
    calls = [(call.method, call.path, call.status) for call in api.calls]
    api.forget_calls()
    return calls


class TestEveryVariant:
    def test_the_journey(self, variant: SimpleJwtApi, newcomer: Browser) -> None:
        assert newcomer.sign_in(next="/protected/?rows=3")["Location"] == "/protected/?rows=3"
        assert ADA in newcomer.open_page().text
        assert wire(variant) == [("POST", SIGN_IN, 200), ("GET", ROUTE, 200)]

        for generation in (1, 2):
            variant.expire_access_tokens()
            assert newcomer.open_page().status_code == 200
            assert wire(variant) == [("GET", ROUTE, 401), ("POST", REFRESH, 200), ("GET", ROUTE, 200)]
            assert newcomer.session().generation == generation

        newcomer.sign_out()
        ((method, path, status),) = wire(variant)
        assert (method, path, status in (200, 404)) == ("POST", REVOKE, True)
        assert not newcomer.is_signed_in()

    def test_the_tokens_tell_how_long_they_live(self, variant: SimpleJwtApi, newcomer: Browser) -> None:
        answer = newcomer.sign_in()

        told = newcomer.get("/accounts/session/").json()
        assert 0 < told["access_expires_in"] <= 60
        assert 1700 < told["refresh_expires_in"] <= 1800
        assert 1700 < int(cookies_set(answer)["session"]["max-age"]) <= 1800
        assert told["user"]["name"] == ADA

    def test_an_answer_that_gets_lost_signs_nobody_out(self, variant: SimpleJwtApi, newcomer: Browser) -> None:
        reuses = variant.reuses
        newcomer.sign_in()
        before = newcomer.take()
        variant.expire_access_tokens()
        newcomer.open_page()
        newcomer.put(before)

        assert newcomer.is_signed_in()

        assert variant.count_refreshes() == 1
        assert variant.reuses == reuses

    def test_a_wrong_password_is_on_the_form_in_the_apis_words(self, variant: SimpleJwtApi, newcomer: Browser) -> None:
        page = newcomer.sign_in(ADA, "ebb-tide")

        assert page.status_code == 200
        assert "No active account found with the given credentials" in page.text
        assert "ebb-tide" not in page.text
        assert wire(variant) == [("POST", SIGN_IN, 401)]

    def test_all_sign_ins_revoked_end_the_session(self, variant: SimpleJwtApi, newcomer: Browser) -> None:
        newcomer.sign_in()
        session_id = newcomer.session().id
        variant.revoke_all()

        answer = newcomer.open_page()

        assert (answer.status_code, "ended=1" in answer["Location"]) == (302, True)
        assert SessionRecord.objects.get(pk=session_id).end_reason == EndReason.REFUSED
        newcomer.sign_in()
        assert newcomer.is_signed_in()

    def test_what_is_sent(self, variant: SimpleJwtApi, newcomer: Browser) -> None:
        newcomer.sign_in()
        first = newcomer.session().tokens
        variant.expire_access_tokens()
        newcomer.open_page()
        second = newcomer.session().tokens
        newcomer.sign_out()

        sent = [json.loads(call.body) for call in variant.calls if call.method == "POST"]
        name = variant.site_environment["API_USERNAME_FIELD"]
        assert sent == [
            {name: ADA, "password": DEMO_USERS[ADA]},
            {"refresh": first.refresh},
            {"refresh": second.refresh},
        ]

    def test_without_rotation_the_refresh_token_stays_with_its_expiry(
        self, variant: SimpleJwtApi, rotates: bool, newcomer: Browser
    ) -> None:
        newcomer.sign_in()
        first = newcomer.session().tokens
        variant.expire_access_tokens()
        newcomer.open_page()
        second = newcomer.session().tokens

        assert first.access != second.access
        assert (first.refresh != second.refresh) == rotates
        assert (first.refresh_expires_at != second.refresh_expires_at) == rotates


class TestWhoIsShutOut:
    def test_a_spent_token_ends_a_copied_session(self, simplejwt: SimpleJwtApi, newcomer: Browser) -> None:
        """The session record has lost the rotation, so only the API can detect the reuse."""
        newcomer.sign_in()
        thief = newcomer.copy()
        simplejwt.expire_access_tokens()
        newcomer.open_page()
        SessionRecord.objects.update(generation=0, confirmed=0, sealed="")

        answer = thief.open_page()

        assert (answer.status_code, "ended=1" in answer["Location"]) == (302, True)
        assert simplejwt.count("POST", REFRESH, 401) == 1
        assert SessionRecord.objects.get().end_reason == EndReason.REFUSED

    def test_a_user_who_is_deactivated_is_signed_out_at_the_next_refresh(
        self, simplejwt: SimpleJwtApi, newcomer: Browser
    ) -> None:
        newcomer.sign_in()
        simplejwt.set_active(ADA, False)
        simplejwt.expire_access_tokens()
        try:
            answer = newcomer.open_page()

            assert (answer.status_code, "ended=1" in answer["Location"]) == (302, True)
            assert simplejwt.count("POST", REFRESH, 401) == 2, "without a code, the refusal is checked"
            assert SessionRecord.objects.get().end_reason == EndReason.REFUSED
            page = newcomer.sign_in()
            assert (page.status_code, "No active account found" in page.text) == (200, True)
        finally:
            simplejwt.set_active(ADA, True)

    def test_a_user_who_is_deleted_meets_an_api_that_crashes_and_that_ends_no_session(
        self, simplejwt: SimpleJwtApi, newcomer: Browser
    ) -> None:
        """SimpleJWT responds with 500 then, as in any other failure."""
        newcomer.sign_in(GUEST)
        simplejwt.delete(GUEST)
        simplejwt.expire_access_tokens()

        answer = newcomer.open_page()

        assert answer.status_code == 503
        assert simplejwt.count("POST", REFRESH, 500) == 1
        assert not cookies_set(answer)
        assert SessionRecord.objects.get().ended_at is None


class TestTheSite:
    def test_the_form_asks_for_what_the_api_does(
        self, simplejwt: SimpleJwtApi, newcomer: Browser, settings: Settings
    ) -> None:
        assert "User name" in newcomer.get("/accounts/login/").text
        settings.API_USERNAME_FIELD = "email"
        assert "Email" in newcomer.get("/accounts/login/").text

    def test_a_field_that_the_api_does_not_know_is_complained_of_on_the_form(
        self, simplejwt: SimpleJwtApi, newcomer: Browser, settings: Settings
    ) -> None:
        settings.API_USERNAME_FIELD = "login"

        page = newcomer.sign_in()

        assert (page.status_code, "This field is required." in page.text) == (200, True)

    @pytest.mark.parametrize(
        "fault",
        [Fault.reset(), Fault.answer(401, b"<h1>Unauthorized</h1>", "text/html"), Fault.answer(404), Fault.answer(429)],
        ids=["a reset", "a gateway's 401", "404", "429"],
    )
    def test_a_bad_day_ends_no_session(self, simplejwt: SimpleJwtApi, newcomer: Browser, fault: Fault) -> None:
        newcomer.sign_in()
        simplejwt.expire_access_tokens()
        simplejwt.fail("POST", REFRESH, fault)

        answer = newcomer.open_page()

        assert answer.status_code == 503
        assert SessionRecord.objects.get().ended_at is None
