"""``Strays`` deletes own files that came back, and conflict copies."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from syft_flwr._messaging import strays as strays_module
from syft_flwr._messaging.strays import Strays
from syft_flwr.names import AppNames
from syft_flwr.testing import FakeClock
from syft_flwr.transport.syftbox import SyftBoxTransport

_ME, _PEER = "me@x.org", "peer@y.org"
_NAMES = AppNames("strays")
_REQUEST = _NAMES.request(_PEER, _ME, "a" * 32)
_OTHER = _NAMES.request(_PEER, _ME, "b" * 32)


@pytest.fixture
def transport(tmp_path: Path) -> Iterator[SyftBoxTransport]:
    transport = SyftBoxTransport(tmp_path, _ME)
    yield transport
    transport.close()


def _names(transport: SyftBoxTransport) -> list[str]:
    return [entry.name for entry in transport.list(_NAMES.messages_of(_PEER, _ME))]


def test_only_deleted_files_are_deleted_again(transport: SyftBoxTransport) -> None:
    strays = Strays(transport, FakeClock())
    for name in (_REQUEST, _OTHER):
        transport.put(name, b"sealed", readers=[_PEER])
    strays.discard(_REQUEST)
    transport.put(_REQUEST, b"sealed", readers=[_PEER])
    strays.discard_again(_names(transport))
    assert _names(transport) == [_OTHER]


def test_number_of_remembered_names_is_limited(transport: SyftBoxTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strays_module, "_MOST_NAMES", 10)
    strays = Strays(transport, FakeClock())
    for number in range(25):
        strays.discard(_NAMES.request(_PEER, _ME, f"{number:032x}"))
    assert len(strays._deleted) == 10


def test_large_folders_are_searched_in_turn(transport: SyftBoxTransport, tmp_path: Path) -> None:
    clock = FakeClock()
    strays = Strays(transport, clock)
    folders = [_NAMES.objects(_ME), _NAMES.objects(_PEER)]
    copies = [tmp_path / "datasites" / folder / "aa" / f"{'c' * 32}.conflict.blob" for folder in folders]
    small = tmp_path / "datasites" / _NAMES.status(_ME) / "heartbeat.conflict.20300102030405.request"
    for copy in (*copies, small):
        copy.parent.mkdir(parents=True)
        copy.write_bytes(b"old")
    left = []
    for _ in range(3):
        strays.delete_conflicts([_NAMES.status(_ME)], folders)
        left.append(sum(copy.exists() for copy in (*copies, small)))
        clock.advance(60)
    assert left == [1, 0, 0]
