"""The keys of peers: the first key is pinned, and only a person can accept another one."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from identities import old_card

from syft_flwr import __version__, names
from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.trust import Trust
from syft_flwr._messaging.wire.card import write_card
from syft_flwr._messaging.wire.limits import MAX_CARD
from syft_flwr._store.peers import Peers
from syft_flwr.errors import (
    AddressError,
    ChangedKeyError,
    MalformedError,
    RemoteProtocolError,
    SignatureError,
    TooLargeError,
    TrustError,
    UnknownPeerError,
)
from syft_flwr.testing import FakeClock
from syft_flwr.transport.memory import MemoryNetwork
from syft_flwr.transport.syftbox import SyftBoxTransport

DS, DO, OTHER = "ds@x.org", "do@y.org", "other@z.org"
APP = names.AppNames("app")

Open = Callable[..., Trust]


@pytest.fixture
def network() -> MemoryNetwork:
    return MemoryNetwork()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def open_trust(network: MemoryNetwork, clock: FakeClock, tmp_path: Path, anna: Identity) -> Iterator[Open]:
    """Return a function that opens a participant's keys and pinned peers; a second call is like a restart."""
    opened: list[Trust] = []

    def _open(email: str = DS, identity: Identity = anna) -> Trust:
        peers = Peers(tmp_path / email / "peers.db")
        opened.append(Trust(network.transport(email), email, identity, peers, clock))
        return opened[-1]

    yield _open
    for trust in opened:
        trust.close()


@pytest.fixture
def trust(open_trust: Open) -> Trust:
    return open_trust()


def publish(network: MemoryNetwork, email: str, card: bytes) -> None:
    network.transport(email).put(names.card(email), card, readers=["*"], replace=True)


def publish_key(network: MemoryNetwork, identity: Identity, email: str = DO) -> None:
    publish(network, email, write_card(email, identity))


# The first key


def test_peer_is_unknown_until_its_card_arrives(trust: Trust, network: MemoryNetwork, ben: Identity) -> None:
    with pytest.raises(UnknownPeerError, match=r"do@y\.org") as caught:
        trust.identity_of(DO)
    assert caught.value.transient
    assert DO in caught.value.hint
    assert trust.peers() == []

    publish_key(network, ben)

    assert trust.identity_of(DO) == ben.public


def test_published_key_is_pinned_by_the_peer(open_trust: Open, ben: Identity, anna: Identity) -> None:
    ds, do = open_trust(DS, anna), open_trust(DO, ben)
    ds.publish()
    do.publish()
    do.publish()

    assert ds.identity_of(DO) == ben.public
    assert do.identity_of(DS) == anna.public
    assert ds.own_fingerprint == anna.public.fingerprint


@pytest.fixture
def over_syftbox(
    tmp_path: Path, clock: FakeClock, anna: Identity, ben: Identity
) -> Iterator[tuple[Trust, Trust, Path]]:
    """Return the trust of an aggregator and a data owner over one SyftBox folder, and the folder."""
    box, trusts = tmp_path / "box", []
    with ExitStack() as opened:
        for email, identity in ((DS, anna), (DO, ben)):
            transport = opened.enter_context(closing(SyftBoxTransport(box, email)))
            peers = Peers(tmp_path / "boxes" / email / "peers.db")
            trusts.append(opened.enter_context(Trust(transport, email, identity, peers, clock)))
        yield trusts[0], trusts[1], box / "datasites"


def test_pushed_card_is_read_until_the_public_one_arrives(
    over_syftbox: tuple[Trust, Trust, Path], ben: Identity
) -> None:
    ds, do, datasites = over_syftbox
    do.publish(APP, readers=[DS])
    (datasites / names.card(DO)).unlink()
    with pytest.raises(UnknownPeerError):
        ds.identity_of(DO)

    ds.publish(APP, readers=[DO])

    assert ds.identity_of(DO) == ben.public


