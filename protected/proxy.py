"""The API for browser scripts: same origin, with nothing but the cookie. What an interceptor does in a single-page app,
the bearer token and the refresh, is done here.

Only what API_PROXY_ALLOW lists gets through, and only to the one API. Of the headers an allow-list passes each way: our
cookies never reach the API, its cookies never reach the browser, and hop-by-hop headers end here (RFC 9110 section
7.6.1). The body passes as it comes, encoded as it is, so an ETag stays true.
"""

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

import requests
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase, JsonResponse, QueryDict, StreamingHttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.views.decorators.csrf import csrf_exempt

from accounts.api import ApiRequest
from accounts.exceptions import BodyConsumed
from accounts.streaming import PassThroughBody

PASSED_TO_THE_API = (
    "Accept",
    "Accept-Encoding",
    "Accept-Language",
    "Content-Encoding",
    "Content-Language",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-Modified-Since",
    "If-None-Match",
    "If-Range",
    "If-Unmodified-Since",
    "Prefer",
    "Range",
)
PASSED_TO_THE_BROWSER = (
    "Accept-Ranges",
    "Cache-Control",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Language",
    "Content-Length",
    "Content-Range",
    "Content-Type",
    "ETag",
    "Expires",
    "Last-Modified",
    "Link",
    "Retry-After",
    "Vary",
)
#: What an answer may not be fetched for (Sec-Fetch-Dest). A page's policy lets it run scripts of this site, and the API
#: may hold what somebody has uploaded.
NOT_FOR = ("script", "style", "worker", "sharedworker", "serviceworker", "audioworklet", "paintworklet", "xslt")
#: A larger body is streamed, so it cannot be repeated after a 401.
REPEATED_UP_TO_BYTES = 1024 * 1024
_CHUNK_BYTES = 64 * 1024
_AS_IT_IS = "%/:=&?~+!$,;'@()*[]"
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE")
_RULE = re.compile(r"([A-Z]+) (/\S*)")
#: No header may hold these (RFC 9110 section 5.5), and servers refuse to send them.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Rule:
    """What API_PROXY_ALLOW allows: a method, and a path with all that is below it."""

    method: str
    prefix: str

    def covers(self, path: str) -> bool:
        return path == self.prefix or path.startswith(self.prefix.rstrip("/") + "/")


class Upload:
    """A request's body on its way through: read once, and sent with its length.

    A browser that stops in the middle must not leave the API waiting for the rest: the next request on that connection
    would be taken for it. So reading raises OSError, and the connection is dropped.
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
            raise OSError("the browser sent less than it announced")
        return chunk


@functools.lru_cache(maxsize=8)
def parse_rules(text: str) -> tuple[Rule, ...]:
    """API_PROXY_ALLOW: "GET /orders, POST /orders". Raises ValueError for anything else."""
    rules = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        rule = _RULE.fullmatch(part)
        if rule is None or is_evasive(rule[2]):
            raise ValueError(f"{part!r} is not a method and a path, such as GET /orders")
        rules.append(Rule(rule[1], rule[2]))
    return tuple(rules)


def is_evasive(path: str) -> bool:
    """Whether a path could mean another one to the API than it does here."""
    # Some servers drop what follows a semicolon before they look at the segments: to them "..;" is "..".
    segments = [segment.partition(";")[0] for segment in path.split("/")[1:]]
    return (
        bool({".", ".."} & set(segments))
        or "" in segments[:-1]
        or "\\" in path
        or "%" in path
        or not path.isprintable()
    )


@csrf_exempt  # checked below: Django's own check would read a form's body, which has to pass through
def api(request: ApiRequest, path: str) -> HttpResponseBase:
    """`/protected/api/<path>`: the API's answer to the same call, made as the signed-in user."""
    path = f"/{path}"
    if "%2f" in _raw_path(request).lower() or is_evasive(path):
        return _refuse(404, "There is no such address.")
    if request.headers.get("Sec-Fetch-Dest") in NOT_FOR:
        return _refuse(403, "What the API answers is data, and no part of a page's code.")
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
    headers = _picked(request.headers, PASSED_TO_THE_API)
    if unfit := [name for name, value in headers.items() if _CONTROL.search(value)]:
        return _refuse(400, f"The header {unfit[0]} has control characters in it.")
    try:
        body = _body(request)
    except ValueError as error:
        return _refuse(400, str(error))
    if method not in _SAFE_METHODS and not _has_csrf_token(request):
        return _refuse(403, "The CSRF token is missing or wrong: send the csrftoken cookie's value as X-CSRFToken.")
    try:
        answer = request.api.request(
            method,
            quote(path) + _query(request),
            data=body,
            # What `str.strip` takes for spaces in Latin 1, `requests` refuses at the beginning of a value.
            headers={"Accept-Encoding": "identity"} | {name: value.strip() for name, value in headers.items()},
            stream=True,
            any_status=True,
        )
    except BodyConsumed:
        detail = "The access token had expired and was renewed. Send the same request again."
        return _refuse(401, detail, **{"Retry-After": "1"})
    return _pass_on(answer)


