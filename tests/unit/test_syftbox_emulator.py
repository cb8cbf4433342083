"""The SyftBox emulator over real folders: which files it syncs, when and to which participants, and which it refuses."""

import json
import os
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from syft_flwr.emulators.syftbox import How, Record, SyftBoxNetwork, SyncOutcome, SyncSettings
from syft_flwr.emulators.syftbox.sync_names import is_ignored
from syft_flwr.files import open_folder, write_in_folder
from syft_flwr.testing import FakeClock

DS, DO, OTHER = "ds@x.org", "do@y.org", "other@z.org"
RPC = f"{DO}/app_data/flwr/app/rpc"
INBOX = f"{RPC}/messages/{DS}"
GRANT = """
rules:
- pattern: '**/{{.UserEmail}}/*.request'
  access: {read: [USER], write: [USER]}
- pattern: '**/{{.UserEmail}}/*.response'
  access: {read: [USER], write: [USER]}
"""
# The scan runs only if the test starts it, and write events are handled without a delay.
MANUAL = SyncSettings(scan_interval=3_600, debounce=0)

Start = Callable[..., SyftBoxNetwork]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a network of three participants, in which the data owner has an inbox."""
    networks: list[SyftBoxNetwork] = []

    def _start(settings: SyncSettings = MANUAL, **options: object) -> SyftBoxNetwork:
        network = SyftBoxNetwork(tmp_path, (DS, DO, OTHER), settings=settings, **options)  # type: ignore[arg-type]
        networks.append(network)
        put(network, DO, f"{RPC}/syft.pub.yaml", GRANT)
        for email in (DS, DO, OTHER):
            (network[email].datasites / INBOX).mkdir(parents=True, exist_ok=True)
        network.start()
        return network

    yield _start
    for network in networks:
        network.stop()


@pytest.fixture
def network(start: Start) -> SyftBoxNetwork:
    return start()


def at(network: SyftBoxNetwork, email: str, name: str) -> Path:
    return network[email].datasites / name


def put(network: SyftBoxNetwork, email: str, name: str, data: bytes | str) -> None:
    """Write as the package does: a temporary name, a rename, then a write event on the final name."""
    *folders, leaf = name.split("/")
    with open_folder(network[email].datasites, folders, create_mode=0o755) as folder:
        write_in_folder(folder, leaf, data.encode() if isinstance(data, str) else data, mode=0o644)


def arrived(network: SyftBoxNetwork, name: str, recipient: str) -> bool:
    return network.traffic.wait_for(
        lambda each: (each.name, each.recipient, each.outcome) == (name, recipient, SyncOutcome.DELIVERED)
    )


def send_canary(network: SyftBoxNetwork, number: int = 0) -> None:
    """Send a request and wait until it is pushed.

    The emulator handles write events in order, so afterwards it has handled all earlier ones of the data scientist.
    """
    name = f"{INBOX}/canary{number}.request"
    put(network, DS, name, b"canary")
    assert arrived(network, name, DO)


def how(network: SyftBoxNetwork, name: str, recipient: str) -> list[How]:
    return [record.how for record in network.traffic.records(name, recipient=recipient)]


def test_participant_has_a_config_and_a_datasite(network: SyftBoxNetwork) -> None:
    participant = network[DS]
    config = json.loads(participant.config_path.read_text())
    assert set(config) == {"data_dir", "email", "server_url", "client_url", "client_token", "refresh_token"}
    assert (config["email"], config["data_dir"]) == (DS, str(participant.data_dir))
    assert participant.environment == {"SYFTBOX_CLIENT_CONFIG_PATH": str(participant.config_path)}
    assert participant.config_path.stat().st_mode & 0o777 == 0o600
    put(network, DS, f"{DS}/secret.txt", b"secret")
    put(network, DS, f"{DS}/public/hello.txt", b"hello")
    network.settle()
    assert at(network, DO, f"{DS}/public/hello.txt").read_bytes() == b"hello"
    assert not at(network, DO, f"{DS}/secret.txt").exists()


def test_existing_permission_file_is_kept(tmp_path: Path) -> None:
    public = SyftBoxNetwork(tmp_path, [DS])[DS].datasite / "public" / "syft.pub.yaml"
    public.write_text("rules: []")
    SyftBoxNetwork(tmp_path, [DS])
    assert public.read_text() == "rules: []"


def test_request_and_response_are_pushed_at_once(network: SyftBoxNetwork) -> None:
    put(network, DS, f"{INBOX}/1.request", b"question")
    assert arrived(network, f"{INBOX}/1.request", DO)
    put(network, DO, f"{INBOX}/1.response", b"answer")
    assert arrived(network, f"{INBOX}/1.response", DS)
    assert at(network, DO, f"{INBOX}/1.request").read_bytes() == b"question"
    assert at(network, DS, f"{INBOX}/1.response").read_bytes() == b"answer"
    assert network.traffic.records(f"{INBOX}/1.*") == [
        Record(f"{INBOX}/1.request", 8, DS, DO, How.REALTIME, SyncOutcome.DELIVERED),
        Record(f"{INBOX}/1.response", 6, DO, DS, How.REALTIME, SyncOutcome.DELIVERED),
    ]
    assert at(network, DO, f"{INBOX}/1.request").stat().st_mode & 0o777 == 0o644
    assert not list(network[OTHER].datasites.rglob("1.*")), "no third participant gets the files"


@pytest.mark.parametrize("watched", [True, False])
def test_renamed_file_waits_for_the_scan(network: SyftBoxNetwork, watched: bool) -> None:
    temporary = at(network, DS, f"{INBOX}/x.tmp") if watched else network[DS].home / "x"
    temporary.write_bytes(b"question")
    temporary.rename(at(network, DS, f"{INBOX}/1.request"))
    send_canary(network)
    assert not network.traffic.records(f"{INBOX}/1.request")
    network.settle()
    assert how(network, f"{INBOX}/1.request", DO) == [How.SCAN]


def test_large_file_waits_for_the_scan(start: Start) -> None:
    network = start(SyncSettings(scan_interval=3_600, debounce=0, realtime_limit=1_000))
    put(network, DS, f"{INBOX}/big.request", bytes(1_001))
    put(network, DS, f"{INBOX}/fits.request", bytes(1_000))
    send_canary(network)
    assert how(network, f"{INBOX}/fits.request", DO) == [How.REALTIME]
    assert not network.traffic.records(f"{INBOX}/big.request")
    network.settle()
    assert how(network, f"{INBOX}/big.request", DO) == [How.SCAN]


def test_realtime_limit_is_four_mebibytes() -> None:
    assert SyncSettings().realtime_limit == 4 * 1024 * 1024


def test_other_files_wait_for_the_scan(network: SyftBoxNetwork) -> None:
    put(network, DS, f"{DS}/public/a.blob", b"blob")
    send_canary(network)
    assert not network.traffic.records(f"{DS}/public/a.blob")
    network.settle()
    assert how(network, f"{DS}/public/a.blob", DO) == [How.SCAN]
    assert how(network, f"{DS}/public/a.blob", OTHER) == [How.SCAN]


def test_scan_runs_periodically(start: Start) -> None:
    network = start(SyncSettings(scan_interval=0.05))
    put(network, DS, f"{DS}/public/a.blob", b"blob")
    assert arrived(network, f"{DS}/public/a.blob", DO)


def test_permission_files_can_be_pushed_at_once(start: Start) -> None:
    network = start(SyncSettings(scan_interval=3_600, debounce=0, realtime=("*.request", "syft.pub.yaml")))
    name = f"{DS}/public/syft.pub.yaml"
    put(network, DS, name, "rules: []")
    assert network.traffic.wait_for(lambda each: (each.name, each.how) == (name, How.REALTIME))
    put(network, DS, f"{DS}/public/a.request", b"now private")
    send_canary(network)
    assert not network.traffic.records(f"{DS}/public/a.request")


@pytest.mark.parametrize("name", ["a.tmp", "a.log", "a.rejected.request", "dist/a", ".syftkeep", "x/venv/b"])
def test_ignored_names_are_not_synced(network: SyftBoxNetwork, name: str) -> None:
    at(network, DS, f"{DS}/public/{name}").parent.mkdir(parents=True, exist_ok=True)
    at(network, DS, f"{DS}/public/{name}").write_bytes(b"x")
    put(network, DS, f"{DS}/public/carried", b"x")
    network.settle()
    assert at(network, DO, f"{DS}/public/carried").exists()
    assert not at(network, DO, f"{DS}/public/{name}").exists()


def test_empty_file_is_not_synced(network: SyftBoxNetwork) -> None:
    put(network, DS, f"{DS}/public/a", b"content")
    at(network, DS, f"{DS}/public/empty").touch()
    network.settle()
    at(network, DS, f"{DS}/public/a").write_bytes(b"")
    network.settle()
    assert at(network, DO, f"{DS}/public/a").read_bytes() == b"content"
    assert not at(network, DO, f"{DS}/public/empty").exists()


def test_links_are_not_followed_when_sending(network: SyftBoxNetwork, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.request").write_bytes(b"secret")
    public = at(network, DS, f"{DS}/public")
    (public / "link.request").symlink_to(outside / "secret.request")
    (public / "folder").symlink_to(outside)
    (outside / "secret.request").write_bytes(b"changed")
    network.settle()
    assert not list(network[DO].datasites.rglob("*secret*"))
    assert not at(network, DO, f"{DS}/public/link.request").exists()


def test_links_are_not_followed_when_receiving(network: SyftBoxNetwork, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    at(network, DO, f"{DS}/public/trap").parent.mkdir(parents=True, exist_ok=True)
    at(network, DO, f"{DS}/public/trap").symlink_to(outside)
    put(network, DS, f"{DS}/public/trap/a.request", b"scan")
    network.settle()
    put(network, DS, f"{DS}/public/trap/b.request", b"real time")
    send_canary(network)
    assert not list(outside.iterdir())
    assert at(network, OTHER, f"{DS}/public/trap/b.request").exists(), "other participants still get the file"


class Events(FileSystemEventHandler):
    """Collects the file system events at the receiver."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.names: set[str] = set()

    def dispatch(self, event: FileSystemEvent) -> None:
        paths = [os.fsdecode(path) for path in (event.src_path, event.dest_path) if path and not event.is_directory]
        self.names.update(Path(path).name for path in paths)
        self.seen += [(event.event_type, Path(path).name) for path in paths[-1:]]


