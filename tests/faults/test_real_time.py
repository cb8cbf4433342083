"""Everything that a round waits for travels in real time, as long as its parts fit into pushes: no scan is needed.

The network of these tests scans only on command.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from faultkit.federation import AGGREGATOR, OWNERS, Federation
from faultkit.parts import assert_echo, exchange, make_app, model
from faultkit.storage import POLL_INTERVAL
from waiting import repeatedly

from syft_flwr.emulators.syftbox import How, SyncOutcome, SyncSettings
from syft_flwr.testing.syftbox import SyftBoxNetwork
from syft_flwr.transport.syftbox import SyftBoxTransport

OWNER, OTHER = OWNERS
MB = 1_000_000


class Machines:
    """A SyftBox folder for each participant."""

    workers = False

    def __init__(self, network: SyftBoxNetwork) -> None:
        self.network = network

    def open(self, email: str) -> SyftBoxTransport:
        return SyftBoxTransport(self.network[email].data_dir, email, poll_interval=POLL_INTERVAL)

    def settle(self) -> None:
        """Return at once, because the test decides when the network scans."""

    def delivered(self, how: How, pattern: str = "*") -> set[str]:
        """Return the names of the delivered objects and messages of this kind."""
        records = self.network.traffic.records(pattern, outcome=SyncOutcome.DELIVERED)
        carriers = ("/objects/", "/messages/")
        return {each.name for each in records if each.how is how and any(part in each.name for part in carriers)}


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    never = SyncSettings(scan_interval=3_600, debounce=0.01)
    with SyftBoxNetwork(tmp_path / "machines", [AGGREGATOR, *OWNERS], settings=never) as network:
        yield Machines(network)


@pytest.fixture
def federation(tmp_path: Path, machines: Machines) -> Iterator[Federation]:
    with contextlib.ExitStack() as opened:
        with repeatedly(machines.network.scan, 0.1):
            federation = opened.enter_context(Federation(tmp_path / "homes", machines, client_app=make_app()))
            federation.introduce()
            federation.start()
            # From the second message on, the readers of each folder are known everywhere.
            exchange(federation, model(100_000))
        yield federation
        # The participants leave, and the scans end after that.
        leaving = opened.pop_all()
    with repeatedly(machines.network.scan, 0.1), leaving:
        pass


@pytest.mark.parametrize("size", [1_000, 100_000, MB, 4 * MB, 15 * MB])
def test_round_needs_no_scan(federation: Federation, machines: Machines, size: int) -> None:
    scanned = machines.delivered(How.SCAN)
    arrays = model(size)

    for reply in exchange(federation, arrays):
        assert_echo(reply, arrays)

    assert machines.delivered(How.SCAN) == scanned
    assert machines.delivered(How.REALTIME, "*.blob") == set()


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


def test_large_message_goes_with_the_scan(federation: Federation, machines: Machines) -> None:
    arrays = model(18 * MB)

    with repeatedly(machines.network.scan, 0.1):
        for reply in exchange(federation, arrays):
            assert_echo(reply, arrays)

    sizes = {record.size for record in machines.network.traffic.records("*.blob", outcome=SyncOutcome.DELIVERED)}
    assert max(sizes) <= (2 << 20) + 64
    assert machines.delivered(How.SCAN, f"{AGGREGATOR}/*.blob")
    assert machines.delivered(How.SCAN, f"{OWNER}/*.blob")
