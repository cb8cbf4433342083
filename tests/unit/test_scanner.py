"""The scanner reads all files at the start, and reports a transport that it cannot watch."""

import threading
from collections.abc import Callable, Collection

import pytest
from waiting import eventually

from syft_flwr._messaging import scanner as scanner_module
from syft_flwr._messaging.scanner import Scanner
from syft_flwr.clock import SystemClock
from syft_flwr.errors import TransportError, UnavailableError
from syft_flwr.transport.memory import MemoryNetwork, MemoryTransport
from syft_flwr.transport.watch import NameWatch

_ME = "do@y.org"


class _Blind(MemoryTransport):
    """A transport that cannot watch its files."""

    def watch(self, prefixes: Collection[str]) -> NameWatch:
        raise UnavailableError(f"{len(prefixes)} folders cannot be watched")


def _scanner(transport: MemoryTransport, on_scan: Callable[[], None], on_names: Callable[[set[str]], None]) -> Scanner:
    return Scanner(transport, [f"{_ME}/"], on_names=on_names, on_scan=on_scan, clock=SystemClock(), name="scanner-test")


def test_start_reports_a_transport_without_watch() -> None:
    scanner = _scanner(_Blind(MemoryNetwork(), _ME), lambda: None, lambda _: None)
    with pytest.raises(TransportError, match="cannot be watched"):
        scanner.start()
    scanner.stop()
    assert "scanner-test" not in {thread.name for thread in threading.enumerate()}


def test_stop_ends_the_watch() -> None:
    network = MemoryNetwork()
    scanner = _scanner(network.transport(_ME), lambda: None, lambda _: None)
    scanner.start()
    assert len(network.watches) == 1
    scanner.stop()
    assert network.watches == []


def test_file_that_arrives_during_the_first_scan_is_reported() -> None:
    network = MemoryNetwork()
    transport = network.transport(_ME)
    name = f"{_ME}/public/new.json"
    seen: set[str] = set()

    def scan() -> None:
        if not seen:
            transport.put(name, b"1", readers=[_ME])

    scanner = _scanner(transport, scan, seen.update)
    scanner.start()
    try:
        eventually(lambda: name in seen, "the event of the new file")
    finally:
        scanner.stop()


def test_error_in_a_scan_does_not_end_the_scanner(logged: list[str]) -> None:
    scans: list[int] = []

    def scan() -> None:
        scans.append(len(scans))
        if len(scans) == 1:
            raise RuntimeError("this scan fails")

    scanner = _scanner(MemoryNetwork().transport(_ME), scan, lambda _: None)
    scanner.start()
    scanner.wake()
    try:
        eventually(lambda: len(scans) >= 2, "the second scan")
    finally:
        scanner.stop()
    assert any("this scan fails" in line for line in logged)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_start_fails_if_the_thread_ends_in_the_first_scan(kind: type[BaseException]) -> None:
    network = MemoryNetwork()

    def scan() -> None:
        raise kind("the cause")

    scanner = _scanner(network.transport(_ME), scan, lambda _: None)
    with pytest.raises(TransportError, match=f"scanner-test: .* ended with {kind.__name__}: the cause"):
        scanner.start()
    assert network.watches == []
    assert "scanner-test" not in {thread.name for thread in threading.enumerate()}


def test_endless_recursion_in_a_scan_is_logged(logged: list[str]) -> None:
    def scan() -> None:
        scan()

    scanner = _scanner(MemoryNetwork().transport(_ME), scan, lambda _: None)
    scanner.start()
    scanner.stop()
    assert any("RecursionError" in line for line in logged)


class _Failing(NameWatch):
    """A watch whose first wait fails."""

    waits = 0

    def wait(self, timeout: float | None) -> set[str]:
        self.waits += 1
        if self.waits == 1:
            raise OSError("the watch fails")
        return super().wait(timeout)


class _Stumbling(MemoryTransport):
    def watch(self, prefixes: Collection[str]) -> NameWatch:
        return _Failing(prefixes, on_close=lambda _: None)


def test_failed_wait_does_not_end_the_scanner(logged: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanner_module, "_PAUSE", 0.01)
    scans: list[int] = []
    scanner = _scanner(_Stumbling(MemoryNetwork(), _ME), lambda: scans.append(1), lambda _: None)
    scanner.start()
    try:
        eventually(lambda: len(scans) >= 2, "a scan after the failed wait")
    finally:
        scanner.stop()
    assert any("the watch fails" in line for line in logged)


def test_each_turn_tells_the_trouble_of_the_last_scan() -> None:
    told: list[str] = []
    scans: list[int] = []

    def scan() -> None:
        scans.append(len(scans))
        if len(scans) in (1, 2):
            raise UnavailableError("the disk is gone")

    scanner = Scanner(
        MemoryNetwork().transport(_ME),
        [f"{_ME}/"],
        on_names=lambda _: None,
        on_scan=scan,
        clock=SystemClock(),
        name="scanner-test",
        on_turn=told.append,
    )
    scanner.start()
    try:
        scanner.wake()
        eventually(lambda: "" in told, "a scan without trouble")
    finally:
        scanner.stop()
    assert "the disk is gone" in told[0]
    assert "the disk is gone" in told[1]
