"""The faithful SyftBox emulator: pushes, their queues and limits, and their losses."""

import os
import shutil
from pathlib import Path

import pytest
from faithful_syftbox import BOX, DO, DS, Machines, Start
from waiting import eventually

from syft_flwr.emulators.syftbox import How, SyftBoxNetwork, SyncOutcome, SyncSettings
from syft_flwr.emulators.syftbox.faithful import Window
from syft_flwr.emulators.syftbox.faithful.frames import MAX_FRAME, Frame
from syft_flwr.testing import FakeClock

MESSAGE = f"{BOX}/a.request"


def numbered(number: int) -> str:
    return f"{BOX}/{number:02}.request"


def put_silently(machines: Machines, email: str, name: str, data: bytes) -> None:
    """Write a file without a write event. A write in place would be one event or two."""
    path = machines.at(email, name)
    path.with_suffix(".tmp").write_bytes(data)
    path.with_suffix(".tmp").rename(path)


def report(machines: Machines, email: str, name: str) -> None:
    """Report one write to a client, as its watcher does, and wait until the push was tried."""
    daemon = machines.world._daemon(email)
    daemon.on_write(name)
    assert daemon._schedule.wait_until_idle(20)


def test_push_reaches_the_receiver_before_the_store(machines: Machines) -> None:
    with machines.world.hold(DS, Window.PUT, MESSAGE) as held:
        machines.push(DS, MESSAGE)
        held.wait()
        machines.arrives(DO, MESSAGE)
        assert MESSAGE not in machines.world.stored()

    machines.is_stored(MESSAGE)


def test_store_has_its_delay_also_for_a_push(start_faithful: Start) -> None:
    machines = start_faithful()
    machines.store.delay = 3_600.0
    machines.push(DS, MESSAGE)

    machines.arrives(DO, MESSAGE)

    assert MESSAGE not in machines.world.stored()


def test_push_that_the_store_lost_deletes_the_senders_file(machines: Machines) -> None:
    machines.store.fails = True
    machines.push(DS, MESSAGE)
    machines.arrives(DO, MESSAGE)

    machines.scan(DS)

    assert not machines.has(DS, MESSAGE)
    machines.scan(DO)
    assert not machines.has(DO, MESSAGE)


def test_late_push_comes_back_after_its_deletion(machines: Machines) -> None:
    with machines.world.hold(DS, Window.PUT, MESSAGE) as held:
        machines.push(DS, MESSAGE)
        held.wait()
        machines.at(DS, MESSAGE).unlink()
        machines.scan(DS)
        assert MESSAGE not in machines.world.journal(DS)
    machines.is_stored(MESSAGE)

    machines.scan(DS)

    assert machines.has(DS, MESSAGE)


def test_ninth_waiting_frame_finds_no_place_at_the_sender(machines: Machines) -> None:
    with machines.world.hold(DS, Window.FRAME) as held:
        machines.push(DS, numbered(0))
        held.wait()
        for number in range(1, 9):
            machines.push(DS, numbered(number))
        machines.put(DS, numbered(9))
        eventually(lambda: machines.strikes(DS, numbered(9)) == 1, "the strike")
        assert numbered(9) not in machines.world.journal(DS)

    machines.arrives(DO, numbered(8))
    machines.scan(DS)
    machines.scan(DO)
    assert machines.has(DO, numbered(9))


def test_full_queue_is_one_of_three_strikes(machines: Machines) -> None:
    with machines.world.hold(DS, Window.FRAME) as held:
        machines.push(DS, numbered(0))
        held.wait()
        for number in range(1, 9):
            machines.push(DS, numbered(number))
        for strike in range(3):
            assert machines.strikes(DS, MESSAGE) == strike
            put_silently(machines, DS, MESSAGE, bytes([strike]))
            report(machines, DS, MESSAGE)

    assert machines.world.excluded(DS) == {MESSAGE}


@pytest.mark.parametrize("size", [None, (4 << 20) + 1], ids=["gone", "too-large"])
def test_file_that_cannot_be_pushed_keeps_its_strikes(machines: Machines, size: int | None) -> None:
    machines.store.fails = True
    put_silently(machines, DS, MESSAGE, b"data")
    machines.scan(DS)
    assert machines.strikes(DS, MESSAGE) == 1
    if size is None:
        machines.at(DS, MESSAGE).unlink()
    else:
        os.truncate(machines.at(DS, MESSAGE), size)

    report(machines, DS, MESSAGE)

    assert machines.strikes(DS, MESSAGE) == 1


