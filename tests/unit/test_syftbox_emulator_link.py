"""The SyftBox emulator under bad conditions: delays, reordering, outages, restarts, and its command line."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from syft_flwr.emulators.syftbox import How, Link, SyftBoxNetwork, SyncOutcome, SyncSettings
from syft_flwr.errors import ConfigError, StoreError, TransportError
from syft_flwr.files import open_folder, write_in_folder
from syft_flwr.testing import FakeClock

DS, DO = "ds@x.org", "do@y.org"
SHARED = f"{DO}/public"
MANUAL = SyncSettings(scan_interval=3_600, debounce=0)
WRITABLE = "rules: [{pattern: '**', access: {write: ['*']}}]"


def build(root: Path, *, clock: FakeClock | None = None, link: Link | None = None) -> SyftBoxNetwork:
    """Return a network in which both participants can write to the data owner's public folder."""
    network = SyftBoxNetwork(root, (DS, DO), settings=MANUAL, clock=clock, link=link)
    (network[DO].datasite / "public" / "syft.pub.yaml").write_text(WRITABLE)
    return network


@pytest.fixture
def network(tmp_path: Path) -> Iterator[SyftBoxNetwork]:
    with build(tmp_path) as network:
        network.settle()
        yield network


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def slow(tmp_path: Path, clock: FakeClock) -> Iterator[SyftBoxNetwork]:
    """Return a network with a clock that only the test advances."""
    with build(tmp_path, clock=clock) as network:
        network.settle()
        yield network


def at(network: SyftBoxNetwork, email: str, name: str) -> Path:
    return network[email].datasites / name


def put(network: SyftBoxNetwork, email: str, name: str, data: bytes) -> None:
    *folders, leaf = name.split("/")
    with open_folder(network[email].datasites, folders, create_mode=0o755) as folder:
        write_in_folder(folder, leaf, data, mode=0o644)


def accepted(network: SyftBoxNetwork, name: str) -> bool:
    return network.traffic.wait_for(lambda each: (each.name, each.outcome) == (name, SyncOutcome.ACCEPTED))


def advance_until_delivered(network: SyftBoxNetwork, clock: FakeClock, name: str, step: float = 1.0) -> None:
    while not network.traffic.wait_for(lambda each: each.name == name and each.recipient == DO, 0.05):
        clock.advance(step)


def test_delayed_push_arrives_after_its_delay(slow: SyftBoxNetwork, clock: FakeClock) -> None:
    slow.link.delay = 5.0
    put(slow, DS, f"{SHARED}/1.request", b"x")
    assert accepted(slow, f"{SHARED}/1.request")
    assert slow.scan(DO) == 0, "the scan does not overtake the push"
    assert not at(slow, DO, f"{SHARED}/1.request").exists()
    advance_until_delivered(slow, clock, f"{SHARED}/1.request", 5.0)
    assert at(slow, DO, f"{SHARED}/1.request").read_bytes() == b"x"


def test_delay_can_depend_on_the_name(slow: SyftBoxNetwork, clock: FakeClock) -> None:
    slow.link.delay = lambda name: 10.0 if name.endswith(".blob") else 0.0
    put(slow, DS, f"{SHARED}/a.blob", b"blob")
    slow.scan(DS)
    put(slow, DS, f"{SHARED}/1.request", b"x")
    assert slow.traffic.wait_for(lambda each: (each.name, each.recipient) == (f"{SHARED}/1.request", DO))
    slow.scan(DO)
    assert not at(slow, DO, f"{SHARED}/a.blob").exists()
    clock.advance(10.0)
    slow.scan(DO)
    assert at(slow, DO, f"{SHARED}/a.blob").read_bytes() == b"blob"


def test_deletion_can_be_delayed(slow: SyftBoxNetwork, clock: FakeClock) -> None:
    put(slow, DS, f"{SHARED}/a", b"x")
    slow.settle()
    slow.link.delay = 5.0
    at(slow, DS, f"{SHARED}/a").unlink()
    slow.scan()
    assert at(slow, DO, f"{SHARED}/a").exists()
    clock.advance(5.0)
    slow.scan()
    assert not at(slow, DO, f"{SHARED}/a").exists()


def test_delay_does_not_hold_up_the_sender(slow: SyftBoxNetwork) -> None:
    slow.link.delay = 5.0
    put(slow, DS, f"{SHARED}/a.blob", b"x")
    slow.scan(DS)
    at(slow, DS, f"{SHARED}/a.blob").unlink()
    slow.scan(DS)
    assert slow.traffic.records(f"{SHARED}/a.blob", outcome=SyncOutcome.DELETED, sender=DS)


