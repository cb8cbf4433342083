"""Shows that repeated kills of the server and the data owners do not change the result of a training."""

import os
from pathlib import Path

import pytest
from chaoskit.federation import Chaos, Nursery, random_kills, undisturbed

#: ``make chaos`` sets a larger number.
KILLS = int(os.environ.get("CHAOS_KILLS", "20"))
SEED = int(os.environ.get("CHAOS_SEED", "7"))
ROUNDS = 30


@pytest.mark.timeout(240 + 10 * KILLS)
@pytest.mark.parametrize("synced", [False, True], ids=["one-folder", "synced-folders"])
def test_random_kills_do_not_change_the_result(nursery: Nursery, tmp_path: Path, synced: bool) -> None:
    expected = undisturbed(nursery, tmp_path / "undisturbed", ROUNDS, synced=synced)
    assert expected["seen"] == [[number, number] for number in range(1, ROUNDS + 1)]

    with Chaos(nursery, tmp_path / "chaos", ROUNDS, synced=synced) as chaos:
        random_kills(chaos, KILLS, SEED)
        result = chaos.finish()
        chaos.end_owners(patience=5.0)

        # The arrays are equal to the last bit, and each round changed the state of an app once.
        assert result == expected
        chaos.assert_nothing_left()
        assert [states[-1] for states in chaos.states().values()] == ["completed"] * 3
        assert chaos.states()["ds@university.example"] == ["completed"]
        started = sum(child.starts for child in chaos.children.values())
        assert started >= KILLS + 3
