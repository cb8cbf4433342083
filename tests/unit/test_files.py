"""Files of this package: each is written completely or not at all, and only its user can read it."""

import errno
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from syft_flwr.errors import NotFoundError, StorageError, StorageFullError, TooLargeError
from syft_flwr.files import (
    no_link,
    open_folder,
    open_in_folder,
    read_bounded,
    translate,
    write_in_folder,
    write_private,
)


def test_private_file_ignores_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "state" / "secret"
    umask = os.umask(0)
    try:
        write_private(path, b"secret")
    finally:
        os.umask(umask)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert read_bounded(path, 6) == b"secret"


def test_private_file_is_replaced_atomically(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    contents = [bytes([number]) * 50_000 for number in range(20)]
    write_private(path, contents[0])

    with ThreadPoolExecutor(1) as other:
        writing = other.submit(lambda: [write_private(path, content) for content in contents])
        while not writing.done():
            assert read_bounded(path, 50_000) in contents

    assert os.listdir(tmp_path) == ["secret"]


def test_oversized_missing_or_linked_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "state"
    with pytest.raises(NotFoundError):
        read_bounded(path, 10)
    path.write_bytes(b"12345678901")

    with pytest.raises(TooLargeError, match="11 bytes; at most 10"):
        read_bounded(path, 10)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").write_bytes(b"content")
    with pytest.raises(NotFoundError):
        read_bounded(path, 10)


def test_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise KeyboardInterrupt

    with open_folder(tmp_path, ("a", "b"), create_mode=0o700) as folder:
        write_in_folder(folder, "file", b"old", mode=0o600)
        with pytest.raises(KeyboardInterrupt):
            write_in_folder(folder, "file", broken(), mode=0o600)
        assert os.listdir(folder) == ["file"]
        fd, size = open_in_folder(folder, "file", max_size=10)
        with os.fdopen(fd, "rb") as file:
            assert (file.read(), size) == (b"old", 3)


def test_temporary_file_can_be_in_a_staging_folder(tmp_path: Path) -> None:
    def look() -> Iterator[bytes]:
        assert os.listdir(tmp_path / "final") == []
        assert len(os.listdir(tmp_path / "staging")) == 1
        yield b"content"

    with (
        open_folder(tmp_path, ("final",), create_mode=0o700) as folder,
        open_folder(tmp_path, ("staging",), create_mode=0o700) as staging,
    ):
        write_in_folder(folder, "file", look(), mode=0o600, staging=staging)

    assert (tmp_path / "final" / "file").read_bytes() == b"content"
    assert os.listdir(tmp_path / "staging") == []


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOENT, NotFoundError),
        (errno.ENOTDIR, NotFoundError),
        (errno.ELOOP, NotFoundError),
        (errno.ENOSPC, StorageFullError),
        (errno.EDQUOT, StorageFullError),
        (errno.EACCES, StorageError),
        (errno.EIO, StorageError),
    ],
)
def test_os_error_names_the_file_without_a_local_path(number: int, error: type[StorageError]) -> None:
    translated = translate(OSError(number, os.strerror(number), "/home/anna/secret"), "a/b.blob")

    assert type(translated) is error
    assert "a/b.blob" in str(translated)
    assert "/home" not in str(translated)


def test_folder_of_a_private_file_that_is_a_link_is_named(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")

    with pytest.raises(NotFoundError, match=r"^link is not there$"):
        write_private(tmp_path / "link" / "file", b"content")


def test_write_through_a_link_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "notes"
    target.write_text("mine")
    (tmp_path / "do.log").symlink_to(target)

    with pytest.raises(OSError, match="symbolic link"), open(tmp_path / "do.log", "wb", opener=no_link):
        pass

    assert target.read_text() == "mine"


# Files that appear at the moment of a write


def _without_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no hard links")

    monkeypatch.setattr(os, "link", refuse)


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("thing", ["file", "empty file", "folder", "link", "lost link", "pipe"])
def test_new_file_leaves_what_appeared_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool, thing: str
) -> None:
    path, target = tmp_path / "final" / "file", tmp_path / "target"
    target.write_bytes(b"mine")
    if not links:
        _without_links(monkeypatch)

    def appear(_: int) -> bool:
        match thing:
            case "file":
                path.write_bytes(b"mine")
            case "empty file":
                path.touch()
            case "folder":
                path.mkdir()
            case "pipe":
                os.mkfifo(path)
            case _:
                path.symlink_to(target if thing == "link" else tmp_path / "nothing")
        before.append(_status(path))
        return True

    before: list[tuple[int, ...]] = []
    with (
        open_folder(tmp_path, ("final",), create_mode=0o700) as folder,
        open_folder(tmp_path, ("staging",), create_mode=0o700) as staging,
        pytest.raises(OSError, match="File exists"),
    ):
        write_in_folder(folder, "file", b"ours", mode=0o600, staging=staging, release=appear, replace=False)

    assert [_status(path)] == before
    assert target.read_bytes() == b"mine"
    assert os.listdir(tmp_path / "staging") == []
    assert os.listdir(tmp_path / "final") == ["file"]


def _status(path: Path) -> tuple[int, ...]:
    status = path.lstat()
    return status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns


@pytest.mark.parametrize("links", [True, False])
def test_new_file_gets_its_name_and_a_write_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    if not links:
        _without_links(monkeypatch)
    truncate, events = os.ftruncate, list[tuple[int, int, str]]()

    def announce(fd: int, size: int) -> None:
        # The event is for the name by which the handle was opened.
        events.append((os.fstat(fd).st_ino, size, os.readlink(f"/proc/self/fd/{fd}")))
        truncate(fd, size)

    monkeypatch.setattr(os, "ftruncate", announce)
    with open_folder(tmp_path, ("final",), create_mode=0o700) as folder:
        write_in_folder(folder, "file", b"ours", mode=0o640, replace=False)

    path = tmp_path / "final" / "file"
    assert (path.read_bytes(), path.stat().st_nlink, path.stat().st_mode & 0o777) == (b"ours", 1, 0o640)
    assert os.listdir(path.parent) == ["file"]
    assert events == [(path.stat().st_ino, 4, str(path))]


@pytest.mark.parametrize("meanwhile", ["replaced", "deleted"])
def test_event_of_a_new_file_touches_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    path, unlink = tmp_path / "final" / "file", os.unlink

    def change(name: str, **options: int) -> None:
        unlink(name, **options)
        if path.exists():
            unlink(path)
            if meanwhile == "replaced":
                path.write_bytes(b"longer than ours")

    monkeypatch.setattr(os, "unlink", change)
    with open_folder(tmp_path, ("final",), create_mode=0o700) as folder:
        write_in_folder(folder, "file", b"ours", mode=0o600, replace=False)

    assert [each.read_bytes() for each in path.parent.iterdir()] == (
        [b"longer than ours"] if meanwhile == "replaced" else []
    )


def test_failed_rename_leaves_no_empty_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _without_links(monkeypatch)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    with (
        open_folder(tmp_path, ("final",), create_mode=0o700) as folder,
        pytest.raises(OSError, match="No space left"),
    ):
        write_in_folder(folder, "file", b"ours", mode=0o600, replace=False)
    assert os.listdir(tmp_path / "final") == []
