"""The contract of a transport: pytest tests for all promises of ``transport/base.py``.

A test file imports all tests, and defines the storage under test::

    from syft_flwr.testing.transport_contract import *

    @pytest.fixture
    def storage(tmp_path: Path) -> Iterator[Storage]:
        ...

Call ``pytest.register_assert_rewrite("syft_flwr.testing")`` in a conftest.py to see the compared values of a failure.
"""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path

import pytest

from syft_flwr.errors import ConflictError, NotFoundError, TooLargeError, TransportError
from syft_flwr.names import MAX_NAME_LENGTH, collection, is_valid_name
from syft_flwr.testing.contract_storage import *  # noqa: F403 - the tests need its fixtures
from syft_flwr.testing.contract_storage import (
    DO,
    DS,
    FOLDER,
    INBOX,
    NAME,
    ODD,
    OTHER,
    REQUEST,
    SIZE,
    Storage,
    names_in,
)
from syft_flwr.testing.hostile_contract import *  # noqa: F403
from syft_flwr.testing.keep_contract import *  # noqa: F403
from syft_flwr.transport.base import Entry, Transport, Watch
from syft_flwr.transport.opening import open_again

PATIENCE = 10.0
WITH_EVENTS = pytest.mark.usefixtures("with_events")


def wait_for(watch: Watch, wanted: set[str]) -> set[str]:
    """Wait until a watch has reported all of ``wanted``; return all reported names."""
    seen: set[str] = set()
    deadline = time.monotonic() + PATIENCE
    while not wanted <= seen and time.monotonic() < deadline:
        seen |= watch.wait(max(0.0, deadline - time.monotonic()))
    assert wanted <= seen
    return seen


# Files


@pytest.mark.parametrize("size", [1, 100, 4_096, 3_000_001])
def test_peer_gets_the_written_content(ds: Transport, do: Transport, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)

    do.put(NAME, data, readers=[DS])

    assert ds.get(NAME, max_size=size) == data
    assert ds.stat(NAME) == Entry(NAME, size)
    assert list(ds.list(f"{FOLDER}/objects/")) == [Entry(NAME, size)]


def test_put_of_the_same_bytes_changes_nothing(ds: Transport, do: Transport) -> None:
    do.put(NAME, b"content", readers=[DS])
    do.put(NAME, b"content", readers=[DS])
    pieces: list[bytes | memoryview] = [b"con", memoryview(b"tent")]
    do.put(NAME, iter(pieces), readers=[DS])

    assert ds.get(NAME, max_size=SIZE) == b"content"


@pytest.mark.parametrize("other", [b"contenT", b"conten", b"contents", b"x" * 10_000])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_put_of_other_bytes_is_a_conflict(ds: Transport, do: Transport, other: bytes, streamed: bool) -> None:
    do.put(NAME, b"content", readers=[DS])

    with pytest.raises(ConflictError, match=r"one\.blob"):
        do.put(NAME, iter((other[:3], other[3:])) if streamed else other, readers=[DS])

    assert ds.get(NAME, max_size=SIZE) == b"content"


@pytest.mark.parametrize("other", [b"shorter", b"a longer content than before"])
def test_replace_changes_the_content(ds: Transport, do: Transport, other: bytes) -> None:
    do.put(NAME, b"first content", readers=[DS])

    do.put(NAME, other, readers=[DS], replace=True)

    assert ds.get(NAME, max_size=SIZE) == other
    assert ds.stat(NAME).size == len(other)


def test_replace_of_a_missing_file_creates_it(ds: Transport, do: Transport) -> None:
    do.put(NAME, b"content", readers=[DS], replace=True)

    assert ds.get(NAME, max_size=SIZE) == b"content"


def test_put_accepts_a_reused_buffer(ds: Transport, do: Transport) -> None:
    reused = bytearray(1_000)

    def buffers() -> Iterator[memoryview]:
        for number in range(50):
            reused[:] = bytes([number]) * 1_000
            yield memoryview(reused)[: 500 + number]

    do.put(NAME, buffers(), readers=[DS])

    assert ds.get(NAME, max_size=SIZE) == b"".join(bytes([number]) * (500 + number) for number in range(50))


