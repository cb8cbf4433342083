"""Calls of the Drive client without network faults: their results and the arguments that they refuse."""

import errno
import io
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from drivekit.accounts import ANN, BEN, LARGE, Person, content, md5

from syft_flwr.emulators.gdrive import Call, Emulator, Fault
from syft_flwr.errors import ConflictError, NotFoundError, RefusedError, StorageFullError, TransportError
from syft_flwr.transport._gdrive.api.drive_client import DriveClient
from syft_flwr.transport._gdrive.api.drive_file import DriveFile, TakenError

_FORGOTTEN = json.dumps({"error": {"errors": [{"reason": "invalid", "location": "pageToken"}]}})


def test_me_asks_for_the_email_once(ann: Person) -> None:
    assert ann.drive.me() == ANN
    ann.drive.me()
    assert ann.emulator.meter(ANN).calls["about.get"] == 1


def test_emails_are_compared_case_folded(emulator: Emulator, tmp_path: Path) -> None:
    emulator.add_user("Carla@Z.org")
    person = Person(emulator, tmp_path, "Carla@Z.org")
    assert person.drive.me() == "carla@z.org"
    assert person.put(b"x").owner == "carla@z.org"
    person.drive.close()


def test_free_space_is_limit_minus_usage(ann: Person) -> None:
    ann.emulator.set_storage(ANN, 1000)
    ann.put(bytes(400))
    assert ann.drive.free_space() == 600
    ann.emulator.set_storage(ANN, 100)
    assert ann.drive.free_space() == 0
    ann.emulator.set_storage(ANN, None)
    assert ann.drive.free_space() is None


def test_new_ids_returns_any_number(ann: Person) -> None:
    ids = ann.drive.new_ids(1500)
    assert len(set(ids)) == 1500
    assert ann.emulator.meter(ANN).calls["files.generateIds"] == 2
    assert ann.drive.new_ids(0) == []


def test_created_file_can_be_found_and_read(ann: Person) -> None:
    data = content(1000)
    file = ann.put(data, name="näme.bin")
    assert file == ann.drive.get(file.id)
    assert (file.name, file.owner, file.size, file.md5) == ("näme.bin", ANN, 1000, md5(data))
    assert (file.is_folder, dict(file.properties), file.parents) == (False, {"k": "v"}, (ann.folder(),))
    assert file.created.startswith("20")
    assert file.version > 0
    assert ann.read(file) == data


@pytest.mark.parametrize("size", [0, 1, 5 << 20, LARGE])
def test_content_of_any_size_arrives_unchanged(ann: Person, size: int) -> None:
    data = content(size)
    file = ann.put(data)
    assert (file.size, file.md5) == (size, md5(data))
    assert ann.read(file) == data
    assert ann.emulator.meter(ANN).bytes_up == size


def test_boundary_like_bytes_arrive_unchanged(ann: Person) -> None:
    data = b"\r\n--===============0==--\r\nFrom me\n\x00" * 50
    assert ann.read(ann.put(data)) == data


def test_download_starts_at_the_target_position(ann: Person) -> None:
    file = ann.put(b"content")
    target = io.BytesIO(b"head:old old old")
    target.seek(5)
    ann.drive.download(file, target)
    assert target.getvalue() == b"head:content"


def test_upload_takes_one_request_per_chunk(ann: Person) -> None:
    ann.folder()
    small, large = ann.drive.new_ids(2)
    ann.emulator.reset_meters()
    ann.put(content(1 << 20), file_id=small, name="small")
    assert ann.emulator.meter(ANN).http == 1
    ann.emulator.reset_meters()
    ann.put(content(LARGE), file_id=large, name="large")
    calls = ann.emulator.meter(ANN).calls
    assert (calls["files.create"], calls["upload.chunk"], calls["upload.status"]) == (1, 24, 0)


