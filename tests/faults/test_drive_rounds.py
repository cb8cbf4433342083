"""Shows the number of Drive calls of a round and of idle participants, and that a federation survives many faults.

The emulator counts calls as the service does. The participants are real ones in this process.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drivekit.storage import DriveStorage
from faultkit.federation import AGGREGATOR, OWNERS, Federation, answer_of
from flwr.app import Array, ArrayRecord
from waiting import eventually

from syft_flwr.emulators.gdrive import Emulator, Fault, Lag
from syft_flwr.emulators.gdrive.meters import Meter

ROUNDS = 5
#: Calls with content, by their names in the emulator.
CONTENT = ("files.create", "files.download")
#: Faults of any call. Each has a probability of one in twenty.
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
def drive(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[DriveStorage]:
    """Return a Drive. The parameter is the number of seconds between two looks for changes that a poll does not find."""
    storage = DriveStorage(tmp_path / "drive", AGGREGATOR, OWNERS, look=getattr(request, "param", 60.0))
    yield storage
    storage.close()


@pytest.fixture
def federation(tmp_path: Path, drive: DriveStorage) -> Iterator[Federation]:
    with Federation(tmp_path / "homes", drive, emails=OWNERS) as federation:
        yield federation


def content_calls(emulator: Emulator) -> tuple[int, int]:
    """Return the numbers of calls with the content of messages and with the content of heartbeats."""
    heartbeats = {file.id for file in emulator.files() if "/status/" in file.name}
    called = [record.file_id for record in emulator.requests if record.method in CONTENT]
    of_heartbeats = sum(found in heartbeats for found in called)
    return len(called) - of_heartbeats, of_heartbeats


def wait_until_only_cards_lie_there(drive: DriveStorage) -> None:
    cards = sorted(f"{email}/public/syft_flwr.json" for email in (AGGREGATOR, *OWNERS))
    eventually(lambda: drive.names() == cards, "only key cards being left")


# Number of calls


def test_small_round_takes_four_calls_per_data_owner(federation: Federation, drive: DriveStorage) -> None:
    federation.start()
    federation.assert_served()
    eventually(lambda: len([name for name in drive.names() if "/messages/" in name]) == 2 * len(OWNERS), "calm")
    drive.emulator.reset_meters()

    for _ in range(ROUNDS):
        federation.assert_served()

    of_messages, of_heartbeats = content_calls(drive.emulator)
    assert of_messages == 4 * len(OWNERS) * ROUNDS
    # Each participant creates its heartbeat and reads one at its first look. The next look is 60 s later.
    assert of_heartbeats <= 2 * len((AGGREGATOR, *OWNERS))
    for email in (AGGREGATOR, *OWNERS):
        calls = drive.emulator.meter(email).calls
        # Searches end when all peers are found. Read files are deleted in batches.
        assert calls["files.list"] + calls["changes.list"] <= 1
        assert calls["files.generateIds"] == calls["permissions.create"] == 0


@pytest.mark.parametrize("drive", [5.0], indirect=True)
def test_both_sides_read_heartbeats_of_the_other(federation: Federation) -> None:
    federation.start()
    federation.assert_served()

    def heard(email: str) -> set[str]:
        with closing(sqlite3.connect(federation.root / email / "peers.db")) as connection:
            return {row[0] for row in connection.execute("SELECT email FROM heard")}

    eventually(lambda: heard(AGGREGATOR) == set(OWNERS), "the heartbeats of the data owners")
    for email in OWNERS:
        # Up to four looks.
        eventually(lambda email=email: heard(email) == {AGGREGATOR}, f"the aggregator's heartbeat at {email}")


def test_idle_data_owner_polls_one_file(tmp_path: Path, drive: DriveStorage) -> None:
    with Federation(tmp_path / "homes", drive, emails=OWNERS[:1]) as federation:
        federation.start()
        federation.assert_served()
        # After the end of the aggregator, the data owner has no files to check.
        federation.stop()
        heartbeat = federation.names.heartbeat(OWNERS[0])
        eventually(lambda: heartbeat not in drive.names(), "the end of the old heartbeat")
        federation[OWNERS[0]].start()
        # The first look of the client may still continue. It ends with the heartbeat.
        eventually(lambda: heartbeat in drive.names(), "the heartbeat of the data owner")
        wait_for_polls(drive, OWNERS[0], 5)
        drive.emulator.reset_meters()

        wait_for_polls(drive, OWNERS[0], 20)

        def between_two_calls() -> Meter | None:
            found = drive.emulator.meter(OWNERS[0])
            return found if found.calls.total() == found.http else None

        meter = eventually(between_two_calls, "a moment between two calls")
        assert meter
        federation.begin_run()
    assert meter.http == meter.calls["files.get"]
    assert meter.units == 5 * meter.http


def test_idle_aggregator_makes_no_calls(federation: Federation, drive: DriveStorage) -> None:
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


def test_large_model_is_uploaded_once(federation: Federation, drive: DriveStorage) -> None:
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


def test_only_key_cards_remain_after_a_run(federation: Federation, drive: DriveStorage) -> None:
    federation.start()
    for _ in range(3):
        federation.assert_served()

    federation.stop()

    wait_until_only_cards_lie_there(drive)


# Random faults


def test_fifty_rounds_survive_random_faults(federation: Federation, drive: DriveStorage) -> None:
    federation.start()
    federation.assert_served()
    for kind, parameters in TROUBLES:
        drive.emulator.inject(Fault(kind, times=None, probability=0.05, **parameters))
    drive.emulator.lag = Lag(list_by_name=(0.0, 0.5), list_by_parent=(0.0, 0.5), permissions=(0.0, 0.5))

    for number in range(2, 52):
        for owner, reply in zip(OWNERS, federation.ask("answer", timeout=60), strict=True):
            # The app counts messages in its state. So each message ran once, from the state of the one before.
            assert answer_of(reply)["messages"] == number, owner

    messages = [name for name in drive.names() if "/messages/" in name]
    assert len(set(messages)) == len(messages), "a file is stored twice"
    drive.emulator.heal()
    federation.stop()
    wait_until_only_cards_lie_there(drive)
