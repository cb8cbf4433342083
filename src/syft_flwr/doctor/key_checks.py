"""Checks of the own keys, and of the keys of the peers. They read the key file and the database, and create neither."""

from collections.abc import Iterator
from contextlib import closing, suppress

from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.own_heartbeats import OwnHeartbeats
from syft_flwr._messaging.trust import Peer
from syft_flwr._messaging.wire.card import read_card
from syft_flwr._messaging.wire.limits import MAX_CARD
from syft_flwr._store.identity_file import unusable_key_file
from syft_flwr.doctor.blocked import PEERS_RUNNING, BlockedError
from syft_flwr.doctor.findings import Finding, of_database, ok, problem, problem_of, skipped, unknown
from syft_flwr.doctor.subject import Subject, require_home
from syft_flwr.errors import MalformedError, RemoteProtocolError, StorageError, StoreError, TransportError
from syft_flwr.files import read_bounded
from syft_flwr.names import AppNames, card

_ASK = "Ask {} by phone for the fingerprint. If it is right, run: syft-flwr peers accept {} FINGERPRINT"


def check_own_keys(subject: Subject) -> Iterator[Finding]:
    """Find a key file that cannot be read, has other keys than the published card, or is in use on another machine."""
    path = require_home(subject) / "identity.key"
    if not path.exists():
        yield ok(f"{path} does not exist yet; the first start creates the keys")
        return
    try:
        own = Identity.decode(read_bounded(path, 4096)).public
    except (StorageError, MalformedError) as error:
        yield problem_of(unusable_key_file(path.parent, error))
        return
    yield ok(f"the own fingerprint is {own.fingerprint}")
    try:
        published = read_card(subject.storage().get(card(subject.email), max_size=MAX_CARD), subject.email).keys
    except (TransportError, RemoteProtocolError, BlockedError):
        # It is missing, or the next start writes it again.
        return
    if published != own:
        yield problem(
            f"the public folder of {subject.email} has a key card with other keys ({published.fingerprint}) than this machine",
            "Restore the home of this participant from a backup, or stop the other machine with this email. Otherwise, "
            f"each peer must run: syft-flwr peers accept {subject.email} FINGERPRINT",
        )
    elif subject.app:
        yield from _of_a_copy(subject, subject.app)


def _of_a_copy(subject: Subject, app: AppNames) -> Iterator[Finding]:
    # The checks of the databases and of the peers tell why the file cannot be read.
    with suppress(BlockedError, StoreError), closing(subject.peers_database()) as peers:
        transport, email = subject.storage(), subject.email
        own = OwnHeartbeats(transport, email, subject.identity, subject.home, subject.clock, peers)
        try:
            own.claim(app, None)
        except StoreError as error:
            yield problem_of(error)


def check_peers(subject: Subject) -> Iterator[Finding]:
    """Find peers whose key changed, cannot be read, or has not arrived."""
    wanted = subject.peers
    if not subject.known.app_name and not wanted:
        subject.needed_app  # noqa: B018 - raises BlockedError
    try:
        known = known_peers(subject)
    except StoreError as error:
        yield of_database(error)
        return
    # With a project, the peers of other projects do not count.
    for email in wanted or sorted(known):
        peer = known.get(email)
        if peer is None and subject.app and not subject.offline:
            yield skipped(f"there is no key card of {email} that can be read", PEERS_RUNNING)
        else:
            yield _of_peer(email, peer)


def known_peers(subject: Subject) -> dict[str, Peer]:
    """Return the peers with a pinned or a published key, by email.

    Raises:
        BlockedError: this participant was not started yet, its own keys cannot be read, or the storage cannot be opened.
        StoreError: the database of pinned keys cannot be read.
    """
    return subject.shared(_look)


def _look(subject: Subject) -> dict[str, Peer]:
    with closing(subject.trust()) as trust:
        return {peer.email: peer for peer in trust.peers(subject.peers)}


def _of_peer(email: str, peer: Peer | None) -> Finding:
    if peer is None:
        return unknown(
            f"no key card of {email} has arrived",
            f"Ask {email} to start syft-flwr once, and check that files of {email} arrive here.",
        )
    if peer.state == "changed":
        text = (
            f"the key of {email} changed: pinned is {peer.fingerprint}, published is {peer.offered_fingerprint}; no message is "
            "exchanged"
        )
        return problem(text, _ASK.format(email, email))
    if peer.state == "unreadable":
        return problem(f"the key card of {email} cannot be read", f"Ask {email} to start syft-flwr again.")
    words = {"verified": "verified by a person", "pinned": "pinned at the first meeting"}
    return ok(f"{email}: {words.get(peer.state, 'published, and not pinned yet')}, fingerprint {peer.fingerprint}")
