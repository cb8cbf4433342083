"""The file with the private keys: it is made once, is private to its user, and is never overwritten."""

import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from child_script import running
from plain_user import as_plain_user

from syft_flwr._crypto.keys import Identity
from syft_flwr._store.identity_file import load_or_create
from syft_flwr.errors import StoreError

_FIRST_START = """
import sys
from pathlib import Path
from syft_flwr._crypto.keys import Identity
from syft_flwr._store.identity_file import load_or_create

print("ready", flush=True)
sys.stdin.readline()
private = load_or_create(Path(sys.argv[1]), lambda: Identity.generate().private_bytes)
print(Identity.decode(private).public.fingerprint, flush=True)
"""


def make_key() -> bytes:
    return Identity.generate().private_bytes


def test_keys_are_made_once_and_private(tmp_path: Path) -> None:
    home = tmp_path / "home"

    first = load_or_create(home, make_key)

    assert load_or_create(home, make_key) == first
    assert (home / "identity.key").read_bytes() == first
    assert stat.S_IMODE((home / "identity.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert {path.name for path in home.iterdir()} == {"identity.key", "identity.lock"}


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660, 0o644, 0o601])
def test_key_file_with_open_permissions_is_refused(tmp_path: Path, mode: int) -> None:
    load_or_create(tmp_path, make_key)
    path = tmp_path / "identity.key"
    path.chmod(mode)

    with pytest.raises(StoreError, match=r"identity\.key can be read by others") as caught:
        load_or_create(tmp_path, make_key)

    assert caught.value.hint == f"Run: chmod 600 {path}"
    path.chmod(0o600)
    assert load_or_create(tmp_path, make_key) == path.read_bytes()


def test_concurrent_processes_make_one_key_file(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with (
        running(_FIRST_START, home, b"ready") as one,
        running(_FIRST_START, home, b"ready") as two,
        running(_FIRST_START, home, b"ready") as three,
    ):
        outputs = []
        for process in (one, two, three):
            assert process.stdin is not None
            process.stdin.write(b"\n")
            process.stdin.flush()
        for process in (one, two, three):
            assert process.stdout is not None
            outputs.append(process.stdout.readline().decode().strip())

    stored = Identity.decode((home / "identity.key").read_bytes()).public.fingerprint
    assert outputs == [stored] * 3


def test_concurrent_threads_make_one_key_file(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        keys = set(threads.map(lambda _: load_or_create(tmp_path / "home", make_key), range(8)))

    assert len(keys) == 1


def test_home_can_be_a_link_to_a_folder(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir(mode=0o700)
    (tmp_path / "home").symlink_to(tmp_path / "disk", target_is_directory=True)

    first = load_or_create(tmp_path / "home", make_key)

    assert load_or_create(tmp_path / "home", make_key) == first
    assert (tmp_path / "disk" / "identity.key").read_bytes() == first


def make_empty(path: Path) -> None:
    path.touch(mode=0o600)


def make_huge(path: Path) -> None:
    path.write_bytes(bytes(10_000))


def make_folder(path: Path) -> None:
    path.mkdir()


def make_dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


def make_pipe(path: Path) -> None:
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize("make", [make_empty, make_huge, make_folder, make_dangling_link, make_pipe])
def test_invalid_key_file_is_never_overwritten(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "identity.key"
    make(path)
    before = path.lstat()

    with pytest.raises(StoreError, match=r"identity\.key") as caught:
        load_or_create(tmp_path, make_key)

    assert "Restore" in caught.value.hint
    after = path.lstat()
    assert (after.st_mode, after.st_size, after.st_ino) == (before.st_mode, before.st_size, before.st_ino)


def test_keys_are_made_after_a_full_disk(small_disk: Path) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(bytes(256 << 10))

    with pytest.raises(StoreError, match=r"identity"):
        load_or_create(small_disk / "home", make_key)
    filler.unlink()

    assert len(load_or_create(small_disk / "home", make_key)) == 128


@pytest.mark.parametrize("mode", [0o000, 0o200])
def test_unreadable_key_file_gets_no_advice_to_replace_it(tmp_path: Path, mode: int) -> None:
    private = load_or_create(tmp_path, make_key)
    path = tmp_path / "identity.key"
    path.chmod(mode)

    with pytest.raises(StoreError, match=r"identity\.key cannot be read: Permission denied") as caught:
        as_plain_user(lambda: load_or_create(tmp_path, make_key))

    assert "backup" not in caught.value.hint
    assert f"Correct its permissions: ls -l {path}" in caught.value.hint
    path.chmod(0o600)
    assert load_or_create(tmp_path, make_key) == private


@pytest.mark.parametrize("content", [b"", b"x" * 5000])
def test_damaged_key_file_gets_the_advice_about_a_backup(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "identity.key"
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(StoreError, match=r"identity\.key is not a key file") as caught:
        load_or_create(tmp_path, make_key)

    assert "Restore it from a backup" in caught.value.hint
