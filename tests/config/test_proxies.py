"""The recipes for other proxies than nginx: each with its file of config/deployment in front of real gunicorn."""

import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pytest_django import Settings

from accounts.doctor.findings import Status
from accounts.doctor.site import examine_site
from tests.accounts.at_provider import PAGE, Person
from tests.accounts.odd_provider import OddProvider
from tests.config.other_proxies import Apache, Caddy, HAProxy, Varnish
from tests.config.proxy import PRODUCTION, Proxy, asked, sign_in
from tests.demo_api import handler
from tests.demo_api.faults import Fault, Gate
from tests.load.processes import free_port
from tests.load.site import Site

pytestmark = pytest.mark.proxies

TABS = 20
GATE_SECONDS = 10
LARGEST_PAIR_BYTES = 15872
MEGABYTE = 1024 * 1024
API = "/protected/api/protected-route"
NOBODY = "203.0.113.77"
FORGED = [
    {"X-Forwarded-For": NOBODY},
    {"X-Forwarded-For": f"{NOBODY}, 127.0.0.1, {NOBODY}"},
    {"X_Forwarded_For": NOBODY, "X-Real-IP": NOBODY},
    {"Forwarded": f"for={NOBODY};proto=http;host=evil.example", "X-Forwarded-Host": "evil.example"},
    {"X-Forwarded-Proto": "http"},
    {"X-Forwarded-Ssl": "off", "X-Forwarded-Protocol": "http"},
    {"SCRIPT_NAME": "/elsewhere", "PATH_INFO": "/elsewhere"},
]

PROXY_HEADERS = (
    *(
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "X-Forwarded-Prefix",
        "X-Forwarded-Proto",
    ),
    *("X-Forwarded-Protocol", "X-Forwarded-Ssl", "X-Real-IP", "X-Request-ID", "X-Request-Waited"),
)


@pytest.fixture(scope="module")
def provider() -> Iterator[OddProvider]:
    with OddProvider() as provider:
        yield provider


@pytest.fixture(scope="module", params=[HAProxy, Caddy, Apache, Varnish], ids=lambda proxy: proxy.__name__)
def proxy(request: pytest.FixtureRequest) -> Iterator[Proxy]:
    kind: type[Proxy] = request.param
    if missing := kind.missing():
        if os.environ.get("CI") and kind in (HAProxy, Caddy):
            pytest.fail(missing)
        pytest.skip(missing)
    # Not before: where no proxy is installed, no site starts.
    site: Site = request.getfixturevalue("site")
    if kind.count != 1:
        site.restart({"TRUSTED_PROXY_COUNT": str(kind.count)})
    with kind(site.port, request.getfixturevalue("certificate")) as proxy:
        yield proxy


@pytest.fixture
def person(provider: OddProvider, proxy: Proxy) -> Iterator[Person]:
    """Somebody who is signed in, and an API that is well."""
    provider.tokens = {}
    provider.forget_calls()
    yield sign_in(provider, proxy)
    provider.heal()


