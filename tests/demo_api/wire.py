"""What the tests of this API say to it, in a line each."""

import socket
from typing import Any

import requests

from tests.demo_api.server import DemoApi
from tests.demo_api.users import DEMO_USERS


def sign_in(api: DemoApi, email: str = "ada@example.com") -> dict[str, Any]:
    answer = requests.post(f"{api.url}/auth/login", json={"email": email, "password": DEMO_USERS[email]})
    assert answer.status_code == 200
    pair: dict[str, Any] = answer.json()
    return pair


def refresh(api: DemoApi, pair: dict[str, Any]) -> requests.Response:
    tokens = {name: pair[name] for name in ("accessToken", "refreshToken")}
    return requests.post(f"{api.url}/auth/refresh", json=tokens)


def get(api: DemoApi, pair: dict[str, Any], path: str = "/protected-route") -> requests.Response:
    return requests.get(api.url + path, headers=bearer(pair))


def bearer(pair: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {pair['accessToken']}"}


def send_raw(api: DemoApi, request: bytes) -> bytes:
    """Send these bytes and nothing more; everything that comes back until the API closes the connection."""
    with socket.create_connection(("127.0.0.1", api.port), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
        return answer
