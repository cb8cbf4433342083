"""Over the real SyftBox with a slow uplink of every participant: large models arrive, and come back."""

from collections.abc import Callable

import pytest
from realkit.federation import Federation, Training, incomplete

_MEGABIT = 1_000_000 / 8
_PATIENCE = 180.0

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1_500)]


@pytest.mark.parametrize("megabits", [10, 2])
@pytest.mark.parametrize("size", [1_000_000, 4_000_000, 16_000_000])
def test_slow_uplink_loses_no_message(train: Callable[..., Federation], size: int, megabits: int) -> None:
    transfer = size / (megabits * _MEGABIT)
    training = Training(rounds=2, size=size, timeout=_PATIENCE + 6 * transfer)
    rounds = train(training, uplink=megabits * _MEGABIT).finish()
    assert incomplete(rounds) == []


def test_64_mb_arrive_over_10_megabits(train: Callable[..., Federation]) -> None:
    # 51 s at best. Only the digest comes back.
    training = Training(rounds=1, size=64_000_000, echo=False, timeout=_PATIENCE + 300.0)
    rounds = train(training, uplink=10 * _MEGABIT).finish()
    assert incomplete(rounds) == []
