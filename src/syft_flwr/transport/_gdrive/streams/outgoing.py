"""One stream of this process: gives out its positions in order, each with the id that was announced for it."""

import heapq
import threading
from collections import deque
from collections.abc import Callable

from syft_flwr.transport._gdrive.streams.announcement import ANNOUNCED, Announcement

#: Gives fresh ids, so many.
NewIds = Callable[[int], list[str]]
#: Publishes what the stream's folder is to say now.
Publish = Callable[[Announcement], None]


class Place:
    """Where one file goes: its position, its id, and the lowest position that is on its way."""

    def __init__(self, position: int, file_id: str, low: int) -> None:
        self.position = position
        self.id = file_id
        self.low = low


class OutgoingStream:
    """Thread-safe.

    Args:
        folder: the id of the stream's folder.
        announcement: what the folder says now.
        start: the first position that was never given out.
    """

    def __init__(self, folder: str, announcement: Announcement, start: int) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._announced = announcement
        self._next = max(start, announcement.next)
        ids = enumerate(announcement.ids, announcement.base)
        self._ids = deque((position, file_id) for position, file_id in ids if position >= self._next)
        #: Positions whose file was not made in the end, and may be used again.
        self._free: list[tuple[int, str]] = []
        self._on_their_way: set[int] = set()
        #: Ids of the latest positions that were given out; a reader that begins now needs those that are on their way.
        self._given: dict[int, str] = {}

    @property
    def next(self) -> int:
        """The first position that was not given out."""
        return self._next

    def take(self, new_ids: NewIds, publish: Publish) -> Place:
        """Give out a place; the ids of further ones are announced when there are none left."""
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
        """Take a place again that an earlier process was given."""
        with self._lock:
            self._on_their_way.add(place.position)
            self._given[place.position] = place.id
            self._free = [free for free in self._free if free[0] != place.position]
            heapq.heapify(self._free)
            return place

    def settle(self, place: Place) -> None:
        """Say that the file of a place was made, or never will be under its id."""
        with self._lock:
            self._on_their_way.discard(place.position)

    def give_back(self, place: Place) -> None:
        """Say that no file was made, as far as is known."""
        with self._lock:
            self._on_their_way.discard(place.position)
            heapq.heappush(self._free, (place.position, place.id))

    def announce_early(self, new_ids: NewIds, publish: Publish) -> None:
        """Announce further ids if there are few left, so that no write has to."""
        with self._lock:
            if len(self._ids) < ANNOUNCED // 2:
                self._announce(new_ids, publish)

    def settled(self) -> int:
        """Return the position before which every file was written, and may be gone again."""
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
        # What is free and not announced any more, nobody would find.
        self._free = [free for free in self._free if free[0] >= base]
        ids = enumerate(announcement.ids, base)
        self._ids = deque((position, file_id) for position, file_id in ids if position >= self._next)

    def _base(self) -> int:
        """Return the first position to announce: the lowest that is on its way, if there is room for those since then."""
        earliest = self._next
        while earliest > max(self._lowest(), self._next - ANNOUNCED // 2) and earliest - 1 in self._given:
            earliest -= 1
        return earliest
