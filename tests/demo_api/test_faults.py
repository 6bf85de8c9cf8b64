"""What a test can do to the demo API: take it away, look at its calls, and order bad days."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.demo_api.server import DemoApi, Fault, Gate
from tests.demo_api.wire import bearer, refresh, send_raw, sign_in

PATIENCE_SECONDS = 10


@pytest.fixture
def api() -> Iterator[DemoApi]:
    with DemoApi() as api:
        yield api


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def get(api: DemoApi) -> requests.Response:
    return requests.get(f"{api.url}/protected-route")


class TestCalls:
    def test_they_are_on_record_before_their_answer_arrives(self, api: DemoApi) -> None:
        started = time.monotonic()
        pair = sign_in(api)
        requests.get(f"{api.url}/protected-route?page=2", headers={**bearer(pair), "X-Trace": "abc"})

        login, data = api.calls
        assert (login.method, login.path, login.status, login.fault) == ("POST", "/auth/login", 200, None)
        assert b'"email": "ada@example.com"' in login.body
        assert (data.path, data.query, data.headers["x-trace"]) == ("/protected-route", "page=2", "abc")
        assert started <= login.arrived <= login.at <= data.arrived <= data.at

    def test_they_can_be_counted_and_forgotten(self, api: DemoApi) -> None:
        pair = sign_in(api)
        refresh(api, pair)
        api.expire_access_tokens()
        refresh(api, pair)

        assert api.count("POST", "/auth/refresh") == 2
        assert api.count("POST", "/auth/refresh", status=200) == 1
        assert api.count("POST", "/auth") == 0
        api.forget_calls()
        assert api.calls == []

    def test_no_secret_shows_when_one_is_printed(self, api: DemoApi) -> None:
        pair = sign_in(api)
        requests.post(f"{api.url}/auth/refresh?token=secret", json=pair, headers=bearer(pair))

        printed = repr(api.calls)
        assert not any(secret in printed for secret in (*pair.values(), "tide-table", "secret"))

    def test_the_log_has_a_line_for_each_and_no_query(self) -> None:
        lines: list[str] = []
        with DemoApi(log=lines.append, keep_calls=False) as api:
            sign_in(api)
            requests.get(f"{api.url}/protected-route?token=secret")
            send_raw(api, b"GET /\x1b[2J HTTP/1.1\r\nConnection: close\r\n\r\n")

            assert lines == ["POST /auth/login 200", "GET /protected-route 401", r"GET /\x1b[2J 404"]
            assert api.calls == []


class TestComingAndGoing:
    def test_it_goes_away_and_comes_back_with_everything_it_knew(self, api: DemoApi) -> None:
        pair, url = sign_in(api), api.url
        with requests.Session() as kept_alive:
            assert kept_alive.get(f"{url}/protected-route", headers=bearer(pair)).status_code == 200
            api.stop_serving()

            for client in (requests, kept_alive):
                with pytest.raises(requests.ConnectionError, match="refused"):
                    client.get(f"{url}/protected-route")

            api.start_serving()
            assert api.url == url
            assert kept_alive.get(f"{url}/protected-route", headers=bearer(pair)).status_code == 200

    def test_connections_are_kept_alive_until_it_goes(self, api: DemoApi) -> None:
        with socket.create_connection(("127.0.0.1", api.port), timeout=PATIENCE_SECONDS) as connection:
            for _ in range(2):
                connection.sendall(b"GET / HTTP/1.1\r\nHost: api\r\n\r\n")
                assert connection.recv(65_536).startswith(b"HTTP/1.1 404 ")
            api.stop_serving()

            assert connection.recv(65_536) == b""

    def test_starting_and_stopping_twice_does_no_harm(self, api: DemoApi) -> None:
        api.start_serving()
        api.stop_serving()
        api.stop_serving()
        api.start_serving()

        assert get(api).status_code == 401

    def test_nobody_takes_its_port_while_it_is_away(self, api: DemoApi) -> None:
        api.stop_serving()

        with socket.socket() as intruder, pytest.raises(OSError, match="in use"):
            intruder.bind(("127.0.0.1", api.port))

    def test_it_has_no_address_before_it_starts(self) -> None:
        with pytest.raises(RuntimeError, match="start it first"):
            _ = DemoApi().url

    def test_a_request_under_way_is_dropped_and_does_nothing(self, api: DemoApi, pool: ThreadPoolExecutor) -> None:
        pair = sign_in(api)
        api.expire_access_tokens()
        with Gate() as gate:
            api.fail("POST", "/auth/refresh", Fault.hold_before(gate))
            answer = pool.submit(refresh, api, pair)
            assert gate.reached.wait(PATIENCE_SECONDS)
            api.stop_serving()

        assert isinstance(answer.exception(PATIENCE_SECONDS), requests.ConnectionError)
        api.start_serving()
        assert refresh(api, pair).status_code == 200

    def test_an_operator_can_end_every_sign_in(self, api: DemoApi) -> None:
        pairs = [sign_in(api), sign_in(api, "grace@example.com")]
        api.revoke_all()

        assert [refresh(api, pair).status_code for pair in pairs] == [401, 401]
        assert api.reuses == 0

    def test_tokens_issued_after_all_were_expired_are_good(self, api: DemoApi) -> None:
        sign_in(api)
        api.expire_access_tokens()

        assert requests.get(f"{api.url}/protected-route", headers=bearer(sign_in(api))).status_code == 200


class TestFaults:
    def test_a_gateway_can_answer_in_its_place(self, api: DemoApi) -> None:
        pair = sign_in(api)
        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", Fault.answer(404, b"<h1>Not found</h1>", "text/html"))
        api.fail("POST", "/auth/refresh", Fault.answer(503, {"error": "busy"}, headers={"Retry-After": "7"}))

        page, busy, good = [refresh(api, pair) for _ in range(3)]

        assert (page.status_code, page.text, page.headers["Content-Type"]) == (404, "<h1>Not found</h1>", "text/html")
        assert (busy.status_code, busy.json(), busy.headers["Retry-After"]) == (503, {"error": "busy"}, "7")
        assert good.status_code == 200
        assert [call.fault for call in api.calls] == [None, "answer", "answer", None]

    def test_a_gateway_can_redirect(self, api: DemoApi) -> None:
        api.fail("GET", "/protected-route", Fault.answer(302, headers={"Location": "http://127.0.0.1:9/"}))

        answer = requests.get(f"{api.url}/protected-route", allow_redirects=False)

        assert (answer.status_code, answer.headers["Location"]) == (302, "http://127.0.0.1:9/")

    def test_an_answer_can_be_cut_off(self, api: DemoApi) -> None:
        cut = Fault.answer(200, b'{"data": [', headers={"Content-Length": "500", "Connection": "close"})
        api.fail("GET", "/protected-route", cut)

        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            get(api)

    def test_a_delay_is_no_more_than_that(self, api: DemoApi) -> None:
        api.fail("GET", "/protected-route", Fault.delay(0.1))

        assert get(api).status_code == 401
        (call,) = api.calls
        assert call.at - call.arrived >= 0.1

    def test_a_reset_breaks_the_connection_before_anything_is_done(self, api: DemoApi) -> None:
        pair = sign_in(api)
        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", Fault.reset())

        with pytest.raises(requests.ConnectionError, match="reset by peer"):
            refresh(api, pair)

        assert (api.calls[-1].status, api.calls[-1].fault) == (0, "reset")
        assert refresh(api, pair).status_code == 200

    def test_a_lost_answer_has_spent_the_token(self, api: DemoApi) -> None:
        pair = sign_in(api)
        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", Fault.lose_answer())

        with pytest.raises(requests.ConnectionError, match="reset by peer"):
            refresh(api, pair)

        assert sum(api.refresh_spends.values()) == api.count("POST", "/auth/refresh", status=200) == 1
        assert refresh(api, pair).status_code == 401
        assert api.reuses == 1

    def test_a_dribbled_answer_comes_byte_by_byte(self, api: DemoApi) -> None:
        api.fail("GET", "/protected-route", Fault.dribble(0.001))
        pieces = []
        with socket.create_connection(("127.0.0.1", api.port), timeout=PATIENCE_SECONDS) as connection:
            connection.sendall(b"GET /protected-route HTTP/1.1\r\nConnection: close\r\n\r\n")
            while piece := connection.recv(65_536):
                pieces.append(piece)

        assert len(pieces) > 50
        assert b"".join(pieces).startswith(b"HTTP/1.1 401 ")
        assert b"".join(pieces).endswith(b"}")

    def test_a_stream_can_dribble_too(self, api: DemoApi) -> None:
        pair = sign_in(api)
        api.fail("GET", "/protected-route/export.csv", Fault.dribble(0))

        answer = requests.get(f"{api.url}/protected-route/export.csv?bytes=1000", headers=bearer(pair))

        assert len(answer.content) >= 1000

    def test_a_gate_in_front_holds_what_has_not_been_done(self, api: DemoApi, pool: ThreadPoolExecutor) -> None:
        pair = sign_in(api)
        api.expire_access_tokens()
        with Gate() as gate:
            api.fail("POST", "/auth/refresh", Fault.hold_before(gate))
            answer = pool.submit(refresh, api, pair)
            assert gate.reached.wait(PATIENCE_SECONDS)

            assert (gate.arrivals, sum(api.refresh_spends.values()), answer.done()) == (1, 0, False)

        assert answer.result(PATIENCE_SECONDS).status_code == 200

    def test_a_gate_behind_holds_the_answer_of_what_has_been_done(self, api: DemoApi, pool: ThreadPoolExecutor) -> None:
        pair = sign_in(api)
        api.expire_access_tokens()
        with Gate() as gate:
            api.fail("POST", "/auth/refresh", Fault.hold_after(gate))
            answer = pool.submit(refresh, api, pair)
            assert gate.reached.wait(PATIENCE_SECONDS)

            assert (sum(api.refresh_spends.values()), answer.done()) == (1, False)
            assert api.count("POST", "/auth/refresh") == 0, "a call is complete when its answer leaves"

        assert answer.result(PATIENCE_SECONDS).status_code == 200

    def test_a_gate_that_nobody_opens_gives_up(self, api: DemoApi) -> None:
        api.fail("GET", "/protected-route", Fault.hold_before(Gate(give_up_after=0.1)))

        assert get(api).status_code == 401

    def test_a_gate_once_open_stays_open(self, api: DemoApi) -> None:
        gate = Gate()
        gate.release()
        api.fail("GET", "/protected-route", Fault.hold_before(gate), times=2)

        assert [get(api).status_code, get(api).status_code, gate.arrivals] == [401, 401, 2]

    def test_faults_are_used_up_in_order_and_fit_method_and_prefix(self, api: DemoApi) -> None:
        api.fail("GET", "/protected-route/rows", Fault.answer(500))
        api.fail("GET", "/protected-route", Fault.answer(502), times=2)
        api.fail("GET", "/protected-route", Fault.answer(503))
        paths = ["/protected-route", "/protected-route/rows/1", "/protected-route/rows/1", "/protected-route", "/other"]

        statuses = [requests.get(api.url + path).status_code for path in paths]

        assert statuses == [502, 500, 502, 503, 404]
        assert requests.post(f"{api.url}/protected-route").status_code == 401

    def test_a_lasting_fault_lasts_until_it_is_healed(self, api: DemoApi) -> None:
        api.fail("GET", "/protected-route", Fault.answer(500), times=None)
        assert {get(api).status_code for _ in range(5)} == {500}

        api.heal()

        assert get(api).status_code == 401


class TestClientsThatLeave:
    def test_one_that_breaks_off_before_the_answer_leaves_no_traceback(
        self, api: DemoApi, capfd: pytest.CaptureFixture[str]
    ) -> None:
        others = connections()
        with Gate() as gate:
            api.fail("GET", "/protected-route", Fault.hold_after(gate))
            with socket.create_connection(("127.0.0.1", api.port)) as connection:
                connection.sendall(b"GET /protected-route HTTP/1.1\r\nHost: api\r\n\r\n")
                assert gate.reached.wait(PATIENCE_SECONDS)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        wait_for_the_end_of_all_but(others)
        assert capfd.readouterr().err == ""

    def test_one_that_leaves_in_the_middle_of_a_stream_leaves_no_thread_and_no_traceback(
        self, api: DemoApi, capfd: pytest.CaptureFixture[str]
    ) -> None:
        others = connections()
        url = f"{api.url}/protected-route/export.csv?bytes=100000000"
        with requests.get(url, headers=bearer(sign_in(api)), stream=True) as answer:
            assert len(answer.raw.read(1000)) == 1000

        wait_for_the_end_of_all_but(others)
        assert capfd.readouterr().err == ""


def connections() -> set[threading.Thread]:
    """The threads of all demo APIs in this process that have a connection open, kept alive by a pool perhaps."""
    return {thread for thread in threading.enumerate() if "process_request_thread" in thread.name}


def wait_for_the_end_of_all_but(others: set[threading.Thread]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while connections() - others:
        assert time.monotonic() < deadline
        time.sleep(0.01)
