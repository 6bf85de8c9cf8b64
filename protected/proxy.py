"""The proxy to the API for browser scripts: same origin, with only the cookie. It does the work of an interceptor in a
single-page app: it adds the access token and refreshes it.

API_PROXY_ALLOW lists the calls that it passes on, to one API only. Allow-lists choose the headers of requests and
responses: our cookies never reach the API, its cookies never reach the browser, and hop-by-hop headers end here (RFC
9110 section 7.6.1). The body passes in its encoding, so its ETag stays valid.
"""

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

import requests
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase, JsonResponse, QueryDict, StreamingHttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.views.decorators.csrf import csrf_exempt

from accounts.api_client import ApiRequest
from accounts.browser.error_responses import csrf_detail
from accounts.browser.event_source import TEMPORARY_STATUSES, is_event_source, reconnect_response
from accounts.exceptions import BodyConsumed
from accounts.streaming import PassThroughBody, PassThroughEvents
from accounts.upstream.event_stream import is_event_stream
from accounts.upstream.failure_reasons import UploadCutShort
from accounts.upstream.retry_after import parse_retry_after

PASSED_TO_THE_API = (
    *("Accept", "Accept-Encoding", "Accept-Language", "Prefer", "Range", "Idempotency-Key"),
    *("Content-Encoding", "Content-Language", "Content-Type"),
    *("If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since"),
    "Last-Event-ID",
)
#: Without Date, which this site's server sets, and Location, which names an address of the API.
PASSED_TO_THE_BROWSER = (
    *("Age", "Cache-Control", "ETag", "Expires", "Last-Modified", "Vary", "Accept-Ranges", "Link", "Retry-After"),
    *("Accept-Patch", "Allow", "Preference-Applied"),
    *("Content-Disposition", "Content-Encoding", "Content-Language", "Content-Length", "Content-Range", "Content-Type"),
)
#: Values of Sec-Fetch-Dest that are refused. A page's policy allows scripts of this site, and the API may return a file
#: that an attacker uploaded.
_WORKERS = ("worker", "sharedworker", "serviceworker", "audioworklet", "paintworklet")
REFUSED_DESTINATIONS = ("script", "style", "xslt", *_WORKERS)
#: A larger body is streamed, so it cannot be sent again after a 401.
MAX_REPEATED_BODY_BYTES = 1024 * 1024
_CHUNK_BYTES = 64 * 1024
#: In a path, these mean themselves (RFC 3986 section 3.3). Escaped, they are other characters for some APIs.
_PATH_UNQUOTED = "/:@!$&'()*+,;="
_UNQUOTED = "%/:=&?~+!$,;'@()*[]"
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE")
_RULE = re.compile(r"([A-Z]+) (/\S*)")
#: Not allowed in a header (RFC 9110 section 5.5): servers refuse to send them.
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of API_PROXY_ALLOW: a method, and a path with every path below it."""

    method: str
    prefix: str

    def covers(self, path: str) -> bool:
        return path == self.prefix or path.startswith(self.prefix.rstrip("/") + "/")


class Upload:
    """A request's body that is read once and sent with its length.

    Reading raises UploadCutShort if the browser stops in the middle, which closes the connection to the API. Otherwise
    the API would take the next request on that connection for the rest of the body.
    """

    def __init__(self, request: ApiRequest, length: int) -> None:
        self._request = request
        self._length = self._missing = length

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self.read(_CHUNK_BYTES):
            yield chunk

    def read(self, size: int = -1) -> bytes:
        chunk = self._request.read(size)
        self._missing -= len(chunk)
        if self._missing > 0 and not chunk:
            raise UploadCutShort("the body is shorter than its Content-Length")
        return chunk


@functools.lru_cache(maxsize=8)
def parse_rules(text: str) -> tuple[Rule, ...]:
    """The entries of API_PROXY_ALLOW, such as "GET /orders, POST /orders". Raises ValueError for anything else."""
    rules = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        rule = _RULE.fullmatch(part)
        if rule is None or is_evasive(rule[2]):
            raise ValueError(f"{part!r} is not a method and a path, such as GET /orders")
        rules.append(Rule(rule[1], rule[2]))
    return tuple(rules)


def is_evasive(path: str) -> bool:
    """Whether the API could read a path as another one than this site does."""
    # Some servers remove the text after a semicolon before they read the segments: for them "..;" is "..".
    segments = [segment.partition(";")[0] for segment in path.split("/")[1:]]
    return (
        bool({".", ".."} & set(segments))
        or "" in segments[:-1]
        or "\\" in path
        or "%" in path
        or not path.isprintable()
    )


@csrf_exempt  # checked below: Django's own check would read a form's body, which has to pass unread
def api(request: ApiRequest, path: str) -> HttpResponseBase:
    """`/protected/api/<path>`: the API's response to the same call, made as the signed-in user."""
    path = f"/{path}"
    if (refusal := _refuse_unlisted(request, path)) is not None:
        return refusal
    headers = _select_headers(request.headers, PASSED_TO_THE_API)
    if invalid := [name for name, value in headers.items() if _CONTROL_CHARACTERS.search(value)]:
        return _refuse(400, f"The header {invalid[0]} contains control characters.")
    try:
        body = _request_body(request)
    except ValueError as error:
        return _refuse(400, str(error))
    if request.method not in _SAFE_METHODS and (forged := _refuse_forged(request)) is not None:
        return forged
    wants_events = is_event_source(request)
    if wants_events:
        # Heartbeats cannot be added to a compressed stream.
        headers["Accept-Encoding"] = "identity"
    try:
        api_response = request.api.request(
            str(request.method),
            _escape_path(path, _raw_path(request)) + _query_string(request),
            data=body,
            # `requests` refuses a value that begins with a space of Latin 1, which `str.strip` removes.
            headers={"Accept-Encoding": "identity"} | {name: value.strip() for name, value in headers.items()},
            stream=True,
            any_status=not wants_events,
        )
    except BodyConsumed:
        detail = "The access token, or its proof, had expired and was renewed. Send the same request again."
        return _refuse(401, detail, **{"Retry-After": "1"})
    if wants_events and api_response.status_code in TEMPORARY_STATUSES:
        api_response.close()
        return reconnect_response(parse_retry_after(api_response.headers.get("Retry-After")))
    return _stream_response(request, api_response)