def test_only_the_peers_may_read_the_pushed_card(over_syftbox: tuple[Trust, Trust, Path]) -> None:
    _, do, datasites = over_syftbox
    do.publish(APP, readers=[DS])

    text = (datasites / APP.status(DO) / "syft.pub.yaml").read_text()
    assert f"read: ['{DS}']" in text


def test_pushed_card_is_checked_like_the_public_one(over_syftbox: tuple[Trust, Trust, Path], anna: Identity) -> None:
    ds, do, datasites = over_syftbox
    for trust in (ds, do):
        trust.publish(APP, readers=[DS, DO])
    (datasites / names.card(DO)).unlink()
    (datasites / APP.pushed_card(DO)).write_bytes(write_card(DS, anna))

    with pytest.raises(RemoteProtocolError):
        ds.identity_of(DO)


def test_no_pushed_card_where_nothing_is_pushed(open_trust: Open, network: MemoryNetwork) -> None:
    open_trust(DS).publish(APP, readers=[DO])

    assert set(network.files) == {names.card(DS)}


def test_first_key_is_pinned_with_its_time(
    trust: Trust, network: MemoryNetwork, clock: FakeClock, ben: Identity, logged: list[str]
) -> None:
    publish_key(network, ben)
    clock.advance(60)
    first_seen = clock.now()

    trust.identity_of(DO)
    clock.advance(60)
    trust.identity_of(DO)

    (peer,) = trust.peers()
    assert (peer.email, peer.fingerprint, peer.state) == (DO, ben.public.fingerprint, "pinned")
    assert peer.first_seen == first_seen
    assert peer.offered_fingerprint is None
    assert [line for line in logged if "pinned" in line] == [f"INFO first key of {DO} pinned: {ben.public.fingerprint}"]


def test_pinned_key_survives_a_restart(open_trust: Open, network: MemoryNetwork, ben: Identity) -> None:
    publish_key(network, ben)
    open_trust().identity_of(DO)
    network.files.clear()

    assert open_trust().identity_of(DO) == ben.public


def test_missing_card_keeps_the_pinned_key(trust: Trust, network: MemoryNetwork, ben: Identity) -> None:
    publish_key(network, ben)
    trust.identity_of(DO)
    network.files.clear()

    assert trust.identity_of(DO) == ben.public
    assert [peer.state for peer in trust.peers()] == ["pinned"]


# A changed key


@pytest.fixture(params=["at once", "after a restart"])
def met(request: pytest.FixtureRequest, open_trust: Open, network: MemoryNetwork, ben: Identity) -> Trust:
    """Return the trust of a participant that has pinned ben's key for the data owner."""
    publish_key(network, ben)
    trust = open_trust()
    trust.identity_of(DO)
    return trust if request.param == "at once" else open_trust()


def test_changed_key_error_names_both_keys(met: Trust, network: MemoryNetwork, ben: Identity, eve: Identity) -> None:
    publish_key(network, eve)

    for _ in range(2):
        with pytest.raises(ChangedKeyError) as caught:
            met.identity_of(DO)
        assert DO in str(caught.value)
        assert f"pinned is {ben.public.fingerprint}" in str(caught.value)
        assert f"published is {eve.public.fingerprint}" in str(caught.value)
        assert f"syft-flwr peers accept {DO}" in caught.value.hint
        assert "another channel" in caught.value.hint
        assert not caught.value.transient
    (peer,) = met.peers()
    assert (peer.state, peer.fingerprint) == ("changed", ben.public.fingerprint)
    assert peer.offered_fingerprint == eve.public.fingerprint


@pytest.mark.parametrize("half", ["signing", "sealing"])
def test_half_changed_key_is_a_changed_key(
    met: Trust, network: MemoryNetwork, ben: Identity, eve: Identity, half: str
) -> None:
    kept, new = (eve, ben) if half == "signing" else (ben, eve)
    mixed = Identity.decode(kept.private_bytes[:32] + new.private_bytes[32:])
    publish_key(network, mixed)

    with pytest.raises(ChangedKeyError):
        met.identity_of(DO)


