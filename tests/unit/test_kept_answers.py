"""Copies of answers: there as they were or not at all, within their limit, for one run and no longer than it lasts."""

import os
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from syft_flwr._messaging.arrivals import read
from syft_flwr._messaging.asking.kept_answers import KeptAnswers
from syft_flwr._messaging.objects import ObjectFolder, make_body
from syft_flwr._messaging.wire.body import Body
from syft_flwr.errors import IntegrityError
from syft_flwr.names import AppNames
from syft_flwr.transport.base import Transport
from syft_flwr.transport.memory import MemoryNetwork
from syft_flwr.transport.syftbox import SyftBoxTransport

DS, DO = "ds@x.org", "do@y.org"
NAMES = AppNames("journal")
RUN = 7
NO_LIMIT = 1 << 40
#: More than rides inline, so that it lies in objects.
LARGE = 40_000


@dataclass
class Owner:
    """A data owner's objects, as it writes them and as the aggregator finds them."""

    mine: ObjectFolder
    seen: ObjectFolder

    def answer(self, *buffers: bytes) -> Body:
        return make_body(buffers, self.mine, run=RUN, readers=[DS])

    def withdraw(self, body: Body) -> None:
        self.mine.delete(body.manifest.object_ids)

    def kept_by(self, journal: KeptAnswers, body: Body, size: int | None = None) -> bool:
        """Let a journal keep an answer, as the aggregator does when it collects it."""
        objects = body.manifest.objects
        bytes_ = sum(self.seen.file_size(ref) for ref in objects) if size is None else size
        return journal.keep(objects, self.seen, bytes_)


def owner_over(end: Callable[[str], Transport]) -> Owner:
    do, ds = end(DO), end(DS)
    return Owner(ObjectFolder(do, NAMES, DO, True), ObjectFolder(ds, NAMES, DO, True))


@pytest.fixture(params=["memory", "syftbox"])
def owner(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Owner]:
    if request.param == "memory":
        yield owner_over(MemoryNetwork(part_size=10_000).transport)
        return
    ends = {email: SyftBoxTransport(tmp_path / "box", email) for email in (DS, DO)}
    yield owner_over(ends.__getitem__)
    for end in ends.values():
        end.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "home" / "journal"


def opened(folder: Path, *, run: int = RUN, limit: int = NO_LIMIT) -> KeptAnswers:
    """The journal as a process has it that begins, or takes up, a run."""
    journal = KeptAnswers(folder, limit)
    journal.open_run(run)
    return journal


def found(journal: KeptAnswers, body: Body) -> list[bytes]:
    return read(journal.objects_of(DO, encryption=True), body, shared=False)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if not path.is_dir())


# What is kept


def test_what_was_kept_is_read_by_the_next_process_after_its_owner_deleted_it(owner: Owner, folder: Path) -> None:
    update = [os.urandom(33_000), b"small", os.urandom(9_000)]
    body = owner.answer(*update)
    assert owner.kept_by(opened(folder), body)

    owner.withdraw(body)

    assert found(opened(folder), body) == update


def test_keeping_the_same_twice_changes_nothing(owner: Owner, folder: Path) -> None:
    update = os.urandom(33_000)
    body = owner.answer(update)
    journal = opened(folder)

    assert owner.kept_by(journal, body)
    assert owner.kept_by(journal, body)

    assert found(journal, body) == [update]
    assert {path.name for path in files(folder)} == set(body.manifest.object_ids)


def test_an_answer_without_objects_is_kept_without_a_file(owner: Owner, folder: Path) -> None:
    assert owner.kept_by(opened(folder), owner.answer(b"small"), size=900)
    assert files(folder) == []


def test_an_object_stays_sealed(owner: Owner, folder: Path) -> None:
    update = b"plain text of a model " * 2_000
    body = owner.answer(update)
    owner.kept_by(opened(folder), body)

    assert not [path for path in files(folder) if update[:22] in path.read_bytes()]


def test_nobody_else_can_look_into_it(owner: Owner, folder: Path) -> None:
    before = os.umask(0)
    try:
        owner.kept_by(opened(folder), owner.answer(os.urandom(33_000)))
    finally:
        os.umask(before)

    (run,) = folder.iterdir()
    assert stat.S_IMODE(run.stat().st_mode) == 0o700


