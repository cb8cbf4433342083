"""Shows that a client replies to a ping at once: while its app runs, from its backlog, and for a run that is over.

A ping changes no run. A data owner that is offline, or replies with other values, is listed with the reason.
"""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident
from typing import Any

import pytest
from faultkit.clock import StillClock
from faultkit.federation import OWNERS, Federation, passing_time, reason_of
from faultkit.forge import Forge, body_of
from faultkit.resuming import ResumingFederation
from faultkit.storage import MemoryStorage, Storage
from flwr.app import ConfigRecord, MetricRecord, RecordDict
from waiting import PATIENCE, eventually

from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.asking import Ask
from syft_flwr._messaging.asking.pending import Pending
from syft_flwr._messaging.wire import body as bodies
from syft_flwr.fl_orchestrator import NoPong, Pong, SyftGrid
from syft_flwr.fl_orchestrator.ping import PING_GROUP, pong_records
from syft_flwr.runs.listing import runs_of
from syft_flwr.runs.record import runs_folder
from syft_flwr.software import SYFT_FLWR, flower

OWNER, OTHER = OWNERS
RUN = 1001
#: Seconds of a ping in tests whose clock stands still.
TIMEOUT = 30.0


@pytest.fixture
def federation(tmp_path: Path, storage: Storage) -> Iterator[Federation]:
    with Federation(tmp_path / "homes", storage) as federation:
        yield federation


@pytest.fixture
def still(tmp_path: Path, memory: MemoryStorage) -> Iterator[Federation]:
    """Return a federation in memory whose clock moves only when the test moves it."""
    with Federation(tmp_path / "homes", memory, clock=StillClock()) as federation:
        yield federation


def ping(federation: Federation) -> dict[str, Pong | NoPong]:
    assert federation.grid is not None
    return federation.grid.ping(PATIENCE)


def pong(running: str = "", waiting: int = 0) -> tuple[str, str, str, int]:
    return SYFT_FLWR, flower(), running, waiting


def facts(found: Pong | NoPong) -> tuple[str, str, str, int]:
    assert isinstance(found, Pong), found
    assert found.seconds >= 0
    return found.software, found.flower, found.running, found.waiting


def open_pings(federation: Federation) -> dict[str, Pending]:
    """Return the pings without a result, by the email of the data owner."""
    assert federation.grid is not None
    pending = federation.grid._caller._pending.open()
    return {each.asked.recipient: each for each in pending if each.asked.group.startswith(PING_GROUP)}


@contextmanager
def pinging(federation: Federation) -> Iterator["Future[dict[str, Pong | NoPong]]"]:
    """Yield the future of a ping that waits on the still clock in another thread."""
    assert federation.grid is not None
    clock = federation.clock
    assert isinstance(clock, StillClock)
    with ThreadPoolExecutor(1) as pool:
        thread = pool.submit(get_ident).result()
        pinged = pool.submit(federation.grid.ping, TIMEOUT)
        try:
            eventually(lambda: thread in clock.asleep or pinged.done(), "the wait for replies")
            yield pinged
        finally:
            with passing_time(clock, after=0):
                pinged.exception(PATIENCE)


def test_ping_names_the_software_of_each_owner(federation: Federation) -> None:
    federation.start()
    found = ping(federation)
    assert {email: facts(each) for email, each in found.items()} == dict.fromkeys(OWNERS, pong())


def test_busy_data_owner_replies_at_once(federation: Federation) -> None:
    federation.start()
    owner = federation[OWNER]
    (first,) = federation.push("answer_at_the_gate", OWNER)
    # Otherwise the sync service can deliver the second one first.
    owner.journal.wait_for_call(first)
    (second,) = federation.push("answer_at_the_gate", OWNER)
    eventually(lambda: facts(ping(federation)[OWNER]) == pong("query", 1), "a ping that names both requests")
    assert facts(ping(federation)[OTHER]) == pong()
    owner.journal.open_gate()
    federation.pull([first, second])
    assert facts(ping(federation)[OWNER]) == pong()
    assert [len(owner.journal.calls_of(message_id)) for message_id in (first, second)] == [1, 1]


