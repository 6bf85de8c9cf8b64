"""The production recipe: real nginx with config/deployment/nginx.conf in front of real gunicorn."""

import http.client
import re
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import IncompleteRead
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pytest_django import Settings

from accounts.browser.cookies import MAX_SESSION_BYTES
from accounts.doctor.findings import Status
from accounts.doctor.site import examine_site
from tests.accounts.at_provider import PAGE, Person
from tests.accounts.odd_provider import OddProvider
from tests.config.nginx import Nginx
from tests.config.proxy import PRODUCTION, asked, sign_in
from tests.demo_api import handler
from tests.demo_api.messages import Answer
from tests.demo_api.server import Fault, Gate
from tests.load.processes import free_port
from tests.load.restarts import TABS, busy
from tests.load.site import Site

pytestmark = pytest.mark.nginx

GATE_SECONDS = 10
VISITORS_REQUESTS = 14
UPLOAD_SECONDS = 0.5
MEGABYTE = 1024 * 1024
PROXY = "/protected/api/protected-route"
NOBODY = "203.0.113.77"


@contextmanager
def held_at_second_row(provider: OddProvider) -> Iterator[Gate]:
    """A stream's second call to the API waits at the gate."""
    with Gate() as gate:
        provider.fail("GET", "/protected-route", Fault.delay(0))
        provider.fail("GET", "/protected-route", Fault.hold_before(gate))
        yield gate


def parts_in(person: Person) -> int:
    return len(re.findall(r"__Host-session(?:-\d)?=", person.jar.header()))