def test_the_doctor_finds_nothing_wrong(
    proxy: Proxy, certificate: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cookies of every size both ways, streams, addresses, the scheme, caching. Caddy is what Debian has."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    settings.API_SESSION_COOKIE_NAME = PRODUCTION["API_SESSION_COOKIE_NAME"]
    settings.TRUSTED_PROXY_COUNT = proxy.count

    findings = list(examine_site(proxy.url))

    wrong = [finding.name for finding in findings if finding.status is not Status.OK]
    assert wrong == (["site.cut-stream"] if proxy.hides_cuts() else []), findings


def test_the_largest_tokens_survive_sign_in_rotation_in_20_tabs_and_sign_out(
    provider: OddProvider, proxy: Proxy
) -> None:
    half = LARGEST_PAIR_BYTES * 3 // 8
    provider.tokens = dict.fromkeys(("access_token", "refresh_token"), lambda: secrets.token_urlsafe(half))
    person = sign_in(provider, proxy)
    assert len(re.findall(r"__Host-session(?:-\d)?=", person.jar.header())) == 5
    for generation in (1, 2):
        provider.forget_calls()
        provider.expire_access_tokens()
        assert [tab.answer().status for tab in person.open_tabs(TABS)] == [200] * TABS
        assert person.open(PAGE).status == 200
        assert person.open("/accounts/session/").json()["generation"] == generation
        assert sum(map(provider.is_refresh, provider.calls)) == 1
    assert person.sign_out().status == 200
    assert "__Host-session=" not in person.jar.header()


@pytest.mark.parametrize(
    ("path", "row", "update"),
    [
        ("/protected/stream/", b'class="quiet"', rb'<session-update session="([^"]+)"'),
        ("/protected/events/", b'"row"', rb'event: session-update\ndata: {"session": "([^"]+)"}'),
    ],
    ids=["page", "events"],
)
def test_a_stream_arrives_while_it_is_made_with_its_session_update(
    provider: OddProvider, person: Person, path: str, row: bytes, update: bytes
) -> None:
    provider.fail("GET", "/protected-route", Fault.delay(0))
    gate = Gate()
    provider.fail("GET", "/protected-route", Fault.hold_before(gate))
    with gate, asked(person, f"{path}?rows=2&delay=0", {"Accept-Encoding": "gzip"}) as answer:
        first = b""
        while first.count(row) < 1 and (piece := answer.read1(65536)):
            first += piece
        assert gate.reached.wait(GATE_SECONDS)
        provider.expire_access_tokens()
        gate.release()
        rest = answer.read()

    assert rest.count(row) == 1
    (text,) = re.findall(update, rest)
    assert person.post_hand_off(text.decode()).status == 204
    assert person.open("/accounts/session/").json()["generation"] == 1


def test_the_site_knows_address_and_scheme_whatever_a_visitor_says(provider: OddProvider, person: Person) -> None:
    for forged in FORGED:
        provider.forget_calls()
        with asked(person, PAGE, forged) as answer:
            assert answer.status == 200, forged
        assert [call.headers["x-forwarded-for"] for call in provider.calls] == ["127.0.0.1"], forged


class Listener(BaseHTTPRequestHandler):
    """In the site's place: responds with the headers that it got."""

    def do_GET(self) -> None:
        body = json.dumps([[name.lower(), value] for name, value in self.headers.items()]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_what_a_visitor_writes_into_the_headers_of_proxies_does_not_arrive(proxy: Proxy, certificate: Path) -> None:
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), Listener) as listener,
        ThreadPoolExecutor() as threads,
        type(proxy)(listener.server_port, certificate) as other,
    ):
        threads.submit(listener.serve_forever)
        try:
            with asked(Person(other.port, tls=other.tls), "/", dict.fromkeys(PROXY_HEADERS, "evil")) as answer:
                received = json.loads(answer.read())
        finally:
            listener.shutdown()

    assert [name for name, value in received if value == "evil"] == []
    names = [name for name, _ in received]
    assert len(names) == len(set(names))
    headers = dict(received)
    assert headers["x-forwarded-proto"] == "https"
    assert headers["x-forwarded-for"].split(", ") == ["127.0.0.1"] * proxy.count
    read_for, passed_on_at = map(float, headers["x-request-waited"].split())
    assert read_for == 0
    assert abs(time.time() - passed_on_at) < GATE_SECONDS


def test_uploads_and_paths_arrive_as_they_were_sent(
    provider: OddProvider, proxy: Proxy, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = secrets.token_bytes(2 * MEGABYTE)
    monkeypatch.setattr(handler, "MAX_BODY_BYTES", len(upload))
    person.open("/protected/script/")
    headers = {"Content-Type": "application/octet-stream", "X-CSRFToken": person.jar.csrf_token, "Origin": proxy.url}
    provider.forget_calls()

    with asked(person, f"{API}/a:b%20c?q=%2F", headers, body=upload) as answer:
        assert answer.status == 404

    (call,) = provider.calls
    assert call.body == upload
    assert (call.path, call.query) == ("/protected-route/a:b%20c", "q=%2F")


def test_the_log_has_the_id_of_each_request_and_no_query(
    provider: OddProvider, proxy: Proxy, person: Person, certificate: Path
) -> None:
    provider.forget_calls()
    code = secrets.token_urlsafe()
    callback = f"/accounts/callback/?code={code}&state={code}"
    with asked(person, PAGE, {"X-Request-ID": "chosen-by-the-visitor"}) as answer:
        told = answer.headers["X-Request-ID"]
    person.open(callback)
    with type(proxy)(free_port(), certificate) as without_site:
        assert Person(without_site.port, tls=without_site.tls).open(callback).status in (502, 503)
        log = proxy.log + without_site.log

    (call,) = provider.calls
    assert call.headers["x-request-id"] == told != "chosen-by-the-visitor"
    assert log.count("/accounts/callback/") > 1
    assert code not in log
    assert (told in log) is not isinstance(proxy, Caddy)


def test_plain_http_leads_to_https_and_to_no_other_host(proxy: Proxy) -> None:
    for forged in ({}, {"X-Forwarded-Proto": "https"}, {"Host": "evil.example"}):
        with asked(Person(proxy.plain_port), "/protected/?page=2", forged) as answer:
            assert answer.status == 301
            assert answer.headers["Location"] == "https://127.0.0.1/protected/?page=2"
