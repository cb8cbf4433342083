"""The pace of a data folder: the daemon's queue is never overfilled, and lost pushes are noticed by all processes."""

import contextlib
import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from syft_flwr.locks import wait_for_lock
from syft_flwr.transport._syftbox.pace import PUSHED_SIZE, SMALL, Pace
from syft_flwr.transport._syftbox.pace_state import LinkSpeed

MINUTE = 60.0
LARGE = 2_900_000
#: Seconds between two small files after the first eight.
PER_FILE = 0.01
PER_LARGE_FILE = 0.03


class WaitingClock:
    """A clock whose time passes only while a caller waits."""

    def __init__(self) -> None:
        self.time = 1_000.0

    def now(self) -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.time

    def wait_until(self, condition: threading.Condition, deadline: float | None) -> None:
        del condition
        assert deadline is not None
        self.time = max(self.time, deadline)


class Folder:
    """A data folder with a daemon, and the pace of several processes in it."""

    def __init__(self, folder: Path) -> None:
        self.clock = WaitingClock()
        self.path = folder / "pace"
        self.daemon = folder / ".data"
        self.daemon.mkdir()
        self.opened: list[Pace] = []
        self.pace = self.process()

    def process(self) -> Pace:
        self.opened.append(Pace(self.path, self.daemon, self.clock))
        return self.opened[-1]

    def push(self, name: str, size: int = LARGE, pace: Pace | None = None) -> bool:
        """Write a new file, and return whether it is pushed."""
        process = pace or self.pace
        pushed = process.take_turn(name, size, absent=True)
        if pushed:
            process.remember(name, size)
        return pushed

    def lose(self, *names: str) -> None:
        """Push files that the daemon deletes, and write each of them again."""
        for name in names:
            assert self.push(name)
            assert not self.push(name)

    def prove(self, times: int = 1) -> None:
        """Push probes that are delivered."""
        for number in range(times):
            self.push(f"probe {number}", 2_000_000)
            self.pace.forget(f"probe {number}", absent=False)

    def lose_and_deliver(self, name: str) -> None:
        """Lose a push, and let a scan deliver the file, as a slow link does."""
        self.lose(name)
        self.pace.forget(name, absent=False)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    folder = Folder(tmp_path)
    yield folder
    for pace in folder.opened:
        pace.close()


# The queue


def test_a_single_file_never_waits(folder: Folder) -> None:
    start = folder.clock.time
    for number, size in enumerate([100, SMALL, LARGE, PUSHED_SIZE]):
        assert folder.push(str(number), size)
        assert folder.clock.time == start
        start = folder.clock.time = start + 1.0


@pytest.mark.parametrize("fast", [False, True])
def test_large_files_wait_for_room_in_the_queue(folder: Folder, fast: bool) -> None:
    if fast:
        folder.prove()
        folder.clock.time += MINUTE
    start = folder.clock.time
    written = []
    for number in range(40):
        assert folder.push(str(number))
        written.append(folder.clock.time - start)

    assert written[:6] == [0.0] * 6
    assert all(time > 0 for time in written[6:])
    # 20 MB as fast as the queue takes them, all others at 13 MB in a second.
    assert written[6] == pytest.approx(LARGE / 29e6 + (PER_FILE if fast else PER_LARGE_FILE), rel=0.01)
    assert (written[39] - written[20]) / 19 == pytest.approx(LARGE / 13e6, rel=0.01)


def test_pause_makes_room_for_another_burst(folder: Folder) -> None:
    for number in range(40):
        folder.push(str(number))
    start = folder.clock.time = folder.clock.time + 2.0
    for number in range(6):
        folder.push(f"later {number}")

    assert folder.clock.time == start


def test_small_files_pass_large_ones(folder: Folder) -> None:
    for number in range(6):
        folder.push(str(number))
    start = folder.clock.time

    assert folder.push("heartbeat", 900)
    assert folder.push("request", 900)

    assert folder.clock.time == start


def test_many_small_files_wait_for_the_queue_too(folder: Folder) -> None:
    start = folder.clock.time
    for number in range(100):
        assert folder.push(str(number), 1_000)

    assert folder.clock.time - start == pytest.approx((100 - 8) * (PER_FILE + 1_000 / 29e6), rel=0.01)


def test_processes_share_one_pace(folder: Folder) -> None:
    start = folder.clock.time
    for number in range(3):
        folder.push(f"ours {number}")
        folder.push(f"theirs {number}", pace=folder.process())
    assert folder.clock.time == start

    folder.push("one more", pace=folder.process())

    assert folder.clock.time > start


