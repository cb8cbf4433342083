"""Shows that a process can die at each named step: after its restart, the result and the files are as without it."""

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
def test_death_at_any_step_keeps_the_result(
    point: str, expected: dict[str, Any], nursery: Nursery, tmp_path: Path
) -> None:
    victim = "server" if POINTS[point] == "server" else "owner0"
    # Only a data owner that dies needs a worker process, which must end with it.
    with Chaos(nursery, tmp_path / "chaos", ROUNDS, workers={victim} - {"server"}) as chaos:
        chaos.permit(ROUNDS)
        for name in chaos.children:
            # The first call handles the start message of the run. The third is in the middle of a round.
            chaos.start(name, (point if point in _ONCE else f"{point}#3") if name == victim else "-")
        chaos.eventually(lambda: chaos.exit_code(victim) is not None, f"{victim} to die {point}")
        assert chaos.exit_code(victim) == _KILLED, chaos.log(victim)
        if point == "after:run.end":
            # The next run needs data owners that do not end with this run.
            chaos.end_owners()
        chaos.start(victim)

        result = chaos.finish()
        chaos.end_owners()

        assert result == expected
        assert chaos.left_over() == []
        # After the end of a run is recorded, the same command starts another run.
        runs = 2 if point == "after:run.end" else 1
        assert chaos.states()["ds@university.example"] == ["completed"] * runs


#: Points that a run passes only once.
_ONCE = {f"{moment}:{step}" for moment in ("before", "after") for step in ("run.open", "stop.send", "run.end")}
