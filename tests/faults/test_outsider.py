"""An outsider who may write anywhere in the shared folders, and throws 1,000 files in while a training goes on."""

import itertools
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from faultkit.federation import AGGREGATOR, OWNERS, Federation
from faultkit.forge import Forge, signed_again, unsigned, with_other_body
from faultkit.storage import MemoryStorage
from faultkit.waiting import eventually
from test_hostile_requests import FORGERIES

OWNER, OTHER = OWNERS
ROUNDS = 10
FILES = 1_000


@pytest.fixture
def federation(tmp_path: Path, memory: MemoryStorage) -> Iterator[Federation]:
    with Federation(tmp_path / "homes", memory) as federation:
        yield federation


class Outsider:
    """Makes files out of nothing, and out of what it saw; no name is used twice."""

    def __init__(self, federation: Federation, memory: MemoryStorage) -> None:
        self._federation = federation
        self._memory = memory
        self._forge = Forge(federation, OWNER)
        self._seen: dict[str, bytes] = {}
        self._kinds = itertools.cycle(
            [self._forged, self._forged, self._forged, self._replayed, self._moved_request, self._moved_response]
        )
        self._forgeries = itertools.cycle(FORGERIES.values())
        federation.spy.before_deleting = self.look
        for email in OWNERS:
            federation[email].spy.before_deleting = self.look

    def look(self) -> None:
        """Keep every envelope that lies there now, true to the last bit."""
        for name in self._memory.names():
            if name.endswith((".request", ".response")):
                self._seen.setdefault(name, self._memory.read(name))

    def make(self, taken: set[str]) -> tuple[str, bytes]:
        while True:
            name, data = next(self._kinds)()
            if name not in taken and not self._memory.read(name):
                return name, data

    def _forged(self) -> tuple[str, bytes]:
        return next(self._forgeries)[0](self._forge)

    def _replayed(self) -> tuple[str, bytes]:
        """A true request of this run or an earlier one, at its own place, after its end."""
        name = secrets.choice([name for name in self._seen if name.endswith(".request")])
        return name, self._seen[name]

    def _moved_request(self) -> tuple[str, bytes]:
        """A true request under another id, in another's folder, or with a part of it exchanged."""
        source = secrets.choice([name for name in self._seen if name.endswith(".request")])
        data = self._seen[source]
        change = secrets.choice([lambda data: data, unsigned, with_other_body, self._sign])
        owner, sender = secrets.choice(OWNERS), secrets.choice([AGGREGATOR, OTHER])
        return self._federation.names.request(owner, sender, secrets.token_hex(16)), change(data)

    def _moved_response(self) -> tuple[str, bytes]:
        """A true answer at the place of another that nobody waits for any more, or never did."""
        source = secrets.choice([name for name in self._seen if name.endswith(".response")])
        owner = secrets.choice(OWNERS)
        return self._federation.response_name(owner, secrets.token_hex(16)), self._seen[source]

    def _sign(self, data: bytes) -> bytes:
        return signed_again(data, self._forge.outsider_keys)


def test_a_thousand_files_of_an_outsider_change_nothing_in_a_training(
    federation: Federation, memory: MemoryStorage, logged: list[str]
) -> None:
    outsider = Outsider(federation, memory)
    # An earlier run, whose messages the outsider has kept, its start and its stop too.
    federation.start()
    federation.assert_served()
    federation.stop()

    federation.start()
    planted: dict[str, bytes] = {}
    for number in range(1, ROUNDS + 1):
        for _ in range(FILES // ROUNDS):
            name, data = outsider.make(planted.keys())
            planted[name] = data
            memory.plant(name, data)
        # Each of them counts its messages of this run: one a round, and no other.
        assert [answer["messages"] for answer in federation.assert_served()] == [number, number]
    assert len(planted) == FILES

    for email in OWNERS:
        federation[email].spy.wait_for_scans(2)
        assert federation[email].is_running
        assert len(federation[email].journal.calls) == 1 + ROUNDS
    requests = [name for name in planted if name.endswith(".request")]
    eventually(lambda: all(lines_about(logged, name) for name in requests), "a line about each")
    for name in requests:
        assert len(lines_about(logged, name)) == 1, name
        answer = name.removesuffix(".request") + ".response"
        assert answer in planted or not memory.read(answer), name
    # Nothing of the outsider's was deleted, or taken for one's own.
    assert {name: memory.read(name) for name in planted} == planted


def lines_about(logged: list[str], name: str) -> list[str]:
    return [line for line in logged if name in line]