def test_failed_put_leaves_no_file(ds: Transport, do: Transport) -> None:
    def buffers() -> Iterator[bytes]:
        yield b"x" * 100_000
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        do.put(NAME, buffers(), readers=[DS])

    with pytest.raises(NotFoundError):
        ds.get(NAME, max_size=SIZE)
    assert names_in(do) == set()
    do.put(NAME, b"now", readers=[DS])
    assert ds.get(NAME, max_size=SIZE) == b"now"


def test_failed_replacement_keeps_the_old_content(ds: Transport, do: Transport) -> None:
    def buffers() -> Iterator[bytes]:
        yield b"x" * 100_000
        raise RuntimeError("no more")

    do.put(NAME, b"old", readers=[DS])

    with pytest.raises(RuntimeError, match="no more"):
        do.put(NAME, buffers(), readers=[DS], replace=True)

    assert ds.get(NAME, max_size=SIZE) == b"old"


def test_readers_never_see_a_partial_file(ds: Transport, do: Transport) -> None:
    states = [bytes([number]) * (200_000 + number) for number in range(40)]
    torn: list[int] = []
    written = threading.Event()

    def read() -> None:
        while not written.is_set():
            try:
                data = ds.get(NAME, max_size=SIZE)
            except NotFoundError:
                continue
            if data not in states:
                torn.append(len(data))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for state in states:
            do.put(NAME, (state[start : start + 50_000] for start in range(0, len(state), 50_000)), readers=[DS])
            do.delete(NAME)
        for state in states:
            do.put(NAME, state, readers=[DS], replace=True)
    finally:
        written.set()
        reader.join()
    assert torn == []


def test_open_file_stays_readable_after_deletion(ds: Transport, do: Transport) -> None:
    content = bytes(range(256)) * 1_000
    do.put(NAME, content, readers=[DS])

    with ds.open(NAME, max_size=SIZE) as file:
        start = file.read(1_000)
        do.put(NAME, b"other", readers=[DS], replace=True)
        do.delete(NAME)
        assert start + file.read() == content


def test_open_file_is_read_in_pieces(ds: Transport, do: Transport) -> None:
    do.put(NAME, b"0123456789", readers=[DS])

    with ds.open(NAME, max_size=10) as file:
        target = bytearray(4)
        assert file.read(3) == b"012"
        assert file.readinto(target) == 4  # type: ignore[attr-defined]
        assert target == b"3456"
        assert file.read() == b"789"
        assert file.read(1) == b""


def test_file_over_the_limit_is_refused(ds: Transport, do: Transport) -> None:
    do.put(NAME, b"x" * 1_000, readers=[DS])

    assert len(ds.get(NAME, max_size=1_000)) == 1_000
    with pytest.raises(TooLargeError, match="1000 bytes"):
        ds.get(NAME, max_size=999)
    with pytest.raises(TooLargeError, match="1000 bytes"):
        ds.open(NAME, max_size=999)


@pytest.mark.parametrize("name", [NAME, f"{FOLDER}/objects/ab", f"{OTHER}/nothing/of/this/is/there"])
def test_missing_file_is_not_found(ds: Transport, do: Transport, name: str) -> None:
    do.put(f"{FOLDER}/objects/ab/another.blob", b"content", readers=[DS])

    for look in (lambda: ds.get(name, max_size=SIZE), lambda: ds.open(name, max_size=SIZE), lambda: ds.stat(name)):
        with pytest.raises(NotFoundError):
            look()


def test_empty_file_counts_as_absent(ds: Transport, do: Transport) -> None:
    do.put(NAME, b"", readers=[DS])

    with pytest.raises(NotFoundError):
        ds.get(NAME, max_size=SIZE)
    with pytest.raises(NotFoundError):
        ds.stat(NAME)
    assert names_in(do) == set()


def test_put_over_an_empty_file_is_a_conflict(do: Transport) -> None:
    do.put(NAME, b"", readers=[DS])

    with pytest.raises(ConflictError):
        do.put(NAME, b"content", readers=[DS])
    do.put(NAME, b"content", readers=[DS], replace=True)
    assert do.get(NAME, max_size=SIZE) == b"content"


def test_parallel_writes_of_one_file_all_succeed(do: Transport) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: do.put(NAME, b"same" * 1_000, readers=[DS]), range(32)))

    assert do.get(NAME, max_size=SIZE) == b"same" * 1_000
    assert names_in(do) == {NAME}


# Listing


