"""The API: is it reachable, and does it speak the dialect? With credentials, also one whole session there."""

import json
import secrets
import time
from dataclasses import dataclass, field
from functools import partial

from accounts.browser.cookies import MAX_SESSION_BYTES, WARN_FROM_BYTES, split_cookie
from accounts.conf import conf
from accounts.dialects import current_dialect
from accounts.dialects.base import (
    Dialect,
    PasswordDialect,
    Refreshed,
    RefreshOutcome,
    Refused,
    SignedIn,
    StillValid,
    Unknown,
)
from accounts.doctor.findings import Finding, Findings, Status, ok, problem, unknown, warning, worst
from accounts.doctor.network import TROUBLE, clock_difference, examine_server, origin_of, request
from accounts.exceptions import ApiError, CredentialsRefused
from accounts.rotation.token_requests import request_refresh, request_revocation, request_sign_in
from accounts.session.api_session import ApiSession
from accounts.session.tokens import TokenPair, receive_pair

_CHECK_SETTINGS = "Check the path in API_BASE_URL, and whether API_DIALECT fits this API."
_READ_LOG = "Read the API's log."
_NOT_LIVE = "Do not go live with this API."
_AT_PROVIDER = "No sign-in was tried: users sign in on the provider's page."
_JSON = {"Accept": "application/json", "Content-Type": "application/json"}
#: Sessions count `exp - iat`, so a wrong clock does them no harm.
_MAX_CLOCK_DIFFERENCE_SECONDS = 300.0
_MAX_BODY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Credentials:
    """Of a user who may sign in at the API."""

    username: str
    password: str = field(repr=False)


def examine_api(path: str, credentials: Credentials | None = None) -> Findings:
    """`path` is one that a signed-in user may GET, relative to API_BASE_URL. Only credentials change anything there."""
    for examine in (partial(examine_server, "api", conf.base_url), _response, _refusals):
        findings = list(examine())
        yield from findings
        if worst(findings) is Status.PROBLEM:
            if credentials:
                yield unknown("api.session", "No sign-in was tried, because of the problem above.")
            return
    yield _bearer(path)
    if credentials:
        yield from examine_api_session(path, credentials)


def _response() -> Findings:
    """The response to a request for the address itself may have any status below 500."""
    name, sent_at = "api.answer", time.time()
    try:
        with request("GET", f"{conf.base_url}/", read_seconds=conf.read_timeout) as response:
            received_at = time.time()
    except TROUBLE as error:
        found = f"There is no HTTP response: {type(error).__name__}."
        yield problem(name, found, "Does another program listen at this address?")
        return
    found = f"The API responds in {(received_at - sent_at) * 1000:.0f} ms (status {response.status_code})."
    moved_to = origin_of(response.headers.get("Location", "")) if response.is_redirect else ""
    if response.status_code >= 500:
        yield problem(name, found, "Read the logs of the API and of the gateway in front of it.")
    elif moved_to not in ("", origin_of(conf.base_url)):
        found = f"The API redirects to {moved_to}; the site does not follow redirects of an API."
        yield problem(name, found, "Set API_BASE_URL to the API's own address.")
    else:
        yield ok(name, found)
    difference = clock_difference(response.headers.get("Date"), sent_at=sent_at, received_at=received_at)
    if difference and abs(difference) > _MAX_CLOCK_DIFFERENCE_SECONDS:
        found = f"The API's clock is {abs(difference):.0f} s {'ahead of' if difference > 0 else 'behind'} this host's."
        yield warning("api.clock", found, "Sessions here do not depend on it, but other users of the API may. Set it.")


def _refusals() -> Findings:
    """The API must refuse made-up credentials and refresh tokens as the dialect says."""
    dialect = current_dialect()
    yield _sign_in(dialect) if isinstance(dialect, PasswordDialect) else unknown("api.sign-in", _AT_PROVIDER)
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
    nowhere = f"{path.rstrip('/').rpartition('/')[0]}/doctor-{secrets.token_hex(8)}{'/' if path.endswith('/') else ''}"
    try:
        with request("POST", conf.base_url + nowhere, headers=_JSON, read_seconds=conf.read_timeout) as response:
            body = json.loads(response.raw.read(_MAX_BODY_BYTES, decode_content=True))
    except (*TROUBLE, ValueError, RecursionError):
        return False
    texts = body.values() if isinstance(body, dict) else []
    return message.replace(path, "") in [str(text).replace(nowhere, "").strip() for text in texts]


def _refresh() -> Finding:
    name, outcome = "api.refresh", _refresh_once(receive_pair(secrets.token_urlsafe(), secrets.token_urlsafe()))
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


def _refresh_once(tokens: TokenPair) -> RefreshOutcome:
    """A refresh like the site's, without a second attempt."""
    ends_at = time.monotonic() + conf.attempt_seconds
    return request_refresh(tokens, address="", ends_at=ends_at, renew_lease=lambda: None)


