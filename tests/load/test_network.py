"""The network that forgets connections, between a client and the demo API."""

import http.client
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from urllib.parse import urlsplit

import pytest

from tests.demo_api.server import DemoApi
from tests.load.network import ForgetfulNetwork
from tests.load.processes import wait_until

WAIT_SECONDS = 0.3

Connect = Callable[[], http.client.HTTPConnection]


@pytest.fixture
def api() -> Iterator[DemoApi]:
    with DemoApi() as api:
        yield api


@pytest.fixture
def network(api: DemoApi) -> Iterator[ForgetfulNetwork]:
    with ForgetfulNetwork(api.port) as network:
        yield network


@pytest.fixture
def connect(network: ForgetfulNetwork) -> Iterator[Connect]:
    """Opens a connection through the network."""
    port = urlsplit(network.url).port
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)))


def get(connection: http.client.HTTPConnection) -> int:
    connection.request("GET", "/protected-route")
    response = connection.getresponse()
    response.read()
    return response.status


def test_it_passes_requests_on_over_one_connection(network: ForgetfulNetwork, connect: Connect) -> None:
    connection = connect()

    assert [get(connection), get(connection)] == [401, 401]
    assert (network.forget("silent"), network.lost) == (1, 0)


def test_a_silent_connection_loses_what_is_sent_and_stays_open(
    network: ForgetfulNetwork, connect: Connect, api: DemoApi
) -> None:
    connection = connect()
    get(connection)
    network.forget("silent")

    with pytest.raises(TimeoutError):
        get(connection)

    assert (network.lost, len(api.calls)) == (1, 1)
    assert get(connect()) == 401


def test_a_reset_connection_breaks_at_the_first_byte(network: ForgetfulNetwork, connect: Connect, api: DemoApi) -> None:
    connection = connect()
    get(connection)
    network.forget("reset")

    with pytest.raises(ConnectionResetError):
        get(connection)

    assert (network.lost, len(api.calls)) == (1, 1)
    assert get(connect()) == 401


def test_a_closed_connection_is_none_of_the_present_ones(network: ForgetfulNetwork, connect: Connect) -> None:
    connection = connect()
    get(connection)
    connection.close()

    wait_until(lambda: network.forget("silent") == 0, "the network has noticed the end", seconds=5)
