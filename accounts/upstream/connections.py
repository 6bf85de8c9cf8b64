"""Connections to the API: which kept-alive one is used again, which certificates are trusted, how requests are sent."""

import functools
import logging
import math
import socket
import ssl
import time
from http.client import HTTPConnection as PlainConnection
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ReadTimeoutError

from accounts.conf import conf
from accounts.database_pool import give_back_connections
from accounts.upstream.content_coding import CompressedResponse
from accounts.upstream.deadline import DeadlineConnection, DeadlineResponse, current_deadline
from accounts.upstream.http_message import StrictResponse
from accounts.upstream.response import ApiResponse

logger = logging.getLogger(__name__)

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
#: A connection that was idle for longer is not used again: NATs and firewalls forget idle connections, and servers
#: close them. A new connection costs less than a request that is lost.
MAX_IDLE_SECONDS = 4.0

# The operating system notices that the connection of a quiet event stream is dead. The probes also keep NATs from
# forgetting it.
_SOCKET_OPTIONS = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 3), ("TCP_KEEPCNT", 3))
        if hasattr(socket, name)
    ),
]


class _Response(StrictResponse, DeadlineResponse):
    pass


class _HttpConnection(DeadlineConnection):
    response_class = _Response
    #: When it was put back into the pool (time.monotonic()).
    idle_since = -math.inf
    #: False while a request is being sent, and after one that was sent in part. The API would take the next request for
    #: the rest of it.
    has_sent_all = True

    def request(self, *args: Any, **options: Any) -> None:
        self.has_sent_all = False
        super().request(*args, **options)
        self.has_sent_all = True

    def putheader(self, header: str | bytes, *values: Any) -> None:
        """Skips urllib3's search for SKIP_HEADER in each header, since no caller uses it."""
        PlainConnection.putheader(self, header, *values)

    def getresponse(self) -> Any:
        response = super().getresponse()
        if "Content-Encoding" in response.headers:
            response.__class__ = CompressedResponse
        return response


class _HttpsConnection(_HttpConnection, HTTPSConnection):
    def connect(self) -> None:
        if conf.ca_bundle:
            self.ca_cert_data = additional_authorities(conf.ca_bundle) or None
        super().connect()


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _HttpConnection
    #: Connections that became idle before this time (time.monotonic()) are not used again: one of them was dead.
    _trusted_from = -math.inf

    def urlopen(self, method: str, url: str, **options: Any) -> Any:  # type: ignore[override]
        """Passes the headers as a dict, since urllib3 copies and iterates them several times."""
        options["headers"] = dict(options["headers"].items())
        return super().urlopen(method, url, **options)

    def _make_request(self, conn: Any, method: str, url: str, **options: Any) -> Any:  # type: ignore[override]
        """Uses `conn`, or a new connection in its place if `conn` may be dead."""
        if conn.sock is not None and not self._may_be_used(conn):
            conn.close()
        if conn.sock is None:
            return super()._make_request(conn, method, url, **options)
        try:
            return super()._make_request(conn, method, url, **options)
        except (ConnectionError, ReadTimeoutError, ssl.SSLError):
            self._trusted_from = time.monotonic()
            raise

    def _may_be_used(self, conn: Any) -> bool:
        deadline = current_deadline()
        if deadline is not None and deadline.new_connection:
            return False
        if isinstance(conn.sock, ssl.SSLSocket) and conn.sock.pending():
            # Bytes after the end of the last response (RFC 9112 section 6.3). urllib3 sees only those that are still
            # encrypted.
            return False
        return bool(conn.idle_since >= max(time.monotonic() - MAX_IDLE_SECONDS, self._trusted_from))

    def _put_conn(self, conn: Any) -> None:
        if conn is not None:
            conn.idle_since = time.monotonic()
            if not conn.has_sent_all:
                conn.close()
            if self.pool is not None and self.pool.full():
                # urllib3 would log a warning for each of thousands of event streams that end.
                conn.close()
                return
        super()._put_conn(conn)


class _HttpsPool(_HttpPool, HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


class Adapter(HTTPAdapter):
    """An adapter whose connections obey deadlines. It uses no proxies, and skips work that each call would repeat."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # Only the last pool is kept, because there is one API. A dropped pool closes its connections.
        self._last_pool: tuple[str, HTTPConnectionPool] | None = None

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, socket_options=_SOCKET_OPTIONS, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> HTTPConnectionPool:
        """The pool for the request's scheme, host and port. The `pool` of a closed one is None."""
        origin = "/".join(str(request.url).split("/", 3)[:3])
        last = self._last_pool
        if last is None or last[0] != origin or last[1].pool is None:
            self._last_pool = last = (origin, super().get_connection_with_tls_context(request, *args, **kwargs))
        return last[1]

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        give_back_connections()
        return super().send(request, *args, **options)

    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:
        return request.path_url

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        """Returns an ApiResponse, which has the same attributes. Cookies are parsed only if the response sets some."""
        original = resp._original_response
        if "Set-Cookie" not in resp.headers:
            resp._original_response = None
        try:
            response = super().build_response(req, resp)
        finally:
            resp._original_response = original
        response.__class__ = ApiResponse
        return response


@functools.lru_cache(maxsize=4)
def additional_authorities(path: str) -> str:
    """The certificates in the PEM file `path`, which are trusted besides the well-known authorities.

    They are read once. Without a readable file they are "", and the log has an error.
    """
    try:
        # Comments in such files have any characters, and OpenSSL takes ASCII.
        text = Path(path).read_bytes().decode("ascii", "ignore")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (OSError, ValueError) as error:
        logger.error("API_CA_BUNDLE is %r, which is no file with certificates: %s", path, type(error).__name__)
        return ""
    return text
