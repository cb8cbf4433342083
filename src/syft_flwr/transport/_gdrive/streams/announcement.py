"""The announcement of a stream: the public properties of its folder, with the ids of its next files in order.

Drive finds a file by its id at once, but a search can find it minutes later. So the writer announces the ids in advance,
and a reader that waits for the next file asks for one id. Google generates the ids (``files.generateIds``). Creating a
file under the same id twice makes only one file.

Drive's limits: 124 bytes of UTF-8 for a key with its value, 30 public properties for each app and file
(https://developers.google.com/workspace/drive/api/guides/properties).
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Self

from syft_flwr.errors import TransportError

MARK = "syft-flwr"
STREAM = "stream 1"
FILE = "file 1"
FOLDER_TYPE = "application/vnd.google-apps.folder"

_MAX_PROPERTY = 124
#: 26 of the 30 properties: the mark, the readers and two positions use the other four.
_ID_KEYS = tuple(f"ids{number:02}" for number in range(26))
#: Ids in one announcement: a property has room for three ids of 33 characters.
ANNOUNCED = 3 * len(_ID_KEYS)
_ID = re.compile(r"[A-Za-z0-9_-]{10,64}")
_POSITION = re.compile(r"0|[1-9][0-9]{0,14}")


@dataclass(frozen=True, slots=True)
class Announcement:
    """The announced ids of the files in a stream.

    Args:
        readers: :func:`audience_digest` of the participants that may read the stream.
        base: the position of the first id.
        next: all files before this position were written, and can be deleted again.
        ids: the ids of the positions from ``base`` on, in order.
    """

    readers: str
    base: int
    next: int
    ids: tuple[str, ...]

    def encode(self) -> dict[str, str | None]:
        """Return the properties to set; a value of None removes a property of an earlier announcement."""
        packed = dict(zip(_ID_KEYS, _pack(self.ids), strict=False))
        unused = dict.fromkeys(_ID_KEYS[len(packed) :])
        return {
            MARK: STREAM,
            "readers": self.readers,
            "base": str(self.base),
            "next": str(self.next),
            **packed,
            **unused,
        }

    @classmethod
    def decode(cls, properties: Mapping[str, str]) -> Self:
        """Return the announcement in the properties of a folder.

        Raises:
            TransportError: the properties are not a valid announcement.
        """
        ids = list(chain.from_iterable(properties.get(key, "").split(",") for key in _ID_KEYS if properties.get(key)))
        if properties.get(MARK) != STREAM or not all(map(_ID.fullmatch, ids)):
            raise TransportError("the properties of the folder are not a valid announcement of files")
        base, following = read_positions(properties, "base", "next")
        return cls(properties.get("readers", ""), base, following, tuple(ids))

    def fitting(self) -> Self:
        """Return this announcement, with only as many ids as fit into the properties."""
        return replace(self, ids=self.ids[: self.fits()])

    def fits(self) -> int:
        """Return how many of the ids fit into the properties."""
        return sum(len(packed.split(",")) for packed in _pack(self.ids))


def read_positions(properties: Mapping[str, str], *keys: str) -> list[int]:
    """Return the positions under these keys of a file's properties.

    Raises:
        TransportError: a value is missing or is not a position.
    """
    texts = [properties.get(key, "") for key in keys]
    if not all(map(_POSITION.fullmatch, texts)):
        raise TransportError("the properties of the file have no valid position")
    return [int(text) for text in texts]


def audience_digest(readers: Collection[str]) -> str:
    """Return a digest of a set of readers.

    A reader uses it to recognise streams for itself alone. The digest does not show it the other readers.
    """
    return hashlib.sha256("\n".join(sorted(readers)).encode()).hexdigest()[:32]


def search_for_streams(owners: Iterable[str]) -> str:
    """Return the query for the stream folders of these owners; ``me`` stands for the account itself."""
    whose = " or ".join(f"'{quote(owner)}' in owners" for owner in owners)
    marked = f"properties has {{ key='{MARK}' and value='{STREAM}' }}"
    return f"mimeType = '{FOLDER_TYPE}' and trashed = false and {marked} and ({whose})"


def search_in(folders: Sequence[str]) -> str:
    """Return the query for the files in these folders."""
    where = " or ".join(f"'{quote(folder)}' in parents" for folder in folders)
    return f"trashed = false and ({where})"


def quote(text: str) -> str:
    """Return a string escaped for a query (https://developers.google.com/workspace/drive/api/guides/search-files)."""
    return text.replace("\\", "\\\\").replace("'", "\\'")


def _pack(ids: Iterable[str]) -> list[str]:
    """Return the values of the id properties, with as many ids in each as fit. The rest of the ids is left out."""
    packed = [""]
    room = _MAX_PROPERTY - len(_ID_KEYS[0])
    for file_id in ids:
        joined = f"{packed[-1]},{file_id}" if packed[-1] else file_id
        if len(joined) <= room:
            packed[-1] = joined
        elif len(packed) < len(_ID_KEYS):
            packed.append(file_id)
        else:
            break
    return packed if packed[0] else []