def test_list_returns_only_files_below_prefix(ds: Transport, do: Transport) -> None:
    inside = {f"{FOLDER}/objects/{shard}/{shard}.blob" for shard in ("aa", "bb", "cc")}
    for name in (*inside, f"{FOLDER}/objects2/aa/aa.blob", f"{DO}/public/card.json"):
        do.put(name, b"content", readers=[DS])

    assert names_in(ds, f"{FOLDER}/objects/") == inside
    assert names_in(ds, f"{FOLDER}/objects/aa/") == {f"{FOLDER}/objects/aa/aa.blob"}
    assert names_in(ds, f"{FOLDER}/nothing/") == set()
    assert names_in(ds, f"{DO}/") == {*inside, f"{FOLDER}/objects2/aa/aa.blob", f"{DO}/public/card.json"}


def test_files_can_be_deleted_during_a_listing(do: Transport) -> None:
    names = {f"{FOLDER}/objects/{number:02x}/{number:02x}.blob" for number in range(30)}
    for name in names:
        do.put(name, b"content", readers=[DS])

    seen = set()
    for entry in do.list(f"{FOLDER}/objects/"):
        seen.add(entry.name)
        do.delete(entry.name)

    assert seen == names
    assert names_in(do) == set()


def test_refused_file_is_reported_and_not_listed(ds: Transport, storage: Storage) -> None:
    ds.put(f"{DS}/app_data/flwr/app/objects/ab/fine.blob", b"content", readers=[DO])
    name = f"{OTHER}/private/{DS}/{'1' * 32}.request"

    storage.set_aside(DS, name)

    assert ds.refused(name)
    assert not ds.refused(f"{DS}/app_data/flwr/app/objects/ab/fine.blob")
    assert not ds.refused(REQUEST)
    assert names_in(storage.end(OTHER), f"{OTHER}/") == set()
    with pytest.raises(NotFoundError):
        storage.end(OTHER).get(name, max_size=SIZE)


# Deleting


def test_delete_twice_is_not_an_error(ds: Transport, do: Transport) -> None:
    do.delete(NAME)
    do.put(NAME, b"content", readers=[DS])

    do.delete(NAME)
    do.delete(NAME)

    with pytest.raises(NotFoundError):
        ds.get(NAME, max_size=SIZE)
    do.put(NAME, b"other", readers=[DS])
    assert ds.get(NAME, max_size=SIZE) == b"other"


def test_free_space_is_a_number_of_bytes(do: Transport) -> None:
    assert do.free_space() > 1_000_000


# Reopening


def test_reopened_transport_sees_the_same_files(ds: Transport, do: Transport) -> None:
    reopening = do.reopen()
    if reopening is None:
        # Only one process can use this transport; a worker uses a folder of this machine.
        return
    assert json.loads(json.dumps(reopening.arguments)) == reopening.arguments
    do.put(NAME, b"content", readers=[DS])

    with closing(open_again(reopening)) as again:
        assert again.get(NAME, max_size=SIZE) == b"content"
        again.put(f"{FOLDER}/objects/cd/two.blob", b"of the worker", readers=[DS])

    assert ds.get(f"{FOLDER}/objects/cd/two.blob", max_size=SIZE) == b"of the worker"
    assert do.get(NAME, max_size=SIZE) == b"content"


# Watching


@WITH_EVENTS
def test_watch_reports_all_kinds_of_changes(ds: Transport, do: Transport) -> None:
    changing, going = f"{FOLDER}/objects/cd/changing.blob", f"{FOLDER}/objects/ef/going.blob"
    do.put(changing, b"content", readers=[DS])
    do.put(going, b"content", readers=[DS])
    assert ds.stat(going) == Entry(going, 7)

    with ds.watch([f"{FOLDER}/"]) as watch:
        do.put(NAME, b"content", readers=[DS])
        do.put(changing, b"changed", readers=[DS], replace=True)
        do.delete(going)

        wait_for(watch, {NAME, changing, going})


