"""`add_api_errors` puts what an API says about its input on the fields of a form."""

import json
import re
import socket
from typing import Any

import pytest
import requests
from django import forms
from django.http import HttpResponse
from pytest_django import Settings

from accounts.api_client import ApiRequest
from accounts.form_errors import API_ERRORS, add_api_errors
from accounts.upstream.response import ApiResponse
from tests.accounts.api_calls import SECRET
from tests.accounts.rotation.clocks import movable_clock
from tests.browsers import Browser
from tests.demo_api.server import DemoApi, Fault

REFUSED = "The service behind this site did not accept this (status 422)."
#: What the user typed, which some APIs send back. It may be a password.
TYPED = "typed-by-the-user"


class ContactForm(forms.Form):
    name = forms.CharField()
    level_m = forms.FloatField(required=False)
    title = forms.CharField(required=False)
    detail = forms.CharField(required=False)
    address = forms.JSONField(required=False)


def errors(body: Any, names: dict[str, str] | None = None) -> dict[str, list[str]]:
    """The errors of a form after a 422 with this body."""
    form = ContactForm({"name": "North Pier"})
    assert form.is_valid()
    assert (
        add_api_errors(form, refusal(body if isinstance(body, bytes) else json.dumps(body).encode()), names=names)
        == 200
    )
    return {name: [str(text) for text in texts] for name, texts in form.errors.items()}


def refusal(body: bytes) -> requests.HTTPError:
    response = ApiResponse()
    response.status_code, response._content, response._content_consumed = 422, body, True
    return requests.HTTPError(response=response)


