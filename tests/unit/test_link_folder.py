"""Second names of shared files: they survive the file, are private, and leave no folder behind."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from syft_flwr import files
from syft_flwr._messaging.link_folder import LinkFolder
from syft_flwr.errors import NotFoundError, TooLargeError
from syft_flwr.transport.syftbox import SyftBoxTransport

ME = "ds@x.org"
NAME = f"{ME}/app_data/flwr/app/objects/ab/one.blob"
MANY = 1 << 20


@pytest.fixture
def transport(tmp_path: Path) -> Iterator[SyftBoxTransport]:
    transport = SyftBoxTransport(tmp_path / "data", ME)
    transport.put(NAME, b"content", readers=[])
    yield transport
    transport.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data" / "links" / ME


@pytest.fixture
def folder(root: Path) -> LinkFolder:
    return LinkFolder(root, "app", "own")


def shared(tmp_path: Path) -> Path:
    return tmp_path / "data" / "datasites" / NAME


def content(folder: LinkFolder) -> bytes:
    with folder.open("one", max_size=MANY) as file:
        return file.read()


def test_second_name_survives_the_file(folder: LinkFolder, transport: SyftBoxTransport, tmp_path: Path) -> None:
    assert folder.add(transport, NAME, "one", max_size=MANY) == 7
    assert shared(tmp_path).stat().st_nlink == 2

    shared(tmp_path).unlink()

    assert content(folder) == b"content"
    assert folder.sizes() == {"one": 7}


def test_copy_is_made_where_links_are_impossible(
    folder: LinkFolder, transport: SyftBoxTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    folder.add(transport, NAME, "one", max_size=MANY)
    shared(tmp_path).unlink()

    assert content(folder) == b"content"


def test_interrupted_copy_gets_no_second_name(
    folder: LinkFolder, transport: SyftBoxTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    def half(source: Any, target: Any) -> None:
        target.write(source.read(3))
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(files, "_copy", half)
    with pytest.raises(KeyboardInterrupt):
        folder.add(transport, NAME, "one", max_size=MANY)

    assert folder.sizes() == {}
    assert folder.size("one") is None


def test_failed_second_link_keeps_the_first(folder: LinkFolder, transport: SyftBoxTransport, tmp_path: Path) -> None:
    folder.add(transport, NAME, "one", max_size=MANY)
    shared(tmp_path).unlink()

    with pytest.raises(NotFoundError):
        folder.add(transport, NAME, "one", max_size=MANY)

    assert content(folder) == b"content"


def test_repeated_add_changes_nothing(folder: LinkFolder, transport: SyftBoxTransport, root: Path) -> None:
    for _ in range(3):
        folder.add(transport, NAME, "one", max_size=MANY)

    assert [path.name for path in (root / "app" / "own").iterdir()] == ["one"]


def test_too_large_file_gets_no_second_name(folder: LinkFolder, transport: SyftBoxTransport) -> None:
    with pytest.raises(TooLargeError):
        folder.add(transport, NAME, "one", max_size=6)

    assert folder.sizes() == {}


def test_folders_are_private(folder: LinkFolder, transport: SyftBoxTransport, root: Path) -> None:
    folder.add(transport, NAME, "one", max_size=MANY)

    made = [root.parent, root, root / "app", root / "app" / "own"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o700}


def test_prune_removes_only_empty_folders(folder: LinkFolder, transport: SyftBoxTransport, root: Path) -> None:
    folder.add(transport, NAME, "one", max_size=MANY)
    folder.prune()
    assert folder.sizes() == {"one": 7}

    folder.remove("one")
    (root / "app" / "own" / ".one.tmp").write_bytes(b"unfinished")
    folder.prune()

    assert not root.parent.exists()
    assert root.parent.parent.exists()


def test_missing_second_name_is_not_an_error(folder: LinkFolder) -> None:
    folder.remove("one")
    folder.prune()

    assert folder.sizes() == {}
    with pytest.raises(NotFoundError):
        folder.open("one", max_size=MANY)


def test_folder_that_another_process_removed_is_made_again(
    folder: LinkFolder, transport: SyftBoxTransport, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = transport.keep

    def after_prune(*arguments: Any, **options: Any) -> None:
        monkeypatch.undo()
        folder.prune()
        keep(*arguments, **options)

    monkeypatch.setattr(transport, "keep", after_prune)

    assert folder.add(transport, NAME, "one", max_size=MANY) == 7


def test_symbolic_link_is_not_followed(folder: LinkFolder, transport: SyftBoxTransport, root: Path) -> None:
    folder.add(transport, NAME, "one", max_size=MANY)
    outside = root.parent.parent / "outside"
    outside.write_bytes(b"private")
    (root / "app" / "own" / "two").symlink_to(outside)

    assert folder.sizes() == {"one": 7}
    with pytest.raises(NotFoundError):
        folder.open("two", max_size=MANY)
