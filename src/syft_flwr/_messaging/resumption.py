"""What an earlier process of the same run asked, to be matched with what the ServerApp asks when it is run again.

Two requests are the same if they have the same addressee, type, group and content; of several that are the same, the
first is matched first. A request that is not matched is a new one.
"""

import threading
from collections import deque
from collections.abc import Iterable, Iterator

from syft_flwr._store.futures import FutureRow

#: Addressee, type, group, and the digest of the content.
Key = tuple[str, str, str, str]


class Resumption:
    """The requests of one run that are on record and not yet matched. Thread-safe."""

    def __init__(self, rows: Iterable[FutureRow] = ()) -> None:
        self._lock = threading.Lock()
        self._rows: dict[Key, deque[FutureRow]] = {}
        for row in rows:
            self._rows.setdefault((row.recipient, row.type, row.group, row.content), deque()).append(row)

    def __bool__(self) -> bool:
        with self._lock:
            return bool(self._rows)

    def take(self, key: Key) -> FutureRow | None:
        """Return the first request of this key that is not matched yet, and count it as matched."""
        with self._lock:
            rows = self._rows.get(key)
            if not rows:
                return None
            row = rows.popleft()
            if not rows:
                del self._rows[key]
            return row

    def give_back(self, row: FutureRow) -> None:
        """Count a request as not matched after all; it is not offered again, and withdrawn with the rest."""
        with self._lock:
            self._rows.setdefault((row.recipient, "", "", row.id), deque()).append(row)

    def rest(self, recipient: str | None = None) -> list[FutureRow]:
        """Return the requests that are not matched, to one addressee or to all."""
        with self._lock:
            return list(self._all(recipient))

    def drop(self, rows: Iterable[FutureRow]) -> None:
        """Forget requests: they are withdrawn."""
        ids = {row.id for row in rows}
        with self._lock:
            for key, kept in list(self._rows.items()):
                self._rows[key] = deque(row for row in kept if row.id not in ids)
                if not self._rows[key]:
                    del self._rows[key]

    def _all(self, recipient: str | None) -> Iterator[FutureRow]:
        for rows in self._rows.values():
            yield from (row for row in rows if recipient in (None, row.recipient))
