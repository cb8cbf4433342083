"""The rules that this package keeps under faults, each with the tests that show it.

Earlier implementations broke each of these rules. After a test is renamed or removed, change its entry here, so that each
rule keeps a test. An entry is ``FILE::TEST``, relative to ``tests``.
"""

import ast
from pathlib import Path

import pytest

_TESTS = Path(__file__).parents[1]

RULES: dict[str, tuple[str, ...]] = {
    "a torn request waits for its rest and is then answered": (
        "faults/test_hostile_requests.py::test_torn_request_is_answered_when_complete",
    ),
    "a torn reply waits for its rest and nothing is deleted": (
        "faults/test_hostile_responses.py::test_torn_reply_is_read_when_complete",
    ),
    "without a known key of the peer nothing is sent": (
        "faults/test_peers.py::test_nothing_is_sent_to_a_peer_without_key",
        "faults/test_peers.py::test_changed_owner_key_must_be_accepted",
        "faults/test_peers.py::test_unreadable_card_stops_the_exchange",
    ),
    "a request that is not sealed as agreed is refused": (
        "faults/test_hostile_requests.py::test_forged_request_is_logged_and_not_run",
        "faults/test_hostile_requests.py::test_plain_text_request_is_refused",
        "faults/test_hostile_requests.py::test_undecryptable_request_is_refused_without_key_leak",
        "faults/test_peers.py::test_encryption_on_one_side_is_an_error_on_both",
    ),
    "an outsider gets no reply and stops no data owner": (
        "faults/test_hostile_requests.py::test_forged_request_is_logged_and_not_run",
        "faults/test_stop.py::test_forged_stop_is_logged_and_ignored",
    ),
    "a reply counts only for its data owner and request": (
        "faults/test_hostile_responses.py::test_forged_reply_is_logged_and_the_true_one_counts",
    ),
    "training may take longer than any hidden limit": (
        "faults/test_delivery.py::test_long_training_has_no_hidden_limit",
    ),
    "an error reply ends the wait at once": (
        "faults/test_hostile_responses.py::test_unusable_authentic_reply_gives_one_error",
        "faults/test_bad_apps.py::test_app_without_reply_gives_one_error",
    ),
    "each message that cannot be sent or read is an error": (
        "faults/test_delivery.py::test_write_error_fails_only_its_messages",
        "faults/test_delivery.py::test_request_refused_by_sync_is_an_error_at_once",
        "faults/test_hostile_responses.py::test_unusable_authentic_reply_gives_one_error",
    ),
    "a ServerApp that raises never looks like a success": (
        "faults/test_bad_apps.py::test_failing_server_app_is_logged_and_stops_all",
        "faults/test_bad_apps.py::test_raise_on_error_raises_the_app_error",
        "faults/test_killed.py::test_failing_server_app_ends_all_processes",
    ),
    "a run without good replies never looks like a success": (
        "faults/test_outcomes.py::test_kind_without_a_good_reply_fails",
        "faults/test_outcomes.py::test_failed_kind_raises_if_asked_to",
        "faults/test_outcomes.py::test_end_of_the_server_app_is_told_everywhere",
    ),
    "only the stop of its own run ends a client": (
        "faults/test_stop.py::test_stop_of_another_run_is_ignored",
        "faults/test_stop.py::test_forged_stop_is_logged_and_ignored",
        "faults/test_stop.py::test_stop_older_than_the_client_is_ignored",
        "faults/test_stop.py::test_replayed_stop_is_ignored",
    ),
    "a restarted data owner runs no answered request again": (
        "faults/test_restart.py::test_restarted_owner_runs_only_open_requests",
        "faults/test_killed.py::test_client_killed_in_training_is_resumed_once",
        "faults/test_stop.py::test_old_requests_of_a_stopped_run_are_not_run",
    ),
    "files that cannot be deleted do not block requests": (
        "faults/test_hostile_requests.py::test_many_invalid_files_do_not_block_requests",
    ),
    "an email with an underscore gets its messages": (
        "faults/test_delivery.py::test_similar_emails_are_separate_datasites",
    ),
    "an email with an apostrophe gets its messages": (
        "faults/test_delivery.py::test_similar_emails_are_separate_datasites",
    ),
    "a failed share in Google Drive is retried": (
        "faults/test_drive_calls.py::test_failed_share_is_retried",
        "faults/test_drive_calls.py::test_doubtful_share_is_checked_before_a_retry",
    ),
    "an object that another process deletes is not lost": (
        "faults/test_vanishing_objects.py::test_request_is_run_after_its_objects_vanished",
        "faults/test_vanishing_objects.py::test_reply_is_read_after_its_objects_vanished",
        "faults/test_vanishing_objects.py::test_vanished_objects_of_an_open_request_come_back",
        "faults/test_vanishing_objects.py::test_vanished_objects_of_a_reply_come_back",
    ),
    "files of an interrupted aggregator are deleted": (
        "faults/test_restart.py::test_next_run_deletes_files_of_aborted_run",
        "faults/test_restart.py::test_late_reply_is_dropped_and_leaves_no_file",
        "faults/test_restart.py::test_end_of_run_deletes_uncollected_replies",
    ),
    "a failure of the app or of a request gets a reply": (
        "faults/test_bad_apps.py::test_app_without_reply_gives_one_error",
        "faults/test_bad_apps.py::test_dead_worker_gives_one_error_and_is_replaced",
        "faults/test_hostile_requests.py::test_unreadable_authentic_request_gets_an_error",
    ),
    "two emails never share a node id": (
        "faults/test_delivery.py::test_similar_emails_are_separate_datasites",
        "faults/test_bad_input.py::test_duplicate_datasite_is_refused_in_any_spelling",
    ),
    "a run has one id, and its own state": (
        "faults/test_footprint.py::test_each_run_has_its_own_id_and_state",
        "faults/test_restart.py::test_app_state_survives_a_restart_within_its_run",
    ),
    "the exact email decides the role": (
        "faults/test_bad_input.py::test_role_needs_the_exact_email",
        "faults/test_delivery.py::test_aggregator_may_also_be_a_datasite",
    ),
    "the time limit that the user set counts": (
        "faults/test_delivery.py::test_msg_timeout_acts_under_every_strategy",
        "faults/test_delivery.py::test_without_timeout_only_silent_owner_is_given_up",
    ),
    "a request that comes during the first scan is run": (
        "faults/test_restart.py::test_request_during_the_first_scan_is_run",
    ),
    "a stop ends training, and a dead worker is replaced": (
        "faults/test_stop.py::test_stop_ends_client_and_worker_in_training",
        "faults/test_bad_apps.py::test_dead_worker_gives_one_error_and_is_replaced",
        "faults/test_bad_apps.py::test_worker_killed_while_idle_is_replaced",
    ),
    "a file is read once": ("faults/test_footprint.py::test_repeated_scans_read_a_file_once",),
    "a model is sealed and written once for all data owners": (
        "faults/test_footprint.py::test_model_is_written_once_without_overhead",
    ),
    "an unknown transport or broken TOML is an error": (
        "faults/test_bad_input.py::test_unknown_transport_is_refused",
        "faults/test_bad_input.py::test_unknown_transport_in_the_project_is_refused",
        "faults/test_bad_input.py::test_broken_toml_is_refused",
    ),
    "equal local parts of emails do not collide": (
        "faults/test_delivery.py::test_similar_emails_are_separate_datasites",
    ),
    "local runs keep their records and end as the database says": (
        "e2e/test_simulation_records.py::test_killed_supervisor_leaves_an_interrupted_run",
        "e2e/test_simulation_records.py::test_records_contain_no_key_database_or_message",
        "e2e/test_simulation_records.py::test_failed_training_does_not_end_as_success",
        "unit/test_recorded_run.py::test_database_decides_over_the_record",
    ),
    "simulations do not meet and leave no process": (
        "e2e/test_simulation.py::test_concurrent_runs_of_a_project_are_separate",
        "e2e/test_simulation.py::test_number_of_paths_must_match_the_datasites",
        "e2e/test_simulation.py::test_signal_leaves_no_process",
        "e2e/test_simulation.py::test_cancelled_task_ends_after_all_processes",
    ),
    "an error carries no data and no part of a key": (
        "faults/test_bad_apps.py::test_app_without_reply_gives_one_error",
        "faults/test_bad_apps.py::test_traceback_is_sent_only_if_configured",
        "faults/test_hostile_requests.py::test_undecryptable_request_is_refused_without_key_leak",
    ),
    "bootstrap keeps the user's text and refuses a path": (
        "faults/test_bad_input.py::test_bootstrap_keeps_the_users_text",
        "faults/test_bad_input.py::test_bootstrap_refuses_a_path_as_datasite",
    ),
    "no other user may write, and a client call returns": (
        "faults/test_footprint.py::test_other_local_users_cannot_access_our_files",
        "faults/test_footprint.py::test_client_call_returns_when_the_run_stops",
    ),
    "a run opens no connection": ("faults/test_footprint.py::test_run_opens_no_network_connection",),
    "a killed client takes its children with it": (
        "faults/test_delivery.py::test_long_training_has_no_hidden_limit",
        "faults/test_killed.py::test_client_killed_in_training_is_resumed_once",
        "faults/test_killed.py::test_client_ended_in_training_leaves_no_process",
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_has_tests_that_exist(rule: str) -> None:
    """Each rule has at least one test, and each test exists in its file."""
    assert RULES[rule]
    for reference in RULES[rule]:
        file, _, name = reference.partition("::")
        tree = ast.parse((_TESTS / file).read_text())
        tests = {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}
        assert name in tests, reference


def test_each_rule_has_at_most_60_characters() -> None:
    """A failure names the rule by its text, so the text is short."""
    assert [rule for rule in RULES if len(rule) > 60] == []


def test_no_rule_is_dropped() -> None:
    """A rule without an entry has no test that could fail, so this test counts the entries."""
    assert len(RULES) >= 34
