"""The files of each peer that have arrived: its key card with its release, and its last heartbeat."""

from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass

from syft_flwr._crypto.keys import PublicIdentity
from syft_flwr._messaging.wire.card import KeyCard, read_card
from syft_flwr._messaging.wire.heartbeat import Heartbeat, Role, heartbeat_name, read_heartbeat
from syft_flwr._messaging.wire.limits import MAX_CARD, MAX_HEARTBEAT
from syft_flwr.doctor.blocked import BlockedError
from syft_flwr.doctor.subject import Subject
from syft_flwr.errors import NotFoundError, RemoteProtocolError, StoreError, TransportError
from syft_flwr.names import AppNames, card
from syft_flwr.transport.base import Transport


@dataclass(frozen=True, slots=True)
class PeerFiles:
    """The files of one peer that have arrived here."""

    email: str
    #: Its key card, and its heartbeat; None if it has not arrived or cannot be read.
    card: KeyCard | None
    heartbeat: Heartbeat | None
    #: Whether a heartbeat of protocol version 1 is there.
    is_old: bool = False
    #: Why a file that is there cannot be read; empty if there is no such file.
    unreadable: str = ""


def peer_files_of(subject: Subject) -> list[PeerFiles]:
    """Return the arrived files of each peer of the project, sorted by email.

    Raises:
        BlockedError: the peers are not known, or the storage cannot be opened.
    """
    return subject.shared(_look)


def _look(subject: Subject) -> list[PeerFiles]:
    app = subject.needed_app
    pinned: dict[str, PublicIdentity] = {}
    # A database that cannot be read is the problem of another check.
    with suppress(BlockedError, StoreError), closing(subject.peers_database()) as database:
        pinned = {row.email: PublicIdentity(row.identity) for row in database.all()}
    role: Role = "data-owner" if subject.is_aggregator else "aggregator"
    return list(_files_of(subject.storage(), subject.peers, app, role, pinned))


def _files_of(
    storage: Transport, peers: list[str], app: AppNames, role: Role, pinned: dict[str, PublicIdentity]
) -> Iterator[PeerFiles]:
    for email in peers:
        try:
            yield _of_peer(storage, email, app, role, pinned.get(email))
        except (RemoteProtocolError, TransportError) as error:
            # A bad file of one peer must not hide the others.
            yield PeerFiles(email, None, None, unreadable=str(error))


def _of_peer(storage: Transport, email: str, app: AppNames, role: Role, pinned: PublicIdentity | None) -> PeerFiles:
    known, heartbeat, is_old = None, None, False
    with suppress(NotFoundError):
        known = read_card(storage.get(card(email), max_size=MAX_CARD), email)
    keys = pinned or (known.keys if known else None)
    with suppress(NotFoundError):
        data = storage.get(heartbeat_name(app, role, email), max_size=MAX_HEARTBEAT)
        if keys:
            heartbeat = read_heartbeat(data, role=role, email=email, app=app.app, identity=keys)
    if heartbeat is None and role == "data-owner":
        with suppress(TransportError):
            is_old = bool(storage.stat(app.old_heartbeat(email)).size)
    return PeerFiles(email, known, heartbeat, is_old)
