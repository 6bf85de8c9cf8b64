"""The storm in small: every scenario of `make storm`, with few rotations and seconds in place of minutes."""

from pathlib import Path

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
from tests.load.scenarios import LONG_SCENARIOS, SCENARIOS
from tests.load.stage import Stage

pytestmark = pytest.mark.storm


def test_twenty_tabs_at_the_moment_of_expiry_cost_one_refresh(stage: Stage) -> None:
    tabs.tabs_at_the_moment_of_expiry(stage)


@pytest.mark.postgres
def test_twenty_tabs_over_two_sites_cost_one_refresh(fleet: Stage) -> None:
    tabs.tabs_over_two_sites(fleet)


def test_an_access_token_of_one_second_is_enough(stage: Stage) -> None:
    tabs.access_token_of_one_second(stage)


def test_two_devices_of_one_user_do_not_disturb_each_other(stage: Stage) -> None:
    tabs.two_devices_of_one_user(stage)


def test_late_answers_of_the_session_before_leave_the_new_one_alone(stage: Stage) -> None:
    tabs.signing_in_again_while_old_answers_are_under_way(stage)


def test_late_answers_of_the_session_before_do_no_harm_after_the_leeway(stage: Stage) -> None:
    tabs.signing_in_again_and_then_nothing_for_long(stage)


def test_a_sign_out_during_a_rotation_is_final(stage: Stage) -> None:
    tabs.sign_out_during_a_rotation(stage)


def test_five_lost_answers_in_a_row_do_not_sign_out(stage: Stage) -> None:
    lost.five_lost_answers_in_a_row(stage)


def test_answers_in_the_wrong_order_do_not_sign_out(stage: Stage) -> None:
    lost.answers_in_the_wrong_order(stage)


def test_an_answer_overtaken_at_the_site_brings_the_newest_session(stage: Stage) -> None:
    lost.an_answer_overtaken_at_the_site(stage)


def test_confirmations_in_any_order_do_not_sign_out(stage: Stage) -> None:
    lost.confirmations_in_the_wrong_order(stage)


def test_a_request_that_arrived_before_a_confirmation_may_rotate_long_after_it(stage: Stage) -> None:
    lost.a_request_that_arrived_before_a_confirmation(stage)


def test_a_hand_off_that_comes_late_takes_nothing_back(stage: Stage) -> None:
    lost.a_hand_off_that_comes_late(stage)


def test_an_answer_lost_after_the_api_committed_is_the_documented_window(stage: Stage) -> None:
    lost.answer_lost_after_the_api_committed(stage)


def test_an_answer_lost_under_the_apis_grace_goes_unnoticed(stage: Stage) -> None:
    lost.answer_lost_under_the_apis_grace(stage)


def test_a_worker_killed_after_the_store_loses_nothing(stage: Stage) -> None:
    workers.worker_killed_after_the_store(stage)


def test_a_lease_holder_killed_before_the_api_answered_is_replaced(stage: Stage) -> None:
    workers.lease_holder_killed_before_the_api_answered(stage)


def test_a_lease_holder_that_comes_back_late_stores_its_pair(stage: Stage) -> None:
    workers.lease_holder_stalled_and_nobody_came(stage)


def test_a_lease_holder_that_comes_back_too_late_adopts(stage: Stage) -> None:
    workers.lease_holder_stalled_and_another_rotated(stage)


def test_workers_killed_at_random_lose_nothing_under_the_apis_grace(stage: Stage) -> None:
    workers.workers_killed_at_random(stage)


def test_workers_reloaded_under_load_are_not_noticed(stage: Stage) -> None:
    restarts.reloaded_under_load(stage)


def test_a_database_locked_for_two_seconds_is_waited_for(stage: Stage) -> None:
    databases.locked_for_two_seconds(stage)


def test_a_database_locked_at_the_store_is_waited_for(stage: Stage) -> None:
    databases.locked_at_the_store(stage)


@pytest.mark.postgres
def test_a_database_that_crashes_at_the_store_and_comes_back_has_the_new_pair(fleet: Stage) -> None:
    databases.crashed_at_the_store_and_back(fleet)


@pytest.mark.postgres
def test_a_database_that_crashes_at_the_store_for_long_is_done_without(fleet: Stage) -> None:
    databases.crashed_at_the_store_for_long(fleet)


@pytest.mark.postgres
def test_a_database_that_is_away_signs_nobody_out(fleet: Stage) -> None:
    databases.away_and_back(fleet)


