"""A gateway in front of the API that has lost its routes or its keys: it answers every call itself, in JSON."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.demo_api.messages import Answer, Request


@dataclass(frozen=True, slots=True)
class Gateway:
    """Answers every method and path with this status and JSON.

    In the JSON's strings, `{method}`, `{path}`, `{request_id}` and `{time}` stand for those of the request.
    """

    status: int
    payload: dict[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)

    def answer(self, request: Request) -> Answer:
        body = json.dumps(self.payload)
        values = {
            "{method}": request.method,
            "{path}": json.dumps(request.path)[1:-1],
            "{request_id}": secrets.token_hex(16),
            "{time}": datetime.now(UTC).isoformat(),
        }
        for name, value in values.items():
            body = body.replace(name, value)
        return Answer(self.status, body.encode(), {"Content-Type": "application/json", **self.headers})


_BEARER = {"WWW-Authenticate": 'Bearer realm="api"'}

#: What gateways say, in JSON that could be the API's.
GATEWAYS = {
    "404 without a route": Gateway(404, {"message": "no Route matched with those values"}),
    "404 with a request id": Gateway(
        404, {"message": "no Route matched with those values", "request_id": "{request_id}"}
    ),
    "404 with the path in its message": Gateway(404, {"statusCode": 404, "message": "Cannot {method} {path}"}),
    "404 with path and time": Gateway(
        404, {"timestamp": "{time}", "status": 404, "error": "Not Found", "message": "No message", "path": "{path}"}
    ),
    "401": Gateway(401, {"message": "Unauthorized"}),
    "401 with a request id in its message": Gateway(401, {"message": "Unauthorized (request {request_id})"}),
    "401 as Django REST framework's": Gateway(401, {"detail": "Unauthorized"}, _BEARER),
}
