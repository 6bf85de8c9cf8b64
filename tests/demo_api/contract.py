"""The contract: which call does what, and how its answers look. Bytes in, bytes out, no sockets."""

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from tests.demo_api.messages import Answer, Pair, Problem, Request
from tests.demo_api.readings import ROWS, stream_csv
from tests.demo_api.state import Refused, SignIns, StillValid
from tests.demo_api.tokens import TokenKind
from tests.demo_api.users import user_claim

EXPORT_BYTES = 64 * 1024
MAX_EXPORT_BYTES = 2**30
#: Calls of a test's own, by method and path. The answer is a value (its JSON, with 200), a pair of a status and such a
#: value, an `Answer`, or a function that makes one of these of the request.
Routes = dict[tuple[str, str], Any]
ROW_PATH = re.compile(r"/protected-route/rows/([0-9]{1,18})", re.ASCII)


class Contract:
    """Answers each request from what the sign-ins allow."""

    def __init__(
        self,
        sign_ins: SignIns,
        routes: Routes,
        *,
        refused_status: int = 401,
        has_logout: bool = True,
        tokens: TokenKind = "jwt",
    ) -> None:
        self._sign_ins = sign_ins
        self._routes = routes
        self._refused_status = refused_status
        self._tokens = tokens
        self._calls: dict[tuple[str, str], Callable[[Request], Answer]] = {
            ("POST", "/auth/login"): self._login,
            ("POST", "/auth/refresh"): self._refresh,
            ("GET", "/protected-route"): self._list_rows,
            ("POST", "/protected-route"): self._echo,
            ("GET", "/protected-route/export.csv"): self._export,
        }
        if has_logout:
            self._calls["POST", "/auth/logout"] = self._logout

    def answer(self, request: Request) -> Answer:
        call = self._calls.get((request.method, request.path))
        if (request.method, request.path) in self._routes:
            call = self._answer_route
        elif call is None and request.method == "GET" and ROW_PATH.fullmatch(request.path):
            call = self._show_row
        try:
            if call is None:
                raise Problem(404, "There is nothing here.")
            return call(request)
        except Problem as problem:
            return problem.answer

    def _login(self, request: Request) -> Answer:
        email, password = _read_strings(request, "email", "password")
        try:
            pair = self._sign_ins.sign_in(email, password)
        except Refused as refused:
            raise Problem(401, str(refused)) from refused
        user = {} if self._tokens == "jwt" else {"user": user_claim(email)}
        return Answer.json(200, {**self._spell(pair), **user}, Cache_Control="no-store")

    def _refresh(self, request: Request) -> Answer:
        access, refresh = _read_strings(request, "accessToken", "refreshToken")
        try:
            pair = self._sign_ins.refresh(access, refresh)
        except StillValid as early:
            raise Problem(400, str(early)) from early
        except Refused as refused:
            raise Problem(self._refused_status, str(refused)) from refused
        return Answer.json(200, self._spell(pair), Cache_Control="no-store")

    def _logout(self, request: Request) -> Answer:
        (refresh,) = _read_strings(request, "refreshToken")
        self._sign_ins.sign_out(refresh)
        return Answer(204)

    def _list_rows(self, request: Request) -> Answer:
        self._authorise(request)
        return Answer.json(200, {"data": ROWS})

    def _show_row(self, request: Request) -> Answer:
        self._authorise(request)
        number = int(request.path.rpartition("/")[2])
        return Answer.json(200, {"data": ROWS[number % len(ROWS)]})

    def _echo(self, request: Request) -> Answer:
        self._authorise(request)
        _read_json(request)
        # As it came, not parsed and written again: numbers too long for a float stay what they are.
        return Answer(201, b'{"data": ' + request.body + b"}", {"Content-Type": "application/json"})

    def _export(self, request: Request) -> Answer:
        self._authorise(request)
        size = parse_qs(request.query, keep_blank_values=True).get("bytes", [str(EXPORT_BYTES)])[-1]
        if not re.fullmatch("[0-9]{1,12}", size, re.ASCII) or int(size) > MAX_EXPORT_BYTES:
            raise Problem(400, f"bytes: a whole number up to {MAX_EXPORT_BYTES}, please.")
        return Answer(200, headers={"Content-Type": "text/csv; charset=utf-8"}, stream=stream_csv(int(size)))

    def _answer_route(self, request: Request) -> Answer:
        self._authorise(request)
        answer = self._routes[request.method, request.path]
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, Answer):
            return answer
        is_pair = isinstance(answer, tuple) and len(answer) == 2
        return Answer.json(*answer) if is_pair else Answer.json(200, answer)

    def _authorise(self, request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        try:
            if scheme.lower() != "bearer" or not token.strip():
                raise Refused("This needs an access token.")
            self._sign_ins.whose(token.strip())
        except Refused as refused:
            raise Problem(401, str(refused), WWW_Authenticate="Bearer") from refused

    def _spell(self, pair: Pair) -> dict[str, Any]:
        spelled: dict[str, Any] = {"accessToken": pair.access, "refreshToken": pair.refresh}
        if self._tokens == "opaque":
            spelled["expires_in"] = self._sign_ins.access_ttl
            spelled["refresh_expires_in"] = self._sign_ins.refresh_ttl
        return spelled


def _read_json(request: Request) -> Any:
    try:
        return json.loads(request.body.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, a number or nesting beyond all measure
        raise Problem(400, "The body is no JSON.") from error


def _read_strings(request: Request, *names: str) -> list[str]:
    fields = _read_json(request)
    if not isinstance(fields, dict):
        raise Problem(400, "The body should be a JSON object.")
    if wrong := [name for name in names if not isinstance(fields.get(name), str)]:
        raise Problem(400, f"Missing, or not a string: {', '.join(wrong)}.")
    return [fields[name] for name in names]


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")  # Python alone would take NaN and Infinity
