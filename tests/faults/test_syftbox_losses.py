"""Shows that no race and no failure of SyftBox loses a message, runs it twice or leaves a file.

Each test holds one window of the sync clients or of the server open until the loss has happened. So no test needs luck.
The app waits at a gate meanwhile, as in a long training.
"""

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from faultkit.clock import StillClock
from faultkit.federation import AGGREGATOR, OWNERS, Federation, answer_of
from faultkit.losses import LOST_REPLIES, LOST_REQUESTS
from faultkit.synced import SyncedStorage
from faultkit.synced_round import Round
from flwr.app import Array, ArrayRecord, Message
from leftovers import left_over, unexplained
from recordkit import losses
from recordkit.rows import assert_told
from recordkit.scene import Fault
from waiting import PATIENCE, eventually

from syft_flwr.emulators.syftbox.faithful import Window
from syft_flwr.emulators.syftbox.sync_names import Marker, marked

OWNER = OWNERS[0]
SEED = int(os.environ.get("LOSSES_SEED", "7"))
#: Bytes of a model in many objects.
LARGE = 20_000_000
#: Bytes per second of an uplink on which each of its objects takes too long, and each envelope does not.
SLOW = 200_000


@pytest.fixture
def round_(tmp_path: Path, synced: SyncedStorage) -> Iterator[Round]:
    """Return a round of a federation that has exchanged its keys, and has nothing else under way."""
    with Federation(tmp_path / "homes", synced, [OWNER]) as federation:
        federation.introduce()
        federation.start()
        federation.grid._caller.wait(federation.grid._announced, timeout=PATIENCE)
        synced.settle()
        yield Round(federation, synced)
        synced.network.faithful.store.fails = False
        synced.network.faithful.store.resume()
        federation[OWNER].journal.open_gate()


def rows(losses: list[Fault]) -> list[object]:
    return [pytest.param(row, id=row.name) for row in losses]


@pytest.mark.parametrize("row", rows(losses.LOST_REQUESTS))
def test_lost_request_is_answered_once(row: Fault, tmp_path: Path, logged: list[str]) -> None:
    assert_told(row, tmp_path, logged)


@pytest.mark.parametrize("row", rows(losses.LOST_REPLIES))
def test_lost_reply_arrives_and_counts_once(row: Fault, tmp_path: Path, logged: list[str]) -> None:
    assert_told(row, tmp_path, logged)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("losses_in_a_row", [8])
def test_losses_in_a_row_change_no_reply(round_: Round, losses_in_a_row: int) -> None:
    chosen = random.Random(SEED).choices((*LOST_REQUESTS, *LOST_REPLIES), k=losses_in_a_row)
    for number, lose in enumerate(chosen, 1):
        case = Round(round_.federation, round_.storage)
        if lose in LOST_REPLIES:
            case.ask_and_arrive()
            case.storage.settle()
        lose(case)
        case.assert_replied(number)
    calls = [call["message"] for call in round_.federation[OWNER].journal.calls]
    assert len(calls) == len(set(calls)) == losses_in_a_row
    round_.end()


def withdrawn_before_its_upload(case: Round) -> None:
    """Withdraw the request while its push waits for the store, then let the store have it."""
    with case.hold(AGGREGATOR, Window.PUT) as held:
        case.ask_and_arrive()
        held.wait()
        case.assert_replied()
        case.pass_cycles(2, AGGREGATOR, OWNER)
        # Its next cycles delete the file again, perhaps before the test has seen it.
        case.rest(AGGREGATOR)
    eventually(lambda: case.request in case.world.stored(), "the late upload")
    case.world.set_automatic(True, AGGREGATOR)


def withdrawn_before_its_download(case: Round) -> None:
    """Withdraw the request while the sender's client has deleted it by mistake, and brings it back with its next cycle."""
    with case.cycle(AGGREGATOR, Window.AFTER_VIEW):
        case.ask_and_arrive()
        case.journaled(AGGREGATOR, case.request)
    case.deleted(AGGREGATOR, case.request)
    case.assert_replied()
    case.world.set_automatic(True, AGGREGATOR)


@pytest.mark.parametrize(
    "come_back",
    [
        pytest.param(withdrawn_before_its_upload, id="late_upload"),
        pytest.param(withdrawn_before_its_download, id="late_download"),
    ],
)
def test_withdrawn_request_that_comes_back_is_deleted(round_: Round, come_back: Callable[[Round], None]) -> None:
    come_back(round_)
    round_.assert_run_once()


