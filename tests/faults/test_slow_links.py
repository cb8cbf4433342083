"""Shows that the parts of a message may arrive in any order and hours apart, and that transfers survive an outage.

Each part that arrives shows that the peer is alive. ``SYFT_FLWR_MSG_TIMEOUT`` limits the silence, and not the duration. While
parts keep arriving, only the expiry of the message ends the wait.
"""

import contextlib
import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from faultkit.clock import StillClock
from faultkit.federation import AGGREGATOR, OWNERS, Federation, reason_of
from faultkit.parts import Copies, assert_echo, exchange, make_app, model, part_sizes, use_equal_parts, use_small_parts
from faultkit.synced import SyncedStorage
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.common.constant import ErrorCode
from leftovers import files_below
from waiting import PATIENCE, eventually

from syft_flwr._messaging.asking.pending import Pending
from syft_flwr.emulators.syftbox import SyncOutcome
from syft_flwr.emulators.syftbox.faithful import Window
from syft_flwr.transport import syftbox

OWNER, OTHER = OWNERS
HOUR = 3_600.0
#: Value of ``SYFT_FLWR_MSG_TIMEOUT`` for an aggregator on slow links, in seconds.
SILENCE = 2 * HOUR
DAY = 24 * HOUR
#: Bytes of a message that is too large to be pushed.
LARGE = 20_000_000


def take(message: Message, context: Context) -> RecordDict:
    return RecordDict({"bytes": MetricRecord({"number": len(message.content["arrays"]["layer 0"].data)})})


APP = make_app(take)


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
    """Yield the future of an exchange in another thread, which waits like a strategy of the Message API."""
    messages = federation.messages("echo", *emails, arrays=arrays)
    for message in messages:
        message.metadata.ttl = ttl
    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool.submit(lambda: list(federation.grid.send_and_receive(messages, timeout=HOUR)))
        finally:
            # The other thread must end, also if the test failed.
            caller = federation.grid._caller
            caller.give_up(caller._pending.ids(), "the test is over")


def waited_for(federation: Federation, email: str) -> Pending | None:
    """Return the aggregator's record of the open request to a data owner, or None."""
    found = [
        p for p in federation.grid._caller._pending.open() if (p.asked.recipient, p.asked.type) == (email, "query")
    ]
    return found[0] if found else None


def wait_until_sent(federation: Federation, email: str) -> Pending:
    """Wait until the request file to a data owner exists. All requests of the same exchange are recorded by then."""

    def sent() -> Pending | None:
        pending = waited_for(federation, email)
        return pending if pending and federation.storage.read(pending.request_name) else None

    found = eventually(sent, f"the request to {email}")
    assert found is not None
    return found


def wait_for_envelope(federation: Federation, email: str, parts: int) -> Pending:
    """Wait until the aggregator has the envelope of the reply and waits for this number of parts."""

    def all_missing() -> Pending | None:
        pending = waited_for(federation, email)
        return pending if pending and pending.arrival and len(pending.arrival.missing) == parts else None

    found = eventually(all_missing, f"the envelope of {email}")
    assert found is not None
    return found


def arrive(federation: Federation, copies: Copies, name: str) -> None:
    """Let a part of a reply arrive at the aggregator, and wait until it has read the part."""
    owner = name.partition("/")[0]
    pending = waited_for(federation, owner)
    assert pending is not None
    assert pending.arrival is not None
    arrival, missing = pending.arrival, len(pending.arrival.missing)
    copies[AGGREGATOR].release(name)
    eventually(lambda: len(arrival.missing) < missing, "a part to be noticed")
    # The time of the part is noted after it was opened. A jump of the clock between the two would hide the silence.
    eventually(lambda: pending.seen == federation.clock.monotonic(), "the time of the part")


def objects_of(copies: Copies, owner: str, seed: int = 7) -> list[str]:
    """Return the names of an owner's objects in a random order."""
    return random.Random(seed).sample(copies.objects(owner), len(copies.objects(owner)))


# Parts of a reply


def test_reply_parts_may_come_hours_apart(federation: Federation, copies: Copies, clock: StillClock) -> None:
    arrays = model(95_000)
    copies[AGGREGATOR].withhold(".blob")
    with sending(federation, arrays, OWNER) as replies:
        pending = wait_for_envelope(federation, OWNER, len(part_sizes(95_128)))
        for name in objects_of(copies, OWNER):
            assert not replies.done()
            clock.advance(1.5 * HOUR)
            arrive(federation, copies, name)
            assert pending.seen == clock.monotonic()
        # No silence reached two hours, although the transfer took fifteen.
        assert_echo(replies.result(PATIENCE)[0], arrays)


