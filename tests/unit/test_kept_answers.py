"""Kept replies: each is stored unchanged or not at all, within a size limit, until its run ends."""

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
from syft_flwr._messaging.layout import LayoutLimits
from syft_flwr._messaging.objects import ObjectFolder, make_body
from syft_flwr._messaging.wire.body import Body
from syft_flwr.errors import IntegrityError
from syft_flwr.names import AppNames
from syft_flwr.transport.base import Transport
from syft_flwr.transport.memory import MemoryNetwork
from syft_flwr.transport.syftbox import SyftBoxTransport

DS, DO = "ds@x.org", "do@y.org"
NAMES = AppNames("kept")
RUN = 7
NO_LIMIT = 1 << 40
#: Larger than the limit for inline buffers, so that it is stored in objects.
LARGE = 40_000


@dataclass
class Owner:
    """The objects of a data owner: its own view (``mine``) and the view of the aggregator (``seen``)."""

    mine: ObjectFolder
    seen: ObjectFolder

    def answer(self, *buffers: bytes) -> Body:
        return make_body(buffers, self.mine, run=RUN, readers=[DS])

    def withdraw(self, body: Body) -> None:
        self.mine.delete(body.manifest.object_ids)

    def kept_by(self, replies: KeptAnswers, body: Body, size: int | None = None) -> bool:
        """Keep a reply as the aggregator does when it collects it, and return whether it was kept."""
        objects = body.manifest.objects
        bytes_ = sum(self.seen.file_size(ref) for ref in objects) if size is None else size
        return replies.keep(message_of(body), objects, self.seen, bytes_)


def message_of(body: Body) -> str:
    """Return an id for the message with this body."""
    return next(iter(body.manifest.object_ids), "0" * 32)


def owner_over(end: Callable[[str], Transport], *, part_size: int = 10_000) -> Owner:
    do, ds = end(DO), end(DS)
    # The same parts and names over each transport.
    limits = LayoutLimits(inline_size=LARGE - 10_000, part_size=part_size, pushed_size=0, pushed_message=0)
    return Owner(ObjectFolder(do, NAMES, DO, True, limits=limits), ObjectFolder(ds, NAMES, DO, True))


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
    """Return the kept replies after a process opened or resumed a run."""
    replies = KeptAnswers(folder, limit)
    replies.open_run(run)
    return replies


def found(replies: KeptAnswers, body: Body) -> list[bytes]:
    return read(replies.objects_of(message_of(body), DO, encryption=True), body, shared=False)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if not path.is_dir())


# Other runs


def test_only_kept_replies_of_other_runs_are_deleted(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "mine").write_text("mine")
    opened(folder, run=6)
    (folder / "notes").write_text("mine")
    (folder / "backup").mkdir()
    (folder / f"{5:016x}").symlink_to(target)

    opened(folder)

    assert {path.name for path in folder.iterdir()} == {"notes", "backup", f"{5:016x}", f"{RUN:016x}"}
    assert (target / "mine").read_text() == "mine"


# Keeping replies


def test_kept_reply_survives_deletion_and_restart(owner: Owner, folder: Path) -> None:
    update = [os.urandom(33_000), b"small", os.urandom(9_000)]
    body = owner.answer(*update)
    assert owner.kept_by(opened(folder), body)

    owner.withdraw(body)

    assert found(opened(folder), body) == update


def test_keeping_a_reply_twice_changes_nothing(owner: Owner, folder: Path) -> None:
    update = os.urandom(33_000)
    body = owner.answer(update)
    replies = opened(folder)

    assert owner.kept_by(replies, body)
    assert owner.kept_by(replies, body)

    assert found(replies, body) == [update]
    assert {path.name for path in files(folder)} == set(body.manifest.object_ids)


def test_reply_without_objects_needs_no_file(owner: Owner, folder: Path) -> None:
    assert owner.kept_by(opened(folder), owner.answer(b"small"), size=900)
    assert files(folder) == []


def test_kept_objects_stay_sealed(owner: Owner, folder: Path) -> None:
    update = b"plain text of a model " * 2_000
    body = owner.answer(update)
    owner.kept_by(opened(folder), body)

    assert not [path for path in files(folder) if update[:22] in path.read_bytes()]


def test_kept_replies_are_private_to_their_user(owner: Owner, folder: Path) -> None:
    before = os.umask(0)
    try:
        owner.kept_by(opened(folder), owner.answer(os.urandom(33_000)))
    finally:
        os.umask(before)

    (run,) = folder.iterdir()
    assert stat.S_IMODE(run.stat().st_mode) == 0o700


def test_kept_object_is_a_hard_link_where_possible(tmp_path: Path, folder: Path) -> None:
    ends = {email: SyftBoxTransport(tmp_path / "box", email) for email in (DS, DO)}
    owner = owner_over(ends.__getitem__)
    body = owner.answer(os.urandom(33_000))

    owner.kept_by(opened(folder), body)

    (ref, *_) = body.manifest.objects
    there = tmp_path / "box" / "datasites" / NAMES.object(DO, ref.id)
    assert any(path.samefile(there) for path in files(folder))
    for end in ends.values():
        end.close()