def test_the_doctor_finds_nothing_wrong(
    nginx: Nginx, certificate: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cookies of every size both ways, streams, addresses, the scheme, caching."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    settings.API_SESSION_COOKIE_NAME = PRODUCTION["API_SESSION_COOKIE_NAME"]
    settings.TRUSTED_PROXY_COUNT = 1

    findings = list(examine_site(nginx.url))

    assert [finding for finding in findings if finding.status is not Status.OK] == []
    assert any(f"{MAX_SESSION_BYTES} bytes" in finding.found for finding in findings)


@pytest.mark.parametrize(
    ("pair_bytes", "parts"), [(3584, 1), (8192, 3), (15872, 5)], ids=["3.5 KB", "three parts", "the largest"]
)
def test_a_large_token_pair_survives_sign_in_rotation_and_sign_out(
    provider: OddProvider, nginx: Nginx, pair_bytes: int, parts: int
) -> None:
    half = dict.fromkeys(("access_token", "refresh_token"), lambda: secrets.token_urlsafe(pair_bytes * 3 // 8))
    provider.tokens = {**half}
    person = sign_in(provider, nginx)

    assert parts_in(person) == parts
    for generation in (1, 2):
        provider.expire_access_tokens()
        # One answer sets all parts anew, and the next one, which confirms them, does so too.
        assert [person.open(PAGE).status for _ in range(2)] == [200, 200]
        assert person.open("/accounts/session/").json()["generation"] == generation
    assert person.sign_out().status == 200
    assert parts_in(person) == 0


@pytest.mark.parametrize(
    ("path", "row"),
    [("/protected/stream/", b'class="quiet"'), ("/protected/events/", b'"row"')],
    ids=["page", "events"],
)
def test_a_stream_arrives_while_it_is_made(provider: OddProvider, person: Person, path: str, row: bytes) -> None:
    url, headers = f"{path}?rows=2&delay=0", {"Accept-Encoding": "gzip"}
    with held_at_second_row(provider) as gate, asked(person, url, headers) as answer:
        first = b""
        while first.count(row) < 1 and (piece := answer.read1(65536)):
            first += piece
        assert gate.reached.wait(GATE_SECONDS)
        assert "Content-Encoding" not in answer.headers
        gate.release()
        rest = answer.read()

    assert rest.count(row) == 1


def test_a_stream_that_breaks_off_does_not_look_complete(provider: OddProvider, site: Site, person: Person) -> None:
    with held_at_second_row(provider) as gate, asked(person, "/protected/stream/?rows=2&delay=0", {}) as answer:
        assert gate.reached.wait(GATE_SECONDS)
        site.kill(site.workers[0])
        with pytest.raises(IncompleteRead):
            answer.read()


def test_workers_that_are_replaced_go_unnoticed(
    provider: OddProvider, site: Site, nginx: Nginx, person: Person
) -> None:
    """The recipe's way to deploy: no 502 from nginx, and none of the connections that it keeps breaks."""
    statuses: Counter[int] = Counter()

    with busy([person, sign_in(provider, nginx)], TABS, lambda answer: statuses.update([answer.status])) as sent_again:
        site.reload()

    assert set(statuses) == {200}
    assert sent_again == [0, 0]


@pytest.mark.parametrize(
    "forged",
    [
        {},
        {"X-Forwarded-For": NOBODY},
        {"X-Forwarded-For": f"{NOBODY}, 127.0.0.1, {NOBODY}"},
        {"X_Forwarded_For": NOBODY},
        {"Forwarded": f"for={NOBODY};proto=http;host=evil.example"},
        {"X-Real-IP": NOBODY, "X-Forwarded-Host": "evil.example", "X-Forwarded-Port": "1"},
        {"X-Forwarded-Proto": "http"},
        {"X-Forwarded-Ssl": "off", "X-Forwarded-Protocol": "http"},
        {"SCRIPT_NAME": "/elsewhere", "PATH_INFO": "/elsewhere"},
        {"Connection": "keep-alive, X-Forwarded-For, X-Forwarded-Proto"},
    ],
    ids=lambda forged: ", ".join(forged) or "nothing",
)
def test_the_site_knows_address_and_scheme_whatever_a_visitor_says(
    provider: OddProvider, nginx: Nginx, person: Person, forged: dict[str, str]
) -> None:
    provider.forget_calls()

    with asked(person, PAGE, forged) as answer:
        assert answer.status == 200

    assert [call.headers["x-forwarded-for"] for call in provider.calls] == ["127.0.0.1"]


@pytest.mark.usefixtures("provider")
def test_while_the_site_is_away_the_log_has_no_code_that_is_still_good(certificate: Path) -> None:
    code = secrets.token_urlsafe()

    with Nginx(free_port(), certificate) as nginx:
        visitor = Person(nginx.port, tls=nginx.tls)
        assert visitor.open(PAGE).status == 502
        with asked(visitor, "/protected/events/", {"Accept": "text/event-stream"}) as answer:
            assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream")
            assert re.fullmatch(rb"retry: \d{4,5}\n: unavailable\n\n", answer.read())
        assert visitor.open(f"/accounts/callback/?code={code}&state={code}").status == 502
        log = nginx.log

    assert '"GET /accounts/callback/"' in log
    assert f"GET {PAGE} HTTP" in log, "what goes wrong elsewhere is in the log of errors"
    assert code not in log


class Listener(BaseHTTPRequestHandler):
    """In the site's place: says for how long a request was on its way, by what nginx says of it."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        said = self.headers.get_all("X-Request-Waited")
        body = f"{len(said)} {said[0]} {time.time()}".encode() if said else b""
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Holder(Listener):
    """In the site's place: holds each GET until all have arrived that a visitor may send at once, and longer."""

    together = threading.Barrier(VISITORS_REQUESTS + 1)
    released = threading.Event()

    def do_GET(self) -> None:
        self.together.wait(GATE_SECONDS)
        self.released.wait(GATE_SECONDS)
        self.send_response(204)
        self.end_headers()


@pytest.mark.usefixtures("provider")
def test_too_many_requests_at_once_do_not_cost_a_browser_its_key(certificate: Path) -> None:
    """After a 429, Chromium gives the key of its device up; after a 503 it tries again."""
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), Holder) as listener,
        ThreadPoolExecutor(VISITORS_REQUESTS + 1) as threads,
        Nginx(listener.server_port, certificate) as nginx,
    ):

        def ask(method: str, path: str) -> int:
            with closing(http.client.HTTPSConnection("127.0.0.1", nginx.port, context=nginx.tls)) as connection:
                connection.request(method, path, headers={"Cookie": "__Host-session=one", "Content-Length": "0"})
                return connection.getresponse().status

        threads.submit(listener.serve_forever)
        try:
            held = [threads.submit(ask, "GET", "/") for _ in range(VISITORS_REQUESTS)]
            Holder.together.wait(GATE_SECONDS)
            refused = ask("POST", "/"), ask("POST", "/accounts/device/refresh/")
            Holder.released.set()
            statuses = {request.result() for request in held}
            assert ask("POST", "/accounts/device/refresh/") == 200
        finally:
            Holder.released.set()
            listener.shutdown()

    assert statuses == {204}
    assert refused == (429, 503)