@pytest.mark.parametrize("size", [10, LARGE])
def test_creating_same_file_again_changes_nothing(ann: Person, size: int) -> None:
    data = content(size)
    first = ann.put(data)
    ann.emulator.reset_meters()
    assert ann.put(data, file_id=first.id) == first
    assert ann.files() == {"file.bin": data}
    assert ann.emulator.meter(ANN).calls["upload.chunk"] == 0


@pytest.mark.parametrize("size", [10, LARGE])
@pytest.mark.parametrize("other", ["name", "content", "size"])
def test_id_of_another_file_raises_taken_error(ann: Person, size: int, other: str) -> None:
    first = ann.put(content(size))
    data = content(size, seed=1) if other == "content" else content(size + (other == "size"))
    with pytest.raises(TakenError, match="belongs to another") as error:
        ann.put(data, file_id=first.id, name="other" if other == "name" else "file.bin")
    assert isinstance(error.value, ConflictError)
    assert error.value.file == first
    assert ann.files() == {"file.bin": content(size)}


def test_id_of_trashed_file_raises_taken_error(ann: Person) -> None:
    first = ann.put(b"x")
    ann.emulator.trash(first.id)
    with pytest.raises(TakenError):
        ann.put(b"x", file_id=first.id)


def test_id_of_invisible_file_raises_taken_error(ann: Person, ben_of_drive: Person) -> None:
    ann.emulator.inject(Fault("error", method="files.create", status=409, reason="fileIdInUse", times=None))
    (file_id,) = ann.drive.new_ids(1)
    with pytest.raises(TakenError) as error:
        ann.drive.create_folder(file_id, "home", {})
    assert error.value.file is None


def test_folder_is_created_once(ann: Person) -> None:
    (file_id,) = ann.drive.new_ids(1)
    first = ann.drive.create_folder(file_id, "home", {"a": "b"})
    assert first.is_folder
    assert first.owner == ANN
    assert (first.size, first.md5) == (0, "")
    assert ann.drive.create_folder(file_id, "home", {"a": "b"}) == first
    (inner,) = ann.drive.new_ids(1)
    assert ann.drive.create_folder(inner, "inner", {}, parent=file_id).parents == (file_id,)


def test_folder_with_id_of_a_file_is_refused(ann: Person) -> None:
    file = ann.put(b"x")
    with pytest.raises(TakenError):
        ann.drive.create_folder(file.id, "home", {})


def test_absent_trashed_or_unshared_is_not_found(ann: Person, ben_of_drive: Person) -> None:
    (unused,) = ann.drive.new_ids(1)
    trashed, hidden = ann.put(b"x", name="a"), ben_of_drive.put(b"y")
    ann.emulator.trash(trashed.id)
    for file_id in (unused, trashed.id, hidden.id):
        with pytest.raises(NotFoundError):
            ann.drive.get(file_id)
    found = ann.put(b"z", name="b")
    assert ann.drive.get_many([unused, trashed.id, found.id, hidden.id]) == {
        unused: None,
        trashed.id: None,
        found.id: found,
        hidden.id: None,
    }


def test_get_many_uses_batches(ann: Person) -> None:
    ids = ann.drive.new_ids(201)
    file = ann.put(b"x", file_id=ids[150])
    ann.emulator.reset_meters()
    found = ann.drive.get_many(ids)
    assert list(found) == ids
    assert {file_id for file_id in ids if found[file_id]} == {file.id}
    # The batches have 100, 100 and 1 ids.
    assert ann.emulator.meter(ANN).http == 3
    assert ann.emulator.meter(ANN).calls["files.get"] == 201
    assert ann.drive.get_many([]) == {}


def test_batch_parts_may_arrive_in_any_order(ann: Person) -> None:
    files = {file.id: file for file in (ann.put(bytes(n), name=f"{n}") for n in range(5))}
    ann.fault("shuffle_batch", "batch")
    assert ann.drive.get_many(list(files)) == files


def test_file_names_cannot_break_a_batch(ann: Person) -> None:
    name = '"}\r\n\r\n--batch\r\nHTTP/1.1 404 Not Found\r\n ☃'
    files = {file.id: file for file in (ann.put(b"1", name=name), ann.put(b"2", name="plain"))}
    assert ann.drive.get_many(list(files)) == files


