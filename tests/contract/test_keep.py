"""``Transport.keep`` over folders: the hard link or the copy is always the right file, and private."""

import errno
import io
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from syft_flwr.errors import NotFoundError, StorageFullError, TransportError
from syft_flwr.files import keep_file, open_folder, open_in_folder
from syft_flwr.transport.syftbox import SyftBoxTransport

DS, DO, OTHER = "ds@x.org", "do@y.org", "other@z.org"
NAME = f"{DO}/app_data/flwr/app/objects/ab/one.blob"
SECOND = f"{DO}/app_data/flwr/app/objects/cd/two.blob"
SIZE = 1 << 30
LINKLESS = [errno.EXDEV, errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of the kept file."""
    folder = tmp_path / "home" / "journal"
    folder.mkdir(parents=True)
    return folder / "kept"


# A hard link if possible, else a copy


@pytest.fixture
def datasites(tmp_path: Path) -> Path:
    return tmp_path / "data" / "datasites"


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[SyftBoxTransport]:
    """Return the aggregator's transport, with a file of the data owner in the storage."""
    ends = [SyftBoxTransport(tmp_path / "data", email) for email in (DO, DS)]
    ends[0].put(NAME, b"content", readers=[DS])
    yield ends[1]
    for end in ends:
        end.close()


def refuse_to_link(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let every hard link fail with the error ``number``."""

    def link(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)


def test_kept_file_is_a_hard_link(folders: SyftBoxTransport, datasites: Path, path: Path) -> None:
    folders.keep(NAME, path, max_size=SIZE)

    assert path.samefile(datasites / NAME)
    assert stat.S_ISREG(os.lstat(path).st_mode)


def test_other_file_system_gets_a_private_copy(folders: SyftBoxTransport, small_disk: Path) -> None:
    before = os.umask(0)
    try:
        folders.keep(NAME, small_disk / "kept", max_size=SIZE)
    finally:
        os.umask(before)

    assert (small_disk / "kept").read_bytes() == b"content"
    assert stat.S_IMODE((small_disk / "kept").stat().st_mode) == 0o600
    # An existing file is replaced.
    folders.keep(NAME, small_disk / "kept", max_size=SIZE)
    assert os.listdir(small_disk) == ["kept"]


def test_copy_that_does_not_fit_leaves_nothing(folders: SyftBoxTransport, tmp_path: Path, small_disk: Path) -> None:
    owner = SyftBoxTransport(tmp_path / "data", DO)
    owner.put(SECOND, os.urandom(300_000), readers=[DS])

    with pytest.raises(StorageFullError):
        folders.keep(SECOND, small_disk / "kept", max_size=SIZE)

    assert os.listdir(small_disk) == []
    owner.close()


@pytest.mark.parametrize("number", LINKLESS, ids=[errno.errorcode[number] for number in LINKLESS])
def test_kept_file_is_a_copy_without_hard_links(
    folders: SyftBoxTransport, datasites: Path, path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    refuse_to_link(monkeypatch, number)

    folders.keep(NAME, path, max_size=SIZE)

    assert path.read_bytes() == b"content"
    assert not path.samefile(datasites / NAME)


def test_other_link_errors_are_transport_errors(
    folders: SyftBoxTransport, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_to_link(monkeypatch, errno.EIO)

    with pytest.raises(TransportError) as caught:
        folders.keep(NAME, path, max_size=SIZE)

    assert str(path) not in str(caught.value)
    assert not path.exists()


# Folders to which others write


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Return a folder with a secret, which must not be reachable through the datasites."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "one.blob").write_bytes(b"secret")
    return folder


@pytest.mark.parametrize("depth", range(1, 6), ids=["datasite", "app_data", "flwr", "app", "objects"])
def test_link_in_the_path_is_not_followed(
    folders: SyftBoxTransport, datasites: Path, outside: Path, path: Path, depth: int
) -> None:
    *parts, leaf = NAME.split("/")
    target = outside.joinpath(*parts[depth:])
    target.mkdir(parents=True, exist_ok=True)
    (target / leaf).write_bytes(b"secret")
    link = datasites.joinpath(*parts[:depth])
    link.rename(outside / "aside")
    link.symlink_to(outside)

    with pytest.raises(NotFoundError):
        folders.keep(NAME, path, max_size=SIZE)

    assert not os.path.lexists(path)


def become_a_link(name: Path, secret: Path) -> None:
    name.symlink_to(secret)


def become_a_pipe(name: Path, secret: Path) -> None:
    os.mkfifo(name)


def become_a_folder(name: Path, secret: Path) -> None:
    name.mkdir()


def become_another_file(name: Path, secret: Path) -> None:
    name.write_bytes(b"another")


def become_nothing(name: Path, secret: Path) -> None:
    assert not name.exists()


THINGS = [become_a_link, become_a_pipe, become_a_folder]
Become = Callable[[Path, Path], None]


@pytest.mark.parametrize("become", THINGS, ids=[thing.__name__ for thing in THINGS])
def test_link_pipe_or_folder_is_not_kept(
    folders: SyftBoxTransport, datasites: Path, outside: Path, path: Path, become: Become
) -> None:
    (datasites / NAME).unlink()
    become(datasites / NAME, outside / "one.blob")

    with pytest.raises(NotFoundError):
        folders.keep(NAME, path, max_size=SIZE)

    assert not os.path.lexists(path)


SWAPS = [become_a_link, become_another_file, become_a_pipe]


@pytest.mark.parametrize("become", SWAPS, ids=[thing.__name__ for thing in SWAPS])
def test_swapped_file_is_not_kept_instead(
    folders: SyftBoxTransport, datasites: Path, outside: Path, path: Path, become: Become
) -> None:
    del folders
    with open_folder((datasites / NAME).parent, ()) as folder:
        fd, _ = open_in_folder(folder, "one.blob", max_size=SIZE)
        with os.fdopen(fd, "rb") as file:
            (datasites / NAME).unlink()
            become(datasites / NAME, outside / "one.blob")
            keep_file(file, folder, "one.blob", path)

    assert path.read_bytes() == b"content"
    assert stat.S_ISREG(os.lstat(path).st_mode)
    assert (outside / "one.blob").read_bytes() == b"secret"


@pytest.mark.parametrize("become", [become_nothing, become_a_folder], ids=["become_nothing", "become_a_folder"])
def test_vanishing_file_is_kept_whole_or_not_found(
    folders: SyftBoxTransport, datasites: Path, path: Path, become: Become
) -> None:
    del folders
    with open_folder((datasites / NAME).parent, ()) as folder:
        fd, _ = open_in_folder(folder, "one.blob", max_size=SIZE)
        with os.fdopen(fd, "rb") as file:
            (datasites / NAME).unlink()
            become(datasites / NAME, path)
            try:
                keep_file(file, folder, "one.blob", path)
            except NotFoundError:
                assert not os.path.lexists(path)
            else:
                assert path.read_bytes() == b"content"


class GrowingFile(io.FileIO):
    """A file to which another program appends at each read."""

    def read(self, size: int | None = -1, /) -> bytes:
        with open(self.name, "ab") as appending:
            appending.write(b"more" * 100)
        return super().read(size)


def test_file_that_grows_is_copied_as_it_was(
    folders: SyftBoxTransport, datasites: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no link is possible, another program could fill the disk through the copy."""
    del folders
    refuse_to_link(monkeypatch, errno.EPERM)
    with open_folder((datasites / NAME).parent, ()) as folder, GrowingFile(str(datasites / NAME)) as file:
        keep_file(file, folder, "one.blob", path)

    assert path.read_bytes() == b"content"