@pytest.mark.usefixtures("provider")
def test_the_site_is_told_how_long_an_upload_took_to_come_in(certificate: Path) -> None:
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), Listener) as listener,
        ThreadPoolExecutor() as threads,
        Nginx(listener.server_port, certificate) as nginx,
        closing(http.client.HTTPSConnection("127.0.0.1", nginx.port, context=nginx.tls)) as connection,
    ):
        threads.submit(listener.serve_forever)
        try:
            connection.putrequest("POST", "/")
            connection.putheader("Content-Length", "2")
            connection.putheader("X-Request-Waited", "9000 0")
            connection.endheaders(b"a")
            time.sleep(UPLOAD_SECONDS)
            connection.send(b"b")
            count, taken_in, passed_on, received = connection.getresponse().read().split()
        finally:
            listener.shutdown()

    assert int(count) == 1
    assert UPLOAD_SECONDS / 2 < float(taken_in) < 9000
    assert abs(float(received) - float(passed_on)) < GATE_SECONDS


def test_a_request_with_two_ends_is_refused(person: Person) -> None:
    headers = {"Transfer-Encoding": "chunked", "Content-Length": "4"}

    with asked(person, PAGE, headers, body=b"0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n") as answer:
        assert answer.status == 400


@pytest.mark.parametrize("forged", [{}, {"X-Forwarded-Proto": "https", "X-Forwarded-Ssl": "on"}], ids=["", "forged"])
def test_plain_http_leads_to_https(nginx: Nginx, forged: dict[str, str]) -> None:
    with asked(Person(nginx.plain_port), "/protected/?page=2", forged) as answer:
        assert answer.status == 301
        assert answer.headers["Location"] == "https://127.0.0.1/protected/?page=2"


def test_it_leads_to_no_other_host(nginx: Nginx) -> None:
    with asked(Person(nginx.plain_port), "/protected/", {"Host": "evil.example"}) as answer:
        assert answer.headers["Location"] == "https://127.0.0.1/protected/"


@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "in chunks"])
def test_an_upload_arrives_whole(
    provider: OddProvider, nginx: Nginx, person: Person, chunked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = secrets.token_bytes(2 * MEGABYTE)
    monkeypatch.setattr(handler, "MAX_BODY_BYTES", len(upload))
    person.open("/protected/script/")
    headers = {
        "Content-Type": "application/octet-stream",
        "X-CSRFToken": person.jar.csrf_token,
        "Origin": nginx.url,
        **({"Transfer-Encoding": "chunked"} if chunked else {}),
    }
    provider.forget_calls()

    with asked(person, PROXY, headers, body=upload, chunked=chunked) as answer:
        assert answer.status == 200

    assert [call.body == upload for call in provider.calls] == [True]


def test_the_api_cannot_have_nginx_send_something_else(provider: OddProvider, person: Person) -> None:
    headers = {"Content-Type": "application/json", "X-Accel-Redirect": "/accounts/session/", "X-Accel-Expires": "60"}
    provider.answers = {"/protected-route": Answer(200, b'{"data": 7}', headers)}

    with asked(person, PROXY, {}) as answer:
        assert answer.read() == b'{"data": 7}'


def test_the_log_has_the_id_of_each_request_and_no_query(provider: OddProvider, nginx: Nginx, person: Person) -> None:
    provider.forget_calls()
    code = secrets.token_urlsafe()

    with asked(person, PAGE, {"X-Request-ID": "chosen-by-the-visitor"}) as answer:
        told = answer.headers["X-Request-ID"]
    person.open(f"/accounts/callback/?code={code}&state={code}")

    (call,) = provider.calls
    assert call.headers["x-request-id"] == told != "chosen-by-the-visitor"
    log = nginx.log
    assert call.headers["x-request-id"] in log
    assert '"GET /accounts/callback/"' in log
    assert code not in log
