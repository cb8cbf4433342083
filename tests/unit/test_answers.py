"""``Answers`` keeps the file of each open reply in its place."""

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.answering.answers import Answers
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.put_back import MOST_TIMES
from syft_flwr._messaging.trust import Trust
from syft_flwr._store.ledger import Ledger, ReceivedRow
from syft_flwr._store.peers import Peers
from syft_flwr._store.states import Received
from syft_flwr.names import AppNames
from syft_flwr.runs.events import Event, ReplyReleased
from syft_flwr.testing import FakeClock
from syft_flwr.transport.syftbox import SyftBoxTransport

_DS, _DO = "ds@x.org", "do@y.org"
_NAMES = AppNames("answers")
_IDS = [f"{number:032x}" for number in range(5)]
_REPLY = b"a sealed reply"


@dataclass
class _Owner:
    """A data owner with one open reply in a folder of this disk."""

    answers: Answers
    clock: FakeClock
    folder: Path
    transport: "_CountedReads"
    ledger: Ledger

    @property
    def path(self) -> Path:
        """Return the file of the first reply."""
        return self.folder / f"{_IDS[0]}.response"

    def scan(self) -> None:
        self.clock.advance(60)
        self.answers.put_again_what_changed()

    def settle(self) -> None:
        """Scan until each reply was read, as after the start."""
        for _ in _IDS:
            self.scan()
        self.transport.reads = 0


class _CountedReads(SyftBoxTransport):
    """A transport that counts how many files are read."""

    reads = 0

    def get(self, name: str, *, max_size: int) -> bytes:
        self.reads += 1
        return super().get(name, max_size=max_size)


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[_Owner]:
    clock, box = FakeClock(), tmp_path / "box"
    with (
        closing(_CountedReads(box, _DO)) as transport,
        closing(Trust(transport, _DO, Identity.generate(), Peers(tmp_path / "peers.db"), clock)) as trust,
        closing(Ledger(tmp_path / "ledger.db")) as ledger,
    ):
        now = clock.now()
        answers = Answers(Endpoint(transport, trust, _NAMES, encryption=True, clock=clock), ledger)
        times = now, now + timedelta(hours=1)
        for message_id in _IDS:
            ledger.add(ReceivedRow(message_id, 7, _DS, "train", "1", Received.RECEIVED, "0" * 64, *times))
            ledger.answer(message_id, response=_REPLY, objects=(), context=None)
            assert answers.put(message_id, _DS, _REPLY)
        yield _Owner(answers, clock, box / "datasites" / _NAMES.messages_of(_DO, _DS), transport, ledger)


def test_failed_writes_do_not_use_up_the_times(owner: _Owner) -> None:
    folder = owner.path.parent
    shutil.rmtree(folder)
    # No file can be written below a file.
    folder.touch()
    for _ in range(2 * MOST_TIMES):
        owner.scan()
    folder.unlink()
    owner.scan()
    assert owner.path.read_bytes() == _REPLY


def test_scan_reads_few_of_the_unchanged_replies(owner: _Owner) -> None:
    owner.settle()
    owner.scan()
    assert owner.transport.reads == 1
    # The own write causes an event, too.
    owner.answers.note([_NAMES.response(_DO, _DS, _IDS[0])])
    owner.scan()
    owner.scan()
    assert owner.transport.reads <= 4


def test_named_reply_with_other_bytes_is_put_back(owner: _Owner) -> None:
    owner.settle()
    owner.path.write_bytes(_REPLY[::-1])
    owner.answers.note([_NAMES.response(_DO, _DS, _IDS[0]), _NAMES.response(_DO, _DO, _IDS[1])])
    owner.scan()
    assert owner.path.read_bytes() == _REPLY
    assert owner.transport.reads <= 2


def test_changed_reply_is_found_without_an_event(owner: _Owner) -> None:
    owner.settle()
    owner.path.write_bytes(_REPLY[::-1])
    for _ in _IDS:
        owner.scan()
    assert owner.path.read_bytes() == _REPLY


def test_reply_of_another_size_is_put_back_at_once(owner: _Owner) -> None:
    owner.settle()
    for message_id in _IDS:
        (owner.folder / f"{message_id}.response").write_bytes(_REPLY + b"!")
    owner.scan()
    assert {path.read_bytes() for path in owner.folder.glob("*.response")} == {_REPLY}


def test_reply_is_released_before_it_is_closed(owner: _Owner) -> None:
    """An aggregator can withdraw a request as soon as the file of its reply is there."""
    message_id, events = "f" * 32, []
    withdrawing = threading.Thread(target=lambda: answers.close(message_id))

    def note(_: int, event: Event) -> None:
        if isinstance(event, ReplyReleased):
            withdrawing.start()
            # It must wait for this event, so this is no wait for its end.
            withdrawing.join(0.1)
        events.append(event.name)

    now = owner.clock.now()
    times = now, now + timedelta(hours=1)
    report = json.dumps({"message": message_id, "aggregator": _DS, "outcome": "answered"})
    owner.ledger.add(ReceivedRow(message_id, 7, _DS, "train", "1", Received.RECEIVED, "0" * 64, *times))
    owner.ledger.answer(message_id, response=_REPLY, objects=(), context=None, report=report)
    answers = Answers(owner.answers._endpoint, owner.ledger, note)
    assert answers.put(message_id, _DS, _REPLY)
    withdrawing.join()
    assert events == ["reply-released", "request-closed"]