def test_a_cookie_newer_than_its_record_counts(stage: Stage) -> None:
    databases.restored_from_a_backup(stage)


def test_a_gateways_error_pages_are_no_refusal(stage: Stage) -> None:
    sick_api.a_gateways_error_pages(stage)


def test_one_bad_answer_of_each_kind_is_asked_for_once(stage: Stage) -> None:
    sick_api.one_bad_answer_of_each_kind(stage)


def test_those_who_wait_for_a_silent_api_fail_together(stage: Stage) -> None:
    sick_api.a_timeout(stage)


def test_an_api_that_is_sick_under_load_signs_nobody_out(stage: Stage) -> None:
    sick_api.sick_under_load(stage)


def test_a_dribbled_refresh_meets_its_deadline(stage: Stage) -> None:
    sick_api.a_dribbled_refresh(stage)


def test_a_dribbled_page_meets_its_deadline(stage: Stage) -> None:
    sick_api.a_dribbled_page(stage)


def test_a_gateways_json_signs_nobody_out(stage: Stage) -> None:
    odd_answers.a_gateways_json(stage)


def test_a_gateway_that_answers_one_refresh_signs_nobody_out(stage: Stage) -> None:
    odd_answers.a_gateway_that_comes_and_goes(stage)


def test_a_success_with_201_brings_the_new_pair(stage: Stage) -> None:
    odd_answers.a_success_that_is_created(stage)


def test_idle_connections_that_the_network_forgets_are_not_used(stage: Stage) -> None:
    idle.idle_connections_forgotten(stage)


def test_a_key_rotation_during_a_rotation_signs_nobody_out(stage: Stage) -> None:
    hosts.key_rotation_during_a_rotation(stage)


def test_an_api_clock_five_minutes_ahead_does_not_matter(stage: Stage) -> None:
    hosts.api_clock_five_minutes_ahead(stage)


def test_an_api_clock_five_minutes_behind_does_not_matter(stage: Stage) -> None:
    hosts.api_clock_five_minutes_behind(stage)


@pytest.mark.postgres
def test_a_database_clock_set_back_keeps_nobody_waiting(fleet: Stage) -> None:
    clocks.databases_clock_set_back(fleet)


@pytest.mark.postgres
def test_a_database_clock_set_ahead_signs_nobody_out(fleet: Stage) -> None:
    clocks.databases_clock_set_ahead(fleet)


def test_an_old_cookie_after_its_leeway_ends_the_session_for_both(stage: Stage) -> None:
    copies.replayed_cookie_after_the_leeway(stage)


def test_an_old_cookie_within_its_leeway_signs_nobody_out(stage: Stage) -> None:
    copies.replayed_cookie_within_the_leeway(stage)


def test_a_thief_who_comes_first_is_found_out(stage: Stage) -> None:
    copies.thief_first_owner_second(stage)


def test_a_later_leeway_does_not_let_an_old_generation_in(stage: Stage) -> None:
    copies.old_generation_in_a_later_leeway(stage)


def test_an_old_unconfirmed_cookie_is_found_out_on_a_page_without_api(stage: Stage) -> None:
    copies.old_unconfirmed_cookie_on_a_page_without_api(stage)


def test_a_device_cookie_of_a_few_seconds_is_enough(stage: Stage) -> None:
    device.a_device_cookie_of_a_few_seconds(stage)


def test_a_thief_without_the_key_is_not_served_and_ends_nothing(stage: Stage) -> None:
    device.a_thief_without_the_key(stage)


def test_a_rotation_beside_the_registration_keeps_the_binding(stage: Stage) -> None:
    device.a_rotation_beside_the_registration(stage)


def test_a_rotation_that_ends_before_the_registration_is_seen_signs_nobody_out(stage: Stage) -> None:
    device.a_rotation_that_ends_before_the_registration_is_seen(stage)


def test_a_session_update_from_before_the_registration_keeps_the_binding(stage: Stage) -> None:
    device.a_session_update_from_before_the_registration(stage)


def test_a_registration_that_comes_late_binds_the_session(stage: Stage) -> None:
    device.a_registration_that_comes_late(stage)


def test_signing_in_again_with_a_new_key_leaves_the_old_one_behind(stage: Stage) -> None:
    device.signing_in_again_with_a_new_key(stage)


def test_every_scenario_is_played_here() -> None:
    source = Path(__file__).read_text()
    played = [s for s in SCENARIOS if f"{s.__module__.rpartition('.')[2]}.{s.__name__}(" in source]
    assert [*played, *LONG_SCENARIOS] == list(SCENARIOS)
