"""What one request knows of its browser's session: `request.api_session`."""

import time

from django.http import HttpRequest

from accounts.browser.client_address import client_address
from accounts.browser.cookies import is_overwritten, read_cookies
from accounts.browser.queue_time import queue_seconds
from accounts.conf import conf
from accounts.dialects import current_dialect
from accounts.exceptions import ApiUnavailable, NotSignedIn, SessionEnded, SignInRequired
from accounts.history.events import record_event
from accounts.models import EventKind, Trigger
from accounts.rotation.confirm import check_record, session_to_write
from accounts.rotation.reuse_detection import Presented
from accounts.rotation.rotate import RotationOutcome, rotate
from accounts.session.api_session import ApiSession
from accounts.session.tokens import TokenPair, User
from accounts.telemetry.trace import StepKind, add_step, trace_session


class BrowserSession:
    """The session of the browser behind one request. Nothing is opened before somebody looks.

    `current` starts as what the browser presented, and moves on when this request rotates, adopts or signs in.
    """

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        self._arrived = time.monotonic() - queue_seconds(request)
        self._opened = False
        # Whether its record has been asked in this request.
        self._checked = False
        self._presented: Presented | None = None
        self._current: ApiSession | None = None
        self._over: SessionEnded | None = None
        #: Whether anybody looked: then the answer depends on the cookie.
        self.looked_at = False
        #: Whether the browser has to be told of `current`.
        self.changed = False
        #: Whether this request signed in.
        self.signed_in = False
        #: Whether it signed in over an older session, whose late answers may still be on their way.
        self.replaced = False
        #: Whether the pair that is held came from the API in this very request.
        self.minted = False

    @property
    def current(self) -> ApiSession | None:
        """The session that this request holds by now; None for a visitor who is not signed in.

        Once its access token has run out, a cookie by itself proves no more that the session lives, and its record is
        asked. Raises ApiUnavailable only where API_SESSION_CHECK asks for a look at the record that cannot be had.
        """
        session = self._look()
        if session is not None and not self._checked and _has_run_out(session.tokens):
            self._check(session)
        return self._current

    def from_cookie(self) -> ApiSession | None:
        """The session as the cookie has it, where its record cannot be asked: enough to end it."""
        try:
            return self._look()
        except ApiUnavailable:
            return self._current

    @property
    def user(self) -> User | None:
        """Who is signed in, in the API's words."""
        return self.current.user if self.current else None

    @property
    def presented(self) -> Presented:
        """What the browser came with. Raises NotSignedIn where that was no session."""
        if self._presented is None:
            raise NotSignedIn("this browser presented no session")
        return self._presented

    @property
    def ended(self) -> SessionEnded | None:
        """Why the session that the browser presented is over, once this request has found out."""
        return self._over

    @property
    def address(self) -> str:
        """The browser's address, as far as the trusted proxies tell it."""
        return client_address(self._request)

    def require(self) -> ApiSession:
        """The session, or SignInRequired."""
        return self._found(self.current)

    def require_verified(self) -> ApiSession:
        """The session, after a look at its record. Raises SignInRequired if it is over, or ApiUnavailable."""
        return self._check_record(self._found(self._look()))

    def is_signed_in(self) -> bool:
        """Whether somebody is signed in, by the record too: one whose session was ended elsewhere is not.

        Where the records cannot be reached, the cookie counts.
        """
        try:
            self.require_verified()
        except SignInRequired:
            return False
        except ApiUnavailable:
            return True
        return True

    def ensure_fresh(self, for_seconds: float = 0.0, *, trigger: Trigger = Trigger.STREAM) -> float | None:
        """Make the access token last `for_seconds` from now, if it can be done; returns the seconds that it does last.

        An API that refreshes only expired tokens is not asked early. Where the token is still good, a refresh that
        fails does not matter. None where the API does not tell how long its tokens live. Raises SignInRequired, or
        ApiError where the token has expired and cannot be refreshed now. `trigger` says why one would be refreshed that
        has not expired.
        """
        tokens = self._found(self._look()).tokens
        left = tokens.access_seconds_left()
        if left is None or not _is_due(tokens, left, for_seconds):
            return left
        if left <= 0:
            self.rotate(Trigger.EXPIRED)
        else:
            try:
                self.rotate(trigger, patient=False)
            except ApiUnavailable:
                return tokens.access_seconds_left()
        return self._found(self._current).tokens.access_seconds_left()

    def rotate(self, trigger: Trigger, *, patient: bool = True) -> RotationOutcome:
        """Get a newer pair. Raises SessionEnded or ApiUnavailable."""
        session = self._found(self._look())
        try:
            rotated = rotate(session, self.presented, trigger=trigger, patient=patient)
        except SessionEnded as ended:
            raise self._end(ended) from ended
        self._checked = True
        if rotated.outcome is not RotationOutcome.STILL_VALID:
            self._current = rotated.session
            self.changed = True
            self.minted = rotated.outcome is RotationOutcome.MINTED
        return rotated.outcome

    def begin(self, session: ApiSession) -> None:
        """This request signed in: `session` takes the place of whatever there was."""
        self.replaced = self._presented is not None
        self.looked_at = self.changed = self.signed_in = self._opened = True
        self._hold(session)
        self._over = None

    def finish(self, ended: SessionEnded) -> None:
        """This request ended the session."""
        self._end(ended)

    def outgoing(self) -> ApiSession | None:
        """What the browser has to be told of by now, once; None for nothing."""
        session = self._current
        if session is None or not self.changed:
            return None
        self.changed = False
        return session if self.signed_in else session_to_write(session, self.presented)

    def accept_update(self, handed: ApiSession) -> None:
        """Hold a session that an earlier answer's body carried, in the place of what the browser presented.

        Raises NotSignedIn where the browser presents no session, another one, or a newer generation; SessionEnded where
        that session is over.
        """
        session = self._found(self._look())
        if handed.id != session.id or handed.generation < session.generation:
            raise NotSignedIn("the hand-off is not for the session of this browser, or older than it")
        newest = session_to_write(handed, self.presented)
        if newest is None:
            raise NotSignedIn("the session of this hand-off is over")
        self._current, self.changed = newest, True
        self._record_event(EventKind.UPDATE_ACCEPTED, newest)

    def session_update(self) -> str:
        """What a body has to carry to the deferred-update endpoint, sealed; "" where the browser knows all there is."""
        session = self.outgoing()
        if session is None:
            return ""
        self._record_event(EventKind.UPDATE_SENT, session)
        return session.seal_for_update()

    def leave_cookie_unchanged(self) -> None:
        """Whatever this request found out, its answer does not touch the cookie."""
        self._over, self.changed = None, False

    def _look(self) -> ApiSession | None:
        """The session that this request holds by now, by its cookie."""
        self.looked_at = True
        if not self._opened:
            self._open()
            self._opened = True
        return self._current

    def _found(self, session: ApiSession | None) -> ApiSession:
        if session is None:
            raise self._over or NotSignedIn("this browser holds no session")
        return session

    def _open(self) -> None:
        session = read_cookies(self._request.COOKIES)
        if session is None:
            return
        self._hold(session)
        add_step(StepKind.OPENED, generation=session.generation)
        self.changed = is_overwritten(self._request.COOKIES, session)
        if not session.confirmed or conf.checks_every_request:
            self._check(session)

    def _check(self, session: ApiSession) -> None:
        """Ask the record, and confirm what has not been confirmed yet."""
        self._checked = True
        try:
            checked = self._check_record(session)
            self.changed = self.changed or not (session.confirmed and checked.confirmed)
        except SessionEnded:
            return
        except ApiUnavailable:
            # Nobody is turned away for bookkeeping; but who asked for a check of every request gets one, or a 503.
            if conf.checks_every_request:
                raise

    def _hold(self, session: ApiSession) -> None:
        self._current = session
        trace_session(session.id)
        self._presented = Presented(generation=session.generation, arrived=self._arrived, address=self.address)

    def _record_event(self, kind: EventKind, session: ApiSession) -> None:
        record_event(kind, session.id, user_id=session.user.id, generation=session.generation, address=self.address)

    def _check_record(self, session: ApiSession) -> ApiSession:
        try:
            self._current = checked = check_record(session, self.presented)
        except SessionEnded as ended:
            raise self._end(ended) from ended
        return checked

    def _end(self, ended: SessionEnded) -> SessionEnded:
        self._current, self._over, self.changed = None, ended, False
        return ended


def _has_run_out(tokens: TokenPair) -> bool:
    """Whether the access token has, by our own clock. Where the API does not tell, it is not known to."""
    left = tokens.access_seconds_left()
    return left is not None and left <= 0


def _is_due(tokens: TokenPair, left: float, for_seconds: float) -> bool:
    """Whether to refresh before the next call, by our own clock: a 401 that can be foreseen costs a round trip."""
    if left <= 0:
        return True
    if not current_dialect().refreshes_early or left >= for_seconds or tokens.access_expires_at is None:
        return False
    life = tokens.access_expires_at - tokens.received_at
    # A token that never lives so long is replaced in the second half of its life, and not by every request.
    return life > for_seconds or left < life / 2
