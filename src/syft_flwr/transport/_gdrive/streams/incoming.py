"""The state of reading one peer's stream: the ids to ask for next, and the skipped positions.

Each file of a stream has a position and an announced id. A missing file can be not written yet, still uploading (the parts
of a message are uploaded in parallel), or already deleted. Each file names the lowest position that was still uploading
when it was created. If a later poll does not find a file below that position, the file was deleted.
"""

from collections.abc import Iterator, Mapping

from syft_flwr.errors import TransportError
from syft_flwr.transport._gdrive.api.drive_file import DriveFile
from syft_flwr.transport._gdrive.streams.announcement import FILE, MARK, Announcement, read_positions

#: The most skipped positions that are still checked, so that a peer cannot cause unlimited calls.
_MAX_HOLES = 64
#: With fewer known ids than this, the next poll also reads the folder for more.
_FEW = 8


class IncomingStream:
    """One stream of a peer. Not thread-safe.

    Args:
        folder: the stream's folder.
        announcement: the announcement in the folder's properties.
        personal: only this participant may read the stream, so the peer's envelopes for it are here.
    """

    def __init__(self, folder: DriveFile, announcement: Announcement, *, personal: bool) -> None:
        self.folder = folder.id
        self.owner = folder.owner
        self.readers = announcement.readers
        self.personal = personal
        #: Files with unknown ids may exist; only a search finds them.
        self.behind = True
        self._next = announcement.next
        self._ids: dict[int, str] = {}
        #: The skipped positions. True: if the next poll does not find the file, it was deleted.
        self._holes: dict[int, bool] = {}
        self.learn(announcement)

    @property
    def runs_out(self) -> bool:
        """Return whether the next poll should read the folder for more ids."""
        return self._next + _FEW not in self._ids

    def learn(self, announcement: Announcement) -> None:
        """Record a new announcement of the folder. Only the first announced id of a position counts."""
        for position, file_id in enumerate(announcement.ids, announcement.base):
            if position >= self._next:
                self._ids.setdefault(position, file_id)
        if announcement.base > self._next:
            self.behind = True
        passed = max(announcement.base, announcement.next)
        if passed > self._next:
            self._pass_over(passed, final=True)

    def due(self, ahead: int) -> list[str]:
        """Return the ids to ask for: those of the skipped positions, and the next ``ahead`` ids."""
        positions = [*self._holes, *range(self._next, self._next + ahead)]
        return [self._ids[position] for position in positions if position in self._ids]

    def ahead(self, distance: int) -> str | None:
        """Return the id that is ``distance`` positions after the next one; None if it is not known."""
        return self._ids.get(self._next + distance)

    def take(self, answers: Mapping[str, DriveFile | None]) -> Iterator[tuple[int, DriveFile]]:
        """Record the result of a poll; iterate over the files that it found, with their positions.

        Args:
            answers: the metadata by id, None for a file that was not found. Other streams' ids are ignored.
        """
        asked = {position: file_id for position, file_id in self._ids.items() if file_id in answers}
        gone = [position for position in asked if self._holes.get(position) and not answers[asked[position]]]
        settled = 0
        for position in sorted(asked):
            file = answers[asked[position]]
            if file is None:
                continue
            self._holes.pop(position, None)
            if position >= self._next:
                self._pass_over(position, final=False)
                self._next = position + 1
            settled = max(settled, _lowest_on_its_way(file, position))
            yield position, file
        for position in gone:
            self._holes.pop(position, None)
        for position in self._holes:
            self._holes[position] = self._holes[position] or position < settled
        self._forget()

    def found(self, file: DriveFile) -> int | None:
        """Record a file that a search found; return its position, or None if its properties have none."""
        try:
            (position,) = read_positions(file.properties, "n")
        except TransportError:
            return None
        self._holes.pop(position, None)
        if position >= self._next:
            self._pass_over(position + 1, final=False)
            self._holes.pop(position, None)
            self._forget()
        return position

    def _pass_over(self, position: int, *, final: bool) -> None:
        """Continue at ``position``, and keep the skipped positions with a known id for later polls.

        ``final``: a skipped file that the next poll does not find was deleted.
        """
        passed = [other for other in self._ids if self._next <= other < position]
        if len(passed) > _MAX_HOLES:
            # Too many to ask for by id; a search finds their files.
            self.behind = True
        self._holes.update(dict.fromkeys(sorted(passed)[-_MAX_HOLES:], final))
        self._next = position

    def _forget(self) -> None:
        for position in sorted(self._holes)[:-_MAX_HOLES]:
            self.behind = True
            del self._holes[position]
        for position in [other for other in self._ids if other < self._next and other not in self._holes]:
            del self._ids[position]


def _lowest_on_its_way(file: DriveFile, position: int) -> int:
    try:
        (low,) = read_positions(file.properties, "low")
    except TransportError:
        return 0
    return min(low, position) if file.properties.get(MARK) == FILE else 0