def test_tenth_frame_is_dropped_at_the_receiver(machines: Machines) -> None:
    with machines.world.hold(DO, Window.DELIVERY) as held:
        machines.push(DS, numbered(0))
        held.wait()
        for number in range(1, 10):
            machines.push(DS, numbered(number))
            machines.handled(DS)
        machines.is_stored(numbered(9))

    machines.arrives(DO, numbered(8))
    machines.push(DS, MESSAGE)
    machines.arrives(DO, MESSAGE)
    assert not machines.has(DO, numbered(9))
    machines.scan(DO)
    assert machines.has(DO, numbered(9))


def test_receiver_that_stands_still_has_24_places(machines: Machines) -> None:
    with machines.world.hold(DO, Window.RECEIPT) as held:
        machines.push(DS, numbered(0))
        held.wait()
        socket = machines.world._daemon(DO).connector._socket
        for number in range(1, 26):
            machines.push(DS, numbered(number))
            machines.handled(DS)
            # Only the held frame is under way. The others wait in the queue of the receiver.
            eventually(lambda: not socket._delivering and socket._busy == 1, "the place of the frame")

    machines.arrives(DO, numbered(24))
    machines.push(DS, MESSAGE)
    machines.arrives(DO, MESSAGE)
    assert not machines.has(DO, numbered(25))


def test_push_is_journaled_without_being_sent(machines: Machines) -> None:
    with machines.world.hold(DS, Window.FRAME) as held:
        machines.put(DS, MESSAGE)
        held.wait()
        eventually(lambda: MESSAGE in machines.world.journal(DS), "the entry")
        machines.world.cut(DS)
    machines.scan(DS)

    assert not machines.has(DS, MESSAGE)
    assert not machines.has(DO, MESSAGE)


@pytest.mark.parametrize(("size", "fits"), [(3_144_999, True), (3_145_560, True), (3_145_800, False)])
def test_frame_above_4_mebibytes_ends_the_connection(machines: Machines, size: int, fits: bool) -> None:
    assert (Frame(MESSAGE, "etag", bytes(size), DS).size <= MAX_FRAME) is fits

    first = machines.world._daemon(DS).connector.count

    machines.push(DS, MESSAGE, bytes(size))

    if fits:
        machines.arrives(DO, MESSAGE)
    else:
        eventually(lambda: machines.world._daemon(DS).connector.count > first, "another connection")
        assert not machines.has(DO, MESSAGE)
        machines.scan(DS)
        assert not machines.has(DS, MESSAGE)


def test_slow_frame_ends_the_connection_with_all_that_waits(machines: Machines) -> None:
    machines.world.uplink(DS).rate = 1_000_000
    first = machines.world._daemon(DS).connector.count
    with machines.world.hold(DS, Window.FRAME) as held:
        machines.push(DS, MESSAGE, bytes(200_000))
        held.wait()
        machines.push(DS, numbered(1))
    eventually(lambda: machines.world._daemon(DS).connector.count > first, "another connection")
    machines.scan(DS)

    assert not machines.has(DS, MESSAGE)
    assert not machines.has(DS, numbered(1))
    machines.push(DS, numbered(2), bytes(100_000))
    machines.arrives(DO, numbered(2))


def test_frame_takes_the_time_of_its_encoding(tmp_path: Path) -> None:
    clock = FakeClock()
    settings = SyncSettings(faithful=True, debounce=0)
    with SyftBoxNetwork(tmp_path, [DS, DO], settings=settings, clock=clock) as network:
        machines = Machines(network)
        name = f"{DO}/public/a.response"
        machines.put(DO, name, bytes(300_000))
        eventually(lambda: machines.world.uplink(DO).sent > 400_000, "the frame to be under way")
        assert not machines.has(DS, name)

        clock.advance(0.02)

        eventually(lambda: machines.has(DS, name), "the push")


def test_empty_file_is_pushed_and_not_uploaded(machines: Machines) -> None:
    machines.push(DS, MESSAGE)
    machines.arrives(DO, MESSAGE)

    machines.put(DS, MESSAGE, b"")

    eventually(lambda: machines.at(DO, MESSAGE).read_bytes() == b"", "the empty file")
    assert machines.scan(DO) == 0


