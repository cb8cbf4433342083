"""Checks that a run over emulated SyftBox folders leaves no file of a message.

SyftBox can bring back a file, or rename one to a conflict copy, after the process that would delete it has ended. The next
start of a participant deletes such files, and so does ``syft-flwr gc``. So the check has two parts: before ``gc``, only files
that the traffic explains may be left, and after it none.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from syft_flwr.config import load_settings
from syft_flwr.emulators.syftbox import SyftBoxNetwork, SyncOutcome
from syft_flwr.emulators.syftbox.sync_names import Marker, is_permissions, unmarked
from syft_flwr.fl_orchestrator.garbage import collect_garbage
from syft_flwr.fl_orchestrator.participant import Participant, open_participant
from syft_flwr.names import REQUEST_SUFFIX, writer_of

#: Folders of an app with the files of its messages.
_MESSAGE_FOLDERS = {"messages", "objects"}
_PATIENCE = 60.0


def assert_nothing_left(network: SyftBoxNetwork, participants: Iterable[Participant], *, unanswered: int = 1) -> None:
    """Check the files before and after ``syft-flwr gc`` of each participant, when the clients have done all they had begun.

    Args:
        network: the network of the participants, in faithful mode.
        participants: those whose processes have ended, the aggregator first.
        unanswered: the most messages of each data owner that may be open at its end: the last ones that it got.
    """
    network.settle(_PATIENCE)
    assert unexplained(network, unanswered=unanswered) == []
    for participant in participants:
        _, busy = collect_garbage(participant, dry_run=False)
        assert busy == []
        network.settle(_PATIENCE)
    assert left_over(network) == []


def unexplained(network: SyftBoxNetwork, *, unanswered: int = 1) -> list[tuple[str, str]]:
    """Return the left files that SyftBox has not made, except for those of the last messages."""
    last = _last_messages(network, unanswered)
    return [
        (email, name)
        for email, name in left_over(network)
        if not _is_made(network, email, name) and _id(name) not in last
    ]


@contextmanager
def open_participants(environments: Iterable[Mapping[str, str]], peers: Iterable[str]) -> Iterator[list[Participant]]:
    """Open the participants of ended processes, which had these environments."""
    with ExitStack() as stack:
        opened = [open_participant(load_settings(environ=environ), peers=peers) for environ in environments]
        for participant in opened:
            stack.callback(participant.transport.close)
        yield opened


def left_over(network: SyftBoxNetwork) -> list[tuple[str, str]]:
    """Return the files of messages on all machines, copies and temporary files included: the participant and the name."""
    return [(email, name) for email, home in network.participants.items() for name in message_files(home.datasites)]


def message_files(root: Path) -> list[str]:
    """Return the files of messages below a folder of datasites."""
    paths = files_below(root)
    return [path for path in paths if not is_permissions(path) and _MESSAGE_FOLDERS & set(Path(path).parts)]


def files_below(root: Path) -> list[str]:
    """Return the paths of the files below a folder, relative to it, without the empty files that keep a folder."""
    # Not rglob, which fails when another program deletes a folder during the call.
    found = [Path(folder, name) for folder, _, names in os.walk(root) for name in names if name != ".syftkeep"]
    return sorted(str(path.relative_to(root)) for path in found)


def _is_made(network: SyftBoxNetwork, email: str, name: str) -> bool:
    """Return whether the client of ``email`` made this copy, or the writer of this file got it from SyftBox."""
    original, marker = unmarked(name)
    if marker is Marker.CONFLICT:
        return bool(network.traffic.records(original, outcome=SyncOutcome.CONFLICT, sender=email))
    if marker is Marker.REJECTED and writer_of(original) != email:
        return bool(network.traffic.records(original, outcome=SyncOutcome.REFUSED, sender=email))
    return bool(network.traffic.records(name, recipient=writer_of(name)))


def _last_messages(network: SyftBoxNetwork, number: int) -> set[str]:
    """Return the ids of the last messages of each data owner, in the order of their first records."""
    records = network.traffic.records(f"*/messages/*{REQUEST_SUFFIX}", outcome=None)
    names = dict.fromkeys(record.name for record in records)
    chosen: dict[str, list[str]] = {}
    for name in names:
        chosen.setdefault(name.partition("/")[0], []).append(_id(name))
    return {message_id for ids in chosen.values() for message_id in ids[len(ids) - number :]}


def _id(name: str) -> str:
    return name.rpartition("/")[2].partition(".")[0]
