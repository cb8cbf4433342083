"""The files with the states of an app, one for each state: their names, and those that no run needs."""

import re
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path

_NAME = re.compile(r"[0-9a-f]{16}-[0-9a-f]{32}-[0-9a-f]{8}\.state")


def new_state_name(run: int, message_id: str) -> str:
    """Return the name of a new file, for the state after a message."""
    return f"{run:016x}-{message_id}-{uuid.uuid4().hex[:8]}.state"


def is_state_after(name: str, run: int, message_id: str) -> bool:
    """Return whether a file with this name has a state after this message."""
    return _NAME.fullmatch(name) is not None and name.startswith(f"{run:016x}-{message_id}-")


def unused_states(folder: Path, used: Collection[str]) -> Iterator[Path]:
    """Yield the files of states that are not in ``used``. Links, their files and other files are not ours."""
    for path in sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else ():
        if _NAME.fullmatch(path.name) and path.name not in used and path.is_file() and not path.is_symlink():
            yield path
