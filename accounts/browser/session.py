"""`request.api_session`: the session of the browser that sent the request."""

import time
from contextlib import suppress
from dataclasses import replace

from django.http import HttpRequest
from django.utils.asyncio import async_unsafe

from accounts.browser.client_address import client_address
from accounts.browser.cookies import is_overwritten, read_cookies
from accounts.browser.queue_time import queue_seconds, seconds_of_slow_request
from accounts.browser.user import renew_user, set_user
from accounts.conf import conf
from accounts.database_pool import run_and_give_back
from accounts.dialects import current_dialect
from accounts.exceptions import ApiUnavailable, BodyConsumed, NotSignedIn, SessionEnded, SignInRequired
from accounts.history.events import record_event
from accounts.models import EventKind, Trigger
from accounts.rotation.confirm import check_record, session_to_write, store_rejection
from accounts.rotation.limits import check_limits, note_use
from accounts.rotation.reuse_detection import Presented
from accounts.rotation.rotate import RotationOutcome, rotate
from accounts.session.api_session import ApiSession
from accounts.session.tokens import User, needs_refresh
from accounts.telemetry.trace import StepKind, add_step, trace_session


class BrowserSession:
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
        self._loaded = self._record_checked = self._limits_checked = False
        self._presented: Presented | None = None
        self._current: ApiSession | None = None
        self._load_error: ApiUnavailable | None = None
        #: Why the presented session is over, once this request has found out.
        self.ended: SessionEnded | None = None
        #: Whether the session was read: then the response depends on the cookie.
        self.accessed = False
        #: Whether the response has to write `current` into the cookie.
        self.modified = False
        #: Whether this request signed in, and if so, over an older session, whose late responses may be under way.
        self.signed_in = self.replaced = False
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

    @async_unsafe("ensure_fresh() was called in an async def view: write `await ...aensure_fresh(...)`.")
    def ensure_fresh(self, for_seconds: float = 0.0, *, trigger: Trigger = Trigger.STREAM) -> float | None:
        """Try to have an access token that is valid for `for_seconds` more. Returns the seconds that it is valid for.

        Returns None if the API does not say how long its tokens are valid. An API that refreshes only expired tokens is
        not asked early. A failed refresh of a token that is still valid is ignored. Raises SignInRequired, or ApiError
        if the token has expired and cannot be refreshed now.

        `trigger` is recorded for a refresh before the expiry. With Trigger.EARLY, as in every call of `request.api`,
        a slow refresh is not waited for: it goes on in the background. Otherwise this waits until it has ended.
        """
        tokens = self._require_session(self._load_within_limits()).tokens
        left = tokens.access_seconds_left()
        if left is None or not needs_refresh(tokens, left, for_seconds, early=current_dialect().refreshes_early):
            return left
        try:
            self.rotate(Trigger.EXPIRED if left <= 0 else trigger, patient=left <= 0)
        except ApiUnavailable:
            if left <= 0:
                raise
            return tokens.access_seconds_left()
        return self._require_session(self._current).tokens.access_seconds_left()

    async def aensure_fresh(self, for_seconds: float = 0.0) -> float | None:
        """`ensure_fresh`, for an `async def` view."""
        return await run_and_give_back(self.ensure_fresh, for_seconds)

    def rotate(self, trigger: Trigger, *, patient: bool = True) -> RotationOutcome:
        """Get a newer token pair. Raises SessionEnded or ApiUnavailable."""
        session = self._require_session(self._load_within_limits())
        try:
            rotated = rotate(session, self.presented, trigger=trigger, patient=patient)
        except SessionEnded as ended:
            raise self.end(ended) from ended
        except ApiUnavailable:
            if (noted := note_use(session)) is not None:
                self._current, self.modified = noted, True
            raise
        self._record_checked = True
        if rotated.outcome is not RotationOutcome.STILL_VALID:
            self._current, self.modified = rotated.session, True
            self.id_token = rotated.id_token or self.id_token
            renew_user(self._request, rotated.session.user)
        return rotated.outcome

    def check_age(self) -> None:
        """Raises SessionEnded if the session has reached API_SESSION_MAX_AGE. For streams that call no API."""
        if self._current is not None:
            self._require_session(self._load_within_limits())

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

    def note_rejection(self) -> None:
        """Note, for later requests too, that a refresh does not change the API's 401 to the access token."""
        session = self._require_session(self._current)
        self._current = replace(session, tokens=replace(session.tokens, rejected_at=time.time()))
        self.modified = True
        store_rejection(self._current)

    def begin(self, session: ApiSession) -> None:
        """Start using `session`, because this request signed in. It replaces any session that the browser presented."""
        self.replaced = self._presented is not None
        self.accessed = self.modified = self.signed_in = self._loaded = True
        self._set_session(session)
        self.ended = None
        set_user(self._request)

    def end(self, ended: SessionEnded) -> SessionEnded:
        """Mark the session as over for the rest of this request. Returns `ended`."""
        self._current, self.ended, self.modified = None, ended, False
        set_user(self._request)
        return ended

    def pop_session_to_write(self) -> ApiSession | None:
        """The session that the browser does not have yet; None if there is none, or if it was returned before."""
        session, modified, self.modified = self._current, self.modified, False
        if session is None or not modified:
            return None
        return session if self.signed_in else session_to_write(session, self.presented)

    def accept_update(self, update: ApiSession) -> None:
        """Replace the presented session by `update`, which the body of an earlier response carried.

        Raises NotSignedIn if the browser presents no session, a different one, or a newer generation, and if the
        session of `update` is over; SessionEnded if the presented session is over.
        """
        session = self._require_session(self._load_within_limits())
        if update.id != session.id or update.generation < session.generation:
            raise NotSignedIn("it belongs to another session, or is older than the browser's cookie")
        if (newest := session_to_write(update, self.presented)) is None:
            raise NotSignedIn("its session is over")
        self._current, self.modified = newest, True
        self._record_event(EventKind.UPDATE_ACCEPTED, newest)

    def session_update(self) -> str:
        """The session, sealed for a streamed body and the deferred-update endpoint; "" if the browser is up to date."""
        if (session := self.pop_session_to_write()) is None:
            return ""
        self._record_event(EventKind.UPDATE_SENT, session)
        return session.seal_for_update()

    def leave_cookie_unchanged(self) -> None:
        """Make the response neither write nor delete the cookie."""
        self.ended, self.modified = None, False

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
            raise self.ended or NotSignedIn("this browser holds no session")
        return session

    def _read_cookie(self) -> None:
        if (session := read_cookies(self._request.COOKIES)) is None:
            return
        self._set_session(session)
        add_step(StepKind.OPENED, generation=session.generation)
        self.modified = is_overwritten(self._request.COOKIES, session)
        if not session.confirmed or conf.checks_every_request:
            self._check_record_if_possible(session)

    def _set_session(self, session: ApiSession) -> None:
        self._current = session
        trace_session(session.id)
        self._presented = Presented(
            generation=session.generation, arrived=self.arrived_at, address=self.address, begun=self._begun_at
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

    def _record_event(self, kind: EventKind, session: ApiSession) -> None:
        record_event(kind, session.id, user_id=session.user.id, generation=session.generation, address=self.address)

    def _check_record(self, session: ApiSession) -> ApiSession:
        try:
            self._current = checked = check_record(session, self.presented)
        except SessionEnded as ended:
            raise self.end(ended) from ended
        return checked