# Damaged objects


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
    # The link leads to the right bytes, and must still not be followed.
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
def test_damaged_kept_object_is_refused(owner: Owner, folder: Path, damage: Callable[[Path], None], which: int) -> None:
    body = owner.answer(os.urandom(45_000))
    owner.kept_by(opened(folder), body)

    damage(next(path for path in files(folder) if path.name == body.manifest.object_ids[which]))

    with pytest.raises(IntegrityError, match=body.manifest.object_ids[which]):
        found(opened(folder), body)


def test_object_of_another_reply_is_refused(owner: Owner, folder: Path) -> None:
    one, two = owner.answer(os.urandom(LARGE)), owner.answer(os.urandom(LARGE))
    replies = opened(folder)
    assert owner.kept_by(replies, one)
    assert owner.kept_by(replies, two)
    names = {path.name: path for path in files(folder)}
    mine, other = (names[body.manifest.object_ids[0]] for body in (one, two))
    other.replace(mine)

    with pytest.raises(IntegrityError):
        found(replies, one)


def test_same_object_id_of_another_owner_replaces_nothing(tmp_path: Path, folder: Path) -> None:
    """The heartbeat of the aggregator shows ids of missing objects to all data owners."""
    eve = "eve@z.org"
    ends = {email: SyftBoxTransport(tmp_path / "box", email) for email in (DS, DO, eve)}
    owner, replies = owner_over(ends.__getitem__), opened(folder)
    update = os.urandom(33_000)
    body = owner.answer(update)
    assert owner.kept_by(replies, body)
    ref = body.manifest.objects[0]
    ends[eve].put(NAMES.object(eve, ref.id), os.urandom(owner.seen.file_size(ref)), readers=[DS])

    assert replies.keep("e" * 32, [ref], ObjectFolder(ends[DS], NAMES, eve, True), 1)

    assert found(replies, body) == [update]
    for end in ends.values():
        end.close()


def test_reply_deleted_before_keeping_is_not_kept(owner: Owner, folder: Path, logged: list[str]) -> None:
    body = owner.answer(os.urandom(33_000))
    replies = opened(folder)
    owner.mine.delete(body.manifest.object_ids[-1:])

    assert not owner.kept_by(replies, body)
    assert any(DO in line and line.startswith("WARNING") for line in logged)
    with pytest.raises(IntegrityError):
        found(replies, body)


# The limit


def test_nothing_is_kept_after_the_limit_is_reached(owner: Owner, folder: Path, logged: list[str]) -> None:
    answers = [owner.answer(os.urandom(size)) for size in (50_000, 40_000, 60_000, 40_000, 40_000)]
    replies = opened(folder, limit=140_000)

    assert [owner.kept_by(replies, body) for body in answers] == [True, True, False, False, False]

    assert [len(found(replies, body)[0]) for body in answers[:2]] == [50_000, 40_000]
    names = {path.name for path in files(folder)}
    assert names == {object_id for body in answers[:2] for object_id in body.manifest.object_ids}
    assert len([line for line in logged if "SYFT_FLWR_JOURNAL_LIMIT" in line]) == 1


def test_limit_is_exact_to_the_byte(owner: Owner, folder: Path) -> None:
    body = owner.answer(os.urandom(20_000))
    size = sum(owner.seen.file_size(ref) for ref in body.manifest.objects)

    assert not owner.kept_by(opened(folder, run=1, limit=size - 1), body)
    assert owner.kept_by(opened(folder, run=2, limit=size), body)


def test_limit_of_zero_keeps_nothing(owner: Owner, folder: Path) -> None:
    replies = opened(folder, limit=0)

    assert not owner.kept_by(replies, owner.answer(os.urandom(33_000)))
    assert not owner.kept_by(replies, owner.answer(b"small"), size=1)
    assert files(folder) == []


def test_envelope_bytes_count_towards_the_limit(owner: Owner, folder: Path) -> None:
    replies = opened(folder, limit=1_000)

    assert [owner.kept_by(replies, owner.answer(b"small"), size=400) for _ in range(4)] == [True, True, False, False]


def test_limit_counts_replies_of_earlier_processes(owner: Owner, folder: Path) -> None:
    limit = 2 * LARGE - 1
    assert owner.kept_by(opened(folder, limit=limit), owner.answer(os.urandom(LARGE)))

    assert not owner.kept_by(opened(folder, limit=limit), owner.answer(os.urandom(LARGE)))
    assert owner.kept_by(opened(folder, limit=3 * LARGE), owner.answer(os.urandom(LARGE)))


def test_each_run_has_the_whole_limit(owner: Owner, folder: Path) -> None:
    replies = opened(folder, limit=2 * LARGE - 1)
    assert owner.kept_by(replies, owner.answer(os.urandom(LARGE)))
    assert not owner.kept_by(replies, owner.answer(os.urandom(LARGE)))

    replies.open_run(RUN + 1)

    assert owner.kept_by(replies, owner.answer(os.urandom(LARGE)))


