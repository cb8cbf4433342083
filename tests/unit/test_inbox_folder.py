"""A client deletes the replies that came back after their end, and no other file of its inbox."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from syft_flwr._messaging.answering.inbox_folder import InboxFolder
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._store.ledger import Ledger, ReceivedRow
from syft_flwr._store.states import Received
from syft_flwr.config import load_settings
from syft_flwr.fl_orchestrator.participant import Participant
from syft_flwr.names import AppNames
from syft_flwr.transport.syftbox import SyftBoxTransport

_DS, _DO, _OTHER = "ds@x.org", "do@y.org", "someone@z.org"
_NAMES = AppNames("inbox")


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[Endpoint]:
    settings = load_settings(environ={}, email=_DO, home=tmp_path / "home")
    with closing(SyftBoxTransport(tmp_path / "SyftBox", _DO)) as transport:
        participant = Participant(settings, transport)
        with participant.open_trust() as trust:
            yield participant.endpoint(_NAMES.app, trust)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Yield a ledger with a closed request and an open one."""
    with closing(Ledger(tmp_path / "ledger.db")) as opened:
        now = datetime.now(UTC)
        for message_id in ("a" * 32, "b" * 32):
            opened.add(ReceivedRow(message_id, 7, _DS, "train", "1", Received.RECEIVED, "0" * 64, now, now))
        opened.close_request("a" * 32)
        yield opened


@pytest.mark.parametrize("at_the_end", [False, True])
def test_only_replies_recorded_as_closed_are_deleted(endpoint: Endpoint, ledger: Ledger, at_the_end: bool) -> None:
    transport, box = endpoint.transport, _NAMES.messages_of(_DO, _DS)
    closed = _NAMES.response(_DO, _DS, "a" * 32)
    kept = {
        _NAMES.response(_DO, _DS, "b" * 32),
        _NAMES.response(_DO, _DS, "c" * 32),
        _NAMES.response(_DO, _OTHER, "a" * 32),
        f"{box}notes.response",
        f"{box}inner/{'a' * 32}.response",
        # More ids than one statement of the database has.
        *(_NAMES.response(_DO, _DS, f"{number:032x}") for number in range(1_100)),
    }
    for name in (closed, *kept):
        transport.put(name, b"mine", readers=[_DS])
    folder = InboxFolder(endpoint, ledger, _DS)
    if at_the_end:
        folder.tidy_at_the_end()
    else:
        folder.tidy(folder.names(all_senders=True) or [])
    assert {entry.name for entry in transport.list(_NAMES.messages(_DO))} == kept