def test_reply_without_further_parts_is_given_up(federation: Federation, copies: Copies, clock: StillClock) -> None:
    arrays = model(45_000)
    copies[AGGREGATOR].withhold(f"{OWNER}/app_data/flwr/faults/objects/")
    with sending(federation, arrays) as replies:
        wait_for_envelope(federation, OWNER, len(part_sizes(45_128)))
        eventually(lambda: not waited_for(federation, OTHER), "the other's reply")
        first, second, *_ = objects_of(copies, OWNER)
        for name in (first, second):
            federation.let_pass(SILENCE - 1, step=SILENCE / 8)
            arrive(federation, copies, name)
        federation.let_pass(SILENCE - 1, step=SILENCE / 8)
        assert not replies.done()
        federation.let_pass(1)
        failed, answered = replies.result(PATIENCE)
    assert (
        reason_of(failed)
        == f"{OWNER}: no-answer: no reply, and no heartbeat for {SILENCE:.0f} s (msg_timeout); 2 of 5 objects of the reply have arrived"
    )
    assert failed.error.code == ErrorCode.REPLY_MESSAGE_UNAVAILABLE
    assert_echo(answered, arrays)
    # Parts that arrive later are ignored.
    copies[AGGREGATOR].withhold()
    for reply in exchange(federation, arrays):
        assert_echo(reply, arrays)


def test_expiry_ends_the_wait_for_slow_parts(federation: Federation, copies: Copies, clock: StillClock) -> None:
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
        == f"{OWNER}: no-answer: no reply within {9 * HOUR:.0f} s, the ttl of the message; 8 of 10 objects of the reply have arrived"
    )


def test_parts_before_their_envelope_are_found(federation: Federation, copies: Copies, clock: StillClock) -> None:
    arrays = model(45_000)
    copies[AGGREGATOR].withhold(".response", ".blob")
    with sending(federation, arrays, OWNER) as replies:
        pending = wait_until_sent(federation, OWNER)
        eventually(lambda: copies.read(pending.response_name), "the reply")
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


def test_reply_envelope_extends_the_wait(federation: Federation, copies: Copies, clock: StillClock) -> None:
    arrays = model(45_000)
    copies[AGGREGATOR].withhold(f"{OWNER}/")
    with sending(federation, arrays, OWNER) as replies:
        pending = wait_until_sent(federation, OWNER)
        eventually(lambda: copies.read(pending.response_name), "the reply")
        clock.advance(SILENCE - 1)
        copies[AGGREGATOR].release(pending.response_name)
        wait_for_envelope(federation, OWNER, len(part_sizes(45_128)))
        clock.advance(SILENCE - 1)
        assert not replies.done()
        copies[AGGREGATOR].withhold()
        assert_echo(replies.result(PATIENCE)[0], arrays)


def test_heartbeat_extends_the_wait_for_a_slow_part(federation: Federation, copies: Copies, clock: StillClock) -> None:
    arrays = model(45_000)
    copies[AGGREGATOR].withhold(".blob")
    heartbeat = federation.names.heartbeat(OWNER)
    with sending(federation, arrays, OWNER) as replies:
        wait_for_envelope(federation, OWNER, len(part_sizes(45_128)))
        for _ in range(3):
            clock.advance(SILENCE / 2)
            federation[OWNER].spy.wait_for_scans(2)
            looks = federation.spy.reads[heartbeat]
            eventually(
                lambda n=looks: replies.done() or federation.spy.reads[heartbeat] > n + 1, "two reads of the heartbeat"
            )
        copies[AGGREGATOR].withhold()
        assert_echo(replies.result(PATIENCE)[0], arrays)


# Parts of a request


def test_app_starts_after_the_last_request_part(federation: Federation, copies: Copies, clock: StillClock) -> None:
    arrays = model(75_000)
    owner = federation[OWNER]
    copies[OWNER].withhold(".blob")
    with sending(federation, arrays) as replies:
        pending = wait_until_sent(federation, OWNER)
        eventually(lambda: not waited_for(federation, OTHER), "the other's reply")
        for name in objects_of(copies, AGGREGATOR):
            assert not replies.done()
            clock.advance(1.5 * HOUR)
            # A data owner with a part of a request writes heartbeats about it.
            eventually(lambda: pending.seen == clock.monotonic(), "a heartbeat")
            owner.spy.wait_for_scans(1)
            assert owner.journal.calls_of(pending.id) == []
            copies[OWNER].release(name)
        for reply in replies.result(PATIENCE):
            assert_echo(reply, arrays)
    assert len(owner.journal.calls_of(pending.id)) == 1


