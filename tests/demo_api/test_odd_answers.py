"""Odd answers that real APIs and gateways give, on order: the API did what it was asked to, or never saw the call."""

import contextlib
import gzip
import json
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.demo_api.gateway import GATEWAYS, Gateway
from tests.demo_api.server import DemoApi, Fault, Gate
from tests.demo_api.tokens import TokenKind
from tests.demo_api.wire import bearer, get, refresh, sign_in

PATIENCE_SECONDS = 10
LOGIN = "/auth/login"
REFRESH = "/auth/refresh"
ROWS = "/protected-route"


@pytest.fixture
def api() -> Iterator[DemoApi]:
    with DemoApi() as api:
        yield api


def login(api: DemoApi, password: str = "tide-table") -> requests.Response:
    return requests.post(api.url + LOGIN, json={"email": "ada@example.com", "password": password})


class TestSuccessStatus:
    @pytest.mark.parametrize("status", [201, 202, 203, 206])
    def test_the_pair_counts_and_the_old_one_is_spent(self, api: DemoApi, status: int) -> None:
        api.fail("POST", "/auth/", Fault.success_status(status), times=None)
        first = login(api)
        api.expire_access_tokens()
        second = refresh(api, first.json())

        assert (first.status_code, second.status_code) == (status, status)
        assert get(api, second.json()).status_code == 200
        assert sum(api.refresh_spends.values()) == 1
        assert (refresh(api, first.json()).status_code, api.reuses) == (401, 1)

    def test_a_refusal_keeps_its_status(self, api: DemoApi) -> None:
        api.fail("POST", LOGIN, Fault.success_status(201))

        assert login(api, "wrong").status_code == 401


class TestFields:
    @pytest.mark.parametrize("lifetime", [0, -5, "60", "soon", 10**30])
    @pytest.mark.parametrize("tokens", ["jwt", "opaque"])
    def test_a_lifetime_can_be_anything(self, tokens: TokenKind, lifetime: object) -> None:
        with DemoApi(tokens=tokens) as api:
            api.fail("POST", "/auth/", Fault.fields(expires_in=lifetime), times=None)
            first = sign_in(api)
            api.expire_access_tokens()
            second = refresh(api, first).json()

            assert (first["expires_in"], second["expires_in"]) == (lifetime, lifetime)
            assert get(api, second).status_code == 200

    @pytest.mark.parametrize("empty", ["", " ", None])
    def test_an_empty_refresh_token_leaves_the_old_one_valid(self, api: DemoApi, empty: str | None) -> None:
        pair = sign_in(api)
        api.stop_rotating()
        api.fail("POST", REFRESH, Fault.fields(refreshToken=empty), times=None)
        for _ in range(2):
            api.expire_access_tokens()
            answer = refresh(api, pair).json()
            assert answer["refreshToken"] == empty
            pair["accessToken"] = answer["accessToken"]
            assert get(api, pair).status_code == 200

        assert list(api.refresh_spends.values()) == [2]
        assert api.reuses == 0

    def test_a_bound_token_that_does_not_rotate_goes_with_the_newest_access_token(self) -> None:
        with DemoApi(bound=True) as api:
            pair = sign_in(api)
            api.stop_rotating()
            for _ in range(2):
                api.expire_access_tokens()
                pair = refresh(api, pair).json()

            assert get(api, pair).status_code == 200

    def test_a_pair_with_control_characters_cannot_be_used_and_can_be_revoked(self, api: DemoApi) -> None:
        api.fail("POST", LOGIN, Fault.fields(accessToken=lambda token: token + "\x07"))
        pair = sign_in(api)
        assert pair["accessToken"].endswith("\x07")
        assert api.open_sign_ins == 1

        requests.post(f"{api.url}/auth/logout", json=pair)

        assert api.open_sign_ins == 0

    def test_a_refusal_stays_as_it_is(self, api: DemoApi) -> None:
        api.fail("POST", LOGIN, Fault.fields(accessToken="x"))

        assert list(login(api, "wrong").json()) == ["message"]


