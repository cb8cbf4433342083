"""Which test keeps which fault of earlier implementations from coming back.

The numbers are those of the list of faults that this project began with; what concerns Drive only is named as such.
"""

import ast
from pathlib import Path

import pytest

_TESTS = Path(__file__).parents[1]

#: The fault, in a few words, and the tests that fail where it is present.
ROWS: dict[int, tuple[str, tuple[str, ...]]] = {
    1: (
        "a request that is half there is parsed, refused and lost",
        (
            "faults/test_hostile_requests.py::test_a_torn_request_is_named_and_waited_for_and_answered_when_the_rest_comes",
        ),
    ),
    2: (
        "an answer that is half there is an error, and request and answer are deleted",
        ("faults/test_hostile_responses.py::test_a_torn_answer_is_named_and_waited_for_and_nothing_is_deleted",),
    ),
    3: (
        "without a peer's key, or with a changed one, the model goes out in the clear",
        (
            "faults/test_peers.py::test_to_a_peer_without_a_key_nothing_is_sent_and_the_others_do_not_wait",
            "faults/test_peers.py::test_a_changed_key_of_a_data_owner_stops_the_exchange_until_it_is_accepted",
            "faults/test_peers.py::test_a_card_that_cannot_be_read_stops_the_exchange_and_nothing_is_sent",
        ),
    ),
    4: (
        "what does not decrypt, or is plain text, is taken as it is",
        (
            "faults/test_hostile_requests.py::test_a_request_that_nobody_may_believe_is_named_and_not_run",
            "faults/test_hostile_requests.py::test_a_signed_request_in_plain_text_is_refused_with_the_setting_that_differs",
            "faults/test_hostile_requests.py::test_a_request_that_does_not_open_is_refused_and_no_log_shows_a_part_of_a_key",
            "faults/test_peers.py::test_encryption_on_one_side_only_is_an_error_on_both_that_names_the_setting",
        ),
    ),
    5: (
        "an outsider gets an answer, and can stop a data owner",
        (
            "faults/test_hostile_requests.py::test_a_request_that_nobody_may_believe_is_named_and_not_run",
            "faults/test_stop.py::test_a_stop_that_nobody_may_believe_ends_nothing_and_is_named",
        ),
    ),
    6: (
        "an answer of another node, run or question is believed",
        ("faults/test_hostile_responses.py::test_an_answer_that_nobody_may_believe_is_named_and_the_true_one_counts",),
    ),
    7: (
        "an answer after 15 minutes is refused and its files are gone",
        ("faults/test_delivery.py::test_training_may_take_longer_than_any_hidden_limit",),
    ),
    8: (
        "an error answer raises, and the whole time is waited out for it",
        (
            "faults/test_hostile_responses.py::test_an_authentic_answer_that_cannot_be_used_ends_the_wait_with_one_error",
            "faults/test_bad_apps.py::test_an_app_that_gives_no_reply_ends_as_one_error_and_goes_on",
        ),
    ),
    9: (
        "what cannot be sent, or read, vanishes from the count of a strategy",
        (
            "faults/test_delivery.py::test_what_cannot_be_written_is_an_error_and_the_others_get_theirs",
            "faults/test_delivery.py::test_a_request_that_the_sync_service_refuses_is_an_error_at_once",
            "faults/test_hostile_responses.py::test_an_authentic_answer_that_cannot_be_used_ends_the_wait_with_one_error",
        ),
    ),
    10: (
        "a ServerApp that raises looks like a success",
        (
            "faults/test_bad_apps.py::test_a_server_app_that_raises_is_logged_with_its_traceback_and_everybody_is_stopped",
            "faults/test_bad_apps.py::test_a_server_app_that_raises_never_looks_like_a_success_to_who_asks",
            "faults/test_killed.py::test_a_server_whose_app_fails_ends_with_an_error_and_stops_its_data_owners",
        ),
    ),
    11: (
        "a stop of another run, an old one or anybody's ends the client",
        (
            "faults/test_stop.py::test_a_stop_of_another_run_ends_nothing",
            "faults/test_stop.py::test_a_stop_that_nobody_may_believe_ends_nothing_and_is_named",
            "faults/test_stop.py::test_a_stop_that_lay_there_when_the_watcher_started_ends_nothing",
            "faults/test_stop.py::test_a_replayed_stop_ends_nothing",
        ),
    ),
    12: (
        "a restart trains every old request again, then stops",
        (
            "faults/test_restart.py::test_a_restarted_data_owner_answers_what_it_left_and_runs_nothing_again_that_it_answered",
            "faults/test_killed.py::test_a_watcher_that_is_killed_in_mid_training_takes_all_with_it_and_its_successor_answers_once",
            "faults/test_stop.py::test_what_a_stopped_run_left_in_the_backlog_is_not_run",
        ),
    ),
    13: (
        "requests that cannot be deleted pile up until a data owner is deaf",
        ("faults/test_hostile_requests.py::test_a_heap_of_files_that_nobody_takes_away_makes_no_data_owner_deaf",),
    ),
    14: (
        "an email with an underscore gets no messages",
        ("faults/test_delivery.py::test_every_email_that_is_allowed_is_a_datasite_of_its_own",),
    ),
    15: (
        "an email with an apostrophe breaks every look-up",
        ("faults/test_delivery.py::test_every_email_that_is_allowed_is_a_datasite_of_its_own",),
    ),
    17: (
        "after a restart of the aggregator its files stay for ever, and late answers are kept for ever",
        (
            "faults/test_restart.py::test_what_an_interrupted_aggregator_left_is_cleared_by_its_next_run",
            "faults/test_restart.py::test_an_answer_after_its_time_is_nobodys_and_leaves_no_file",
            "faults/test_restart.py::test_a_run_that_ends_leaves_no_file_of_answers_that_nobody_took",
        ),
    ),
    18: (
        "a client's failure is dropped, and a request that cannot be read gets no answer",
        (
            "faults/test_bad_apps.py::test_an_app_that_gives_no_reply_ends_as_one_error_and_goes_on",
            "faults/test_bad_apps.py::test_a_worker_that_dies_ends_as_one_error_and_a_fresh_one_goes_on",
            "faults/test_hostile_requests.py::test_an_authentic_request_that_cannot_be_read_is_answered_with_an_error",
        ),
    ),
    19: (
        "two emails share a node id, and one of them is dropped without a word",
        (
            "faults/test_delivery.py::test_every_email_that_is_allowed_is_a_datasite_of_its_own",
            "faults/test_bad_input.py::test_a_datasite_that_is_listed_twice_is_named_however_it_is_spelt",
        ),
    ),
    20: (
        "a run has several ids, and runs share one state",
        (
            "faults/test_footprint.py::test_a_run_has_one_id_everywhere_and_nothing_of_the_run_before_it",
            "faults/test_restart.py::test_what_the_app_remembers_survives_a_restart_and_is_not_of_the_next_run",
        ),
    ),
    21: (
        "part of the aggregator's email makes a server, and who is both can never be one",
        (
            "faults/test_bad_input.py::test_the_role_is_that_of_the_exact_email",
            "faults/test_delivery.py::test_a_data_scientist_may_be_a_datasite_of_its_own_run",
        ),
    ),
    22: (
        "the time limit that the user set is ignored, and no limit means two minutes",
        (
            "faults/test_delivery.py::test_the_time_that_the_user_set_counts_whatever_a_strategy_passes",
            "faults/test_delivery.py::test_an_aggregator_without_a_limit_waits_for_who_shows_life_and_gives_up_who_does_not",
        ),
    ),
    23: (
        "a message that comes while the backlog is drained is never handled",
        ("faults/test_restart.py::test_a_request_that_comes_while_the_backlog_is_looked_through_is_run",),
    ),
    24: (
        "training blocks the watcher, and a crash of the app ends it",
        (
            "faults/test_stop.py::test_a_stop_ends_watcher_and_worker_in_the_middle_of_training",
            "faults/test_bad_apps.py::test_a_worker_that_dies_ends_as_one_error_and_a_fresh_one_goes_on",
            "faults/test_bad_apps.py::test_a_worker_that_was_killed_between_two_messages_is_replaced_without_an_error",
        ),
    ),
    25: (
        "each look reads every request again",
        ("faults/test_footprint.py::test_a_file_is_read_once_however_often_one_looks",),
    ),
    26: (
        "a model is coated three times and written once for each data owner",
        ("faults/test_footprint.py::test_a_model_crosses_once_for_all_and_without_a_second_coating",),
    ),
    27: (
        "an unknown transport, or broken TOML, silently means SyftBox",
        (
            "faults/test_bad_input.py::test_an_unknown_transport_is_never_taken_for_syftbox",
            "faults/test_bad_input.py::test_an_unknown_transport_in_the_project_is_never_taken_for_syftbox",
            "faults/test_bad_input.py::test_broken_toml_is_never_taken_for_an_empty_file",
        ),
    ),
    28: (
        "two participants with one local part overwrite each other",
        ("faults/test_delivery.py::test_every_email_that_is_allowed_is_a_datasite_of_its_own",),
    ),
    29: (
        "simulations share a folder, drop sites, and leave processes behind",
        (
            "e2e/test_simulation.py::test_two_runs_of_one_project_at_once_do_not_meet",
            "e2e/test_simulation.py::test_the_number_of_paths_must_be_that_of_the_datasites",
            "e2e/test_simulation.py::test_a_signal_in_the_middle_leaves_no_process",
            "e2e/test_simulation.py::test_a_cancelled_task_is_over_when_every_process_is",
        ),
    ),
    30: (
        "an error carries values of patients, or a part of a key",
        (
            "faults/test_bad_apps.py::test_an_app_that_gives_no_reply_ends_as_one_error_and_goes_on",
            "faults/test_bad_apps.py::test_a_traceback_goes_to_the_aggregator_only_if_the_data_owner_says_so",
            "faults/test_hostile_requests.py::test_a_request_that_does_not_open_is_refused_and_no_log_shows_a_part_of_a_key",
        ),
    ),
    31: (
        "bootstrap wipes what is the user's, and takes a path for an email",
        (
            "faults/test_bad_input.py::test_a_bootstrap_keeps_what_is_the_users",
            "faults/test_bad_input.py::test_a_bootstrap_with_a_datasite_that_climbs_changes_nothing",
        ),
    ),
    32: (
        "a folder that all may write to, and a call that ends the notebook's kernel",
        (
            "faults/test_footprint.py::test_nobody_else_on_the_machine_may_write_to_what_is_ours_or_read_what_is_private",
            "faults/test_footprint.py::test_the_call_of_a_data_owner_returns_when_its_run_stops",
        ),
    ),
    33: (
        "every message asks a server on the internet for a key first",
        ("faults/test_footprint.py::test_a_run_opens_no_connection",),
    ),
    34: (
        "a client is killed after five minutes, and its children stay",
        (
            "faults/test_delivery.py::test_training_may_take_longer_than_any_hidden_limit",
            "faults/test_killed.py::test_a_watcher_that_is_killed_in_mid_training_takes_all_with_it_and_its_successor_answers_once",
            "faults/test_killed.py::test_a_watcher_that_is_asked_to_end_in_mid_training_ends_and_leaves_no_process",
        ),
    ),
}
#: A failed share of a Drive folder that is never tried again: there are no shares in a SyftBox.
DRIVE_ONLY = {16}


def test_every_fault_has_its_tests() -> None:
    assert ROWS.keys() | DRIVE_ONLY == set(range(1, 35))
    assert not ROWS.keys() & DRIVE_ONLY


@pytest.mark.parametrize("row", ROWS)
def test_the_tests_of_a_fault_are_there(row: int) -> None:
    _, references = ROWS[row]
    assert references
    for reference in references:
        file, _, name = reference.partition("::")
        tree = ast.parse((_TESTS / file).read_text())
        tests = {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}
        assert name in tests, reference
