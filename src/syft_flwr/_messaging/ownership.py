"""Tells which files of the shared folder this participant wrote, so that a clean-up deletes no others.

* A message is its own if a database knows its id, or if the envelope names this very place and has its signature. Each id
  is recorded before its file is written, and a lost database leaves the signature.
* An object is its own if its id begins with a run that a database knows. The number of a run is random.

All other files stay, and one warning for each folder names them.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Literal

from syft_flwr._messaging.own_files import ObjectFile
from syft_flwr._messaging.trust import Trust
from syft_flwr._messaging.wire import envelope as envelopes
from syft_flwr._messaging.wire.envelope import Header
from syft_flwr._messaging.wire.limits import MAX_ENVELOPE
from syft_flwr.errors import RemoteProtocolError, TransportError
from syft_flwr.log_once import OURSELVES, LogOnce
from syft_flwr.names import AppNames, run_of
from syft_flwr.transport.base import Entry, Transport

#: The most envelopes without a record that are read in one folder, and their bytes: a peer decides how many are there.
_MOST_READ, _MOST_BYTES = 64, 64 << 20
#: The names in one warning.
_MOST_NAMED = 3


class Ownership:
    """Separates the own files of this participant in one app from those of others. Thread-safe."""

    def __init__(self, transport: Transport, names: AppNames, trust: Trust) -> None:
        self._transport = transport
        self._names = names
        self._trust = trust
        self._logged = LogOnce()

    def signed(
        self, kind: Literal["request", "response"], peer: str, files: Mapping[str, Entry], known: Collection[str]
    ) -> dict[str, Header]:
        """Return the headers of those unknown files that this participant signed, by the id of the message.

        The others are kept, and a warning names them.

        Args:
            kind: the kind of the messages.
            peer: the only reader of these messages.
            files: files with the names of messages to ``peer``, by the id of the message.
            known: the ids that a database knows.
        """
        unknown = {message_id: entry for message_id, entry in files.items() if message_id not in known}
        found: dict[str, Header] = {}
        left = _MOST_BYTES
        for message_id, entry in list(unknown.items())[:_MOST_READ]:
            left -= entry.size
            if left < 0:
                break
            if header := self._signed_header(kind, peer, message_id, entry.name):
                found[message_id] = header
        self._tell("files", [entry for message_id, entry in unknown.items() if message_id not in found])
        return found

    def _signed_header(self, kind: str, peer: str, message_id: str, name: str) -> Header | None:
        expected = (kind, message_id, self._names.app, self._trust.email, peer)
        try:
            envelope = envelopes.decode(self._transport.get(name, max_size=MAX_ENVELOPE))
            header = envelope.header
            if (header.kind, header.id, header.app, header.sender, header.recipient) != expected:
                return None
            envelope.verify(self._trust.identity.public)
        except (RemoteProtocolError, TransportError):
            # It is no envelope of this participant, or that is not known now. In both cases, it stays.
            return None
        return header

    def of_runs(self, objects: Iterable[ObjectFile], recorded_runs: Callable[[], Collection[int]]) -> list[Entry]:
        """Return the files of the objects of recorded runs. Keep the others, and warn.

        ``recorded_runs`` returns these runs. It is called only if there are objects, because it reads a database.
        """
        own: list[Entry] = []
        others: list[Entry] = []
        found = list(objects)
        runs = recorded_runs() if found else ()
        for object_id, entry in found:
            (own if run_of(object_id) in runs else others).append(entry)
        self._tell("objects", others)
        return own

    def _tell(self, what: str, entries: Collection[Entry]) -> None:
        if not entries:
            return
        names = sorted(entry.name for entry in entries)
        folder = self._names.objects(self._trust.email) if what == "objects" else names[0].rpartition("/")[0]
        shown = ", ".join(name.rpartition("/")[2] for name in names[:_MOST_NAMED])
        more = f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else ""
        text = (
            "{} {} stay in {}: no record and no signature shows that this participant wrote them. If no program needs "
            "them, delete them by hand: {}{}"
        )
        self._logged.warning(OURSELVES, f"{what} {folder}", text, f"{len(names):,}", what, folder, shown, more)
