"""Messages whose parts come in any order and hours apart, and transfers that are cut in the middle.

Parts that arrive are a sign of life: ``SYFT_FLWR_MSG_TIMEOUT`` bounds the silence and not the duration, and only the
message's own expiry ends a wait in which something keeps coming.
"""

import contextlib
import os
import random
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from faultkit.clock import StillClock
from faultkit.federation import AGGREGATOR, OWNERS, Federation, reason_of
from faultkit.parts import PART, Copies, assert_echo, exchange, make_app, model, part_sizes
from faultkit.storage import POLL_INTERVAL
from flwr.app import ArrayRecord
from flwr.common.constant import ErrorCode
from waiting import PATIENCE, eventually

from syft_flwr._messaging.asking.pending import Pending
from syft_flwr.emulators.syftbox import SyncOutcome, SyncSettings
from syft_flwr.testing import FakeClock
from syft_flwr.testing.syftbox import SyftBoxNetwork
from syft_flwr.transport import syftbox
from syft_flwr.transport.syftbox import SyftBoxTransport

OWNER, OTHER = OWNERS
HOUR = 3_600.0
#: What a data scientist on slow links sets as ``SYFT_FLWR_MSG_TIMEOUT``.
SILENCE = 2 * HOUR
DAY = 24 * HOUR
APP = make_app()


@pytest.fixture
def copies() -> Copies:
    return Copies()


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def federation(tmp_path: Path, copies: Copies, clock: StillClock) -> Iterator[Federation]:
    patience = {"msg_timeout": SILENCE}
    with Federation(
        tmp_path / "homes", copies, clock=clock, client_app=APP, options={AGGREGATOR: patience}
    ) as federation:
        federation.start()
        yield federation
        for email in (AGGREGATOR, *OWNERS):
            copies[email].withhold()
        copies.wait_until_empty(OWNER)
        copies.wait_until_empty(OTHER)
    assert copies.objects() == []


@contextlib.contextmanager
def sending(federation: Federation, arrays: ArrayRecord, *emails: str, ttl: float = 7 * DAY) -> Iterator[Future[Any]]:
    """Give the future of an exchange in another thread, as a strategy of the Message API waits for one."""
    messages = federation.messages("echo", *emails, arrays=arrays)
    for message in messages:
        message.metadata.ttl = ttl
    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool.submit(lambda: list(federation.grid.send_and_receive(messages, timeout=HOUR)))
        finally:
            # Whatever went wrong, the other thread must end.
            caller = federation.grid._caller
            caller.give_up(caller._pending.ids(), "the test is over")


def waited_for(federation: Federation, email: str) -> Pending | None:
    """Return what the aggregator knows of the open question to a data owner."""
    found = [
        p for p in federation.grid._caller._pending.open() if (p.asked.recipient, p.asked.type) == (email, "query")
    ]
    return found[0] if found else None


def wait_until_sent(federation: Federation, email: str) -> Pending:
    """Wait until the request to a data owner lies there; those of the same exchange are known by then."""

    def sent() -> Pending | None:
        pending = waited_for(federation, email)
        return pending if pending and federation.storage.read(pending.request_name) else None

    found = eventually(sent, f"the question to {email}")
    assert found is not None
    return found


def wait_for_envelope(federation: Federation, email: str, parts: int) -> Pending:
    """Wait until the aggregator has the answer's envelope and waits for its parts."""

    def all_missing() -> Pending | None:
        pending = waited_for(federation, email)
        return pending if pending and pending.arrival and len(pending.arrival.missing) == parts else None

    found = eventually(all_missing, f"the envelope of {email}")
    assert found is not None
    return found


def arrive(federation: Federation, copies: Copies, name: str) -> None:
    """Let a part of an answer arrive at the aggregator, and wait until it has noticed."""
    owner = name.partition("/")[0]
    pending = waited_for(federation, owner)
    assert pending is not None
    assert pending.arrival is not None
    arrival, missing = pending.arrival, len(pending.arrival.missing)
    copies[AGGREGATOR].release(name)
    eventually(lambda: len(arrival.missing) < missing, "a part to be noticed")


def objects_of(copies: Copies, owner: str, seed: int = 7) -> list[str]:
    """Return the names of an owner's objects in some order."""
    return random.Random(seed).sample(copies.objects(owner), len(copies.objects(owner)))


# An answer on its way


