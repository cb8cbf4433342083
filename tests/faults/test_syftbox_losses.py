"""Shows that no race and no failure of SyftBox loses a message, runs it twice or leaves a file.

Each test holds one window of the sync clients or of the server open until the loss has happened. So no test needs luck.
The app waits at a gate meanwhile, as in a long training.
"""

import contextlib
import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from faultkit.clock import StillClock
from faultkit.federation import AGGREGATOR, OWNERS, Federation, answer_of
from faultkit.synced import SyncedStorage
from flwr.app import Array, ArrayRecord, Message
from leftovers import left_over, unexplained
from waiting import PATIENCE, eventually

from syft_flwr.emulators.syftbox import SyncOutcome
from syft_flwr.emulators.syftbox.faithful import Hold, Window
from syft_flwr.emulators.syftbox.sync_names import Marker, marked

OWNER = OWNERS[0]
SEED = int(os.environ.get("LOSSES_SEED", "7"))
#: Bytes of a model in many objects.
LARGE = 20_000_000
#: Bytes per second of an uplink on which each of its objects takes too long, and each envelope does not.
SLOW = 200_000


@dataclass
class Round:
    """One message to one data owner. Its app waits at the gate until the test opens it."""

    federation: Federation
    storage: SyncedStorage
    id: str = ""

    def __post_init__(self) -> None:
        self.network = self.storage.network
        self.world = self.network.faithful

    @property
    def request(self) -> str:
        return self.federation.request_name(OWNER, self.id)

    @property
    def response(self) -> str:
        return self.federation.response_name(OWNER, self.id)

    def hold(self, email: str, window: Window, pattern: str = "*/messages/*") -> AbstractContextManager[Hold]:
        return self.world.hold(email, window, pattern)

    @contextlib.contextmanager
    def cycle(self, email: str, window: Window) -> Iterator[None]:
        """Hold a cycle of a client in this window. After the block, it makes no cycle until :meth:`go_on`."""
        with self.world.hold(email, window):
            self.world.set_automatic(False, email)
            yield

    @contextlib.contextmanager
    def only_pushes(self, *emails: str) -> Iterator[None]:
        """Let clients make no cycle in this block. A client that stands in a cycle, or makes none, stays as it is.

        On a busy machine, a cycle of the sender could upload a file before its push. A cycle of the receiver could delete
        the file before the participant has read it, and a sender that makes no cycle, or has no store, sends no second one.
        """
        resting = [email for email in emails if self.world.is_automatic(email)]
        for email in resting:
            self.rest(email)
        yield
        for email in resting:
            self.world.set_automatic(True, email)

    def rest(self, email: str) -> None:
        """Let a client make no cycle by itself."""
        self.world.set_automatic(False, email)
        # This waits for the end of a running cycle.
        self.network.scan(email)

    def go_on(self, email: str) -> None:
        """Let the participant notice the present files, then let its client make cycles again."""
        self.look(email)
        self.world.set_automatic(True, email)

    def look(self, email: str) -> None:
        """Wait until a participant has looked at all files."""
        if email == OWNER:
            self.federation[OWNER].spy.wait_for_scans(2)
            return
        reads, heartbeat = self.federation.spy.reads, self.federation.names.heartbeat(OWNER)
        goal = reads[heartbeat] + 2
        eventually(lambda: reads[heartbeat] >= goal, "two scans of the aggregator")

    def ask(self) -> None:
        self.federation[OWNER].journal.close_gate()
        (self.id,) = self.federation.push("answer_at_the_gate", OWNER)

    def ask_and_arrive(self) -> None:
        with self.only_pushes(AGGREGATOR, OWNER):
            self.ask()
            self.federation[OWNER].journal.wait_for_call(self.id)

    def reply(self) -> None:
        """Let the app reply, and wait until the response was written."""
        self.federation[OWNER].journal.open_gate()
        eventually(lambda: self.storage.read(self.response), "the response")

    def reply_and_arrive(self) -> None:
        with self.only_pushes(OWNER, AGGREGATOR):
            self.reply()
            self.arrives(AGGREGATOR, self.response)

    def arrives(self, email: str, name: str) -> None:
        eventually(lambda: self.storage.read(name, email), f"{name} at {email}")

    def journaled(self, email: str, name: str) -> None:
        """Wait until a client counts its push as sent."""
        eventually(lambda: name in self.world.journal(email), f"{name} in the journal of {email}")

    def indexed(self, name: str) -> None:
        """Wait until the server has a file. Without it, the next cycle uploads the file, and sees no conflict."""
        eventually(lambda: name in self.world.indexed(), f"{name} in the index")

    def deleted(self, email: str, name: str) -> None:
        """Wait until a client has deleted its copy of a file, because it was missing in the view of the server."""
        records = self.network.traffic.records
        eventually(
            lambda: records(name, outcome=SyncOutcome.DELETED, recipient=email), f"the deletion of {name} at {email}"
        )

    def renamed(self, email: str, name: str) -> None:
        """Wait until a client has renamed its copy of a file to ``.conflict``."""
        records = self.network.traffic.records
        eventually(
            lambda: records(name, outcome=SyncOutcome.CONFLICT, sender=email), f"the conflict of {name} at {email}"
        )

    def conflicts(self, email: str, name: str) -> None:
        """Make cycles until the client has renamed its copy. A cycle is abandoned if a file vanishes in its walk.

        The held cycle has removed the file from the journal. On a busy machine, a second push can have added it again.
        """
        records, journal = self.network.traffic.records, self.world._daemon(email).files.journal

        def is_renamed() -> bool:
            self.network.scan(email)
            if records(name, outcome=SyncOutcome.CONFLICT, sender=email):
                return True
            journal.remove(name)
            return False

        eventually(is_renamed, f"the conflict of {name} at {email}")

    def pass_cycles(self, number: int, *emails: str) -> None:
        ends = {email: self.world.cycles(email) + number for email in emails}
        eventually(lambda: all(self.world.cycles(email) >= end for email, end in ends.items()), f"{number} cycles")

    def assert_replied(self, messages: int = 1) -> None:
        """Check that the reply arrives, as number ``messages`` of the run."""
        self.federation[OWNER].journal.open_gate()
        (reply,) = self.federation.pull([self.id])
        assert answer_of(reply)["messages"] == messages

    def assert_run_once(self) -> None:
        """Check that the app ran once with the message, that the next message is answered, and that no file is left."""
        assert [answer["messages"] for answer in self.federation.assert_served()] == [2]
        assert len(self.federation[OWNER].journal.calls_of(self.id)) == 1
        self.end()

    def end(self) -> None:
        """End the run when the clients have done all that they had begun, and check that no file is left."""
        self.pass_cycles(3, AGGREGATOR, OWNER)
        self.look(AGGREGATOR)
        self.look(OWNER)
        self.federation.stop()
        self.federation.assert_nothing_left()


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