def test_replaced_push_is_not_delivered(slow: SyftBoxNetwork, clock: FakeClock) -> None:
    name = f"{SHARED}/1.request"
    slow.link.delay = 5.0
    for content in (b"old", b"newer"):
        put(slow, DS, name, content)
        slow.traffic.wait_for(lambda each, written=content: (each.name, each.size) == (name, len(written)))
    advance_until_delivered(slow, clock, name, 5.0)
    assert [record.size for record in slow.traffic.records(name, recipient=DO)] == [5]


def order_of_arrival(root: Path, seed: int | None) -> list[str]:
    clock = FakeClock()
    with build(root, clock=clock) as network:
        network.settle()
        network.link.delay = 1.0
        network.link.reorder(seed, spread=1.0)
        for number in range(12):
            put(network, DS, f"{SHARED}/{number:02}.request", b"x")
            assert accepted(network, f"{SHARED}/{number:02}.request")
        while len(network.traffic.records("*.request")) < 12:
            clock.advance(0.01)
            network.traffic.wait_for(lambda each: False, 0.001)
        return [record.name[-10:-8] for record in network.traffic.records("*.request")]


def test_reordering_repeats_for_the_same_seed(tmp_path: Path) -> None:
    orders = [order_of_arrival(tmp_path / str(run), seed) for run, seed in enumerate((7, 7, 8, None))]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert orders[3] == sorted(orders[3])
    assert sorted(orders[0]) == orders[3] != orders[0]


def test_changes_during_an_outage_are_scanned_later(network: SyftBoxNetwork) -> None:
    put(network, DS, f"{SHARED}/deleted.request", b"x")
    network.settle()
    with network.link.outage(DO):
        put(network, DS, f"{SHARED}/to.request", b"for the offline one")
        put(network, DO, f"{SHARED}/from.response", b"by the offline one")
        at(network, DS, f"{SHARED}/deleted.request").unlink()
        network.settle()
        assert not at(network, DO, f"{SHARED}/to.request").exists()
        assert not at(network, DS, f"{SHARED}/from.response").exists()
        assert at(network, DO, f"{SHARED}/deleted.request").exists()
    network.settle()
    assert at(network, DO, f"{SHARED}/to.request").read_bytes() == b"for the offline one"
    assert at(network, DS, f"{SHARED}/from.response").read_bytes() == b"by the offline one"
    assert not at(network, DO, f"{SHARED}/deleted.request").exists()
    assert network.traffic.records("*/to.request", recipient=DO)[0].how == How.SCAN
    assert network.traffic.records("*/from.response", recipient=DS)[0].how == How.SCAN


def test_changes_during_a_full_outage_are_scanned_later(network: SyftBoxNetwork) -> None:
    network.link.disconnect()
    put(network, DS, f"{SHARED}/1.request", b"x")
    network.settle()
    assert not network.traffic.records("*.request", outcome=None)
    network.link.connect()
    network.settle()
    assert [record.how for record in network.traffic.records("*.request")] == [How.SCAN]


def test_push_to_an_offline_peer_is_lost_and_scanned(slow: SyftBoxNetwork, clock: FakeClock) -> None:
    slow.link.delay = 1.0
    put(slow, DS, f"{SHARED}/1.request", b"x")
    assert accepted(slow, f"{SHARED}/1.request")
    with slow.link.outage(DO):
        clock.advance(1.0)
        slow.settle()
    assert not at(slow, DO, f"{SHARED}/1.request").exists()
    slow.settle()
    assert [record.how for record in slow.traffic.records("*.request")] == [How.SCAN]


def test_overlapping_outages_end_separately(network: SyftBoxNetwork) -> None:
    with network.link.outage(DO):
        with network.link.outage(DS):
            assert not network.link.is_online(DS)
        assert network.link.is_online(DS)
        assert not network.link.is_online(DO)


@pytest.mark.parametrize("drop", [True, lambda name: name.endswith(".request")])
def test_lost_push_is_synced_by_the_scan(network: SyftBoxNetwork, drop: bool) -> None:
    network.link.drop = drop
    put(network, DS, f"{SHARED}/1.request", b"x")
    network.settle()
    network.link.drop = False
    put(network, DS, f"{SHARED}/2.request", b"x")
    network.settle()
    assert [record.how for record in network.traffic.records("*/1.request")] == [How.SCAN]
    assert [record.how for record in network.traffic.records("*/2.request")] == [How.REALTIME]


def test_settle_handles_events_before_scanning(network: SyftBoxNetwork) -> None:
    # The function runs in the thread that handles the events, so it delays them.
    network.link.drop = lambda name: threading.Event().wait(0.2)
    put(network, DS, f"{SHARED}/1.request", b"x")
    network.settle()
    assert [record.how for record in network.traffic.records("*.request")] == [How.REALTIME]


