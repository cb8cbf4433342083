"""The verification of an envelope: the order of the checks, and the number of key look-ups."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from syft_flwr import names
from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.answering.answers import Answers
from syft_flwr._messaging.answering.inbox import Inbox
from syft_flwr._messaging.asking.caller import Caller
from syft_flwr._messaging.asking.kept_answers import KeptAnswers
from syft_flwr._messaging.asking.pending import Ask
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.trust import Trust
from syft_flwr._messaging.wire.body import Body, Manifest
from syft_flwr._messaging.wire.card import write_card
from syft_flwr._messaging.wire.sealing import seal_request, seal_response
from syft_flwr._messaging.wire.verifying import Unverified, read_request, read_response
from syft_flwr._store.futures import Futures
from syft_flwr._store.ledger import Ledger
from syft_flwr._store.peers import Peers
from syft_flwr.errors import AddressError, ExpiredError, LocalProtocolError, MalformedError, SignatureError
from syft_flwr.names import AppNames
from syft_flwr.runs.stream import ignore
from syft_flwr.testing import FakeClock
from syft_flwr.text import printable
from syft_flwr.transport.memory import MemoryNetwork, MemoryTransport

DS, DO = "ds@x.org", "do@y.org"
ID = "0123456789abcdef" * 2
EMPTY = Body(Manifest(), b"")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def ds() -> Identity:
    return Identity.generate()


@pytest.fixture
def do() -> Identity:
    return Identity.generate()


def request_of(ds: Identity, do: Identity, clock: FakeClock, *, kind: str = "train", group: str = "1") -> bytes:
    """Return a request with a lifetime of one hour."""
    return seal_request(
        EMPTY,
        email=DS,
        identity=ds,
        recipient=DO,
        peer=do.public,
        message_id=ID,
        run=7,
        app="app",
        kind=kind,
        group=group,
        created=clock.now(),
        expires=clock.now() + timedelta(hours=1),
        encryption=True,
    )


@pytest.mark.parametrize("field", ["kind", "group"])
@pytest.mark.parametrize("value", ["train\x1b]52;c;x\x07", "a\u202eb", "a\udc80", "a\n", "x" * 129])
def test_request_with_a_hidden_character_is_not_sealed(
    ds: Identity, do: Identity, clock: FakeClock, field: str, value: str
) -> None:
    with pytest.raises(LocalProtocolError) as refused:
        request_of(ds, do, clock, **{field: value})

    name = "type" if field == "kind" else field
    assert f"does not allow: {name} '{printable(value, 80)}'" in str(refused.value)


def with_another_signature(data: bytes) -> bytes:
    size = int.from_bytes(data[9:13], "big")
    place = 13 + size
    return data[:place] + bytes(64) + data[place + 64 :]


def read(data: bytes, do: Identity, **place: str) -> Unverified:
    known = {"email": DO, "sender": DS, "message_id": ID, "app": "app"} | place
    return read_request(data, identity=do.public, **known)


def test_authentic_request_is_verified(ds: Identity, do: Identity, clock: FakeClock) -> None:
    data = request_of(ds, do, clock)

    verified = read(data, do).verify(ds.public, now=clock.now())

    assert (verified.header.sender, verified.header.recipient, verified.header.run) == (DS, DO, 7)
    assert verified.open(do, encryption=True) == EMPTY


@pytest.mark.parametrize("place", [{"sender": "eve@x.org"}, {"message_id": "f" * 32}, {"app": "other"}, {"email": DS}])
def test_wrong_address_is_refused_without_a_key(
    ds: Identity, do: Identity, clock: FakeClock, place: dict[str, str]
) -> None:
    data = request_of(ds, do, clock)

    with pytest.raises(AddressError, match="is not the expected one"):
        read(data, do, **place)


def test_form_is_checked_before_the_address(ds: Identity, do: Identity, clock: FakeClock) -> None:
    with pytest.raises(MalformedError):
        read(request_of(ds, do, clock) + b"x", do, app="other")


def test_signature_is_checked_before_the_time(ds: Identity, do: Identity, clock: FakeClock) -> None:
    forged = with_another_signature(request_of(ds, do, clock))
    clock.advance(24 * 3600)

    with pytest.raises(SignatureError):
        read(forged, do).verify(ds.public, now=clock.now())


def test_expired_request_is_refused(ds: Identity, do: Identity, clock: FakeClock) -> None:
    data = request_of(ds, do, clock)
    clock.advance(24 * 3600)

    with pytest.raises(ExpiredError, match="it expired"):
        read(data, do).verify(ds.public, now=clock.now())


def test_response_is_bound_to_the_request_bytes(ds: Identity, do: Identity, clock: FakeClock) -> None:
    asked = read(request_of(ds, do, clock), do).verify(ds.public)
    data = seal_response(
        EMPTY,
        identity=do,
        peer=ds.public,
        request=asked.header,
        digest=asked.digest,
        created=clock.now(),
        encryption=True,
    )
    place = {"email": DS, "sender": DO, "message_id": ID, "app": "app", "kind": "train", "group": "1"}

    answer = read_response(data, identity=ds.public, run=7, answers=asked.digest, **place).verify(do.public)

    assert answer.header.sender == DO
    with pytest.raises(AddressError, match="its answers"):
        read_response(data, identity=ds.public, run=7, answers="0" * 64, **place)


class CountingTransport(MemoryTransport):
    """A transport that counts the reads of each name."""

    def __init__(self, network: MemoryNetwork, email: str) -> None:
        super().__init__(network, email)
        self.reads: list[str] = []

    def get(self, name: str, *, max_size: int) -> bytes:
        self.reads.append(name)
        return super().get(name, max_size=max_size)

    def reads_of(self, name: str) -> int:
        count = self.reads.count(name)
        self.reads.clear()
        return count


class Side:
    """One participant with its keys and pinned peers, over a network in memory."""

    def __init__(self, network: MemoryNetwork, email: str, identity: Identity, clock: FakeClock, home: Path) -> None:
        self.transport = CountingTransport(network, email)
        self.trust = Trust(self.transport, email, identity, Peers(home / f"{email}.db"), clock)
        self.endpoint = Endpoint(self.transport, self.trust, AppNames("app"), encryption=True, clock=clock)
        self.trust.publish()


@pytest.fixture
def sides(ds: Identity, do: Identity, clock: FakeClock, tmp_path: Path) -> Iterator[tuple[Side, Side]]:
    network = MemoryNetwork()
    both = Side(network, DS, ds, clock, tmp_path), Side(network, DO, do, clock, tmp_path)
    both[1].transport.open_inbox(AppNames("app").inbox(DO))
    yield both
    for side in both:
        side.trust.close()


def test_key_is_looked_up_once_per_request(sides: tuple[Side, Side], tmp_path: Path) -> None:
    asker, owner = sides
    futures, ledger = Futures(tmp_path / "futures.db"), Ledger(tmp_path / "ledger.db")
    caller = Caller(
        asker.endpoint,
        futures=futures,
        kept_answers=KeptAnswers(tmp_path / "journal", 1 << 20),
        datasites=[DO],
        decode=list,
    )
    inbox = Inbox(owner.endpoint, ledger, DS, lambda request, error: None, ignore)

    (message_id,) = caller.send([Ask(DO, 7, "train", "1", 60, [b"work"])])
    sealed = asker.transport.reads_of(names.card(DO))
    request = inbox.read(AppNames("app").request(DO, DS, message_id), DS, message_id)
    verified = owner.transport.reads_of(names.card(DS))

    assert (sealed, verified) == (1, 1)
    assert request
    # The key is looked up again for the reply, because the first look-up can be days ago.
    assert Answers(owner.endpoint, ledger).commit(request, EMPTY)
    assert owner.transport.reads_of(names.card(DS)) == 1
    caller.close()
    futures.close()
    ledger.close()


def test_key_is_not_looked_up_for_a_wrong_address(
    sides: tuple[Side, Side], ds: Identity, do: Identity, clock: FakeClock, tmp_path: Path
) -> None:
    asker, owner = sides
    ledger = Ledger(tmp_path / "ledger.db")
    other = AppNames("app").request(DO, DS, "f" * 32)
    asker.transport.put(other, request_of(ds, do, clock), readers=[DO])

    assert Inbox(owner.endpoint, ledger, DS, lambda request, error: None, ignore).read(other, DS, "f" * 32) is None
    assert owner.transport.reads_of(names.card(DS)) == 0
    ledger.close()


def test_no_reply_is_sealed_to_a_changed_key(
    sides: tuple[Side, Side], ds: Identity, do: Identity, clock: FakeClock, tmp_path: Path
) -> None:
    asker, owner = sides
    ledger = Ledger(tmp_path / "ledger.db")
    name = AppNames("app").request(DO, DS, ID)
    asker.transport.put(name, request_of(ds, do, clock), readers=[DO])
    request = Inbox(owner.endpoint, ledger, DS, lambda request, error: None, ignore).read(name, DS, ID)
    assert request

    asker.transport.put(names.card(DS), write_card(DS, Identity.generate()), readers=["*"], replace=True)

    assert Answers(owner.endpoint, ledger).commit(request, EMPTY) is None
    ledger.close()