FASTAPI = {"type": "missing", "loc": ["body", "name"], "msg": "Field required", "input": {"title": "x"}}
PROBLEM = {"type": "about:blank", "title": "Not valid", "status": 422, "traceId": "00-1"}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"detail": [FASTAPI]}, {"name": ["Field required"]}),
        ({"detail": [{"loc": ["body"], "msg": "Bad pair"}]}, {"__all__": ["Bad pair"]}),
        ({"detail": [{"loc": ["body", "address", 0, "city"], "msg": "No"}]}, {"address": ["0.city: No"]}),
        ({"detail": "Closed"}, {"__all__": ["Closed"]}),
        ({"name": ["Too long.", "Taken."]}, {"name": ["Too long.", "Taken."]}),
        ({"name": [{"message": "Too long.", "code": "max"}]}, {"name": ["Too long."]}),
        ({"title": ["Blank."], "detail": ["Blank."]}, {"title": ["Blank."], "detail": ["Blank."]}),
        ({"non_field_errors": ["Odd."], "captcha": ["Wrong."]}, {"__all__": ["Odd.", "captcha: Wrong."]}),
        ({"address": {"city": ["Unknown."]}}, {"address": ["city: Unknown."]}),
        ({"owner": {"city": ["Unknown."]}}, {"__all__": ["owner.city: Unknown."]}),
        (["One.", "Two."], {"__all__": ["One.", "Two."]}),
        ([{}, {"name": ["Taken."]}], {"name": ["Taken."]}),
        ({"message": "Closed"}, {"__all__": ["Closed"]}),
        ({"message": "Not valid", "name": ["Taken."]}, {"name": ["Taken."]}),
        ({"statusCode": 422, "message": ["a", "b"], "error": "Bad Request"}, {"__all__": ["a", "b"]}),
        ({"error": "Closed", "data": {"name": "North Pier"}}, {"__all__": ["Closed"]}),
        ({"error": "invalid", "error_description": "Closed"}, {"__all__": ["Closed"]}),
        ({"error": {"code": "x", "message": "Taken", "param": "name"}}, {"name": ["Taken"]}),
        ({"code": "x", "name": "Taken"}, {"name": ["Taken"]}),
        ({"code": "x", "captcha": "Wrong"}, {"__all__": ["captcha: Wrong"]}),
        ({"message": "2 errors", "errors": {"name": ["No"], "items.0.sku": ["No"]}},
         {"name": ["No"], "__all__": ["items.0.sku: No"]}),
        ({"errors": ["Name is taken"]}, {"__all__": ["Name is taken"]}),
        ({"errors": {"title": "is blank"}}, {"title": ["is blank"]}),
        ({"errors": {"detail": ["Not Found"]}}, {"detail": ["Not Found"]}),
        ({"errors": {"user[name]": ["is blank"]}}, {"__all__": ["user.name: is blank"]}),
        ({"errors": {"name": {"message": "Taken", "kind": "user", "path": "name"}}}, {"name": ["Taken"]}),
        ({"errors": [{"title": "Invalid", "detail": "Taken", "source": {"pointer": "/data/attributes/levelM"}}]},
         {"level_m": ["Taken"]}),
        ({"errors": [{"title": "Invalid", "source": {"pointer": "/data"}}]}, {"__all__": ["Invalid"]}),
        ({"errors": [{"type": "field", "msg": "Taken", "path": "name", "location": "body", "value": "x"}]},
         {"name": ["Taken"]}),
        ({"errors": [{"field": "name", "message": "Taken"}]}, {"name": ["Taken"]}),
        ({"message": "Not valid", "errors": [{"field": "name", "code": "missing"}]}, {"name": ["missing"]}),
        ({**PROBLEM, "errors": [{"detail": "Taken", "pointer": "#/name"}]}, {"name": ["Taken"]}),
        ({**PROBLEM, "errors": {"Level_M": ["No"], "$.name": ["No"], "": ["Odd"]}},
         {"level_m": ["No"], "name": ["No"], "__all__": ["Odd"]}),
        ({**PROBLEM, "detail": "Closed"}, {"__all__": ["Closed"]}),
        (PROBLEM, {"__all__": ["Not valid"]}),
        ({"timestamp": "2026", "status": 422, "error": "Unprocessable", "path": "/x"}, {"__all__": ["Unprocessable"]}),
        ({"errors": None, "detail": [], "name": [], "message": ""}, {"__all__": [REFUSED]}),
        ([7, None, True], {"__all__": [REFUSED]}),
        # Django Ninja, webargs, Spring, Symfony, FluentValidation, ASP.NET Identity
        ({"detail": [{"loc": ["body", "payload", "name"], "msg": "No"}]}, {"name": ["No"]}),
        ({"code": 422, "status": "x", "errors": {"json": {"name": ["No"]}}}, {"name": ["No"]}),
        ({"errors": [{"codes": ["NotBlank.x"], "field": "name", "defaultMessage": "Blank", "code": "NotBlank"}]},
         {"name": ["Blank"]}),
        ({"detail": "name: No", "violations": [{"propertyPath": "name", "title": "No"}]}, {"name": ["No"]}),
        ([{"propertyName": "Name", "errorMessage": "No", "attemptedValue": TYPED}], {"name": ["No"]}),
        ([{"code": "DuplicateUserName", "description": "Taken"}], {"__all__": ["Taken"]}),
        # gRPC-Gateway, RFC 7807, Zod, Valibot, celebrate, GraphQL, Rails, Salesforce, and Laravel with APP_DEBUG
        ({"code": 3, "message": "Bad", "details": [{"@type": "x", "fieldViolations": [
            {"field": "name", "description": "No"}]}]}, {"name": ["No"]}),
        ({"title": "Bad", "invalid-params": [{"name": "levelM", "reason": "No"}]}, {"level_m": ["No"]}),
        ({"error": {"name": "ZodError", "issues": [{"path": ["title"], "message": "No", "received": TYPED}]}},
         {"title": ["No"]}),
        ({"formErrors": ["Odd"], "fieldErrors": {"name": ["No"]}}, {"__all__": ["Odd"], "name": ["No"]}),
        ({"issues": [{"message": "No", "path": [{"type": "object", "key": "name", "value": TYPED}]}]},
         {"name": ["No"]}),
        ({"message": "Bad", "validation": {"body": {"source": "body", "keys": ["name"], "message": "No"}}},
         {"name": ["No"]}),
        ({"errors": [{"message": "No", "path": ["create"], "extensions": {"code": "X", "field": "name"}}]},
         {"name": ["No"]}),
        ({"errors": {"base": ["Odd"], "name": ["No"]}}, {"__all__": ["Odd"], "name": ["No"]}),
        ([{"message": "Bad", "errorCode": "X", "fields": ["Other"]}], {"__all__": ["Bad", "fields: Other"]}),
        ({"message": "Closed", "exception": "E", "trace": [{"file": "/srv/x.php"}]}, {"__all__": ["Closed"]}),
        ({"message": "Bad", "field": "name"}, {"name": ["Bad"]}),
        ({"errors": {"property": "is invalid", "title": "is blank"}}, {"title": ["is blank"]}),
        ({"message": [{"property": "x", "value": TYPED, "target": {"name": TYPED}, "constraints": {"a": "No"}}]},
         {"__all__": ["property: x"]}),
        ({"message": "Bad", "form": {"name": TYPED}, "body": {"name": TYPED}}, {"__all__": ["Bad"]}),
        (json.dumps({"name": ["No"] * 100_000}).encode(), {"__all__": [REFUSED]}),
        ("Closed", {"__all__": ["Closed"]}),
        (b"", {"__all__": [REFUSED]}),
        (b"<h1>Bad</h1>", {"__all__": [REFUSED]}),
        (b"[" * 100_000, {"__all__": [REFUSED]}),
        (b'{"errors":' * 200 + b'"x"' + b"}" * 200, {"__all__": [REFUSED]}),
    ],
    ids=lambda value: json.dumps(value)[:60] if not isinstance(value, bytes) else repr(value[:12]),
)  # fmt: skip
def test_the_errors_go_to_the_fields(body: Any, expected: dict[str, list[str]]) -> None:
    assert errors(body) == expected