@pytest.mark.parametrize(("apart", "expected"), [(False, "moved"), (True, "created")])
@pytest.mark.parametrize("name", ["1.request", "a.txt"])
def test_received_file_is_moved_into_place_whole(start: Start, apart: bool, expected: str, name: str) -> None:
    network = start(SyncSettings(scan_interval=3_600, debounce=0, stage_apart=apart))
    events, observer = Events(), Observer()
    at(network, DO, f"{DS}/public").mkdir(parents=True, exist_ok=True)
    observer.schedule(events, str(at(network, DO, f"{DS}/public")))
    observer.start()
    try:
        put(network, DS, f"{DS}/public/{name}", bytes(100_000))
        network.settle()
        at(network, DO, f"{DS}/public/last").touch()
        while not any(leaf == "last" for _, leaf in events.seen):
            threading.Event().wait(0.005)
    finally:
        observer.stop()
        observer.join()
    # The emulator itself opens the file to check its content.
    kinds = {kind for kind, leaf in events.seen if leaf == name} - {"opened", "closed_no_write"}
    assert kinds == {expected}
    assert all(is_ignored(each) for each in events.names if each.startswith(name) and each != name)


def test_slow_write_is_sent_partly_then_complete(network: SyftBoxNetwork) -> None:
    name = f"{INBOX}/slow.request"
    with at(network, DS, name).open("wb", buffering=0) as file:
        file.write(b"first half, ")
        assert arrived(network, name, DO)
        assert at(network, DO, name).read_bytes() == b"first half, "
        file.write(b"second half")
    assert network.traffic.wait_for(lambda each: (each.name, each.size, each.recipient) == (name, 23, DO))
    assert at(network, DO, name).read_bytes() == b"first half, second half"