@WITH_EVENTS
def test_watch_reports_only_names_below_prefixes(ds: Transport, do: Transport) -> None:
    with ds.watch([f"{FOLDER}/objects/", f"{DO}/public/"]) as watch, ds.watch([f"{OTHER}/"]) as elsewhere:
        for name in (NAME, f"{FOLDER}/other/a.blob", f"{DO}/publicity/b.json", f"{DO}/public/card.json"):
            do.put(name, b"content", readers=[DS])
        seen = wait_for(watch, {NAME, f"{DO}/public/card.json"})
        last = f"{FOLDER}/objects/zz/last.blob"
        do.put(last, b"content", readers=[DS])
        seen |= wait_for(watch, {last})

        assert all(is_valid_name(name) for name in seen)
        assert all(name.startswith((f"{FOLDER}/objects/", f"{DO}/public/")) for name in seen)
        assert elsewhere.wait(0) == set()


@WITH_EVENTS
def test_every_watch_gets_every_name(do: Transport, ds: Transport, storage: Storage) -> None:
    other = storage.end(OTHER)
    with ds.watch([f"{DO}/"]) as one, ds.watch([f"{DO}/"]) as two, other.watch([f"{DO}/"]) as three:
        do.put(NAME, b"content", readers=[DS, OTHER])
        for watch in (one, two, three):
            wait_for(watch, {NAME})


def test_closed_watch_reports_nothing(ds: Transport, do: Transport, storage: Storage) -> None:
    with ds.watch([f"{DO}/"]) as ended:
        pass
    with ds.watch([f"{DO}/"]) as watch:
        do.put(NAME, b"content", readers=[DS])
        if storage.pushes_events:
            wait_for(watch, {NAME})
        assert ended.wait(0) == set()


def test_wait_ends_after_its_timeout(ds: Transport) -> None:
    with ds.watch([f"{DO}/"]) as watch:
        assert watch.wait(0) == set()
        assert watch.wait(0.01) == set()


def test_prepared_folder_has_no_file(ds: Transport, do: Transport) -> None:
    folder = f"{collection(NAME)}/"

    do.prepare(folder, [DS])
    do.prepare(folder, [DS])

    assert list(do.list(f"{DO}/")) == []
    do.put(NAME, b"content", readers=[DS])
    assert ds.get(NAME, max_size=SIZE) == b"content"


def test_wake_ends_a_wait_in_another_thread(ds: Transport) -> None:
    with ds.watch([f"{DO}/"]) as watch, ThreadPoolExecutor(1) as other:
        for _ in range(20):
            waiting = other.submit(watch.wait, None)
            watch.wake()
            assert waiting.result(PATIENCE) == set()


def test_wake_before_wait_ends_one_wait(ds: Transport) -> None:
    with ds.watch([f"{DO}/"]) as watch, ThreadPoolExecutor(1) as other:
        watch.wake()
        watch.wake()
        assert other.submit(watch.wait, None).result(PATIENCE) == set()
        second = other.submit(watch.wait, None)
        assert wait([second], timeout=0.1).not_done
        watch.wake()
        assert second.result(PATIENCE) == set()


def test_pushes_events_matches_the_storage(ds: Transport, storage: Storage) -> None:
    with ds.watch([f"{DO}/"]):
        assert ds.properties.pushes_events is storage.pushes_events
        # Without events, a caller must look more often.
        assert 0 < ds.properties.poll_interval <= (3.0 if storage.pushes_events else 1.0)


@WITH_EVENTS
def test_watch_of_own_folder_reports_peers_files(ds: Transport, do: Transport, storage: Storage) -> None:
    do.open_inbox(INBOX)
    response = REQUEST.replace(".request", ".response")
    with do.watch([INBOX]) as watch:
        ds.put(REQUEST, b"asked", readers=[DO])
        wait_for(watch, {REQUEST})
        do.put(response, b"answered", readers=[DS], replace=True)
        ds.delete(REQUEST)
        wait_for(watch, {REQUEST})
        deleting = ds if storage.peers_delete else do
        # A participant deletes only a file that has arrived there.
        assert deleting.get(response, max_size=SIZE) == b"answered"
        deleting.delete(response)
        wait_for(watch, {response})


# Permissions


def test_only_readers_can_read_a_file(do: Transport, storage: Storage) -> None:
    do.put(NAME, b"content", readers=[DS])

    assert storage.may_read(DS, NAME)
    assert storage.may_read(DO, NAME)
    assert not storage.may_read(OTHER, NAME)


def test_star_lets_all_participants_read(do: Transport, storage: Storage) -> None:
    do.put(f"{DO}/public/card.json", b"content", readers=["*"])

    assert all(storage.may_read(email, f"{DO}/public/card.json") for email in (DS, DO, OTHER))