def test_round_trip_is_measured_by_the_aggregator(still: Federation) -> None:
    still.start()
    (message_id,) = still.push("answer", OWNER)
    still.pull([message_id])

    def take_time(name: str) -> None:
        if name.endswith(".response"):
            still.clock.advance(2.5)

    still[OWNER].spy.before_putting = take_time
    with pinging(still) as pinged:
        found = pinged.result(PATIENCE)[OWNER]
    still[OWNER].spy.before_putting = None
    assert isinstance(found, Pong)
    assert found.seconds == 2.5


@pytest.mark.parametrize("min_replies", [1.0, 0.5])
def test_offline_data_owner_is_listed_with_the_reason(still: Federation, min_replies: float) -> None:
    """A quorum closes rounds of a strategy early, and no ping."""
    still.options[still.aggregator] = {"min_replies": min_replies, "grace": 0.5}
    still.participant = still._participant(still.aggregator, still.spy)
    still.introduce()
    still.start(OWNER)
    with pinging(still) as pinged:
        eventually(lambda: set(open_pings(still)) == {OTHER}, "the reply of the other data owner")
        request = open_pings(still)[OTHER].request_name
        still.clock.advance(1)
        assert not pinged.done()
        assert still.storage.read(request)
        still.clock.advance(TIMEOUT)
        found = pinged.result(PATIENCE)
    assert facts(found[OWNER]) == pong()
    # The limit of the ping and the lifetime of its message end at the same moment; one of two threads tells it first.
    no_pong = found[OTHER]
    assert isinstance(no_pong, NoPong)
    assert (no_pong.code, no_pong.text.removesuffix(", the ttl of the message")) == (
        "no-answer",
        "no reply within 30 s",
    )
    assert not still.storage.read(request)


def test_data_owner_without_a_key_is_listed(still: Federation) -> None:
    still.start(OWNER)
    with pinging(still) as pinged:
        eventually(lambda: set(open_pings(still)) == {OTHER}, "the reply of the other data owner")
        still.clock.advance(TIMEOUT)
        found = pinged.result(PATIENCE)
    assert facts(found[OWNER]) == pong()
    assert found[OTHER] == NoPong("no-key", f"nothing from the datasite of {OTHER} has arrived (no reply within 30 s)")


def test_ping_of_the_backlog_is_answered(still: Federation) -> None:
    still.introduce()
    still.start(OTHER)
    with pinging(still) as pinged:
        eventually(lambda: set(open_pings(still)) == {OWNER}, "the reply of the other data owner")
        still[OWNER].start()
        found = pinged.result(PATIENCE)
    assert {email: facts(each) for email, each in found.items()} == dict.fromkeys(OWNERS, pong())


def test_ping_of_a_run_that_is_over_is_answered(still: Federation) -> None:
    """The client read the stop of this run before it served it, so it continues. It answers pings, and runs nothing."""
    still.introduce()
    records = RecordDict({"config": ConfigRecord({"action": "stop", "reason": "Server stopped"})})
    name, data = Forge(still, OWNER, RUN).request(records, type="system", group="final")
    still.storage.plant(name, data)
    still.start()
    assert facts(ping(still)[OWNER]) == pong()
    assert reason_of(*still.ask("answer", OWNER)) == (
        f"{OWNER}: refused: the data owner itself ended the request (stopped): this run is over"
    )
    with passing_time(still.clock):
        still.grid.send_stop_signal()
        still.close_grid()
    still.begin_run()


def test_ping_begins_no_run(federation: Federation) -> None:
    for owner in federation.owners.values():
        owner.start()
    federation.grid = SyftGrid(federation.app, federation.emails, client=federation.participant)
    assert {email: facts(each) for email, each in ping(federation).items()} == dict.fromkeys(OWNERS, pong())
    for participant in (federation.participant, *(owner.participant for owner in federation.owners.values())):
        assert runs_of(participant.home) == ([], [])
        # The events of a ping go to the record of no run.
        written = {path.name for path in runs_folder(participant.app_home(federation.app)).glob("*")}
        assert written <= {f"{0:016x}.{role}.jsonl" for role in ("aggregator", "datasite")}
    federation.begin_run()
    federation.assert_served()


def test_ping_needs_a_positive_timeout(still: Federation) -> None:
    still.begin_run()
    with pytest.raises(ValueError, match="positive"):
        still.grid.ping(0)


