"""Steps and faults that the tests of the rotation share with others."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.models import F

from accounts.models import SessionRecord
from accounts.rotation import rotate as rotation
from accounts.rotation import store
from tests.browsers import Browser
from tests.demo_api.server import DemoApi

Execute = Callable[..., Any]


def move_back(browser: Browser, seconds: float) -> None:
    """Move the times in the browser's record `seconds` into the past."""
    record = browser.record()
    host_times = record.retired_host_times or {}
    SessionRecord.objects.filter(pk=record.id).update(
        confirmed_at=F("confirmed_at") - timedelta(seconds=seconds),
        retired=[[generation, at - seconds] for generation, at in record.retired],
        retired_host_times={
            generation: [boot, monotonic - seconds, time_of_day - seconds]
            for generation, (boot, monotonic, time_of_day) in host_times.items()
        },
    )


def rotate_and_confirm(browser: Browser, api: DemoApi) -> None:
    api.expire_access_tokens()
    assert browser.open_page().status_code == 200
    assert browser.open_page().status_code == 200


class FailingStore:
    """Lets the statement that stores a new pair fail, the first `times` times."""

    def __init__(self, times: float) -> None:
        self.left = times

    def __call__(self, execute: Execute, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("UPDATE") and '"last_rotated_at" =' in sql and self.left > 0:
            self.left -= 1
            raise OperationalError("the disk is full")
        return execute(sql, params, many, context)


@contextmanager
def failing_store() -> Iterator[FailingStore]:
    """The statement that stores a new pair fails, and the site gives up soon and for good, after several attempts."""
    failing = FailingStore(times=float("inf"))
    with pytest.MonkeyPatch.context() as patch, connection.execute_wrapper(failing):
        patch.setattr(rotation, "STORE_SECONDS", 0.25)
        patch.setattr(store, "BACKGROUND_STORE_SECONDS", 0.0)
        yield failing
