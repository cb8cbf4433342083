"""One aggregator begins very many runs, or sends very many requests: a data owner bounds both, and says so."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from faultkit.federation import APP, OWNERS, Federation, question
from faultkit.forge import Forge, body_of
from faultkit.storage import MemoryStorage
from waiting import eventually

from syft_flwr._messaging.answering import queue as queue_module
from syft_flwr._messaging.wire import failures
from syft_flwr._messaging.wire.limits import MAX_OPEN_RUNS
from syft_flwr._store.ledger import Ledger
from syft_flwr._store.run_table import CROWDED_OUT, RunRow
from syft_flwr._store.states import RunState
from syft_flwr.fl_orchestrator import client as client_module
from syft_flwr.fl_orchestrator.request_config import config_to_buffer

OWNER = OWNERS[0]
#: A few open runs, so that a flood is small.
FEW = 4


@dataclass
class Flooded:
    """A kept client, and its aggregator, which can begin any runs."""

    federation: Federation
    root: Path

    def ask(self, run: int) -> str:
        """Send a request of a run; return its name, without a wait for the reply."""
        name, data = Forge(self.federation, OWNER, run).request()
        self.federation.storage.plant(name, data)
        return name

    def begin(self, run: int) -> None:
        """Let the app answer a request of a run."""
        name = self.ask(run)
        forge = Forge(self.federation, OWNER, run)
        eventually(lambda: self.federation.storage.read(name.removesuffix("request") + "response"), f"run {run}")
        forge.withdraw(name)

    def refusal(self, run: int) -> str:
        """Return the text of the error that a request of a run gets."""
        return Forge(self.federation, OWNER, run).open_error(self.ask(run)).text

    def runs(self) -> dict[int, RunRow]:
        with closing(Ledger(self.root / OWNER / "apps" / APP / "ledger.db", read_only=True)) as ledger:
            return {row.run: row for row in ledger.runs.all()}

    def open_runs(self) -> list[int]:
        return [run for run, row in self.runs().items() if row.state is RunState.RUNNING]

    def restart(self) -> None:
        owner = self.federation[OWNER]
        owner.end()
        owner.join()
        owner.start()


@pytest.fixture
def federation(tmp_path: Path, memory: MemoryStorage) -> Federation:
    return Federation(tmp_path, memory, [OWNER], options={OWNER: {"keep": True}})


def test_oldest_run_ends_when_too_many_are_open(
    federation: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    monkeypatch.setattr(client_module, "MAX_OPEN_RUNS", FEW)
    with federation:
        federation.start()
        federation.assert_served()
        first = next(iter(Flooded(federation, tmp_path).runs()))
        flooded = Flooded(federation, tmp_path)
        for run in range(2001, 2001 + 3 * FEW):
            flooded.begin(run)

        assert flooded.open_runs() == [*range(2001 + 2 * FEW, 2001 + 3 * FEW)]
        assert flooded.runs()[first].cause == CROWDED_OUT
        # A request of an open run does not count as a begin.
        flooded.begin(2001 + 2 * FEW)
        flooded.restart()
        flooded.begin(2001 + 2 * FEW)
        assert len(flooded.open_runs()) == FEW

        assert (
            flooded.refusal(2001)
            == f"this run is over: its aggregator began {MAX_OPEN_RUNS} later runs here without an end"
        )
    assert len([line for line in logged if "is ended, because" in line]) == 1


def test_runs_of_another_aggregator_are_not_crowded_out(
    federation: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "MAX_OPEN_RUNS", FEW)
    with federation:
        federation.start()
        with closing(Ledger(tmp_path / OWNER / "apps" / APP / "ledger.db")) as ledger:
            ledger.runs.begin(77, federation.clock.now(), alone=False)
        flooded = Flooded(federation, tmp_path)
        for run in range(2001, 2001 + 2 * FEW):
            flooded.begin(run)

        assert 77 in flooded.open_runs()


def test_restarted_owner_refuses_another_configuration(federation: Federation, tmp_path: Path) -> None:
    with federation:
        federation.start()
        flooded, forge = Flooded(federation, tmp_path), Forge(federation, OWNER, 2001)
        flooded.begin(2001)
        flooded.restart()
        name, data = forge.request(body=body_of(question("answer"), config_to_buffer({"lr": 9.0})))
        federation.storage.plant(name, data)

        error = forge.open_error(name)

        assert "not the same as in an earlier request of the run" in error.text
        flooded.begin(2001)


@pytest.mark.parametrize("bound", ["MAX_WAITING", "MAX_WAITING_BYTES"])
def test_request_beyond_the_waiting_ones_is_refused(
    bound: str, federation: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_module, bound, 0)
    with federation:
        federation.start()
        flooded = Flooded(federation, tmp_path)
        assert flooded.refusal(2001) == (failures.too_many().manifest.error or pytest.fail("no error")).text
        monkeypatch.undo()
        flooded.begin(2001)
