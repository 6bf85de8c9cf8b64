"""The session that a request holds at this moment: read from the cookie, and checked as far as necessary."""

import time
from contextlib import suppress

from django.http import HttpRequest
from django.utils.asyncio import async_unsafe

from accounts.browser.client_address import client_address
from accounts.browser.cookies import is_overwritten, read_cookies
from accounts.browser.device import judge_device, record_unproven
from accounts.browser.queue_time import queue_seconds, seconds_of_slow_request
from accounts.browser.user import set_user
from accounts.conf import conf
from accounts.database_pool import run_and_give_back
from accounts.exceptions import (
    ApiUnavailable,
    BodyConsumed,
    DeviceUnproven,
    NotSignedIn,
    SessionEnded,
    SignInRequired,
)
from accounts.rotation.confirm import check_record
from accounts.rotation.limits import check_limits
from accounts.rotation.reuse_detection import Presented
from accounts.session.api_session import ApiSession
from accounts.session.tokens import User
from accounts.telemetry.trace import StepKind, add_step, trace_session

#: How often an event stream asks the record whether its session is over.
STREAM_CHECK_SECONDS = 60.0


class CurrentSession:
    """The session of one request's browser. The cookie is opened at the first access.

    `current` starts as the session that the browser presented, and changes when this request rotates, adopts a newer
    generation, or signs in.
    """

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        self._queued = queue_seconds(request)
        #: When the request arrived (time.monotonic()).
        self.arrived_at = time.monotonic() - self._queued
        slow = seconds_of_slow_request(request)
        self._begun_at = None if slow is None else time.monotonic() - slow
        self._stream_checked_at = self.arrived_at
        self._loaded = self._record_checked = self._limits_checked = False
        self._presented: Presented | None = None
        self._current: ApiSession | None = None
        #: The session of the cookie, if the request has no proof of the device that it is bound to.
        self._unproven: ApiSession | None = None
        self._load_error: ApiUnavailable | None = None
        #: Why the presented session is over, once this request has found out.
        self.ended: SessionEnded | None = None
        #: Whether the session was read: then the response depends on the cookie.
        self.accessed = False
        #: Whether the response has to write `current` into the cookie.
        self.modified = False
        #: Whether this request signed in, and if so, over an older session, whose late responses may be under way.
        self.signed_in = self.replaced = False
        #: Whether this request has made a rotation itself.
        self.has_rotated = False
        #: The newer ID token that came with the token pair, for the sign-out; empty if none came.
        self.id_token = ""

    @property
    def current(self) -> ApiSession | None:
        """The request's session at this moment; None if the user is not signed in.

        A cookie whose access token has expired does not prove that the session still exists, so its record is checked.
        Raises ApiUnavailable if API_SESSION_CHECK demands a check and the database cannot be reached.
        """
        session = self._load_within_limits()
        if session is not None and not self._record_checked and session.tokens.has_expired():
            self._check_record_if_possible(session)
        return self._current

    def current_unchecked(self) -> ApiSession | None:
        """The cookie's session, also while the database cannot be reached. Enough to end it, or to name its user.

        A check of the record that has failed before is not tried again. A session that is too old or idle counts.
        """
        if self._presented is None:
            with suppress(ApiUnavailable):
                self._load()
        return self._current

    def current_unproven(self) -> ApiSession | None:
        """As `current_unchecked`, also without the proof of the device. Enough to end it, and for nothing else."""
        return self.current_unchecked() or self._unproven

    @property
    def user(self) -> User | None:
        """The signed-in user, as the API describes them."""
        return self.current.user if self.current else None

    @property
    def presented(self) -> Presented:
        """The generation that the browser presented. Raises NotSignedIn if it presented no session."""
        if self._presented is None:
            raise NotSignedIn("this browser presented no session")
        return self._presented

    @property
    def address(self) -> str:
        """The browser's address, as the trusted proxies report it; "" if unknown."""
        return client_address(self._request)

    @property
    def is_unproven(self) -> bool:
        """Whether the request has a session, but no proof of the device that the session is bound to."""
        return self._unproven is not None

    def require(self) -> ApiSession:
        """Returns the session. Raises SignInRequired."""
        return self._require_session(self.current)

    @async_unsafe("require_verified() was called in an async def view: write `await ...arequire_verified()`.")
    def require_verified(self) -> ApiSession:
        """Returns the session after a check of its record. Raises SignInRequired if it is over, or ApiUnavailable."""
        return self._check_record(self._require_session(self._load_within_limits()))

    def is_signed_in(self) -> bool:
        """Whether the user is signed in, after a check of the record, because the session may have ended elsewhere.

        If the database cannot be reached, the cookie counts.
        """
        try:
            self.require_verified()
        except (SignInRequired, ApiUnavailable) as error:
            return isinstance(error, ApiUnavailable)
        return True

    async def arequire_verified(self) -> ApiSession:
        """`require_verified`, for an `async def` view."""
        return await run_and_give_back(self.require_verified)

    def check_age(self) -> None:
        """Raises SessionEnded if the session has reached API_SESSION_MAX_AGE. For streams that call no API."""
        if self._current is not None:
            self._require_session(self._load_within_limits())

    def check_while_streaming(self) -> None:
        """For each piece of an event stream. Raises SessionEnded if the session has ended, here or elsewhere.

        It asks the record once in STREAM_CHECK_SECONDS. If the database cannot be reached, the stream goes on.
        """
        self.check_age()
        now = time.monotonic()
        if self._current is None or now < self._stream_checked_at + STREAM_CHECK_SECONDS:
            return
        self._stream_checked_at = now
        with suppress(ApiUnavailable):
            self._check_record(self._current)

    def load_before_async_view(self) -> None:
        """Open the cookie, and check the record where that is necessary: an `async def` view can make no query.

        The response still depends on the session only if the view reads it. An error is raised then, too.
        """
        accessed = self.accessed
        try:
            _ = self.current
        except ApiUnavailable as error:
            self._load_error = error
        self.accessed, self._loaded, self._record_checked = accessed, True, True

    def end(self, ended: SessionEnded) -> SessionEnded:
        """Mark the session as over for the rest of this request. Returns `ended`."""
        self._current, self._unproven, self.ended, self.modified = None, None, ended, False
        set_user(self._request)
        return ended

    def _load(self) -> ApiSession | None:
        """The request's session at this moment, which the first call reads from the cookie."""
        self.accessed = True
        if self._load_error is not None:
            raise self._load_error
        if not self._loaded:
            self._read_cookie()
            self._loaded = True
        return self._current

    def _load_within_limits(self) -> ApiSession | None:
        """As `_load`. Ends a session that has reached one of its limits. The time that the request waited is no age."""
        if (session := self._load()) is not None:
            may_be_idle, self._limits_checked = not self._limits_checked, True
            now = time.time() - self._queued
            if (ended := check_limits(session, self.presented, now, may_be_idle=may_be_idle)) is not None:
                self.end(ended)
        return self._current

    def _require_session(self, session: ApiSession | None) -> ApiSession:
        if session is None:
            if self.is_unproven:
                raise DeviceUnproven("the session is bound to a device, and the request does not prove it")
            raise self.ended or NotSignedIn("this browser holds no session")
        return session

    def _read_cookie(self) -> None:
        if (session := read_cookies(self._request.COOKIES)) is None:
            return
        judgement = judge_device(self._request, session, waited=self._queued)
        self._set_session(judgement.session, has_device_in_cookie=judgement.has_key_in_cookie)
        add_step(StepKind.OPENED, generation=session.generation)
        if not judgement.is_proven:
            self._current, self._unproven = None, session
            record_unproven(session, self.address)
            return
        session = judgement.session
        is_taken_over = bool(session.device) and not judgement.has_key_in_cookie
        self.modified = is_taken_over or is_overwritten(self._request.COOKIES, session)
        if not session.confirmed or conf.checks_every_request:
            self._check_record_if_possible(session)

    def _set_session(self, session: ApiSession, *, has_device_in_cookie: bool = False) -> None:
        self._current, self._unproven = session, None
        trace_session(session.id)
        self._presented = Presented(
            generation=session.generation,
            arrived=self.arrived_at,
            address=self.address,
            begun=self._begun_at,
            device=session.device,
            has_device_in_cookie=has_device_in_cookie,
        )

    def _check_record_if_possible(self, session: ApiSession) -> None:
        """Check the record, and confirm the generation if it is unconfirmed."""
        self._record_checked = True
        try:
            checked = self._check_record(session)
            self.modified = self.modified or not (session.confirmed and checked.confirmed)
        except SessionEnded:
            return
        except ApiUnavailable as error:
            # A database failure must not lock users out, unless the operator demands a check of every request.
            if conf.checks_every_request or isinstance(error, BodyConsumed):
                raise

    def _check_record(self, session: ApiSession) -> ApiSession:
        try:
            self._current = checked = check_record(session, self.presented)
        except SessionEnded as ended:
            raise self.end(ended) from ended
        return checked
