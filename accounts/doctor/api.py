"""The API: is it reachable, and does it speak the dialect? `DialectContract` tests a dialect with a real user."""

import secrets
import time
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import requests

from accounts.conf import conf
from accounts.dialects import current_dialect
from accounts.dialects.base import PasswordDialect, Refreshed, Refused, StillValid
from accounts.doctor.findings import Finding, Findings, Status, ok, problem, unknown, warning, worst
from accounts.doctor.network import TROUBLE, examine_server, origin_of, read_json, request
from accounts.exceptions import ApiError, CredentialsRefused
from accounts.rotation.refusal_check import probe_beside
from accounts.rotation.token_requests import request_refresh, request_revocation, request_sign_in
from accounts.session.tokens import receive_pair
from accounts.upstream.calls import ApiCall
from accounts.upstream.connections import additional_authorities
from accounts.upstream.failure_reasons import describe_failure
from accounts.upstream.transport import new_adapter

_CHECK_SETTINGS = "Check the path in API_BASE_URL, and whether API_DIALECT fits this API."
_NOT_LIVE = "Do not go live with this API."
_JSON = {"Accept": "application/json", "Content-Type": "application/json"}


def examine_api(path: str) -> Findings:
    """`path` is one that a signed-in user may GET, relative to API_BASE_URL. Nothing is changed at the API."""
    more = additional_authorities(conf.ca_bundle) if conf.ca_bundle else ""
    for examine in (partial(examine_server, "api", conf.base_url, more=more), _response, _refusals):
        findings = list(examine())
        yield from findings
        if worst(findings) is Status.PROBLEM:
            return
    yield _bearer(path)


def _response() -> Findings:
    """The response to a request for the address itself may have any status below 500."""
    name, sent_at = "api.answer", time.monotonic()
    try:
        with _request("GET", "/") as response:
            milliseconds = (time.monotonic() - sent_at) * 1000
    except TROUBLE as error:
        found = f"There is no HTTP response: {describe_failure(error)}."
        yield problem(name, found, "Does another program listen at this address?")
        return
    found = f"The API responds in {milliseconds:.0f} ms (status {response.status_code})."
    moved_to = origin_of(response.headers.get("Location", "")) if response.is_redirect else ""
    if response.status_code >= 500:
        yield problem(name, found, "Read the logs of the API and of the gateway in front of it.")
    elif moved_to not in ("", origin_of(conf.base_url)):
        found = f"The API redirects to {moved_to}; the site does not follow redirects of an API."
        yield problem(name, found, "Set API_BASE_URL to the API's own address.")
    else:
        yield ok(name, found)


def _refusals() -> Findings:
    """The API must refuse made-up credentials and refresh tokens as the dialect says."""
    dialect = current_dialect()
    if isinstance(dialect, PasswordDialect):
        yield _sign_in(dialect)
    yield _refresh()


def _sign_in(dialect: PasswordDialect) -> Finding:
    name, username = "api.sign-in", f"doctor-{secrets.token_hex(8)}@doctor.invalid"
    try:
        signed_in = request_sign_in(username, secrets.token_urlsafe(), address="")
    except CredentialsRefused as refused:
        if _is_said_of_any_path(refused.message, dialect.sign_in("", "").path):
            found = f"The response to a sign-in is {refused.message!r}, as for a path that does not exist."
            return warning(name, found, _CHECK_SETTINGS)
        return ok(name, f"The API refuses a made-up name and password, and says: {refused.message!r}")
    except ApiError as error:
        found = f"The API does not refuse a made-up name and password as {conf.dialect!r} expects: {error}."
        return problem(name, found, _CHECK_SETTINGS)
    request_revocation(signed_in.tokens, address="")
    return problem(name, "The API signs in a made-up name with a made-up password.", _NOT_LIVE)


def _is_said_of_any_path(message: str, path: str) -> bool:
    """Whether a made-up path beside `path` gets the same message, apart from the path in it. Then `path` does not
    exist, and the message is not a refusal."""
    if not path.startswith("/"):
        return False
    nowhere = probe_beside(ApiCall(method="POST", path=path)).path
    try:
        with _request("POST", nowhere, headers=_JSON) as response:
            body = read_json(response)
    except TROUBLE:
        return False
    texts = body.values() if isinstance(body, dict) else []
    return message.replace(path, "") in [str(text).replace(nowhere, "").strip() for text in texts]


def _refresh() -> Finding:
    name, tokens = "api.refresh", receive_pair(secrets.token_urlsafe(), secrets.token_urlsafe())
    ends_at = time.monotonic() + conf.attempt_seconds
    # Like the site's refresh, without a second attempt.
    outcome = request_refresh(tokens, address="", ends_at=ends_at, renew_lease=lambda: None)
    if isinstance(outcome, Refused):
        return ok(name, "The API refuses a made-up refresh token as the dialect expects.")
    if isinstance(outcome, Refreshed):
        return problem(name, "The API accepts a made-up refresh token.", _NOT_LIVE)
    if isinstance(outcome, StillValid):
        found = "The API calls a made-up access token still valid, so an expired session may never end."
    else:
        found = f"The API does not refuse a made-up refresh token as {conf.dialect!r} expects: {outcome.why}. Users "
        found += "whose refresh token has expired would get a 503 forever instead of the sign-in page."
    return warning(name, found, _CHECK_SETTINGS)


def _bearer(path: str) -> Finding:
    """Only a 401 makes a session rotate."""
    name, headers = "api.bearer", {**_JSON, "Authorization": f"Bearer {secrets.token_urlsafe()}"}
    try:
        with _request("GET", path, headers=headers) as response:
            status = response.status_code
    except TROUBLE as error:
        return warning(name, f"GET {path} gets no response: {describe_failure(error)}.", "Read the API's log.")
    found = f"GET {path} with a made-up access token gets status {status}"
    if status == 401:
        return ok(name, f"{found}, as an expired one must.")
    if status == 404:
        return unknown(name, f"{found}: the path does not exist.", "Name a path that a signed-in user may GET: --path")
    if status < 300:
        return warning(name, f"{found}: it is public.", "If that is intended, name another path with --path.")
    return warning(name, f"{found}.", "An expired token must get a 401: only a 401 makes a session rotate.")


def _request(method: str, path: str, **options: Any) -> AbstractContextManager[requests.Response]:
    """A request to the API, which trusts the same authorities as the site's own calls."""
    url = conf.base_url + path
    return request(method, url, read_seconds=conf.read_timeout, adapter=new_adapter(), **options)
