"""Everything that a round waits for travels in real time, as long as its parts fit into pushes: no scan is needed.

The sync clients of these tests make cycles only on command. They are those of the emulator's faithful mode, with all races.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from faithful_settings import CYCLE
from faultkit.federation import AGGREGATOR, OWNERS, Federation
from faultkit.parts import assert_echo, exchange, make_app, model
from faultkit.synced import SyncedStorage
from waiting import PATIENCE, repeatedly

from syft_flwr.emulators.syftbox import How, SyncOutcome
from syft_flwr.transport import syftbox

OWNER, OTHER = OWNERS
MB = 1_000_000


class Machines(SyncedStorage):
    """Synchronised folders. The test decides when the clients make cycles."""

    def settle(self) -> None:
        """Return at once: a participant that waits must not need a cycle."""

    def delivered(self, how: How, pattern: str = "*") -> set[str]:
        """Return the names of the delivered objects and messages of this kind."""
        records = self.network.traffic.records(pattern, outcome=SyncOutcome.DELIVERED)
        carriers = ("/objects/", "/messages/")
        return {each.name for each in records if each.how is how and any(part in each.name for part in carriers)}


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    with Machines(tmp_path / "machines", [AGGREGATOR, *OWNERS]) as machines:
        machines.network.faithful.set_automatic(False)
        yield machines


@contextlib.contextmanager
def started(folder: Path, machines: Machines) -> Iterator[Federation]:
    """Yield a federation after its first round. Cycles are made in this round, and at the end."""
    network = machines.network
    with contextlib.ExitStack() as opened:
        with repeatedly(network.scan, CYCLE):
            federation = opened.enter_context(Federation(folder, machines, client_app=make_app()))
            federation.introduce()
            federation.start()
            # From the second message on, the readers of each folder are known everywhere.
            exchange(federation, model(100_000))
        network.settle(PATIENCE)
        yield federation
        # The participants leave, and the cycles end after that.
        leaving = opened.pop_all()
    with repeatedly(network.scan, CYCLE), leaving:
        pass


@pytest.fixture
def federation(tmp_path: Path, machines: Machines) -> Iterator[Federation]:
    """Return a federation in which large pushes have shown that all links are fast."""
    with started(tmp_path / "homes", machines) as federation:
        # The objects of each round are deleted in the next one.
        for _ in range(3):
            exchange(federation, model(4 * MB))
        yield federation


@pytest.fixture
def new_federation(tmp_path: Path, machines: Machines) -> Iterator[Federation]:
    """Return a federation that knows the readers of each folder, and does not know the speed of the links."""
    with started(tmp_path / "homes", machines) as federation:
        yield federation


@pytest.mark.parametrize("size", [1_000, 100_000, MB, 4 * MB, 15 * MB, 40 * MB])
def test_round_needs_no_scan(federation: Federation, machines: Machines, size: int) -> None:
    scanned = machines.delivered(How.SCAN)
    arrays = model(size)

    for reply in exchange(federation, arrays):
        assert_echo(reply, arrays)

    assert machines.delivered(How.SCAN) == scanned
    assert machines.delivered(How.REALTIME, "*.blob") == set()


@pytest.mark.parametrize("size", [MB, 15 * MB])
def test_first_large_round_needs_no_scan(new_federation: Federation, machines: Machines, size: int) -> None:
    scanned = machines.delivered(How.SCAN)
    arrays = model(size)

    for reply in exchange(new_federation, arrays):
        assert_echo(reply, arrays)

    assert machines.delivered(How.SCAN) == scanned
    records = machines.network.traffic.records(f"{AGGREGATOR}/*/objects/*", outcome=SyncOutcome.DELIVERED)
    sizes = sorted({record.size for record in records}, reverse=True)
    assert sizes[0] >= min(size, 2 << 20)
    assert all(smaller <= (256 << 10) + 100 for smaller in sizes[1:])


def test_broadcast_is_one_object_for_all(federation: Federation, machines: Machines) -> None:
    before = machines.delivered(How.REALTIME, f"{AGGREGATOR}/*/objects/*")
    exchange(federation, model(MB))

    new = machines.delivered(How.REALTIME, f"{AGGREGATOR}/*/objects/*") - before
    assert len(new) == 1
    for name in new:
        records = machines.network.traffic.records(name, outcome=SyncOutcome.DELIVERED)
        assert sorted(record.recipient for record in records) == sorted(OWNERS)


def test_reply_up_to_one_push_is_in_its_envelope(federation: Federation, machines: Machines) -> None:
    before = machines.delivered(How.REALTIME, f"{OWNER}/*/objects/*")

    exchange(federation, model(3 * MB))

    assert machines.delivered(How.REALTIME, f"{OWNER}/*/objects/*") == before


def test_request_to_one_is_in_its_envelope(federation: Federation, machines: Machines) -> None:
    before = machines.delivered(How.REALTIME, f"{AGGREGATOR}/*/objects/*")
    first, second = model(MB), model(MB, 10)
    messages = [
        *federation.messages("echo", OWNER, arrays=first),
        *federation.messages("echo", OTHER, arrays=second),
    ]

    replies = list(federation.grid.send_and_receive(messages, timeout=60))

    assert_echo(replies[0], first)
    assert_echo(replies[1], second)
    assert machines.delivered(How.REALTIME, f"{AGGREGATOR}/*/objects/*") == before


def test_large_message_goes_with_the_scan(
    federation: Federation, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syftbox, "_PUSHED_MESSAGE", 16 * MB)
    arrays = model(18 * MB)

    with repeatedly(machines.network.scan, CYCLE):
        for reply in exchange(federation, arrays):
            assert_echo(reply, arrays)

    sizes = {record.size for record in machines.network.traffic.records("*.blob", outcome=SyncOutcome.DELIVERED)}
    assert max(sizes) <= (2 << 20) + 64
    assert machines.delivered(How.SCAN, f"{AGGREGATOR}/*.blob")
    assert machines.delivered(How.SCAN, f"{OWNER}/*.blob")
