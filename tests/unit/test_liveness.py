"""The aggregator waits as long as heartbeats arrive, and gives up a data owner that is silent for too long."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.answering.contact import Contact
from syft_flwr._messaging.asking.caller import Caller
from syft_flwr._messaging.asking.kept_answers import KeptAnswers
from syft_flwr._messaging.asking.pending import Ask
from syft_flwr._messaging.asking.round_limits import RoundLimits
from syft_flwr._messaging.asking.wait_limits import WaitLimits
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.liveness import Liveness
from syft_flwr._messaging.pulse import Pulse
from syft_flwr._messaging.trust import Trust
from syft_flwr._messaging.wire.heartbeat import Heartbeat, read_heartbeat
from syft_flwr._messaging.wire.limits import HEARTBEAT_INTERVAL, MAX_HEARTBEAT
from syft_flwr._store.futures import Futures
from syft_flwr._store.peers import Peers
from syft_flwr.clock import SKEW
from syft_flwr.errors import AddressError, MalformedError, SignatureError, StoreError
from syft_flwr.names import AppNames
from syft_flwr.testing import FakeClock
from syft_flwr.transport.memory import MemoryNetwork

_DS, _DO = "ds@x.org", "do@y.org"
_NAMES = AppNames("life")
#: Seconds of silence after which the aggregator gives up, and between two looks.
SILENCE, STEP = 120, 10


@dataclass
class _Pair:
    """An aggregator that sends requests, and the keys of a data owner without a client."""

    clock: FakeClock
    network: MemoryNetwork
    caller: Caller[list[bytes]]
    theirs: Trust

    def ask(self) -> str:
        outgoing = Ask(_DO, run=7, type="train", group="1", lifetime=86_400, buffers=[b"work"])
        return self.caller.send([outgoing])[0]

    def beat(self, number: int, message_id: str, *, waiting: tuple[str, ...] = (), session: int = 1) -> None:
        heartbeat = Heartbeat("data-owner", _DO, _NAMES.app, session, number, self.clock.now(), message_id, waiting)
        data = heartbeat.encode(self.theirs.identity)
        self.network.transport(_DO).put(_NAMES.heartbeat(_DO), data, readers=[_DS], replace=True)

    def wait(self, ids: list[str], *, timeout: float = math.inf) -> None:
        """Start the scanner, and wait. Until then only the test reads heartbeats, so each one has its effect at once."""
        self.caller.start()
        self.caller.wait(ids, timeout=timeout)

    def look_for(self, seconds: float) -> None:
        """Let the time pass while the aggregator looks at its files."""
        for _ in range(round(seconds / STEP)):
            self.clock.advance(STEP)
            self.caller._look_at_everything()


def warnings(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("WARNING")]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[_Pair]:
    clock = FakeClock(patience=20)
    network = MemoryNetwork(poll_interval=0.01)
    trusts = {
        email: Trust(network.transport(email), email, Identity.generate(), Peers(tmp_path / f"{email}.db"), clock)
        for email in (_DS, _DO)
    }
    network.transport(_DO).open_inbox(_NAMES.inbox(_DO))
    trusts[_DO].publish()
    futures = Futures(tmp_path / "futures.db")
    caller = Caller(
        Endpoint(network.transport(_DS), trusts[_DS], _NAMES, encryption=True, clock=clock),
        futures=futures,
        kept_answers=KeptAnswers(tmp_path / "journal", 1 << 40),
        datasites=[_DO],
        limits=WaitLimits(RoundLimits(clock), SILENCE),
        decode=list,
    )
    yield _Pair(clock, network, caller, trusts[_DO])
    caller.close()
    futures.close()
    for trust in trusts.values():
        trust.close()


def test_silent_data_owner_is_given_up(pair: _Pair) -> None:
    message_id = pair.ask()
    pair.look_for(SILENCE)
    pair.wait([message_id])
    [outcome] = pair.caller.collect([message_id])
    assert outcome.failure is not None
    assert outcome.failure.code == "no-answer"
    assert "no heartbeat for 120 s" in outcome.failure.text


def test_heartbeat_for_the_request_extends_the_wait(pair: _Pair) -> None:
    message_id = pair.ask()
    [pending] = pair.caller._pending.open()
    for number in range(1, 11):
        pair.clock.advance(100)
        pair.beat(number, message_id)
        pair.caller._look_at_everything()
        assert pending.seen == pair.clock.monotonic()
    pair.wait([message_id], timeout=0)
    assert pair.caller.collect([message_id]) == []


def test_heartbeat_for_other_requests_does_not_count(pair: _Pair) -> None:
    message_id = pair.ask()
    pair.look_for(100)
    pair.beat(1, "0" * 32)
    pair.look_for(SILENCE - 100)
    pair.wait([message_id])
    assert len(pair.caller.collect([message_id])) == 1


@pytest.mark.parametrize(
    ("running", "known"),
    [
        (0, "the data owner is busy with an earlier message"),
        # Withdrawn, or asked by an earlier process.
        (None, "the data owner is busy with an earlier message"),
        # Objects of the middle one are missing, or its reply cannot be written.
        (2, "the data owner has received the message"),
    ],
)
def test_only_an_earlier_message_makes_a_data_owner_busy(pair: _Pair, running: int | None, known: str) -> None:
    asked = [pair.ask() for _ in range(3)]
    work = "0" * 32 if running is None else asked[running]
    pair.beat(1, work, waiting=tuple(each for each in asked if each != work))
    pair.caller._look_at_everything()
    pair.look_for(SILENCE)
    pair.wait([asked[1]])
    [outcome] = pair.caller.collect([asked[1]])
    assert outcome.failure is not None
    assert outcome.failure.text == f"no reply, and no heartbeat for 120 s (msg_timeout); {known}"


def test_repeated_heartbeat_does_not_count(pair: _Pair) -> None:
    message_id = pair.ask()
    [pending] = pair.caller._pending.open()
    pair.beat(1, message_id)
    pair.caller._look_at_everything()
    seen = pending.seen
    pair.clock.advance(HEARTBEAT_INTERVAL)
    pair.caller._look_at_everything()
    assert pending.seen == seen


def test_heartbeat_of_a_client_that_died_does_not_count(pair: _Pair) -> None:
    message_id = pair.ask()
    [pending] = pair.caller._pending.open()
    pair.beat(1, message_id)
    pair.clock.advance(2 * HEARTBEAT_INTERVAL + SKEW.total_seconds() + 1)
    pair.caller._look_at_everything()
    assert pending.seen < pair.clock.monotonic()
    assert not pair.caller.is_online(_DO)
    pair.beat(2, message_id)
    pair.caller._look_at_everything()
    assert pending.seen == pair.clock.monotonic()


def test_heartbeat_before_its_key_is_no_warning_at_first(tmp_path: Path, logged: list[str]) -> None:
    clock, network, stranger = FakeClock(), MemoryNetwork(), Identity.generate()
    network.transport(_DO).open_inbox(_NAMES.inbox(_DO))
    data = Heartbeat("data-owner", _DO, _NAMES.app, 1, 1, clock.now()).encode(stranger)
    network.transport(_DO).put(_NAMES.heartbeat(_DO), data, readers=[_DS], replace=True)
    with Trust(network.transport(_DS), _DS, Identity.generate(), Peers(tmp_path / "peers.db"), clock) as trust:
        liveness = Liveness(Endpoint(network.transport(_DS), trust, _NAMES, encryption=True, clock=clock), "data-owner")
        for _ in range(2):
            assert liveness.look(_DO) is None
        assert warnings(logged) == []
        clock.advance(120)
        for _ in range(2):
            assert liveness.look(_DO) is None
        [warning] = warnings(logged)
        assert f"{_DO} has published no key yet" in warning


def test_data_owner_that_never_appears_is_warned_of_once(pair: _Pair, logged: list[str]) -> None:
    pair.ask()
    pair.caller._look_at_everything()
    pair.clock.advance(119)
    pair.caller._look_at_everything()
    assert warnings(logged) == []
    for _ in range(2):
        pair.clock.advance(60)
        pair.caller._look_at_everything()
    [warning] = warnings(logged)
    assert f"no heartbeat of {_DO} has arrived for 120 s (not seen yet). Ask {_DO} whether" in warning


def test_data_owner_that_was_seen_is_not_warned_of(pair: _Pair, logged: list[str]) -> None:
    message_id = pair.ask()
    pair.beat(1, message_id)
    pair.caller._look_at_everything()
    pair.clock.advance(1_000)
    pair.caller._look_at_everything()
    assert warnings(logged) == []


@pytest.mark.parametrize("make", [lambda number: bytes(MAX_HEARTBEAT + number), lambda number: b"%d" % number])
def test_peer_cannot_fill_the_log_with_heartbeats(pair: _Pair, logged: list[str], make: Callable[[int], bytes]) -> None:
    pair.ask()
    for number in range(1, 20):
        pair.network.transport(_DO).put(_NAMES.heartbeat(_DO), make(number), readers=[_DS], replace=True)
        pair.look_for(STEP)
    assert len([line for line in warnings(logged) if _NAMES.heartbeat(_DO) in line]) == 1


def test_foreign_or_forged_heartbeat_is_refused() -> None:
    clock, identity = FakeClock(), Identity.generate()
    data = Heartbeat("data-owner", _DO, "life", 1, 1, clock.now()).encode(identity)
    assert read_heartbeat(data, role="data-owner", email=_DO, app="life", identity=identity.public).beat == 1
    with pytest.raises(SignatureError):
        read_heartbeat(data, role="data-owner", email=_DO, app="life", identity=Identity.generate().public)
    with pytest.raises(SignatureError):
        read_heartbeat(
            data.replace(b'"beat": 1', b'"beat": 2'), role="data-owner", email=_DO, app="life", identity=identity.public
        )
    with pytest.raises(AddressError):
        read_heartbeat(data, role="data-owner", email=_DS, app="life", identity=identity.public)
    with pytest.raises(AddressError):
        read_heartbeat(data, role="data-owner", email=_DO, app="other", identity=identity.public)
    with pytest.raises(MalformedError):
        read_heartbeat(b"{}", role="data-owner", email=_DO, app="life", identity=identity.public)


def test_wait_ends_if_its_end_cannot_be_recorded(pair: _Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    message_id = pair.ask()

    def full(*_: object, **__: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(pair.caller._futures, "move", full)
        pair.clock.advance(90_000)
        pair.wait([message_id])
    [outcome] = pair.caller.collect([message_id])
    assert outcome.failure is not None
    assert outcome.failure.code == "no-answer"


@pytest.mark.parametrize("end", ["left", "withdrawn", "alive"])
def test_ended_server_is_not_shown_as_just_seen(tmp_path: Path, end: str) -> None:
    """Over SyftBox, a server leaves its heartbeat. Over other transports, it deletes it."""
    clock, network = FakeClock(), MemoryNetwork()
    trusts = {
        email: Trust(network.transport(email), email, Identity.generate(), Peers(tmp_path / f"{email}.db"), clock)
        for email in (_DS, _DO)
    }
    trusts[_DS].publish()
    server = Endpoint(network.transport(_DS), trusts[_DS], _NAMES, encryption=True, clock=clock)
    client = Endpoint(network.transport(_DO), trusts[_DO], _NAMES, encryption=True, clock=clock)
    contact = Contact(client, _DS, Liveness(client, "aggregator"))
    pulse = Pulse(server, "aggregator", [_DO])
    pulse.beat()
    clock.advance(40)
    if end == "alive":
        contact.look()
        clock.advance(30)
        pulse.beat()
    if end == "withdrawn":
        contact.look()
        pulse.stop()
    contact.look()

    ended = f"last seen 40 s ago; its server ended on {clock.now():%Y-%m-%d %H:%M} UTC"
    assert contact.last_seen() == {"left": "last seen 40 s ago", "withdrawn": ended, "alive": "last seen 0 s ago"}[end]
    for trust in trusts.values():
        trust.close()


def test_new_heartbeat_of_the_aggregator_is_news_once(tmp_path: Path) -> None:
    clock, network = FakeClock(), MemoryNetwork()
    trusts = {
        email: Trust(network.transport(email), email, Identity.generate(), Peers(tmp_path / f"{email}.db"), clock)
        for email in (_DS, _DO)
    }
    trusts[_DS].publish()
    server = Endpoint(network.transport(_DS), trusts[_DS], _NAMES, encryption=True, clock=clock)
    client = Endpoint(network.transport(_DO), trusts[_DO], _NAMES, encryption=True, clock=clock)
    contact = Contact(client, _DS, Liveness(client, "aggregator"))
    assert not contact.has_news()

    found = []
    for missing in ((), ("a" * 32,), ("b" * 32,)):
        # The first heartbeat of each writer is written at once.
        Pulse(server, "aggregator", [_DO]).beat(missing=missing)
        contact.look()
        found += [contact.has_news(), contact.has_news()]
        clock.advance(3)

    assert found == [True, False, False, False, True, False], "at most every 5 seconds"
    for trust in trusts.values():
        trust.close()
