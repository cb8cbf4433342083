"""Shows the handling of ClientApps that raise, return no reply, cannot be loaded, or end their process.

Each such message gives one error. It names the fault and a reference to the details, and has no private value of the data
owner. The next message is answered, and the earlier state of the app is kept.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
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

from syft_flwr.errors import AppLoadError, RunError
from syft_flwr.fl_orchestrator import syftbox_flwr_server

OWNER, OTHER = OWNERS

#: For each behaviour of the app, the code of the error and the start of its reason.
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
def test_app_without_reply_gives_one_error(
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
    # The details stay in the data owner's log. The reference finds them there.
    assert SECRET not in reason_of(failed)
    reference = reason_of(failed).partition("(reference ")[2].split()[0]
    assert len([line for line in logged if reference in line and line.startswith("ERROR")]) == 1
    (again,) = federation.assert_served(OWNER)
    assert again["messages"] == 2


def test_traceback_is_sent_only_if_configured(tmp_path: Path, memory: MemoryStorage) -> None:
    with Federation(tmp_path / "homes", memory, [OWNER], options={OWNER: {"share_tracebacks": True}}) as federation:
        federation.start()
        (failed,) = federation.ask("raise_error")
        assert SECRET in reason_of(failed)


def test_failed_app_leaves_its_state_unchanged(federation: Federation) -> None:
    federation.start()
    (first,) = federation.assert_served(OWNER)
    reason_of(federation.ask("spoil_the_state", OWNER)[0])
    (second,) = federation.assert_served(OWNER)
    assert (first["messages"], second["messages"]) == (1, 2)


def test_dead_worker_gives_one_error_and_is_replaced(with_worker: Federation, logged: list[str]) -> None:
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


def test_worker_killed_while_idle_is_replaced(with_worker: Federation) -> None:
    with_worker.start()
    (before,) = with_worker.assert_served()
    os.kill(int(before["process"]), signal.SIGKILL)
    # The client runs in this process, and may have read the exit status already.
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, int(before["process"]), os.WEXITED | os.WNOWAIT)
    (after,) = with_worker.assert_served()
    assert after["messages"] == 2
    assert after["process"] != before["process"]


def test_dead_worker_leaves_no_child_process(with_worker: Federation) -> None:
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
def test_unloadable_app_ends_the_client_at_its_start(
    tmp_path: Path, folder_with_workers: FolderStorage, reference: str, reason: str
) -> None:
    with Federation(tmp_path / "homes", folder_with_workers, [OWNER], client_app=reference) as federation:
        federation[OWNER].start()
        with pytest.raises(AppLoadError, match="the ClientApp of faults cannot be loaded: ") as caught:
            federation[OWNER].join()
        assert reason in str(caught.value)
        # No participant saw it.
        assert not [name for name in folder_with_workers.names() if "heartbeat" in name]


def test_wrong_worker_command_is_named_before_the_app(tmp_path: Path, folder_with_workers: FolderStorage) -> None:
    wrong = {OWNER: {"worker_command": "no-such-program"}}
    with Federation(
        tmp_path / "homes", folder_with_workers, [OWNER], options=wrong, client_app="faultkit.app:client_app"
    ) as federation:
        federation[OWNER].start()
        with pytest.raises(AppLoadError, match="the worker command cannot be started: No such file") as caught:
            federation[OWNER].join()
        assert caught.value.hint.startswith("If SYFT_FLWR_WORKER_COMMAND is right, correct the app")


def test_app_that_breaks_later_fails_each_message(
    with_worker: Federation, breakable: Callable[[], None], logged: list[str]
) -> None:
    with_worker[OWNER].client_app = "breakable_app:client_app"
    with_worker.start()
    with_worker.assert_served()
    breakable()
    with_worker.ask("be_killed")
    (failed,) = with_worker.ask()
    expected = (
        f"{OWNER}: app-load: the ClientApp cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'"
    )
    assert reason_of(failed) == expected
    assert failed.error.code == ErrorCode.LOAD_CLIENT_APP_EXCEPTION
    assert with_worker[OWNER].is_running


def test_failing_server_app_is_logged_and_stops_all(federation: Federation, logged: list[str]) -> None:
    for email in OWNERS:
        federation[email].start()
    context = make_context(federation[OWNER].journal)
    returned = syftbox_flwr_server(server_app, context, OWNERS, federation.app, client=federation.participant)
    assert returned is context
    for email in OWNERS:
        federation[email].join()
    assert any("Traceback" in line and "the ServerApp was told to fail" in line for line in logged)


def test_raise_on_error_raises_the_app_error(federation: Federation) -> None:
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
