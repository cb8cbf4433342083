"""The transport contract for a hostile or broken storage; part of :mod:`syft_flwr.testing.transport_contract`."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from syft_flwr._messaging.wire.limits import MAX_OBJECT
from syft_flwr.errors import NotFoundError, TransportError
from syft_flwr.testing.contract_storage import DO, DS, FOLDER, INBOX, NAME, OTHER, REQUEST, SIZE, Storage, names_in
from syft_flwr.transport.base import Transport
from syft_flwr.transport.opening import open_again

#: Names of files to spoil; more than the kinds of invalid objects of a storage.
SPOILT = [f"{FOLDER}/objects/cd/{number}.blob" for number in range(8)]
#: Names that a file system allows and every transport refuses.
FOREIGN_NAMES = [
    f"{DO}/.hidden",
    f"{DO}/one blob",
    f"{DO}/one\n.blob",
    f"{DO}/ö.blob",
    f"{DO}/a\\b.blob",
    f"{DO}/dist/one.blob",
    f"{FOLDER}/one.tmp",
    f"{FOLDER}/objects/ab/.one.blob.0123456789ab.tmp",
    f"{FOLDER}/objects/ab/one.rejected.blob",
]


def test_file_with_bad_name_hides_no_other(ds: Transport, do: Transport, storage: Storage) -> None:
    do.put(NAME, b"content", readers=[DS])
    for name in FOREIGN_NAMES:
        storage.foreign(name, b"foreign")

    for end in (ds, do):
        assert names_in(end, f"{DO}/") == {NAME}
        assert end.get(NAME, max_size=SIZE) == b"content"


def test_unreadable_file_hides_no_other(ds: Transport, do: Transport, storage: Storage) -> None:
    do.put(NAME, b"content", readers=[DS])
    for name in SPOILT:
        storage.spoil(name)

    for end in (ds, do):
        assert names_in(end, f"{DO}/") == {NAME}
        assert end.get(NAME, max_size=SIZE) == b"content"


def test_unreadable_file_counts_as_absent(ds: Transport, do: Transport, storage: Storage, tmp_path: Path) -> None:
    do.put(NAME, b"content", readers=[DS])
    for name in SPOILT:
        storage.spoil(name)

        for look in _looks(ds, name, tmp_path):
            with pytest.raises(NotFoundError):
                look()
        assert not ds.refused(name)
        with suppress(TransportError):
            do.put(name, b"mine", readers=[DS])
        with suppress(TransportError):
            do.put(name, b"mine", readers=[DS], replace=True)
        with suppress(TransportError):
            do.delete(name)


def test_files_for_others_are_not_listed(ds: Transport, do: Transport, storage: Storage, tmp_path: Path) -> None:
    if not storage.hides_files:
        pytest.skip("the sync service keeps files away from others, not this end")
    do.put(NAME, b"content", readers=[OTHER])

    assert names_in(do) == {NAME}
    assert names_in(ds) == set()
    for look in _looks(ds, NAME, tmp_path):
        with pytest.raises(NotFoundError):
            look()


def test_file_of_another_peer_is_not_deleted(ds: Transport, do: Transport, storage: Storage) -> None:
    do.open_inbox(INBOX)
    do.put(NAME, b"content", readers=[DS])
    ds.put(REQUEST, b"asked", readers=[DO])

    for end in (ds, storage.end(OTHER)):
        with suppress(TransportError):
            end.delete(NAME)
    with suppress(TransportError):
        storage.end(OTHER).delete(REQUEST)

    assert do.get(NAME, max_size=SIZE) == b"content"
    assert do.get(REQUEST, max_size=SIZE) == b"asked"


def test_broken_storage_raises_transport_errors(ds: Transport, do: Transport, storage: Storage, tmp_path: Path) -> None:
    do.open_inbox(INBOX)
    do.put(NAME, b"content", readers=[DS])
    reopening = do.reopen()

    for _ in range(2):
        storage.break_down()

        for look in _looks(ds, NAME, tmp_path):
            with pytest.raises(TransportError):
                look()
        with pytest.raises(TransportError):
            do.put(f"{FOLDER}/objects/cd/new.blob", b"new", readers=[DS])
        # These calls may succeed, for example from a cache, or raise a TransportError.
        others: list[Callable[[], Any]] = [
            lambda: list(ds.list(f"{DO}/")),
            lambda: ds.refused(NAME),
            lambda: do.put(NAME, b"other", readers=[DS], replace=True),
            lambda: do.delete(NAME),
            lambda: do.open_inbox(INBOX),
            do.free_space,
            *([lambda: open_again(reopening).close()] if reopening else []),
        ]
        for other in others:
            with suppress(TransportError):
                other()


def test_part_size_is_within_the_limits(do: Transport) -> None:
    assert 0 < do.properties.part_size <= min(MAX_OBJECT, do.properties.max_file_size)


def _looks(end: Transport, name: str, folder: Path) -> list[Callable[[], Any]]:
    """Return one function for each method that reads a file."""
    return [
        lambda: end.get(name, max_size=SIZE),
        lambda: end.open(name, max_size=SIZE),
        lambda: end.keep(name, folder / "kept", max_size=SIZE),
        lambda: end.stat(name),
    ]