def test_ping_outside_a_run_keeps_an_interrupted_one(
    tmp_path: Path, anna: Identity, ben: Identity, eve: Identity
) -> None:
    federation = ResumingFederation(tmp_path, [anna, ben, eve])
    try:
        federation.start()
        ids = federation.ask(b"small", b"x" * 40_000)
        for owner in federation.owners.values():
            owner.answer(b"done", b"y" * 40_000)
        first = federation.answers(ids)
        federation.kill()
        # Without a run, as a grid before set_run.
        federation.start(run=0)
        caller = federation.caller
        pinged = caller.send(
            [
                Ask(email, 99, "system", PING_GROUP + "0", TIMEOUT, [b"ping"], once=False, recorded=False)
                for email in federation.owners
            ]
        )
        caller.give_up(pinged, "no reply")
        caller.collect(pinged)
        caller.close()
        federation.start()
        assert federation.taken_up == len(ids)
        assert federation.answers(federation.ask(b"small", b"x" * 40_000)) == first
        federation.close()
    finally:
        federation.give_back()


# Replies of a hostile data owner


def _pong(**changes: Any) -> RecordDict:
    fields = {**dict(pong_records("query", 1)["config"]), **changes}
    return RecordDict({"config": ConfigRecord({key: value for key, value in fields.items() if value is not None})})


HOSTILE: dict[str, Callable[[], RecordDict]] = {
    "no record": RecordDict,
    "another kind of record": lambda: RecordDict({"config": MetricRecord({"waiting": 1})}),
    "another action": lambda: _pong(action="start"),
    "no software": lambda: _pong(software=None),
    "an empty software": lambda: _pong(software=""),
    "a software of many lines": lambda: _pong(software="syft-flwr\nERROR forged"),
    "a long software": lambda: _pong(software="x" * 65),
    "a list for a software": lambda: _pong(software=["x"]),
    "a flower with an escape": lambda: _pong(flower="flwr \x1b[31m"),
    "a flower that is not ASCII": lambda: _pong(flower="flwr é"),
    "a long type": lambda: _pong(running="x" * 129),
    "a number for a type": lambda: _pong(running=1),
    "fewer than no requests": lambda: _pong(waiting=-1),
    "too many requests": lambda: _pong(waiting=1 << 53),
    "a truth for a number": lambda: _pong(waiting=True),
    "a text for a number": lambda: _pong(waiting="1"),
    "a fraction for a number": lambda: _pong(waiting=1.5),
}


@contextmanager
def replying(federation: Federation, body: bodies.Body) -> Iterator["Future[dict[str, Pong | NoPong]]"]:
    """Yield the future of a ping to which the first data owner, without a client, replies with this body."""
    federation.introduce()
    federation.start(OTHER)
    forge = Forge(federation, OWNER)
    with pinging(federation) as pinged:
        pending = eventually(lambda: open_pings(federation).get(OWNER), "the ping")
        digest = hashlib.sha256(federation.storage.read(pending.request_name)).hexdigest()
        fields = {"id": pending.id, "answers": digest, "run": RUN, "type": "system", "group": pending.asked.group}
        federation.storage.plant(*forge.response(body=body, **fields))
        yield pinged
    federation.storage.take(forge.federation.response_name(OWNER, pending.id))


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_reply_is_refused(still: Federation, kind: str) -> None:
    with replying(still, body_of(HOSTILE[kind]())) as pinged:
        found = pinged.result(PATIENCE)
    assert facts(found[OTHER]) == pong()
    result = found[OWNER]
    assert isinstance(result, NoPong)
    assert result.code == "invalid"
    assert result.text.startswith("the reply to a ping has ")
    assert "forged" not in result.text


def test_type_of_a_hostile_reply_is_made_printable(still: Federation) -> None:
    with replying(still, body_of(_pong(running="a\x1b\nb", more="x" * 1_000))) as pinged:
        assert facts(pinged.result(PATIENCE)[OWNER]) == pong(r"a\x1b b", 1)


def test_refusal_of_an_older_client_is_listed(still: Federation) -> None:
    with replying(still, bodies.failure("invalid", "a control message asks for an unknown action")) as pinged:
        assert pinged.result(PATIENCE)[OWNER] == NoPong("invalid", "a control message asks for an unknown action")
