"""Several runs in one process: two grids in two threads, grids one after the other, and an app beside a grid."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faultkit.federation import NAMES, OWNERS, Federation, answer_of, question
from faultkit.storage import MemoryStorage
from flwr.app import Message
from flwr.supercore.task_identity import TaskIdentity
from waiting import PATIENCE

from syft_flwr.errors import StoreError
from syft_flwr.fl_orchestrator import SyftGrid, process_runs
from syft_flwr.fl_orchestrator.nodes import node_id_of

OWNER = OWNERS[0]


@pytest.fixture(autouse=True)
def no_earlier_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the runs of earlier tests, because a server that dies in this process does not end its run here."""
    monkeypatch.setattr(process_runs, "_SERVED", [])


@pytest.fixture
def federations(tmp_path: Path, memory: MemoryStorage) -> Iterator[tuple[Federation, Federation]]:
    """Return the started federations of two apps. The apps of the data owners run in this process, too."""
    with (
        Federation(tmp_path, memory, [OWNER]) as one,
        Federation(tmp_path, memory, [OWNER], app="others") as other,
    ):
        one.start()
        # Runs of another number, as two real runs have.
        other[OWNER].start()
        other.begin_run(2001)
        yield one, other


def ask(federation: Federation) -> list[Message]:
    """Ask as a ServerApp does, with messages that name the task of the process."""
    grid = federation.grid
    assert grid is not None
    messages = [Message(question("answer"), node, "query") for node in grid.get_node_ids()]
    return grid.send_and_receive(messages, timeout=PATIENCE)


def test_two_grids_in_two_threads_both_work(federations: tuple[Federation, Federation]) -> None:
    replies: dict[str, list[Message]] = {}

    def run(federation: Federation) -> None:
        replies[federation.app] = [reply for _ in range(5) for reply in ask(federation)]

    threads = [threading.Thread(target=run, args=(federation,)) for federation in federations]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for federation in federations:
        grid: Any = federation.grid
        got = replies[federation.app]
        assert [answer_of(reply)["messages"] for reply in got] == [1, 2, 3, 4, 5]
        assert {reply.metadata.run_id for reply in got} == {grid.run.run_id}


def test_grid_works_after_the_end_of_another(federations: tuple[Federation, Federation]) -> None:
    one, other = federations
    assert one.grid is not None
    made_before = Message(question("answer"), node_id_of(OWNER), "query")

    other.stop()

    assert TaskIdentity.run_id == one.grid.run.run_id
    assert answer_of(ask(one)[0])["messages"] == 1
    # It names the run that has ended meanwhile.
    assert answer_of(one.grid.send_and_receive([made_before], timeout=PATIENCE)[0])["messages"] == 2


def test_message_of_a_run_that_was_over_is_refused(tmp_path: Path, memory: MemoryStorage) -> None:
    with Federation(tmp_path, memory, [OWNER]) as federation:
        federation.start()
        old = Message(question("answer"), node_id_of(OWNER), "query")
        federation.begin_run()
        assert federation.grid is not None
        with pytest.raises(ValueError, match="this grid serves run"):
            federation.grid.push_messages([old])


def test_second_grid_of_one_app_is_refused_until_the_end(tmp_path: Path, memory: MemoryStorage) -> None:
    with Federation(tmp_path, memory, [OWNER]) as federation:
        federation.start()
        with pytest.raises(StoreError, match="is already running"):
            SyftGrid(federation.app, [OWNER], client=federation.participant)
        assert answer_of(ask(federation)[0])["messages"] == 1
        federation.stop()

        federation.start()
        assert answer_of(ask(federation)[0])["messages"] == 1


def test_app_in_this_process_leaves_the_task_to_the_grid(tmp_path: Path, memory: MemoryStorage) -> None:
    with Federation(tmp_path, memory, OWNERS) as federation:
        federation.start()
        for number in (1, 2, 3):
            assert [answer_of(reply)["messages"] for reply in ask(federation)] == [number] * len(OWNERS)
            assert TaskIdentity.node_id == 1


@pytest.mark.parametrize("run", ["7", None, True, 1.0, object()], ids=lambda run: type(run).__name__)
def test_run_of_a_wrong_type_is_a_type_error(run: Any, tmp_path: Path, memory: MemoryStorage) -> None:
    federation = Federation(tmp_path, memory, [OWNER])
    with SyftGrid(NAMES.app, [OWNER], client=federation.participant) as grid, pytest.raises(TypeError, match="set_run"):
        grid.set_run(run)


@pytest.mark.parametrize("run", [0, -1, 1 << 63, 1 << 64])
def test_run_out_of_range_is_a_value_error(run: int, tmp_path: Path, memory: MemoryStorage) -> None:
    federation = Federation(tmp_path, memory, [OWNER])
    with SyftGrid(NAMES.app, [OWNER], client=federation.participant) as grid:
        with pytest.raises(ValueError, match="the id of a run"):
            grid.set_run(run)
        with pytest.raises(RuntimeError, match="no run is set"):
            _ = grid.run