def test_new_readers_do_not_remove_old_readers(do: Transport, storage: Storage) -> None:
    second = f"{FOLDER}/objects/cd/two.blob"
    do.put(NAME, b"content", readers=[DS])
    do.put(second, b"content", readers=[OTHER])

    assert storage.may_read(DS, NAME)
    assert storage.may_read(OTHER, second)


def test_inbox_accepts_only_own_requests_of_peers(do: Transport, storage: Storage) -> None:
    assert not storage.may_write(DS, REQUEST)

    do.open_inbox(INBOX)
    do.open_inbox(INBOX)

    assert storage.may_write(DS, REQUEST)
    assert storage.may_write(OTHER, REQUEST.replace(DS, OTHER))
    assert not storage.may_write(OTHER, REQUEST), "the name belongs to another peer"
    assert not storage.may_write(DS, REQUEST.replace(DS, OTHER)), "the name belongs to another peer"
    assert not storage.may_write(DS, f"{INBOX}messages/{DS}/{'2' * 32}.blob"), "not the name of a request"
    assert not storage.may_write(DS, f"{INBOX}messages/{DS}/below/{'2' * 32}.request"), (
        "a folder below that of the requests"
    )
    assert not storage.may_write(DS, f"{FOLDER}/objects/ab/{'2' * 32}.blob"), "outside the inbox"
    assert not storage.may_write(DS, f"{FOLDER}/objects/{DS}/{'2' * 32}.request"), "outside the inbox"


def test_request_is_readable_by_its_two_peers(do: Transport, ds: Transport, storage: Storage) -> None:
    response = REQUEST.replace(".request", ".response")
    do.open_inbox(INBOX)

    ds.put(REQUEST, b"asked", readers=[DO])
    do.put(response, b"answered", readers=[DS], replace=True)

    assert do.get(REQUEST, max_size=SIZE) == b"asked"
    assert ds.get(response, max_size=SIZE) == b"answered"
    for name in (REQUEST, response):
        assert storage.may_read(DS, name)
        assert storage.may_read(DO, name)
        assert not storage.may_read(OTHER, name)


# Names

BAD_NAMES = [
    "",
    "/",
    "alone",
    f"/{NAME}",
    f"{NAME}/",
    f"{DO}//one.blob",
    f"{DO}/../{OTHER}/one.blob",
    f"../{NAME}",
    f"{DO}/./one.blob",
    f"{DO}/.hidden",
    f"{DO}/.one.blob.0123456789ab.tmp",
    f"{DO}/one.tmp",
    f"{DO}/one.blob.tmp.1234567890",
    f"{DO}/one.TMP",
    f"{DO}/one.log",
    f"{DO}/.syftkeep",
    f"{DO}/one.conflict.blob",
    f"{DO}/one.rejected.20300102030405.request",
    f"{DO}/one.syftrejected.blob",
    f"{DO}/dist/one.blob",
    f"{DO}/venv/one.blob",
    f"{DO}/logs/one.blob",
    f"{DO}/one.tmp/two.blob",
    f"{DO}/a\\b.blob",
    f"{DO}/one blob",
    f"{DO}/one\n.blob",
    f"{DO}/one.blob\n",
    f"{DO}/one\x00.blob",
    f"{DO}/*.blob",
    f"{DO}/ö.blob",
    f"{DO}/" + "x" * MAX_NAME_LENGTH,
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_invalid_name_is_refused_by_all_methods(do: Transport, tmp_path: Path, name: str) -> None:
    for verb in (
        lambda: do.put(name, b"content", readers=[DS]),
        lambda: do.get(name, max_size=SIZE),
        lambda: do.open(name, max_size=SIZE),
        lambda: do.keep(name, tmp_path / "kept", max_size=SIZE),
        lambda: do.stat(name),
        lambda: do.delete(name),
    ):
        with pytest.raises(TransportError, match="not a name"):
            verb()
    assert not is_valid_name(name)
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("email", ODD)
def test_every_email_can_be_a_datasite(do: Transport, email: str) -> None:
    name = f"{FOLDER}/rpc/messages/{email}/{'3' * 32}.request"

    do.put(name, b"content", readers=[email])

    assert do.get(name, max_size=SIZE) == b"content"
    assert names_in(do) == {name}
