"""The security headers, on every kind of answer that leaves the site, over real HTTP."""

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import pytest

from tests.demo_api.server import DemoApi, Fault
from tests.demo_api.users import DEMO_USERS
from tests.load.jar import CookieJar
from tests.load.site import Site

ADA = "ada@example.com"
PATIENCE_SECONDS = 60.0
TOKEN = "read-the-metrics"
FAILURES = 4  # that one user name may have
YEAR_SECONDS = 365 * 24 * 3600

OUR_POLICY = [
    "default-src 'self'",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
    "object-src 'none'",
]
#: What the API answers is data: it runs nothing, and has no origin.
DATA_POLICY = ["sandbox", "default-src 'none'"]
EVERYWHERE = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Answer(NamedTuple):
    status: int
    headers: HTTPMessage
    body: str


class Visitor:
    """Speaks to the site as the TLS proxy in front of it does."""

    def __init__(self, site: Site, database: Path, api: DemoApi) -> None:
        self.site, self.database, self.api = site, database, api
        self.jar = CookieJar()

    @contextmanager
    def asking(self, method: str, path: str, body: str, scheme: str, headers: dict[str, str]) -> Iterator[HTTPResponse]:
        sent = {"X-Forwarded-Proto": scheme, "Host": "www.example.com", "Cookie": self.jar.header()}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = HTTPConnection("127.0.0.1", self.site.port, timeout=PATIENCE_SECONDS)
        with closing(connection):
            connection.request(method, path, body or None, sent)
            yield connection.getresponse()

    def ask(self, method: str, path: str, body: str = "", *, scheme: str = "https", **headers: str) -> Answer:
        with self.asking(method, path, body, scheme, headers) as answer:
            text = answer.read().decode(errors="replace")
        self.jar.apply(answer.headers.get_all("Set-Cookie") or [])
        return Answer(answer.status, answer.headers, text)

    def begin(self, path: str) -> Answer:
        """The head of a stream that would go on for minutes."""
        with self.asking("GET", path, "", "https", {}) as answer:
            return Answer(answer.status, answer.headers, "")

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def post(self, path: str, **fields: str) -> Answer:
        """A form, as one of our own pages sends it."""
        token = self.jar.csrf_token
        return self.ask(
            "POST",
            path,
            urlencode({"csrfmiddlewaretoken": token, **fields}),
            Content_Type="application/x-www-form-urlencoded",
            Origin="https://www.example.com",
        )

    def sign_in(self, password: str = DEMO_USERS[ADA], name: str = ADA) -> Answer:
        self.get("/accounts/login/")
        return self.post("/accounts/login/", username=name, password=password)

    def signed_in(self) -> "Visitor":
        assert self.sign_in().status == 302
        return self

    @contextmanager
    def without_table(self, name: str) -> Iterator[None]:
        with closing(sqlite3.connect(self.database)) as connection:
            connection.execute(f"ALTER TABLE {name} RENAME TO {name}_away")
            yield
            connection.execute(f"ALTER TABLE {name}_away RENAME TO {name}")


def too_many_attempts(visitor: Visitor) -> Answer:
    for _ in range(FAILURES):
        visitor.sign_in("low-tide", "stranger@example.com")
    return visitor.sign_in("low-tide", "stranger@example.com")


def server_error(visitor: Visitor) -> Answer:
    visitor.get("/admin/login/")
    with visitor.without_table("auth_user"):
        return visitor.post("/admin/login/", username="staff", password="staff")


def bad_gateway(visitor: Visitor) -> Answer:
    visitor.signed_in()
    visitor.api.fail("GET", "/protected-route", Fault.answer(200, b"<h1>Welcome</h1>", "text/html"))
    return visitor.get("/protected/")


def service_unavailable(visitor: Visitor) -> Answer:
    visitor.signed_in()
    visitor.api.fail("GET", "/protected-route", Fault.answer(503))
    return visitor.get("/protected/")


def not_modified(visitor: Visitor) -> Answer:
    modified = visitor.get("/static/accounts/site.css").headers["Last-Modified"]
    return visitor.get("/static/accounts/site.css", If_Modified_Since=modified)


Visit = Callable[[Visitor], Answer]

