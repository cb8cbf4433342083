"""The rules that this package keeps under faults, each with the tests that fail where it is broken.

Earlier implementations broke each of them. A test that is renamed or removed must be renamed or replaced here, so that no
rule loses its last test unnoticed. An entry is ``FILE::TEST``, seen from ``tests``.
"""

import ast
from pathlib import Path

import pytest

_TESTS = Path(__file__).parents[1]

RULES: dict[str, tuple[str, ...]] = {
    "a torn request waits for its rest and is then answered": (
        "faults/test_hostile_requests.py::test_a_torn_request_is_named_and_waited_for_and_answered_when_the_rest_comes",
    ),
    "a torn answer waits for its rest and nothing is deleted": (
        "faults/test_hostile_responses.py::test_a_torn_answer_is_named_and_waited_for_and_nothing_is_deleted",
    ),
    "without a known key of the peer nothing is sent": (
        "faults/test_peers.py::test_to_a_peer_without_a_key_nothing_is_sent_and_the_others_do_not_wait",
        "faults/test_peers.py::test_a_changed_key_of_a_data_owner_stops_the_exchange_until_it_is_accepted",
        "faults/test_peers.py::test_a_card_that_cannot_be_read_stops_the_exchange_and_nothing_is_sent",
    ),
    "a request that is not sealed as agreed is refused": (
        "faults/test_hostile_requests.py::test_a_request_that_nobody_may_believe_is_named_and_not_run",
        "faults/test_hostile_requests.py::test_a_signed_request_in_plain_text_is_refused_with_the_setting_that_differs",
        "faults/test_hostile_requests.py::test_a_request_that_does_not_open_is_refused_and_no_log_shows_a_part_of_a_key",
        "faults/test_peers.py::test_encryption_on_one_side_only_is_an_error_on_both_that_names_the_setting",
    ),
    "an outsider gets no answer and stops no data owner": (
        "faults/test_hostile_requests.py::test_a_request_that_nobody_may_believe_is_named_and_not_run",
        "faults/test_stop.py::test_a_stop_that_nobody_may_believe_ends_nothing_and_is_named",
    ),
    "an answer counts for its own data owner and request only": (
        "faults/test_hostile_responses.py::test_an_answer_that_nobody_may_believe_is_named_and_the_true_one_counts",
    ),
    "training may take longer than any hidden limit": (
        "faults/test_delivery.py::test_training_may_take_longer_than_any_hidden_limit",
    ),
    "an error answer ends the wait at once": (
        "faults/test_hostile_responses.py::test_an_authentic_answer_that_cannot_be_used_ends_the_wait_with_one_error",
        "faults/test_bad_apps.py::test_an_app_that_gives_no_reply_ends_as_one_error_and_goes_on",
    ),
    "each message that cannot be sent or read is an error": (
        "faults/test_delivery.py::test_what_cannot_be_written_is_an_error_and_the_others_get_theirs",
        "faults/test_delivery.py::test_a_request_that_the_sync_service_refuses_is_an_error_at_once",
        "faults/test_hostile_responses.py::test_an_authentic_answer_that_cannot_be_used_ends_the_wait_with_one_error",
    ),
    "a ServerApp that raises never looks like a success": (
        "faults/test_bad_apps.py::test_a_server_app_that_raises_is_logged_with_its_traceback_and_everybody_is_stopped",
        "faults/test_bad_apps.py::test_a_server_app_that_raises_never_looks_like_a_success_to_who_asks",
        "faults/test_killed.py::test_a_server_whose_app_fails_ends_with_an_error_and_stops_its_data_owners",
    ),
    "only the stop of the own run ends a client": (
        "faults/test_stop.py::test_a_stop_of_another_run_ends_nothing",
        "faults/test_stop.py::test_a_stop_that_nobody_may_believe_ends_nothing_and_is_named",
        "faults/test_stop.py::test_a_stop_that_lay_there_when_the_watcher_started_ends_nothing",
        "faults/test_stop.py::test_a_replayed_stop_ends_nothing",
    ),
    "a restarted data owner runs no answered request again": (
        "faults/test_restart.py::test_a_restarted_data_owner_answers_what_it_left_and_runs_nothing_again_that_it_answered",
        "faults/test_killed.py::test_a_watcher_that_is_killed_in_mid_training_takes_all_with_it_and_its_successor_answers_once",
        "faults/test_stop.py::test_what_a_stopped_run_left_in_the_backlog_is_not_run",
    ),
    "files that cannot be deleted make no data owner deaf": (
        "faults/test_hostile_requests.py::test_a_heap_of_files_that_nobody_takes_away_makes_no_data_owner_deaf",
    ),
    "an email with an underscore gets its messages": (
        "faults/test_delivery.py::test_every_email_that_is_allowed_is_a_datasite_of_its_own",
    ),
    "an email with an apostrophe gets its messages": (
        "faults/test_delivery.py::test_every_email_that_is_allowed_is_a_datasite_of_its_own",
    ),
    "a share in Google Drive that failed is made again": (
        "faults/test_drive_calls.py::test_a_share_that_was_not_made_is_repeated",
        "faults/test_drive_calls.py::test_a_share_that_may_have_been_made_is_looked_at_before_it_is_repeated",
    ),
    "what an interrupted aggregator left is removed": (
        "faults/test_restart.py::test_what_an_interrupted_aggregator_left_is_cleared_by_its_next_run",
        "faults/test_restart.py::test_an_answer_after_its_time_is_nobodys_and_leaves_no_file",
        "faults/test_restart.py::test_a_run_that_ends_leaves_no_file_of_answers_that_nobody_took",
    ),
    "a failure of the app or of a request is answered": (
        "faults/test_bad_apps.py::test_an_app_that_gives_no_reply_ends_as_one_error_and_goes_on",
        "faults/test_bad_apps.py::test_a_worker_that_dies_ends_as_one_error_and_a_fresh_one_goes_on",
        "faults/test_hostile_requests.py::test_an_authentic_request_that_cannot_be_read_is_answered_with_an_error",
    ),
    "two emails never share a node id": (
        "faults/test_delivery.py::test_every_email_that_is_allowed_is_a_datasite_of_its_own",
        "faults/test_bad_input.py::test_a_datasite_that_is_listed_twice_is_named_however_it_is_spelt",
    ),
    "a run has one id, and its own state": (
        "faults/test_footprint.py::test_a_run_has_one_id_everywhere_and_nothing_of_the_run_before_it",
        "faults/test_restart.py::test_what_the_app_remembers_survives_a_restart_and_is_not_of_the_next_run",
    ),
    "the exact email decides the role": (
        "faults/test_bad_input.py::test_the_role_is_that_of_the_exact_email",
        "faults/test_delivery.py::test_a_data_scientist_may_be_a_datasite_of_its_own_run",
    ),
    "the time limit that the user set counts": (
        "faults/test_delivery.py::test_the_time_that_the_user_set_counts_whatever_a_strategy_passes",
        "faults/test_delivery.py::test_an_aggregator_without_a_limit_waits_for_who_shows_life_and_gives_up_who_does_not",
    ),
    "a request that comes during the first scan is run": (
        "faults/test_restart.py::test_a_request_that_comes_while_the_backlog_is_looked_through_is_run",
    ),
    "training blocks no stop, and a dead worker is replaced": (
        "faults/test_stop.py::test_a_stop_ends_watcher_and_worker_in_the_middle_of_training",
        "faults/test_bad_apps.py::test_a_worker_that_dies_ends_as_one_error_and_a_fresh_one_goes_on",
        "faults/test_bad_apps.py::test_a_worker_that_was_killed_between_two_messages_is_replaced_without_an_error",
    ),
    "a file is read once": ("faults/test_footprint.py::test_a_file_is_read_once_however_often_one_looks",),
    "a model is sealed and written once for all data owners": (
        "faults/test_footprint.py::test_a_model_crosses_once_for_all_and_without_a_second_coating",
    ),
    "an unknown transport or broken TOML is an error": (
        "faults/test_bad_input.py::test_an_unknown_transport_is_never_taken_for_syftbox",
        "faults/test_bad_input.py::test_an_unknown_transport_in_the_project_is_never_taken_for_syftbox",
        "faults/test_bad_input.py::test_broken_toml_is_never_taken_for_an_empty_file",
    ),
    "equal local parts of emails do not collide": (
        "faults/test_delivery.py::test_every_email_that_is_allowed_is_a_datasite_of_its_own",
    ),
    "simulations do not meet and leave no process": (
        "e2e/test_simulation.py::test_two_runs_of_one_project_at_once_do_not_meet",
        "e2e/test_simulation.py::test_the_number_of_paths_must_be_that_of_the_datasites",
        "e2e/test_simulation.py::test_a_signal_in_the_middle_leaves_no_process",
        "e2e/test_simulation.py::test_a_cancelled_task_is_over_when_every_process_is",
    ),
    "an error carries no data and no part of a key": (
        "faults/test_bad_apps.py::test_an_app_that_gives_no_reply_ends_as_one_error_and_goes_on",
        "faults/test_bad_apps.py::test_a_traceback_goes_to_the_aggregator_only_if_the_data_owner_says_so",
        "faults/test_hostile_requests.py::test_a_request_that_does_not_open_is_refused_and_no_log_shows_a_part_of_a_key",
    ),
    "bootstrap keeps the user's text and takes no path": (
        "faults/test_bad_input.py::test_a_bootstrap_keeps_what_is_the_users",
        "faults/test_bad_input.py::test_a_bootstrap_with_a_datasite_that_climbs_changes_nothing",
    ),
    "no other user may write, and a client call returns": (
        "faults/test_footprint.py::test_nobody_else_on_the_machine_may_write_to_what_is_ours_or_read_what_is_private",
        "faults/test_footprint.py::test_the_call_of_a_data_owner_returns_when_its_run_stops",
    ),
    "a run opens no connection": ("faults/test_footprint.py::test_a_run_opens_no_connection",),
    "a killed client takes its children with it": (
        "faults/test_delivery.py::test_training_may_take_longer_than_any_hidden_limit",
        "faults/test_killed.py::test_a_watcher_that_is_killed_in_mid_training_takes_all_with_it_and_its_successor_answers_once",
        "faults/test_killed.py::test_a_watcher_that_is_asked_to_end_in_mid_training_ends_and_leaves_no_process",
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_has_tests_that_exist(rule: str) -> None:
    """Look each test of the rule up in its file."""
    assert RULES[rule]
    for reference in RULES[rule]:
        file, _, name = reference.partition("::")
        tree = ast.parse((_TESTS / file).read_text())
        tests = {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}
        assert name in tests, reference


def test_each_rule_is_a_line_of_at_most_60_characters() -> None:
    """Keep the rules short, since a failure names the rule by its text."""
    assert [rule for rule in RULES if len(rule) > 60] == []


def test_no_rule_is_dropped() -> None:
    """Count the rules, since a rule without an entry has no test that could fail."""
    assert len(RULES) >= 34
