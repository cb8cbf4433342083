"""Searches Drive for several owners with one call. Each owner has a budget, so a flood of one hides no file of another.

Drive returns the hits of all owners in one list, in an unknown order. If one owner has more hits than its share, the list
is given up, and the search is repeated without this owner, which is then searched alone. Later searches are apart at once.
So each owner that floods its folders costs at most two calls more, and then one.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from itertools import islice

from syft_flwr.log import logger
from syft_flwr.transport._gdrive.api.drive_client import DriveClient
from syft_flwr.transport._gdrive.api.drive_file import DriveFile

_AT_ONCE = 50
#: The most hits of an own search: all folders and files of this participant count.
_OWN = 10_000


class SharedSearch:
    """One kind of search. Used by one thread at a time.

    Args:
        drive: the account of this participant.
        me: the email of the account.
        share: the most hits of one owner in a search for several.
        most: the most hits of one owner that is searched alone.
    """

    def __init__(self, drive: DriveClient, me: str, *, share: int, most: int) -> None:
        self._drive = drive
        self._me = me
        self._share = share
        self._most = most
        self._told: set[str] = set()
        #: The owners with more hits than their share. Each is searched alone.
        self.crowded: set[str] = set()

    def run(
        self,
        owners: Collection[str],
        query: Callable[[Collection[str]], str],
        owner_of: Callable[[DriveFile], str | None],
    ) -> Iterator[DriveFile]:
        """Iterate over the hits of these owners.

        Args:
            query: returns the query for some of the owners.
            owner_of: returns the owner to whom a hit counts; None for a hit that is ignored.

        Raises:
            TransportError: a call failed.
        """
        together = [owner for owner in owners if owner not in self.crowded]
        for start in range(0, len(together), _AT_ONCE):
            group = together[start : start + _AT_ONCE]
            while group:
                found = self._search(group, query(group), owner_of)
                if isinstance(found, str):
                    self.crowded.add(found)
                    group.remove(found)
                else:
                    yield from found
                    break
        for owner in [owner for owner in owners if owner in self.crowded]:
            yield from self._search_alone(owner, query([owner]), owner_of)

    def _search(
        self, group: Collection[str], query: str, owner_of: Callable[[DriveFile], str | None]
    ) -> list[DriveFile] | str:
        """Return the hits of some owners, or the first owner with more than its share."""
        counts: Counter[str] = Counter()
        found: list[DriveFile] = []
        for file in self._drive.search(query, max_files=(self._share + 1) * len(group)):
            owner = owner_of(file)
            if owner is None or owner not in group:
                continue
            counts[owner] += 1
            if counts[owner] > self._share:
                return owner
            found.append(file)
        return found

    def _search_alone(self, owner: str, query: str, owner_of: Callable[[DriveFile], str | None]) -> Iterator[DriveFile]:
        most = _OWN if owner == self._me else self._most
        hits = self._drive.search(query, max_files=most + 1)
        yield from (file for file in islice(hits, most) if owner_of(file) == owner)
        if next(hits, None) and owner not in self._told:
            self._told.add(owner)
            text = "Drive: {} has more than {} folders or files for this participant, and the rest is ignored. Ask {} to run `syft-flwr gc`"
            logger.warning(text, owner, most, owner)
