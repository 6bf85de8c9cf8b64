"""Every scenario of the storm, by name."""

from collections.abc import Callable

from tests.load import (
    clocks,
    copies,
    databases,
    device,
    failover,
    hosts,
    idle,
    lost,
    odd_answers,
    restarts,
    sick_api,
    tabs,
    workers,
)
from tests.load.figures import Figures
from tests.load.stage import Stage

Scenario = Callable[[Stage], Figures]

#: Too long for `make test`.
LONG_SCENARIOS: tuple[Scenario, ...] = (
    databases.crashed_at_the_store_and_the_answer_lost,
    failover.synchronous_and_the_primary_is_killed,
    failover.synchronous_and_the_primary_is_killed_for_long,
    failover.synchronous_and_the_primary_freezes,
    failover.asynchronous_and_the_primary_is_killed,
    failover.asynchronous_and_the_primary_freezes,
)

#: These take a database server away, or share one between two hosts.
NEED_POSTGRES: tuple[Scenario, ...] = (
    *LONG_SCENARIOS,
    tabs.tabs_over_two_sites,
    databases.crashed_at_the_store_and_back,
    databases.crashed_at_the_store_for_long,
    databases.away_and_back,
    clocks.databases_clock_set_back,
    clocks.databases_clock_set_ahead,
)

#: SimpleJWT has no grace period.
NEED_GRACE: tuple[Scenario, ...] = (
    lost.answer_lost_under_the_apis_grace,
    workers.lease_holder_stalled_and_another_rotated,
    workers.workers_killed_at_random,
    sick_api.a_dribbled_refresh,
)

#: Only the demo API's clock can be wrong, since a real API has the machine's. And only it has a call with POST.
#: For a failover the kind of API makes no difference.
NEED_DEMO_API: tuple[Scenario, ...] = (
    *(scenario for scenario in LONG_SCENARIOS if scenario.__module__ == failover.__name__),
    hosts.api_clock_five_minutes_ahead,
    hosts.api_clock_five_minutes_behind,
    idle.idle_connections_forgotten,
)

SCENARIOS: tuple[Scenario, ...] = (
    tabs.tabs_at_the_moment_of_expiry,
    tabs.tabs_over_two_sites,
    tabs.access_token_of_one_second,
    tabs.two_devices_of_one_user,
    tabs.signing_in_again_while_old_answers_are_under_way,
    tabs.signing_in_again_and_then_nothing_for_long,
    tabs.sign_out_during_a_rotation,
    lost.five_lost_answers_in_a_row,
    lost.answers_in_the_wrong_order,
    lost.an_answer_overtaken_at_the_site,
    lost.confirmations_in_the_wrong_order,
    lost.a_request_that_arrived_before_a_confirmation,
    lost.a_hand_off_that_comes_late,
    lost.answer_lost_after_the_api_committed,
    lost.answer_lost_under_the_apis_grace,
    workers.worker_killed_after_the_store,
    workers.lease_holder_killed_before_the_api_answered,
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
    sick_api.a_gateways_error_pages,
    sick_api.one_bad_answer_of_each_kind,
    sick_api.a_timeout,
    sick_api.sick_under_load,
    sick_api.a_dribbled_refresh,
    sick_api.a_dribbled_page,
    odd_answers.a_gateways_json,
    odd_answers.a_gateway_that_comes_and_goes,
    odd_answers.a_success_that_is_created,
    idle.idle_connections_forgotten,
    hosts.key_rotation_during_a_rotation,
    hosts.api_clock_five_minutes_ahead,
    hosts.api_clock_five_minutes_behind,
    clocks.databases_clock_set_back,
    clocks.databases_clock_set_ahead,
    copies.replayed_cookie_after_the_leeway,
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


def playable(kind: str, *, with_postgres: bool) -> list[Scenario]:
    """Those that can be played with an API of this kind (one of `stage.KINDS`)."""
    left_out: set[Scenario] = set() if with_postgres else set(NEED_POSTGRES)
    if kind != "token-pair":
        left_out |= set(NEED_DEMO_API)
    if kind in ("simplejwt", "oidc-provider"):
        left_out |= set(NEED_GRACE)
    return [scenario for scenario in SCENARIOS if scenario not in left_out]
