"""SimpleJWT behaves as the rest of the tests take it to behave."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import pytest
import requests

from tests.demo_api.readings import ROWS
from tests.demo_api.users import DEMO_USERS
from tests.real_apis.apis import SimpleJwtApi

ADA = "ada@example.com"
Pair = dict[str, Any]


@pytest.fixture(scope="module")
def shared_api() -> Iterator[SimpleJwtApi]:
    with SimpleJwtApi(access_ttl=60, refresh_ttl=1800) as api:
        yield api


@pytest.fixture
def api(shared_api: SimpleJwtApi) -> SimpleJwtApi:
    shared_api.forget_calls()
    return shared_api


def ask_for_tokens(api: SimpleJwtApi, **fields: str) -> requests.Response:
    return requests.post(f"{api.url}/token/", json=fields)


def sign_in(api: SimpleJwtApi, email: str = ADA, *, field: str = "username") -> Pair:
    answer = ask_for_tokens(api, **{field: email, "password": DEMO_USERS[email]})
    assert answer.status_code == 200
    pair: Pair = answer.json()
    return pair


def refresh(api: SimpleJwtApi, pair: Pair) -> requests.Response:
    return requests.post(f"{api.url}/token/refresh/", json={"refresh": pair["refresh"]})


def get(api: SimpleJwtApi, pair: Pair) -> requests.Response:
    return requests.get(f"{api.url}/protected-route", headers={"Authorization": f"Bearer {pair['access']}"})


def read_claims(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


def test_signing_in_yields_two_tokens_that_say_how_long_they_live(api: SimpleJwtApi) -> None:
    pair = sign_in(api)

    lives = {name: read_claims(token)["exp"] - read_claims(token)["iat"] for name, token in pair.items()}
    # A second may begin between the two times, of which the library takes one from the refresh token.
    assert (lives["access"] in (59, 60), lives["refresh"]) == (True, 1800)
    assert get(api, pair).json() == {"data": list(ROWS)}


def test_how_long_access_tokens_live_can_change_while_it_runs() -> None:
    with SimpleJwtApi() as api:
        api.set_access_ttl(7)
        pair = sign_in(api)

        claims = [read_claims(token) for token in (pair["access"], refresh(api, pair).json()["access"])]

        # A second may begin between the two times, of which the library takes one from the refresh token.
        assert {claim["exp"] - claim["iat"] for claim in claims} <= {6, 7}


def test_wrong_credentials_are_refused_in_the_words_of_the_library(api: SimpleJwtApi) -> None:
    answer = ask_for_tokens(api, username=ADA, password="wrong")

    assert (answer.status_code, list(answer.json())) == (401, ["detail"])


def test_an_expired_access_token_gets_401_and_a_refreshed_one_the_data(api: SimpleJwtApi) -> None:
    pair = sign_in(api)
    api.expire_access_tokens()

    refused = get(api, pair)
    renewed = refresh(api, pair).json()

    assert (refused.status_code, refused.json()["code"]) == (401, "token_not_valid")
    assert set(renewed) == {"access", "refresh"}
    assert get(api, renewed).status_code == 200


def test_a_spent_refresh_token_is_refused_and_its_successor_is_not(api: SimpleJwtApi) -> None:
    spends, reuses = api.refresh_spends.total(), api.reuses
    pair = sign_in(api)
    renewed = refresh(api, pair).json()

    again = refresh(api, pair)

    assert (again.status_code, again.json()["code"]) == (401, "token_not_valid")
    assert (api.refresh_spends.total() - spends, api.reuses - reuses) == (1, 1)
    assert refresh(api, renewed).status_code == 200


def test_a_token_on_the_blacklist_is_refused_and_was_no_reuse(api: SimpleJwtApi) -> None:
    reuses = api.reuses
    pair = sign_in(api)

    assert requests.post(f"{api.url}/token/blacklist/", json={"refresh": pair["refresh"]}).status_code == 200
    assert refresh(api, pair).status_code == 401
    assert api.reuses == reuses


def test_revoking_all_ends_every_sign_in_but_not_the_next_one(api: SimpleJwtApi) -> None:
    pairs = [sign_in(api, email) for email in DEMO_USERS]
    api.revoke_all()

    answers = [ask(api, pair) for pair in pairs for ask in (get, refresh)]

    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(401, "token_not_valid")}
    assert refresh(api, sign_in(api)).status_code == 200


def test_many_sign_ins_and_refreshes_at_once_are_all_answered(api: SimpleJwtApi) -> None:
    with ThreadPoolExecutor(20) as pool:
        pairs = list(pool.map(lambda _: sign_in(api), range(20)))
        answers = list(pool.map(lambda pair: refresh(api, pair), pairs))

    assert [answer.status_code for answer in answers] == [200] * 20


def test_users_can_sign_in_with_their_email_instead() -> None:
    with SimpleJwtApi(username_field="email") as api:
        assert refresh(api, sign_in(api, field="email")).status_code == 200
        assert ask_for_tokens(api, username=ADA, password=DEMO_USERS[ADA]).status_code == 400
        assert api.site_environment["API_USERNAME_FIELD"] == "email"


def test_without_rotation_the_refresh_token_stays() -> None:
    with SimpleJwtApi(rotation=False) as api:
        pair = sign_in(api)

        answers = [refresh(api, pair).json() for _ in range(2)]
        api.revoke_all()

        assert [set(answer) for answer in answers] == [{"access"}] * 2
        assert refresh(api, pair).status_code == 401
        assert (list(api.refresh_spends.values()), api.reuses) == ([2], 0)


def test_without_a_blacklist_spent_tokens_stay_good_until_all_are_revoked() -> None:
    with SimpleJwtApi(blacklist=False) as api:
        pair = sign_in(api)

        assert [refresh(api, pair).status_code for _ in range(2)] == [200, 200]
        assert requests.post(f"{api.url}/token/blacklist/", json={"refresh": pair["refresh"]}).status_code == 404
        api.revoke_all()
        assert [get(api, pair).status_code, refresh(api, pair).status_code] == [401, 401]
        assert refresh(api, sign_in(api)).status_code == 200