# Ways to lose a request. Each one sends the request, and ends when the loss has happened.


def deleted_at_the_receiver(case: Round) -> None:
    """Push the request between the view and the walk of the receiver."""
    with case.cycle(OWNER, Window.AFTER_VIEW):
        case.ask_and_arrive()
        case.journaled(OWNER, case.request)
    case.deleted(OWNER, case.request)
    case.go_on(OWNER)


def in_conflict_at_the_receiver(case: Round) -> None:
    """Push the request between the walk and the journal of the receiver. The next cycle sees a conflict."""
    with case.cycle(OWNER, Window.AFTER_WALK):
        case.ask_and_arrive()
        case.journaled(OWNER, case.request)
        case.indexed(case.request)
    case.conflicts(OWNER, case.request)
    case.go_on(OWNER)


def deleted_at_the_sender(case: Round) -> None:
    with case.cycle(AGGREGATOR, Window.AFTER_VIEW):
        case.ask_and_arrive()
        case.journaled(AGGREGATOR, case.request)
    case.deleted(AGGREGATOR, case.request)
    case.go_on(AGGREGATOR)
    case.arrives(AGGREGATOR, case.request)


def in_conflict_at_the_sender(case: Round) -> None:
    with case.cycle(AGGREGATOR, Window.AFTER_WALK):
        case.ask_and_arrive()
        case.journaled(AGGREGATOR, case.request)
        case.indexed(case.request)
    case.conflicts(AGGREGATOR, case.request)
    case.go_on(AGGREGATOR)


