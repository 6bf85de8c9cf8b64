"""`async def` views: `await request.api.aget(...)`, the session, and the pages of errors."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.decorators import login_required
from django.core.exceptions import SynchronousOnlyOperation
from django.http import HttpResponse, StreamingHttpResponse
from django.template import engines
from django.test import AsyncClient
from django.urls import path
from django.views import View
from pytest_django import Settings

from accounts import database_pool
from accounts.api_client import ApiRequest
from accounts.models import EndReason
from accounts.rotation.ending import end_session
from accounts.streaming import stream_events, stream_html
from accounts.telemetry.request_id import current_request_ids
from config.urls import urlpatterns as site
from tests.accounts.api_calls import SECRET
from tests.browsers import ADA, PATIENCE_SECONDS, Answer, Browser, cookies_set, records_away
from tests.demo_api.server import DemoApi, Fault, Gate

pytestmark = pytest.mark.urls("tests.accounts.test_async_views")

AsyncView = Callable[[ApiRequest], Awaitable[HttpResponse]]
Get = Callable[..., Answer]
#: The view of the test at hand is the last one.
views: list[AsyncView] = []
SHOWN = engines.all()[0].from_string("{{ user }}")


async def visit(request: ApiRequest) -> HttpResponse:
    """A page whose view each test writes itself."""
    return await views[-1](request)


class Visit(View):
    async def get(self, request: ApiRequest) -> HttpResponse:
        return await visit(request)


urlpatterns = [
    path("visit/", visit),
    path("class/", login_required(Visit.as_view())),
    path("login-required/", login_required(visit)),
    *site,
]


@pytest.fixture(params=["WSGI", "ASGI"])
def get(request: pytest.FixtureRequest, signed_in: Browser) -> Get:
    """Opens a page of the site, which runs as under such a server."""

    def open_page(view: AsyncView, address: str = "/visit/", **headers: str) -> Answer:
        views.append(view)
        if request.param == "WSGI":
            return signed_in.get(address, headers=headers)
        client = AsyncClient(raise_request_exception=False)
        client.cookies = signed_in.client.cookies
        return async_to_sync(client.get)(address, headers=headers)  # type: ignore[return-value]

    return open_page


class TestCalls:
    def test_two_at_once_refresh_once(self, get: Get, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()

        async def view(request: ApiRequest) -> HttpResponse:
            calls = await asyncio.gather(request.api.aget(SECRET), request.api.aget(SECRET))
            return HttpResponse(f"{request.user} {[call.status_code for call in calls]}")

        response = get(view)

        assert response.text == f"{ADA} [200, 200]"
        assert api.count("POST", "/auth/refresh") == 1
        signed_in.receive(response)
        assert signed_in.session().generation == 1

    def test_each_verb_and_the_request_id(self, get: Get, api: DemoApi) -> None:
        async def view(request: ApiRequest) -> HttpResponse:
            await request.api.apost(SECRET, json={"level": 1})
            await request.api.aput(SECRET, json={})
            await request.api.apatch(SECRET, json={})
            await request.api.adelete(SECRET)
            await request.api.arequest("GET", SECRET, params={"page": 2})
            return HttpResponse(current_request_ids().request_id)

        api.forget_calls()
        response = get(view, **{"X-Request-ID": "from-the-test"})

        assert [call.method for call in api.calls] == ["POST", "PUT", "PATCH", "DELETE", "GET"]
        assert api.calls[0].json() == {"level": 1}
        assert {call.headers["x-request-id"] for call in api.calls} == {"from-the-test"} == {response.text}

    def test_a_cancelled_call_goes_on(self, get: Get, signed_in: Browser, api: DemoApi) -> None:
        """The view gives up while the refresh is under way. The response still carries the new session."""
        api.expire_access_tokens()
        gate = Gate()
        api.fail("POST", "/auth/refresh", Fault.hold_before(gate))

        async def view(request: ApiRequest) -> HttpResponse:
            call = asyncio.ensure_future(request.api.aget(SECRET))
            await asyncio.to_thread(gate.reached.wait, PATIENCE_SECONDS)
            call.cancel()
            gate.release()
            return HttpResponse(str(await asyncio.gather(call, return_exceptions=True)))

        response = get(view)

        assert "CancelledError" in response.text
        signed_in.receive(response)
        assert signed_in.session().generation == 1
        assert signed_in.is_signed_in()

    def test_a_call_that_would_block_the_event_loop_is_refused(self, get: Get, api: DemoApi) -> None:
        async def view(request: ApiRequest) -> HttpResponse:
            with pytest.raises(SynchronousOnlyOperation, match=r"await request\.api\.aget"):
                request.api.get(SECRET)
            with pytest.raises(SynchronousOnlyOperation, match="arequire_verified"):
                request.api_session.require_verified()
            with pytest.raises(SynchronousOnlyOperation, match="aensure_fresh"):
                request.api_session.ensure_fresh()
            await request.api_session.arequire_verified()
            return HttpResponse(str(await request.api_session.aensure_fresh(1) or 0 > 1))

        assert get(view).status_code == 200
        assert api.count("GET", SECRET) == 0


def test_a_stream_is_sent_from_a_synchronous_generator(get: Get, api: DemoApi) -> None:
    async def parts() -> AsyncIterator[str]:
        yield ""

    async def view(request: ApiRequest) -> StreamingHttpResponse:
        with pytest.raises(TypeError, match="not iterable"):
            stream_html(request, parts())  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="not iterable"):
            stream_events(request, parts())  # type: ignore[arg-type]
        statuses = (str(request.api.get(SECRET).status_code) for _ in range(2))
        return await sync_to_async(stream_html)(request, statuses)

    api.expire_access_tokens()
    response = get(view)
    text = b"".join(response.streaming_content).decode()  # type: ignore[attr-defined]

    assert text.startswith("200")


class TestSession:
    @pytest.mark.parametrize("state", ["fresh", "unconfirmed", "expired"])
    def test_it_is_read_without_waiting(self, get: Get, signed_in: Browser, api: DemoApi, state: str) -> None:
        """Also where its record has to be checked first."""
        if state == "unconfirmed":
            api.expire_access_tokens()
            assert signed_in.is_signed_in()
        elif state == "expired":
            signed_in.age(120)

        async def view(request: ApiRequest) -> HttpResponse:
            session = request.api_session
            assert session.user is not None
            names = {session.user.name, session.require().user.name, str(request.user), str(await request.auser())}
            return HttpResponse(f"{names} {SHOWN.render({}, request)}")

        assert get(view).text == f"{ {ADA} } {ADA}"

    def test_a_session_that_has_ended_elsewhere(self, get: Get, signed_in: Browser) -> None:
        session = signed_in.session()
        end_session(session.id, EndReason.SIGNED_OUT, user_id=session.user.id)
        signed_in.age(120)

        async def view(request: ApiRequest) -> HttpResponse:
            request.api_session.require()
            return HttpResponse()

        assert get(view)["Location"].startswith("/accounts/login/?")

    def test_a_view_that_does_not_look_does_not_depend_on_it(self, get: Get, settings: Settings) -> None:
        async def view(request: ApiRequest) -> HttpResponse:
            return HttpResponse(request.api_session.user if "look" in request.GET else "")

        settings.API_SESSION_CHECK = "every-request"
        with records_away():
            response = get(view)

            assert (response.status_code, response.get("Vary")) == (200, None)
            assert get(view, "/visit/?look").status_code == 503


class TestErrors:
    def test_they_become_the_same_pages(self, get: Get, signed_in: Browser, api: DemoApi) -> None:
        async def view(request: ApiRequest) -> HttpResponse:
            (await request.api.aget(SECRET)).raise_for_status()
            return HttpResponse()

        api.routes["GET", SECRET] = (404, {})
        assert get(view).status_code == 502
        api.routes["GET", SECRET] = (503, {})
        assert get(view).status_code == 503
        api.revoke_all()
        response = get(view)
        assert response["Location"].startswith("/accounts/login/?")
        assert cookies_set(response)["session"]["max-age"] == 0

    def test_they_become_the_same_pages_in_a_task_group(self, get: Get, signed_in: Browser, api: DemoApi) -> None:
        def page(*errors: Exception) -> Answer:
            async def view(request: ApiRequest) -> HttpResponse:
                async def call(error: Exception | None) -> None:
                    (await request.api.aget(SECRET)).raise_for_status()
                    if error:
                        raise error

                async with asyncio.TaskGroup() as tasks, asyncio.TaskGroup() as others:
                    tasks.create_task(call(None))
                    for error in errors:
                        others.create_task(call(error))
                return HttpResponse()

            return get(view)

        assert page(ValueError("a fault of the view")).status_code == 500
        api.routes["GET", SECRET] = (404, {})
        assert page().status_code == 502
        api.routes["GET", SECRET] = (503, {})
        assert page(ValueError("never raised")).status_code == 503
        api.revoke_all()
        assert page()["Location"].startswith("/accounts/login/?")

    @pytest.mark.parametrize("address", ["/login-required/", "/class/"])
    def test_a_page_for_users_only(self, get: Get, signed_in: Browser, address: str) -> None:
        async def view(request: ApiRequest) -> HttpResponse:
            return HttpResponse((await request.auser()).get_username())

        assert get(view, address).text == ADA
        signed_in.sign_out()
        assert get(view, address)["Location"].startswith("/accounts/login/?next=")


def test_each_wait_gives_the_database_connections_back(get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream may go on for hours after it, in the same request."""
    given_back: list[int] = []
    monkeypatch.setattr(database_pool, "give_back_connections", lambda: given_back.append(1))

    async def view(request: ApiRequest) -> HttpResponse:
        await request.api_session.arequire_verified()
        await request.api_session.aensure_fresh()
        await request.auser()
        return HttpResponse(str(len(given_back)))

    assert get(view).content == b"3"
