"""Pushed authorization requests (PAR, RFC 9126): the browser gets a reference, and never the request itself."""

from urllib.parse import parse_qsl

import pytest
import requests
from pytest_django import Settings

from tests.accounts.at_provider import begin, own_path, press_button, query_of, shown, walk
from tests.accounts.odd_provider import CLIENT_ID, CLIENT_SECRET, REALM, OddProvider
from tests.browsers import Browser, table_away
from tests.demo_api.messages import Answer, Call
from tests.demo_api.server import Fault
from tests.real_apis.oidc import OidcProvider

PAR = f"{REALM}/par"
ENDPOINT = "pushed_authorization_request_endpoint"
URN = "urn:ietf:params:oauth:request_uri:6esc_11ACC5bwc014ltc14eY22c"


@pytest.fixture
def pushing(odd_provider: OddProvider) -> OddProvider:
    """A provider with an endpoint for pushed requests."""
    odd_provider.metadata = {ENDPOINT: f"{odd_provider.issuer}/par"}
    odd_provider.answers[PAR] = Answer.json(201, {"request_uri": URN, "expires_in": 60})
    return odd_provider


def pushed(provider: OddProvider) -> list[Call]:
    return [call for call in provider.calls if call.path == PAR]


def fields(call: Call) -> dict[str, str]:
    pairs = parse_qsl(call.body.decode(), strict_parsing=True)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def test_a_provider_that_requires_it(strict_provider: OidcProvider, newcomer: Browser) -> None:
    location = begin(newcomer)
    assert query_of(location).keys() == {"client_id", "request_uri"}

    assert newcomer.get(walk(location))["Location"] == "/protected/"
    assert newcomer.open_page().status_code == 200
    # The reference can be used once.
    assert requests.get(location, headers={"Accept": "text/html"}).status_code == 400


def test_the_whole_request_is_pushed_with_the_credentials(
    pushing: OddProvider, newcomer: Browser, settings: Settings
) -> None:
    settings.OAUTH_PAR = "never"
    direct = query_of(begin(newcomer))
    assert pushed(pushing) == []

    settings.OAUTH_PAR = "auto"
    assert query_of(begin(newcomer)) == {"client_id": CLIENT_ID, "request_uri": URN}
    [call] = pushed(pushing)
    assert fields(call).keys() == direct.keys()
    assert call.headers["authorization"].startswith("Basic ")
    settings.OAUTH_CLIENT_AUTH = "client_secret_post"
    begin(newcomer)
    assert fields(pushed(pushing)[1])["client_secret"] == CLIENT_SECRET


def test_the_endpoints_own_query_stays_there(pushing: OddProvider, newcomer: Browser) -> None:
    pushing.metadata["authorization_endpoint"] = f"{pushing.issuer}/authorize?tenant=1&empty="

    assert query_of(begin(newcomer)) == {"tenant": "1", "empty": "", "client_id": CLIENT_ID, "request_uri": URN}
    assert not {"tenant", "empty"} & fields(pushed(pushing)[0]).keys()


