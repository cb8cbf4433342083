"""A file of the user that appears between a check and the write wins, and is the user's from then on."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import syft_flwr
from syft_flwr import _bootstrap
from syft_flwr._crypto.keys import Identity
from syft_flwr._store import identity_file
from syft_flwr.errors import ConfigError, ConflictError
from syft_flwr.names import AppNames
from syft_flwr.transport._syftbox import file_writer
from syft_flwr.transport.syftbox import SyftBoxTransport

_ME, _PEER = "do@x.org", "ds@y.org"
_NAMES = AppNames("new")
_RULES = b"rules: []\n"


@pytest.fixture
def transport(tmp_path: Path) -> Iterator[SyftBoxTransport]:
    with closing(SyftBoxTransport(tmp_path / "SyftBox", _ME)) as opened:
        yield opened


def _after(module: object, name: str, do: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``do`` happen right after the first call of a function."""
    real, left = getattr(module, name), [do]

    def call(*arguments: Any, **options: Any) -> Any:
        result = real(*arguments, **options)
        if left:
            left.pop()()
        return result

    monkeypatch.setattr(module, name, call)


@pytest.mark.parametrize("place", ["inbox", "objects", "card"])
@pytest.mark.parametrize("content", [_RULES, b""])
def test_new_permission_file_of_the_user_wins(
    transport: SyftBoxTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, content: bytes
) -> None:
    """A program that makes an empty file writes the content right after."""
    folder = {"inbox": _NAMES.inbox(_ME), "objects": _NAMES.objects(_ME), "card": f"{_ME}/public/"}[place]
    path = tmp_path / "SyftBox" / "datasites" / folder / "syft.pub.yaml"

    def appear() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    _after(transport._permissions, "_present", appear, monkeypatch)
    if place == "inbox":
        transport.open_inbox(folder)
    else:
        transport.put(f"{folder}00/{'a' * 32}.blob" if place == "objects" else f"{folder}a.json", b"1", readers=[_PEER])
    transport.restore_permissions()
    assert path.read_bytes() == content
    path.write_bytes(_RULES)
    transport.restore_permissions()
    assert path.read_bytes() == _RULES


@pytest.mark.parametrize("content", [b"ours", b"other"])
@pytest.mark.parametrize("form", ["bytes", "buffers"])
def test_file_of_another_program_is_not_replaced(
    transport: SyftBoxTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, form: str
) -> None:
    name = _NAMES.response(_ME, _PEER, "a" * 32)
    path = tmp_path / "SyftBox" / "datasites" / name
    _after(file_writer, "exists_in", lambda: path.write_bytes(content), monkeypatch)
    if form == "bytes" and content == b"ours":
        transport.put(name, b"ours", readers=[_PEER])
    else:
        with pytest.raises(ConflictError, match=name):
            transport.put(name, b"ours" if form == "bytes" else iter([b"ours"]), readers=[_PEER])
    assert path.read_bytes() == content


def test_restored_key_file_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backup = Identity.generate().private_bytes

    def restore() -> None:
        path = tmp_path / "identity.key"
        path.touch(mode=0o600)
        path.write_bytes(backup)

    _after(identity_file, "_require_modes", restore, monkeypatch)
    assert identity_file.load_or_create(tmp_path, lambda: Identity.generate().private_bytes) == backup


def test_new_main_program_of_the_user_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main = tmp_path / "main.py"
    project = tmp_path / "pyproject.toml"
    project.write_text(
        '[project]\nname = "trial"\n[tool.flwr.app.components]\nserverapp = "a:app"\nclientapp = "b:app"\n'
    )
    before = project.read_text()
    _after(_bootstrap, "refuse_foreign_main", lambda: main.write_text("mine"), monkeypatch)
    with pytest.raises(ConfigError, match="was not written by bootstrap"):
        syft_flwr.bootstrap(tmp_path, aggregator=_PEER, datasites=[_ME])
    assert main.read_text() == "mine"
    assert project.read_text() == before