def test_uplink_counts_frames_in_base64(machines: Machines) -> None:
    before = machines.world.uplink(DS).sent
    machines.push(DS, MESSAGE, bytes(30_000))
    machines.arrives(DO, MESSAGE)

    assert 40_000 < machines.world.uplink(DS).sent - before < 41_000


def test_refused_push_is_renamed(machines: Machines) -> None:
    name = f"{DO}/public/a.request"
    machines.put(DS, name)

    eventually(lambda: machines.has(DS, f"{DO}/public/a.rejected.request"), "the marker")

    assert not machines.has(DO, name)
    eventually(lambda: machines.network.traffic.count(SyncOutcome.REFUSED, How.REALTIME) == 1, "the refusal")
    eventually(lambda: name in machines.world.journal(DS), "the entry")
    machines.scan(DS)
    assert name not in machines.world.journal(DS)


def test_watcher_ignores_one_write_after_a_receipt(start_faithful: Start) -> None:
    machines = start_faithful(scan_interval=300)
    machines.put(DS, MESSAGE)
    machines.arrives(DO, MESSAGE)

    put_silently(machines, DO, MESSAGE, b"first")
    report(machines, DO, MESSAGE)
    put_silently(machines, DO, MESSAGE, b"second")
    machines.world._daemon(DO).on_write(MESSAGE)

    eventually(lambda: machines.at(DS, MESSAGE).read_bytes() == b"second", "the second write")
    # The client records a received file after it is in place, and enters it into its journal after that.
    machines.arrives(DS, MESSAGE)
    assert len(machines.network.traffic.records(MESSAGE, sender=DO, recipient=DS)) == 1


def test_refusal_waits_for_a_place_and_holds_all_pushes(machines: Machines) -> None:
    def is_stuck() -> bool:
        # Under the lock, because each refusal sets it for a moment.
        with machines.world._machinery.waits.changed:
            return machines.world._server._is_stuck

    refused = [f"{DO}/public/{number:02}.request" for number in range(11)]
    with machines.world.hold(DS, Window.DELIVERY) as held:
        machines.push(DS, refused[0])
        held.wait()
        for name in refused[1:]:
            machines.push(DS, name)
        eventually(is_stuck, "the full queue")
        machines.push(DO, f"{BOX}/b.response")
        assert f"{BOX}/b.response" not in machines.world.stored()

    # Its receiver may have no place for it, because the queue is full of refusals.
    machines.is_stored(f"{BOX}/b.response")
    for name in refused:
        marker = name.replace(".request", ".rejected.request")
        eventually(lambda one=marker: machines.has(DS, one), f"the marker {marker}")


def test_received_push_goes_through_the_staging_folder(machines: Machines) -> None:
    staging = machines.network[DO].staging
    shutil.rmtree(staging)
    staging.write_text("no folder")

    machines.push(DS, MESSAGE)
    eventually(lambda: machines.strikes(DO, MESSAGE) == 1, "the strike")
    assert not machines.has(DO, MESSAGE)

    staging.unlink()
    staging.mkdir()
    machines.push(DS, numbered(1))
    machines.arrives(DO, numbered(1))
    assert list(staging.iterdir()) == []


def test_received_push_is_in_place_before_its_entry(machines: Machines) -> None:
    with machines.world.hold(DO, Window.PLACED, MESSAGE) as held:
        machines.push(DS, MESSAGE)
        held.wait()
        assert machines.has(DO, MESSAGE)
        assert MESSAGE not in machines.world.journal(DO)

    machines.arrives(DO, MESSAGE)


def test_client_offline_neither_sends_nor_receives(machines: Machines) -> None:
    with machines.network.link.outage(DS):
        machines.put(DS, MESSAGE)
        eventually(lambda: machines.strikes(DS, MESSAGE) == 1, "the strike")
        machines.push(DO, f"{BOX}/b.response")
        assert not machines.has(DS, f"{BOX}/b.response")

    machines.network.settle()

    assert machines.has(DO, MESSAGE)
    assert machines.has(DS, f"{BOX}/b.response")


def test_dropped_push_counts_as_sent(machines: Machines) -> None:
    machines.network.link.drop = True
    machines.push(DS, MESSAGE)

    machines.scan(DS)

    assert not machines.has(DS, MESSAGE)
