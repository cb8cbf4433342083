"""Finds and deletes the files that earlier runs left on this machine and in the shared storage.

It deletes only files of this participant, and keeps the files of unfinished runs. It skips an app with a running server
or client, which it recognises by the lock.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from syft_flwr._messaging.own_files import answer_objects, request_objects
from syft_flwr._store.futures import Futures
from syft_flwr._store.ledger import Ledger
from syft_flwr.errors import NotFoundError, StoreError
from syft_flwr.fl_orchestrator.control import STOP_GROUP
from syft_flwr.fl_orchestrator.participant import Participant
from syft_flwr.flower import SYSTEM_MESSAGE_TYPE
from syft_flwr.locks import ProcessLock
from syft_flwr.names import RESPONSE_SUFFIX, AppNames
from syft_flwr.runs.record import RunRecord


@dataclass(frozen=True, slots=True)
class Leftover:
    """One file or folder that is not needed any more."""

    app: str
    what: str
    name: str
    size: int
    remove: Callable[[], None]


def collect_garbage(participant: Participant, *, dry_run: bool) -> tuple[list[Leftover], list[str]]:
    """Find the leftovers of all apps of a participant; delete them unless ``dry_run`` is set.

    Returns:
        The leftovers, and a sentence for each running server or client that was skipped.

    Raises:
        TransportError: the shared storage cannot be read or written.
    """
    found: list[Leftover] = []
    busy: list[str] = []
    for home in sorted((participant.home / "apps").glob("*")):
        for lock, role, find in (
            ("server.lock", "server", _of_the_aggregator),
            ("client.lock", "client", _of_the_data_owner),
        ):
            try:
                with ProcessLock(home / lock, f"a {role} of {home.name} for {participant.email}"):
                    leftovers = list(find(participant, AppNames(home.name), home))
                    for leftover in () if dry_run else leftovers:
                        leftover.remove()
                    found += leftovers
            except StoreError as error:
                busy.append(str(error))
    return found, busy


def _of_the_aggregator(participant: Participant, names: AppNames, home: Path) -> Iterator[Leftover]:
    if not (home / "futures.db").exists():
        return
    transport = participant.transport
    futures = Futures(home / "futures.db")
    # An interrupted run may continue later and needs its files.
    kept_run = _interrupted_run(participant, names, home)
    try:
        kept = {object_id for row in futures.of_run(kept_run) for object_id in row.objects}
        for row in futures.unfinished(except_run=kept_run):
            if row.type == SYSTEM_MESSAGE_TYPE and row.group == STOP_GROUP and participant.clock.now() < row.expires:
                # A data owner that is offline reads this stop when it returns.
                continue
            name = names.request(row.recipient, participant.email, row.id)
            try:
                size = transport.stat(name).size
            except NotFoundError:
                continue
            yield Leftover(names.app, "request", name, size, partial(transport.delete, name))
    finally:
        futures.close()
    for folder in sorted((home / "journal").glob("*")):
        if folder.name != f"{kept_run:016x}":
            size = sum(path.stat().st_size for path in folder.glob("*"))
            yield Leftover(names.app, "kept answers", folder.name, size, partial(shutil.rmtree, folder))
    for entry in request_objects(transport, names, participant.email, kept=kept):
        yield Leftover(names.app, "object", entry.name, entry.size, partial(transport.delete, entry.name))


def _interrupted_run(participant: Participant, names: AppNames, home: Path) -> int:
    interrupted = RunRecord(home, names.app, "aggregator", participant.clock).interrupted()
    return interrupted.run if interrupted else 0


def _of_the_data_owner(participant: Participant, names: AppNames, home: Path) -> Iterator[Leftover]:
    if not (home / "ledger.db").exists():
        return
    transport = participant.transport
    ledger = Ledger(home / "ledger.db")
    try:
        open_rows = ledger.unfinished()
        contexts = ledger.contexts()
    finally:
        ledger.close()
    kept = {object_id for row in open_rows for object_id in row.objects}
    for entry in answer_objects(transport, names, participant.email, kept=kept):
        yield Leftover(names.app, "object", entry.name, entry.size, partial(transport.delete, entry.name))
    answers = {names.response(participant.email, row.sender, row.id) for row in open_rows}
    for entry in transport.list(names.messages(participant.email)):
        if entry.name.endswith(RESPONSE_SUFFIX) and entry.name not in answers:
            yield Leftover(names.app, "response", entry.name, entry.size, partial(transport.delete, entry.name))
    for path in sorted((home / "contexts").glob("*.state")):
        if path.name not in contexts:
            yield Leftover(
                names.app, "app state", path.name, path.stat().st_size, partial(path.unlink, missing_ok=True)
            )