def test_return_to_the_pinned_key_needs_no_accept(
    met: Trust, network: MemoryNetwork, ben: Identity, eve: Identity
) -> None:
    publish_key(network, eve)
    with pytest.raises(ChangedKeyError):
        met.identity_of(DO)

    publish_key(network, ben)

    assert met.identity_of(DO) == ben.public
    assert [peer.state for peer in met.peers()] == ["pinned"]
    with pytest.raises(TrustError, match="no other key"):
        met.change_of(DO)


def test_accepted_key_replaces_the_pinned_key(
    met: Trust, open_trust: Open, network: MemoryNetwork, clock: FakeClock, ben: Identity, eve: Identity
) -> None:
    publish_key(network, eve)
    clock.advance(60)

    assert met.accept(DO, eve.public.fingerprint.lower()) == eve.public.fingerprint

    assert met.identity_of(DO) == eve.public
    assert open_trust().identity_of(DO) == eve.public
    (peer,) = met.peers()
    assert (peer.state, peer.fingerprint, peer.first_seen) == ("verified", eve.public.fingerprint, clock.now())
    publish_key(network, ben)
    with pytest.raises(ChangedKeyError):
        met.identity_of(DO)


def test_accepted_key_stays_without_the_card(met: Trust, network: MemoryNetwork, eve: Identity) -> None:
    publish_key(network, eve)
    met.accept(DO, eve.public.fingerprint)

    network.files.clear()

    assert met.identity_of(DO) == eve.public


def test_accept_in_another_process_is_seen(met: Trust, open_trust: Open, network: MemoryNetwork, eve: Identity) -> None:
    publish_key(network, eve)
    with pytest.raises(ChangedKeyError):
        met.identity_of(DO)

    open_trust().accept(DO, eve.public.fingerprint)

    assert met.identity_of(DO) == eve.public


@pytest.mark.parametrize("meanwhile", ["another key", "the old key", "no card", "a damaged card"])
def test_only_the_compared_key_is_accepted(
    met: Trust, network: MemoryNetwork, ben: Identity, eve: Identity, anna: Identity, meanwhile: str
) -> None:
    publish_key(network, eve)
    change = met.change_of(DO)
    assert (change.pinned, change.published) == (ben.public.fingerprint, eve.public.fingerprint)
    if meanwhile == "another key":
        publish_key(network, anna)
    elif meanwhile == "the old key":
        publish_key(network, ben)
    elif meanwhile == "a damaged card":
        publish(network, DO, b"no card")
    else:
        network.files.clear()

    assert met.accept(DO, change.published) == eve.public.fingerprint

    network.files.clear()
    assert met.identity_of(DO) == eve.public
    assert [peer.state for peer in met.peers()] == ["verified"]


def test_key_that_was_not_compared_is_refused(
    met: Trust, network: MemoryNetwork, ben: Identity, eve: Identity, anna: Identity
) -> None:
    publish_key(network, anna)

    for wrong in (eve.public.fingerprint, "", anna.public.fingerprint[:-1]):
        with pytest.raises(ChangedKeyError) as caught:
            met.accept(DO, wrong)
        assert ben.public.fingerprint in str(caught.value)
        assert anna.public.fingerprint in str(caught.value)

    network.files.clear()
    assert met.identity_of(DO) == ben.public
    assert [peer.state for peer in met.peers()] == ["pinned"]


def test_key_seen_before_a_restart_can_be_accepted(
    met: Trust, open_trust: Open, network: MemoryNetwork, eve: Identity, anna: Identity
) -> None:
    publish_key(network, eve)
    with pytest.raises(ChangedKeyError):
        met.identity_of(DO)
    publish_key(network, anna)

    open_trust().accept(DO, eve.public.fingerprint)

    network.files.clear()
    assert met.identity_of(DO) == eve.public


