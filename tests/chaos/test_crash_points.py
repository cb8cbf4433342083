"""A process that dies at any named step of the life of a message, once, is started again, and nothing is lost or done twice."""

import signal
from pathlib import Path
from typing import Any

import pytest
from chaoskit.federation import Chaos, Nursery, undisturbed
from chaoskit.points import POINTS

ROUNDS = 3
_KILLED = -signal.SIGKILL


@pytest.fixture(scope="module")
def expected(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return undisturbed(nursery, tmp_path_factory.mktemp("undisturbed") / "chaos", ROUNDS)


@pytest.mark.parametrize("point", POINTS)
def test_a_process_that_dies_at_a_step_changes_nothing(
    point: str, expected: dict[str, Any], nursery: Nursery, tmp_path: Path
) -> None:
    victim = "server" if POINTS[point] == "server" else "owner0"
    # A worker matters where its watcher dies.
    with Chaos(nursery, tmp_path / "chaos", ROUNDS, workers={victim} - {"server"}) as chaos:
        chaos.permit(ROUNDS)
        for name in chaos.children:
            # Not the first time, where that is the word that a run starts: in the middle of a round.
            chaos.start(name, (point if point in _ONCE else f"{point}#3") if name == victim else "-")
        chaos.eventually(lambda: chaos.exit_code(victim) is not None, f"{victim} to die {point}")
        assert chaos.exit_code(victim) == _KILLED, chaos.log(victim)
        if point == "after:run.end":
            # The next run needs data owners that are not about to end with this one.
            chaos.end_owners()
        chaos.start(victim)

        result = chaos.finish()
        chaos.end_owners()

        assert result == expected
        assert chaos.left_over() == []
        # Once its end is on record, the same command starts another run.
        runs = 2 if point == "after:run.end" else 1
        assert chaos.states()["ds@university.example"] == ["completed"] * runs


#: Steps of which a run has but one.
_ONCE = {f"{moment}:{step}" for moment in ("before", "after") for step in ("run.open", "stop.send", "run.end")}
