"""A short soak test. `make soak` runs it for minutes, and checks the memory, too."""

import pytest

from tests.load.soak import soak

pytestmark = pytest.mark.storm

SECONDS = 4


def test_nobody_is_signed_out_and_nothing_stays_behind_while_workers_are_replaced_and_the_api_is_sick() -> None:
    soak(SECONDS, seed=7, people=4, rounds=2)