def test_question_needs_another_published_key(met: Trust, network: MemoryNetwork, ben: Identity) -> None:
    for files in (True, False):
        with pytest.raises(TrustError, match="no other key"):
            met.change_of(DO)
        if files:
            network.files.clear()
    assert met.identity_of(DO) == ben.public


def test_accepting_the_pinned_key_verifies_it(met: Trust, ben: Identity, clock: FakeClock) -> None:
    first_seen = met.peers()[0].first_seen
    clock.advance(60)

    met.accept(DO, ben.public.fingerprint)

    assert [(peer.state, peer.first_seen) for peer in met.peers()] == [("verified", first_seen)]


def test_unmet_peer_is_accepted_by_its_fingerprint(
    trust: Trust, network: MemoryNetwork, ben: Identity, eve: Identity
) -> None:
    with pytest.raises(UnknownPeerError, match=r"do@y\.org"):
        trust.accept(DO, ben.public.fingerprint)
    publish_key(network, ben)
    with pytest.raises(UnknownPeerError, match="is pinned"):
        trust.change_of(DO)
    with pytest.raises(ChangedKeyError):
        trust.accept(DO, eve.public.fingerprint)
    assert trust.peers() == []

    trust.accept(DO, ben.public.fingerprint)

    assert [peer.state for peer in trust.peers()] == ["verified"]


