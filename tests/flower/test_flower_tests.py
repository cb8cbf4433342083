"""Flower's own tests of grids, proxies and strategies pass over SyftGrid, except those of the tables below."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
_PARTS = ("server/grid", "server/compat", "serverapp/strategy", "server/strategy")
_GRPC = "server/grid/grpc_grid_test.py::TestGrpcGrid::"
_MEMORY = "server/grid/inmemory_grid_test.py::TestInMemoryGrid::"

#: Where SyftGrid behaves differently, and why.
DIFFERENCES = {
    f"{_GRPC}test_set_run_rejects_non_run_type": "set_run takes the id of a run too",
    f"{_MEMORY}test_set_run_rejects_non_run_type": "set_run takes the id of a run too",
    f"{_GRPC}test_send_and_receive_messages_timeout": "after a time-out, each message has an error as its reply",
}
#: Tests that look at the connection or at the storage of Flower's grid; SyftGrid has neither.
INTERNALS = {
    f"{_GRPC}{name}"
    for name in (
        "test_connect_adds_client_interceptor_when_token_is_set",
        "test_del_with_initialized_grid",
        "test_get_nodes",
        "test_init_rejects_empty_token",
        "test_pull_messages_with_given_message_ids",
        "test_push_messages_valid",
        "test_send_and_receive_messages_complete",
        "test_timeout_pulling_object_creates_message_with_error_0",
        "test_timeout_pulling_object_creates_message_with_error_1",
    )
} | {
    f"{_MEMORY}{name}"
    for name in (
        "test_message_store_consistency_after_push_pull_inmemory_state",
        "test_message_store_consistency_after_push_pull_sqlitestate",
        "test_pull_messages_with_given_message_ids",
        "test_push_messages_valid",
        "test_send_and_receive_messages_complete",
        "test_send_and_receive_messages_timeout",
        "test_set_run_rejects_missing_run",
    )
}


@pytest.mark.timeout(600)
def test_flower_tests_pass_except_the_known_differences(flower_source: Path, tmp_path: Path) -> None:
    pytest.importorskip("parameterized", reason="Flower's tests need it; use `make test-flower`")
    tests = flower_source / "framework" / "py"
    outcomes = tmp_path / "outcomes.json"
    settings = tmp_path / "pytest.ini"
    settings.write_text("[pytest]\npython_files = none\n")
    options = ["-c", str(settings), "--rootdir", str(tests), "--noconftest", "--import-mode=importlib", "-q"]
    plugins = ["-p", "flowerkit.flower_tests", "-p", "no:cacheprovider", "-p", "no:warnings"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *plugins, *(str(tests / "flwr" / part) for part in _PARTS)],
        env=os.environ
        | {"FLOWER_TESTS": str(tests), "FLOWER_OUTCOMES": str(outcomes), "PYTHONPATH": str(_HERE)}
        | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )

    found = json.loads(outcomes.read_text()) if outcomes.is_file() else {}
    failed = {name for name, outcome in found.items() if outcome != "passed"}
    assert failed == set(DIFFERENCES) | INTERNALS, done.stdout[-8000:] + done.stderr[-2000:]
    assert len(found) - len(failed) >= 100