def test_nothing_waits_without_a_daemon(tmp_path: Path) -> None:
    pace = Pace(tmp_path / "pace", tmp_path / ".data", WaitingClock())
    assert all(pace.take_turn(str(number), LARGE, absent=True) for number in range(100))
    pace.forget("1", absent=True)

    assert pace.link is LinkSpeed.FAST
    assert not (tmp_path / "pace").exists()


def test_a_file_that_no_frame_holds_is_not_pushed(folder: Folder) -> None:
    assert not folder.push("large", PUSHED_SIZE + 1)


# Lost pushes


def test_a_lost_file_is_written_again_without_a_push(folder: Folder) -> None:
    assert folder.push("reply")
    assert not folder.push("reply", pace=folder.process())
    assert not folder.push("reply")


def test_a_small_file_is_always_pushed_again(folder: Folder) -> None:
    assert folder.push("request", SMALL)
    assert folder.push("request", SMALL)


def test_a_file_that_is_replaced_is_not_lost(folder: Folder) -> None:
    assert folder.push("reply")
    assert folder.pace.take_turn("reply", LARGE, absent=False)
    assert folder.pace.link is not LinkSpeed.SLOW


def test_two_losses_stop_large_pushes_for_minutes(folder: Folder) -> None:
    folder.lose("one")
    assert folder.pace.link is not LinkSpeed.SLOW
    folder.clock.time += MINUTE
    folder.lose("two")

    assert folder.pace.link is LinkSpeed.SLOW
    assert folder.process().link is LinkSpeed.SLOW
    assert not folder.push("three")
    assert folder.push("heartbeat", SMALL)
    folder.clock.time += 5 * MINUTE
    assert folder.pace.link is not LinkSpeed.SLOW
    assert folder.push("four")


def test_losses_at_the_same_time_count_once(folder: Folder) -> None:
    folder.lose("part 1", "part 2", "part 3")

    assert folder.pace.link is not LinkSpeed.SLOW


def test_losses_of_one_burst_count_once_whenever_found(folder: Folder) -> None:
    parts = [f"part {number}" for number in range(4)]
    assert all(map(folder.push, parts))
    assert not folder.push(parts[0])
    for part in parts[1:3]:
        folder.clock.time += MINUTE
        assert not folder.push(part, pace=folder.process())
    folder.pace.forget(parts[3], absent=True)

    assert folder.pace.link is not LinkSpeed.SLOW


def test_push_after_a_loss_starts_another_series(folder: Folder) -> None:
    folder.push("one")
    folder.push("two")
    assert not folder.push("one")
    folder.clock.time += MINUTE
    assert folder.push("three")
    assert not folder.push("three")

    assert folder.pace.link is LinkSpeed.SLOW


def test_each_further_loss_doubles_the_pause(folder: Folder) -> None:
    folder.lose("one")
    folder.clock.time += MINUTE
    for number, pause in enumerate([5, 10, 20, 40, 60, 60]):
        folder.lose(f"probe {number}")
        folder.clock.time += (pause - 1) * MINUTE
        assert folder.pace.link is LinkSpeed.SLOW
        folder.clock.time += MINUTE
        assert folder.pace.link is not LinkSpeed.SLOW


def test_delivered_probe_makes_the_next_pause_short(folder: Folder) -> None:
    for number in range(5):
        folder.lose(f"probe {number}")
        folder.clock.time += 60 * MINUTE
    folder.push("delivered")
    folder.pace.forget("delivered", absent=False)

    folder.lose("one")
    assert folder.pace.link is not LinkSpeed.SLOW


def test_one_loss_after_the_pause_stops_pushes_again(folder: Folder) -> None:
    folder.lose("one")
    folder.clock.time += MINUTE
    folder.lose("two")
    folder.clock.time += 5 * MINUTE

    folder.lose("probe")

    assert folder.pace.link is LinkSpeed.SLOW


def test_delivered_probe_shows_a_fast_link(folder: Folder) -> None:
    assert folder.pace.link is LinkSpeed.UNKNOWN
    folder.push("small push", 1_999_999)
    folder.pace.forget("small push", absent=False)
    folder.clock.time += 1
    assert folder.pace.link is LinkSpeed.UNKNOWN
    folder.push("probe", 2_000_000)
    folder.process().forget("probe", absent=False)
    folder.clock.time += 1
    assert folder.pace.link is LinkSpeed.FAST
    assert folder.process().link is LinkSpeed.FAST


