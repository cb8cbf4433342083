"""Shows that the records of a run decide nothing: a run is resumed with the same bytes after they were deleted."""

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from faultkit.resuming import DO1, DS, NAMES, OWNERS, RUN, ResumingFederation

from syft_flwr._crypto.keys import Identity
from syft_flwr._store.futures import Futures
from syft_flwr._store.states import RunState
from syft_flwr.config import load_settings
from syft_flwr.fl_orchestrator.garbage import collect_garbage
from syft_flwr.fl_orchestrator.participant import Participant
from syft_flwr.runs.record import runs_folder

_ROUNDS = 3
_SIZE = 45_000


@pytest.fixture
def federation(tmp_path: Path, identities: tuple[Identity, ...]) -> Iterator[ResumingFederation]:
    """Return a federation with the folders of a real home, so that ``gc`` finds its files."""
    federation = ResumingFederation(tmp_path, identities)
    federation.home = tmp_path / DS / "apps" / NAMES.app
    federation.start()
    try:
        yield federation
        federation.close()
    finally:
        federation.give_back()


def collect_all_garbage(federation: ResumingFederation, home: Path) -> list[str]:
    """Run ``syft-flwr gc`` for the aggregator; return the names of the deleted files and folders."""
    settings = load_settings(environ={}, email=DS, home=home)
    participant = Participant(settings, federation.transport, clock=federation.clock)
    federation.life.left = float("inf")
    found, left = collect_garbage(participant, dry_run=False)
    assert [text.partition(" are kept")[0] for text in left] == [
        f"the files of the interrupted run {RUN} of {NAMES.app}"
    ]
    return [leftover.name for leftover in found]


def train(federation: ResumingFederation, updates: dict[str, bytes], *, first: int = 1) -> list[list[bytes] | None]:
    """Run all rounds. The data owners reply from round ``first`` on; earlier replies must come from the record."""
    told: list[list[bytes] | None] = []
    for number in range(1, _ROUNDS + 1):
        ids = federation.ask(b"model %d" % number, b"m" * _SIZE, group=str(number))
        if number >= first:
            for email, owner in federation.owners.items():
                owner.answer(b"%d" % number, updates[email])
        told += federation.answers(ids)
    return told


@pytest.mark.parametrize("killed_after", [1, 2])
def test_deleted_records_do_not_change_a_resumed_run(
    federation: ResumingFederation, tmp_path: Path, killed_after: int
) -> None:
    updates = {email: os.urandom(_SIZE) for email in OWNERS}
    undisturbed = [[b"%d" % number, updates[email]] for number in range(1, _ROUNDS + 1) for email in OWNERS]
    for number in range(1, killed_after + 1):
        ids = federation.ask(b"model %d" % number, b"m" * _SIZE, group=str(number))
        for email, owner in federation.owners.items():
            owner.answer(b"%d" % number, updates[email])
        federation.collect(ids)
        assert federation.events.flush()
        # In the middle of the run, while the process writes to it.
        shutil.rmtree(runs_folder(federation.home))
    ran = [list(owner.ran) for owner in federation.owners.values()]
    federation.kill()
    shutil.rmtree(runs_folder(federation.home), ignore_errors=True)

    assert collect_all_garbage(federation, tmp_path) == []
    with closing(Futures(federation.home / "futures.db")) as futures:
        interrupted = futures.interrupted_run(federation.clock.now())
    assert interrupted is not None
    assert interrupted.run == RUN
    federation.start()

    assert train(federation, updates, first=killed_after + 1) == undisturbed
    assert federation.taken_up == len(OWNERS) * killed_after
    for owner, before in zip(federation.owners.values(), ran, strict=True):
        assert owner.ran[:killed_after] == before
        assert len(owner.ran) == _ROUNDS
    federation.futures.runs.end(RUN, RunState.COMPLETED, "", federation.clock.now())


def test_deleted_record_is_written_again(federation: ResumingFederation) -> None:
    federation.collect(_answered(federation, b"one"))
    numbers = [entry.n for entry in federation.record()]
    shutil.rmtree(runs_folder(federation.home))

    ids = _answered(federation, b"two")
    federation.collect(ids)

    entries = federation.record()
    assert {entry.fields.get("message") for entry in entries if entry.event.startswith("request")} == set(ids)
    assert entries[0].n == numbers[-1] + 1


def _answered(federation: ResumingFederation, content: bytes) -> list[str]:
    ids = federation.ask(content, to=[DO1])
    federation.owners[DO1].answer(content)
    return ids
