"""The public properties of a stream's folder: the ids of the files to come, in order.

Drive finds a file by its id at once, and by a search only sooner or later. So the ids are agreed on in advance: whoever
waits for the next file asks for one id. Google makes the ids (``files.generateIds``), and creating a file under an id twice
makes one file.

Limits: 124 bytes of UTF-8 for a key with its value, 30 public properties an app and file
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
#: Of the 30 there are, four are taken by the mark, the readers, and two positions.
_ID_KEYS = tuple(f"ids{number:02}" for number in range(26))
#: Ids that one announcement is asked to hold: three of 33 characters fit into a property.
ANNOUNCED = 3 * len(_ID_KEYS)
_ID = re.compile(r"[A-Za-z0-9_-]{10,64}")
_POSITION = re.compile(r"0|[1-9][0-9]{0,14}")


@dataclass(frozen=True, slots=True)
class Announcement:
    """Which ids the files of a stream have.

    Args:
        readers: :func:`audience_digest` of those who may read the stream.
        base: the position whose id comes first.
        next: the files before this position were all written, and may be gone again.
        ids: of ``base`` and the positions after it.
    """

    readers: str
    base: int
    next: int
    ids: tuple[str, ...]

    def encode(self) -> dict[str, str | None]:
        """Return the properties; None clears what an earlier announcement had."""
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
        """Read the properties of a peer's folder.

        Raises:
            TransportError: they are none of an announcement.
        """
        ids = list(chain.from_iterable(properties.get(key, "").split(",") for key in _ID_KEYS if properties.get(key)))
        if properties.get(MARK) != STREAM or not all(map(_ID.fullmatch, ids)):
            raise TransportError("a shared folder announces no files in the form of the protocol")
        base, following = read_positions(properties, "base", "next")
        return cls(properties.get("readers", ""), base, following, tuple(ids))

    def fitting(self) -> Self:
        """Return the same with as many of the ids as the properties have room for."""
        return replace(self, ids=self.ids[: self.fits()])

    def fits(self) -> int:
        """Return how many of the ids the properties have room for."""
        return sum(len(packed.split(",")) for packed in _pack(self.ids))


def read_positions(properties: Mapping[str, str], *keys: str) -> list[int]:
    """Read numbers of a peer's properties; TransportError if they are none."""
    texts = [properties.get(key, "") for key in keys]
    if not all(map(_POSITION.fullmatch, texts)):
        raise TransportError("a shared file does not say its position in the form of the protocol")
    return [int(text) for text in texts]


def audience_digest(readers: Collection[str]) -> str:
    """Name a set of readers, so that each knows which streams are for itself alone without being told of the others."""
    return hashlib.sha256("\n".join(sorted(readers)).encode()).hexdigest()[:32]


def search_for_streams(owners: Iterable[str]) -> str:
    """Return the query for the stream folders of these owners (``me`` is the account itself)."""
    whose = " or ".join(f"'{quote(owner)}' in owners" for owner in owners)
    marked = f"properties has {{ key='{MARK}' and value='{STREAM}' }}"
    return f"mimeType = '{FOLDER_TYPE}' and trashed = false and {marked} and ({whose})"


def search_in(folders: Sequence[str]) -> str:
    """Return the query for what lies in these folders."""
    where = " or ".join(f"'{quote(folder)}' in parents" for folder in folders)
    return f"trashed = false and ({where})"


def quote(text: str) -> str:
    """Escape a string of a query (https://developers.google.com/workspace/drive/api/guides/search-files)."""
    return text.replace("\\", "\\\\").replace("'", "\\'")


def _pack(ids: Iterable[str]) -> list[str]:
    """Put as many ids into each property as fit, and into no more properties than there are."""
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