def test_incomplete_request_expires_before_the_app(federation: Federation, copies: Copies, clock: StillClock) -> None:
    arrays = model(45_000)
    with sending(federation, model(45_000), OTHER, ttl=HOUR) as replies:
        assert replies.result(PATIENCE)
    copies[OWNER].withhold(".blob")
    with sending(federation, arrays, ttl=4 * HOUR) as replies:
        pending = wait_until_sent(federation, OWNER)
        eventually(lambda: not waited_for(federation, OTHER), "the other's reply")
        for name in objects_of(copies, AGGREGATOR)[1:]:
            copies[OWNER].release(name)
        for _ in range(3):
            clock.advance(HOUR)
            eventually(lambda: pending.seen == clock.monotonic(), "a heartbeat")
        assert not replies.done()
        clock.advance(HOUR)
        failed, answered = replies.result(PATIENCE)
    assert (
        reason_of(failed)
        == f"{OWNER}: no-answer: no reply within {4 * HOUR:.0f} s, the ttl of the message; the data owner has received the message"
    )
    assert_echo(answered, arrays)
    # The last part arrives too late.
    copies[OWNER].withhold()
    for reply in exchange(federation, arrays):
        assert_echo(reply, arrays)
    assert federation[OWNER].journal.calls_of(pending.id) == []


def test_silent_link_is_given_up(federation: Federation, copies: Copies, clock: StillClock) -> None:
    arrays = model(45_000)
    copies[OWNER].withhold(".blob", ".request")
    copies[AGGREGATOR].withhold(f"{OWNER}/")
    with sending(federation, arrays) as replies:
        wait_until_sent(federation, OWNER)
        eventually(lambda: not waited_for(federation, OTHER), "the other's reply")
        federation.let_pass(SILENCE - 1, step=SILENCE / 8)
        federation[OTHER].spy.wait_for_scans(2)
        assert not replies.done()
        federation.let_pass(1)
        failed, answered = replies.result(PATIENCE)
    assert reason_of(failed) == f"{OWNER}: no-answer: no reply, and no heartbeat for {SILENCE:.0f} s (msg_timeout)"
    assert_echo(answered, arrays)


# A transfer by all rules of SyftBox


@pytest.fixture
def by_the_rules(tmp_path: Path, synced: SyncedStorage) -> Iterator[Federation]:
    with Federation(tmp_path / "homes", synced, client_app=APP) as federation:
        federation.introduce()
        federation.start()
        yield federation
        federation.stop()
        federation.assert_nothing_left()


# A transfer with an outage

#: A message in small parts, and the number of its objects.
MODEL, PARTS = 75_000, len(part_sizes(75_128))


@pytest.fixture
def no_pushes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all objects go with the cycles of the clients."""
    monkeypatch.setattr(syftbox, "_PUSHED_MESSAGE", 0)
    use_equal_parts(monkeypatch)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    use_small_parts(monkeypatch)


def objects_at(synced: SyncedStorage, where: str, owner: str) -> list[str]:
    """Return the names of an owner's objects on the machine of ``where``."""
    root = synced.network[where].datasites / owner
    return [f"{owner}/{name}" for name in files_below(root) if name.endswith(".blob")]


def carried(synced: SyncedStorage, owner: str, recipient: str) -> Counter[str]:
    """Return how often each object of an owner was delivered to a recipient, or to the server if it is empty."""
    outcome = SyncOutcome.DELIVERED if recipient else SyncOutcome.ACCEPTED
    records = synced.network.traffic.records(f"{owner}/*.blob", outcome=outcome, sender=owner, recipient=recipient)
    return Counter(record.name for record in records)


def hold_half(synced: SyncedStorage, owner: str) -> contextlib.ExitStack:
    """Let the idle client of ``owner`` make cycles, and hold its uploads except for three objects until the stack is closed."""
    world, late = synced.network.faithful, contextlib.ExitStack()
    eventually(lambda: len(objects_at(synced, owner, owner)) == PARTS, f"all objects of {owner}")
    for name in objects_at(synced, owner, owner)[3:]:
        late.enter_context(world.hold(owner, Window.UPLOAD, name))
    world.set_automatic(True, owner)
    return late


def assert_carried_once(synced: SyncedStorage, owner: str, *recipients: str) -> None:
    for recipient in ("", *recipients):
        found = carried(synced, owner, recipient)
        assert (len(found), set(found.values())) == (PARTS, {1}), recipient


@pytest.mark.usefixtures("small_parts")
def test_request_continues_after_an_outage(by_the_rules: Federation, synced: SyncedStorage) -> None:
    arrays = model(MODEL)
    synced.network.faithful.set_automatic(False, AGGREGATOR)
    sent = by_the_rules.push("echo", arrays=arrays)
    with contextlib.ExitStack() as outage:
        with hold_half(synced, AGGREGATOR):
            for email in OWNERS:
                eventually(lambda e=email: len(objects_at(synced, e, AGGREGATOR)) == 3, f"the first parts at {email}")
            early = objects_at(synced, OWNER, AGGREGATOR)
            outage.enter_context(synced.network.link.outage(OWNER))
        assert_echo(by_the_rules.pull(sent[1:])[0], arrays)
        assert objects_at(synced, OWNER, AGGREGATOR) == early
        assert by_the_rules[OWNER].journal.calls == []
        before = carried(synced, AGGREGATOR, OWNER)
    assert_echo(by_the_rules.pull(sent[:1])[0], arrays)

    assert before == Counter(early)
    assert_carried_once(synced, AGGREGATOR, *OWNERS)


