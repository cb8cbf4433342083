"""The contract of ``Transport.keep``; part of :mod:`syft_flwr.testing.transport_contract`."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from syft_flwr.errors import NotFoundError, TooLargeError, TransportError
from syft_flwr.testing.contract_storage import DO, DS, NAME, OTHER, SIZE, Storage
from syft_flwr.transport.base import Transport

SECOND = f"{DO}/app_data/flwr/app/objects/cd/two.blob"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path at which a test keeps a file."""
    folder = tmp_path / "home" / "journal"
    folder.mkdir(parents=True)
    return folder / "kept"


@pytest.mark.parametrize("size", [1, 100, 3_000_001])
def test_keep_copies_the_content(ds: Transport, do: Transport, path: Path, size: int) -> None:
    data = (bytes(range(256)) * (size // 256 + 1))[:size]
    do.put(NAME, data, readers=[DS])

    ds.keep(NAME, path, max_size=size)

    assert path.read_bytes() == data
    assert ds.get(NAME, max_size=size) == data
    assert os.listdir(path.parent) == [path.name]


def test_kept_file_survives_a_deletion(ds: Transport, do: Transport, path: Path) -> None:
    do.put(NAME, b"content", readers=[DS])
    ds.keep(NAME, path, max_size=SIZE)

    do.delete(NAME)

    assert path.read_bytes() == b"content"
    with pytest.raises(NotFoundError):
        ds.get(NAME, max_size=SIZE)


@pytest.mark.parametrize("other", [b"other", b"other content that is longer"])
def test_kept_file_is_unchanged_by_a_replacement(ds: Transport, do: Transport, path: Path, other: bytes) -> None:
    do.put(NAME, b"content", readers=[DS])
    ds.keep(NAME, path, max_size=SIZE)

    do.put(NAME, other, readers=[DS], replace=True)
    assert path.read_bytes() == b"content"
    do.delete(NAME)
    do.put(NAME, other, readers=[DS])

    assert path.read_bytes() == b"content"


def test_deleting_the_kept_file_keeps_the_original(ds: Transport, do: Transport, path: Path) -> None:
    do.put(NAME, b"content", readers=[DS])
    ds.keep(NAME, path, max_size=SIZE)

    path.unlink()

    assert ds.get(NAME, max_size=SIZE) == b"content"


@pytest.mark.parametrize("before", [b"x", b"x" * 100_000])
def test_keep_replaces_an_older_kept_file(ds: Transport, do: Transport, path: Path, before: bytes) -> None:
    do.put(NAME, before, readers=[DS])
    do.put(SECOND, b"content", readers=[DS])
    ds.keep(NAME, path, max_size=SIZE)
    again = path.with_name("again")
    os.link(path, again)

    ds.keep(SECOND, path, max_size=SIZE)

    assert path.read_bytes() == b"content"
    assert again.read_bytes() == before
    assert ds.get(NAME, max_size=SIZE) == before


def test_second_keep_changes_nothing(ds: Transport, do: Transport, path: Path) -> None:
    do.put(NAME, b"content", readers=[DS])

    ds.keep(NAME, path, max_size=SIZE)
    ds.keep(NAME, path, max_size=SIZE)

    assert path.read_bytes() == ds.get(NAME, max_size=SIZE) == b"content"


def test_keep_replaces_a_symlink_at_its_path(ds: Transport, do: Transport, path: Path) -> None:
    precious = path.with_name("precious")
    precious.write_bytes(b"precious")
    path.symlink_to(precious)
    do.put(NAME, b"content", readers=[DS])

    ds.keep(NAME, path, max_size=SIZE)

    assert precious.read_bytes() == b"precious"
    assert (path.is_symlink(), path.read_bytes()) == (False, b"content")


def test_file_over_the_limit_is_not_kept(ds: Transport, do: Transport, path: Path) -> None:
    do.put(NAME, b"x" * 1_000, readers=[DS])

    with pytest.raises(TooLargeError, match="1000 bytes"):
        ds.keep(NAME, path, max_size=999)
    assert not path.exists()

    ds.keep(NAME, path, max_size=1_000)
    with pytest.raises(TooLargeError):
        ds.keep(NAME, path, max_size=999)
    assert path.read_bytes() == b"x" * 1_000


@pytest.mark.parametrize("name", [NAME, f"{DO}/app_data/flwr/app/objects/ab", f"{OTHER}/nothing/of/this/is/there"])
def test_missing_file_is_not_kept(ds: Transport, do: Transport, path: Path, name: str) -> None:
    do.put(f"{DO}/app_data/flwr/app/objects/ab/another.blob", b"content", readers=[DS])

    with pytest.raises(NotFoundError):
        ds.keep(name, path, max_size=SIZE)

    assert not path.exists()


def test_empty_file_is_not_kept(ds: Transport, do: Transport, path: Path) -> None:
    do.put(NAME, b"", readers=[DS])

    with pytest.raises(NotFoundError):
        ds.keep(NAME, path, max_size=SIZE)

    assert not path.exists()


def test_keep_at_unwritable_path_is_an_error(ds: Transport, do: Transport, path: Path) -> None:
    do.put(NAME, b"content", readers=[DS])

    with pytest.raises(TransportError):
        ds.keep(NAME, path.parent / "no folder" / "kept", max_size=SIZE)
    path.write_bytes(b"in the way")
    with pytest.raises(TransportError):
        ds.keep(NAME, path / "kept", max_size=SIZE)
    path.unlink()
    path.mkdir()
    with pytest.raises(TransportError):
        ds.keep(NAME, path, max_size=SIZE)


def test_parallel_keeps_store_every_file(storage: Storage, path: Path) -> None:
    ds, do = storage.end(DS), storage.end(DO)
    names = [f"{DO}/app_data/flwr/app/objects/{number:02x}/{number:02x}.blob" for number in range(32)]
    for name in names:
        do.put(name, name.encode(), readers=[DS])

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: ds.keep(name, path.with_name(name.rpartition("/")[2]), max_size=SIZE), names))

    assert {found.read_bytes() for found in path.parent.iterdir()} == {name.encode() for name in names}