def test_fast_link_stays_fast_after_one_loss(folder: Folder) -> None:
    folder.prove(8)
    folder.lose("part")

    assert folder.pace.link is LinkSpeed.FAST


def test_one_delivery_does_not_outweigh_a_loss(folder: Folder) -> None:
    folder.prove()
    folder.lose("part")

    assert folder.pace.link is LinkSpeed.UNKNOWN


def test_losses_hours_apart_end_the_trust_in_a_link(folder: Folder) -> None:
    folder.prove(20)
    for number in range(2):
        folder.clock.time += 60 * MINUTE
        folder.lose(f"round {number}")

    assert folder.pace.link is LinkSpeed.UNKNOWN


def test_one_probe_is_under_way_at_a_time(folder: Folder) -> None:
    folder.push("probe", 2_000_000)
    assert folder.pace.link is LinkSpeed.PROBED
    assert not folder.push("probe", 2_000_000)
    assert folder.pace.link is LinkSpeed.UNKNOWN


def test_fast_link_that_became_slow_must_show_its_speed_again(folder: Folder) -> None:
    folder.prove()
    folder.lose("one")
    folder.clock.time += MINUTE
    folder.lose("two")
    assert folder.pace.link is LinkSpeed.SLOW

    folder.clock.time += 5 * MINUTE
    assert folder.pace.link is LinkSpeed.UNKNOWN


def test_lost_probe_shows_nothing(folder: Folder) -> None:
    folder.push("probe", 2_000_000)
    assert not folder.push("probe", 2_000_000)
    folder.pace.forget("probe", absent=False)

    assert folder.pace.link is LinkSpeed.UNKNOWN


@pytest.mark.parametrize(("size", "slow"), [(300_000, True), (2_000_000, False)])
def test_only_large_deliveries_outweigh_a_loss_beside_them(folder: Folder, size: int, slow: bool) -> None:
    for number in range(3):
        folder.push(f"part {number}", size)
        folder.lose(f"lost {number}")
        folder.pace.forget(f"part {number}", absent=False)
        folder.clock.time += MINUTE
        if folder.pace.link is LinkSpeed.SLOW:
            break

    assert (folder.pace.link is LinkSpeed.SLOW) == slow


def test_delivered_probe_counts_beside_a_loss(folder: Folder) -> None:
    folder.push("probe", 2_000_000)
    folder.lose("part")
    folder.pace.forget("probe", absent=False)

    assert folder.pace.link is LinkSpeed.FAST


def test_fast_link_is_remembered_after_a_reboot(folder: Folder) -> None:
    folder.prove()
    folder.clock.time = 5.0

    assert folder.process().link is LinkSpeed.FAST


def test_folder_without_a_client_is_fast(tmp_path: Path) -> None:
    assert Pace(tmp_path / "pace", tmp_path / ".data").link is LinkSpeed.FAST


def test_a_delivered_file_ends_a_series_of_losses(folder: Folder) -> None:
    folder.lose("one")
    folder.clock.time += MINUTE
    folder.push("two")
    folder.process().forget("two", absent=False)

    folder.lose("three")

    assert folder.pace.link is not LinkSpeed.SLOW


def test_a_lost_file_that_a_scan_delivers_stays_a_loss(folder: Folder) -> None:
    folder.lose_and_deliver("one")
    folder.clock.time += MINUTE
    folder.lose_and_deliver("two")

    assert folder.pace.link is LinkSpeed.SLOW
    assert not any(folder.push(f"round {number}") for number in range(4))


def test_a_loss_counts_once_however_often_it_is_written(folder: Folder) -> None:
    folder.lose("one")
    for _ in range(5):
        folder.clock.time += MINUTE
        assert not folder.push("one")
    folder.pace.forget("one", absent=True)

    assert folder.pace.link is not LinkSpeed.SLOW


def test_a_file_that_was_not_written_is_not_lost(folder: Folder) -> None:
    for number in range(3):
        assert folder.pace.take_turn(f"reply {number}", LARGE, absent=True)
        assert folder.push(f"reply {number}")
        folder.clock.time += MINUTE

    assert folder.pace.link is not LinkSpeed.SLOW


def test_a_file_that_is_absent_at_its_deletion_was_lost(folder: Folder) -> None:
    for name in ("one", "two"):
        folder.clock.time += MINUTE
        folder.push(name)
        folder.pace.forget(name, absent=True)

    assert folder.pace.link is LinkSpeed.SLOW