def test_concurrent_threads_stay_within_the_limit(owner: Owner, folder: Path) -> None:
    answers = [owner.answer(os.urandom(LARGE)) for _ in range(24)]
    size = sum(owner.seen.file_size(ref) for ref in answers[0].manifest.objects)
    limit = 11 * size + size // 2
    replies = opened(folder, limit=limit)
    together = threading.Barrier(8)

    def keep(thread: int) -> list[tuple[Body, bool]]:
        together.wait()
        return [(body, owner.kept_by(replies, body)) for body in answers[thread::8]]

    with ThreadPoolExecutor(8) as threads:
        outcomes = [pair for pairs in threads.map(keep, range(8)) for pair in pairs]

    kept = [body for body, done in outcomes if done]
    assert len(kept) == 11
    assert sum(path.stat().st_size for path in files(folder)) == 11 * size
    assert all(len(found(replies, body)[0]) == LARGE for body in kept)


# A full disk


def test_full_disk_keeps_only_whole_replies(tmp_path: Path, small_disk: Path, logged: list[str]) -> None:
    ends = {email: SyftBoxTransport(tmp_path / "box", email) for email in (DS, DO)}
    owner = owner_over(ends.__getitem__, part_size=200_000)
    answers = [owner.answer(os.urandom(60_000)) for _ in range(5)]
    replies = opened(small_disk / "journal")
    # At the begin of the run, half of the disk is for the replies. Then others use it.
    (small_disk / "ballast").write_bytes(bytes(150_000))

    kept = [owner.kept_by(replies, body) for body in answers]

    assert kept == [True, False, False, False, False]
    assert any("WARNING" in line and "no room left" in line for line in logged)
    assert [len(found(replies, body)[0]) for body in answers[:1]] == [60_000]
    assert {path.name for path in files(small_disk)} == {"ballast", answers[0].manifest.object_ids[0]}
    for end in ends.values():
        end.close()


# Several runs


def test_opening_a_run_deletes_replies_of_other_runs(owner: Owner, folder: Path) -> None:
    body, other = owner.answer(os.urandom(LARGE)), owner.answer(os.urandom(LARGE))
    assert owner.kept_by(opened(folder), body)
    (run,) = folder.iterdir()
    aside = folder.with_name("aside")
    run.rename(aside)
    assert owner.kept_by(opened(folder, run=1), other)
    # The kept replies of two killed runs.
    aside.rename(run)
    assert len(list(folder.iterdir())) == 2

    replies = opened(folder)

    assert list(folder.iterdir()) == [run]
    assert len(found(replies, body)[0]) == LARGE
    assert {path.name for path in files(folder)} == set(body.manifest.object_ids)


def test_end_of_a_run_deletes_its_kept_replies(owner: Owner, folder: Path) -> None:
    body = owner.answer(os.urandom(33_000))
    replies = opened(folder)
    assert owner.kept_by(replies, body)

    replies.close_run()
    replies.close_run()

    assert list(folder.iterdir()) == []
    assert not owner.kept_by(replies, body)
    assert list(folder.iterdir()) == []
    with pytest.raises(IntegrityError, match="no run is open"):
        replies.objects_of(message_of(body), DO, encryption=True)


def test_nothing_is_kept_or_logged_without_a_run(owner: Owner, folder: Path, logged: list[str]) -> None:
    assert not owner.kept_by(KeptAnswers(folder, NO_LIMIT), owner.answer(os.urandom(33_000)))
    assert not folder.exists()
    assert logged == []


def fill(replies: KeptAnswers, owner: str, size: int, most: int) -> int:
    """Keep replies without objects until one is refused; return the number of kept ones."""
    seen = ObjectFolder(MemoryNetwork().transport(DS), NAMES, owner, True)
    return next((number for number in range(most) if not replies.keep(f"{number:032}", [], seen, size)), most)


def test_replies_of_one_owner_leave_room_for_the_others(folder: Path) -> None:
    owners = [f"do{number}@y.org" for number in range(5)]
    replies = KeptAnswers(folder, 1_000, len(owners))
    replies.open_run(RUN)
    assert fill(replies, owners[0], 10, 100) == 60
    assert [fill(replies, owner, 10, 10) for owner in owners[1:]] == [10] * 4
    assert fill(replies, owners[1], 10, 10) == 0


def test_equal_replies_use_the_whole_limit(folder: Path) -> None:
    owners = [f"do{number}@y.org" for number in range(5)]
    replies = KeptAnswers(folder, 1_000, len(owners))
    replies.open_run(RUN)
    for _ in range(20):
        assert [fill(replies, owner, 10, 1) for owner in owners] == [1] * 5
    assert [fill(replies, owner, 10, 1) for owner in owners] == [0] * 5


def test_resumed_run_counts_the_earlier_replies(folder: Path) -> None:
    earlier = folder / f"{RUN:016x}" / ("0" * 32)
    earlier.mkdir(parents=True)
    (earlier / "object").write_bytes(bytes(800))
    owners = [f"do{number}@y.org" for number in range(5)]
    replies = KeptAnswers(folder, 1_000, len(owners))
    replies.open_run(RUN)
    assert sum(fill(replies, owner, 10, 4) for owner in owners) == 20
