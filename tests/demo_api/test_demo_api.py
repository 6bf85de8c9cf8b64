"""The demo API keeps its contract, over real HTTP; faults are in `test_faults.py`, junk in `test_damage.py`."""

import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from typing import Any

import jwt
import pytest
import requests

from tests.demo_api.readings import ROWS, stream_csv
from tests.demo_api.server import DEMO_USERS, DemoApi
from tests.demo_api.tokens import TokenKind
from tests.demo_api.wire import bearer, get, refresh, send_raw, sign_in

REFUSED_TOKENS = {
    "empty": "",
    "junk": "junk",
    "three parts of junk": "a.b.c",
    "not ASCII": "ä.ö.ü",
    "half a surrogate pair": "\ud800",
}


@pytest.fixture
def api() -> Iterator[DemoApi]:
    with DemoApi() as api:
        yield api


def read_claims(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


class TestLogin:
    def test_it_answers_a_pair_of_tokens_that_say_how_long_they_live(self, api: DemoApi) -> None:
        pair = sign_in(api, "grace@example.com")

        access, refresh_token = read_claims(pair["accessToken"]), read_claims(pair["refreshToken"])
        assert set(pair) == {"accessToken", "refreshToken"}
        assert access["user"] == {"id": 2, "email": "grace@example.com"}
        assert access["exp"] - access["iat"] == 60
        assert refresh_token["exp"] - refresh_token["iat"] == 1800
        assert access["jti"] != refresh_token["jti"]
        assert jwt.get_unverified_header(pair["accessToken"])["alg"] == "HS256"

    def test_a_test_can_add_claims(self, api: DemoApi) -> None:
        api.claims["roles"] = ["editors"]
        first = sign_in(api)
        api.claims.clear()
        api.expire_access_tokens()

        assert read_claims(first["accessToken"])["roles"] == ["editors"]
        assert "roles" not in read_claims(refresh(api, first).json()["accessToken"])

    @pytest.mark.parametrize(
        ("email", "password"),
        [
            ("ada@example.com", "wrong"),
            ("nobody@example.com", "tide-table"),
            ("nobody@example.com", ""),
            ("ada@example.com", "\ud800"),
            ("\ud800", ""),
        ],
    )
    def test_wrong_credentials_are_refused(self, api: DemoApi, email: str, password: str) -> None:
        answer = requests.post(f"{api.url}/auth/login", json={"email": email, "password": password})

        assert (answer.status_code, list(answer.json())) == (401, ["message"])

    def test_every_demo_user_can_sign_in(self, api: DemoApi) -> None:
        assert all(sign_in(api, email)["accessToken"] for email in DEMO_USERS)


class TestProtectedRoute:
    def test_it_lists_flat_rows_with_the_same_columns(self, api: DemoApi) -> None:
        rows = get(api, sign_in(api)).json()["data"]

        assert rows == list(ROWS)
        assert len({tuple(row) for row in rows}) == 1

    def test_one_row_is_picked_modulo_their_number(self, api: DemoApi) -> None:
        pair = sign_in(api)

        assert get(api, pair, "/protected-route/rows/3").json() == {"data": ROWS[3]}
        assert get(api, pair, f"/protected-route/rows/{len(ROWS) * 7 + 3}").json() == {"data": ROWS[3]}
        assert get(api, pair, "/protected-route/rows/three").status_code == 404

    def test_the_export_streams_about_as_much_as_it_was_asked_for(self, api: DemoApi) -> None:
        answer = get(api, sign_in(api), "/protected-route/export.csv?bytes=300000")

        assert answer.headers["Transfer-Encoding"] == "chunked"
        assert 300_000 <= len(answer.content) < 301_000
        assert answer.text.startswith("station,read_at,")
        assert all(line.count(",") == 6 for line in answer.text.splitlines())

    def test_the_export_holds_no_more_than_one_piece_at_a_time(self) -> None:
        assert max(map(len, stream_csv(2_000_000))) < 20_000

    def test_the_export_reaches_a_client_that_knows_no_chunks(self, api: DemoApi) -> None:
        token = sign_in(api)["accessToken"]
        request = f"GET /protected-route/export.csv?bytes=999 HTTP/1.0\r\nAuthorization: Bearer {token}\r\n\r\n"

        head, _, body = send_raw(api, request.encode()).partition(b"\r\n\r\n")

        assert b"chunked" not in head
        assert body.startswith(b"station,")
        assert len(body) >= 999

    @pytest.mark.parametrize("size", ["-1", "many", "", "1e3", "1073741825", "9" * 5000])
    def test_an_export_beyond_all_bounds_is_refused(self, api: DemoApi, size: str) -> None:
        assert get(api, sign_in(api), f"/protected-route/export.csv?bytes={size}").status_code == 400

    @pytest.mark.parametrize("body", ['{"station": "North Pier"}', "[1, 2]", '"text"', "null", "1e999"])
    def test_a_post_comes_back_as_it_was_sent(self, api: DemoApi, body: str) -> None:
        answer = requests.post(f"{api.url}/protected-route", data=body, headers=bearer(sign_in(api)))

        assert (answer.status_code, answer.text) == (201, f'{{"data": {body}}}')

    @pytest.mark.parametrize(
        "path",
        ["/protected-route", "/protected-route/rows/1", "/protected-route/export.csv"],
    )
    @pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic YTpi", "Bearer a.b.c"])
    def test_without_a_good_token_nothing_is_shown(self, api: DemoApi, path: str, header: str | None) -> None:
        answer = requests.get(api.url + path, headers={"Authorization": header} if header is not None else {})

        assert (answer.status_code, list(answer.json())) == (401, ["message"])
        assert answer.headers["WWW-Authenticate"] == "Bearer"

    def test_a_refresh_token_is_no_access_token(self, api: DemoApi) -> None:
        pair = sign_in(api)

        assert get(api, {"accessToken": pair["refreshToken"]}).status_code == 401

    def test_a_token_of_another_instance_opens_nothing(self, api: DemoApi) -> None:
        with DemoApi() as other:
            assert get(api, sign_in(other)).status_code == 401

    def test_an_expired_access_token_is_refused(self) -> None:
        with DemoApi(access_ttl=5) as api:
            pair = sign_in(api)
            assert get(api, pair).status_code == 200
            api.advance_clock(5)

            assert get(api, pair).status_code == 401

    def test_a_short_life_runs_out_by_itself(self) -> None:
        with DemoApi(access_ttl=0.3) as api:
            pair = sign_in(api)
            assert get(api, pair).status_code == 200
            deadline = time.monotonic() + 5
            while get(api, pair).status_code == 200 and time.monotonic() < deadline:
                time.sleep(0.02)

            assert get(api, pair).status_code == 401
            assert refresh(api, pair).status_code == 200

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/"),
            ("GET", "/auth/login"),
            ("PUT", "/protected-route"),
            ("DELETE", "/protected-route"),
            ("PATCH", "/protected-route/rows/1"),
            ("OPTIONS", "/auth/refresh"),
            ("POST", "/protected-route/rows/1"),
            ("GET", "/protected-route/"),
            ("GET", "/%00"),
        ],
    )
    def test_anything_else_is_not_there(self, api: DemoApi, method: str, path: str) -> None:
        answer = requests.request(method, api.url + path, headers=bearer(sign_in(api)))

        assert (answer.status_code, list(answer.json())) == (404, ["message"])


