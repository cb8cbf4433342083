"""Shows that kills of the aggregator at any point are harmless: each request runs once, and the app gets the same replies."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from faultkit.links import Killed
from faultkit.resuming import DO1, DO2, OWNERS, RUN, ResumingFederation, Rounds, Script
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syft_flwr._crypto.keys import Identity
from syft_flwr._store.states import Received

ROUNDS: st.SearchStrategy[Rounds] = st.lists(
    st.tuples(
        st.lists(st.integers(0, 2), min_size=1, max_size=3),
        st.sampled_from([(DO1,), (DO2,), OWNERS]),
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rounds=ROUNDS, kills=st.lists(st.integers(0, 30), max_size=4))
def test_repeated_kills_run_each_request_once(
    tmp_path_factory: pytest.TempPathFactory, identities: tuple[Identity, ...], rounds: Rounds, kills: list[int]
) -> None:
    federation = ResumingFederation(tmp_path_factory.mktemp("federation"), identities)
    scripts = []
    try:
        for steps in (*kills, None):
            federation.start()
            scripts.append(Script(federation, rounds))
            for _ in itertools.islice(scripts[-1].steps(), steps):
                pass
            if steps is not None:
                federation.kill()
        last = scripts[-1]
        assert len(last.told) == last.total
        assert all(script.told == last.told[: len(script.told)] for script in scripts)
        ran = [message_id for owner in federation.owners.values() for message_id in owner.ran]
        assert len(ran) == len(set(ran)) == last.total
        federation.close()
        for email, owner in federation.owners.items():
            rows = [federation.ledgers[email].get(message_id) for message_id in owner.ran]
            assert all(row and row.state == Received.CLOSED for row in rows)
    finally:
        federation.give_back()


def lives_to_the_end(folder: Path, identities: Sequence[Identity], life: int) -> bool:
    """Run a script that is killed after ``life`` steps, then run it again. Return whether the first run was complete."""
    federation = ResumingFederation(folder, identities, part_size=1 << 20)
    federation.start()
    rounds: Rounds = [([0, 0], OWNERS), ([1], (DO1,))]
    first = last = Script(federation, rounds)
    ended, killed = False, False
    federation.life.left = life
    try:
        try:
            for _ in first.steps():
                pass
            # A grid records the end first, so a restart from here on does not resume the run.
            ended = True
            federation.caller.close()
        except Killed:
            killed = True
            federation.restart(run=RUN + 1 if ended else RUN)
        if not ended:
            last = Script(federation, rounds)
            for _ in last.steps():
                pass
        assert len(last.told) == last.total
        assert first.told == last.told[: len(first.told)]
        assert [len(owner.ran) for owner in federation.owners.values()] == [3, 2]
        federation.life.left = math.inf
        federation.close()
    finally:
        federation.give_back()
    return not killed


def test_kill_at_any_write_runs_once_and_leaves_no_file(tmp_path: Path, identities: tuple[Identity, ...]) -> None:
    life = 0
    while not lives_to_the_end(tmp_path / str(life), identities, life):
        life += 1
    assert life > 20