def test_other_names_are_translated() -> None:
    body = {"customer": {"mail": ["No."]}, "heading": ["No."], "x": ["No."]}

    found = errors(body, {"customer.mail": "name", "heading": "title", "x": "no such field"})

    assert found == {"name": ["No."], "title": ["No."], "__all__": ["x: No."]}


def test_long_and_odd_texts_are_cut_and_cleaned() -> None:
    found = errors({"name": ["n" * 10_000], "x" * 10_000: ["a\x00\ud800\nb"], "errors": {}, "many": ["m"] * 1000})

    assert found["name"] == ["n" * 300]
    assert found["__all__"][0] == "x" * 80 + ": a   b"
    assert sum(map(len, found.values())) == 50


def test_text_of_the_api_is_escaped() -> None:
    form = ContactForm({"name": "x"})
    add_api_errors(form, refusal(b'{"name": ["<b>100%</b> %s"]}'))

    assert "&lt;b&gt;100%&lt;/b&gt; %s" in form.as_p()


class TestPage:
    """A page with a form, in front of the demo API."""

    pytestmark = pytest.mark.urls("tests.accounts.api_calls")

    def post(self, browser: Browser) -> tuple[int, str]:
        """The status and the text of the page after a POST with a name."""

        def view(request: ApiRequest) -> HttpResponse:
            form = ContactForm(request.POST)
            assert form.is_valid()
            try:
                response = request.api.post(SECRET, json=form.cleaned_data)
                response.raise_for_status()
                return HttpResponse(response.json())
            except API_ERRORS as error:
                status = add_api_errors(form, error)
            return HttpResponse(form.as_p(), status=status)

        response = browser.post("/visit/", {"name": "North <Pier>"}, **{"tests.view": view})
        return response.status_code, response.text

    @pytest.mark.parametrize(
        ("answer", "status", "text"),
        [
            (Fault.answer(422, b'{"message": "Too high."}', "application/json"), 200, "Too high."),
            (Fault.answer(403, b"<h1>No</h1>", "text/html"), 200, "did not accept this (status 403)."),
            (Fault.answer(503, b"", "text/html"), 503, "not answering. It is not known whether it acted on this."),
            (Fault.answer(200, b"<h1>Hi</h1>", "text/html"), 502, "cannot use. It is not known whether it acted"),
            (Fault.answer(200, b"x" * (9 * 1024 * 1024), "text/html"), 502, "cannot use. It is not known"),
        ],
    )  # fmt: skip
    def test_it_keeps_what_was_typed(
        self, signed_in: Browser, api: DemoApi, answer: Fault, status: int, text: str
    ) -> None:
        api.fail("POST", SECRET, answer)

        assert self.post(signed_in)[0] == status
        api.fail("POST", SECRET, answer)
        page = self.post(signed_in)[1]
        assert text in page
        assert 'value="North &lt;Pier&gt;"' in page
        assert api.count("POST", SECRET) == 2  # none was repeated

    def test_a_call_that_was_not_sent_changed_nothing(self, signed_in: Browser, settings: Any) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            settings.API_BASE_URL = f"http://127.0.0.1:{unused.getsockname()[1]}"
            status, page = self.post(signed_in)
            signed_in.age(3600)  # the refresh fails
            aged_status, aged_page = self.post(signed_in)

        assert status == aged_status == 503
        assert "Nothing was changed." in page
        assert "Nothing was changed." in aged_page

    def test_a_session_that_has_ended_keeps_what_was_typed(self, signed_in: Browser, api: DemoApi) -> None:
        api.revoke_all()

        status, page = self.post(signed_in)

        assert status == 401
        assert '<a href="/accounts/login/?ended=1" target="_blank">Sign in in a new tab</a>' in page
        assert 'value="North &lt;Pier&gt;"' in page
        signed_in.sign_in()
        assert self.post(signed_in)[0] == 200

    def test_the_sign_in_page_of_its_link_names_the_reason(self, signed_in: Browser, settings: Settings) -> None:
        settings.API_SESSION_MAX_AGE = 28800
        with movable_clock() as clock:
            clock.ahead = 28801
            status, page = self.post(signed_in)

            assert status == 401
            [link] = re.findall(r'<a href="(\S+)" target="_blank">Sign in in a new tab</a>', page)
            assert "Your session ended after 8 hours. Please sign in again." in signed_in.get(link).text
        assert '<a href="/accounts/login/" target="_blank">' in self.post(signed_in)[1]  # a visitor by now