def refused_by_the_store(case: Round) -> None:
    """Let the store fail. The data owner gets the request before that, and both clients delete it."""
    case.world.store.fails = True
    case.ask_and_arrive()
    case.deleted(AGGREGATOR, case.request)
    case.deleted(OWNER, case.request)
    case.look(OWNER)
    case.world.store.fails = False


def dropped_on_its_way(case: Round) -> None:
    """Lose the push before the server. The sender counts it as sent, and its next cycle deletes the file."""
    case.network.link.drop = lambda name: "/messages/" in name and name.endswith(".request")
    with case.only_pushes(AGGREGATOR):
        case.ask()
        case.journaled(AGGREGATOR, case.request)
    case.deleted(AGGREGATOR, case.request)
    case.network.link.drop = False


def cut_in_the_frame(case: Round) -> None:
    with case.only_pushes(AGGREGATOR), case.hold(AGGREGATOR, Window.FRAME) as held:
        case.ask()
        held.wait()
        case.world.cut(AGGREGATOR)
        case.journaled(AGGREGATOR, case.request)
    case.deleted(AGGREGATOR, case.request)


def server_ended_before_the_store(case: Round) -> None:
    # The sender must not put the file back before the receiver has lost it.
    with case.only_pushes(AGGREGATOR):
        with case.hold(AGGREGATOR, Window.PUT) as held:
            case.ask_and_arrive()
            held.wait()
            case.world.stop_server()
            case.world.start_server()
        case.deleted(OWNER, case.request)
        case.go_on(OWNER)
    case.deleted(AGGREGATOR, case.request)


def store_stands_still(case: Round) -> None:
    """Stop the store for three cycles. The request comes back when its PUT ends."""
    case.world.store.stop()
    case.ask_and_arrive()
    case.deleted(OWNER, case.request)
    case.pass_cycles(3, AGGREGATOR, OWNER)
    case.look(OWNER)
    case.world.store.resume()


def missing_in_the_index(case: Round) -> None:
    """Store the request while the server lists its store. It is in the store and not in the index until the next rebuild."""
    rebuilding = threading.Thread(target=case.world.rebuild_index)
    with case.world.hold("", Window.LISTING) as held:
        rebuilding.start()
        held.wait()
        case.ask_and_arrive()
        eventually(lambda: case.request in case.world.stored(), "the request in the store")
        # The sender must not put the file back before the receiver has lost it.
        case.world.set_automatic(False, AGGREGATOR)
    rebuilding.join()
    case.deleted(OWNER, case.request)
    case.look(OWNER)
    case.world.rebuild_index()
    case.world.set_automatic(True, AGGREGATOR)


def sender_restarted(case: Round) -> None:
    """Kill the sender's client in the second before its push enters the journal. Its first cycle sees a conflict."""
    case.ask_and_arrive()
    case.indexed(case.request)
    case.journaled(AGGREGATOR, case.request)
    case.world.kill(AGGREGATOR)
    case.world._daemon(AGGREGATOR).files.journal.remove(case.request)
    assert case.world.restart(AGGREGATOR)
    case.renamed(AGGREGATOR, case.request)


def receiver_restarted(case: Round) -> None:
    """Kill the receiver's client between the file and its entry in the journal."""
    with case.hold(OWNER, Window.PLACED) as held:
        case.ask_and_arrive()
        held.wait()
        case.indexed(case.request)
        case.world.set_automatic(False, OWNER)
        case.world.kill(OWNER)
    assert case.world.restart(OWNER)
    case.renamed(OWNER, case.request)
    case.go_on(OWNER)


LOST_REQUESTS: tuple[Callable[[Round], None], ...] = (
    deleted_at_the_receiver,
    in_conflict_at_the_receiver,
    deleted_at_the_sender,
    in_conflict_at_the_sender,
    refused_by_the_store,
    dropped_on_its_way,
    cut_in_the_frame,
    server_ended_before_the_store,
    store_stands_still,
    missing_in_the_index,
    sender_restarted,
    receiver_restarted,
)


