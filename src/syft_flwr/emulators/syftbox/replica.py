"""One participant's copy of the datasites: the files, and the journal of what was last in step with the server."""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from loguru import logger

from syft_flwr.emulators.syftbox.cache_server import CacheServer, Version
from syft_flwr.emulators.syftbox.link import Link
from syft_flwr.emulators.syftbox.participant_home import ParticipantHome
from syft_flwr.emulators.syftbox.sync_names import Marker, marked
from syft_flwr.emulators.syftbox.sync_settings import SyncSettings
from syft_flwr.emulators.syftbox.traffic import How, Record, SyncOutcome, Traffic
from syft_flwr.emulators.syftbox.tree import Signature, Tree, chunks
from syft_flwr.errors import NotFoundError, TransportError


@dataclass(frozen=True, slots=True)
class LastSynced:
    """What was last in step. Without a signature only reading the file tells whether it changed since."""

    etag: str
    signature: Signature | None


class Replica:
    """Shared by a participant's real-time and scan halves, which run in threads of their own.

    ``lock`` guards the journal and every change of the tree. The server may be called under it, another replica never.
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
        """Note, under the lock, that the file of this signature is what the server has."""
        self.journal[name] = LastSynced(etag, signature if signature.is_settled() else None)

    def refresh(self, name: str, known: LastSynced, signature: Signature) -> None:
        """Note that a file still has the content that it was known with."""
        with self.lock:
            if self.journal.get(name) is known:
                self.remember(name, known.etag, signature)

    def place(self, version: Version, content: Iterable[bytes]) -> None:
        """Put a received file in its place, under the lock, over what is there."""
        with self.tree.stage(version.name) as staged:
            staged.write_all(content)
            self.remember(version.name, version.etag, staged.commit())

    def hash(self, name: str) -> str | None:
        """Return a file's etag; None if it went since it was seen, or nobody may read it."""
        digest = sha256()
        try:
            with self.tree.open(name) as file:
                for chunk in chunks(file, Signature.of_file(file).size):
                    digest.update(chunk)
        except TransportError:
            return None
        return digest.hexdigest()

    def is_rejected(self, name: str) -> bool:
        """Say whether a former refusal of this name waits for somebody to remove its marker (RejectedFileExists)."""
        return self.tree.stat(marked(name, Marker.REJECTED)) is not None

    def set_aside_refused(self, name: str, size: int, how: How) -> None:
        with self.lock:
            self.journal.pop(name, None)
            try:
                self.tree.rename(name, marked(name, Marker.REJECTED))
            except NotFoundError as error:
                self.complain(name, error)
        self.record(name, size, how, SyncOutcome.REFUSED)

    def record(self, name: str, size: int, how: How, outcome: SyncOutcome) -> None:
        """Record what this participant did."""
        self._traffic.add(Record(name, size, self.email, "", how, outcome))

    def record_received(self, name: str, size: int, how: How, outcome: SyncOutcome, sender: str = "") -> None:
        """Record what came to this participant."""
        self._traffic.add(Record(name, size, sender, self.email, how, outcome))

    def complain(self, name: str, error: Exception) -> None:
        """Log a failure once, however often a scan meets it again."""
        if self._complaints.get(name) != str(error):
            self._complaints[name] = str(error)
            logger.debug("SyftBox stand-in of {}: {}: {}", self.email, name or "scan", error)

    def dump(self) -> dict[str, Any]:
        """Return the journal as JSON knows it."""
        with self.lock:
            return {name: [known.etag, known.signature] for name, known in self.journal.items()}

    def load(self, journal: dict[str, Any]) -> None:
        """Take over what :meth:`dump` returned."""
        self.journal = dict(_known(journal))


def _known(journal: dict[str, Any]) -> Iterator[tuple[str, LastSynced]]:
    for name, (etag, signature) in journal.items():
        yield name, LastSynced(etag, Signature(*signature) if signature else None)
