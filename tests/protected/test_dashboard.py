from tests.browsers import Browser
from tests.demo_api.server import DemoApi


def test_an_expired_access_token_is_refreshed_and_the_page_renders(signed_in: Browser, api: DemoApi) -> None:
    assert signed_in.open_page().status_code == 200
    api.expire_access_tokens()
    api.forget_calls()

    response = signed_in.open_page()

    assert response.status_code == 200
    assert [(call.method, call.path, call.status) for call in api.calls] == [
        ("GET", "/protected-route", 401),
        ("POST", "/auth/refresh", 200),
        ("GET", "/protected-route", 200),
    ]
    assert signed_in.session().generation == 1