def test_it_is_a_second_name_of_the_same_bytes_where_that_can_be(tmp_path: Path, folder: Path) -> None:
    ends = {email: SyftBoxTransport(tmp_path / "box", email) for email in (DS, DO)}
    owner = owner_over(ends.__getitem__)
    body = owner.answer(os.urandom(33_000))

    owner.kept_by(opened(folder), body)

    (ref, *_) = body.manifest.objects
    there = tmp_path / "box" / "datasites" / NAMES.object(DO, ref.id)
    assert any(path.samefile(there) for path in files(folder))
    for end in ends.values():
        end.close()


# What is not there as it was


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1])


def lengthen(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content + b"\x00")


def change(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def empty(path: Path) -> None:
    path.unlink()
    path.touch()


def become_a_link(path: Path) -> None:
    # To the right bytes, elsewhere: a link is not followed, whatever it leads to.
    elsewhere = path.parent.parent.parent / path.name
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def become_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGE = [cut, lengthen, change, empty, Path.unlink, become_a_link, become_a_folder, become_a_pipe]


@pytest.mark.parametrize("damage", DAMAGE, ids=[damage.__name__ for damage in DAMAGE])
@pytest.mark.parametrize("which", [0, -1], ids=["first", "last"])
def test_an_object_that_is_not_as_it_was_says_so(
    owner: Owner, folder: Path, damage: Callable[[Path], None], which: int
) -> None:
    body = owner.answer(os.urandom(45_000))
    owner.kept_by(opened(folder), body)

    damage(next(path for path in files(folder) if path.name == body.manifest.object_ids[which]))

    with pytest.raises(IntegrityError, match=body.manifest.object_ids[which]):
        found(opened(folder), body)


def test_an_object_of_another_answer_in_its_place_is_refused(owner: Owner, folder: Path) -> None:
    one, two = owner.answer(os.urandom(LARGE)), owner.answer(os.urandom(LARGE))
    journal = opened(folder)
    assert owner.kept_by(journal, one)
    assert owner.kept_by(journal, two)
    names = {path.name: path for path in files(folder)}
    mine, other = (names[body.manifest.object_ids[0]] for body in (one, two))
    other.replace(mine)

    with pytest.raises(IntegrityError):
        found(journal, one)


def test_what_the_owner_deleted_before_it_was_kept_is_not_kept(owner: Owner, folder: Path, logged: list[str]) -> None:
    body = owner.answer(os.urandom(33_000))
    journal = opened(folder)
    owner.mine.delete(body.manifest.object_ids[-1:])

    assert not owner.kept_by(journal, body)
    assert any(DO in line and line.startswith("WARNING") for line in logged)
    with pytest.raises(IntegrityError):
        found(journal, body)


# The limit


def test_what_comes_first_is_kept_and_nothing_after_what_did_not_fit(
    owner: Owner, folder: Path, logged: list[str]
) -> None:
    answers = [owner.answer(os.urandom(size)) for size in (50_000, 40_000, 60_000, 40_000, 40_000)]
    journal = opened(folder, limit=140_000)

    assert [owner.kept_by(journal, body) for body in answers] == [True, True, False, False, False]

    assert [len(found(journal, body)[0]) for body in answers[:2]] == [50_000, 40_000]
    names = {path.name for path in files(folder)}
    assert names == {object_id for body in answers[:2] for object_id in body.manifest.object_ids}
    assert len([line for line in logged if "SYFT_FLWR_JOURNAL_LIMIT" in line]) == 1


def test_the_limit_is_met_to_the_byte(owner: Owner, folder: Path) -> None:
    body = owner.answer(os.urandom(20_000))
    size = sum(owner.seen.file_size(ref) for ref in body.manifest.objects)

    assert not owner.kept_by(opened(folder, run=1, limit=size - 1), body)
    assert owner.kept_by(opened(folder, run=2, limit=size), body)


def test_a_limit_of_nothing_keeps_nothing(owner: Owner, folder: Path) -> None:
    journal = opened(folder, limit=0)

    assert not owner.kept_by(journal, owner.answer(os.urandom(33_000)))
    assert not owner.kept_by(journal, owner.answer(b"small"), size=1)
    assert files(folder) == []


def test_the_bytes_of_an_envelope_count(owner: Owner, folder: Path) -> None:
    journal = opened(folder, limit=1_000)

    assert [owner.kept_by(journal, owner.answer(b"small"), size=400) for _ in range(4)] == [True, True, False, False]


def test_what_an_earlier_process_kept_counts(owner: Owner, folder: Path) -> None:
    limit = 2 * LARGE - 1
    assert owner.kept_by(opened(folder, limit=limit), owner.answer(os.urandom(LARGE)))

    assert not owner.kept_by(opened(folder, limit=limit), owner.answer(os.urandom(LARGE)))
    assert owner.kept_by(opened(folder, limit=3 * LARGE), owner.answer(os.urandom(LARGE)))


def test_another_run_has_the_whole_limit_again(owner: Owner, folder: Path) -> None:
    journal = opened(folder, limit=2 * LARGE - 1)
    assert owner.kept_by(journal, owner.answer(os.urandom(LARGE)))
    assert not owner.kept_by(journal, owner.answer(os.urandom(LARGE)))

    journal.open_run(RUN + 1)

    assert owner.kept_by(journal, owner.answer(os.urandom(LARGE)))


def test_threads_that_keep_at_once_stay_within_the_limit(owner: Owner, folder: Path) -> None:
    answers = [owner.answer(os.urandom(LARGE)) for _ in range(24)]
    size = sum(owner.seen.file_size(ref) for ref in answers[0].manifest.objects)
    limit = 11 * size + size // 2
    journal = opened(folder, limit=limit)
    together = threading.Barrier(8)

    def keep(thread: int) -> list[tuple[Body, bool]]:
        together.wait()
        return [(body, owner.kept_by(journal, body)) for body in answers[thread::8]]

    with ThreadPoolExecutor(8) as threads:
        outcomes = [pair for pairs in threads.map(keep, range(8)) for pair in pairs]

    kept = [body for body, done in outcomes if done]
    assert len(kept) == 11
    assert sum(path.stat().st_size for path in files(folder)) == 11 * size
    assert all(len(found(journal, body)[0]) == LARGE for body in kept)


# A full disk


def test_on_a_full_disk_what_fits_is_kept_whole_and_the_rest_not_at_all(
    tmp_path: Path, small_disk: Path, logged: list[str]
) -> None:
    ends = {email: SyftBoxTransport(tmp_path / "box", email) for email in (DS, DO)}
    owner = owner_over(ends.__getitem__)
    answers = [owner.answer(os.urandom(100_000)) for _ in range(5)]
    journal = opened(small_disk / "journal")

    kept = [owner.kept_by(journal, body) for body in answers]

    assert kept == [True, True, False, False, False]
    assert any("WARNING" in line and "no room left" in line for line in logged)
    assert [len(found(journal, body)[0]) for body in answers[:2]] == [100_000, 100_000]
    assert {path.name for path in files(small_disk)} == {body.manifest.object_ids[0] for body in answers[:2]}
    for end in ends.values():
        end.close()


# Runs


def test_what_is_kept_of_other_runs_goes_when_a_run_is_opened(owner: Owner, folder: Path) -> None:
    body, other = owner.answer(os.urandom(LARGE)), owner.answer(os.urandom(LARGE))
    assert owner.kept_by(opened(folder), body)
    (run,) = folder.iterdir()
    aside = folder.with_name("aside")
    run.rename(aside)
    assert owner.kept_by(opened(folder, run=1), other)
    # Two runs that were killed, one beside the other.
    aside.rename(run)
    assert len(list(folder.iterdir())) == 2

    journal = opened(folder)

    assert list(folder.iterdir()) == [run]
    assert len(found(journal, body)[0]) == LARGE
    assert {path.name for path in files(folder)} == set(body.manifest.object_ids)


def test_the_end_of_a_run_deletes_what_is_kept_and_ends_the_keeping(owner: Owner, folder: Path) -> None:
    body = owner.answer(os.urandom(33_000))
    journal = opened(folder)
    assert owner.kept_by(journal, body)

    journal.close_run()
    journal.close_run()

    assert list(folder.iterdir()) == []
    assert not owner.kept_by(journal, body)
    assert list(folder.iterdir()) == []
    with pytest.raises(IntegrityError, match="no run is open"):
        journal.objects_of(DO, encryption=True)


def test_without_a_run_nothing_is_kept_and_nothing_is_said(owner: Owner, folder: Path, logged: list[str]) -> None:
    assert not owner.kept_by(KeptAnswers(folder, NO_LIMIT), owner.answer(os.urandom(33_000)))
    assert not folder.exists()
    assert logged == []
