"""Over the real SyftBox with a slow store: no message is lost. ``SLOW_STORE_ROUNDS`` sets the number of rounds."""

import os
from collections.abc import Callable

import pytest
from realkit.federation import Federation, Training, incomplete

_ROUNDS = int(os.environ.get("SLOW_STORE_ROUNDS", "5"))

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300 + 130 * _ROUNDS)]


@pytest.mark.parametrize("delay", [0.1, 0.2, 0.4])
def test_slow_store_loses_no_message(train: Callable[..., Federation], delay: float) -> None:
    federation = train(Training(rounds=_ROUNDS, seconds=2.0), store_delay=delay)
    rounds = federation.finish()
    assert incomplete(rounds) == [], federation.logs()
    assert len(rounds) == _ROUNDS + 1
