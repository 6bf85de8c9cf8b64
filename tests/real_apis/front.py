"""A front for a real API: passes every request on, keeps the record, and has the faults."""

import hashlib
import json
from abc import abstractmethod
from collections import Counter
from http.client import HTTPConnection, HTTPException

from tests.demo_api.messages import Answer, Call, Request
from tests.demo_api.recorded import RecordedApi
from tests.real_apis.process import Program

PATIENCE_SECONDS = 60.0

#: About one connection, and not about the message (RFC 9110 section 7.6.1); the front has connections of its own.
CONNECTION_HEADERS = {"connection", "keep-alive", "content-length", "transfer-encoding"}
REFUSALS = (400, 401)


class RealApi(RecordedApi):
    """
    A program of this package on a port of its own, and in front of it the port that everybody is told.

    The program runs from the first `start_serving` to the end of the `with`; `stop_serving` closes the front alone.
    """

    #: What a refresh token is called, in the request that spends it and in the answer that brings the next one.
    refresh_field: str

    def __init__(self, program: str, *options: str, port: int) -> None:
        super().__init__(self._pass_on_and_count, port=port)
        self._command = (program, *options)
        self._program: Program | None = None
        self._accepted: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._spent: set[str] = set()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        if self._program:
            self._program.stop()
            self._program = None

    def start_serving(self) -> None:
        if self._program is None:
            self._program = self.start_program()
        super().start_serving()

    def start_program(self) -> Program:
        return Program(*self._command)

    @property
    def program(self) -> Program:
        """The process behind the front, for orders."""
        if self._program is None:
            raise RuntimeError("The API does not run: start it first.")
        return self._program

    def set_access_ttl(self, seconds: float) -> None:
        """How long the access tokens live that are issued from now on."""
        self.program.order("set_access_ttl", seconds)

    def expire_access_tokens(self) -> None:
        self.program.order("expire_access_tokens")

    def revoke_all(self) -> None:
        self.program.order("revoke_all")

    @property
    def reuses(self) -> int:
        """How often a refresh token that another one had replaced came back, and was refused."""
        with self._lock:
            return sum(self._refused[token] for token in self._spent)

    @property
    def refresh_spends(self) -> Counter[str]:
        """How often each refresh token was accepted, by its digest."""
        with self._lock:
            return Counter(self._accepted)

    @abstractmethod
    def read_body(self, request: Call | Request) -> dict[str, str]:
        """The fields of a call to the API's sign-in machinery; empty where it has none."""

    def _pass_on_and_count(self, request: Request) -> Answer:
        answer = self._pass_on(request)
        if self.is_refresh(request) and (token := self.read_body(request).get(self.refresh_field)):
            self._count_refresh(token, answer)
        return answer

    def _count_refresh(self, token: str, answer: Answer) -> None:
        name = hashlib.sha256(token.encode()).hexdigest()
        with self._lock:
            if answer.status == 200:
                self._accepted[name] += 1
                if json.loads(answer.body).get(self.refresh_field, token) != token:
                    self._spent.add(name)
            elif answer.status in REFUSALS and b"use_dpop_nonce" not in answer.body:
                self._refused[name] += 1

    def _pass_on(self, request: Request) -> Answer:
        connection = HTTPConnection("127.0.0.1", self.program.port, timeout=PATIENCE_SECONDS)
        target = f"{request.path}?{request.query}" if request.query else request.path
        headers = {name: value for name, value in request.headers.items() if name not in CONNECTION_HEADERS}
        try:
            connection.request(request.method, target, request.body, {**headers, "connection": "close"})
            response = connection.getresponse()
            body = response.read()
        except (OSError, HTTPException) as error:
            raise RuntimeError(f"{self._command[0]} does not answer") from error
        finally:
            connection.close()
        return Answer(
            response.status,
            body,
            {
                name: value
                for name, value in response.getheaders()
                if name.lower() not in {*CONNECTION_HEADERS, "set-cookie"}
            },
            cookies=tuple(response.headers.get_all("Set-Cookie", [])),
        )