def test_debounced_file_is_sent_when_writes_pause(start: Start) -> None:
    clock = FakeClock()
    network = start(SyncSettings(scan_interval=3_600, debounce=0.05), clock=clock)
    name = f"{INBOX}/slow.request"
    with at(network, DS, name).open("wb", buffering=0) as file:
        for part in (b"one ", b"two ", b"three"):
            file.write(part)
            network._mode._watcher.flush(5)
            clock.advance(0.03)
    while not network.traffic.wait_for(lambda each: each.recipient == DO and each.name == name, 0.05):
        clock.advance(0.03)
    assert [record.size for record in network.traffic.records(name, recipient=DO)] == [13]


def test_unchanged_content_is_not_sent_again(network: SyftBoxNetwork) -> None:
    for _ in range(3):
        put(network, DS, f"{INBOX}/1.request", b"question")
    send_canary(network)
    network.settle()
    assert len(how(network, f"{INBOX}/1.request", DO)) == 1


def test_push_after_a_scan_changes_nothing(network: SyftBoxNetwork) -> None:
    name = f"{INBOX}/1.request"
    put(network, DS, name, b"question")
    network.settle()
    inode = at(network, DO, name).stat().st_ino
    version = network._mode._server.visible(DO, name)
    assert version is not None
    network._mode._pushes[DO].receive(version)
    assert at(network, DO, name).stat().st_ino == inode
    assert len(how(network, name, DO)) == 1


