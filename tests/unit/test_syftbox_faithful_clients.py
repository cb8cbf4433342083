"""The faithful SyftBox emulator: clients that stop and start, subscriptions, and the command line."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from faithful_syftbox import BOX, DO, DS, OTHER, Machines, Start
from waiting import eventually

from syft_flwr.emulators.syftbox import How, SyftBoxNetwork, SyncSettings
from syft_flwr.emulators.syftbox.__main__ import main
from syft_flwr.emulators.syftbox.faithful import Window
from syft_flwr.emulators.syftbox.faithful.durations import Durations
from syft_flwr.emulators.syftbox.faithful.lives import LifeEndedError
from syft_flwr.emulators.syftbox.faithful.sync_cycle import MIN_FREE
from syft_flwr.errors import ConfigError, StoreError
from syft_flwr.locks import ProcessLock
from syft_flwr.transport._syftbox.daemon import runs_on
from syft_flwr.transport.syftbox import SyftBoxTransport

MESSAGE = f"{BOX}/a.request"
FILE = f"{BOX}/a.blob"


def test_all_times_scale_with_one_factor() -> None:
    real, fast = Durations(1.0), Durations(0.04)
    for name in ("cycle", "journaled", "ignored", "frame", "upload", "reply", "download", "put", "retry", "index"):
        assert getattr(fast, name) == pytest.approx(getattr(real, name) / 25)
    assert [real.reconnect(attempt) for attempt in range(5)] == [1, 2, 4, 8, 8]
    assert fast.reconnect(1) == pytest.approx(0.08)


def test_files_of_a_stopped_client_go_with_its_first_cycle(machines: Machines) -> None:
    machines.world.kill(DS)
    machines.put(DS, MESSAGE)
    assert not machines.world.is_up(DS)

    with machines.world.hold(DS, Window.AFTER_JOURNAL, wait=False) as held:
        machines.world.restart(DS, wait=False)
        held.wait()
        assert not machines.world.is_up(DS)
        machines.push(DO, f"{BOX}/b.response")
        assert not machines.has(DS, f"{BOX}/b.response")
        machines.is_stored(f"{BOX}/b.response")

    eventually(lambda: machines.world.is_up(DS), "the start of the client")
    machines.scan(DO)
    assert machines.has(DO, MESSAGE)
    machines.scan(DS)
    assert machines.has(DS, f"{BOX}/b.response")


def test_stopped_client_may_call_a_push_a_conflict(machines: Machines) -> None:
    machines.put(DS, MESSAGE)
    with machines.world.hold(DO, Window.PLACED, MESSAGE) as held:
        held.wait()
        machines.world.kill(DO)
    machines.is_stored(MESSAGE)

    machines.world.restart(DO)

    assert machines.has(DO, f"{BOX}/a.conflict.request")


def test_kill_in_a_cycle_leaves_the_journal(machines: Machines) -> None:
    machines.put(DO, FILE)
    with machines.world.hold(DO, Window.UPLOAD, FILE) as held:
        machines.world.set_automatic(True, DO)
        held.wait()
        machines.world.set_automatic(False, DO)
        machines.world.kill(DO)
    before = machines.world.journal(DO)

    assert FILE not in machines.world.stored()
    assert machines.world.restart(DO)
    assert before.items() <= machines.world.journal(DO).items()
    assert FILE in machines.world.stored()


def test_running_client_holds_the_lock_of_its_folder(machines: Machines) -> None:
    folder = machines.network[DO].data_dir
    assert runs_on(folder)

    machines.world.kill(DO)
    assert not runs_on(folder)
    machines.world.set_free_space(DO, MIN_FREE)
    assert not machines.world.restart(DO)
    assert not runs_on(folder)
    machines.world.set_free_space(DO, MIN_FREE + 1)
    assert machines.world.restart(DO)

    assert runs_on(folder)


def test_client_without_a_lock_leaves_its_folder(start_faithful: Start) -> None:
    machines = start_faithful(lock=False)

    assert not runs_on(machines.network[DO].data_dir)
    assert machines.network[DO].client_state.is_dir()


def test_locked_folder_ends_the_start_of_a_network(machines: Machines) -> None:
    machines.network.stop()
    before = set(threading.enumerate())
    with (
        ProcessLock(machines.network[DO].client_state / "syftbox.lock", "another client"),
        pytest.raises(StoreError, match=f"the SyftBox client of {DO} is already running"),
    ):
        machines.network.start()

    assert set(threading.enumerate()) <= before
    machines.network.start()
    assert runs_on(machines.network[DO].data_dir)


def test_large_push_that_was_lost_goes_with_a_cycle(machines: Machines) -> None:
    machines.network.link.drop = True
    with contextlib.closing(SyftBoxTransport(machines.network[DS].data_dir, DS)) as transport:
        transport.put(MESSAGE, bytes(40_000), readers=[DO])
        eventually(lambda: machines.is_journaled(DS, MESSAGE), "the push")
        machines.scan(DS)
        assert not machines.has(DS, MESSAGE)
        machines.network.link.drop = False

        transport.put(MESSAGE, bytes(40_000), readers=[DO])

    machines.network.settle()
    assert machines.has(DO, MESSAGE)
    assert [record.how for record in machines.network.traffic.records(MESSAGE)] == [How.SCAN]


def test_cut_connection_is_made_again(machines: Machines) -> None:
    with machines.network.link.outage(DO):
        machines.world.cut(DO)
        machines.push(DS, f"{BOX}/lost.request")
        machines.is_stored(f"{BOX}/lost.request")
    assert not machines.has(DO, f"{BOX}/lost.request")

    machines.connected(DO)
    machines.push(DS, MESSAGE)

    machines.arrives(DO, MESSAGE)


def test_stopped_client_makes_no_connection(machines: Machines) -> None:
    daemon = machines.world._daemon(DO)
    machines.world.kill(DO)
    before = set(threading.enumerate())

    with pytest.raises(LifeEndedError):
        daemon.connector.connect()

    assert set(threading.enumerate()) <= before
    assert DO not in [socket.email for socket in machines.world._server._open_sockets()]


def test_stop_ends_all_threads_also_held_ones(machines: Machines) -> None:
    # Without DS: a cycle would upload its file before the push.
    machines.world.set_automatic(True, DO, OTHER)
    with (
        machines.world.hold(DO, Window.AFTER_VIEW),
        machines.world.hold(DS, Window.FRAME) as frame,
        machines.world.hold(OTHER, Window.PUT) as put,
    ):
        machines.put(OTHER, f"{OTHER}/public/a.response")
        machines.put(DS, MESSAGE)
        frame.wait()
        put.wait()
        machines.network.stop()

        names = [thread.name for thread in threading.enumerate()]

    assert not [name for name in names if name.startswith("syftbox")]


def test_later_network_continues_from_the_stored_state(machines: Machines) -> None:
    machines.push(DS, MESSAGE)
    machines.network.settle()
    machines.network.stop()

    machines.network.start()

    assert machines.world.journal(DS)[MESSAGE]
    assert MESSAGE in machines.world.indexed()
    assert machines.network.scan() == 0


def test_default_subscription_blocks_all_others(start_faithful: Start) -> None:
    machines = start_faithful(subscriptions=True)
    machines.put(DO, f"{DO}/public/a.txt")
    machines.put(DO, MESSAGE)
    machines.put(OTHER, f"{BOX}/mine.request")
    machines.put(DS, f"{BOX}/sent.request")
    machines.network.settle()

    assert machines.has(DO, MESSAGE)
    assert machines.has(DS, f"{BOX}/syft.pub.yaml")
    assert not machines.has(DS, MESSAGE)
    assert not machines.has(DS, f"{DO}/public/a.txt")
    assert not machines.has(DS, f"{BOX}/sent.request")
    assert not machines.has(DO, f"{BOX}/sent.request")


@pytest.mark.parametrize(
    ("text", "arrives"),
    [
        ("version: 1\ndefaults: {action: allow}\n", True),
        (f"rules:\n- {{action: allow, datasite: '{DO}', path: 'box/*.request'}}\n", True),
        (f"rules:\n- {{action: allow, path: '{DO}/**'}}\n", True),
        (
            f"rules:\n- {{action: allow, path: '{DO}/**'}}\n- {{action: block, datasite: '{DO}', path: 'box/**'}}\n",
            False,
        ),
        (f"rules:\n- {{action: allow, path: '{DO}/**'}}\n- {{path: '{DO}/**'}}\n", True),
        ("defaults: {action: allow}\nrules:\n- {action: '', path: '**'}\n", False),
        ("defaults: {action: pause}\n", False),
        ("defaults: {action: nonsense}\n", False),
        ("[", False),
    ],
)
def test_subscription_decides_about_pushes(start_faithful: Start, text: str, arrives: bool) -> None:
    machines = start_faithful(subscriptions=True)
    (machines.network[DS].client_state / "syft.sub.yaml").write_text(text)
    machines.network.settle()
    machines.push(DO, MESSAGE)
    machines.is_stored(MESSAGE)

    machines.network.settle()

    assert machines.has(DS, MESSAGE) is arrives


def test_paused_files_stay_on_the_disk(start_faithful: Start) -> None:
    machines = start_faithful(subscriptions=True)
    (machines.network[DS].client_state / "syft.sub.yaml").write_text("defaults: {action: pause}\n")
    machines.put(DS, FILE)

    machines.scan(DS)

    assert machines.has(DS, FILE)
    assert FILE not in machines.world.stored()


def test_guarded_network_has_no_hooks(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not in faithful mode"):
        _ = SyftBoxNetwork(tmp_path, [DS], settings=SyncSettings()).faithful


def test_command_line_runs_a_faithful_network(tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "syft_flwr.emulators.syftbox", "--root", str(tmp_path), "--faithful", "--cycle", "0.1"),
        *("--email", DS, "--email", DO, "--store-delay", "0.01", "--uplink", f"{DS}=1000000", "--subscriptions"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "NO_COLOR": "1"})
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        assert re.search(r"SYFTBOX_CLIENT_CONFIG_PATH=", lines[0])
        (tmp_path / DO / "SyftBox" / "datasites" / DO / "public" / "a.txt").write_text("a")
        (tmp_path / DS / "SyftBox" / "datasites" / DO / "public").mkdir(parents=True, exist_ok=True)
        stored = tmp_path / ".server" / "blobs"
        eventually(lambda: any(path.read_bytes() == b"a" for path in list(stored.iterdir())), "the upload")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        process.stdout.close()


def test_options_of_faithful_mode_need_faithful_mode(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(tmp_path), "--email", DS, "--store-delay", "1"]) == 2
    assert "not in faithful mode" in capsys.readouterr().err


def test_uplink_of_an_unknown_client_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "network"
    with pytest.raises(SystemExit) as ended:
        main(["--root", str(root), "--email", DS, "--faithful", "--uplink", f"{DO}=1"])

    assert ended.value.code == 2
    assert f"no --email names '{DO}'" in capsys.readouterr().err
    assert not root.exists()
