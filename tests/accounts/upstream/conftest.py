import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.test import RequestFactory
from pytest_django import Settings

from accounts.api_client import ApiClient
from accounts.browser.session import BrowserSession
from accounts.session.api_session import ApiSession
from accounts.session.tokens import TokenPair, User
from accounts.upstream.calls import ApiAnswer
from accounts.upstream.transport import call_once
from tests.accounts.doctor.gateway import make_certificate
from tests.accounts.upstream.scripted_api import CALL, PATIENCE_SECONDS, SOON_SECONDS


@pytest.fixture
def ask(settings: Settings) -> Callable[..., ApiAnswer]:
    """Sends CALL to an API, with a deadline in so many seconds."""

    def ask(url: str, seconds: float = PATIENCE_SECONDS, *, address: str = "") -> ApiAnswer:
        settings.API_BASE_URL = url
        return call_once(CALL, address=address, ends_at=time.monotonic() + seconds)

    return ask


@pytest.fixture
def client(settings: Settings) -> Callable[[str], ApiClient]:
    """`request.api` of a browser that is signed in at the API with this URL."""

    def client(url: str, token: str = "a0") -> ApiClient:
        settings.API_BASE_URL = url
        pair = TokenPair(access=token, refresh="r0", received_at=0.0, access_expires_at=None, refresh_expires_at=None)
        session = ApiSession.begin(User(id=7, name="Ada"), pair)
        request = RequestFactory().get("/")
        request.COOKIES[settings.API_SESSION_COOKIE_NAME] = session.seal_for_cookie()
        return ApiClient(BrowserSession(request))

    return client


@pytest.fixture
def refused_url() -> Iterator[str]:
    """The URL of a port without a listener. It is reserved, so that no other program gets it."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{reserved.getsockname()[1]}"


@pytest.fixture
def full_url() -> Iterator[str]:
    """The URL of a port with a full queue: a connection attempt gets no reply."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for connection in waiting:
            connection.setblocking(False)
            connection.connect_ex(address)
        with socket.socket() as another:
            another.settimeout(SOON_SECONDS)
            if another.connect_ex(address) == 0:
                pytest.skip("this system takes more connections than a queue has room for")
        yield f"http://127.0.0.1:{address[1]}"
        for connection in waiting:
            connection.close()


@pytest.fixture(scope="session")
def certificate_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls") / "certificate.pem")


@pytest.fixture
def trusted_certificate(certificate_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A server's certificate, in the place of the authorities that `requests` trusts."""
    monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(certificate_file))
    return certificate_file


@pytest.fixture(params=["http", "https"])
def certificate(request: pytest.FixtureRequest) -> Path | None:
    """The certificate of an `Api`: None over plain HTTP, so that a test runs without TLS and with it."""
    return request.getfixturevalue("trusted_certificate") if request.param == "https" else None