class TestRefresh:
    def test_it_is_refused_kindly_while_the_access_token_is_valid(self, api: DemoApi) -> None:
        pair = sign_in(api)

        answer = refresh(api, pair)

        assert (answer.status_code, list(answer.json())) == (400, ["message"])
        assert get(api, pair).status_code == 200
        api.advance_clock(60)
        assert refresh(api, pair).status_code == 200, "the early attempt must not have spent the token"

    def test_it_gives_a_new_pair_that_works(self, api: DemoApi) -> None:
        old = sign_in(api)
        api.expire_access_tokens()

        new = refresh(api, old).json()

        assert set(new) == {"accessToken", "refreshToken"}
        assert (get(api, old).status_code, get(api, new).status_code) == (401, 200)
        api.expire_access_tokens()
        assert refresh(api, new).status_code == 200

    def test_a_spent_refresh_token_ends_its_own_sign_in_only(self, api: DemoApi) -> None:
        stolen, elsewhere = sign_in(api), sign_in(api)
        api.expire_access_tokens()
        newest = refresh(api, stolen).json()
        other = refresh(api, elsewhere).json()

        assert refresh(api, stolen).status_code == 401

        assert api.reuses == 1
        assert get(api, newest).status_code == 401
        api.advance_clock(60)
        assert refresh(api, newest).status_code == 401
        assert refresh(api, other).status_code == 200

    def test_a_spent_refresh_token_beside_a_valid_access_token_is_reuse_too(self, api: DemoApi) -> None:
        old = sign_in(api)
        api.expire_access_tokens()
        new = refresh(api, old).json()

        assert refresh(api, {**new, "refreshToken": old["refreshToken"]}).status_code == 401
        assert get(api, new).status_code == 401

    def test_without_a_grace_a_clock_set_back_opens_none(self, api: DemoApi) -> None:
        pair = sign_in(api)
        api.expire_access_tokens()
        refresh(api, pair)
        api.advance_clock(-30)

        assert refresh(api, pair).status_code == 401
        assert api.reuses == 1

    def test_of_many_at_once_one_is_accepted(self, api: DemoApi) -> None:
        pair = sign_in(api)
        api.expire_access_tokens()
        together = threading.Barrier(8)

        def race(_: int) -> int:
            together.wait(10)
            return refresh(api, pair).status_code

        with ThreadPoolExecutor(8) as pool:
            statuses = sorted(pool.map(race, range(8)))

        assert statuses == [200] + [401] * 7
        assert api.reuses == 7
        assert api.refresh_spends == {read_claims(pair["refreshToken"])["jti"]: 1}

    def test_an_expired_refresh_token_is_refused(self, api: DemoApi) -> None:
        pair = sign_in(api)
        api.advance_clock(1800)

        assert refresh(api, pair).status_code == 401
        assert api.reuses == 0

    @pytest.mark.parametrize("token", REFUSED_TOKENS.values(), ids=REFUSED_TOKENS)
    @pytest.mark.parametrize("kind", ["accessToken", "refreshToken"])
    def test_an_unknown_token_is_refused_and_spends_nothing(self, api: DemoApi, kind: str, token: str) -> None:
        pair = sign_in(api)
        api.expire_access_tokens()

        assert refresh(api, {**pair, kind: token}).status_code == 401
        assert refresh(api, pair).status_code == 200

    def test_a_forged_signature_is_refused(self, api: DemoApi) -> None:
        pair = sign_in(api)
        api.expire_access_tokens()
        for kind in pair:
            forged = jwt.encode(read_claims(pair[kind]), b"another key, no shorter than needed")
            assert refresh(api, {**pair, kind: forged}).status_code == 401

        assert refresh(api, pair).status_code == 200

    def test_the_access_token_of_another_sign_in_is_refused(self, api: DemoApi) -> None:
        pair, other = sign_in(api), sign_in(api)
        api.expire_access_tokens()

        assert refresh(api, {**pair, "accessToken": other["accessToken"]}).status_code == 401
        assert refresh(api, pair).status_code == 200

    def test_the_status_of_a_refusal_can_be_404(self) -> None:
        with DemoApi(refused_status=404) as api:
            pair = sign_in(api)
            api.revoke_all()

            answer = refresh(api, pair)

            assert (answer.status_code, list(answer.json())) == (404, ["message"])
            assert get(api, pair).status_code == 401

    def test_a_bound_refresh_token_works_with_its_own_access_token_only(self) -> None:
        with DemoApi(bound=True) as api:
            first = sign_in(api)
            api.expire_access_tokens()
            second = refresh(api, first).json()
            api.expire_access_tokens()

            assert refresh(api, {**second, "accessToken": first["accessToken"]}).status_code == 401
            assert refresh(api, second).status_code == 200

    def test_unless_bound_any_access_token_of_the_sign_in_will_do(self, api: DemoApi) -> None:
        first = sign_in(api)
        api.expire_access_tokens()
        second = refresh(api, first).json()
        api.expire_access_tokens()

        assert refresh(api, {**second, "accessToken": first["accessToken"]}).status_code == 200

    def test_within_the_grace_a_spent_token_brings_the_same_pair_again(self) -> None:
        with DemoApi(grace_seconds=10) as api:
            pair = sign_in(api)
            api.expire_access_tokens()
            first = refresh(api, pair).json()
            api.advance_clock(9)

            assert refresh(api, pair).json() == first
            assert (api.reuses, sum(api.refresh_spends.values())) == (0, 2)
            assert get(api, first).status_code == 200
            api.advance_clock(2)
            assert refresh(api, pair).status_code == 401
            assert api.reuses == 1
            assert get(api, first).status_code == 401