class TestContradictions:
    def test_a_refresh_succeeds_and_its_access_token_never_does(self, api: DemoApi) -> None:
        pair = sign_in(api)
        api.expire_access_tokens()
        api.issue_dead_access_tokens()
        for _ in range(3):
            answer = refresh(api, pair)
            pair = answer.json()
            assert (answer.status_code, get(api, pair).status_code) == (200, 401)

        api.heal()

        assert get(api, refresh(api, pair).json()).status_code == 200

    def test_one_path_can_refuse_everybody_in_the_apis_own_words(self, api: DemoApi) -> None:
        pair = sign_in(api)
        api.fail("GET", f"{ROWS}/rows/7", Fault.answer(401, {"message": "Not yours."}), times=None)

        assert [get(api, pair, f"{ROWS}/rows/{number}").status_code for number in (6, 7, 7, 8)] == [200, 401, 401, 200]

    @pytest.mark.parametrize(
        ("status", "payload"), [(200, {"error": "bad_refresh_token"}), (400, {"error": "interaction_required"})]
    )
    def test_an_error_code_can_come_with_any_status(self, api: DemoApi, status: int, payload: dict[str, str]) -> None:
        pair = sign_in(api)
        api.expire_access_tokens()
        api.fail("POST", REFRESH, Fault.answer(status, payload))

        answer = refresh(api, pair)

        assert (answer.status_code, answer.json()) == (status, payload)
        assert refresh(api, pair).status_code == 200, "nothing was spent"


class TestBehindGateway:
    @pytest.mark.parametrize("gateway", GATEWAYS.values(), ids=GATEWAYS)
    def test_it_answers_every_path_and_the_api_sees_no_call(self, api: DemoApi, gateway: Gateway) -> None:
        pair = sign_in(api)
        api.expire_access_tokens()
        api.fail("GET", "/", Fault.answer(500))
        with api.behind_gateway(gateway):
            answers = [login(api), refresh(api, pair), get(api, pair), get(api, pair, "/no/such/path")]

        assert {answer.status_code for answer in answers} == {gateway.status}
        assert {tuple(answer.json()) for answer in answers} == {tuple(gateway.payload)}
        assert [call.fault for call in api.calls[1:]] == ["gateway"] * 4
        assert sum(api.refresh_spends.values()) == 0
        assert refresh(api, pair).status_code == 200

    def test_it_can_name_the_request(self, api: DemoApi) -> None:
        gateway = Gateway(404, {"message": "{method} {path}", "id": "{request_id}", "at": "{time}"}, {"X-From": "edge"})
        with api.behind_gateway(gateway):
            first, second = [requests.get(f'{api.url}/a"b') for _ in range(2)]

        assert first.json()["message"] == "GET /a%22b"
        assert first.json()["id"] != second.json()["id"]
        assert first.headers["X-From"] == "edge"

    def test_it_goes_with_heal(self, api: DemoApi) -> None:
        with api.behind_gateway(GATEWAYS["401"]):
            api.heal()
            assert login(api).status_code == 200


class TestBytes:
    def test_a_byte_order_mark_comes_before_the_json(self, api: DemoApi) -> None:
        api.fail("GET", ROWS, Fault.byte_order_mark())

        answer = get(api, sign_in(api))

        assert answer.content.startswith(b"\xef\xbb\xbf{")
        assert json.loads(answer.content.decode("utf-8-sig"))["data"]

    @pytest.mark.parametrize("path", [ROWS, f"{ROWS}/export.csv?bytes=50000"])
    def test_half_of_a_compressed_body_is_missing_from_a_complete_answer(self, api: DemoApi, path: str) -> None:
        pair = sign_in(api)
        api.fail("GET", ROWS, Fault.cut_gzip())

        answer = requests.get(api.url + path, headers=bearer(pair), stream=True)
        content = answer.raw.read(decode_content=False)

        assert answer.headers["Content-Encoding"] == "gzip"
        assert len(content) == int(answer.headers["Content-Length"])
        assert zlib.decompressobj(wbits=31).decompress(content)
        with pytest.raises(EOFError):
            gzip.decompress(content)

    def test_an_event_stream_sends_its_headers_and_then_nothing(self, api: DemoApi) -> None:
        with Gate() as gate, contextlib.ExitStack() as closing:
            api.fail("GET", "/events", Fault.quiet_event_stream(gate))
            stream = closing.enter_context(requests.get(f"{api.url}/events", stream=True, timeout=PATIENCE_SECONDS))
            assert (stream.status_code, stream.headers["Content-Type"]) == (200, "text/event-stream")
            pool = closing.enter_context(ThreadPoolExecutor(1))
            content = pool.submit(stream.raw.read)
            assert gate.reached.wait(PATIENCE_SECONDS)
            assert not content.done()
            gate.release()

            assert content.result(PATIENCE_SECONDS) == b"data: tide\n\n"