def test_search_returns_each_file_of_all_pages(ann: Person) -> None:
    files = {ann.put(b"", name=f"{n:02}").id for n in range(7)}
    ann.fault("short_page", "files.list", times=3, at_most=2)
    found = list(ann.drive.search(f"'{ann.folder()}' in parents and trashed = false"))
    assert len(found) == 7
    assert {file.id for file in found} == files


def test_search_stops_at_its_limit(ann: Person) -> None:
    for number in range(5):
        ann.put(b"", name=f"{number}")
    assert len(list(ann.drive.search(f"'{ann.folder()}' in parents", max_files=3))) == 3


def test_search_restarts_after_lost_page_token(ann: Person) -> None:
    files = [ann.put(b"", name=f"{n}").id for n in range(4)]
    ann.fault("short_page", "files.list", at_most=2)
    ann.fault("error", "files.list", after=1, status=400, page=_FORGOTTEN)
    found = [file.id for file in ann.drive.search(f"'{ann.folder()}' in parents")]
    assert sorted(found) == sorted(files)
    assert ann.emulator.meter(ANN).calls["files.list"] == 3


def test_search_fails_if_token_is_lost_repeatedly(ann: Person) -> None:
    for number in range(2):
        ann.put(b"", name=f"{number}")
    ann.fault("short_page", "files.list", times=None, at_most=1)
    ann.emulator.inject(
        Fault("error", method="files.list", times=None, status=400, page=_FORGOTTEN, predicate=_is_late)
    )
    with pytest.raises(TransportError, match="lost the position of a search 4 times"):
        list(ann.drive.search(f"'{ann.folder()}' in parents"))


def _is_late(call: Call) -> bool:
    return call.number % 2 == 1


def test_long_query_is_accepted(ann: Person) -> None:
    file = ann.put(b"")
    query = " or ".join([f"name = '{'x' * 50}{n}'" for n in range(60)] + ["name = 'file.bin'"])
    assert len(query) > 3000
    assert [found.id for found in ann.drive.search(query)] == [file.id]


@pytest.mark.parametrize("size", [0, 100, LARGE])
def test_content_is_replaced_in_place(ann: Person, size: int) -> None:
    file = ann.put(b"old")
    data = content(size)
    changed = ann.drive.update(file.id, io.BytesIO(data), size, md5(data), {"n": "1"})
    assert (changed.id, changed.name, changed.size) == (file.id, file.name, size)
    assert dict(changed.properties) == {"k": "v", "n": "1"}
    assert changed.version > file.version
    assert ann.read(changed) == data
    again = ann.drive.update(file.id, io.BytesIO(b"new"), 3, md5(b"new"))
    assert dict(again.properties) == {"k": "v", "n": "1"}
    assert ann.files() == {"file.bin": b"new"}


def test_properties_are_set_and_removed(ann: Person) -> None:
    file = ann.put(b"x")
    ann.drive.set_properties(file.id, {"new": "1", "k": None})
    assert dict(ann.drive.get(file.id).properties) == {"new": "1"}


def test_shared_folder_is_readable_not_writable(ann: Person, ben_of_drive: Person) -> None:
    file = ann.put(b"hello")
    ann.drive.share(ann.folder(), "Ben@Y.org")
    ann.drive.share(ann.folder(), BEN)
    found = ben_of_drive.drive.get(file.id)
    assert found.owner == ANN
    assert ben_of_drive.read(found) == b"hello"
    with pytest.raises(RefusedError, match="no permission"):
        ben_of_drive.drive.update(file.id, io.BytesIO(b"x"), 1, md5(b"x"))
    with pytest.raises(RefusedError, match="no permission"):
        ben_of_drive.drive.delete_many([file.id])
    assert ann.files() == {"file.bin": b"hello"}