@pytest.mark.usefixtures("small_parts")
def test_reply_continues_after_an_outage(by_the_rules: Federation, synced: SyncedStorage) -> None:
    network, arrays = synced.network, model(MODEL)
    network.faithful.set_automatic(False, OWNER)
    sent = by_the_rules.push("echo", arrays=arrays)

    def request_arrives() -> bool:
        network.scan(OWNER)
        return len(objects_at(synced, OWNER, AGGREGATOR)) == PARTS

    eventually(request_arrives, "the request")
    with contextlib.ExitStack() as outage:
        with hold_half(synced, OWNER):
            assert_echo(by_the_rules.pull(sent[1:])[0], arrays)
            eventually(lambda: len(objects_at(synced, AGGREGATOR, OWNER)) == 3, "the first parts of the reply")
            outage.enter_context(network.link.outage(AGGREGATOR))
        eventually(lambda: len(carried(synced, OWNER, "")) == PARTS, "all parts to be stored")
        assert len(objects_at(synced, AGGREGATOR, OWNER)) == 3
        assert by_the_rules.grid.pull_messages(sent) == []
    assert_echo(by_the_rules.pull(sent[:1])[0], arrays)

    assert_carried_once(synced, OWNER, AGGREGATOR)
    assert len(by_the_rules[OWNER].journal.calls) == 1


@pytest.mark.usefixtures("no_pushes")
def test_next_client_continues_the_download(by_the_rules: Federation, synced: SyncedStorage) -> None:
    world, arrays = synced.network.faithful, model(LARGE)
    with world.hold(OWNER, Window.COPY, "*/objects/*") as held:
        sent = by_the_rules.push("echo", arrays=arrays)
        held.wait()
        world.kill(OWNER)
    assert_echo(by_the_rules.pull(sent[1:])[0], arrays)
    assert by_the_rules[OWNER].journal.calls == []
    assert world.restart(OWNER)
    assert_echo(by_the_rules.pull(sent[:1])[0], arrays)
    assert len(by_the_rules[OWNER].journal.calls) == 1


@pytest.mark.usefixtures("no_pushes")
def test_next_client_continues_the_download_of_a_reply(by_the_rules: Federation, synced: SyncedStorage) -> None:
    world, arrays = synced.network.faithful, model(LARGE)
    with world.hold(AGGREGATOR, Window.COPY, f"{OWNER}/*/objects/*") as held:
        sent = by_the_rules.push("echo", OWNER, arrays=arrays)
        held.wait()
        world.kill(AGGREGATOR)
    assert by_the_rules.grid.pull_messages(sent) == []
    assert world.restart(AGGREGATOR)
    assert_echo(by_the_rules.pull(sent)[0], arrays)
    assert len(by_the_rules[OWNER].journal.calls) == 1


def test_64_megabytes_pass_an_uplink_of_10_mbit(by_the_rules: Federation, synced: SyncedStorage) -> None:
    world = synced.network.faithful
    # The network runs 25 times as fast as SyftBox, so the link must too.
    world.uplink(AGGREGATOR).rate = 25 * 10_000_000 / 8
    # The disk does not, so the client must not find the first object before the last one.
    world.set_automatic(False, AGGREGATOR)
    sent = by_the_rules.push("take", OWNER, arrays=model(64_000_000))
    world.set_automatic(True, AGGREGATOR)
    (reply,) = by_the_rules.pull(sent, timeout=60.0)
    assert not reply.has_error(), reply.error.reason


@pytest.mark.parametrize(("sender", "megabits"), [(AGGREGATOR, 2), (OWNER, 1)])
def test_first_large_message_passes_a_slow_uplink(
    by_the_rules: Federation, synced: SyncedStorage, sender: str, megabits: int
) -> None:
    """No upload takes too long, although the sender does not know its link: 8 files of 2 MiB would need 4.5 Mbit/s."""
    world, arrays = synced.network.faithful, model(16_000_000)
    # As above, the network runs 25 times as fast as SyftBox.
    world.uplink(sender).rate = 25 * megabits * 1_000_000 / 8
    (reply,) = by_the_rules.pull(by_the_rules.push("echo", OWNER, arrays=arrays), timeout=60.0)

    assert_echo(reply, arrays)
    assert world.excluded(sender) == frozenset()
    # The end of the run does not wait for repeated uploads.
    world.uplink(sender).rate = 1e9
    synced.settle()
