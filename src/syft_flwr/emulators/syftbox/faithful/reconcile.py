"""The decision for each file from three snapshots that are not checked again (``reconcile`` in ``sync_engine.go``)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from syft_flwr.emulators.syftbox.faithful.disk_walk import LocalFile
from syft_flwr.emulators.syftbox.faithful.object_store import StoredObject
from syft_flwr.emulators.syftbox.sync_names import is_ignored


@dataclass(slots=True)
class Plan:
    """The names of one cycle, by action."""

    uploads: list[str] = field(default_factory=list)
    downloads: list[str] = field(default_factory=list)
    remote_deletions: list[str] = field(default_factory=list)
    local_deletions: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return sum(map(len, (self.uploads, self.downloads, self.remote_deletions, self.local_deletions))) + sum(
            map(len, (self.conflicts, self.forgotten))
        )


def reconcile(
    local: Mapping[str, LocalFile],
    remote: Mapping[str, StoredObject],
    journal: Mapping[str, str],
    is_left_out: Callable[[str], bool],
) -> Plan:
    """Return the actions of one cycle.

    Args:
        local: the files on disk.
        remote: the server's view.
        journal: the etag of each file at its last synchronisation.
        is_left_out: whether the cycle must not touch a file.
    """
    plan = Plan()
    for name in sorted({*local, *remote, *journal}):
        here = local.get(name)
        if (here and not here.size) or is_ignored(name) or is_left_out(name):
            continue
        there = remote.get(name)
        actions = _actions(plan, here.etag if here else None, there.etag if there else None, journal.get(name))
        if actions is not None:
            actions.append(name)
    return plan


def _actions(plan: Plan, local: str | None, remote: str | None, known: str | None) -> list[str] | None:
    """Return the list of the plan to which a file belongs."""
    if local is None and remote is None:
        return plan.forgotten
    # A file that is on both sides without an entry is a conflict, even with equal bytes.
    changed_here = local is not None and local != known
    changed_there = remote is not None and remote != known
    if changed_here:
        return plan.conflicts if changed_there else plan.uploads
    if changed_there:
        return plan.downloads
    if local is None:
        return plan.remote_deletions
    return plan.local_deletions if remote is None else None
