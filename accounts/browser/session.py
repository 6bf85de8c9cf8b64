"""`request.api_session`: the session of the browser that sent the request."""

import time
from contextlib import suppress
from dataclasses import replace

from django.utils.asyncio import async_unsafe

from accounts.browser.current_session import CurrentSession
from accounts.browser.user import renew_user, set_user
from accounts.database_pool import run_and_give_back
from accounts.dialects import current_dialect
from accounts.exceptions import ApiUnavailable, NotSignedIn, SessionEnded
from accounts.history.events import record_event
from accounts.models import EventKind, Trigger
from accounts.rotation.confirm import session_to_write, store_rejection
from accounts.rotation.limits import note_use
from accounts.rotation.rotate import RotationOutcome, rotate
from accounts.session.api_session import ApiSession
from accounts.session.tokens import needs_refresh


class BrowserSession(CurrentSession):
    """`CurrentSession`, and how a request changes it: rotations, sign-ins, session updates, the cookie."""

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
            self.has_rotated = rotated.is_own and rotated.outcome is RotationOutcome.MINTED
            self.id_token = rotated.id_token or self.id_token
            renew_user(self._request, rotated.session.user)
        return rotated.outcome

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

    def bind(self, device: str) -> bool:
        """Write the key of a device into the cookie. Returns whether that is possible.

        It is not if the session is over, or bound to another key.
        """
        with suppress(ApiUnavailable):
            self._load()
        if self._current is None or self._current.device not in ("", device):
            return False
        newest = session_to_write(replace(self._current, device=device), self.presented)
        if newest is None:
            return False
        self._current, self.modified = newest, True
        return True

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
        # The stream may have begun before the session was bound.
        update = replace(update, device=session.device or update.device)
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

    def _record_event(self, kind: EventKind, session: ApiSession) -> None:
        record_event(kind, session.id, user_id=session.user.id, generation=session.generation, address=self.address)
