"""Signals for other code. Receivers get ids and names, never a token."""

from django.dispatch import Signal

#: Sent with `session_id` (UUID), `user_id` and `user_name` (str).
session_started = Signal()
#: Sent once for each session, with `session_id` (UUID) and `reason` (EndReason), in the request that ended it.
session_ended = Signal()
#: Sent with `session_id` (UUID), `user_name` and `address` (str), when a cookie is used again after its grace period.
reuse_detected = Signal()
#: Sent for each event of a session, with `event` (an `accounts.models.SessionEvent` that is not saved). Receivers
#: run in the request, so they must be quick.
session_event = Signal()