def _refuse_unlisted(request: ApiRequest, path: str) -> JsonResponse | None:
    """A refusal, or None for a call that API_PROXY_ALLOW lists and this proxy can pass on."""
    if "%2f" in _raw_path(request).lower() or is_evasive(path):
        return _refuse(404, "There is no such address.")
    if request.headers.get("Sec-Fetch-Dest") in REFUSED_DESTINATIONS:
        return _refuse(403, "A page cannot use a response of the API as code, because it is data.")
    if request.headers.get("Upgrade"):
        return _refuse(501, "WebSockets and other upgrades are not passed on to the API.")
    method = str(request.method)
    allowed = [rule.method for rule in parse_rules(settings.API_PROXY_ALLOW) if rule.covers(path)]
    if "GET" in allowed:
        allowed.append("HEAD")
    if not allowed:
        return _refuse(404, "There is no such address, or API_PROXY_ALLOW does not list it.")
    if method not in allowed:
        return _refuse(405, f"{method} is not allowed here.", Allow=", ".join(dict.fromkeys(allowed)))
    if "Transfer-Encoding" in request.headers:
        return _refuse(411, "Send the body with its Content-Length.")
    return None


def _stream_response(request: ApiRequest, api_response: requests.Response) -> StreamingHttpResponse:
    has_events = is_event_stream(api_response)
    body = (
        PassThroughEvents(api_response, request.api_session)
        if has_events
        else PassThroughBody(api_response, decoded=False)
    )
    response = StreamingHttpResponse(body, status=api_response.status_code)
    del response["Content-Type"]
    for name, value in _select_headers(api_response.headers, PASSED_TO_THE_BROWSER).items():
        # Such as a NUL, which a recipient replaces with a space (RFC 9110 section 5.5).
        response[name] = _CONTROL_CHARACTERS.sub(" ", value)
    if has_events or not _has_valid_length(api_response):
        del response["Content-Length"]
    # Without a Cache-Control of the API, the ETag decides.
    response.setdefault("Cache-Control", "private, no-cache")
    # The response is data. If a user opens it as a page, it runs no script and does not share the admin's origin.
    response["Content-Security-Policy"] = "sandbox; default-src 'none'"
    response["X-Accel-Buffering"] = "no"
    return response


