"""What a slow look at the record may not change: when a request arrived."""

import time
from typing import Any

from django.db import connection

from accounts.models import EndReason, SessionRecord
from tests.browsers import Browser


def test_a_slow_look_does_not_date_a_request_after_the_end_of_its_session(signed_in: Browser) -> None:
    """Or its answer would delete the cookie, and wipe a sign-in that came in between."""
    session_id = signed_in.session().id
    arrived = time.monotonic()
    SessionRecord.objects.end(session_id, EndReason.SIGNED_OUT)

    def slowly(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        time.sleep(0.3)  # a connection that takes so long to be made
        return execute(sql, params, many, context)

    with connection.execute_wrapper(slowly):
        record = SessionRecord.objects.fetch(session_id)

    assert record is not None
    assert not record.had_ended_by(arrived)