def test_one_visitor_cannot_cause_any_number_of_them(
    pushing: OddProvider, newcomer: Browser, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SIGN_IN_LIMIT_PER_ADDRESS = "1/hour"
    monkeypatch.setattr("accounts.sign_in.rate_limit.PUSHED_FACTOR", 3)
    statuses = [press_button(newcomer).status_code for _ in range(4)]
    page = press_button(newcomer, "/protected/?a=1")

    assert statuses == [302] * 3 + [429]
    assert 3500 < int(page["Retry-After"]) <= 3600
    assert "Too many sign-ins have begun" in shown(page)
    assert 'name="next" value="/protected/?a=1"' in page.text
    assert len(pushed(pushing)) == 3
    assert newcomer.post("/accounts/login/", REMOTE_ADDR="198.51.100.7").status_code == 302
    with table_away("accounts_tally"):
        assert press_button(newcomer).status_code == 503
    settings.OAUTH_PAR = "never"
    assert press_button(newcomer).status_code == 302


def test_always_means_not_without_it(odd_provider: OddProvider, newcomer: Browser, settings: Settings) -> None:
    settings.OAUTH_PAR = "always"

    assert press_button(newcomer).status_code == 502
    settings.OAUTH_PAR = "auto"
    assert press_button(newcomer).status_code == 302


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            Answer.json(400, {"error": "invalid_request", "error_description": "<b>Ada</b> is gone"}),
            "<b>Ada</b> is gone",
        ),
        (Answer.json(401, {"error": "invalid_client"}), ""),
        (Answer.json(200, {"error": "invalid_request", "error_description": 5}), ""),
        (Answer(404, b"<h1>Not Found</h1>"), ""),
    ],
    ids=["with words", "without", "in a 200", "a page"],
)
def test_a_refusal_is_a_page_with_the_providers_words(
    pushing: OddProvider, newcomer: Browser, caplog: pytest.LogCaptureFixture, answer: Answer, words: str
) -> None:
    pushing.answers[PAR] = answer

    page = press_button(newcomer, "/protected/?a=1")

    assert page.status_code == 502
    assert "refused to begin this sign-in" in shown(page)
    assert ("The provider says: " + words in shown(page)) == bool(words)
    assert "<b>Ada" not in page.text
    assert f"the pushed authorization request: status {answer.status}" in caplog.text
    assert 'name="next" value="/protected/?a=1"' in page.text


def test_after_a_refusal_the_button_tries_without_what_the_address_added(
    pushing: OddProvider, newcomer: Browser
) -> None:
    pushing.answers[PAR] = Answer.json(400, {"error": "invalid_request"})

    page = newcomer.post("/accounts/login/", {"next": "/protected/", "prompt": "create", "max_age": "300"})

    assert page.status_code == 502
    assert 'name="prompt"' not in page.text
    assert 'name="max_age" value="300"' in page.text
    assert 'name="next" value="/protected/"' in page.text


@pytest.mark.parametrize(
    "answer",
    [
        Answer.json(201, {}),
        Answer.json(201, {"request_uri": ["a"]}),
        Answer.json(201, {"request_uri": ""}),
        Answer(201, b'{"request_uri": "urn:\\ud800"}'),
        Answer.json(201, {"request_uri": "urn:" + "a" * 100_000}),
        Answer.json(201, {"request_uri": "urn:a\r\nb"}),
        Answer(302, b"", {"Location": "/elsewhere"}),
    ],
    ids=["nothing", "a list", "empty", "half a character", "long", "two lines", "a redirect"],
)
def test_a_success_without_a_reference_leads_nowhere(pushing: OddProvider, newcomer: Browser, answer: Answer) -> None:
    pushing.answers[PAR] = answer

    assert press_button(newcomer).status_code == 502


@pytest.mark.parametrize(
    "fault",
    [Fault.answer(503, {"error": "temporarily_unavailable"}), Fault.answer(429, {}), Fault.lose_answer()],
    ids=["503", "429", "lost"],
)
def test_while_the_endpoint_is_unavailable_the_same_page_can_be_sent_again(
    pushing: OddProvider, newcomer: Browser, fault: Fault
) -> None:
    pushing.fail("POST", PAR, fault)
    form = {"next": "/protected/?a=1", "login_hint": "ada@example.com"}

    page = newcomer.post("/accounts/login/", form)

    assert (page.status_code, int(page["Retry-After"]) > 0) == (503, True)
    assert 'name="next" value="/protected/?a=1"' in page.text
    assert 'name="login_hint" value="ada@example.com"' in page.text
    assert newcomer.post("/accounts/login/", form).status_code == 302
    assert fields(pushed(pushing)[-1])["login_hint"] == "ada@example.com"


def test_a_reference_that_has_expired_can_be_replaced(pushing: OddProvider, newcomer: Browser) -> None:
    begin(newcomer, "/protected/?a=1")
    state = fields(pushed(pushing)[0])["state"]

    page = newcomer.get(f"/accounts/callback/?error=invalid_request_uri&state={state}")

    assert page.status_code == 400
    assert "This sign-in took too long." in shown(page)
    assert own_path("/accounts/login/?next=%2Fprotected%2F%3Fa%3D1") in page.text
