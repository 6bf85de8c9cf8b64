"""Limits on failed sign-ins that are low enough to be reached, and a clock to wait for their end."""

from collections.abc import Iterator

import pytest
from django.db import connection
from pytest_django import Settings

from tests.accounts.rotation.clocks import Clock, movable_clock
from tests.accounts.sign_in.rate_limits import ANYWHERE, PER_ADDRESS, PER_USER
from tests.browsers import Browser


@pytest.fixture
def rate_limits(settings: Settings) -> None:
    settings.SIGN_IN_LIMIT_PER_ADDRESS = f"{PER_ADDRESS}/10 minutes"
    settings.SIGN_IN_LIMIT_PER_USER = f"{PER_USER}/10 minutes"
    settings.SIGN_IN_LIMIT_PER_USER_ANYWHERE = f"{ANYWHERE}/hour"


@pytest.fixture
def clock(browser: Browser) -> Iterator[Clock]:
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite's clock can be moved")
    with movable_clock() as clock:
        yield clock