def _pass_on(answer: requests.Response) -> StreamingHttpResponse:
    response = StreamingHttpResponse(PassThroughBody(answer, decoded=False), status=answer.status_code)
    del response["Content-Type"]
    for name, value in _picked(answer.headers, PASSED_TO_THE_BROWSER).items():
        # Such as the line end of a folded value, in whose place a proxy puts spaces (RFC 9112 section 5.2).
        response[name] = _CONTROL.sub(" ", value)
    if not _tells_length(answer):
        del response["Content-Length"]
    # An API that says nothing of caching leaves it to the ETag.
    response.setdefault("Cache-Control", "private, no-cache")
    # Whatever the API holds, it is data: opened as a page, it runs nothing and has no origin, least of all the admin's.
    response["Content-Security-Policy"] = "sandbox; default-src 'none'"
    response["X-Accel-Buffering"] = "no"
    return response


def _tells_length(answer: requests.Response) -> bool:
    """Whether the Content-Length of an answer is one that a browser may believe. Who believed another would wait, or
    take the next answer for the rest of this one.
    """
    return (
        # Chunks overrule a length (RFC 9112 section 6.3), and leave with another one.
        "Transfer-Encoding" not in answer.headers
        # Not one that came twice: "5, 5" is no number.
        and answer.headers.get("Content-Length", "").isdigit()
        # A 204 has no body, and no length (RFC 9110 section 8.6).
        and answer.status_code != 204
    )


def _picked(headers: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    return {name: headers[name] for name in names if name in headers}


def _body(request: ApiRequest) -> bytes | Upload | None:
    """The request's body, to be passed on. Raises ValueError where its length is wrong."""
    announced = str(request.META.get("CONTENT_LENGTH") or "0")
    if not (announced.isascii() and announced.isdigit()):
        raise ValueError("Content-Length is no number.")
    length = int(announced)
    if length > REPEATED_UP_TO_BYTES:
        return Upload(request, length)
    body = request.body
    if len(body) != length:
        raise ValueError("The body is shorter than its Content-Length.")
    return body or None


def _has_csrf_token(request: ApiRequest) -> bool:
    """By the header alone. Django looks for its token in a form too, and would read and parse it."""
    request.POST = QueryDict()

    def let_pass(_: HttpRequest) -> JsonResponse:
        return JsonResponse({})

    return CsrfViewMiddleware(let_pass).process_view(request, let_pass, (), {}) is None


def _query(request: ApiRequest) -> str:
    """The query as it was sent: WSGI spells its bytes in Latin 1 (PEP 3333), and it may hold any."""
    query = request.META.get("QUERY_STRING", "")
    return f"?{quote(query.encode('latin-1'), safe=_AS_IT_IS)}" if query else ""


def _raw_path(request: ApiRequest) -> str:
    """The path as it was sent, where the server tells (gunicorn's RAW_URI, uWSGI's REQUEST_URI): "" elsewhere."""
    return str(request.META.get("RAW_URI") or request.META.get("REQUEST_URI") or "").split("?")[0]


def _refuse(status: int, detail: str, **headers: str) -> JsonResponse:
    return JsonResponse({"detail": detail}, status=status, headers=headers)
