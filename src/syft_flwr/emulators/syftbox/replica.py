"""One participant's copy of the datasites: the files, and the sync journal with the last synchronised versions."""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from syft_flwr.emulators.syftbox.cache_server import CacheServer, Version
from syft_flwr.emulators.syftbox.link import Link
from syft_flwr.emulators.syftbox.participant_home import ParticipantHome
from syft_flwr.emulators.syftbox.sync_names import Marker, marked
from syft_flwr.emulators.syftbox.sync_settings import SyncSettings
from syft_flwr.emulators.syftbox.traffic import How, Record, SyncOutcome, Traffic
from syft_flwr.emulators.syftbox.tree import Signature, Tree, chunks
from syft_flwr.errors import NotFoundError, TransportError
from syft_flwr.log import logger


@dataclass(frozen=True, slots=True)
class LastSynced:
    """The last synchronised state of a file.

    Attributes:
        etag: SHA-256 of the content, in hex.
        signature: the signature of the file; None if a later change may leave it equal, so that only reading helps.
    """

    etag: str
    signature: Signature | None


class Replica:
    """The files and the sync journal of one participant, shared by its push and its scan.

    Push and scan run in separate threads. ``lock`` guards the journal and every change of the tree. Code may call the
    server with the lock held, but never another replica.
    """

    def __init__(
        self, participant: ParticipantHome, server: CacheServer, *, settings: SyncSettings, link: Link, traffic: Traffic
    ) -> None:
        self.email = participant.email
        self.tree = Tree(participant.datasites, participant.staging if settings.stage_apart else None)
        self.server = server
        self.settings = settings
        self.journal: dict[str, LastSynced] = {}
        self.lock = threading.Lock()
        self._link = link
        self._traffic = traffic
        self._complaints: dict[str, str] = {}

    @property
    def is_online(self) -> bool:
        return self._link.is_online(self.email)

    def drops(self, name: str) -> bool:
        return self._link.drops(name)

    def remember(self, name: str, etag: str, signature: Signature) -> None:
        """Record that the file with this signature equals the server's version. The caller holds the lock."""
        self.journal[name] = LastSynced(etag, signature if signature.is_settled() else None)

    def refresh(self, name: str, known: LastSynced, signature: Signature) -> None:
        """Record the new signature of a file with unchanged content."""
        with self.lock:
            if self.journal.get(name) is known:
                self.remember(name, known.etag, signature)

    def place(self, version: Version, content: Iterable[bytes]) -> None:
        """Write a received file over the old one. The caller holds the lock."""
        with self.tree.stage(version.name) as staged:
            staged.write_all(content)
            self.remember(version.name, version.etag, staged.commit())

    def hash(self, name: str) -> str | None:
        """Return the etag of a file, or None if the file is missing or cannot be read."""
        digest = sha256()
        try:
            with self.tree.open(name) as file:
                for chunk in chunks(file, Signature.of_file(file).size):
                    digest.update(chunk)
        except TransportError:
            return None
        return digest.hexdigest()

    def is_rejected(self, name: str) -> bool:
        """Return whether the rejected marker of this name still exists (``RejectedFileExists``)."""
        return self.tree.stat(marked(name, Marker.REJECTED)) is not None

    def set_aside_refused(self, name: str, size: int, how: How) -> None:
        """Rename a refused file to its rejected marker, and forget its synchronised version."""
        with self.lock:
            self.journal.pop(name, None)
            try:
                self.tree.rename(name, marked(name, Marker.REJECTED))
            except NotFoundError as error:
                self.complain(name, error)
        self.record(name, size, how, SyncOutcome.REFUSED)

    def record(self, name: str, size: int, how: How, outcome: SyncOutcome) -> None:
        """Add a change by this participant to the traffic."""
        self._traffic.add(Record(name, size, self.email, "", how, outcome))

    def record_received(self, name: str, size: int, how: How, outcome: SyncOutcome, sender: str = "") -> None:
        """Add a change that reached this participant to the traffic."""
        self._traffic.add(Record(name, size, sender, self.email, how, outcome))

    def complain(self, name: str, error: Exception) -> None:
        """Log a failure, but only once for the same file and text."""
        if self._complaints.get(name) != str(error):
            self._complaints[name] = str(error)
            logger.debug("SyftBox emulator of {}: {}: {}; the next scan tries again", self.email, name or "scan", error)

    def dump(self) -> dict[str, Any]:
        """Return the sync journal as values for JSON."""
        with self.lock:
            return {name: [known.etag, known.signature] for name, known in self.journal.items()}

    def load(self, journal: dict[str, Any]) -> None:
        """Load a sync journal that :meth:`dump` returned."""
        self.journal = dict(_known(journal))


def _known(journal: dict[str, Any]) -> Iterator[tuple[str, LastSynced]]:
    for name, (etag, signature) in journal.items():
        yield name, LastSynced(etag, Signature(*signature) if signature else None)
