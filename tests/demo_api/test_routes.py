"""Calls of a test's own (`DemoApi.routes`), over real HTTP."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.demo_api.messages import Answer, Problem, Request
from tests.demo_api.server import DemoApi
from tests.demo_api.wire import bearer, get, refresh, sign_in


def refuse(request: Request) -> Any:
    raise Problem(404, f"There is no {request.path}.")


ROUTES = {
    "a list": ([{"id": 7}], 200, [{"id": 7}]),
    "a list of two numbers": ([201, 7], 200, [201, 7]),
    "an object": ({"id": 7}, 200, {"id": 7}),
    "null": (None, 200, None),
    "a status and JSON": ((422, {"message": "No."}), 422, {"message": "No."}),
    "a function": (lambda request: {"query": request.query}, 200, {"query": "page=2"}),
    "a function that returns a pair": (lambda _: (404, {"message": "No."}), 404, {"message": "No."}),
    "an answer": (Answer.json(206, [1]), 206, [1]),
    "a function that returns an answer": (lambda _: Answer.json(206, [1]), 206, [1]),
    "a function that raises a problem": (refuse, 404, {"message": "There is no /orders."}),
}


@pytest.fixture
def api() -> Iterator[DemoApi]:
    with DemoApi() as api:
        yield api


@pytest.mark.parametrize(("route", "status", "json"), ROUTES.values(), ids=ROUTES)
def test_a_route_can_be(api: DemoApi, route: Any, status: int, json: object) -> None:
    api.routes["GET", "/orders"] = route

    answer = get(api, sign_in(api), "/orders?page=2")

    assert (answer.status_code, answer.json()) == (status, json)
    assert answer.headers["Content-Type"] == "application/json"


def test_routes_can_be_given_at_the_start() -> None:
    with DemoApi(routes={("GET", "/orders"): [7]}) as api:
        assert get(api, sign_in(api), "/orders").json() == [7]


def test_without_a_valid_access_token_it_is_a_401(api: DemoApi) -> None:
    asked = []
    api.routes["GET", "/orders"] = lambda request: asked.append(request.path)
    pair = sign_in(api)
    api.expire_access_tokens()

    answers = [requests.get(f"{api.url}/orders"), get(api, pair, "/orders")]
    again = get(api, refresh(api, pair).json(), "/orders")

    assert [answer.status_code for answer in answers] == [401, 401]
    assert all(answer.headers["WWW-Authenticate"] == "Bearer" for answer in answers)
    assert (again.status_code, asked) == (200, ["/orders"])


def test_a_call_is_recorded_with_its_json(api: DemoApi) -> None:
    api.routes["PUT", "/orders/7"] = lambda request: (201, request.json())

    answer = requests.put(f"{api.url}/orders/7", json={"item": "Rope"}, headers=bearer(sign_in(api)))

    call = api.calls[-1]
    assert (call.method, call.path, call.status, call.json()) == ("PUT", "/orders/7", 201, {"item": "Rope"})
    assert answer.json() == {"item": "Rope"}


def test_it_takes_the_place_of_a_call_of_the_demo_api(api: DemoApi) -> None:
    api.routes["GET", "/protected-route"] = ["high tide"]

    assert get(api, sign_in(api)).json() == ["high tide"]


def test_other_methods_of_its_path_and_other_paths_are_not_there(api: DemoApi) -> None:
    api.routes["GET", "/orders"] = []
    pair = sign_in(api)

    assert requests.post(f"{api.url}/orders", json={}, headers=bearer(pair)).status_code == 404
    assert get(api, pair, "/orders/").status_code == 404