def test_a_deleted_file_is_forgotten(folder: Folder) -> None:
    folder.push("reply")
    folder.pace.forget("reply", absent=False)

    assert folder.push("reply")


def test_an_old_loss_is_forgotten(folder: Folder) -> None:
    folder.lose("one")
    folder.clock.time += 11 * MINUTE
    folder.lose("two")

    assert folder.pace.link is not LinkSpeed.SLOW


# The file


def test_pace_that_cannot_be_read_is_not_slow(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    def refuse(path: Path | str, *arguments: int, **options: int) -> int:
        if Path(path).name == folder.path.name:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return opened(path, *arguments, **options)

    opened = os.open
    folder.push("one")
    monkeypatch.setattr(os, "open", refuse)
    for _ in range(3):
        folder.clock.time += MINUTE
        assert folder.process().link is not LinkSpeed.SLOW
        assert folder.pace.link is not LinkSpeed.SLOW

    assert len([line for line in logged if "Input/output error" in line]) == 4


def test_looks_at_the_link_take_no_lock(folder: Folder) -> None:
    """A process that holds the lock, or a stopped one, must not stop the scanner of another one."""
    folder.lose("one")
    folder.clock.time += MINUTE
    folder.lose("two")
    with folder.path.open("rb+") as file:
        wait_for_lock(file.fileno())
        assert folder.process().link is LinkSpeed.SLOW


def test_a_look_at_the_link_is_valid_for_a_second(folder: Folder) -> None:
    other = folder.process()
    assert other.link is not LinkSpeed.SLOW
    folder.lose("one")
    folder.clock.time += MINUTE
    assert other.link is not LinkSpeed.SLOW
    folder.lose("two")
    assert other.link is not LinkSpeed.SLOW
    folder.clock.time += 1.0
    assert other.link is LinkSpeed.SLOW


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * 600, b"\x7f" * 600, bytes(600), b"\xff" * 100_000])
def test_any_content_of_the_file_is_survived(folder: Folder, content: bytes) -> None:
    folder.push("one")
    folder.path.write_bytes((content * 1_000)[: folder.path.stat().st_size] if len(content) == 600 else content)
    start = folder.clock.time

    assert folder.push("two")

    assert folder.clock.time == start
    assert folder.pace.link is not LinkSpeed.SLOW


def test_times_from_before_a_reboot_are_dropped(folder: Folder) -> None:
    folder.lose("one")
    folder.clock.time += MINUTE
    folder.lose("two")
    for number in range(6):
        folder.push(str(number), SMALL)
    folder.clock.time = start = 5.0

    assert folder.pace.link is not LinkSpeed.SLOW
    assert folder.push("after the reboot")
    assert folder.clock.time == start


def test_the_file_is_private_and_bounded(folder: Folder) -> None:
    for number in range(500):
        folder.push(f"name {number}", SMALL + 1)

    assert folder.path.stat().st_size < 4_096
    assert folder.path.stat().st_mode & 0o077 == 0


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, contextlib.chdir(path.parent):
        listener.bind(path.name)


def make_link(path: Path) -> None:
    path.symlink_to(path.with_name("secret"))


def make_unreadable(path: Path) -> None:
    path.touch(mode=0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read all files")


@pytest.mark.parametrize("make", [make_pipe, make_socket, make_link, make_unreadable, Path.mkdir])
def test_a_file_that_is_none_is_logged_once(folder: Folder, logged: list[str], make: Callable[[Path], None]) -> None:
    secret = folder.path.with_name("secret")
    secret.write_bytes(b"secret")
    make(folder.path)

    for number in range(10):
        assert folder.push(str(number))
        folder.pace.forget(str(number), absent=False)

    [warning] = [line for line in logged if line.startswith("WARNING")]
    assert "delete it, then start again" in warning
    assert secret.read_bytes() == b"secret"


def test_a_file_that_was_replaced_by_a_right_one_is_used(folder: Folder) -> None:
    folder.path.mkdir()
    folder.push("one")
    folder.path.rmdir()
    folder.push("two")

    assert folder.path.is_file()
    assert not folder.push("two")


def test_threads_and_processes_do_not_lose_a_turn(folder: Folder) -> None:
    def push_many(number: int) -> None:
        pace = folder.process()
        for part in range(20):
            pace.take_turn(f"{number} {part}", SMALL + 1, absent=True)

    threads = [threading.Thread(target=push_many, args=(number,)) for number in range(4)]
    start = folder.clock.time
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert folder.clock.time - start >= (80 - 8) * PER_FILE
    assert os.path.getsize(folder.path) < 4_096
