"""Disk errors: a StorageError for the participant's own files, a TransportError in a transport."""

import errno
import os
from pathlib import Path

import pytest

from syft_flwr import files
from syft_flwr.errors import NotFoundError, StorageError, StorageFullError, TooLargeError, TransportError
from syft_flwr.transport import _disk
from syft_flwr.transport.syftbox import SyftBoxTransport

ME, NAME = "do1@example.org", "do1@example.org/public/syft_flwr.json"
OPEN = os.open


def fail_to_open(monkeypatch: pytest.MonkeyPatch, number: int, last: str) -> None:
    """Make ``os.open`` raise the error ``number`` for every file named ``last``."""

    def refuse(path: str | Path, *arguments: int, **options: int) -> int:
        if Path(path).name == last:
            raise OSError(number, os.strerror(number), str(path))
        return OPEN(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)


@pytest.mark.parametrize("kind", [NotFoundError, TooLargeError, StorageFullError])
def test_shared_errors_have_both_base_classes(kind: type[Exception]) -> None:
    assert issubclass(kind, StorageError)
    assert issubclass(kind, TransportError)


def test_own_file_failure_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write_private(tmp_path / "own", b"content")
    fail_to_open(monkeypatch, errno.EIO, "own")

    with pytest.raises(StorageError, match="Input/output error") as caught:
        files.read_bounded(tmp_path / "own", 100)

    assert not isinstance(caught.value, TransportError)


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.EIO, TransportError), (errno.EACCES, TransportError), (errno.ENOENT, NotFoundError)],
)
def test_transport_file_failure_is_transport_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[TransportError]
) -> None:
    _disk.write_private(tmp_path / "own", b"content")
    assert _disk.read_bounded(tmp_path / "own", 100) == b"content"
    fail_to_open(monkeypatch, number, "own")

    with pytest.raises(TransportError) as caught:
        _disk.read_bounded(tmp_path / "own", 100)

    assert type(caught.value) is kind
    assert type(_disk.translate(OSError(number, os.strerror(number)), "own")) is kind
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("broken", ["syft_flwr.json", "public", ME])
def test_syftbox_raises_only_transport_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    transport = SyftBoxTransport(tmp_path, ME)
    try:
        transport.put(NAME, b"card", readers=["*"])
        fail_to_open(monkeypatch, errno.EIO, broken)
        calls = [
            lambda: transport.put(NAME, b"other", readers=["*"]),
            lambda: transport.get(NAME, max_size=100),
            lambda: transport.open(NAME, max_size=100),
            lambda: transport.keep(NAME, tmp_path / "kept", max_size=100),
        ]
        if broken != "syft_flwr.json":
            calls += [lambda: transport.stat(NAME), lambda: list(transport.list(f"{ME}/public/"))]
            calls += [lambda: transport.delete(NAME), lambda: transport.refused(NAME)]
        for call in calls:
            with pytest.raises(TransportError, match="Input/output error"):
                call()
    finally:
        monkeypatch.undo()
        transport.close()
