"""A bounded store of cached contents. If it is full, the owner with the most bytes loses its oldest content.

So one owner with very many bytes pushes out its own contents, and not those of another.
"""

from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
#: The id and the MD5 of a file.
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Item(Generic[T]):
    owner: str
    content: T
    size: int


class Shelf(Generic[T]):
    """The contents by key, at most ``limit`` bytes and the newest one. Not thread-safe."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: OrderedDict[Key, _Item[T]] = OrderedDict()
        self._sizes: Counter[str] = Counter()

    @property
    def size(self) -> int:
        """Return the bytes of all contents."""
        return self._sizes.total()

    def get(self, key: Key) -> T | None:
        """Return a content, which is then the newest one of its owner; None if it is not there."""
        item = self._items.get(key)
        if item is None:
            return None
        self._items.move_to_end(key)
        return item.content

    def put(self, key: Key, owner: str, content: T, size: int) -> list[T]:
        """Store a content of ``size`` bytes; return those that had to go."""
        gone = [self._pop(key)] if key in self._items else []
        self._items[key] = _Item(owner, content, size)
        self._sizes[owner] += size
        while len(self._items) > 1 and self.size > self._limit:
            gone.append(self._pop(self._least_needed(key)))
        return gone

    def make_room(self) -> list[T]:
        """Remove the oldest content of the owner with the most bytes; return it, and nothing if there is no content."""
        return [self._pop(self._least_needed())] if self._items else []

    def _least_needed(self, kept: Key | None = None) -> Key:
        """Return the oldest content of the owner with the most bytes, except ``kept``. There must be one."""
        owners = (owner for owner, _ in self._sizes.most_common())
        return next(key for owner in owners for key, item in self._items.items() if item.owner == owner and key != kept)

    def forget(self, file_id: str) -> list[T]:
        """Remove all contents of a file; return them."""
        return [self._pop(key) for key in [key for key in self._items if key[0] == file_id]]

    def _pop(self, key: Key) -> T:
        item = self._items.pop(key)
        self._sizes[item.owner] -= item.size
        if not self._sizes[item.owner]:
            del self._sizes[item.owner]
        return item.content