def test_verified_key_is_the_compared_one(
    met: Trust, open_trust: Open, network: MemoryNetwork, ben: Identity, eve: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_key(network, eve)
    other = open_trust()
    pin = met._peers.pin

    def accepted_meanwhile(*args: object) -> object:
        other.accept(DO, eve.public.fingerprint)
        other._peers._database.rows("UPDATE peers SET verified = 0")
        return pin(*args)

    monkeypatch.setattr(met._peers, "pin", accepted_meanwhile)

    with pytest.raises(ChangedKeyError, match="pinned just now"):
        met.verify(DO, ben.public.fingerprint)

    assert [(peer.state, peer.fingerprint) for peer in met.peers()] == [("pinned", eve.public.fingerprint)]


def test_peers_have_independent_keys(met: Trust, network: MemoryNetwork, ben: Identity, eve: Identity) -> None:
    publish_key(network, eve, OTHER)

    assert met.identity_of(OTHER) == eve.public
    assert met.identity_of(DO) == ben.public
    assert [peer.email for peer in met.peers()] == [DO, OTHER]


# Verified fingerprints


def spellings(fingerprint: str) -> list[str]:
    bare = fingerprint.replace(" ", "")
    return [fingerprint, bare, fingerprint.lower(), fingerprint.replace(" ", "-"), f"  {fingerprint}\n"]


@pytest.mark.parametrize("number", range(5))
def test_spelling_of_a_fingerprint_does_not_matter(met: Trust, ben: Identity, number: int) -> None:
    met.verify(DO, spellings(ben.public.fingerprint)[number])

    assert [peer.state for peer in met.peers()] == ["verified"]


def test_peer_can_be_verified_before_it_is_pinned(trust: Trust, network: MemoryNetwork, ben: Identity) -> None:
    with pytest.raises(UnknownPeerError):
        trust.verify(DO, ben.public.fingerprint)
    publish_key(network, ben)

    trust.verify(DO, ben.public.fingerprint)

    assert [peer.state for peer in trust.peers()] == ["verified"]


def test_wrong_fingerprint_verifies_nothing(met: Trust, ben: Identity, eve: Identity) -> None:
    for wrong in (eve.public.fingerprint, "", ben.public.fingerprint[:-1], ben.public.fingerprint + "A"):
        with pytest.raises(ChangedKeyError) as caught:
            met.verify(DO, wrong)
        assert ben.public.fingerprint in str(caught.value)
        assert wrong in str(caught.value)
        assert "exchange nothing" in caught.value.hint
    assert [peer.state for peer in met.peers()] == ["pinned"]


def test_mistyped_fingerprint_pins_no_new_peer(trust: Trust, network: MemoryNetwork, ben: Identity) -> None:
    publish_key(network, ben)
    with pytest.raises(ChangedKeyError):
        trust.verify(DO, "ABCD")
    assert trust.peers() == []
    assert [(peer.state, peer.fingerprint) for peer in trust.peers([DO])] == [("unmet", ben.public.fingerprint)]
    trust.verify(DO, ben.public.fingerprint)
    assert [peer.state for peer in trust.peers([DO])] == ["verified"]


def test_changed_key_of_a_verified_peer_is_shown(
    met: Trust, network: MemoryNetwork, ben: Identity, eve: Identity
) -> None:
    met.verify(DO, ben.public.fingerprint)
    publish_key(network, eve)
    assert [peer.state for peer in met.peers()] == ["changed"]

    met.accept(DO, eve.public.fingerprint)

    assert [peer.state for peer in met.peers()] == ["verified"]


# The software of a peer


def test_software_of_a_peer_is_that_of_its_card(trust: Trust, network: MemoryNetwork, ben: Identity) -> None:
    assert trust.software_of(DO) == ""
    publish(network, DO, write_card(DO, ben, "syft-flwr 7.0"))
    assert trust.identity_of(DO) == ben.public
    assert trust.software_of(DO) == "syft-flwr 7.0"
    assert [peer.software for peer in trust.peers()] == ["syft-flwr 7.0"]


def test_own_card_names_the_own_software(open_trust: Open, anna: Identity, ben: Identity) -> None:
    ds, do = open_trust(DS, anna), open_trust(DO, ben)
    do.publish()
    ds.identity_of(DO)
    assert ds.software_of(DO) == f"syft-flwr {__version__}"


def test_new_software_does_not_change_the_pin(
    trust: Trust, network: MemoryNetwork, ben: Identity, logged: list[str]
) -> None:
    for number, card in enumerate((old_card(DO, ben), write_card(DO, ben, "a 1"), write_card(DO, ben, "a 2"))):
        publish(network, DO, card)
        assert trust.identity_of(DO) == ben.public
        assert trust.software_of(DO) == ("", "a 1", "a 2")[number]
        assert [(peer.state, peer.software) for peer in trust.peers()] == [("pinned", trust.software_of(DO))]
    assert not any("changed" in line for line in logged)


def test_invalid_card_keeps_the_known_software(trust: Trust, network: MemoryNetwork, ben: Identity) -> None:
    publish(network, DO, write_card(DO, ben, "a 1"))
    trust.identity_of(DO)
    publish(network, DO, write_card(DO, ben, "a 2")[:-20])
    with pytest.raises(MalformedError):
        trust.identity_of(DO)
    assert trust.software_of(DO) == "a 1"
    assert [(peer.state, peer.software) for peer in trust.peers()] == [("unreadable", "a 1")]


def test_unmet_peer_shows_its_software(trust: Trust, network: MemoryNetwork, ben: Identity) -> None:
    publish(network, DO, write_card(DO, ben, "a 1"))
    assert [(peer.state, peer.software) for peer in trust.peers([DO])] == [("unmet", "a 1")]


# Invalid cards


def forged(ben: Identity, eve: Identity) -> bytes:
    card = json.loads(write_card(DO, ben))
    keys = {"keys": eve.public.encoded.hex(), "fingerprint": eve.public.fingerprint}
    return json.dumps(card | keys).encode()


def unsigned(ben: Identity, eve: Identity) -> bytes:
    return json.dumps(json.loads(write_card(DO, ben)) | {"signature": "0" * 128}).encode()


def of_another(ben: Identity, eve: Identity) -> bytes:
    return write_card(OTHER, eve)


def torn(ben: Identity, eve: Identity) -> bytes:
    return write_card(DO, ben)[:-20]


def huge(ben: Identity, eve: Identity) -> bytes:
    return write_card(DO, ben) + b" " * MAX_CARD


BAD_CARDS = [
    (forged, SignatureError),
    (unsigned, SignatureError),
    (of_another, AddressError),
    (torn, MalformedError),
    (huge, TooLargeError),
]


@pytest.mark.parametrize(("card", "error"), BAD_CARDS)
def test_invalid_card_pins_nothing(
    trust: Trust,
    network: MemoryNetwork,
    ben: Identity,
    eve: Identity,
    card: Callable[[Identity, Identity], bytes],
    error: type[Exception],
) -> None:
    publish(network, DO, card(ben, eve))

    for _ in range(2):
        with pytest.raises(error):
            trust.identity_of(DO)
    assert trust.peers() == []
    publish_key(network, ben)
    assert trust.identity_of(DO) == ben.public


@pytest.mark.parametrize(("card", "error"), BAD_CARDS)
def test_invalid_card_keeps_the_pin_and_raises(
    met: Trust,
    network: MemoryNetwork,
    ben: Identity,
    eve: Identity,
    card: Callable[[Identity, Identity], bytes],
    error: type[Exception],
) -> None:
    publish(network, DO, card(ben, eve))

    with pytest.raises(error):
        met.identity_of(DO)
    with pytest.raises(error):
        met.accept(DO, eve.public.fingerprint)
    # One invalid card does not hide the other peers.
    publish_key(network, eve, OTHER)
    met.identity_of(OTHER)
    assert [(peer.email, peer.state) for peer in met.peers()] == [(DO, "unreadable"), (OTHER, "pinned")]
    assert met.peers()[0].fingerprint == ben.public.fingerprint
    network.files.pop(names.card(OTHER))
    publish_key(network, ben)
    assert met.identity_of(DO) == ben.public
    assert [peer.state for peer in met.peers()] == ["pinned", "pinned"]


# Unmet peers


def test_unmet_peer_is_listed_on_request(met: Trust, network: MemoryNetwork, eve: Identity) -> None:
    publish_key(network, eve, OTHER)

    shown = met.peers(also=[OTHER, DO, "nobody@x.org"])

    assert [(peer.email, peer.state) for peer in shown] == [(DO, "pinned"), (OTHER, "unmet")]
    assert shown[1].fingerprint == eve.public.fingerprint
    assert shown[1].first_seen is None
    assert [peer.email for peer in met.peers()] == [DO]


def test_unmet_peer_with_an_invalid_card_is_not_listed(
    met: Trust, network: MemoryNetwork, ben: Identity, eve: Identity
) -> None:
    publish(network, OTHER, forged(ben, eve))

    assert [peer.email for peer in met.peers(also=[OTHER])] == [DO]


def test_wrong_fingerprint_pins_no_new_peer(trust: Trust, network: MemoryNetwork, ben: Identity, eve: Identity) -> None:
    publish_key(network, ben)

    with pytest.raises(ChangedKeyError):
        trust.verify(DO, eve.public.fingerprint)

    assert trust.peers() == []


# Threads


def test_concurrent_threads_pin_a_peer_once(
    trust: Trust, network: MemoryNetwork, ben: Identity, logged: list[str]
) -> None:
    publish_key(network, ben)

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: trust.identity_of(DO), range(32)))

    assert set(found) == {ben.public}
    assert len([line for line in logged if "pinned" in line]) == 1


def test_own_files_in_a_datasite_are_not_those_of_the_peer(trust: Trust, network: MemoryNetwork) -> None:
    request = names.AppNames("app").request(DO, DS, "0" * 32)
    network.transport(DS).put(request, b"request", readers=[DO])
    with pytest.raises(UnknownPeerError, match=f"nothing from the datasite of {DO} has arrived yet") as caught:
        trust.identity_of(DO)
    assert "start syft-flwr" in caught.value.hint
    network.transport(DO).put(f"{DO}/public/about.txt", b"text", readers=["*"])
    with pytest.raises(UnknownPeerError, match=f"{DO} has published no key yet"):
        trust.identity_of(DO)
