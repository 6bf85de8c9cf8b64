"""The short storm in front of real APIs: SimpleJWT with rotation and blacklist, and an OAuth 2.0 provider.

Played is what depends on how an API spells its answers, how early it may be asked, and what else it ends when one token
is revoked. Left out, since the site does the same in front of every API, and `test_storm` shows it: what the database
alone decides (locked, away, restored, copied cookies other than the first kind, the order of confirmations), keys,
device binding, timeouts byte by byte, suspended and replaced workers, a lease that has to run out, lasting load.
`make storm` plays these too. With a real API nobody can play another clock than the machine's, and with SimpleJWT no
grace period: it has none.
"""

from collections.abc import Iterator

import pytest

from tests.load import (
    clocks,
    copies,
    databases,
    device,
    hosts,
    idle,
    lost,
    odd_answers,
    restarts,
    sick_api,
    tabs,
    workers,
)
from tests.load.postgres import PostgresServer
from tests.load.scenarios import LONG_SCENARIOS, SCENARIOS, Scenario
from tests.load.stage import KINDS, SHORT, Stage

pytestmark = pytest.mark.storm

#: One that signs a JWT for each call has scenarios of its own.
STRICT = "oidc-provider"
REAL = [kind for kind in KINDS if kind not in ("token-pair", STRICT)]

PLAYED: tuple[Scenario, ...] = (
    tabs.tabs_at_the_moment_of_expiry,
    tabs.access_token_of_one_second,
    tabs.two_devices_of_one_user,
    tabs.signing_in_again_while_old_answers_are_under_way,
    tabs.sign_out_during_a_rotation,
    lost.five_lost_answers_in_a_row,
    lost.answers_in_the_wrong_order,
    lost.a_hand_off_that_comes_late,
    lost.answer_lost_after_the_api_committed,
    workers.worker_killed_after_the_store,
    sick_api.a_gateways_error_pages,
    sick_api.one_bad_answer_of_each_kind,
    sick_api.a_timeout,
    odd_answers.a_gateways_json,
    odd_answers.a_gateway_that_comes_and_goes,
    odd_answers.a_success_that_is_created,
    copies.replayed_cookie_after_the_leeway,
)
#: What depends on the client's authentication. `test_site_at_providers` has the tabs.
PLAYED_STRICT: tuple[Scenario, ...] = (
    lost.answer_lost_after_the_api_committed,
    sick_api.one_bad_answer_of_each_kind,
)
PLAYED_WITH_GRACE: tuple[Scenario, ...] = (lost.answer_lost_under_the_apis_grace,)
PLAYED_ON_POSTGRES: tuple[Scenario, ...] = (tabs.tabs_over_two_sites,)
LEFT_OUT: tuple[Scenario, ...] = (
    workers.lease_holder_killed_before_the_api_answered,
    tabs.signing_in_again_and_then_nothing_for_long,
    lost.an_answer_overtaken_at_the_site,
    lost.confirmations_in_the_wrong_order,
    lost.a_request_that_arrived_before_a_confirmation,
    workers.lease_holder_stalled_and_nobody_came,
    workers.lease_holder_stalled_and_another_rotated,
    workers.workers_killed_at_random,
    restarts.reloaded_under_load,
    databases.locked_for_two_seconds,
    databases.locked_at_the_store,
    databases.crashed_at_the_store_and_back,
    databases.crashed_at_the_store_for_long,
    databases.away_and_back,
    databases.restored_from_a_backup,
    sick_api.sick_under_load,
    sick_api.a_dribbled_refresh,
    sick_api.a_dribbled_page,
    idle.idle_connections_forgotten,
    hosts.key_rotation_during_a_rotation,
    hosts.api_clock_five_minutes_ahead,
    hosts.api_clock_five_minutes_behind,
    clocks.databases_clock_set_back,
    clocks.databases_clock_set_ahead,
    copies.replayed_cookie_within_the_leeway,
    copies.thief_first_owner_second,
    copies.old_generation_in_a_later_leeway,
    copies.old_unconfirmed_cookie_on_a_page_without_api,
    device.a_device_cookie_of_a_few_seconds,
    device.a_thief_without_the_key,
    device.a_rotation_beside_the_registration,
    device.a_rotation_that_ends_before_the_registration_is_seen,
    device.a_session_update_from_before_the_registration,
    device.a_registration_that_comes_late,
    device.signing_in_again_with_a_new_key,
    *LONG_SCENARIOS,
)


def _name(scenario: Scenario) -> str:
    return scenario.__name__


@pytest.fixture(scope="module")
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """On SQLite, with this kind of API."""
    with Stage(SHORT, kind=request.param) as stage:
        yield stage


@pytest.fixture
def fleet(stage: Stage, postgres: PostgresServer) -> Stage:
    """The same, with PostgreSQL for those who need it."""
    stage.postgres = postgres
    return stage


@pytest.mark.parametrize("scenario", PLAYED, ids=_name)
@pytest.mark.parametrize("stage", REAL, indirect=True)
def test_it_keeps_its_promise(stage: Stage, scenario: Scenario) -> None:
    scenario(stage)


@pytest.mark.parametrize("scenario", PLAYED_STRICT, ids=_name)
@pytest.mark.parametrize("stage", [STRICT], indirect=True)
def test_it_keeps_its_promise_at_a_strict_provider(stage: Stage, scenario: Scenario) -> None:
    scenario(stage)


@pytest.mark.parametrize("scenario", PLAYED_WITH_GRACE, ids=_name)
@pytest.mark.parametrize("stage", ["oauth2"], indirect=True)
def test_it_keeps_its_promise_under_the_apis_grace(stage: Stage, scenario: Scenario) -> None:
    scenario(stage)


@pytest.mark.postgres
@pytest.mark.parametrize("scenario", PLAYED_ON_POSTGRES, ids=_name)
@pytest.mark.parametrize("stage", REAL, indirect=True)
def test_it_keeps_its_promise_on_postgresql(fleet: Stage, scenario: Scenario) -> None:
    scenario(fleet)


def test_every_scenario_is_played_here_or_left_out_on_purpose() -> None:
    named = [*PLAYED, *PLAYED_WITH_GRACE, *PLAYED_ON_POSTGRES, *LEFT_OUT]

    assert sorted(map(_name, named)) == sorted(map(_name, SCENARIOS))
