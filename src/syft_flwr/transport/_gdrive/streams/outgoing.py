"""The positions of one stream of this process: each new file gets the next position and its announced id."""

import heapq
import threading
from collections import deque
from collections.abc import Callable

from syft_flwr.transport._gdrive.streams.announcement import ANNOUNCED, Announcement

#: Returns the given number of new ids.
NewIds = Callable[[int], list[str]]
#: Writes an announcement into the properties of the stream's folder.
Publish = Callable[[Announcement], None]


class Place:
    """The place of one file in a stream.

    Args:
        position: the position of the file.
        file_id: its id.
        low: the lowest position that was still uploading when this place was reserved.
    """

    def __init__(self, position: int, file_id: str, low: int) -> None:
        self.position = position
        self.id = file_id
        self.low = low


class OutgoingStream:
    """The places of one stream. Thread-safe.

    Args:
        folder: the id of the stream's folder.
        announcement: the present announcement of the folder.
        start: the first position that was never reserved.
    """

    def __init__(self, folder: str, announcement: Announcement, start: int) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._announced = announcement
        self._next = max(start, announcement.next)
        ids = enumerate(announcement.ids, announcement.base)
        self._ids = deque((position, file_id) for position, file_id in ids if position >= self._next)
        #: Reserved places without a file; they are used again first. A heap of position and id.
        self._free: list[tuple[int, str]] = []
        self._on_their_way: set[int] = set()
        #: Ids of the latest reserved positions. A new announcement must include the ids of files that are still uploading.
        self._given: dict[int, str] = {}

    @property
    def next(self) -> int:
        """Return the first position that was never reserved."""
        return self._next

    def take(self, new_ids: NewIds, publish: Publish) -> Place:
        """Reserve and return the next place; announce more ids first if none is left."""
        with self._lock:
            if not self._free and not self._ids:
                self._announce(new_ids, publish)
            if self._free:
                position, file_id = heapq.heappop(self._free)
            else:
                position, file_id = self._ids.popleft()
                self._next = position + 1
            self._on_their_way.add(position)
            self._given[position] = file_id
            return Place(position, file_id, self._lowest())

    def resume(self, place: Place) -> Place:
        """Reserve and return a place that an earlier process had reserved."""
        with self._lock:
            self._on_their_way.add(place.position)
            self._given[place.position] = place.id
            self._free = [free for free in self._free if free[0] != place.position]
            heapq.heapify(self._free)
            return place

    def settle(self, place: Place) -> None:
        """Release a place after its file was created, or after its id turned out to be in use."""
        with self._lock:
            self._on_their_way.discard(place.position)

    def give_back(self, place: Place) -> None:
        """Release a place after a failed upload, so that another file can use it."""
        with self._lock:
            self._on_their_way.discard(place.position)
            heapq.heappush(self._free, (place.position, place.id))

    def announce_early(self, new_ids: NewIds, publish: Publish) -> None:
        """Announce more ids if few are left, so that writes do not have to wait for that."""
        with self._lock:
            if len(self._ids) < ANNOUNCED // 2:
                self._announce(new_ids, publish)

    def settled(self) -> int:
        """Return the position before which all files were written. They can be deleted again."""
        with self._lock:
            return self._lowest()

    def _lowest(self) -> int:
        return min([*self._on_their_way, *(position for position, _ in self._free), self._next])

    def _announce(self, new_ids: NewIds, publish: Publish) -> None:
        base = self._base()
        known = [*(self._given[position] for position in range(base, self._next)), *(i for _, i in self._ids)]
        fresh = new_ids(ANNOUNCED - len(known))
        announcement = Announcement(self._announced.readers, base, self._lowest(), (*known, *fresh)).fitting()
        publish(announcement)
        self._announced = announcement
        self._given = {position: file_id for position, file_id in self._given.items() if position >= base}
        # Readers find only files in announced places.
        self._free = [free for free in self._free if free[0] >= base]
        ids = enumerate(announcement.ids, base)
        self._ids = deque((position, file_id) for position, file_id in ids if position >= self._next)

    def _base(self) -> int:
        """Return the first position to announce: the lowest that is still uploading, if the ids since then fit."""
        earliest = self._next
        while earliest > max(self._lowest(), self._next - ANNOUNCED // 2) and earliest - 1 in self._given:
            earliest -= 1
        return earliest