def test_parts_of_an_answer_may_come_in_any_order_and_hours_apart(
    federation: Federation, copies: Copies, clock: StillClock
) -> None:
    arrays = model(95_000)
    copies[AGGREGATOR].withhold(".blob")
    with sending(federation, arrays, OWNER) as replies:
        pending = wait_for_envelope(federation, OWNER, len(part_sizes(95_128)))
        for name in objects_of(copies, OWNER):
            assert not replies.done()
            clock.advance(1.5 * HOUR)
            arrive(federation, copies, name)
            assert pending.seen == clock.monotonic()
        # Nobody was silent for two hours in these fifteen.
        assert_echo(replies.result(PATIENCE)[0], arrays)


def test_an_answer_whose_parts_stop_coming_is_given_up_after_the_silence(
    federation: Federation, copies: Copies, clock: StillClock
) -> None:
    arrays = model(45_000)
    copies[AGGREGATOR].withhold(f"{OWNER}/app_data/flwr/faults/objects/")
    with sending(federation, arrays) as replies:
        wait_for_envelope(federation, OWNER, len(part_sizes(45_128)))
        eventually(lambda: not waited_for(federation, OTHER), "the other's answer")
        first, second, *_ = objects_of(copies, OWNER)
        for name in (first, second):
            clock.advance(SILENCE - 1)
            arrive(federation, copies, name)
        clock.advance(SILENCE - 1)
        assert not replies.done()
        clock.advance(1)
        failed, answered = replies.result(PATIENCE)
    assert (
        reason_of(failed)
        == f"{OWNER}: no-answer: no answer, and no sign of life for {SILENCE:.0f} s; of its answer, 2 of 5 objects have arrived"
    )
    assert failed.error.code == ErrorCode.REPLY_MESSAGE_UNAVAILABLE
    assert_echo(answered, arrays)
    # What comes later is of no use, and does no harm.
    copies[AGGREGATOR].withhold()
    for reply in exchange(federation, arrays):
        assert_echo(reply, arrays)


def test_an_answer_whose_parts_keep_coming_is_waited_for_until_its_expiry_and_no_longer(
    federation: Federation, copies: Copies, clock: StillClock
) -> None:
    arrays = model(95_000)
    copies[AGGREGATOR].withhold(".blob")
    with sending(federation, arrays, OWNER, ttl=9 * HOUR) as replies:
        wait_for_envelope(federation, OWNER, len(part_sizes(95_128)))
        for name in objects_of(copies, OWNER)[:8]:
            clock.advance(HOUR)
            arrive(federation, copies, name)
        assert not replies.done()
        clock.advance(HOUR)
        (failed,) = replies.result(PATIENCE)
    assert (
        reason_of(failed)
        == f"{OWNER}: no-answer: no answer within {9 * HOUR:.0f} s; of its answer, 8 of 10 objects have arrived"
    )


def test_parts_that_were_there_before_their_envelope_are_not_waited_for(
    federation: Federation, copies: Copies, clock: StillClock
) -> None:
    arrays = model(45_000)
    copies[AGGREGATOR].withhold(".response", ".blob")
    with sending(federation, arrays, OWNER) as replies:
        pending = wait_until_sent(federation, OWNER)
        eventually(lambda: copies.read(pending.response_name), "the answer")
        last, *others = objects_of(copies, OWNER)
        for name in others:
            copies[AGGREGATOR].release(name)
        clock.advance(HOUR)
        copies[AGGREGATOR].release(pending.response_name)
        arrival = wait_for_envelope(federation, OWNER, 1).arrival
        assert arrival is not None
        assert [federation.names.object(OWNER, ref.id) for ref in arrival.missing] == [last]
        arrive(federation, copies, last)
        assert_echo(replies.result(PATIENCE)[0], arrays)


def test_the_envelope_of_an_answer_is_a_sign_of_life(federation: Federation, copies: Copies, clock: StillClock) -> None:
    arrays = model(45_000)
    copies[AGGREGATOR].withhold(f"{OWNER}/")
    with sending(federation, arrays, OWNER) as replies:
        pending = wait_until_sent(federation, OWNER)
        eventually(lambda: copies.read(pending.response_name), "the answer")
        clock.advance(SILENCE - 1)
        copies[AGGREGATOR].release(pending.response_name)
        wait_for_envelope(federation, OWNER, len(part_sizes(45_128)))
        clock.advance(SILENCE - 1)
        assert not replies.done()
        copies[AGGREGATOR].withhold()
        assert_echo(replies.result(PATIENCE)[0], arrays)


