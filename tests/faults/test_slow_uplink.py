"""An uplink that is too slow for eight files at a time delivers a large message, one file after another.

The sync service is the emulator in faithful mode: it gives up a file after three uploads that took too long.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from faithful_settings import faithful_settings
from faultkit.clock import StillClock
from faultkit.federation import AGGREGATOR, OWNERS, Federation, passing_time
from faultkit.hand_sync import PartsTransport
from faultkit.parts import assert_echo, exchange, make_app, model
from faultkit.storage import POLL_INTERVAL
from faultkit.synced import SyncedStorage
from waiting import eventually

OWNER = OWNERS[0]
DAY = 86_400.0
#: Plaintext bytes of one object: many times the size of an envelope, which must pass within one cycle.
PART = 100_000
#: Seconds between two scans of a client. Shorter ones than elsewhere, because all time limits of SyftBox follow from it.
CYCLE = 0.1
#: Bytes per second. An upload may take 30 / 5 cycles. One part needs half of that time, and eight parts need four times.
RATE = 2 * PART / (6 * CYCLE)
PATIENCE = 120.0


class SlowStorage(SyncedStorage):
    """Synchronised folders with objects that all go with the scan."""

    def open(self, email: str) -> PartsTransport:
        return PartsTransport(self.network[email].data_dir, email, poll_interval=POLL_INTERVAL, part_size=PART)


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[SlowStorage]:
    settings = replace(faithful_settings(tmp_path), scan_interval=CYCLE)
    with SlowStorage(tmp_path / "machines", [AGGREGATOR, *OWNERS], settings=settings) as storage:
        yield storage


@pytest.mark.parametrize("writer", [AGGREGATOR, OWNER])
def test_slow_uplink_delivers_a_large_message(tmp_path: Path, storage: SlowStorage, writer: str) -> None:
    network = storage.network
    clock, first, arrays = StillClock(), model(4 * PART), model(7 * PART)
    # The clock runs much faster than the uplink, so heartbeats seem to be late.
    options = {AGGREGATOR: {"msg_timeout": "none"}}
    with Federation(tmp_path / "homes", storage, clock=clock, client_app=make_app(), options=options) as federation:
        federation.introduce()
        federation.start()
        # The permissions of all folders are on the server after the first round.
        with passing_time(clock):
            assert_echo(exchange(federation, first, OWNER, timeout=7 * DAY)[0], first)
        messages = federation.messages("echo", OWNER, arrays=arrays)
        messages[0].metadata.ttl = 7 * DAY
        network.faithful.uplink(writer).rate = RATE
        with ThreadPoolExecutor(1) as pool:
            replies = pool.submit(federation.grid.send_and_receive, messages, timeout=7 * DAY)
            eventually(lambda: network.faithful.excluded(writer), "a file that was given up", PATIENCE)

            def pass_time() -> bool:
                clock.advance(0.5)
                return replies.done()

            eventually(pass_time, "the reply", PATIENCE)
            network.faithful.uplink(writer).rate = 1e9
            assert_echo(next(iter(replies.result())), arrays)
    assert len(federation[OWNER].journal.calls) == 2
