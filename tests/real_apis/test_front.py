"""What stands in front of a real API: the record, the faults, and the process behind, which ends with the test."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlencode

import pytest
import requests

from tests.demo_api.recorded import RecordedApi
from tests.demo_api.server import DemoApi, Fault
from tests.demo_api.users import DEMO_USERS
from tests.real_apis.apis import OAuthProvider, SimpleJwtApi
from tests.real_apis.process import PROJECT

PATIENCE_SECONDS = 30.0
ADA = {"username": "ada@example.com", "password": DEMO_USERS["ada@example.com"]}

KINDS: dict[str, Callable[[], RecordedApi]] = {
    "token-pair": DemoApi,
    "simplejwt": SimpleJwtApi,
    "oauth2": OAuthProvider,
}


@pytest.fixture(scope="module")
def shared_api() -> Iterator[SimpleJwtApi]:
    with SimpleJwtApi() as api:
        yield api


@pytest.fixture
def api(shared_api: SimpleJwtApi) -> SimpleJwtApi:
    shared_api.forget_calls()
    return shared_api


def is_listening(url: str) -> bool:
    try:
        requests.get(url)
    except requests.ConnectionError:
        return False
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_api_names_its_calls_and_how_a_site_finds_it(kind: str) -> None:
    with KINDS[kind]() as api:
        for method, path in {api.sign_in_call, api.refresh_call, api.revoke_call}:
            assert requests.request(method, api.url + path).status_code in (400, 401)
            assert api.count(method, path) == 1
        assert requests.get(f"{api.url}/nowhere").status_code == 404
        assert api.site_environment["API_BASE_URL"] == api.url
        assert api.site_environment["API_DIALECT"] == kind


def test_calls_are_passed_on_and_recorded(api: SimpleJwtApi) -> None:
    answer = requests.post(f"{api.url}/token/?from=a+test", json=ADA, headers={"X-Trace": "abc"})
    preflight = requests.options(f"{api.url}/token/")

    assert answer.headers["Content-Type"] == "application/json"
    assert (preflight.status_code, preflight.headers["Allow"]) == (200, "POST, OPTIONS")
    (sign_in, options) = api.calls
    assert (sign_in.method, sign_in.path, sign_in.query, sign_in.status) == ("POST", "/token/", "from=a+test", 200)
    assert (sign_in.headers["x-trace"], options.method) == ("abc", "OPTIONS")


def test_cookies_redirects_and_forms_reach_the_other_side() -> None:
    with OAuthProvider() as api, requests.Session() as browser:
        page = browser.get(f"{api.url}/login/")
        form = {**ADA, "next": "/o/authorize/?a=1", "csrfmiddlewaretoken": page.cookies["provider_csrf"]}
        answer = browser.post(f"{api.url}/login/", form, allow_redirects=False)

        assert (answer.status_code, answer.headers["Location"]) == (302, "/o/authorize/?a=1")
        assert set(answer.cookies.keys()) == {"provider_csrf", "provider_session"}
        assert api.calls[-1].body == urlencode(form).encode()


def test_a_fault_keeps_a_call_from_the_real_api(api: SimpleJwtApi) -> None:
    pair = requests.post(f"{api.url}/token/", json=ADA).json()
    api.fail(*api.refresh_call, Fault.answer(503, {"detail": "busy"}))

    statuses = [requests.post(f"{api.url}/token/refresh/", json=pair).status_code for _ in range(2)]

    assert statuses == [503, 200]
    assert (api.count_refreshes(), api.count_refreshes(503)) == (2, 1)


def test_a_lost_answer_has_spent_the_token(api: SimpleJwtApi) -> None:
    spends, reuses = api.refresh_spends.total(), api.reuses
    pair = requests.post(f"{api.url}/token/", json=ADA).json()
    api.fail(*api.refresh_call, Fault.lose_answer())

    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        requests.post(f"{api.url}/token/refresh/", json=pair)

    assert requests.post(f"{api.url}/token/refresh/", json=pair).status_code == 401
    assert (api.refresh_spends.total() - spends, api.reuses - reuses) == (1, 1)


def test_an_api_that_was_away_comes_back_at_the_same_address_with_all_that_it_knew(api: SimpleJwtApi) -> None:
    url = api.url
    pair = requests.post(f"{url}/token/", json=ADA).json()

    api.stop_serving()
    was_listening = is_listening(url)
    api.start_serving()

    assert not was_listening
    assert api.url == url
    assert requests.post(f"{url}/token/refresh/", json=pair).status_code == 200


def test_no_process_is_left_behind() -> None:
    with SimpleJwtApi() as api:
        behind = f"http://127.0.0.1:{api.program.port}/"
        assert is_listening(behind)

    assert not is_listening(behind)


def test_the_process_ends_with_a_test_run_that_is_killed() -> None:
    starter = (
        "import time\n"
        "from tests.real_apis.apis import SimpleJwtApi\n"
        "with SimpleJwtApi() as api:\n"
        "    print(api.program.port, flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", starter], cwd=PROJECT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout
        behind = f"http://127.0.0.1:{int(run.stdout.readline())}/"
        assert is_listening(behind)
        run.send_signal(signal.SIGKILL)

    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while is_listening(behind):
        assert time.monotonic() < give_up_at
        time.sleep(0.01)
