"""Shows that a party may be away for a day at any moment: at each write and commit of an exchange.

The aggregator, one data owner, all data owners or the carrier is away for 24 hours, and the others look at their files.
Without ``msg_timeout``, each message then has the same outcome as without the absence. With its default, the messages to an
absent data owner end in time and with the true reason. The stores are real, and no thread runs (``faultkit.lockstep``).

``test_away_in_faults.py`` has the arrows of the state tables that belong to a fault or to a limit.
"""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from chaoskit.away import ARROWS, MSG_TIMEOUT, OFTEN, PARTIES, Day
from faultkit.links import Life
from faultkit.lockstep import OWNERS

from syft_flwr._crypto.keys import Identity

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, identities: list[Identity]) -> tuple[list[object], int]:
    """Return the outcomes of an exchange in which all parties stay, and the number of its writes and commits."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        day = Day(tmp_path_factory.mktemp("day"), identities, "carrier").run(monkeypatch, math.inf)
    try:
        return day.outcomes(), day.steps
    finally:
        day.close()


def days(
    folder: Path,
    identities: list[Identity],
    party: str,
    moments: Iterable[int],
    monkeypatch: pytest.MonkeyPatch,
    msg_timeout: float,
) -> Iterator[Day]:
    """Yield a day for each moment at which the party is away, and the first one that ends before its moment."""
    for moment in moments:
        day = Day(folder / "day", identities, party, moment).run(monkeypatch, msg_timeout)
        day.close()
        yield day
        if not day.is_away:
            return


def test_every_arrow_of_an_exchange_is_a_moment(
    tmp_path: Path, identities: list[Identity], monkeypatch: pytest.MonkeyPatch
) -> None:
    day = Day(tmp_path, identities, "carrier")
    taken: set[tuple[str, str]] = set()
    last: dict[tuple[str, str], str] = {}

    def note(life: Life) -> None:
        states = day.states()
        taken.update((last[key], state) for key, state in states.items() if key in last and last[key] != state)
        last.update(states)

    monkeypatch.setattr(Day, "_step", lambda _, life: note(life))
    day.run(monkeypatch, math.inf)
    note(Life())
    day.close()
    assert taken >= ARROWS


@pytest.mark.parametrize("party", PARTIES)
def test_a_day_away_changes_no_outcome(
    tmp_path: Path,
    identities: list[Identity],
    undisturbed: tuple[list[object], int],
    monkeypatch: pytest.MonkeyPatch,
    party: str,
) -> None:
    outcomes, most = undisturbed
    moments = 0
    for day in days(tmp_path, identities, party, range(1, most + 1), monkeypatch, math.inf):
        assert day.outcomes() == outcomes, f"away at moment {day.moment}"
        moments += day.is_away
    assert moments > 20


@pytest.mark.parametrize("party", PARTIES)
def test_waits_for_an_absent_party_end_in_time(
    tmp_path: Path,
    identities: list[Identity],
    undisturbed: tuple[list[object], int],
    monkeypatch: pytest.MonkeyPatch,
    party: str,
) -> None:
    outcomes, most = undisturbed
    absent = {OWNERS[number - 1] for number in PARTIES[party] if number} or (
        set(OWNERS) if party == "carrier" else set()
    )
    given_up = 0
    # The other test takes each moment.
    for day in days(tmp_path, identities, party, range(1, most + 1, 3), monkeypatch, MSG_TIMEOUT):
        for ask, told, expected in zip(day.world.asks, day.outcomes(), outcomes, strict=True):
            if told != expected:
                assert ask.owner in absent, f"away at moment {day.moment}"
                code, text = told
                assert (code, text.partition(";")[0]) == (
                    "no-answer",
                    "no reply, and no heartbeat for 120 s (msg_timeout)",
                )
                given_up += 1
        in_time = max(day.told_after) <= MSG_TIMEOUT + 2 * OFTEN
        assert in_time or not day.is_away or party == "aggregator", f"away at moment {day.moment}"
    assert bool(given_up) == bool(absent)
