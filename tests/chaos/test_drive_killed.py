"""Shows that kills do not change a training over Google Drive: at each step of a drive client, and at random."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaoskit.federation import Chaos, Nursery, random_kills, undisturbed
from chaoskit.nursery import DS, owner
from chaoskit.points import DRIVE_POINTS

from syft_flwr.emulators.gdrive import Emulator

#: ``make chaos`` sets a larger number.
KILLS = int(os.environ.get("CHAOS_KILLS", "20")) // 2
SEED = int(os.environ.get("CHAOS_SEED", "7"))
ROUNDS = 3


@pytest.fixture
def drive() -> Iterator[Emulator]:
    with Emulator(users=[DS, owner(0), owner(1)]) as emulator:
        yield emulator


#: Steps at the first use of a drive, and steps of each round.
FIRST = ("drive.ids", "drive.folder", "drive.share")
EACH_ROUND = ("drive.record", "drive.create", "drive.poll", "drive.download", "drive.delete")
IN_TURN = [f"{moment}:{step}" for step in (*FIRST, *EACH_ROUND) for moment in ("before", "after")]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("victim", ["server", "owner0"])
def test_deaths_at_all_drive_steps_keep_the_result(
    victim: str, drive: Emulator, nursery: Nursery, tmp_path: Path
) -> None:
    rounds = len(EACH_ROUND) * 2 + 1
    expected = undisturbed(nursery, tmp_path / "undisturbed", rounds)
    with Chaos(nursery, tmp_path / "chaos", rounds, drive=drive) as chaos:
        for name in chaos.children:
            if name != victim:
                chaos.start(name)
        for number, point in enumerate(IN_TURN, 1 - 2 * len(FIRST)):
            # The steps of the first use come before the first round.
            chaos.permit(max(1, number))
            chaos.start(victim, point)
            chaos.eventually(lambda: chaos.exit_code(victim) is not None, f"{victim} to die {point}")
            assert chaos.exit_code(victim) == -signal.SIGKILL, chaos.log(victim)

        result = chaos.finish()
        chaos.end_owners()

        assert result == expected
        chaos.assert_nothing_left()


@pytest.mark.timeout(120 + 10 * KILLS)
def test_random_kills_over_drive_keep_the_result(drive: Emulator, nursery: Nursery, tmp_path: Path) -> None:
    rounds = KILLS + 1
    expected = undisturbed(nursery, tmp_path / "undisturbed", rounds)
    with Chaos(nursery, tmp_path / "chaos", rounds, drive=drive) as chaos:
        random_kills(chaos, KILLS, SEED)
        result = chaos.finish()
        chaos.end_owners()

        assert result == expected
        chaos.assert_nothing_left()


@pytest.mark.skipif("CHAOS_KILLS" not in os.environ, reason="too slow for each test run; make chaos runs it")
@pytest.mark.parametrize("victim", ["server", "owner0"])
@pytest.mark.parametrize("point", DRIVE_POINTS)
def test_death_at_one_drive_step_keeps_the_result(
    point: str, victim: str, drive: Emulator, nursery: Nursery, tmp_path: Path
) -> None:
    expected = undisturbed(nursery, tmp_path / "undisturbed", ROUNDS)
    with Chaos(nursery, tmp_path / "chaos", ROUNDS, drive=drive) as chaos:
        for name in chaos.children:
            chaos.start(name, point if name == victim else "-")
        chaos.permit(ROUNDS)
        chaos.eventually(lambda: chaos.exit_code(victim) is not None, f"{victim} to die {point}")
        assert chaos.exit_code(victim) in (-signal.SIGKILL, 0), chaos.log(victim)

        result = chaos.finish()
        chaos.end_owners()

        assert result == expected
        chaos.assert_nothing_left()
