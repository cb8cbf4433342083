"""A federation over Google Drive: what a round and an idle hour cost, what remains, and what survives a drive at its worst.

The emulator counts as the service does; the participants are real ones, in this process.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drivekit.storage import DriveStorage
from faultkit.federation import AGGREGATOR, OWNERS, Federation, answer_of
from flwr.app import Array, ArrayRecord
from waiting import eventually

from syft_flwr.emulators.gdrive import Emulator, Fault, Lag

ROUNDS = 5
#: A call that carries content, in the emulator's names.
CONTENT = ("files.create", "files.download")
#: What befalls any call, one time in twenty each.
TROUBLES: list[tuple[str, dict[str, Any]]] = [
    ("error", {"status": 503}),
    ("error", {"status": 500, "committed": True}),
    ("rate_limit", {"answer": "403"}),
    ("rate_limit", {"answer": "429", "retry_after": "1"}),
    ("unauthorized", {}),
    ("close_before_reading", {}),
    ("close_after_reading", {}),
    ("reset", {}),
    ("reset", {"committed": True}),
    ("lose_reply", {}),
    ("truncate", {}),
    ("stall", {"seconds": 0.05}),
    ("shuffle_batch", {}),
    ("empty_or", {}),
    ("short_page", {}),
]


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[DriveStorage]:
    storage = DriveStorage(tmp_path / "drive", AGGREGATOR, OWNERS)
    yield storage
    storage.close()


@pytest.fixture
def federation(tmp_path: Path, drive: DriveStorage) -> Iterator[Federation]:
    with Federation(tmp_path / "homes", drive, emails=OWNERS) as federation:
        yield federation


def content_calls(emulator: Emulator) -> int:
    return sum(emulator.meter(email).calls[method] for email in (AGGREGATOR, *OWNERS) for method in CONTENT)


def wait_until_only_cards_lie_there(drive: DriveStorage) -> None:
    cards = sorted(f"{email}/public/syft_flwr.json" for email in (AGGREGATOR, *OWNERS))
    eventually(lambda: drive.names() == cards, "only key cards being left")


# What it costs


def test_a_round_of_a_small_model_takes_four_calls_with_content_for_each_data_owner(
    federation: Federation, drive: DriveStorage
) -> None:
    federation.start()
    federation.assert_served()
    eventually(lambda: len([name for name in drive.names() if "/messages/" in name]) == 2 * len(OWNERS), "calm")
    drive.emulator.reset_meters()

    for _ in range(ROUNDS):
        federation.assert_served()

    assert content_calls(drive.emulator) == 4 * len(OWNERS) * ROUNDS
    for email in (AGGREGATOR, *OWNERS):
        calls = drive.emulator.meter(email).calls
        # Nothing is searched for once everybody was found, and what was read is deleted in batches.
        assert calls["files.list"] + calls["changes.list"] <= 1
        assert calls["files.generateIds"] == calls["permissions.create"] == 0


def test_a_data_owner_that_waits_for_its_next_request_asks_for_one_file_a_poll(
    tmp_path: Path, drive: DriveStorage
) -> None:
    with Federation(tmp_path / "homes", drive, emails=OWNERS[:1]) as federation:
        federation.start()
        federation.assert_served()
        # The aggregator goes, and with it what the data owner looks after.
        federation.stop()
        federation[OWNERS[0]].start()
        wait_for_polls(drive, OWNERS[0], 5)
        drive.emulator.reset_meters()

        wait_for_polls(drive, OWNERS[0], 20)

        meter = drive.emulator.meter(OWNERS[0])
        federation.begin_run()
    assert meter.calls.total() == meter.http == meter.calls["files.get"]
    assert meter.units == 5 * meter.http


def test_an_aggregator_that_waits_for_nobody_asks_for_nothing(federation: Federation, drive: DriveStorage) -> None:
    federation.start()
    federation.assert_served()
    before = drive.emulator.meter(AGGREGATOR)
    eventually(lambda: drive.emulator.meter(AGGREGATOR).calls["files.delete"] >= 2, "the requests being deleted")
    wait_for_polls(drive, OWNERS[0], 5)
    drive.emulator.reset_meters()

    wait_for_polls(drive, OWNERS[0], 20)

    assert before.http
    assert drive.emulator.meter(AGGREGATOR).http <= 1


def wait_for_polls(drive: DriveStorage, email: str, number: int) -> None:
    goal = drive.emulator.meter(email).http + number
    eventually(lambda: drive.emulator.meter(email).http >= goal, f"{number} polls of {email}")


def test_a_large_model_goes_up_once_for_all_and_comes_back_once_from_each(
    federation: Federation, drive: DriveStorage
) -> None:
    size = 24_000_000
    model = ArrayRecord({"weights": Array(np.frombuffer(np.random.default_rng(7).bytes(size), dtype=np.uint8))})
    federation.start()
    federation.assert_served()
    drive.emulator.reset_meters()

    replies = federation.exchange(federation.messages("echo", arrays=model), timeout=60)

    for reply in replies:
        assert not reply.has_error(), reply.error.reason
        assert np.array_equal(reply.content["arrays"]["weights"].numpy(), model["weights"].numpy())
    meters = {email: drive.emulator.meter(email) for email in (AGGREGATOR, *OWNERS)}
    assert meters[AGGREGATOR].bytes_up <= 1.02 * size
    assert meters[AGGREGATOR].bytes_down <= 1.02 * size * len(OWNERS)
    for email in OWNERS:
        assert size <= meters[email].bytes_up <= 1.02 * size
        assert size <= meters[email].bytes_down <= 1.02 * size


def test_at_the_end_only_the_key_cards_are_left(federation: Federation, drive: DriveStorage) -> None:
    federation.start()
    for _ in range(3):
        federation.assert_served()

    federation.stop()

    wait_until_only_cards_lie_there(drive)


# What it survives


def test_fifty_rounds_with_everything_that_can_fail_failing_now_and_then(
    federation: Federation, drive: DriveStorage
) -> None:
    federation.start()
    federation.assert_served()
    for kind, parameters in TROUBLES:
        drive.emulator.inject(Fault(kind, times=None, probability=0.05, **parameters))
    drive.emulator.lag = Lag(list_by_name=(0.0, 0.5), list_by_parent=(0.0, 0.5), permissions=(0.0, 0.5))

    for number in range(2, 52):
        for owner, reply in zip(OWNERS, federation.ask("answer", timeout=60), strict=True):
            # The app's state counts: each message was answered once, and each state is the one before and one more.
            assert answer_of(reply)["messages"] == number, owner

    messages = [name for name in drive.names() if "/messages/" in name]
    assert len(set(messages)) == len(messages), "a file that lies there twice"
    drive.emulator.heal()
    federation.stop()
    wait_until_only_cards_lie_there(drive)
