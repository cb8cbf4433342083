"""What a simulated run reads of its participants: their databases, while these are written, and the server's log."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from syft_flwr._messaging.states import Future, Received
from syft_flwr._store.futures import FutureRow, Futures
from syft_flwr._store.ledger import Ledger, ReceivedRow
from syft_flwr.fl_orchestrator._flower import SYSTEM_MESSAGE_TYPE
from syft_flwr.simulation.progress import Progress, Records, ServerLog

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_DO1, _DO2 = "do1@x.org", "do1@x.org.uk"


def asked(number: int, state: Future, group: str = "", kind: str = "train") -> FutureRow:
    return FutureRow(f"{number:032x}", 7, _DO1, kind, group, state, _NOW, _NOW + timedelta(hours=1), b"request")


def received(number: int, state: Received, group: str = "", kind: str = "train") -> ReceivedRow:
    times = (_NOW, _NOW + timedelta(hours=1))
    return ReceivedRow(f"{number:032x}", 7, "ds@x.org", kind, group, state, "digest", *times)


def test_nothing_is_known_of_a_participant_that_has_no_database_yet(tmp_path: Path) -> None:
    assert Records(tmp_path / "not-made-yet", "server").read() == Progress()
    assert Records(tmp_path, "client").read() == Progress()


def test_the_servers_database_is_read_while_the_server_writes(tmp_path: Path) -> None:
    futures = Futures(tmp_path / "somewhere" / "below" / "futures.db")
    records = Records(tmp_path, "server")
    assert records.read() == Progress(begun=True)

    futures.add([asked(1, Future.SENT, kind=SYSTEM_MESSAGE_TYPE)])
    assert records.read() == Progress(begun=True)

    futures.add([asked(2, Future.COLLECTED, "1"), asked(3, Future.SENT, "2"), asked(4, Future.CREATED, "2")])
    assert records.read() == Progress(begun=True, groups=2, answers=1, doing="train: waits for 2")

    futures.move([asked(3, Future.SENT).id], Future.EXPIRED, before=[Future.SENT], reason="no answer")
    futures.move([asked(4, Future.SENT).id], Future.ANSWERED, before=[Future.CREATED])
    assert records.read() == Progress(begun=True, groups=2, answers=2)

    futures.add([asked(5, Future.CREATED, "final", SYSTEM_MESSAGE_TYPE)])
    futures.close()
    assert records.read() == Progress(begun=True, groups=2, answers=2, stopping=True)


def test_a_data_owners_ledger_tells_what_runs_and_what_was_answered(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    records = Records(tmp_path, "client")
    for row in (
        received(1, Received.REPLIED, kind=SYSTEM_MESSAGE_TYPE),
        received(2, Received.CLOSED, "1"),
        received(3, Received.REPLIED, "1", "evaluate"),
        received(4, Received.RUNNING, "2", "train.fine"),
        received(5, Received.RECEIVED, "2"),
    ):
        ledger.add(row)

    assert records.read() == Progress(begun=True, groups=2, answers=2, doing="train.fine")
    ledger.close()


def test_a_database_that_is_being_made_is_read_later(tmp_path: Path) -> None:
    (tmp_path / "futures.db").touch()

    assert Records(tmp_path, "server").read() is None


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_the_log_is_read_as_it_grows(tmp_path: Path, size: int) -> None:
    path = tmp_path / "log"
    path.touch()
    log = ServerLog(path, [_DO1, _DO2])
    text = (
        "\x1b[92mINFO \x1b[0m:      [ROUND 1/3]\n"
        f"12:00:00 WARNING  {_DO1}: no-answer: no answer within 9 s\n"
        f"12:00:00 WARNING  {_DO2}: app-raised: the ClientApp raised ValueError (reference 1)\n"
        f"2026-01-01 | WARNING  | a:b:1 - \x1b[33m\x1b[1m{_DO2}: app-load: it cannot\a be loaded\x1b[0m\n"
        f"12:00:00 INFO     {_DO1}: something else\n"
        f"12:00:00 WARNING  not{_DO1}: no-answer: somebody else\n"
        "\x1b[92mINFO \x1b[0m:      [ROUND 2/3]\n"
        "\x1b[92mINFO \x1b[0m:      [ROUND 3/3]"
    ).encode()

    for start in range(0, len(text), size):
        with path.open("ab") as file:
            file.write(text[start : start + size])
        log.read()

    # The last line is not complete yet.
    assert (log.round, log.total_rounds) == (2, 3)
    assert log.failures == {_DO1: (1, "no-answer: no answer within 9 s"), _DO2: (2, "app-load: it cannot be loaded")}


def test_a_legacy_strategy_tells_the_round_alone_and_a_line_without_end_is_no_trouble(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * (3 << 20) + b"\nINFO :      [ROUND 12]\n")
    log = ServerLog(path, [_DO1])
    for _ in range(5):
        log.read()

    assert (log.round, log.total_rounds) == (12, 0)