def _has_valid_length(api_response: requests.Response) -> bool:
    """Whether the Content-Length is safe to pass on. With a wrong one, the browser would wait for more bytes, or take
    the next response for the rest of this one.
    """
    return (
        # Chunks override a Content-Length (RFC 9112 section 6.3), and this site frames the body anew.
        "Transfer-Encoding" not in api_response.headers
        # A header that came twice, "5, 5", is not a number.
        and api_response.headers.get("Content-Length", "").isdigit()
        # A 204 has no body and no Content-Length (RFC 9110 section 8.6).
        and api_response.status_code != 204
    )


def _select_headers(headers: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    return {name: headers[name] for name in names if name in headers}


def _request_body(request: ApiRequest) -> bytes | Upload | None:
    """The request's body. Raises ValueError if its length is wrong."""
    content_length = str(request.META.get("CONTENT_LENGTH") or "0")
    if not (content_length.isascii() and content_length.isdigit()):
        raise ValueError("The Content-Length is not a number.")
    length = int(content_length)
    if length > MAX_REPEATED_BODY_BYTES:
        return Upload(request, length)
    body = request.body
    if len(body) != length:
        raise ValueError("The body is shorter than its Content-Length.")
    return body or None


def _refuse_forged(request: ApiRequest) -> HttpResponseBase | None:
    """A refusal, or None if X-CSRFToken and the origin are right. The form stays unread: Django would look for a token
    in it, too.
    """
    request.POST = QueryDict()

    def empty_view(_: HttpRequest) -> JsonResponse:
        return JsonResponse({})

    return _CsrfCheck(empty_view).process_view(request, empty_view, (), {})


class _CsrfCheck(CsrfViewMiddleware):
    """Django's check, with JSON as the refusal."""

    def _reject(self, request: HttpRequest, reason: str) -> HttpResponseBase:
        super()._reject(request, reason)  # type: ignore[misc]  # logs it
        return _refuse(403, csrf_detail(reason))


def _escape_path(path: str, raw_path: str) -> str:
    """`path`, which was checked, for the API: escaped as it was sent, if the end of `raw_path` means the same."""
    as_sent = "/" + "/".join(raw_path.split("/")[-path.count("/") :])
    if unquote_to_bytes(as_sent) == path.encode():
        return quote(as_sent, safe=_PATH_UNQUOTED + "%")
    return quote(path, safe=_PATH_UNQUOTED)


def _query_string(request: ApiRequest) -> str:
    """The query as it was sent. WSGI decodes its bytes as Latin 1 (PEP 3333); any byte may occur."""
    query = request.META.get("QUERY_STRING", "")
    return f"?{quote(query.encode('latin-1'), safe=_UNQUOTED)}" if query else ""


def _raw_path(request: ApiRequest) -> str:
    """The path as it was sent: gunicorn's RAW_URI, uWSGI's REQUEST_URI or ASGI's raw_path; "" for other servers."""
    asgi: bytes = getattr(request, "scope", {}).get("raw_path") or b""
    return str(request.META.get("RAW_URI") or request.META.get("REQUEST_URI") or asgi.decode("latin-1")).split("?")[0]


def _refuse(status: int, detail: str, **headers: str) -> JsonResponse:
    return JsonResponse({"detail": detail}, status=status, headers=headers)