def test_old_content_does_not_replace_newer_content(start: Start) -> None:
    clock = FakeClock()
    network = start(clock=clock)
    name = f"{INBOX}/1.request"
    put(network, DS, name, b"old")
    network.settle()
    network.link.delay = 5.0
    put(network, DO, name, b"newer")
    assert network.traffic.wait_for(lambda each: (each.sender, each.size) == (DO, 5))
    put(network, DS, name, b"old")
    network.link.delay = 0.0
    send_canary(network)
    while not network.traffic.wait_for(lambda each: (each.recipient, each.size) == (DS, 5), 0.05):
        clock.advance(5.0)
    assert at(network, DS, name).read_bytes() == b"newer"
    assert at(network, DO, name).read_bytes() == b"newer"


def test_refused_request_is_set_aside(network: SyftBoxNetwork) -> None:
    name = f"{RPC}/messages/{OTHER}/1.request"
    at(network, DS, name).parent.mkdir(parents=True)
    send_canary(network)
    put(network, DS, name, b"in another's name")
    assert network.traffic.wait_for(lambda each: (each.name, each.outcome) == (name, SyncOutcome.REFUSED))
    network.settle()
    assert [path.name for path in at(network, DS, name).parent.iterdir()] == ["1.rejected.request"]
    assert not at(network, DO, name).exists()


def test_refused_edit_is_set_aside_and_undone(network: SyftBoxNetwork) -> None:
    name = f"{DO}/public/data.csv"
    put(network, DO, name, b"original")
    network.settle()
    put(network, DS, name, b"vandalised")
    network.settle()
    assert at(network, DS, f"{DO}/public/data.rejected.csv").read_bytes() == b"vandalised"
    assert at(network, DS, name).read_bytes() == b"original"
    assert at(network, DO, name).read_bytes() == b"original"
    assert [each.how for each in network.traffic.records(name, outcome=SyncOutcome.REFUSED, sender=DS)] == [How.SCAN]


