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

#: Where SyftGrid behaves differently: a part of the failure, and the reason.
DIFFERENCES = {
    f"{_GRPC}test_set_run_rejects_non_run_type": ("TypeError not raised", "set_run takes the id of a run too"),
    f"{_MEMORY}test_set_run_rejects_non_run_type": (
        "run 61016 was started with",
        "set_run takes the id of a run too. Here it finds that the same run was set with another configuration",
    ),
    f"{_GRPC}test_send_and_receive_messages_timeout": (
        "1 != 0",
        "after a time-out, each message has an error as its reply",
    ),
    f"{_MEMORY}test_send_and_receive_messages_timeout": (
        "1 != 0",
        "after a time-out, each message has an error as its reply",
    ),
    f"{_MEMORY}test_send_and_receive_messages_complete": (
        "1 != 2",
        "each message has one reply. The storage of the test also has a reply to a message that was never sent",
    ),
}
_OWN_METADATA = (
    "the test compares all metadata, with a hash as the id of the reply. SyftGrid makes them from its own ids"
)
_OBJECTS = "the connection gives the objects of a reply one by one. SyftGrid returns a reply after all of them arrived"
_ROWS = "the test counts the rows of Flower's storage. SyftGrid has other files"
#: Tests that look at the metadata, the connection or the storage of Flower's grid: a part of the failure, and the reason.
INTERNALS = {
    f"{_GRPC}test_pull_messages_with_given_message_ids": ("-reply'", _OWN_METADATA),
    f"{_GRPC}test_send_and_receive_messages_complete": ("-reply'", _OWN_METADATA),
    f"{_GRPC}test_del_with_initialized_grid": (
        "Expected 'close' to have been called once",
        "the test looks at a gRPC channel. SyftGrid closes a transport only if it opened it",
    ),
    f"{_GRPC}test_simple_retry_mechanism_get_nodes": (
        "'_retry_invoker'",
        "the test repeats a gRPC call. SyftGrid knows its nodes without a call",
    ),
    f"{_GRPC}test_timeout_pulling_object_creates_message_with_error_0": ("pulls no objects", _OBJECTS),
    f"{_GRPC}test_timeout_pulling_object_creates_message_with_error_1": ("pulls no objects", _OBJECTS),
    f"{_MEMORY}test_message_store_consistency_after_push_pull_inmemory_state": ("", _ROWS),
    f"{_MEMORY}test_message_store_consistency_after_push_pull_sqlitestate": ("", _ROWS),
    f"{_MEMORY}test_set_run_rejects_missing_run": (
        "RuntimeError not raised",
        "the test looks up the run in Flower's storage. SyftGrid begins a run that it does not know",
    ),
    # Some releases only.
    f"{_GRPC}test_connect_adds_client_interceptor_when_token_is_set": ("", "the token of a gRPC connection"),
    f"{_GRPC}test_init_rejects_empty_token": ("", "the token of a gRPC connection"),
}
#: The tests that must pass, at least.
_PASSING = 103


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
    failed = {name: error for name, error in found.items() if error}
    known = {name: shown for name, (shown, _why) in (DIFFERENCES | INTERNALS).items() if name in found}
    output = done.stdout[-8000:] + done.stderr[-2000:]
    assert failed.keys() == known.keys(), output
    assert {name: error for name, error in failed.items() if known[name] not in error} == {}
    assert len(found) - len(failed) >= _PASSING, output
