"""The heartbeat is written after a change, at each interval, and rarely when only the missing objects change."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.pulse import Pulse
from syft_flwr._messaging.trust import Trust
from syft_flwr._messaging.wire.heartbeat import Heartbeat, Role, read_heartbeat
from syft_flwr._messaging.wire.limits import HEARTBEAT_INTERVAL, MAX_HEARTBEAT, MAX_HELD, MAX_WITHDRAWN
from syft_flwr._store.peers import Peers
from syft_flwr.errors import UnavailableError
from syft_flwr.names import AppNames
from syft_flwr.testing import FakeClock
from syft_flwr.transport._syftbox.pace import SMALL
from syft_flwr.transport.base import Data, Properties
from syft_flwr.transport.memory import MemoryNetwork, MemoryTransport

_DS, _DO = "ds@x.org", "do@y.org"
_NAMES = AppNames("pulse")
_A, _B, _C = ("a" * 32, "b" * 32, "c" * 32)


class _Counting(MemoryTransport):
    """A transport that counts writes, with expensive writes if the test wants them."""

    writes = 0
    update_interval = 0.0

    @property
    def properties(self) -> Properties:
        return replace(super().properties, update_interval=self.update_interval)

    def put(self, name: str, data: Data, *, readers: Collection[str], replace: bool = False) -> None:
        self.writes += 1
        super().put(name, data, readers=readers, replace=replace)


@dataclass
class _Writer:
    """A data owner with its pulse. Time passes before each beat."""

    folder: Path
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.transport = _Counting(MemoryNetwork(), _DO)
        self.trust = Trust(self.transport, _DO, Identity.generate(), Peers(self.folder / "peers.db"), self.clock)
        self.endpoint = Endpoint(self.transport, self.trust, _NAMES, encryption=True, clock=self.clock)
        self.pulse = Pulse(self.endpoint, "data-owner", [_DS])

    def writes_after(self, seconds: float, **content: tuple[str, ...]) -> bool:
        """Let time pass, then beat; return whether the heartbeat was written."""
        before = self.transport.writes
        self.clock.advance(seconds)
        self.pulse.beat(**content)
        return self.transport.writes > before

    def missing(self) -> tuple[str, ...]:
        data = self.transport.get(_NAMES.heartbeat(_DO), max_size=MAX_HEARTBEAT)
        identity = self.trust.identity.public
        return read_heartbeat(data, role="data-owner", email=_DO, app=_NAMES.app, identity=identity).missing


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[_Writer]:
    writer = _Writer(tmp_path)
    yield writer
    writer.trust.close()


def test_changed_requests_are_written_at_once(writer: _Writer) -> None:
    assert writer.writes_after(0, waiting=(_A,))
    assert writer.writes_after(0.1, waiting=(_A, _B))
    assert not writer.writes_after(0.1, waiting=(_A, _B))


def test_unchanged_heartbeat_is_written_each_interval(writer: _Writer) -> None:
    assert writer.writes_after(0, waiting=(_A,))
    assert not writer.writes_after(HEARTBEAT_INTERVAL - 1, waiting=(_A,))
    assert writer.writes_after(1, waiting=(_A,))


def test_change_of_missing_objects_waits_some_seconds(writer: _Writer) -> None:
    assert writer.writes_after(0, missing=(_B, _C))
    assert not writer.writes_after(4, missing=(_C,))
    assert writer.writes_after(1, missing=(_C,))
    assert writer.missing() == (_C,)


def test_missing_objects_travel_with_other_changes(writer: _Writer) -> None:
    assert writer.writes_after(0, waiting=(_A,))
    assert writer.writes_after(0.1, waiting=(), missing=(_B,))
    assert writer.missing() == (_B,)


def test_long_heartbeat_changes_more_rarely(writer: _Writer) -> None:
    withdrawn = tuple(f"{number:032x}" for number in range(500))
    assert writer.writes_after(0, withdrawn=withdrawn)
    assert not writer.writes_after(15, withdrawn=withdrawn, missing=(_B,))
    assert writer.writes_after(15, withdrawn=withdrawn, missing=(_B,))


def test_missing_objects_alone_cause_no_expensive_write(writer: _Writer) -> None:
    writer.transport.update_interval = 10.0
    assert writer.writes_after(0, waiting=(_A,))
    assert not writer.writes_after(HEARTBEAT_INTERVAL - 1, waiting=(_A,), missing=(_B,))
    assert writer.writes_after(1, waiting=(_A,), missing=(_B,))
    assert writer.missing() == (_B,)


@pytest.mark.parametrize(("update_interval", "interval"), [(0.0, 60.0), (30.0, 300.0)])
def test_rare_heartbeat_is_rarer_where_writes_are_expensive(
    writer: _Writer, update_interval: float, interval: float
) -> None:
    writer.transport.update_interval = update_interval
    writer.pulse = Pulse(writer.endpoint, "data-owner", [_DS], rare=True)
    assert writer.writes_after(0)
    assert not writer.writes_after(interval - 1)
    assert writer.writes_after(1)


def test_interval_can_change_at_any_time(writer: _Writer) -> None:
    assert writer.writes_after(0)
    writer.pulse.set_interval(5)
    assert not writer.writes_after(4)
    assert writer.writes_after(1)
    writer.pulse.set_interval(1e9)
    assert not writer.writes_after(HEARTBEAT_INTERVAL - 1)
    assert writer.writes_after(1)


@pytest.mark.parametrize("role", ["data-owner", "aggregator"])
def test_full_heartbeat_is_sent_over_any_link(role: Role) -> None:
    """SyftBox pushes a larger file only where its link is fast."""
    ids = tuple(f"{number:032x}" for number in range(2 * max(MAX_HELD, MAX_WITHDRAWN)))
    lists: dict[str, tuple[str, ...]] = {"waiting": ids} if role == "data-owner" else {"withdrawn": ids}
    now = datetime(2030, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
    email = f"{'m' * 248}@x.org"
    heartbeat = Heartbeat(role, email, "a" * 64, (1 << 53) - 1, (1 << 53) - 1, now, running=_A, missing=ids, **lists)
    assert len(heartbeat.encode(Identity.generate())) <= SMALL


@pytest.mark.parametrize("wrote", [False, True])
def test_only_own_heartbeat_is_deleted_at_the_end(writer: _Writer, wrote: bool) -> None:
    name = _NAMES.heartbeat(_DO)
    writer.transport.put(name, b"of another program", readers=[_DS])
    if wrote:
        writer.pulse.beat()
    writer.pulse.stop()
    assert [entry.name for entry in writer.transport.list(_NAMES.status(_DO))] == ([] if wrote else [name])


def test_failed_write_is_the_trouble_until_the_next_one(writer: _Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise UnavailableError("Drive does not answer")

    with monkeypatch.context() as broken:
        broken.setattr(writer.transport, "put", fail)
        writer.pulse.beat()
    assert "Drive does not answer" in writer.pulse.trouble
    assert writer.writes_after(1)
    assert writer.pulse.trouble == ""
