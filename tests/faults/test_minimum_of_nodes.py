"""A wait for more nodes than the run has ends with the reason. A wait for data owners that are offline is logged."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faultkit.clock import StillClock
from faultkit.federation import AGGREGATOR, OWNERS, Federation
from faultkit.storage import MemoryStorage
from flwr.app import ArrayRecord, Context, RecordDict
from flwr.common import ndarrays_to_parameters
from flwr.server import ServerAppComponents, ServerConfig, SimpleClientManager
from flwr.server.client_manager import ClientManager
from flwr.server.strategy import FedAvg as LegacyFedAvg
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg, FedXgbCyclic, Strategy
from flwr.serverapp.strategy.strategy_utils import sample_nodes
from waiting import eventually

from syft_flwr.errors import RunError
from syft_flwr.fl_orchestrator import SyftGrid
from syft_flwr.fl_orchestrator.nodes import node_id_of
from syft_flwr.runs.finding import find_run

OWNER = OWNERS[0]
ARRAYS = ArrayRecord([np.zeros(2)])
FIRST = ndarrays_to_parameters([np.zeros(2)])
App = Callable[[Grid], Any]


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def federation(tmp_path: Path, memory: MemoryStorage, clock: StillClock) -> Iterator[Federation]:
    """Return a run of one data owner, whose client is not there."""
    with Federation(tmp_path, memory, [OWNER], clock=clock) as federation:
        federation.begin_run()
        yield federation


def grid_of(federation: Federation) -> SyftGrid:
    assert federation.grid is not None
    return federation.grid


class OwnStrategy(FedAvg):
    """Waits in its own method, with Flower's function."""

    def configure_train(self, server_round: int, arrays: ArrayRecord, config: Any, grid: Grid) -> Any:
        sample_nodes(grid, 1, 4)
        raise AssertionError("the wait has no end")