def test_settle_raises_after_its_timeout(network: SyftBoxNetwork) -> None:
    network.link.delay = 60.0
    put(network, DS, f"{SHARED}/1.request", b"x")
    with pytest.raises(TransportError, match="under way"):
        network.settle(timeout=0.3)


def test_settle_waits_for_a_short_delay(network: SyftBoxNetwork) -> None:
    network.link.delay = 0.05
    put(network, DS, f"{SHARED}/a.blob", b"x")
    network.settle()
    assert at(network, DO, f"{SHARED}/a.blob").exists()


def test_stopped_network_syncs_nothing(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    network = build(tmp_path)
    with network:
        network.start()
        network.settle()
    network.stop()
    put(network, DS, f"{SHARED}/1.request", b"x")
    assert set(threading.enumerate()) <= before
    assert not at(network, DO, f"{SHARED}/1.request").exists()


@pytest.mark.parametrize("same_object", [True, False])
def test_restarted_network_continues(tmp_path: Path, same_object: bool) -> None:
    network = build(tmp_path)
    with network:
        for name in ("deleted", "changed", "kept"):
            put(network, DO, f"{SHARED}/{name}", b"before")
        network.settle()
    at(network, DO, f"{SHARED}/deleted").unlink()
    put(network, DO, f"{SHARED}/changed", b"after")
    put(network, DS, f"{SHARED}/new.request", b"written while it was stopped")
    network = network if same_object else build(tmp_path)
    with network:
        network.settle()
    assert not at(network, DS, f"{SHARED}/deleted").exists(), "a copy of a deleted file is not a new file"
    assert at(network, DS, f"{SHARED}/changed").read_bytes() == b"after"
    assert at(network, DO, f"{SHARED}/new.request").exists()
    assert not list(tmp_path.rglob("*.rejected*"))
    assert not list(tmp_path.rglob("*.conflict*"))


def test_killed_network_starts_from_its_folders(tmp_path: Path) -> None:
    with build(tmp_path) as network:
        put(network, DO, f"{SHARED}/a", b"x")
        put(network, DO, f"{DO}/secret", b"x")
        network.settle()
    (tmp_path / ".server" / "state.json").unlink()
    with build(tmp_path) as network:
        network.settle()
        assert at(network, DS, f"{SHARED}/a").exists()
        assert not network.traffic.records(outcome=SyncOutcome.REFUSED)
        blobs = {path.name for path in (tmp_path / ".server" / "blobs").iterdir()}
        assert len(blobs) == len(network._mode._server.dump())


@pytest.mark.parametrize("text", ["{", "[]", '{"versions": [{}], "journals": {}}', '{"versions": []}'])
def test_unreadable_state_file_error_names_it(tmp_path: Path, text: str) -> None:
    with build(tmp_path):
        pass
    (tmp_path / ".server" / "state.json").write_text(text)
    with pytest.raises(StoreError, match=r"state\.json"):
        build(tmp_path).start()


@pytest.mark.parametrize("emails", [[], [DS, DS.upper()], ["../x@y.org"], ["nobody"]])
def test_invalid_participants_are_refused(tmp_path: Path, emails: list[str]) -> None:
    with pytest.raises(ConfigError):
        SyftBoxNetwork(tmp_path, emails)
    assert not list(tmp_path.iterdir())


def test_traffic_counts_deliveries(network: SyftBoxNetwork) -> None:
    before = network.traffic.count(SyncOutcome.DELIVERED, How.REALTIME)
    for number in range(3):
        put(network, DS, f"{SHARED}/{number}.request", b"x")
    network.settle()
    assert network.traffic.count(SyncOutcome.DELIVERED, How.REALTIME) == before + 3
    assert network.traffic.count(SyncOutcome.DELIVERED) >= before + 3
    assert [record.recipient for record in network.traffic.records("*.request", sender=DS)] == [DO] * 3


def test_command_runs_until_it_is_stopped(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "syft_flwr.emulators.syftbox", "--root", str(tmp_path), "--debounce", "0"]
    process = subprocess.Popen([*command, "--email", DS, "--email", DO], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        configs = re.findall(r"SYFTBOX_CLIENT_CONFIG_PATH=(.*)\n", "".join(lines))
        assert [Path(path).is_file() for path in configs] == [True, True]
        assert lines[2].startswith("running")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.communicate()
    assert (tmp_path / ".server" / "state.json").exists()


def test_command_reports_an_invalid_email(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "syft_flwr.emulators.syftbox", "--root", str(tmp_path), "--email", "unknown"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "200"}, check=False)
    assert done.returncode == 2
    assert "'unknown' is not a valid email" in done.stderr