def test_a_part_that_takes_longer_than_the_silence_is_waited_for_while_its_owner_shows_life(
    federation: Federation, copies: Copies, clock: StillClock
) -> None:
    arrays = model(45_000)
    copies[AGGREGATOR].withhold(".blob")
    heartbeat = federation.names.heartbeat(OWNER)
    with sending(federation, arrays, OWNER) as replies:
        wait_for_envelope(federation, OWNER, len(part_sizes(45_128)))
        for _ in range(3):
            clock.advance(SILENCE / 2)
            federation[OWNER].spy.wait_for_scans(2)
            looks = federation.spy.reads[heartbeat]
            eventually(lambda n=looks: replies.done() or federation.spy.reads[heartbeat] > n + 1, "two looks for life")
        copies[AGGREGATOR].withhold()
        assert_echo(replies.result(PATIENCE)[0], arrays)


# A request on its way


def test_parts_of_a_request_may_come_in_any_order_and_hours_apart_and_the_app_waits_for_the_last(
    federation: Federation, copies: Copies, clock: StillClock
) -> None:
    arrays = model(75_000)
    owner = federation[OWNER]
    copies[OWNER].withhold(".blob")
    with sending(federation, arrays) as replies:
        pending = wait_until_sent(federation, OWNER)
        eventually(lambda: not waited_for(federation, OTHER), "the other's answer")
        for name in objects_of(copies, AGGREGATOR):
            assert not replies.done()
            clock.advance(1.5 * HOUR)
            # A data owner that has a part of a request says that it is there.
            eventually(lambda: pending.seen == clock.monotonic(), "a sign of life")
            owner.spy.wait_for_scans(1)
            assert owner.journal.calls_of(pending.id) == []
            copies[OWNER].release(name)
        for reply in replies.result(PATIENCE):
            assert_echo(reply, arrays)
    assert len(owner.journal.calls_of(pending.id)) == 1


def test_a_request_of_which_a_part_never_comes_ends_with_its_time_and_the_app_is_not_called(
    federation: Federation, copies: Copies, clock: StillClock
) -> None:
    arrays = model(45_000)
    with sending(federation, model(45_000), OTHER, ttl=HOUR) as replies:
        assert replies.result(PATIENCE)
    copies[OWNER].withhold(".blob")
    with sending(federation, arrays, ttl=4 * HOUR) as replies:
        pending = wait_until_sent(federation, OWNER)
        eventually(lambda: not waited_for(federation, OTHER), "the other's answer")
        for name in objects_of(copies, AGGREGATOR)[1:]:
            copies[OWNER].release(name)
        for _ in range(3):
            clock.advance(HOUR)
            eventually(lambda: pending.seen == clock.monotonic(), "a sign of life")
        assert not replies.done()
        clock.advance(HOUR)
        failed, answered = replies.result(PATIENCE)
    assert reason_of(failed) == f"{OWNER}: no-answer: no answer within {4 * HOUR:.0f} s"
    assert_echo(answered, arrays)
    # The last part comes too late.
    copies[OWNER].withhold()
    for reply in exchange(federation, arrays):
        assert_echo(reply, arrays)
    assert federation[OWNER].journal.calls_of(pending.id) == []


def test_a_link_that_carries_nothing_is_given_up_after_the_silence(
    federation: Federation, copies: Copies, clock: StillClock
) -> None:
    arrays = model(45_000)
    copies[OWNER].withhold(".blob", ".request")
    copies[AGGREGATOR].withhold(f"{OWNER}/")
    with sending(federation, arrays) as replies:
        wait_until_sent(federation, OWNER)
        eventually(lambda: not waited_for(federation, OTHER), "the other's answer")
        clock.advance(SILENCE - 1)
        federation[OTHER].spy.wait_for_scans(2)
        assert not replies.done()
        clock.advance(1)
        failed, answered = replies.result(PATIENCE)
    assert reason_of(failed) == f"{OWNER}: no-answer: no answer, and no sign of life for {SILENCE:.0f} s"
    assert_echo(answered, arrays)


# A transfer that is cut


class Machines:
    """A SyftBox folder for each participant, kept in step by a network whose clock the test moves."""

    workers = False

    def __init__(self, network: SyftBoxNetwork) -> None:
        self.network = network

    def open(self, email: str) -> SyftBoxTransport:
        return SyftBoxTransport(self.network[email].data_dir, email, poll_interval=POLL_INTERVAL)

    def objects(self, where: str, owner: str) -> list[str]:
        """Return the names of an owner's objects that lie on somebody's machine."""
        root = self.network[where].datasites
        # Not rglob, which stumbles over folders that the network removes.
        found = [Path(folder, name) for folder, _, names in os.walk(root / owner) for name in names]
        return sorted(str(path.relative_to(root)) for path in found if path.suffix == ".blob")

    def carried(self, owner: str, recipient: str) -> Counter[str]:
        """Return how often each of an owner's objects was brought to a recipient; to the server if that is empty."""
        outcome = SyncOutcome.DELIVERED if recipient else SyncOutcome.ACCEPTED
        records = self.network.traffic.records(f"{owner}/*.blob", outcome=outcome, sender=owner, recipient=recipient)
        return Counter(record.name for record in records)


