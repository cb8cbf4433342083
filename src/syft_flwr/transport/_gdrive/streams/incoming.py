"""One stream of a peer, as far as it was read: the ids to ask for next, and the meaning of their absence.

The files of a stream have positions, and their ids are announced. A position that is not there may be still to come, on its
way (parts of a message are uploaded side by side), or gone again. Each file says the lowest position that was on its way
when it was made: what lies below that and is not there when it is asked for afterwards is gone for good.
"""

from collections.abc import Iterator, Mapping

from syft_flwr.errors import TransportError
from syft_flwr.transport._gdrive.api.drive_file import DriveFile
from syft_flwr.transport._gdrive.streams.announcement import FILE, MARK, Announcement, read_positions

#: Positions that are looked after because they were passed over; a peer cannot make us look after more.
_MAX_HOLES = 64
#: Ids ahead, from which on the folder is asked for more.
_FEW = 8


class IncomingStream:
    """Not thread-safe.

    Args:
        folder: the stream's folder.
        announcement: what it says of itself.
        personal: nobody else may read it, so that envelopes for us come here.
    """

    def __init__(self, folder: DriveFile, announcement: Announcement, *, personal: bool) -> None:
        self.folder = folder.id
        self.owner = folder.owner
        self.readers = announcement.readers
        self.personal = personal
        #: There may be files whose ids are not known; only a search finds them.
        self.behind = True
        self._next = announcement.next
        self._ids: dict[int, str] = {}
        #: Positions that were passed over, and whether they are gone unless they are there now.
        self._holes: dict[int, bool] = {}
        self.learn(announcement)

    @property
    def runs_out(self) -> bool:
        """Whether the folder should be asked for more ids."""
        return self._next + _FEW not in self._ids

    def learn(self, announcement: Announcement) -> None:
        """Take in what the folder says now. What it says of a position the second time is not believed."""
        for position, file_id in enumerate(announcement.ids, announcement.base):
            if position >= self._next:
                self._ids.setdefault(position, file_id)
        if announcement.base > self._next:
            self.behind = True
        passed = max(announcement.base, announcement.next)
        if passed > self._next:
            self._pass_over(passed, final=True)

    def due(self, ahead: int) -> list[str]:
        """Return the ids to ask for: those passed over, and the next ``ahead``."""
        positions = [*self._holes, *range(self._next, self._next + ahead)]
        return [self._ids[position] for position in positions if position in self._ids]

    def ahead(self, distance: int) -> str | None:
        """Return the id of the file so many positions after the next one."""
        return self._ids.get(self._next + distance)

    def take(self, answers: Mapping[str, DriveFile | None]) -> Iterator[tuple[int, DriveFile]]:
        """Take in what was asked for; give the files that are there, with their positions."""
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
        """Take in a file that a search found; return its position, None if it says none."""
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
        """Go on at ``position``, and look after those in between whose ids are known."""
        passed = [other for other in self._ids if self._next <= other < position]
        if len(passed) > _MAX_HOLES:
            # Too many to be asked for one by one.
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
