"""Calls of a script through the proxy."""

import json
from typing import Any

from django.http import HttpResponse

from tests.browsers import Browser
from tests.demo_api.server import Call, DemoApi

ROUTE = "/protected-route"
PROXY = f"/protected/api{ROUTE}"
EVERYTHING = "GET /, POST /, PUT /, PATCH /, DELETE /"
TO_SIGN_IN = "/accounts/login/?next="

#: Bodies, most of which Django would parse as a form.
FORMS = {
    "multipart": (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--',
    ),
    "multipart with a file": (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="a"; filename="\xff"\r\n\r\n\x00\x01\xff\r\n--x--\r\nrest',
    ),
    "multipart without a boundary": ("multipart/form-data", b"what is this?"),
    "multipart that breaks off": ("multipart/form-data; boundary=x", b"--x\r\nContent-Dis"),
    "multipart with many files": (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\nc\r\n' * 150 + b"--x--\r\n",
    ),
    "urlencoded": ("application/x-www-form-urlencoded", b"b=2&a=1&a=%20+&&=x&%zz"),
    "urlencoded with many fields": ("application/x-www-form-urlencoded", b"a=1&" * 1500 + b"z=1"),
    "urlencoded in Latin 1": ("application/x-www-form-urlencoded; charset=latin-1", b"a=\xe9"),
    "urlencoded, no UTF-8": ("application/x-www-form-urlencoded", b"a=\xff\xfe"),
    "JSON": ("application/json", b'{"a":1,  "a":2}\n'),
    "bytes": ("application/octet-stream", bytes(range(256)) * 8),
    "no type": ("", b"bytes"),
}


def call_proxy(
    browser: Browser,
    path: str,
    method: str = "GET",
    body: bytes = b"",
    content_type: str = "application/json",
    **headers: Any,
) -> HttpResponse:
    """The response to a script's call, with its whole body in `content`. Headers are spelled as in WSGI."""
    headers.setdefault("HTTP_ACCEPT", "application/json")
    response: Any = browser.client.generic(method, path, body, content_type, **headers)
    if not response.streaming:
        complete: HttpResponse = response
        return complete
    read = HttpResponse(b"".join(response), status=response.status_code)
    del read["Content-Type"]
    for name, value in response.items():
        read[name] = value
    read.cookies = response.cookies
    response.close()
    return read


def wsgi_headers(headers: dict[str, str]) -> dict[str, Any]:
    """Header names as in the WSGI environment."""
    return {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}


def only_call(api: DemoApi) -> Call:
    (call,) = [call for call in api.calls if call.path.startswith(ROUTE)]
    return call


def body_of(response: HttpResponse) -> Any:
    return json.loads(response.content)