@contextlib.contextmanager
def carrying(network: SyftBoxNetwork) -> Iterator[None]:
    """Let everybody who is online scan all the time."""
    done = threading.Event()

    def scan() -> None:
        while not done.wait(0.01):
            network.scan()

    thread = threading.Thread(target=scan, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class LateHalf:
    """A delay of hours for all but the first three objects of one datasite."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._early: set[str] = set()

    def __call__(self, name: str) -> float:
        if not (name.startswith(self._owner) and name.endswith(".blob")):
            return 0.0
        if len(self._early) < 3:
            self._early.add(name)
        return 0.0 if name in self._early else HOUR


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machines]:
    monkeypatch.setattr(syftbox, "_PART_SIZE", PART)
    network = SyftBoxNetwork(
        tmp_path / "machines", [AGGREGATOR, *OWNERS], settings=SyncSettings(debounce=0), clock=FakeClock()
    )
    # Scans take what there is in any order.
    network.link.reorder(seed=11, spread=0.0)
    with network, carrying(network):
        yield Machines(network)


@pytest.fixture
def far_apart(tmp_path: Path, machines: Machines) -> Iterator[Federation]:
    with Federation(tmp_path / "homes", machines, client_app=APP) as federation:
        federation.introduce()
        federation.start()
        yield federation
        everybody = (AGGREGATOR, *OWNERS)
        eventually(
            lambda: not any(machines.objects(where, owner) for where in everybody for owner in OWNERS), "no answer left"
        )


def test_a_request_that_was_cut_off_goes_on_with_the_missing_parts(far_apart: Federation, machines: Machines) -> None:
    network, arrays = machines.network, model(75_000)
    parts = len(part_sizes(75_128))
    network.link.delay = LateHalf(AGGREGATOR)
    sent = far_apart.push("echo", arrays=arrays)
    for email in OWNERS:
        eventually(lambda e=email: len(machines.objects(e, AGGREGATOR)) == 3, f"the first parts at {email}")
    eventually(lambda: len(machines.carried(AGGREGATOR, "")) == parts, "all parts to be under way")
    network.link.delay = 0.0
    early = machines.objects(OWNER, AGGREGATOR)

    with network.link.outage(OWNER):
        network._clock.advance(2 * HOUR)
        assert_echo(far_apart.pull(sent[1:])[0], arrays)
        assert machines.objects(OWNER, AGGREGATOR) == early
        assert far_apart[OWNER].journal.calls == []
        before = machines.carried(AGGREGATOR, OWNER)
    assert_echo(far_apart.pull(sent[:1])[0], arrays)

    assert before == Counter(early)
    for recipient in ("", *OWNERS):
        carried = machines.carried(AGGREGATOR, recipient)
        assert len(carried) == parts
        assert set(carried.values()) == {1}


def test_an_answer_that_was_cut_off_goes_on_with_the_missing_parts(far_apart: Federation, machines: Machines) -> None:
    network, arrays = machines.network, model(75_000)
    parts = len(part_sizes(75_128))
    network.link.delay = LateHalf(OWNER)
    sent = far_apart.push("echo", arrays=arrays)
    assert_echo(far_apart.pull(sent[1:])[0], arrays)
    eventually(lambda: len(machines.objects(AGGREGATOR, OWNER)) == 3, "the first parts of the answer")
    eventually(lambda: len(machines.carried(OWNER, "")) == parts, "all parts to be under way")
    network.link.delay = 0.0

    with network.link.outage(AGGREGATOR):
        network._clock.advance(2 * HOUR)
        assert len(machines.objects(AGGREGATOR, OWNER)) == 3
        assert far_apart.grid.pull_messages(sent) == []
    assert_echo(far_apart.pull(sent[:1])[0], arrays)

    for recipient in ("", AGGREGATOR):
        carried = machines.carried(OWNER, recipient)
        assert len(carried) == parts
        assert set(carried.values()) == {1}
    assert len(far_apart[OWNER].journal.calls) == 1