def _bearer(path: str) -> Finding:
    """Only a 401 makes a session rotate."""
    name = "api.bearer"
    status, trouble = _get(path, secrets.token_urlsafe())
    if status is None:
        return warning(name, f"GET {path} got no response: {trouble}.", _READ_LOG)
    found = f"GET {path} with a made-up access token gets status {status}"
    if status == 401:
        return ok(name, f"{found}, as an expired one must.")
    if status == 404:
        return unknown(name, f"{found}: the path does not exist.", "Name a path that a signed-in user may GET: --path")
    if status < 300:
        return warning(name, f"{found}: it is public.", "If that is intended, name another path with --path.")
    return warning(name, f"{found}.", "An expired token must get a 401: only a 401 makes a session rotate.")


def _get(path: str, token: str) -> tuple[int | None, str]:
    """The status of a GET with this access token; without a response None, and the name of the error."""
    headers = {**_JSON, "Authorization": f"Bearer {token}"}
    try:
        with request("GET", conf.base_url + path, headers=headers, read_seconds=conf.read_timeout) as response:
            return response.status_code, ""
    except TROUBLE as error:
        return None, type(error).__name__


def examine_api_session(path: str, credentials: Credentials) -> Findings:
    """Sign in, call, refresh if the dialect allows it, revoke."""
    dialect = current_dialect()
    if not isinstance(dialect, PasswordDialect):
        yield unknown("api.session", _AT_PROVIDER)
        return
    try:
        signed_in = request_sign_in(credentials.username, credentials.password, address="")
    except CredentialsRefused:
        # Without the API's message, which may repeat the password.
        yield problem("api.session", "The API refuses this name and password.", "Try them on the sign-in page.")
        return
    except ApiError as error:
        yield problem("api.session", f"The sign-in failed: {error}.", _READ_LOG)
        return
    tokens = signed_in.tokens
    yield _session(dialect, signed_in)
    yield _call(path, tokens)
    if dialect.refreshes_early:
        outcome = _refresh_once(tokens)
        tokens = outcome.tokens if isinstance(outcome, Refreshed) else tokens
        yield _first_refresh(outcome)
    else:
        yield unknown("api.first-refresh", "No refresh was tried: the access token would have to expire first.")
    yield _revocation(tokens)


def _session(dialect: Dialect, signed_in: SignedIn) -> Finding:
    name, tokens = "api.session", signed_in.tokens
    text = ApiSession.begin(signed_in.user, tokens).seal_for_cookie()
    access, refresh = tokens.access_seconds_left(), tokens.refresh_seconds_left()
    found = f"The access token lives for {_lifetime(access)}, the refresh token for {_lifetime(refresh)}. The session "
    found += f"has {len(text)} bytes, in {len(split_cookie(text, conf.cookie_name))} cookies."
    if len(text) > MAX_SESSION_BYTES:
        return problem(name, found, f"The limit is {MAX_SESSION_BYTES} bytes: the API must issue smaller tokens.")
    if len(text) > WARN_FROM_BYTES:
        return warning(name, found, "Servers with default limits refuse it: the API should issue smaller tokens.")
    if dialect.refreshes_early and access is not None and access <= conf.refresh_ahead:
        advice = f"API_REFRESH_AHEAD ({conf.refresh_ahead:g} s) is not below that: every request would refresh."
        return warning(name, found, advice)
    return ok(name, found)


def _lifetime(seconds: float | None) -> str:
    return "an unknown time" if seconds is None else f"{seconds:.0f} s"


def _call(path: str, tokens: TokenPair) -> Finding:
    name = "api.call"
    status, trouble = _get(path, tokens.access)
    found = f"GET {path} as this user gets status {status}{trouble and f' ({trouble})'}."
    if status is None or status >= 500:
        return problem(name, found, _READ_LOG)
    if status == 401:
        return problem(name, found, "The API refuses an access token that it has just issued.")
    return warning(name, found, "Name a path that this user may GET: --path") if status >= 300 else ok(name, found)


def _first_refresh(outcome: RefreshOutcome) -> Finding:
    name = "api.first-refresh"
    if isinstance(outcome, Refreshed):
        return ok(name, "The API refreshed the pair.")
    if isinstance(outcome, Unknown):
        return problem(name, f"The response to the refresh does not fit the dialect: {outcome.why}.", _CHECK_SETTINGS)
    if isinstance(outcome, StillValid):
        return warning(name, "The API does not refresh early, but the dialect says that it does.", _CHECK_SETTINGS)
    return problem(name, "The API refuses a refresh token that it has just issued.", _CHECK_SETTINGS)


def _revocation(tokens: TokenPair) -> Finding:
    name = "api.revocation"
    request_revocation(tokens, address="")
    outcome = _refresh_once(tokens)
    if isinstance(outcome, Refused):
        return ok(name, "The API has ended the sign-in: it refuses the refresh token now.")
    if isinstance(outcome, Refreshed):
        request_revocation(outcome.tokens, address="")
        found = "The refresh token still works after its revocation: a sign-out here does not end the sign-in there."
        return warning(name, found, "Add a revocation to the API, if possible.")
    why = outcome.why if isinstance(outcome, Unknown) else "the access token is still valid"
    return unknown(name, f"It is unknown whether the API has ended the sign-in: {why}.")
