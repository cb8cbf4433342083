"""The progress of a simulated run, read from the participants' databases and the server's log."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from syft_flwr._store.futures import Ended, FutureRow, Futures
from syft_flwr._store.ledger import Ledger, ReceivedRow
from syft_flwr._store.states import Future, Received
from syft_flwr.flower import SYSTEM_MESSAGE_TYPE
from syft_flwr.simulation.progress import AnswerCounts, Progress, Records, ServerLog

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_DO1, _DO2 = "do1@x.org", "do1@x.org.uk"


def asked(number: int, state: Future, group: str = "", kind: str = "train") -> FutureRow:
    times = {"created": _NOW, "expires": _NOW + timedelta(hours=1)}
    return FutureRow(f"{number:032x}", 7, _DO1, kind, group, group, "", state, **times, request=b"request")


def received(number: int, state: Received, group: str = "", kind: str = "train") -> ReceivedRow:
    times = (_NOW, _NOW + timedelta(hours=1))
    return ReceivedRow(f"{number:032x}", 7, "ds@x.org", kind, group, state, "digest", *times)


def test_missing_database_gives_no_progress(tmp_path: Path) -> None:
    assert Records(tmp_path / "not-made-yet", "server").read() == Progress()
    assert Records(tmp_path, "client").read() == Progress()


def test_server_database_is_read_during_writes(tmp_path: Path) -> None:
    futures = Futures(tmp_path / "somewhere" / "below" / "futures.db")
    records = Records(tmp_path, "server")
    assert records.read() == Progress(begun=True)

    futures.add([asked(1, Future.SENT, kind=SYSTEM_MESSAGE_TYPE)])
    assert records.read() == Progress(begun=True)

    futures.add([asked(2, Future.COLLECTED, "1"), asked(3, Future.SENT, "2"), asked(4, Future.CREATED, "2")])
    one = {_DO1: AnswerCounts(answers=1)}
    assert records.read() == Progress(begun=True, groups=2, answers=1, doing="train: waits for 2", counts=one)

    futures.move([asked(3, Future.SENT).id], Future.EXPIRED, code="no-answer", reason="x")
    futures.move([asked(4, Future.SENT).id], Future.ANSWERED)
    both = {_DO1: AnswerCounts(answers=2, failures=1, last_failure="no-answer: x")}
    assert records.read() == Progress(begun=True, groups=2, answers=2, counts=both)

    futures.add([asked(5, Future.CREATED, "final", SYSTEM_MESSAGE_TYPE)])
    futures.close()
    assert records.read() == Progress(begun=True, groups=2, answers=2, stopping=True, counts=both)


def test_failed_replies_are_counted_by_data_owner(tmp_path: Path) -> None:
    futures = Futures(tmp_path / "futures.db")
    futures.add([replace(asked(number, Future.SENT), recipient=_DO1 if number < 5 else _DO2) for number in range(1, 8)])
    futures.add([asked(9, Future.SENT, kind=SYSTEM_MESSAGE_TYPE)])
    ends = {
        1: "app-raised: the ClientApp raised\x1b[31m ValueError",
        2: "",
        3: "no-answer: the last one",
        4: "stopped: the run was stopped",
        5: "stopped: the run was stopped",
        6: "stopped: the run was stopped",
        9: "no-answer: a data owner that did not hear of the start",
    }
    futures.move([f"{number:032x}" for number in ends], Future.FAILED)
    outcomes = {f"{number:032x}": Ended(*reason.split(": ")) for number, reason in ends.items()}
    futures.collect(outcomes)
    futures.close()

    progress = Records(tmp_path, "server").read()

    assert progress is not None
    assert progress.counts == {_DO1: AnswerCounts(1, 2, "no-answer: the last one"), _DO2: AnswerCounts()}
    futures = Futures(tmp_path / "futures.db")
    futures.add([replace(asked(10, Future.SENT), state=Future.FAILED)])
    futures.collect({f"{10:032x}": Ended(*ends[1].split(": "))})
    futures.close()
    progress = Records(tmp_path, "server").read()
    assert progress is not None
    # Control characters in a data owner's text do not reach the terminal.
    assert progress.counts[_DO1] == AnswerCounts(1, 3, "app-raised: the ClientApp raised[31m ValueError")


def test_ledger_gives_running_and_answered_requests(tmp_path: Path) -> None:
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


def test_empty_database_gives_no_progress(tmp_path: Path) -> None:
    (tmp_path / "futures.db").touch()

    assert Records(tmp_path, "server").read() is None


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_server_log_is_read_as_it_grows(tmp_path: Path, size: int) -> None:
    path = tmp_path / "log"
    path.touch()
    log = ServerLog(path)
    text = (
        b"\x1b[92mINFO \x1b[0m:      [ROUND 1/3]\n"
        b"12:00:00 WARNING  do1@x.org: no-answer: no reply within 9 s\n"
        b"\x1b[92mINFO \x1b[0m:      [ROUND 2/3]\n"
        b"\x1b[92mINFO \x1b[0m:      [ROUND 3/3]"
    )

    for start in range(0, len(text), size):
        with path.open("ab") as file:
            file.write(text[start : start + size])
        log.read()

    # The last line is incomplete.
    assert (log.round, log.total_rounds) == (2, 3)


def test_legacy_round_is_read_after_a_very_long_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * (3 << 20) + b"\nINFO :      [ROUND 12]\n")
    log = ServerLog(path)
    for _ in range(5):
        log.read()

    assert (log.round, log.total_rounds) == (12, 0)
