"""The folder of a killed local run is deleted by the next one; every other folder stays."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from syft_flwr.simulation.temporary_folder import TemporaryFolder, delete_left_folders

KILLED = """\
import os, signal, sys
from syft_flwr.simulation.temporary_folder import TemporaryFolder
folder = TemporaryFolder(keep=sys.argv[1] == "keep")
(folder.path / "identity.key").write_text("a key")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield place
    tempfile.tempdir = None


def kill_a_run(keep: str = "") -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, keep], check=False)
    assert done.returncode == -signal.SIGKILL


def test_next_run_deletes_the_folder_of_a_killed_one(place: Path) -> None:
    kill_a_run()
    (left,) = place.iterdir()
    assert (left / "identity.key").exists()

    folder = TemporaryFolder(keep=False)

    assert list(place.iterdir()) == [folder.path]
    folder.close()
    assert list(place.iterdir()) == []


def test_folder_of_a_live_run_stays(place: Path) -> None:
    folders = [TemporaryFolder(keep=False) for _ in range(3)]
    delete_left_folders(place)
    assert all(folder.path.is_dir() for folder in folders)
    for folder in folders:
        folder.close()
    assert list(place.iterdir()) == []


def test_kept_folder_stays_also_after_a_kill(place: Path) -> None:
    kill_a_run("keep")
    kept = TemporaryFolder(keep=True)
    kept.close()
    delete_left_folders(place)
    assert len(list(place.iterdir())) == 2


def test_folder_of_another_user_stays(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kill_a_run()
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    delete_left_folders(place)
    assert len(list(place.iterdir())) == 1


def test_links_are_not_followed(place: Path, tmp_path: Path) -> None:
    kill_a_run()
    (left,) = place.iterdir()
    target = tmp_path / "target"
    left.rename(target)
    left.symlink_to(target)
    linked_lock = place / "syft-flwr-run-linked"
    linked_lock.mkdir()
    (linked_lock / "lock").symlink_to(target / "lock")

    delete_left_folders(place)

    assert (target / "identity.key").exists()
    assert left.is_symlink()
    assert linked_lock.is_dir()


def test_folder_without_a_lock_and_foreign_files_stay(place: Path) -> None:
    (place / "syft-flwr-run-new").mkdir()
    (place / "syft-flwr-run-file").touch()
    (place / "other").mkdir()
    (place / "other" / "lock").touch()
    delete_left_folders(place)
    assert len(list(place.iterdir())) == 3