def test_refused_name_waits_for_removal_of_its_marker(network: SyftBoxNetwork) -> None:
    name, marker = f"{DO}/public/a.request", f"{DO}/public/a.rejected.request"
    put(network, DS, name, b"first")
    network.settle()
    put(network, DO, f"{DO}/public/syft.pub.yaml", "rules: [{pattern: '**', access: {write: ['*']}}]")
    put(network, DS, name, b"second")
    network.settle()
    assert at(network, DS, marker).read_bytes() == b"first"
    assert not at(network, DO, name).exists()
    at(network, DS, marker).unlink()
    network.settle()
    assert at(network, DO, name).read_bytes() == b"second"


def test_only_admins_write_permission_files(network: SyftBoxNetwork) -> None:
    name = f"{DO}/shared/syft.pub.yaml"
    rules = "rules: [{pattern: '**', access: {write: ['%s'], admin: ['%s']}}]"
    put(network, DO, name, rules % (DS, OTHER))
    network.settle()
    put(network, DS, name, PUBLIC_TO_DS)
    network.settle()
    assert at(network, DS, f"{DO}/shared/syft.pub.rejected.yaml").exists()
    put(network, OTHER, name, PUBLIC_TO_DS)
    network.settle()
    assert at(network, DO, name).read_text() == PUBLIC_TO_DS


PUBLIC_TO_DS = "rules: [{pattern: '**', access: {read: ['*'], write: ['%s']}}]" % DS  # noqa: UP031


def test_broken_permission_file_keeps_the_old_rules(network: SyftBoxNetwork) -> None:
    put(network, DO, f"{DO}/public/syft.pub.yaml", "rules: [{pattern: '**', access: {read: anyone}}]")
    network.settle()
    put(network, DO, f"{DO}/public/a", b"still public")
    network.settle()
    assert at(network, DS, f"{DO}/public/a").exists()


def test_revoked_reader_loses_the_copy(network: SyftBoxNetwork) -> None:
    put(network, DO, f"{DO}/public/a", b"public")
    network.settle()
    put(network, DO, f"{DO}/public/syft.pub.yaml", "rules: [{pattern: '**', access: {read: ['%s']}}]" % OTHER)  # noqa: UP031
    network.settle()
    assert not at(network, DS, f"{DO}/public/a").exists()
    assert at(network, OTHER, f"{DO}/public/a").exists()


@pytest.mark.parametrize("name", ["loose.txt", "no-datasite/a.request", "stranger@q.org/a.request"])
def test_file_outside_a_datasite_is_set_aside(network: SyftBoxNetwork, name: str) -> None:
    put(network, DS, name, b"x")
    network.settle()
    stem, _, suffix = name.rpartition(".")
    assert at(network, DS, f"{stem}.rejected.{suffix}").exists()
    assert not at(network, DS, name).exists()


def test_owners_deletion_reaches_readers_by_scan(network: SyftBoxNetwork) -> None:
    put(network, DS, f"{DS}/public/a.request", b"x")
    network.settle()
    at(network, DS, f"{DS}/public/a.request").unlink()
    send_canary(network)
    assert at(network, DO, f"{DS}/public/a.request").exists()
    network.settle()
    assert not at(network, DO, f"{DS}/public/a.request").exists()
    assert not at(network, OTHER, f"{DS}/public/a.request").exists()


@pytest.mark.parametrize("prune", [True, False])
def test_writers_deletion_reaches_the_owner(start: Start, prune: bool) -> None:
    network = start(SyncSettings(scan_interval=3_600, debounce=0, prune=prune))
    put(network, DS, f"{INBOX}/1.request", b"x")
    network.settle()
    at(network, DS, f"{INBOX}/1.request").unlink()
    network.settle()
    assert not at(network, DO, f"{INBOX}/1.request").exists()
    assert at(network, DO, f"{RPC}/messages").exists() is not prune
    assert at(network, DO, f"{RPC}/syft.pub.yaml").exists()
    send_canary(network, 1)


def test_refused_deletion_is_undone(network: SyftBoxNetwork) -> None:
    name = f"{DO}/public/data.csv"
    put(network, DO, name, b"data")
    network.settle()
    at(network, DS, name).unlink()
    network.settle()
    assert at(network, DS, name).read_bytes() == b"data"
    assert at(network, DO, name).exists()
    assert network.traffic.records(name, outcome=SyncOutcome.REFUSED, sender=DS)


