"""ClientApps that raise, return what is no reply, cannot be loaded, or take their process with them.

Each message ends in one error that says what the app did and where its details are, without a value of the data
owner's; the next message is answered, and what the app had remembered before is still there.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from faultkit.app import SECRET, server_app
from faultkit.federation import (
    OWNERS,
    Federation,
    answer_of,
    make_context,
    reason_of,
)
from faultkit.storage import FolderStorage, MemoryStorage
from flwr.common.constant import ErrorCode
from waiting import eventually

from syft_flwr.errors import RunError
from syft_flwr.fl_orchestrator import syftbox_flwr_server

OWNER, OTHER = OWNERS

#: What the app does, the code of the error, and its reason.
IN_PROCESS = {
    "raise_error": (ErrorCode.CLIENT_APP_RAISED_EXCEPTION, "app-raised: the ClientApp raised ValueError"),
    "return_nothing": (ErrorCode.CLIENT_APP_RAISED_EXCEPTION, "app-raised: the ClientApp returned NoneType instead of"),
    "return_records": (ErrorCode.CLIENT_APP_RAISED_EXCEPTION, "app-raised: the ClientApp returned RecordDict instead"),
}
FATAL = {
    "exit_the_interpreter": "worker-died: the ClientApp's process ended in the middle of the message (exit status 3)",
    "exit_at_once": "worker-died: the ClientApp's process ended in the middle of the message (exit status 3)",
    "read_address_zero": "worker-died: the ClientApp's process ended in the middle of the message (signal SIGSEGV)",
    "be_killed": "worker-died: the ClientApp's process ended in the middle of the message (signal SIGKILL)",
}


@pytest.fixture
def federation(tmp_path: Path, memory: MemoryStorage) -> Iterator[Federation]:
    with Federation(tmp_path / "homes", memory) as federation:
        yield federation


@pytest.fixture
def with_worker(tmp_path: Path, folder_with_workers: FolderStorage) -> Iterator[Federation]:
    with Federation(tmp_path / "homes", folder_with_workers, [OWNER]) as federation:
        yield federation


@pytest.mark.parametrize("behaviour", IN_PROCESS)
def test_an_app_that_gives_no_reply_ends_as_one_error_and_goes_on(
    federation: Federation, memory: MemoryStorage, logged: list[str], behaviour: str
) -> None:
    code, reason = IN_PROCESS[behaviour]
    federation.start()
    federation.assert_served()
    failed, answered = federation.exchange(
        [*federation.messages(behaviour, OWNER), *federation.messages("answer", OTHER)], timeout=10
    )
    assert answer_of(answered)
    assert reason_of(failed).startswith(f"{OWNER}: {reason}")
    assert failed.error.code == code
    # The details stay in the data owner's log, where the reference finds them.
    assert SECRET not in reason_of(failed)
    reference = reason_of(failed).partition("(reference ")[2].split()[0]
    assert len([line for line in logged if reference in line and line.startswith("ERROR")]) == 1
    (again,) = federation.assert_served(OWNER)
    assert again["messages"] == 2


def test_a_traceback_goes_to_the_aggregator_only_if_the_data_owner_says_so(
    tmp_path: Path, memory: MemoryStorage
) -> None:
    with Federation(tmp_path / "homes", memory, [OWNER], options={OWNER: {"share_tracebacks": True}}) as federation:
        federation.start()
        (failed,) = federation.ask("raise_error")
        assert SECRET in reason_of(failed)


def test_what_an_app_did_to_its_state_before_it_failed_is_forgotten(federation: Federation) -> None:
    federation.start()
    (first,) = federation.assert_served(OWNER)
    reason_of(federation.ask("spoil_the_state", OWNER)[0])
    (second,) = federation.assert_served(OWNER)
    assert (first["messages"], second["messages"]) == (1, 2)


def test_a_worker_that_dies_ends_as_one_error_and_a_fresh_one_goes_on(
    with_worker: Federation, logged: list[str]
) -> None:
    with_worker.start()
    (before,) = with_worker.assert_served()
    process = before["process"]
    for deaths, (behaviour, reason) in enumerate(FATAL.items(), start=1):
        (failed,) = with_worker.ask(behaviour)
        assert reason_of(failed) == f"{OWNER}: {reason}"
        assert failed.error.code == ErrorCode.CLIENT_APP_CRASHED
        assert not psutil.pid_exists(process)
        (after,) = with_worker.assert_served()
        assert after["process"] != process
        assert after["messages"] == 1 + deaths
        process = after["process"]
    assert len([line for line in logged if line.startswith("ERROR the worker died on message")]) == len(FATAL)


def test_a_worker_that_was_killed_between_two_messages_is_replaced_without_an_error(with_worker: Federation) -> None:
    with_worker.start()
    (before,) = with_worker.assert_served()
    os.kill(int(before["process"]), signal.SIGKILL)
    # Its exit status is for the watcher, which is in this process and may have taken it already.
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, int(before["process"]), os.WEXITED | os.WNOWAIT)
    (after,) = with_worker.assert_served()
    assert after["messages"] == 2
    assert after["process"] != before["process"]


def test_a_worker_that_died_leaves_no_process_of_its_own_behind(with_worker: Federation) -> None:
    with_worker.start()
    (message_id,) = with_worker.push("never_end_the_first_time")
    journal = with_worker[OWNER].journal
    worker = psutil.Process(journal.wait_for_call(message_id)["process"])
    children = eventually(worker.children, "the process that the app started")
    worker.kill()
    (failed,) = with_worker.pull([message_id])
    assert "signal SIGKILL" in reason_of(failed)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("faultkit.missing:client_app", "faultkit.missing"),
        ("faultkit.app:missing", "missing"),
        ("faultkit.app:no_app", "faultkit.app:no_app is a str, not a flwr ClientApp"),
        ("no reference", "no reference"),
    ],
)
def test_an_app_that_cannot_be_loaded_is_named_in_the_error_and_the_watcher_goes_on(
    tmp_path: Path, folder_with_workers: FolderStorage, reference: str, reason: str
) -> None:
    with Federation(tmp_path / "homes", folder_with_workers, [OWNER], client_app=reference) as federation:
        federation.start()
        (failed,) = federation.ask()
        assert reason_of(failed).startswith(f"{OWNER}: app-load: the ClientApp cannot be loaded")
        assert reason in reason_of(failed)
        assert failed.error.code == ErrorCode.LOAD_CLIENT_APP_EXCEPTION
        assert federation[OWNER].is_running


def test_a_server_app_that_raises_is_logged_with_its_traceback_and_everybody_is_stopped(
    federation: Federation, logged: list[str]
) -> None:
    for email in OWNERS:
        federation[email].start()
    context = make_context(federation[OWNER].journal)
    returned = syftbox_flwr_server(server_app, context, OWNERS, federation.app, client=federation.participant)
    assert returned is context
    for email in OWNERS:
        federation[email].join()
    assert any("Traceback" in line and "the ServerApp was told to fail" in line for line in logged)


def test_a_server_app_that_raises_never_looks_like_a_success_to_who_asks(federation: Federation) -> None:
    for email in OWNERS:
        federation[email].start()
    with pytest.raises(RunError, match="the ServerApp raised RuntimeError: the ServerApp was told to fail"):
        syftbox_flwr_server(
            server_app,
            make_context(federation[OWNER].journal),
            OWNERS,
            federation.app,
            client=federation.participant,
            raise_on_error=True,
        )
    for email in OWNERS:
        federation[email].join()
