"""``ConflictCopies`` deletes the copies that the sync service left."""

from pathlib import Path

from syft_flwr._messaging.conflict_copies import ConflictCopies
from syft_flwr.names import AppNames
from syft_flwr.testing import FakeClock
from syft_flwr.transport.syftbox import SyftBoxTransport

_ME, _PEER = "me@x.org", "peer@y.org"
_NAMES = AppNames("copies")
_LARGE = [_NAMES.objects(_ME), _NAMES.objects(_PEER)]


def _copies(folder: Path) -> list[Path]:
    """Write a conflict copy into a small folder, and one into each folder with objects."""
    copies = [folder / "datasites" / large / "aa" / f"{'c' * 32}.conflict.blob" for large in _LARGE]
    copies.append(folder / "datasites" / _NAMES.status(_ME) / "heartbeat.conflict.20300102030405.request")
    for copy in copies:
        copy.parent.mkdir(parents=True)
        copy.write_bytes(b"old")
    return copies


def test_large_folders_are_searched_in_turn(tmp_path: Path) -> None:
    clock, transport = FakeClock(), SyftBoxTransport(tmp_path, _ME)
    found = _copies(tmp_path)
    copies = ConflictCopies(transport, clock, [_NAMES.status(_ME)], _LARGE)
    left = []
    for _ in range(3):
        copies.delete_some()
        left.append(sum(copy.exists() for copy in found))
        clock.advance(60)
    assert left == [1, 0, 0]
    transport.close()


def test_all_folders_are_searched_at_the_end(tmp_path: Path) -> None:
    transport = SyftBoxTransport(tmp_path, _ME)
    found = _copies(tmp_path)
    ConflictCopies(transport, FakeClock(), [_NAMES.status(_ME)], _LARGE).delete_all()
    assert not any(copy.exists() for copy in found)
    transport.close()