class Proxy:
    """A grid of the app around that of the run."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def get_node_ids(self) -> list[int]:
        return [int(node) for node in self._grid.get_node_ids()]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._grid, name)


def start(strategy: Strategy) -> App:
    return lambda grid: strategy.start(grid, ARRAYS, num_rounds=1)


def start_over_a_proxy(grid: Grid) -> None:
    FedAvg().start(Proxy(grid), ARRAYS, num_rounds=1)  # type: ignore[arg-type]


def start_legacy(strategy: LegacyFedAvg, manager: ClientManager | None = None) -> App:
    def components(_: Context) -> ServerAppComponents:
        return ServerAppComponents(
            strategy=strategy, config=ServerConfig(num_rounds=1), client_manager=manager or SimpleClientManager()
        )

    context = Context(run_id=0, node_id=0, node_config={}, state=RecordDict(), run_config={})
    return lambda grid: ServerApp(server_fn=components)(grid, context)


@pytest.mark.parametrize(
    ("app", "minimum"),
    [
        pytest.param(start(FedAvg()), 2, id="default"),
        pytest.param(start(FedAvg(min_available_nodes=5)), 5, id="available"),
        pytest.param(start(FedAvg(min_available_nodes=1, min_train_nodes=3)), 3, id="train"),
        pytest.param(start(FedXgbCyclic()), 2, id="cyclic"),
        pytest.param(start(OwnStrategy()), 4, id="own strategy"),
        pytest.param(start_over_a_proxy, 2, id="own grid"),
        pytest.param(start_legacy(LegacyFedAvg(min_available_clients=5, initial_parameters=FIRST)), 5, id="legacy"),
        pytest.param(start_legacy(LegacyFedAvg(initial_parameters=FIRST)), 2, id="legacy default"),
    ],
)
def test_minimum_above_the_data_owners_ends_at_once(app: App, minimum: int, federation: Federation) -> None:
    grid = grid_of(federation)
    with (
        pytest.raises(RunError, match=f"waits for {minimum} nodes; this run has 1 data owner") as ended,
        grid.following_strategies(),
    ):
        app(grid)

    assert "min_available_nodes" in str(ended.value.hint)


def wait_in_a_loop(grid: Grid, clock: StillClock, looks: int, *, enough: int = 5, pause: float = 2.0) -> int:
    """Look for nodes as an app does, at most ``looks`` times. Return the number of looks."""
    for look in range(looks):
        if len(list(grid.get_node_ids())) >= enough:
            return look + 1
        clock.advance(pause)
    return looks


@pytest.mark.parametrize("pause", [0.5, 2.0, 5.0])
def test_loop_of_the_app_ends_within_seconds(pause: float, federation: Federation, clock: StillClock) -> None:
    before = clock.monotonic()
    with pytest.raises(RunError, match="this run has 1 data owner"):
        wait_in_a_loop(grid_of(federation), clock, 100, pause=pause)

    assert clock.monotonic() - before <= 25


def test_long_pause_between_two_looks_is_no_wait(federation: Federation, clock: StillClock) -> None:
    assert wait_in_a_loop(grid_of(federation), clock, 2, pause=7_200) == 2


def test_loop_that_waits_for_replies_is_no_wait_for_nodes(federation: Federation, clock: StillClock) -> None:
    federation.push()

    assert wait_in_a_loop(grid_of(federation), clock, 100) == 100


def test_looks_between_rounds_are_no_wait(federation: Federation, clock: StillClock) -> None:
    grid = grid_of(federation)
    for _ in range(20):
        # Each message ends with its time, as the data owner is not there.
        assert wait_in_a_loop(grid, clock, 2) == 2
        (message_id,) = federation.push()
        federation.withdraw(message_id)
        grid._asked.clear()


def test_look_of_another_thread_is_no_wait(federation: Federation, clock: StillClock) -> None:
    looks: list[int] = []
    grid = grid_of(federation)
    # As a display of the nodes during a long evaluation.
    thread = threading.Thread(target=lambda: looks.append(wait_in_a_loop(grid, clock, 100)))
    thread.start()
    thread.join()

    assert looks == [100]


@pytest.fixture
def online(tmp_path: Path, memory: MemoryStorage, clock: StillClock) -> Iterator[Federation]:
    """Return a run that sees only data owners with a heartbeat."""
    options = {AGGREGATOR: {"nodes": "online"}}
    with Federation(tmp_path, memory, OWNERS, clock=clock, options=options) as federation:
        federation.begin_run()
        yield federation


def lines(logged: list[str]) -> list[str]:
    return [line for line in logged if "data owners" in line and "online" in line]


def test_wait_for_data_owners_that_are_offline_is_logged(
    online: Federation, clock: StillClock, logged: list[str]
) -> None:
    grid, found = grid_of(online), threading.Event()

    def sample() -> None:
        # It sleeps a second of real time between two looks.
        sample_nodes(grid, 1, 1)
        found.set()

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    assert not found.wait(1.5)
    assert len(lines(logged)) == 1
    assert "the strategy waits for 1 node (faults); 0 of 2 data owners are online" in lines(logged)[0]

    online[OWNER].start()

    assert found.wait(20)
    thread.join()


def test_loop_of_the_app_waits_for_offline_data_owners(
    online: Federation, clock: StillClock, logged: list[str]
) -> None:
    assert wait_in_a_loop(grid_of(online), clock, 100, enough=2) == 100

    # 200 seconds, at most a line a minute.
    assert 2 <= len(lines(logged)) <= 4
    # Its record tells the status why nothing is sent: once, as long as the number stays.
    run = grid_of(online).run.run_id
    assert eventually(lambda: waits_in_record(online, run), "the wait in the record") == [{"online": 0, "needed": 1}]


def waits_in_record(federation: Federation, run: int) -> list[dict[str, Any]]:
    entries = find_run(federation.participant.settings, run).events()
    return [dict(entry.fields) for entry in entries if entry.event == "nodes-awaited"]


@pytest.mark.parametrize("nodes", ["all", "online"])
def test_minimum_above_all_data_owners_ends_also_online(
    nodes: str, tmp_path: Path, memory: MemoryStorage, clock: StillClock
) -> None:
    options = {AGGREGATOR: {"nodes": nodes}}
    with Federation(tmp_path, memory, OWNERS, clock=clock, options=options) as federation:
        federation.begin_run()
        with pytest.raises(RunError, match="waits for 3 nodes; this run has 2 data owners"):
            sample_nodes(grid_of(federation), 3, 1)


def test_all_data_owners_are_enough(tmp_path: Path, memory: MemoryStorage) -> None:
    with Federation(tmp_path, memory, OWNERS) as federation:
        federation.begin_run()
        chosen, known = sample_nodes(grid_of(federation), 2, 2)
    assert sorted(chosen) == sorted(known) == sorted(map(node_id_of, OWNERS))
