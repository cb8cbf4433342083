"""``changes.list``: the entries of a user's change log as they are read."""

from typing import Any

from syft_flwr.emulators.gdrive.changes import ChangeEntry, ChangeLog
from syft_flwr.emulators.gdrive.drive_errors import required
from syft_flwr.emulators.gdrive.emulated_drive import EmulatedDrive
from syft_flwr.emulators.gdrive.faults import Call, FaultTable
from syft_flwr.emulators.gdrive.fields import Mask
from syft_flwr.emulators.gdrive.pages import page_size
from syft_flwr.emulators.gdrive.records import Actor
from syft_flwr.emulators.gdrive.resources import FileView, time


class ChangeFeed:
    """Not thread-safe; the service calls it under its lock."""

    def __init__(self, drive: EmulatedDrive, faults: FaultTable) -> None:
        self._drive = drive
        self._faults = faults

    @property
    def _log(self) -> ChangeLog:
        return self._drive.changes

    def start(self, actor: Actor) -> str:
        return self._log.start(actor.email, self._drive.lags.lags(actor.email, "changes"))

    def page(self, actor: Actor, query: dict[str, str], call: Call, mask: Mask) -> dict[str, Any]:
        """Return a page.

        Args:
            mask: what of a file is wanted.

        Raises:
            DriveError: 400 for the token or the size.
        """
        if "pageToken" not in query:
            raise required("pageToken")
        size = page_size(query)
        lag = self._drive.lags.lags(actor.email, "changes")
        entries = self._log.since(actor.email, query["pageToken"], lag)
        # A client with ``drive.file`` alone does not hear of what it was not given.
        entries = [entry for entry in entries if not self._is_kept_from(entry, actor)]
        if query.get("restrictToMyDrive") == "true":
            entries = [entry for entry in entries if entry.in_my_drive]
        shown, rest = entries[:size], entries[size:]
        changes = [self._change(entry, actor, mask) for entry in self._disturbed(shown, call)]
        if query.get("includeRemoved") == "false":
            changes = [change for change in changes if not change["removed"]]
        token = {"nextPageToken": str(rest[0].number)} if rest else {"newStartPageToken": self.start(actor)}
        return {"kind": "drive#changeList", **token, "changes": changes}

    def _disturbed(self, entries: list[ChangeEntry], call: Call) -> list[ChangeEntry]:
        """Return the entries with what the faults that are set do to them."""
        if entries and self._faults.take(call, "drop_change"):
            self._log.forget(call.user, entries[0].file_id)
            entries = entries[1:]
        if entries and self._faults.take(call, "duplicate_change"):
            entries = [*entries, entries[0]]
        if len(entries) > 1 and self._faults.take(call, "reorder_changes"):
            entries = entries[::-1]
        return entries

    def _is_kept_from(self, entry: ChangeEntry, actor: Actor) -> bool:
        file = self._drive.store.get(entry.file_id)
        if file is None or self._drive.access.role(actor.email, file, by_link=False) is None:
            return False
        return self._drive.role(actor, file, by_link=False) is None

    def _change(self, entry: ChangeEntry, actor: Actor, mask: Mask) -> dict[str, Any]:
        file = self._drive.store.get(entry.file_id)
        removed = file is None or self._drive.role(actor, file, by_link=False) is None
        change = {
            "kind": "drive#change",
            "type": "file",
            "changeType": "file",
            "time": time(entry.time),
            "removed": removed,
            "fileId": entry.file_id,
        }
        return (
            change if file is None or removed else {**change, "file": FileView(self._drive, file, actor).as_json(mask)}
        )
