"""What other code can listen to. Receivers get ids and names, never a token."""

from django.dispatch import Signal

#: Sent with `session_id` (UUID), `user_id` and `user_name` (str).
session_started = Signal()
#: Sent with `session_id` (UUID) and `reason` (EndReason), by whoever ended it, once.
session_ended = Signal()
#: Sent with `session_id` (UUID), `user_name` and `address` (str): an old generation came back after its leeway.
reuse_detected = Signal()
#: Sent with `event` (an `accounts.models.SessionEvent`, not saved yet), for everything that happens to a session. The
#: receivers run in the request that it happens in: they must be quick.
session_event = Signal()