class TestLogout:
    def test_it_ends_that_sign_in_only(self, api: DemoApi) -> None:
        pair, elsewhere = sign_in(api), sign_in(api)

        answer = requests.post(f"{api.url}/auth/logout", json={"refreshToken": pair["refreshToken"]})

        assert (answer.status_code, answer.content) == (204, b"")
        assert (get(api, pair).status_code, get(api, elsewhere).status_code) == (401, 200)
        api.expire_access_tokens()
        assert (refresh(api, pair).status_code, refresh(api, elsewhere).status_code) == (401, 200)

    def test_a_spent_token_signs_out_and_is_no_reuse(self, api: DemoApi) -> None:
        pair = sign_in(api)
        api.expire_access_tokens()
        newest = refresh(api, pair).json()

        assert requests.post(f"{api.url}/auth/logout", json=pair).status_code == 204
        assert (get(api, newest).status_code, api.reuses) == (401, 0)

    def test_an_unknown_token_is_no_matter(self, api: DemoApi) -> None:
        assert requests.post(f"{api.url}/auth/logout", json={"refreshToken": "a.b.c"}).status_code == 204

    def test_an_api_may_have_no_such_call(self) -> None:
        with DemoApi(has_logout=False) as api:
            pair = sign_in(api)

            assert requests.post(f"{api.url}/auth/logout", json=pair).status_code == 404
            assert get(api, pair).status_code == 200