def stop_without_a_cycle(case: Round) -> str:
    """End both participants while the clients make no cycle. Return the request of the stop, which the receiver's client forgot."""

    def requests() -> set[str]:
        return {name for name in case.world.journal(OWNER) if "/messages/" in name and name.endswith(".request")}

    case.rest(AGGREGATOR)
    with case.cycle(OWNER, Window.AFTER_WALK):
        before = requests()
        case.federation.stop()
        (stop,) = eventually(lambda: requests() - before, "the stop in the journal of its receiver")
    return stop


def in_conflict_after_the_end(case: Round) -> tuple[str, str]:
    stop = stop_without_a_cycle(case)
    case.network.scan(OWNER)
    return OWNER, marked(stop, Marker.CONFLICT)


def uploaded_after_the_end(case: Round) -> tuple[str, str]:
    stop = stop_without_a_cycle(case)

    def is_deleted() -> bool:
        case.network.scan(AGGREGATOR)
        return stop not in case.world.stored()

    # The first cycle may see the file that its writer deletes at this moment.
    eventually(is_deleted, "the deleted stop")
    case.network.scan(OWNER)
    case.network.scan(AGGREGATOR)
    return AGGREGATOR, stop


@pytest.mark.parametrize(
    "come_back",
    [
        pytest.param(in_conflict_after_the_end, id="conflict_copy"),
        pytest.param(uploaded_after_the_end, id="late_upload"),
    ],
)
def test_file_that_comes_after_the_end_is_deleted_by_gc(
    round_: Round, come_back: Callable[[Round], tuple[str, str]]
) -> None:
    left = come_back(round_)
    assert left in left_over(round_.network)
    round_.world.set_automatic(True)
    round_.federation.assert_nothing_left()


def test_file_that_its_writer_left_is_found(round_: Round) -> None:
    """The check before gc excuses only files that SyftBox made."""
    round_.ask_and_arrive()
    data = round_.storage.read(round_.request)
    round_.assert_replied()
    round_.federation.stop()
    round_.storage.plant(round_.request, data)
    round_.storage.settle()
    assert (AGGREGATOR, round_.request) in unexplained(round_.network)


def test_full_queue_of_the_receiver_loses_nothing(round_: Round) -> None:
    federation, world = round_.federation, round_.world
    with round_.hold(OWNER, Window.DELIVERY) as held:
        ids = [federation.push("answer", OWNER)[0] for _ in range(12)]
        held.wait()
        names = {federation.request_name(OWNER, message_id) for message_id in ids}
        eventually(lambda: names <= world.stored(), "all requests in the store")
    replies = [answer_of(reply) for reply in federation.pull(ids)]
    assert sorted(reply["messages"] for reply in replies) == list(range(1, 13))
    assert all(len(federation[OWNER].journal.calls_of(message_id)) == 1 for message_id in ids)
    round_.end()


def pull_while_clients_sync(case: Round) -> Message:
    """Return the reply of a message. The still clock moves only as fast as the clients carry files and heartbeats.

    A clock that ran ahead of them would end the wait for a data owner that is not silent.
    """
    federation, replies = case.federation, []

    def has_reply() -> bool:
        federation[OWNER].spy.wait_for_scans(1)
        case.pass_cycles(1, AGGREGATOR, OWNER)
        federation.let_pass(15)
        replies.extend(federation.grid.pull_messages([case.id]))
        return bool(replies)

    eventually(has_reply, "the reply", 3 * PATIENCE)
    return replies[0]


@pytest.mark.parametrize("given_up", ["three_strikes"])
def test_object_that_the_client_gave_up_still_arrives(tmp_path: Path, synced: SyncedStorage, given_up: str) -> None:
    world = synced.network.faithful
    model = ArrayRecord({"weights": Array(np.random.default_rng(7).integers(0, 256, LARGE, np.uint8))})
    with Federation(tmp_path / "homes", synced, [OWNER], clock=StillClock()) as federation:
        federation.introduce()
        federation.start()
        world.uplink(AGGREGATOR).rate = SLOW
        (message_id,) = federation.push("answer", OWNER, model=model)
        eventually(
            lambda: any("/objects/" in name for name in world.excluded(AGGREGATOR)), "an object with three strikes", 60
        )
        world.uplink(AGGREGATOR).rate = None
        reply = pull_while_clients_sync(Round(federation, synced, message_id))
        assert answer_of(reply)["messages"] == 1
        assert len(federation[OWNER].journal.calls_of(message_id)) == 1
        federation.stop()
        federation.assert_nothing_left()
