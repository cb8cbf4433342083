"""Folders and files of a participant are private, and usable, with every umask."""

import os
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from syft_flwr._messaging.asking import KeptAnswers
from syft_flwr._messaging.link_folder import LinkFolder
from syft_flwr._store.futures import Futures
from syft_flwr._store.ledger import Ledger
from syft_flwr.clock import SystemClock
from syft_flwr.config import load_settings
from syft_flwr.files import open_folder, write_private
from syft_flwr.fl_orchestrator.participant import Participant
from syft_flwr.locks import ProcessLock
from syft_flwr.private_files import make_private_folder
from syft_flwr.runs.events import Waiting
from syft_flwr.runs.stream import EventStream
from syft_flwr.simulation.federation import Federation, Seat
from syft_flwr.simulation.folders import Folders
from syft_flwr.simulation.kept_records import KeptRecords
from syft_flwr.simulation.temporary_folder import TemporaryFolder
from syft_flwr.transport._gdrive.api.upload_sessions import UploadSessions
from syft_flwr.transport._gdrive.streams.saved_state import SavedState
from syft_flwr.transport.memory import MemoryNetwork

ME = "do@y.org"
UMASKS = [0, 0o022, 0o277, 0o777]


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    found = [folder, *folder.rglob("*")]
    return {str(path.relative_to(folder)): stat.S_IMODE(path.lstat().st_mode) for path in found}


def wrong(folder: Path) -> dict[str, str]:
    """Return the folders and files below a folder that have other modes than 0700 and 0600."""
    right = {path: 0o700 if (folder / path).is_dir() else 0o600 for path in modes(folder)}
    return {path: oct(mode) for path, mode in modes(folder).items() if mode != right[path]}


def use_home(home: Path) -> None:
    """Make the files of all parts that write into the home of a participant."""
    settings = load_settings(environ={}, email=ME, home=home)
    participant = Participant(settings, MemoryNetwork().transport(ME))
    app = participant.app_home("trial")
    with (
        ProcessLock(app / "server.lock", "a server"),
        participant.open_trust("trial") as trust,
        closing(Futures(app / "futures.db")) as futures,
        closing(Ledger(app / "ledger.db")) as ledger,
        closing(EventStream(app / "runs", "aggregator", SystemClock())) as events,
        closing(SavedState(participant.home / "gdrive", ME)) as state,
    ):
        trust.publish()
        futures.runs.begin(7, SystemClock().now(), alone=True)
        ledger.runs.begin(7, SystemClock().now(), alone=True)
        events.emit(7, Waiting([ME]))
        assert events.flush()
        KeptAnswers(app / "journal", 1 << 20).open_run(7)
        LinkFolder(participant.home / "links", "trial", "own")._make()
        sessions = UploadSessions(participant.home / "gdrive" / "uploads")
        sessions.save("a" * 20, "https://x", md5="0", size=1)
        state.save()
        # Also the files that SQLite makes beside its own.
        assert {"futures.db-wal", "futures.db-shm", "ledger.db-wal"} <= {path.name for path in app.iterdir()}
        assert wrong(home) == {}


@pytest.mark.parametrize("mask", UMASKS)
def test_home_and_its_files_are_private(tmp_path: Path, mask: int) -> None:
    home = tmp_path / "new" / "deep" / "home"
    with umask(mask):
        use_home(home)
        # The files of an earlier process can be used again.
        use_home(home)
    assert wrong(tmp_path / "new") == {}


@pytest.mark.parametrize("mask", UMASKS)
def test_folders_of_a_local_run_are_private(tmp_path: Path, mask: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    base = tmp_path / "new" / "home"
    with umask(mask):
        temporary = TemporaryFolder(keep=False)
        write_private(temporary.path / "state" / "a" / "config.toml", b"")
        assert wrong(temporary.path) == {}
        temporary.close()
        seat = Seat(ME, "client", "do")
        federation = Federation(tmp_path, base, "syftbox", "trial", "ds@x.org", (ME,), (seat,))
        with KeptRecords(federation, Folders(tmp_path, tmp_path), tmp_path / "unused") as records:
            assert records.are_kept
    assert wrong(tmp_path / "new") == {}


def test_existing_folder_keeps_its_mode(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o750)

    make_private_folder(home / "a" / "b")
    make_private_folder(home)

    assert modes(home) == {".": 0o750, "a": 0o700, "a/b": 0o700}


def test_folder_behind_a_link_is_used(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "home").symlink_to(tmp_path / "disk")

    make_private_folder(tmp_path / "home" / "a")

    assert modes(tmp_path / "disk")["a"] == 0o700


@pytest.mark.parametrize("name", ["file", "file/a/b", "link", "link/a", "loop", "loop/a"])
def test_file_in_place_of_a_folder_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")

    with pytest.raises(OSError, match=r"exists|Not a directory|levels of symbolic links"):
        make_private_folder(tmp_path / name)

    assert (tmp_path / "file").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("mask", UMASKS)
def test_inner_private_folders_are_usable(tmp_path: Path, mask: int) -> None:
    with umask(mask), open_folder(tmp_path, ["a", "b"], create_mode=0o700):
        pass
    assert {modes(tmp_path)[name] for name in ("a", "a/b")} == {0o700}
