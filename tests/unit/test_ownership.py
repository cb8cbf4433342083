"""A clean-up deletes the files that this participant wrote, and leaves all others where they are."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.asking.broadcast import Broadcast
from syft_flwr._messaging.asking.clean_start import CleanStart
from syft_flwr._messaging.asking.request_files import RequestFiles
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.wire import envelope
from syft_flwr._messaging.wire.body import Body, Manifest
from syft_flwr._messaging.wire.envelope import Envelope, Header, decode
from syft_flwr._messaging.wire.limits import MAX_ENVELOPE, MAX_LIFETIME
from syft_flwr._messaging.wire.sealing import seal_request, seal_response
from syft_flwr._store.futures import Ended, FutureRow, Futures
from syft_flwr._store.ledger import Ledger, ReceivedRow
from syft_flwr._store.states import Future, Received, RunState
from syft_flwr.config import load_settings
from syft_flwr.fl_orchestrator.garbage import collect_garbage
from syft_flwr.fl_orchestrator.participant import Participant
from syft_flwr.names import AppNames, new_object_id
from syft_flwr.transport.memory import MemoryNetwork

_ME, _PEER, _OTHER = "me@x.org", "peer@y.org", "other@z.org"
_NAMES = AppNames("own")
_ID = "a" * 32


@dataclass
class _Place:
    """One participant with its databases, which another program can write to as well."""

    participant: Participant
    network: MemoryNetwork
    endpoint: Endpoint
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def put(self, name: str, data: bytes = b"mine") -> str:
        self.network.files[name] = (data, frozenset({_ME, _PEER}))
        return name

    def request(
        self,
        message_id: str = _ID,
        *,
        sender: str = _ME,
        recipient: str = _PEER,
        app: str = _NAMES.app,
        keys: Identity | None = None,
    ) -> bytes:
        return seal_request(
            Body(Manifest(), b""),
            email=sender,
            identity=keys or self.endpoint.trust.identity,
            recipient=recipient,
            peer=self.endpoint.trust.identity.public,
            message_id=message_id,
            run=7,
            app=app,
            kind="train",
            group="1",
            created=self.now,
            expires=self.now + timedelta(hours=1),
            encryption=False,
        )

    def reply(self, message_id: str = _ID, *, age: timedelta = timedelta(), keys: Identity | None = None) -> bytes:
        return seal_response(
            Body(Manifest(), b""),
            identity=keys or self.endpoint.trust.identity,
            peer=self.endpoint.trust.identity.public,
            request=Header(
                id=message_id,
                kind="request",
                run=7,
                app=_NAMES.app,
                sender=_PEER,
                recipient=_ME,
                sender_key="0" * 32,
                recipient_key="0" * 32,
                type="train",
                group="1",
                created=self.now - age,
                expires=self.now - age + timedelta(hours=1),
                encryption="none",
                body_size=1,
            ),
            digest="0" * 64,
            created=self.now - age,
            encryption=False,
        )

    def start(self) -> None:
        """Delete the orphans as the start of a server does."""
        with closing(Futures(self.participant.app_home(_NAMES.app) / "futures.db")) as futures:
            broadcast = Broadcast(self.endpoint.mine)
            files = RequestFiles(self.endpoint, futures, [_PEER])
            CleanStart(self.endpoint, futures, broadcast, files, [_PEER]).take_over(9)

    def gc(self) -> None:
        collect_garbage(self.participant, dry_run=False)

    def clean(self, how: str) -> None:
        {"start": self.start, "gc": self.gc}[how]()

    def record(self, message_id: str, *, recipient: str = _PEER) -> None:
        """Record a request as sent and collected."""
        row = FutureRow(
            id=message_id,
            run=7,
            recipient=recipient,
            type="train",
            group="1",
            round="1",
            content="",
            state=Future.SENT,
            created=self.now,
            expires=self.now,
        )
        with closing(Futures(self.participant.app_home(_NAMES.app) / "futures.db")) as futures:
            futures.add([row])
            futures.collect({message_id: Ended()})


@pytest.fixture
def place(tmp_path: Path) -> Iterator[_Place]:
    network = MemoryNetwork()
    network.transport(_PEER).open_inbox(_NAMES.inbox(_PEER))
    settings = load_settings(environ={}, email=_ME, home=tmp_path, datasites=[_PEER], aggregator=_PEER)
    participant = Participant(settings, network.transport(_ME))
    with ExitStack() as stack:
        trust = stack.enter_context(participant.open_trust())
        for database in (Futures, Ledger):
            name = "futures.db" if database is Futures else "ledger.db"
            database(participant.app_home(_NAMES.app) / name).close()
        yield _Place(participant, network, participant.endpoint(_NAMES.app, trust))


_SLOT = _NAMES.request(_PEER, _ME, _ID)
_REPLY = _NAMES.response(_ME, _PEER, _ID)


@pytest.mark.parametrize("how", ["start", "gc"])
@pytest.mark.parametrize("known", ["recorded", "signed"])
def test_own_request_is_deleted(place: _Place, how: str, known: str, logged: list[str]) -> None:
    """The signature decides after the database was lost."""
    if known == "recorded":
        place.record(_ID)
        place.put(_SLOT)
    else:
        place.put(_SLOT, place.request())
    place.clean(how)
    assert _SLOT not in place.network.files
    assert not [line for line in logged if "stay in" in line]


@pytest.mark.parametrize("how", ["start", "gc"])
@pytest.mark.parametrize(
    "foreign",
    ["notes", "nothing", "other keys", "other place", "other app", "other id", "reply", "cut", "recorded elsewhere"],
)
def test_foreign_request_file_is_kept(place: _Place, how: str, foreign: str, logged: list[str]) -> None:
    data = {
        "notes": b"my notes",
        "nothing": b"\0" * 64,
        "other keys": place.request(keys=Identity.generate()),
        "other place": place.request(recipient=_OTHER),
        "other app": place.request(app="else"),
        "other id": place.request("b" * 32),
        "reply": place.reply(),
        "cut": place.request()[:-1],
        "recorded elsewhere": b"mine",
    }[foreign]
    if foreign == "recorded elsewhere":
        place.record(_ID, recipient=_OTHER)
    place.put(_SLOT, data)
    for _ in range(2):
        place.clean(how)
    assert place.network.files[_SLOT][0] == data
    told = [line for line in logged if "stay in" in line]
    assert told
    assert _SLOT.rpartition("/")[0] in told[0]
    assert f"{_ID}.request" in told[0]


def test_flood_of_foreign_requests_costs_few_reads(
    place: _Place, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    for number in range(2_000):
        place.put(_NAMES.request(_PEER, _ME, f"{number:032x}"), bytes(MAX_ENVELOPE if number < 40 else 1))
    before, reads = set(place.network.files), list[int]()

    def counted(data: bytes) -> Envelope:
        reads.append(len(data))
        return decode(data)

    monkeypatch.setattr(envelope, "decode", counted)
    place.start()
    assert set(place.network.files) == before
    # 64 MiB have room for 17 of the large ones.
    assert reads == [MAX_ENVELOPE] * 17
    assert len([line for line in logged if "stay in" in line and "1,997 more" in line]) == 1


@pytest.mark.parametrize(
    ("state", "is_deleted"), [("closed", True), ("received", False), ("old", True), ("recent", False)]
)
def test_own_reply_is_deleted_when_no_run_needs_it(place: _Place, state: str, is_deleted: bool) -> None:
    if state in ("closed", "received"):
        row = ReceivedRow(_ID, 7, _PEER, "train", "1", Received.RECEIVED, "0" * 64, place.now, place.now)
        with closing(Ledger(place.participant.app_home(_NAMES.app) / "ledger.db")) as ledger:
            ledger.add(row)
            if state == "closed":
                ledger.close_request(_ID)
        place.put(_REPLY)
    else:
        # The ledger has forgotten it, or was lost.
        age = MAX_LIFETIME + timedelta(seconds=1) if state == "old" else MAX_LIFETIME - timedelta(minutes=1)
        place.put(_REPLY, place.reply(age=age))
    place.gc()
    assert (_REPLY not in place.network.files) == is_deleted


@pytest.mark.parametrize("foreign", ["notes", "other keys", "other id", "request", "of a stranger"])
def test_foreign_reply_file_is_kept(place: _Place, foreign: str) -> None:
    old = MAX_LIFETIME + timedelta(days=1)
    data = {
        "notes": b"my notes",
        "other keys": place.reply(age=old, keys=Identity.generate()),
        "other id": place.reply("b" * 32, age=old),
        "request": place.request(sender=_PEER, recipient=_ME),
        "of a stranger": place.reply(age=old),
    }[foreign]
    name = place.put(_NAMES.response(_ME, _OTHER, _ID) if foreign == "of a stranger" else _REPLY, data)
    place.gc()
    assert place.network.files[name][0] == data


@pytest.mark.parametrize(("how", "answer"), [("start", False), ("gc", False), ("gc", True)])
def test_only_objects_of_recorded_runs_are_deleted(place: _Place, how: str, answer: bool, logged: list[str]) -> None:
    store = Ledger if answer else Futures
    with closing(store(place.participant.app_home(_NAMES.app) / ("ledger.db" if answer else "futures.db"))) as database:
        database.runs.end(7, RunState.STOPPED, "", place.now)
    _, kept = (place.put(_NAMES.object(_ME, new_object_id(run, answer=answer))) for run in (7, 8))
    place.clean(how)
    assert set(place.network.files) == {kept}
    assert [line for line in logged if "1 objects stay in" in line and kept.rpartition("/")[2] in line]
