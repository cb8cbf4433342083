"""Only a heartbeat that is newer than all read ones counts, also after a restart of its writer or reader."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.liveness import Liveness
from syft_flwr._messaging.pulse import Pulse
from syft_flwr._messaging.trust import Trust
from syft_flwr._messaging.wire.heartbeat import Heartbeat, read_heartbeat
from syft_flwr._messaging.wire.limits import MAX_HEARTBEAT
from syft_flwr._store.peers import HeardRow, Peers
from syft_flwr.errors import SignatureError
from syft_flwr.names import AppNames
from syft_flwr.testing import FakeClock
from syft_flwr.transport.memory import MemoryNetwork

_DS, _DO = "ds@x.org", "do@y.org"
_NAMES = AppNames("order")
_FILE = _NAMES.heartbeat(_DO)
_RUNNING = "a" * 32


@dataclass
class _Pair:
    """An aggregator that reads heartbeats and a data owner that writes them. Both can restart, with their databases."""

    folder: Path
    clock: FakeClock = field(default_factory=FakeClock)
    network: MemoryNetwork = field(default_factory=MemoryNetwork)

    def __post_init__(self) -> None:
        self.identities = {email: Identity.generate() for email in (_DS, _DO)}
        self._trusts: dict[str, Trust] = {}
        self.network.transport(_DO).open_inbox(_NAMES.inbox(_DO))
        self.restart_writer()
        self.restart_reader()

    def restart_writer(self) -> None:
        endpoint = self._open(_DO)
        endpoint.trust.publish()
        self.pulse = Pulse(endpoint, "data-owner", [_DS])

    def restart_reader(self) -> None:
        self.liveness = Liveness(self._open(_DS), "data-owner")

    def accept_new_keys(self) -> None:
        """Give the data owner new keys, which are refused at first, and let the aggregator accept them."""
        self.identities[_DO] = Identity.generate()
        self.restart_writer()
        self.beat()
        assert not self.looks()
        self.liveness._trust.accept(_DO, self.identities[_DO].public.fingerprint)
        self.restart_reader()

    def _open(self, email: str) -> Endpoint:
        if email in self._trusts:
            self._trusts[email].close()
        transport = self.network.transport(email)
        trust = Trust(transport, email, self.identities[email], Peers(self.folder / f"{email}.db"), self.clock)
        self._trusts[email] = trust
        return Endpoint(transport, trust, _NAMES, encryption=True, clock=self.clock)

    def close(self) -> None:
        for trust in self._trusts.values():
            trust.close()

    def beat(self) -> bytes:
        """Let the data owner write its next heartbeat, and return its bytes."""
        self.clock.advance(60)
        self.pulse.beat(running=_RUNNING)
        return self.network.transport(_DO).get(_FILE, max_size=MAX_HEARTBEAT)

    def replay(self, data: bytes) -> bool:
        """Put an earlier file back, and return whether the reader takes it for new."""
        self.network.transport(_DO).put(_FILE, data, readers=[_DS], replace=True)
        return self.looks()

    def looks(self) -> bool:
        """Let the reader look, and return whether it found a new heartbeat."""
        return self.liveness.look(_DO) is not None


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[_Pair]:
    with closing(_Pair(tmp_path)) as pair:
        yield pair


def test_heartbeats_of_two_sessions_in_turn_do_not_count(pair: _Pair) -> None:
    first = [pair.beat() for _ in range(3)]
    assert pair.looks()
    pair.restart_writer()
    second = [pair.beat() for _ in range(3)]
    assert pair.looks()
    assert not any(pair.replay(data) for data in (*first, *second, *reversed(first), *reversed(second)))


def test_restarted_writer_counts_at_once(pair: _Pair) -> None:
    for _ in range(3):
        pair.beat()
        assert pair.looks()
        pair.restart_writer()
        pair.beat()
        assert pair.looks()


@pytest.mark.parametrize("restarts", [0, 1], ids=["of the same session", "of an earlier session"])
def test_restarted_reader_refuses_older_heartbeats(pair: _Pair, restarts: int) -> None:
    old = [pair.beat() for _ in range(3)]
    for _ in range(restarts):
        pair.restart_writer()
    pair.beat()
    assert pair.looks()
    pair.restart_reader()
    assert not any(pair.replay(data) for data in old)
    assert not pair.liveness.is_online(_DO)
    pair.beat()
    assert pair.looks()


def test_restarted_reader_reads_the_last_one_once(pair: _Pair) -> None:
    """It may be a statement, for example of the withdrawn requests."""
    data = pair.beat()
    assert pair.looks()
    pair.restart_reader()
    assert pair.looks()
    assert not pair.replay(data)


def test_wall_clock_that_is_set_back_changes_no_order(pair: _Pair) -> None:
    pair.beat()
    assert pair.looks()
    pair.clock.set_wall_clock_back(86_400)
    pair.beat()
    assert pair.looks()
    pair.restart_writer()
    pair.restart_reader()
    pair.beat()
    assert pair.looks()


def test_writer_that_lost_its_database_is_heard_again(pair: _Pair) -> None:
    pair.beat()
    assert pair.looks()
    (pair.folder / f"{_DO}.db").rename(pair.folder / "lost.db")
    pair.restart_writer()
    pair.beat()
    assert pair.looks()


def test_accepted_new_keys_begin_a_new_order(pair: _Pair) -> None:
    pair.beat()
    assert pair.looks()
    pair.clock.set_wall_clock_back(86_400)
    (pair.folder / f"{_DO}.db").rename(pair.folder / "lost.db")
    pair.accept_new_keys()
    assert pair.looks()


def test_old_keys_do_not_count_after_new_ones_were_accepted(pair: _Pair) -> None:
    old = [pair.beat() for _ in range(3)]
    assert pair.looks()
    pair.accept_new_keys()

    assert not any(pair.replay(data) for data in old)
    assert not pair.liveness.is_online(_DO)


@pytest.mark.parametrize("hours", [-1, 1])
def test_replayed_heartbeat_shows_life_for_two_minutes_at_most(pair: _Pair, hours: int) -> None:
    # The wall clock of the reader is wrong, and it remembers nothing.
    data = pair.beat()
    pair.clock.advance(3_600)
    pair.clock.set_wall_clock_back(3_600 * hours)
    found = pair.replay(data)

    assert found
    assert pair.liveness.is_online(_DO) == (hours > 0)
    pair.clock.advance(121)
    assert not pair.replay(data)
    assert not pair.liveness.is_online(_DO)


def test_time_far_ahead_does_not_hide_a_later_start(pair: _Pair, logged: list[str]) -> None:
    pair.clock.set_wall_clock_back(-10 * 365 * 86_400)
    ahead = pair.beat()
    pair.clock.set_wall_clock_back(10 * 365 * 86_400)
    assert pair.replay(ahead)
    assert "last seen 0 s ago" in pair.liveness.last_seen(_DO)
    pair.restart_reader()
    pair.clock.advance(3_600)
    # The home of the data owner was lost, so it counts its starts by the right clock now.
    (pair.folder / f"{_DO}.db").rename(pair.folder / "lost.db")
    pair.restart_writer()
    pair.beat()

    assert not pair.looks()
    assert f"last seen on {pair.clock.now():%Y}" in pair.liveness.last_seen(_DO)
    [warning] = [line for line in logged if line.startswith("WARNING")]
    assert f"a heartbeat of {_DO} is of an earlier start" in warning


def _changed(key: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda heartbeat: heartbeat.update({key: value})


CHANGES = {
    "a withdrawal less": lambda heartbeat: heartbeat["withdrawn"].pop(),
    "a withdrawal more": lambda heartbeat: heartbeat["withdrawn"].append("f" * 32),
    "no withdrawal": _changed("withdrawn", []),
    "another order": lambda heartbeat: heartbeat["withdrawn"].reverse(),
    "a missing object more": lambda heartbeat: heartbeat["missing"].append("f" * 32),
    "a waiting request less": lambda heartbeat: heartbeat["waiting"].pop(),
    "another session": _changed("session", (1 << 53) - 1),
    "another number": _changed("beat", (1 << 53) - 1),
    "another time": _changed("written", "2099-01-01T00:00:00Z"),
    "another role": _changed("role", "data-owner"),
    "another app": _changed("app", "other"),
    "a request in two lists": lambda heartbeat: heartbeat["waiting"].extend(heartbeat["withdrawn"]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_statement_of_an_aggregator_is_refused(change: str) -> None:
    identity, ids = Identity.generate(), tuple(f"{number:032x}" for number in range(4))
    whole = Heartbeat("aggregator", _DS, "order", 1, 1, FakeClock().now(), "", ids[:2], ids[2:3], ids)
    data = json.loads(whole.encode(identity))
    CHANGES[change](data)
    forged = json.dumps(data).encode()
    role = "data-owner" if change == "another role" else "aggregator"
    app = "other" if change == "another app" else "order"

    with pytest.raises(SignatureError):
        read_heartbeat(forged, role=role, email=_DS, app=app, identity=identity.public)  # type: ignore[arg-type]


def test_second_machine_of_a_data_owner_is_a_warning(pair: _Pair, logged: list[str]) -> None:
    earlier = pair.pulse
    pair.beat()
    assert pair.looks()
    pair.restart_writer()
    pair.beat()
    assert pair.looks()
    assert logged == [line for line in logged if "WARNING" not in line]
    earlier._published = None
    earlier._trust = pair.pulse._trust
    pair.clock.advance(1)
    earlier.beat()
    for _ in range(2):
        assert not pair.looks()
    [warning] = [line for line in logged if line.startswith("WARNING")]
    assert f"a heartbeat of {_DO} is of an earlier start" in warning


def test_sessions_of_roles_and_apps_are_apart(tmp_path: Path) -> None:
    clock = FakeClock()
    with closing(Peers(tmp_path / "peers.db")) as peers:
        first = peers.begin_session("one", "data-owner", clock.now())
        assert peers.begin_session("one", "data-owner", clock.now()) == first + 1
        assert peers.begin_session("one", "aggregator", clock.now()) == first
        assert peers.begin_session("two", "data-owner", clock.now()) == first
        row = HeardRow(7, 9, clock.now() - timedelta(days=1))
        peers.hear(_DO, "one", "data-owner", row)
        assert peers.heard(_DO, "one", "data-owner") == row
        assert peers.heard(_DO, "two", "data-owner") is None
        assert peers.heard(_DO, "one", "aggregator") is None