#: What is asked for, and the status that shows that it was this kind of answer.
ANSWERS: dict[str, tuple[int, Visit]] = {
    "a page": (200, lambda visitor: visitor.get("/")),
    "its head": (200, lambda visitor: visitor.ask("HEAD", "/")),
    "the sign-in page": (200, lambda visitor: visitor.get("/accounts/login/")),
    "a wrong password": (200, lambda visitor: visitor.sign_in("low-tide")),
    "a sign-in": (302, lambda visitor: visitor.sign_in()),
    "a protected page": (200, lambda visitor: visitor.signed_in().get("/protected/")),
    "a sign-out": (302, lambda visitor: visitor.signed_in().post("/accounts/logout/")),
    "a redirect to the sign-in page": (302, lambda visitor: visitor.get("/protected/")),
    "a redirect to the slash": (301, lambda visitor: visitor.get("/protected")),
    "a redirect to HTTPS": (301, lambda visitor: visitor.ask("GET", "/", scheme="http")),
    "a wrong host": (400, lambda visitor: visitor.get("/", Host="evil.example")),
    "a wrong host, in the clear": (400, lambda visitor: visitor.ask("GET", "/", scheme="http", Host="evil.example")),
    "a bad request": (400, lambda visitor: visitor.signed_in().get("/protected/stream/?rows=many")),
    "a forged form": (403, lambda visitor: visitor.ask("POST", "/accounts/logout/")),
    "no page": (404, lambda visitor: visitor.get("/nowhere/")),
    "a wrong method": (405, lambda visitor: visitor.get("/accounts/logout/")),
    "too many attempts to sign in": (429, too_many_attempts),
    "a server error": (500, server_error),
    "an API that answers nonsense": (502, bad_gateway),
    "an API that is away": (503, service_unavailable),
    "JSON": (200, lambda visitor: visitor.get("/accounts/session/")),
    "JSON, refused": (401, lambda visitor: visitor.get("/protected/", Accept="application/json")),
    "htmx, refused": (401, lambda visitor: visitor.get("/protected/", HX_Request="true")),
    "a streamed page": (200, lambda visitor: visitor.signed_in().get("/protected/stream/?rows=2&delay=0")),
    "server-sent events": (200, lambda visitor: visitor.signed_in().get("/protected/events/?rows=1&delay=0")),
    "a download": (200, lambda visitor: visitor.signed_in().get("/protected/download/?bytes=100")),
    "the API's answer": (200, lambda visitor: visitor.signed_in().get("/protected/api/protected-route")),
    "the request trace": (200, lambda visitor: visitor.signed_in().get("/protected/trace/")),
    "what is new there": (200, lambda visitor: visitor.signed_in().begin("/protected/trace/events/")),
    "metrics": (200, lambda visitor: visitor.get("/metrics", Authorization=f"Bearer {TOKEN}")),
    "metrics, for nobody": (404, lambda visitor: visitor.get("/metrics")),
    "the doctor's endpoint, for nobody": (404, lambda visitor: visitor.ask("POST", "/accounts/doctor/")),
    "a charset that is none": (
        200,
        lambda visitor: visitor.get("/accounts/login/?next=%ff", Content_Type="text/plain; charset=undefined"),
    ),
    "no such address of the API": (404, lambda visitor: visitor.signed_in().get("/protected/api/secrets")),
    "a style sheet": (200, lambda visitor: visitor.get("/static/accounts/site.css")),
    "a style sheet that has not changed": (304, not_modified),
    "no such static file": (404, lambda visitor: visitor.get("/static/accounts/none.css")),
    "the admin": (302, lambda visitor: visitor.get("/admin/")),
    "the admin's sign-in": (200, lambda visitor: visitor.get("/admin/login/")),
    "the admin's style sheet": (200, lambda visitor: visitor.get("/static/admin/css/base.css")),
    "alive": (200, lambda visitor: visitor.get("/health/live")),
    "alive, in the clear and by address": (
        200,
        lambda visitor: visitor.ask("GET", "/health/live", scheme="http", Host="10.0.0.1"),
    ),
    "ready": (200, lambda visitor: visitor.get("/health/ready")),
}


@pytest.fixture(scope="module")
def api() -> Iterator[DemoApi]:
    with DemoApi(access_ttl=60) as api:
        yield api


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("site") / "db.sqlite3"


@pytest.fixture(scope="module")
def site(api: DemoApi, database: Path) -> Iterator[Site]:
    """As it is deployed behind one proxy that ends TLS."""
    site = Site(
        database_url=f"sqlite:///{database}",
        api_url=api.url,
        workers=1,
        environment={
            "ALLOWED_HOSTS": "www.example.com",
            "SECURE_SSL_REDIRECT": "true",
            "TRUSTED_PROXY_COUNT": "1",
            "API_TRACE": "true",
            "METRICS_TOKEN": TOKEN,
            "SIGN_IN_LIMIT_PER_USER": f"{FAILURES}/hour",
        },
    )
    site.migrate()
    with site:
        yield site


@pytest.fixture
def visitor(site: Site, database: Path, api: DemoApi) -> Iterator[Visitor]:
    yield Visitor(site, database, api)
    api.heal()


def only(answer: Answer, name: str) -> str:
    """A header that is there once."""
    values = answer.headers.get_all(name) or []
    assert len(values) == 1, f"{name}: {values}"
    return values[0]


@pytest.mark.parametrize(("status", "visit"), ANSWERS.values(), ids=ANSWERS)
def test_every_answer_carries_them(visitor: Visitor, status: int, visit: Visit, request: pytest.FixtureRequest) -> None:
    kind = request.node.callspec.id

    answer = visit(visitor)

    assert answer.status == status, answer.body[:500]
    assert {name: only(answer, name) for name in EVERYWHERE} == EVERYWHERE
    policy = only(answer, "Content-Security-Policy").split("; ")
    assert sorted(policy) == sorted(DATA_POLICY if kind == "the API's answer" else OUR_POLICY)
    features = only(answer, "Permissions-Policy").split(", ")
    assert {"camera=()", "geolocation=()", "microphone=()", "payment=()", "usb=()"} <= {*features}
    assert all(feature.endswith("=()") for feature in features), "to nobody, not to our own pages either"
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert only(answer, "X-Request-ID")
    # A browser ignores it in the clear, where anybody could have written it (RFC 6797 section 8.1).
    in_the_clear = re.search("in the clear|to HTTPS", kind)
    transport = [] if in_the_clear else [f"max-age={YEAR_SECONDS}; includeSubDomains; preload"]
    assert answer.headers.get_all("Strict-Transport-Security", []) == transport