class TestTokensAndClock:
    @pytest.mark.parametrize(
        ("kind", "told"),
        [("opaque", {"expires_in": 60, "refresh_expires_in": 1800}), ("opaque-no-expiry", {})],
    )
    def test_opaque_tokens_say_nothing_themselves(self, kind: TokenKind, told: dict[str, int]) -> None:
        with DemoApi(tokens=kind) as api:
            pair = sign_in(api)
            user = pair.pop("user")
            api.expire_access_tokens()
            answer = refresh(api, pair).json()

            tokens = {answer.pop(name) for name in ("accessToken", "refreshToken")}
            assert user == {"id": 1, "email": "ada@example.com"}
            assert all(re.fullmatch(r"[\w-]{43}", token) for token in tokens)
            assert answer == told
            assert refresh(api, pair).status_code == 401
            assert api.reuses == 1

    @pytest.mark.parametrize("offset", [-3600, 3600])
    def test_its_clock_may_be_off(self, offset: float) -> None:
        with DemoApi(clock_offset=offset) as api:
            pair = sign_in(api)
            answer = get(api, pair)

            assert answer.status_code == 200
            assert abs(read_claims(pair["accessToken"])["iat"] - time.time() - offset) < 30
            assert abs(parsedate_to_datetime(answer.headers["Date"]).timestamp() - time.time() - offset) < 30

    def test_only_calls_for_data_take_the_processing_time(self) -> None:
        with DemoApi(processing_seconds=0.2) as api:
            get(api, sign_in(api))

            login, data = api.calls
            assert login.at - login.arrived < 0.2 <= data.at - data.arrived
