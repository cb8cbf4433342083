"""Shows that each message has one outcome and one effect over SyftBox, in any order of its races, failures and messages.

A seed chooses the steps: send, collect, hold a window of a client open or release it, cut a connection, kill or start a
client, let the server or its store fail. At the end all faults are removed. Then each message must have one reply, and each
app must have run once for it; no file may be left.

``SYNCED_ORDER_SEEDS`` sets the number of sequences, and ``SYNCED_ORDER_STEPS`` the steps of each.
"""

import os
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from faithful_settings import CYCLE
from faultkit.federation import AGGREGATOR, OWNERS, Federation, answer_of
from faultkit.synced import SyncedStorage
from waiting import eventually

from syft_flwr.emulators.syftbox.faithful import Hold, Window

SEEDS = int(os.environ.get("SYNCED_ORDER_SEEDS", "3"))
STEPS = int(os.environ.get("SYNCED_ORDER_STEPS", "25"))
PATIENCE = 60.0

EVERYBODY = (AGGREGATOR, *OWNERS)
CONTENTS = ("answer", "answer", "answer_large")
#: Those of a client. The server's window while it lists the store has a test of its own.
WINDOWS = tuple(window for window in Window if window is not Window.LISTING)


class Disorder:
    """A federation, and the faults between its participants."""

    def __init__(self, federation: Federation, synced: SyncedStorage, chooser: random.Random) -> None:
        self.federation = federation
        self.network = synced.network
        self.world = synced.network.faithful
        self.chooser = chooser
        #: The data owner of each message, and the number that its app replied.
        self.asked: dict[str, str] = {}
        self.numbers: dict[str, int] = {}
        self._holds: list[AbstractContextManager[Hold]] = []

    def _someone(self) -> str:
        return self.chooser.choice(EVERYBODY)

    def ask(self) -> None:
        """Send a message to one data owner or to both."""
        emails = self.chooser.choice([OWNERS, OWNERS[:1], OWNERS[1:]])
        self.asked.update(
            zip(self.federation.push(self.chooser.choice(CONTENTS), *emails), emails, strict=True),
        )

    def collect(self) -> None:
        """Collect the replies that have arrived."""
        assert self.federation.grid
        for reply in self.federation.grid.pull_messages([i for i in self.asked if i not in self.numbers]):
            message_id = reply.metadata.reply_to_message_id
            assert message_id not in self.numbers
            self.numbers[message_id] = int(answer_of(reply)["messages"])

    def hold(self) -> None:
        held = self.world.hold(self._someone(), self.chooser.choice(WINDOWS), wait=False)
        held.__enter__()
        self._holds.append(held)

    def release(self) -> None:
        if self._holds:
            self._holds.pop(self.chooser.randrange(len(self._holds))).__exit__(None, None, None)

    def cut(self) -> None:
        self.world.cut(self._someone())

    def kill(self) -> None:
        self.world.kill(self._someone())

    def start(self) -> None:
        """Start the clients that have ended; a first cycle that fails ends one again."""
        for email in EVERYBODY:
            self.world.restart(email, wait=False)

    def break_store(self) -> None:
        self.world.store.fails = not self.world.store.fails

    def end_server(self) -> None:
        self.world.stop_server()
        self.world.start_server()

    def lose_pushes(self) -> None:
        self.network.link.drop = not self.network.link.drop

    def rebuild_index(self) -> None:
        self.world.rebuild_index()

    def heal(self) -> None:
        """Remove all faults."""
        while self._holds:
            self.release()
        self.world.store.fails = self.network.link.drop = False
        for email in EVERYBODY:
            eventually(lambda e=email: self.world.is_up(e) or self.world.restart(e), f"the client of {email}")


#: A step that is here several times is chosen more often.
ACTIONS: tuple[Callable[[Disorder], None], ...] = (
    *(Disorder.ask, Disorder.ask, Disorder.ask, Disorder.collect, Disorder.collect),
    *(Disorder.hold, Disorder.hold, Disorder.hold, Disorder.release, Disorder.release, Disorder.release),
    *(Disorder.cut, Disorder.kill, Disorder.start, Disorder.start),
    *(Disorder.break_store, Disorder.end_server, Disorder.lose_pushes, Disorder.rebuild_index),
)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_any_synced_order_gives_one_outcome_and_effect(tmp_path: Path, synced: SyncedStorage, seed: int) -> None:
    chooser = random.Random(seed)
    with Federation(tmp_path / "homes", synced) as federation:
        federation.introduce()
        federation.start()
        disorder = Disorder(federation, synced, chooser)
        try:
            for _ in range(STEPS):
                chooser.choice(ACTIONS)(disorder)
                # The clients and the participants work meanwhile.
                time.sleep(chooser.uniform(0.0, CYCLE / 2))
        finally:
            disorder.heal()
        eventually(lambda: disorder.collect() or len(disorder.numbers) == len(disorder.asked), "all replies", PATIENCE)
        for email in OWNERS:
            mine = [message_id for message_id, owner in disorder.asked.items() if owner == email]
            assert sorted(disorder.numbers[message_id] for message_id in mine) == list(range(1, len(mine) + 1))
            assert {len(federation[email].journal.calls_of(message_id)) for message_id in mine} <= {1}
        federation.assert_served()
        federation.stop()
        federation.assert_nothing_left()