def test_rename_is_a_deletion_and_a_new_file(network: SyftBoxNetwork) -> None:
    put(network, DS, f"{DS}/public/old", b"content")
    network.settle()
    at(network, DS, f"{DS}/public/old").rename(at(network, DS, f"{DS}/public/new"))
    network.settle()
    assert at(network, DO, f"{DS}/public/new").read_bytes() == b"content"
    assert not at(network, DO, f"{DS}/public/old").exists()


def test_change_of_same_size_and_time_is_synced(network: SyftBoxNetwork) -> None:
    path = at(network, DS, f"{DS}/public/a")
    for content in (b"aaaa", b"bbbb", b"cccc"):
        path.write_bytes(content)
        # Both writes happen within one tick of the clock. A time in the future simulates this on a slow machine.
        os.utime(path, ns=(1 << 62, 1 << 62))
        network.scan(DS)
        network.scan(DO)
        assert at(network, DO, f"{DS}/public/a").read_bytes() == content


def test_later_of_two_writes_becomes_a_conflict(network: SyftBoxNetwork) -> None:
    put(network, DO, f"{DO}/public/syft.pub.yaml", "rules: [{pattern: '**', access: {write: ['*']}}]")
    name, folder = f"{DO}/public/notes.txt", at(network, DS, f"{DO}/public")
    put(network, DO, name, b"first")
    network.settle()
    for number in (1, 2):
        put(network, DO, name, b"owner %d" % number)
        put(network, DS, name, b"writer %d" % number)
        network.scan(DO)
        network.settle()
        assert at(network, DS, name).read_bytes() == b"owner %d" % number
        assert (folder / "notes.conflict.txt").read_bytes() == b"writer %d" % number
    assert [path.read_bytes() for path in folder.glob("notes.conflict.*.txt")] == [b"writer 1"]
    assert network.traffic.count(SyncOutcome.CONFLICT) == 2
    assert at(network, OTHER, name).read_bytes() == b"owner 2"


def test_same_content_on_both_sides_is_not_a_conflict(network: SyftBoxNetwork) -> None:
    put(network, DO, f"{DO}/public/a", b"same")
    put(network, DS, f"{DO}/public/a", b"same")
    network.scan(DO)
    network.settle()
    assert not network.traffic.count(SyncOutcome.CONFLICT)
    assert [path.name for path in at(network, DS, f"{DO}/public").glob("a*")] == ["a"]


def test_large_file_is_copied_in_pieces(start: Start) -> None:
    network = start()
    at(network, DS, f"{DS}/public/model.bin").write_bytes(os.urandom(1 << 20) * 24)
    tracemalloc.start()
    try:
        network.settle()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert at(network, DO, f"{DS}/public/model.bin").stat().st_size == 24 << 20
    assert peak < 8 << 20


def test_concurrent_writes_are_not_lost_or_doubled(start: Start) -> None:
    network = start(SyncSettings(scan_interval=0.02, debounce=0))

    def write(email: str, kind: str, numbers: range) -> None:
        for number in numbers:
            put(network, email, f"{INBOX}/{number}.{kind}", f"{kind} {number}")

    threads = [
        threading.Thread(target=write, args=(email, kind, range(first, first + 25)))
        for email, kind in ((DS, "request"), (DO, "response"))
        for first in (0, 100)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    network.settle()
    for email, other, kind in ((DS, DO, "request"), (DO, DS, "response")):
        sent = {path.name: path.read_bytes() for path in at(network, email, INBOX).glob(f"*.{kind}")}
        assert len(sent) == 50
        assert {path.name: path.read_bytes() for path in at(network, other, INBOX).glob(f"*.{kind}")} == sent
        assert len(network.traffic.records(f"*.{kind}", recipient=other)) == 50
    assert not network.traffic.count(SyncOutcome.REFUSED)
    assert not network.traffic.count(SyncOutcome.CONFLICT)
    assert not list(network.root.rglob("*.tmp*"))
