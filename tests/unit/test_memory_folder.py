"""The tests have their files in memory only where it is large enough and can hold programs."""

import os
import subprocess
import sys
from pathlib import Path

import memory_folder
import pytest
from memory_folder import is_usable

_MANY = 5_000_000
_GIVEN = "tmpfs {} tmpfs rw,nosuid,nodev,relatime 0 0\n"


@pytest.mark.parametrize(
    ("mounts", "available", "usable"),
    [
        (_GIVEN, _MANY, True),
        (_GIVEN, 3_000_000, False),
        ("shm {} tmpfs rw,nosuid,nodev,noexec,relatime 0 0\n", _MANY, False),
        ("tmpfs {} tmpfs ro,relatime 0 0\n", _MANY, False),
        ("/dev/vda {} ext4 rw,relatime 0 0\n", _MANY, False),
        ("tmpfs {}/below tmpfs rw,relatime 0 0\n", _MANY, False),
        (_GIVEN + "shm {} tmpfs rw,noexec 0 0\n", _MANY, False),
        ("", _MANY, False),
    ],
)
def test_only_a_large_memory_for_programs_is_used(tmp_path: Path, mounts: str, available: int, usable: bool) -> None:
    (tmp_path / "mounts").write_text(mounts.replace("{}", str(tmp_path)))
    (tmp_path / "memory").write_text(f"MemTotal:       9000000 kB\nMemAvailable:   {available} kB\n")
    assert is_usable(tmp_path, tmp_path / "mounts", tmp_path / "memory") is usable


def test_small_file_system_is_not_used(small_disk: Path) -> None:
    (small_disk / "memory").write_text("MemAvailable:   9000000 kB\n")
    assert not is_usable(small_disk, Path("/proc/mounts"), small_disk / "memory")


def test_system_without_a_list_of_mounts_uses_its_disk(tmp_path: Path) -> None:
    assert not is_usable(tmp_path, tmp_path / "none", tmp_path / "none")


def test_named_folder_stays(tmp_path: Path) -> None:
    command = [sys.executable, memory_folder.__file__]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == f"{tmp_path}\n"