def test_deleting_missing_files_is_no_error(ann: Person) -> None:
    ids = [ann.put(b"", name=f"{n}").id for n in range(3)]
    (unused,) = ann.drive.new_ids(1)
    ann.drive.delete_many([*ids[:2], unused])
    assert ann.files() == {"2": b""}
    ann.drive.delete_many(ids)
    ann.drive.delete_many([ids[0]])
    ann.drive.delete_many([])
    assert ann.files() == {}


def test_undeletable_file_does_not_stop_others(ann: Person, ben_of_drive: Person) -> None:
    foreign = ben_of_drive.put(b"x")
    ben_of_drive.drive.share(foreign.id, ANN)
    own = ann.put(b"x")
    with pytest.raises(RefusedError):
        ann.drive.delete_many([foreign.id, own.id])
    assert ann.files() == {}


@pytest.mark.parametrize("file_id", ["", "short", "a/../b/../../x", "x" * 200, "né" * 10, "root"])
def test_invalid_id_is_never_sent(ann: Person, file_id: str) -> None:
    ann.emulator.reset_meters()
    target = DriveFile(file_id, "n", ANN, 1, "", is_folder=False, properties={}, parents=(), created="", version=1)
    for call in (
        lambda: ann.drive.get(file_id),
        lambda: ann.drive.get_many([file_id]),
        lambda: ann.drive.delete_many([file_id]),
        lambda: ann.drive.share(file_id, BEN),
        lambda: ann.drive.set_properties(file_id, {}),
        lambda: ann.drive.create_folder(file_id, "n", {}),
        lambda: ann.drive.update(file_id, io.BytesIO(b""), 0, md5(b"")),
        lambda: ann.drive.download(target, io.BytesIO()),
    ):
        with pytest.raises(TransportError, match="is not the id"):
            call()
    assert ann.emulator.meter(ANN).http == 0


def test_too_short_content_is_never_stored(ann: Person) -> None:
    for size, announced in ((10, 11), (LARGE, LARGE + 1)):
        (file_id,) = ann.drive.new_ids(1)
        with pytest.raises(TransportError, match="content to upload"):
            ann.drive.create(file_id, "n", ann.folder(), {}, io.BytesIO(bytes(size)), announced, md5(bytes(size)))
    assert ann.files() == {}


def test_threads_get_their_own_responses(ann: Person) -> None:
    files = [ann.put(content(200, seed=n), name=f"{n}") for n in range(8)]
    wrong: list[int] = []

    def read(number: int) -> None:
        file, data = files[number], content(200, seed=number)
        wrong.extend(number for _ in range(20) if (ann.read(file), ann.drive.get(file.id)) != (data, file))

    threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_large_file_is_streamed_in_blocks(ann: Person) -> None:
    blocks: list[int] = []

    class Blocks(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            blocks.append(-1 if size is None else size)
            return super().read(size)

        def write(self, data: Any) -> int:
            blocks.append(len(data))
            return super().write(data)

    (file_id,) = ann.drive.new_ids(1)
    data = content(LARGE)
    drive = DriveClient(ann.account(), clock=ann.clock)
    file = drive.create(file_id, "n", ann.folder(), {}, Blocks(data), LARGE, md5(data))
    target = Blocks()
    drive.download(file, target)
    drive.close()
    assert target.getvalue() == data
    assert 0 < min(blocks) <= max(blocks) <= 256 << 10


def test_full_target_disk_is_not_retried(ann: Person) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    file = ann.put(b"x" * 100)
    with pytest.raises(StorageFullError):
        ann.drive.download(file, Full())
    assert ann.emulator.meter(ANN).calls["files.download"] == 1


@pytest.mark.parametrize("size", [10, LARGE])
def test_unreadable_source_is_not_retried(ann: Person, size: int) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    (file_id,) = ann.drive.new_ids(1)
    with pytest.raises(TransportError, match="content to upload"):
        ann.drive.create(file_id, "n", ann.folder(), {}, Broken(bytes(size)), size, md5(bytes(size)))
    assert ann.clock.waits == []
