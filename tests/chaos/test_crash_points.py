"""Shows that a process can die at each named step: after its restart, the result and the files are as without it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from chaoskit.federation import MESSAGE_FILES, STAYING, Chaos, Nursery, undisturbed
from chaoskit.nursery import APP, DS, owner
from chaoskit.points import POINTS, RESTORING_POINTS
from leftovers import files_below

from syft_flwr.names import writer_of

ROUNDS = 3
_KILLED = -signal.SIGKILL


@pytest.fixture(scope="module")
def expected(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return undisturbed(nursery, tmp_path_factory.mktemp("undisturbed") / "chaos", ROUNDS)


@pytest.mark.parametrize("point", POINTS)
def test_death_at_any_step_keeps_the_result(
    point: str, expected: dict[str, Any], nursery: Nursery, tmp_path: Path
) -> None:
    victim = "server" if POINTS[point] == "server" else "owner0"
    # Only a data owner that dies needs a worker process, which must end with it.
    with Chaos(nursery, tmp_path / "chaos", ROUNDS, workers={victim} - {"server"}) as chaos:
        closes = point in _CLOSES
        chaos.permit(ROUNDS - 1 if closes else ROUNDS)
        # The first call handles the start message of the run. The third is in the middle of a round.
        call = 1 if point in _ONCE else 2 if closes else 3
        for name in chaos.children:
            chaos.start(name, f"{point}#{call}" if name == victim else "-")
        chaos.eventually(lambda: chaos.exit_code(victim) is not None, f"{victim} to die {point}")
        assert chaos.exit_code(victim) == _KILLED, chaos.log(victim)
        if point == "after:run.end":
            # The next run needs data owners that do not end with this run.
            chaos.end_owners()
        chaos.start(victim)

        result = chaos.finish()
        chaos.end_owners()

        assert result == expected
        chaos.assert_nothing_left()
        # After the end of a run is recorded, the same command starts another run.
        runs = 2 if point == "after:run.end" else 1
        assert chaos.states()["ds@university.example"] == ["completed"] * runs


#: Points that a run may pass only once.
_RARE = ("run.open", "stop.send", "run.end", "withdrawal.publish")
_ONCE = {f"{moment}:{step}" for moment in ("before", "after") for step in _RARE}
#: Points at the close of a request. A data owner may close it some scans after its reply. So the last round waits for the
#: death, or the run could end while the data owner is away. The start message is closed at the end of the run.
_CLOSES = {
    f"{moment}:{step}" for moment in ("before", "after") for step in ("answer.close", "ledger.close", "ledger.unlink")
}


@pytest.mark.parametrize("victim", ["server", "owner0"])
@pytest.mark.parametrize("point", RESTORING_POINTS)
def test_death_while_files_are_restored_keeps_the_result(
    point: str, victim: str, expected: dict[str, Any], nursery: Nursery, tmp_path: Path
) -> None:
    with Chaos(nursery, tmp_path / "chaos", ROUNDS, workers={victim} - {"server"}) as chaos:
        owners = chaos.children.keys() - {"server"}
        box = chaos.folder / "box" / "datasites"
        for name in chaos.children:
            chaos.start(name, f"{point}#2" if name == victim else "-")
        chaos.eventually(lambda: all("starts (" in chaos.log(name) for name in owners), "the start of the run")
        # The readers of the victim's files sleep, so the files are needed until it has written them again.
        chaos.pause(*owners)
        chaos.permit(ROUNDS)
        if victim != "server":
            inbox = f"{owner(0)}/app_data/flwr/{APP}/rpc/messages/{DS}"
            chaos.eventually(lambda: list((box / inbox).glob("*.request")), "a request to the victim")
            chaos.pause("server")
        with deleting_messages(box, DS if victim == "server" else owner(0)):
            if victim != "server":
                chaos.resume(victim)
            chaos.eventually(lambda: chaos.exit_code(victim) is not None, f"{victim} to die {point}")
        assert chaos.exit_code(victim) == _KILLED, chaos.log(victim)
        chaos.resume(*chaos.children.keys() - {victim})
        chaos.start(victim)

        result = chaos.finish()
        chaos.end_owners()

        assert result == expected
        chaos.assert_nothing_left()


@contextmanager
def deleting_messages(datasites: Path, writer: str) -> Iterator[None]:
    """Delete each file of a message that this participant writes soon after it appears, as the sync service can."""
    ended = threading.Event()

    def delete() -> None:
        while not ended.wait(0.02):
            for name in files_below(datasites):
                path = datasites / name
                message = path.parent.name not in STAYING and path.suffix in MESSAGE_FILES - {".tmp"}
                if message and writer_of(name) == writer:
                    path.unlink(missing_ok=True)

    thread = threading.Thread(target=delete)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
