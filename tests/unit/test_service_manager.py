"""The messages to a service manager: ready once, and works only while each part does."""

import os
import socket
from pathlib import Path

import pytest
from waiting import eventually

from syft_flwr.service_manager import ServiceManager, service_manager


class _Socket:
    def __init__(self, address: str) -> None:
        self.channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.channel.bind(address)
        self.channel.setblocking(False)

    def __enter__(self) -> "_Socket":
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def received(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(self.channel.recv(4096).decode())
            except BlockingIOError:
                return found


def _works(manager: ServiceManager, channel: _Socket, part: str) -> list[str]:
    manager.worked(part, f"{part} is served")
    return channel.received()


def test_process_is_ready_when_each_part_works(tmp_path: Path) -> None:
    with _Socket(str(tmp_path / "notify")) as channel:
        manager = ServiceManager(str(tmp_path / "notify"))
        manager.expect("a")
        manager.expect("b")
        assert _works(manager, channel, "a") == []
        assert _works(manager, channel, "b") == ["READY=1\nWATCHDOG=1\nSTATUS=b is served"]


def test_watchdog_gets_nothing_while_a_part_hangs(tmp_path: Path) -> None:
    with _Socket(str(tmp_path / "notify")) as channel:
        manager = ServiceManager(str(tmp_path / "notify"))
        manager.expect("a")
        manager.expect("b")
        _works(manager, channel, "a")
        _works(manager, channel, "b")
        assert _works(manager, channel, "a") == []
        assert _works(manager, channel, "a") == []
        manager.leave("b")
        assert _works(manager, channel, "a")


def test_repeated_message_waits_some_seconds(tmp_path: Path) -> None:
    with _Socket(str(tmp_path / "notify")) as channel:
        manager = ServiceManager(str(tmp_path / "notify"))
        manager.expect("a")
        assert len(_works(manager, channel, "a")) == 1
        assert _works(manager, channel, "a") == []


def test_text_of_a_state_is_one_short_line(tmp_path: Path) -> None:
    with _Socket(str(tmp_path / "notify")) as channel:
        manager = ServiceManager(str(tmp_path / "notify"))
        manager.expect("a")
        manager.worked("a", "x\nMAINPID=1\n" + "y" * 10_000)
        [message] = channel.received()
        assert message.count("\n") == 2
        assert len(message) < 300


def test_wait_for_a_person_asks_for_more_time(tmp_path: Path) -> None:
    with _Socket(str(tmp_path / "notify")) as channel:
        manager = ServiceManager(str(tmp_path / "notify"))
        with manager.waiting("another client\nruns"):
            [message] = eventually(channel.received, "the message")
        assert message == "EXTEND_TIMEOUT_USEC=900000000\nSTATUS=another client runs"


def test_abstract_address_is_used(tmp_path: Path) -> None:
    name = f"syft-flwr-test-{os.getpid()}"
    with _Socket(f"\0{name}") as channel:
        manager = ServiceManager(f"@{name}")
        manager.expect("a")
        assert _works(manager, channel, "a")


def test_missing_manager_does_no_harm(tmp_path: Path) -> None:
    for address in ("", str(tmp_path / "gone"), "x" * 5_000):
        manager = ServiceManager(address)
        manager.expect("a")
        manager.worked("a", "a is served")


def test_children_do_not_inherit_the_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    service_manager.cache_clear()
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/x")
    try:
        assert service_manager().is_present
        assert "NOTIFY_SOCKET" not in os.environ
    finally:
        service_manager.cache_clear()
