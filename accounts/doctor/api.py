"""The API: reachable, speaking the dialect, and with what clock. Nothing is changed there."""

import json
import secrets
import time

from accounts.conf import conf
from accounts.dialects import current_dialect
from accounts.dialects.base import Dialect, PasswordDialect, Refreshed, Refused, StillValid
from accounts.doctor.api_calls import ITS_WORDS, JSON, call, refresh_once
from accounts.doctor.clocks import describe_difference, difference_from_date
from accounts.doctor.findings import Finding, Findings, Status, ok, problem, unknown, warning, worst
from accounts.doctor.network import TROUBLE, ask, examine_server, origin_of, trust_of_the_api
from accounts.exceptions import ApiError, CredentialsRefused
from accounts.rotation.token_requests import request_revocation, request_sign_in
from accounts.session.tokens import receive_pair

#: Times are counted by `exp - iat`, so that a clock that is off does no harm; one that is far off is worth knowing.
_CLOCK_WORTH_A_WARNING_SECONDS = 300.0
_MAX_WORDS_BYTES = 64 * 1024


def examine_api(path: str) -> Findings:
    """`path` is one that a signed-in user may GET, relative to API_BASE_URL."""
    try:
        dialect = current_dialect()
    except Exception as error:  # noqa: BLE001  # whatever a class of the deployment's own does when it is loaded
        found = f"API_DIALECT is {conf.dialect!r}, which cannot be used: {type(error).__name__}."
        yield problem("api.dialect", found, "`manage.py check` says more.")
        return
    for examine in (_reach, _answer, lambda: _speak(dialect)):
        findings = list(examine())
        yield from findings
        if worst(findings) is Status.PROBLEM:
            return
    yield _bearer(path)


def _reach() -> Findings:
    return examine_server("api", conf.base_url, trust_of_the_api())


def _answer() -> Findings:
    """Something that speaks HTTP, whatever it says to a request for nothing in particular; and its clock."""
    sent_at = time.time()
    try:
        with ask("GET", f"{conf.base_url}/", read_seconds=conf.read_timeout) as response:
            received_at = time.time()
    except TROUBLE as error:
        found = f"There is no answer in HTTP: {type(error).__name__}."
        yield problem("api.answer", found, "Is something else listening at that address?")
        return
    milliseconds = (received_at - sent_at) * 1000
    found = f"It answers in {milliseconds:.0f} ms (status {response.status_code} for the address itself)."
    moved_to = origin_of(response.headers.get("Location", "")) if response.is_redirect else ""
    if response.status_code >= 500:
        yield problem("api.answer", found, "The API, or the gateway in front of it, is not well.")
    elif moved_to not in ("", origin_of(conf.base_url)):
        found = f"It redirects to {moved_to}; redirects of an API are not followed."
        yield problem("api.answer", found, "Put the API's own address into API_BASE_URL.")
    else:
        yield ok("api.answer", found)
    yield _clock(response.headers.get("Date"), sent_at, received_at)


def _clock(date: str | None, sent_at: float, received_at: float) -> Finding:
    measured = difference_from_date(date, sent_at=sent_at, received_at=received_at)
    if measured is None:
        return unknown("api.clock", "The API's clock cannot be told: its answers have no Date header.")
    words = describe_difference("The API's clock", *measured)
    if abs(measured[0]) > _CLOCK_WORTH_A_WARNING_SECONDS:
        advice = "Sessions count by the life of tokens and do not mind, but other users of the API may: set the clock."
        return warning("api.clock", words, advice)
    return ok("api.clock", words)


def _speak(dialect: Dialect) -> Findings:
    """What nobody can be signed in with has to be refused, in the words of the dialect."""
    if isinstance(dialect, PasswordDialect):
        yield _refused_sign_in(dialect)
    else:
        yield unknown("api.sign-in", "Users sign in at the provider's own page, so no sign-in was tried.")
    yield _refused_refresh()


def _refused_sign_in(dialect: PasswordDialect) -> Finding:
    name = "api.sign-in"
    try:
        signed_in = request_sign_in(
            f"doctor-{secrets.token_hex(8)}@doctor.invalid", secrets.token_urlsafe(), address=""
        )
    except CredentialsRefused as refused:
        if _says_so_everywhere(refused.message, dialect.sign_in("", "").path):
            found = f"A sign-in is answered with {refused.message!r}, and so is a path that cannot be there."
            return warning(name, found, ITS_WORDS)
        return ok(name, f"A made-up name and password are refused, in the API's own words: {refused.message!r}")
    except ApiError as error:
        found = f"A sign-in with a made-up name and password should be refused in the words of {conf.dialect!r}, "
        return problem(name, f"{found}and it is not: {error}.", ITS_WORDS)
    request_revocation(signed_in.tokens, address="")
    return problem(name, "The API signs in a made-up name with a made-up password.", "Do not go live with this API.")


def _says_so_everywhere(words: str, path: str) -> bool:
    """Whether the API's words for a path beside `path` are the same but for the path: then they are no refusal, and
    there is nothing at `path`."""
    if not path.startswith("/"):
        return False
    nowhere = f"{path.rstrip('/').rpartition('/')[0]}/doctor-{secrets.token_hex(8)}{'/' if path.endswith('/') else ''}"
    try:
        with ask("POST", conf.base_url + nowhere, headers=JSON, read_seconds=conf.read_timeout) as response:
            said = json.loads(response.raw.read(_MAX_WORDS_BYTES, decode_content=True))
    except (*TROUBLE, ValueError, RecursionError):
        return False
    texts = [text for text in said.values() if isinstance(text, str)] if isinstance(said, dict) else []
    return words.replace(path, "") in [text.replace(nowhere, "").strip() for text in texts]


def _refused_refresh() -> Finding:
    name = "api.refresh"
    outcome = refresh_once(receive_pair(secrets.token_urlsafe(), secrets.token_urlsafe()))
    if isinstance(outcome, Refused):
        return ok(name, "A made-up refresh token is refused, in the words of the dialect.")
    if isinstance(outcome, Refreshed):
        return problem(name, "The API trades a made-up refresh token for a pair.", "Do not go live with this API.")
    if isinstance(outcome, StillValid):
        found = "The API calls a made-up access token still valid, so an expired session may never end."
    else:
        found = f"A made-up refresh token is not refused in the words of {conf.dialect!r}: {outcome.why}. "
        found += "Sessions whose refresh token is dead would get a 503 for ever, and not the sign-in page."
    return warning(name, found, ITS_WORDS)


def _bearer(path: str) -> Finding:
    """Sessions rotate on a 401, and on nothing else."""
    name = "api.bearer"
    status, trouble = call(path, secrets.token_urlsafe())
    if status == 401:
        return ok(name, f"GET {path} with a made-up token is answered with 401, as an expired one has to be.")
    if status is None:
        return warning(name, f"GET {path} got no answer: {trouble}.", "Look at the API's log.")
    if status == 404:
        return unknown(name, f"GET {path} is not there (404).", "Name a path that a signed-in user may GET: --path")
    if status < 300:
        found = f"GET {path} with a made-up token is answered with {status}: it is open to everybody."
        return warning(name, found, "If that is meant to be so, name another one with --path.")
    found = f"GET {path} with a made-up token is answered with {status}."
    return warning(name, found, "An expired token has to be answered with 401: nothing else makes a session rotate.")
