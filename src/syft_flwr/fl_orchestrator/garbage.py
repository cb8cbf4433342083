"""Finds and deletes the files that earlier runs left on this machine and in the shared storage.

It deletes only files that this participant wrote, which the databases or its signature show, and keeps the files of
unfinished runs. It skips an app with a running server or client, which it recognises by the lock.
"""

import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from syft_flwr._messaging.answering import close_what_is_over, replies_that_are_over
from syft_flwr._messaging.asking import folders_of_runs, own_requests, publish_withdrawals, record_withdrawal
from syft_flwr._messaging.conflict_copies import ConflictCopies
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.links import Links
from syft_flwr._messaging.own_files import answer_objects, request_objects
from syft_flwr._store.futures import FutureRow, Futures
from syft_flwr._store.ledger import Ledger
from syft_flwr._store.states import Received
from syft_flwr.errors import StoreError
from syft_flwr.fl_orchestrator.participant import Participant
from syft_flwr.fl_orchestrator.state_files import unused_states
from syft_flwr.flower import SYSTEM_MESSAGE_TYPE
from syft_flwr.locks import ProcessLock
from syft_flwr.names import AppNames
from syft_flwr.runs.events import STOP_GROUP
from syft_flwr.runs.listing import app_homes
from syft_flwr.runs.record import runs_folder
from syft_flwr.runs.retention import expired_records


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
        The leftovers, and a sentence for all that was left alone: each running server or client that was skipped, and the
        files that an unfinished run or request needs.

    Raises:
        TransportError: the shared storage cannot be read or written.
    """
    found: list[Leftover] = []
    left: list[str] = []
    for home in filter(_is_of_an_app, app_homes(participant.home)):
        for lock, role, find in (
            ("server.lock", "server", _of_the_aggregator),
            ("client.lock", "client", _of_the_data_owner),
        ):
            try:
                with ProcessLock(home / lock, f"a {role} of {home.name} for {participant.email}"):
                    if role == "client" and not dry_run:
                        _close_requests(participant, AppNames(home.name), home)
                    leftovers = list(find(participant, AppNames(home.name), home))
                    if role == "server" and not dry_run:
                        _withdraw(participant, AppNames(home.name), home)
                    if not dry_run:
                        _delete_conflicts(participant, AppNames(home.name), home)
                    for leftover in () if dry_run else leftovers:
                        leftover.remove()
                    found += leftovers
                    left += _needed(participant, home, role)
            except StoreError as error:
                left.append(str(error))
        old = list(_old_records(participant, home))
        for leftover in () if dry_run else old:
            leftover.remove()
        found += old
    return found, left


def _needed(participant: Participant, home: Path, role: str) -> Iterator[str]:
    """Yield a sentence for the files of this app that are kept on purpose, with the way to end that."""
    if role == "server" and (home / "futures.db").exists():
        with closing(Futures(home / "futures.db")) as futures:
            if run := _interrupted_run(participant, futures):
                yield (
                    f"the files of the interrupted run {run} of {home.name} are kept. To finish it, start its server again: "
                    "syft-flwr server PROJECT. To give it up, start a new run, which deletes them: syft-flwr server PROJECT "
                    "--fresh"
                )
    elif role == "client" and (home / "ledger.db").exists():
        with closing(Ledger(home / "ledger.db")) as ledger:
            senders = sorted({row.sender for row in ledger.unfinished()})
        if senders:
            yield (
                f"the files of open requests of {', '.join(senders)} in {home.name} are kept until their run ends, at most 31 "
                "days. To send the replies that are due, start the client again: syft-flwr client PROJECT"
            )


def _is_of_an_app(home: Path) -> bool:
    """Return whether this program made a folder. The files behind a link may belong to another home."""
    databases = (home / "futures.db", home / "ledger.db")
    return not home.is_symlink() and any(path.is_file() for path in databases)


def _of_the_aggregator(participant: Participant, names: AppNames, home: Path) -> Iterator[Leftover]:
    if not (home / "futures.db").exists():
        return
    transport = participant.transport
    with closing(Futures(home / "futures.db")) as futures, participant.open_trust() as trust:
        endpoint = participant.endpoint(names.app, trust)
        # An interrupted run may continue later and needs its files.
        kept_run = _interrupted_run(participant, futures)
        kept = {object_id for row in futures.of_run(kept_run) for object_id in row.objects}
        yield from _requests_that_are_over(participant, endpoint, futures, kept_run)
        orphans = request_objects(transport, names, participant.email, kept=kept)
        for entry in endpoint.ownership.of_runs(orphans, futures.recorded_runs):
            yield Leftover(names.app, "object", entry.name, entry.size, partial(transport.delete, entry.name))
    for folder in folders_of_runs(home / "journal"):
        if folder.name != f"{kept_run:016x}":
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            yield Leftover(names.app, "kept answers", folder.name, size, partial(shutil.rmtree, folder))
    yield from _second_names(participant, names, answering=False, kept=kept, runs=[kept_run])


def _requests_that_are_over(
    participant: Participant, endpoint: Endpoint, futures: Futures, kept_run: int
) -> Iterator[Leftover]:
    """Yield the requests for which no process will wait again."""
    transport = participant.transport
    abandoned = {row.id for row in _abandoned(participant, futures, kept_run)}
    for recipient in sorted({*futures.recipients(), *participant.settings.datasites}):
        found = own_requests(endpoint, futures, recipient)
        # A sync service brings a collected one back. A lost database leaves one that it does not know.
        over = abandoned | futures.collected_among(tuple(found))
        over |= found.keys() - futures.known_among(found, recipient)
        for entry in [found[message_id] for message_id in sorted(over & found.keys())]:
            name = entry.name
            yield Leftover(endpoint.names.app, "request", name, entry.size, partial(transport.delete, name))


def _delete_conflicts(participant: Participant, names: AppNames, home: Path) -> None:
    """Delete the copies of the sync service in the folders of this participant and of its peers."""
    me, transport = participant.email, participant.transport
    peers: set[str] = set()
    if (home / "futures.db").exists():
        with closing(Futures(home / "futures.db")) as futures:
            peers.update(futures.recipients())
    if (home / "ledger.db").exists():
        with closing(Ledger(home / "ledger.db")) as ledger:
            peers.update(ledger.senders())
    everyone = sorted({me, *peers})
    inboxes = [
        folder for peer in sorted(peers) for folder in (names.messages_of(me, peer), names.messages_of(peer, me))
    ]
    small, large = [*map(names.status, everyone), *inboxes], [*map(names.objects, everyone)]
    ConflictCopies(transport, participant.clock, small, large).delete_all()


def _second_names(
    participant: Participant, names: AppNames, *, answering: bool, kept: Collection[str], runs: Collection[int]
) -> Iterator[Leftover]:
    transport = participant.transport
    links = Links(transport, names, participant.email, transport.properties.links, participant.clock)
    for name, size in links.leftovers(answering=answering, kept=kept, runs=runs):
        yield Leftover(names.app, "second name of an object", name, size, partial(links.remove, name))


def _abandoned(participant: Participant, futures: Futures, kept_run: int) -> list[FutureRow]:
    """Return the requests for which no process will wait again."""
    now = participant.clock.now()
    return [
        row
        for row in futures.unfinished(except_run=kept_run)
        # A data owner that is offline reads a stop when it returns.
        if row.type != SYSTEM_MESSAGE_TYPE or row.group != STOP_GROUP or now >= row.expires
    ]


def _withdraw(participant: Participant, names: AppNames, home: Path) -> None:
    """State which requests are withdrawn, where the deletion of their files is no statement."""
    if not participant.transport.properties.files_vanish or not (home / "futures.db").exists():
        return
    with closing(Futures(home / "futures.db")) as futures, participant.open_trust() as trust:
        rows = _abandoned(participant, futures, _interrupted_run(participant, futures))
        record_withdrawal(futures, [row.id for row in rows], "the aggregator ended before it was answered")
        publish_withdrawals(participant.endpoint(names.app, trust), futures)


def _close_requests(participant: Participant, names: AppNames, home: Path) -> None:
    """Close the requests that have ended since the last client of this app ended."""
    if not participant.transport.properties.files_vanish or not (home / "ledger.db").exists():
        return
    with closing(Ledger(home / "ledger.db")) as ledger, participant.open_trust() as trust:
        close_what_is_over(participant.endpoint(names.app, trust), ledger)


def _old_records(participant: Participant, home: Path) -> Iterator[Leftover]:
    for path, size in expired_records(runs_folder(home), participant.clock.now()):
        yield Leftover(home.name, "record", path.name, size, partial(path.unlink, missing_ok=True))


def _interrupted_run(participant: Participant, futures: Futures) -> int:
    interrupted = futures.interrupted_run(participant.clock.now())
    return interrupted.run if interrupted else 0


def _of_the_data_owner(participant: Participant, names: AppNames, home: Path) -> Iterator[Leftover]:
    if not (home / "ledger.db").exists():
        return
    transport, settings = participant.transport, participant.settings
    with closing(Ledger(home / "ledger.db")) as ledger, participant.open_trust() as trust:
        endpoint = participant.endpoint(names.app, trust)
        open_rows = ledger.unfinished()
        contexts = ledger.contexts()
        aggregators = {*ledger.senders(), *([settings.aggregator] if settings.aggregator else [])}
        over = list(replies_that_are_over(endpoint, ledger, sorted(aggregators)))
        kept = {object_id for row in open_rows for object_id in row.objects}
        orphans = answer_objects(transport, names, participant.email, kept=kept)
        over = [*endpoint.ownership.of_runs(orphans, ledger.recorded_runs), *over]
    for entry in over:
        what = "response" if names.parse_response(participant.email, entry.name) else "object"
        yield Leftover(names.app, what, entry.name, entry.size, partial(transport.delete, entry.name))
    # The objects of a request are needed until it has a reply.
    runs = {row.run for row in open_rows if row.state in (Received.RECEIVED, Received.RUNNING)}
    yield from _second_names(participant, names, answering=True, kept=kept, runs=runs)
    for path in unused_states(home / "contexts", contexts):
        yield Leftover(names.app, "app state", path.name, path.stat().st_size, partial(path.unlink, missing_ok=True))