# Ways to lose a reply, to a request that has arrived.


def reply_deleted_at_the_receiver(case: Round) -> None:
    """Delete the reply before the aggregator reads it, as on a busy machine."""
    case.federation.spy.hidden = (".response",)
    with case.cycle(AGGREGATOR, Window.AFTER_VIEW):
        case.reply_and_arrive()
        case.journaled(AGGREGATOR, case.response)
    case.deleted(AGGREGATOR, case.response)
    case.go_on(AGGREGATOR)
    case.federation.spy.hidden = ()


def reply_in_conflict_at_the_receiver(case: Round) -> None:
    case.federation.spy.hidden = (".response",)
    with case.cycle(AGGREGATOR, Window.AFTER_WALK):
        case.reply_and_arrive()
        case.journaled(AGGREGATOR, case.response)
        case.indexed(case.response)
    case.conflicts(AGGREGATOR, case.response)
    case.go_on(AGGREGATOR)
    case.federation.spy.hidden = ()


def reply_deleted_at_the_sender(case: Round) -> None:
    with case.cycle(OWNER, Window.AFTER_VIEW):
        case.reply()
        case.journaled(OWNER, case.response)
    case.deleted(OWNER, case.response)
    case.go_on(OWNER)


def reply_in_conflict_at_the_sender(case: Round) -> None:
    case.federation.spy.hidden = (".response",)
    with case.cycle(OWNER, Window.AFTER_WALK):
        case.reply()
        case.journaled(OWNER, case.response)
        case.indexed(case.response)
    case.conflicts(OWNER, case.response)
    case.go_on(OWNER)
    case.federation.spy.hidden = ()


def reply_refused_by_the_store(case: Round) -> None:
    case.federation.spy.hidden = (".response",)
    case.world.store.fails = True
    case.reply_and_arrive()
    case.deleted(AGGREGATOR, case.response)
    case.deleted(OWNER, case.response)
    case.world.store.fails = False
    case.federation.spy.hidden = ()


def reply_dropped_on_its_way(case: Round) -> None:
    case.network.link.drop = lambda name: name.endswith(".response")
    with case.only_pushes(OWNER):
        case.reply()
        case.journaled(OWNER, case.response)
    case.deleted(OWNER, case.response)
    case.network.link.drop = False


def reply_cut_in_the_frame(case: Round) -> None:
    with case.only_pushes(OWNER), case.hold(OWNER, Window.FRAME) as held:
        case.reply()
        held.wait()
        case.world.cut(OWNER)
        case.journaled(OWNER, case.response)
    case.deleted(OWNER, case.response)


def aggregator_client_down_meanwhile(case: Round) -> None:
    case.world.kill(AGGREGATOR)
    case.reply()
    case.indexed(case.response)
    assert case.world.restart(AGGREGATOR)


LOST_REPLIES: tuple[Callable[[Round], None], ...] = (
    reply_deleted_at_the_receiver,
    reply_in_conflict_at_the_receiver,
    reply_deleted_at_the_sender,
    reply_in_conflict_at_the_sender,
    reply_refused_by_the_store,
    reply_dropped_on_its_way,
    reply_cut_in_the_frame,
    aggregator_client_down_meanwhile,
)


def cases(losses: tuple[Callable[[Round], None], ...]) -> list[object]:
    return [pytest.param(loss, id=loss.__name__) for loss in losses]


@pytest.mark.parametrize("lose", cases(LOST_REQUESTS))
def test_lost_request_is_answered_once(round_: Round, lose: Callable[[Round], None]) -> None:
    lose(round_)
    round_.assert_replied()
    round_.assert_run_once()


@pytest.mark.parametrize("lose", cases(LOST_REPLIES))
def test_lost_reply_arrives_and_counts_once(round_: Round, lose: Callable[[Round], None]) -> None:
    round_.ask_and_arrive()
    round_.storage.settle()
    lose(round_)
    round_.assert_replied()
    round_.assert_run_once()


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
