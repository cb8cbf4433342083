"""Over the development branch of SyftBox: its default subscriptions are reported at the start, and ``allow`` works.

Programs of the main branch have no subscriptions, so these tests are skipped over them.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from real_syftbox import know_subscriptions
from realkit.federation import DS, OWNERS, Federation, Training, incomplete
from waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

#: Seconds in which the report must come.
_SOON = 20.0


@pytest.fixture(autouse=True)
def with_subscriptions(real_programs: Path) -> None:
    if not know_subscriptions(real_programs):
        pytest.skip("the SyftBox programs know no subscriptions, as those of the main branch")


def test_default_subscriptions_are_reported_at_the_start(train: Callable[..., Federation]) -> None:
    federation = train(Training(rounds=1), subscribed=False)
    programs = federation.programs
    eventually(lambda: not any(program.is_running for program in programs.values()), "the end of all", _SOON)
    for email, program in programs.items():
        peers = OWNERS if email == DS else [DS]
        assert f"block files of {', '.join(peers)}, so messages are not exchanged" in program.tail()
        for peer in peers:
            # The lines to add.
            assert f"datasite: '{peer}'" in program.tail()
        assert program.exit_code


def test_allowed_subscriptions_lose_no_message(train: Callable[..., Federation]) -> None:
    rounds = train(Training(rounds=3), subscribed=True).finish()
    assert incomplete(rounds) == []
