"""Checks whether the kernel reports changes of the shared folder. Without reports, the files are polled."""

import errno
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from syft_flwr.doctor.blocked import SETTINGS, SYFTBOX_FOLDER, BlockedError
from syft_flwr.doctor.findings import Finding, ok, problem, skipped, unknown
from syft_flwr.doctor.subject import Subject
from syft_flwr.transport.folder_events import file_system_of, is_shared

_LIMITS = Path("/proc/sys/fs/inotify")
#: Watched folders of an app with one peer; each further peer needs a few hundred more at most.
_NEEDED = 1_024
_RAISE = "Raise the limit: sudo sysctl fs.inotify.{}={}"


def check_events(subject: Subject) -> Iterator[Finding]:
    """Find a limit of the kernel that keeps this user from watching the shared folder."""
    if subject.known.data_dir is None:
        raise BlockedError("the shared folder is not known", SETTINGS)
    place = subject.known.data_dir / "datasites"
    if not place.is_dir():
        raise BlockedError(f"{place} does not exist", SYFTBOX_FOLDER)
    if sys.platform != "linux":
        yield skipped("this system has no limits of inotify")
        return
    kind = file_system_of(place)
    if is_shared(kind):
        yield unknown(f"{place} is on {kind}, which gives no change events; the files are polled")
        return
    limits = {name: _limit(name) for name in ("max_user_instances", "max_user_watches")}
    try:
        _watch(place)
    except OSError as error:
        # EMFILE stands for the instances of this user, ENOSPC for its watches.
        name = {errno.EMFILE: "max_user_instances", errno.ENOSPC: "max_user_watches"}.get(error.errno or 0)
        if name is None:
            raise
        yield problem(
            f"{place} cannot be watched, because the limit fs.inotify.{name} ({limits[name] or 'unknown'}) is reached; the "
            "files are polled",
            _RAISE.format(name, max(2 * (limits[name] or 0), _NEEDED)),
        )
        return
    watches = limits["max_user_watches"]
    wanted = _NEEDED * (1 + len(subject.peers))
    if watches is not None and watches < _NEEDED:
        yield problem(
            f"fs.inotify.max_user_watches is {watches}; many folders would be polled",
            _RAISE.format("max_user_watches", max(wanted, 65_536)),
        )
        return
    yield ok(f"{place} can be watched; fs.inotify.max_user_watches is {watches}")


def _watch(place: Path) -> None:
    from syft_flwr.transport.inotify import Inotify

    events = Inotify()
    try:
        events.add(str(place))
    finally:
        events.close()


def _limit(name: str) -> int | None:
    with suppress(OSError, ValueError):
        return int((_LIMITS / name).read_text())
    return None
