"""Lists the complete files of the synced folders. Foreign, temporary and empty files and symbolic links are left out.

A peer decides how many of those are in its folders, so a listing that meets very many of them ends. Several participants
can have folders below the listed one, such as the senders in an inbox. Each folder has its turn, so that the first files
of a listing are not all from the fullest folder.
"""

import os
import stat as stat_module
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from syft_flwr.errors import NotFoundError
from syft_flwr.log import logger
from syft_flwr.names import is_valid_name
from syft_flwr.transport._disk import open_folder
from syft_flwr.transport._syftbox.permissions import PERMISSIONS
from syft_flwr.transport.base import Entry

_MAX_DEPTH = 16
#: The most entries of one turn of a folder.
_TURN = 100
#: The most waiting folders at which a folder ends its turn before its end.
_MOST_IN_TURN = 64
#: Folders, and entries that are left out, after which a listing ends. An app needs some hundreds of folders.
_MOST_OTHERS = 20_000


def list_files(root: Path, folders: Sequence[str]) -> Iterator[Entry]:
    """Yield the files in a folder below ``root``, and in its subfolders."""
    start = tuple(folders)
    waiting = deque([(start, _entries(root, start))])
    others = 0
    while waiting:
        folder, entries = waiting.popleft()
        # Each unfinished folder needs a descriptor, so only a few end their turn early.
        left = _TURN if len(waiting) < _MOST_IN_TURN else -1
        for found in entries:
            left -= 1
            if isinstance(found, Entry):
                yield found
            else:
                others += 1
                if others > _MOST_OTHERS:
                    logger.debug("the listing of {} ends: it has too many folders and foreign files", "/".join(folders))
                    return
                if found and len(folder) - len(start) < _MAX_DEPTH:
                    inner = (*folder, found)
                    waiting.append((inner, _entries(root, inner)))
            if not left:
                waiting.append((folder, entries))
                break


def _entries(root: Path, folders: Sequence[str]) -> Iterator[Entry | str]:
    """Yield the files in one folder, the names of its subfolders, and an empty name for each entry that is left out."""
    try:
        with open_folder(root, folders) as folder, os.scandir(folder) as found:
            for item in found:
                name = "/".join((*folders, item.name))
                try:
                    status = item.stat(follow_symlinks=False)
                except FileNotFoundError:
                    # Deleted since the folder was read; continue with the other files.
                    continue
                if stat_module.S_ISDIR(status.st_mode):
                    yield item.name
                elif _is_complete(status) and item.name != PERMISSIONS and is_valid_name(name):
                    yield Entry(name, status.st_size)
                else:
                    yield ""
    except NotFoundError:
        # The folder does not exist yet, or its owner deleted it during this call.
        return


def _is_complete(status: os.stat_result) -> bool:
    return stat_module.S_ISREG(status.st_mode) and status.st_size > 0
