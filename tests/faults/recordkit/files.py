"""Faults of the storage and of the databases: files that vanish or come back, a broken drive, databases that fail."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faultkit.federation import AGGREGATOR, answer_of, reason_of
from recordkit.examining import ALL_WELL, WELL, Found
from recordkit.expected import (
    ASKED,
    BEGUN,
    OWNER,
    REPLIED,
    SERVED,
    N,
    answered,
    closed,
    ended,
    failed,
    received,
    released,
    sent,
    started,
    warned,
)
from recordkit.scene import Fault, Scene
from recordkit.status import ASKING, NO_RECORD, NORMAL, REPLYING, Shows, shows
from waiting import eventually

from syft_flwr._store import database
from syft_flwr.emulators.gdrive import Fault as DriveFault
from syft_flwr.errors import StoreError
from syft_flwr.private_files import make_private_folder

_FILES = ["faults/test_vanishing_files.py"]
_DRIVE = ["faults/test_drive_rounds.py", "faults/test_drive_calls.py"]


@contextlib.contextmanager
def impatient() -> Iterator[None]:
    """Let the databases that are opened in this context wait only for a moment for a lock."""
    patience, database._BUSY_SECONDS = database._BUSY_SECONDS, 0.05
    try:
        yield
    finally:
        database._BUSY_SECONDS = patience


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a database, as another process does."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield


def vanished_request(scene: Scene) -> None:
    """Delete a request before its data owner starts, and leave a conflict copy. The aggregator writes it again."""
    scene.federation.introduce()
    scene.federation.begin_run()
    message_id = scene.push()
    name = scene.federation.request_name(OWNER, message_id)
    path = scene.storage.path(name)
    path.rename(path.with_name(f"{message_id}.conflict.request"))
    eventually(lambda: scene.storage.read(name), "the request again")
    scene.owner.start()
    assert answer_of(scene.pull(message_id))


def vanished_reply(scene: Scene) -> None:
    """Delete a reply before the aggregator sees it. The data owner writes it again, and it is one reply."""
    scene.federation.start()
    scene.federation.spy.hidden = (".response",)
    message_id = scene.push()
    name = scene.federation.response_name(OWNER, message_id)
    eventually(lambda: scene.storage.read(name), "the reply")
    scene.storage.take(name)
    eventually(lambda: scene.storage.read(name), "the reply again")
    scene.federation.spy.hidden = ()
    assert answer_of(scene.pull(message_id))


def overwritten_reply(scene: Scene) -> None:
    """Overwrite a reply before the aggregator sees it."""
    scene.federation.start()
    scene.federation.spy.hidden = (".response",)
    message_id = scene.push()
    name = scene.federation.response_name(OWNER, message_id)
    true = eventually(lambda: scene.storage.read(name), "the reply")
    scene.storage.plant(name, true[:-1] + b"?")
    scene.wait_for_log("it is written again")
    scene.federation.spy.hidden = ()
    assert answer_of(scene.pull(message_id))


def closed_request_returns(scene: Scene) -> None:
    """Bring a request back after its end, as SyftBox does. It is deleted, and is no new request."""
    scene.federation.start()
    message_id = scene.push()
    name, response = scene.federation.request_name(OWNER, message_id), scene.federation.response_name(OWNER, message_id)
    data = scene.storage.read(name)
    assert answer_of(scene.pull(message_id))
    eventually(lambda: not scene.storage.read(response), "the end of the reply")
    scene.storage.plant(name, data)
    eventually(lambda: not scene.storage.read(name), "the deletion of the request")
    scene.owner.spy.wait_for_scans()


def vanished_objects(scene: Scene) -> None:
    """Delete the objects of a request before its data owner starts. The aggregator writes them again."""
    scene.federation.introduce()
    scene.federation.begin_run()
    message_id = scene.push("answer", model=large())
    names = [name for name in scene.storage.names() if name.endswith(".blob")]
    for name in names:
        scene.storage.take(name)
    eventually(lambda: all(scene.storage.read(name) for name in names), "the objects again")
    scene.owner.start()
    assert answer_of(scene.pull(message_id))


def large() -> object:
    import numpy as np
    from flwr.app import Array, ArrayRecord

    return ArrayRecord({"weights": Array(np.zeros(1_000_000))})


def full_drive(scene: Scene) -> None:
    """Fill the storage of the aggregator, so that one request cannot be written."""
    scene.federation.start()
    scene.federation.assert_served()
    scene.storage.emulator.set_storage(AGGREGATOR, 0)
    scene.examine()
    assert reason_of(scene.ask(timeout=20))
    scene.storage.emulator.set_storage(AGGREGATOR, None)


def unsteady_drive(scene: Scene) -> None:
    """Let one call in ten fail: it is refused, cut, or its response is lost. Each message still gets its reply."""
    scene.federation.start()
    scene.federation.assert_served()
    for kind in ("rate_limit", "unauthorized", "close_after_reading", "reset", "lose_reply", "truncate", "short_page"):
        scene.storage.emulator.inject(DriveFault(kind, times=None, probability=0.02))
    for _ in range(2):
        scene.federation.assert_served()
    scene.storage.emulator.heal()


# Databases


def locked_ledger(scene: Scene) -> None:
    """Lock the ledger while the app works, so that its reply is kept and recorded later."""
    with impatient():
        scene.federation.start()
    message_id = scene.push_to_the_gate()
    with locked(scene.home_of(OWNER) / "ledger.db"):
        scene.owner.journal.open_gate()
        scene.wait_for_log("cannot be recorded now")
        scene.examine()
    assert answer_of(scene.pull(message_id))


def locked_futures(scene: Scene) -> None:
    """Lock the database of the aggregator when a reply arrives."""
    with impatient():
        scene.federation.start()
    message_id = scene.push_to_the_gate()
    with locked(scene.home_of(AGGREGATOR) / "futures.db"):
        scene.owner.journal.open_gate()
        eventually(lambda: scene.storage.read(scene.federation.response_name(OWNER, message_id)), "the reply")
        # The aggregator reads the reply, and cannot record it.
        scene.wait_for_log("database is locked")
        with pytest.raises(StoreError, match="database is locked"):
            scene.push()
        scene.examine()
    assert answer_of(scene.pull(message_id))


def damaged_databases(scene: Scene) -> None:
    """Damage both databases, so that neither side starts: there is no run, and no record of one."""
    paths = [scene.home_of(OWNER) / "ledger.db", scene.home_of(AGGREGATOR) / "futures.db"]
    for path in paths:
        make_private_folder(path.parent)
        path.write_bytes(b"this is no database" * 100)
    scene.owner.start()
    with pytest.raises(StoreError, match=r"ledger\.db cannot be used"):
        scene.owner.join()
    with pytest.raises(StoreError, match=r"futures\.db cannot be used"):
        scene.federation.begin_run()
    scene.examine()
    for path in paths:
        path.unlink()


def _vanished(
    name: str,
    inject: Callable[[Scene], None],
    *covers: str,
    over: str = "folder",
    status: tuple[Shows, Shows] = NORMAL,
) -> Fault:
    """Return the row of a loss that the transport repairs: both records are as if nothing had happened."""
    return Fault(
        name, inject, ASKED, REPLIED, covers or tuple(_FILES), over=over, still=False, status=status, doctor=ALL_WELL
    )


FAULTS = [
    _vanished("a request vanishes", vanished_request),
    _vanished("a reply vanishes", vanished_reply),
    Fault(
        "a reply is overwritten",
        overwritten_reply,
        ASKED,
        (SERVED, received(), released(), warned("it is written again"), closed(), ended()),
        ["faults/test_hostile_responses.py", *_FILES],
        status=(ASKING, shows("query runs", "1 warning, the latest", after=(": completed", "| 1 of 1 | 0 |"))),
        doctor=ALL_WELL,
    ),
    _vanished("a closed request returns", closed_request_returns, *_FILES),
    _vanished("the objects of a request vanish", vanished_objects, "faults/test_vanishing_objects.py"),
    Fault(
        "the drive of the aggregator is full",
        full_drive,
        (
            BEGUN,
            sent(N),
            answered(N),
            sent(),
            warned("storage is full", "error"),
            failed("storage-full", "full"),
            ended(),
        ),
        (SERVED, received(N), released(N), ended()),
        _DRIVE,
        over="drive",
        still=False,
        status=(
            shows(
                "query request sent",
                ("| 1 of 2 | 1: storage-full |", "storage-full: Google Drive:"),
                after=(
                    ": completed",
                    "| 1 of 2 | 1: storage-full |",
                    "storage-full: Google Drive:",
                    "the account's storage is full",
                ),
            ),
            REPLYING,
        ),
        doctor=([Found("drive-space", f"0.0 MB are free in the account of {AGGREGATOR}")], WELL),
    ),
    _vanished(
        "calls of the drive fail",
        unsteady_drive,
        *_DRIVE,
        "faults/test_drive_peers.py",
        "faults/test_drive_meddling.py",
        over="drive",
        status=(shows("| 1 of 1 | 0", after=(": completed", "| 3 of 3 | 0")),) * 2,
    ),
    Fault(
        "the ledger is locked",
        locked_ledger,
        ASKED,
        (
            SERVED,
            received(),
            started(),
            warned("cannot be recorded now", "error"),
            released(),
            closed(),
            ended(),
        ),
        ["faults/test_broken_state.py", "faults/test_failing_database.py", "faults/test_kept_reply.py"],
        status=(
            ASKING,
            shows(
                "query runs",
                ("the latest", "cannot be recorded now"),
                "idle | 1 of 1 | 0",
                after=(": completed", "| 1 of 1 | 0 |"),
            ),
        ),
        doctor=(WELL, [Found("databases", "ledger.db is locked: process ")]),
    ),
    Fault(
        "the database of the aggregator is locked",
        locked_futures,
        (BEGUN, sent(), warned("database is locked"), answered(), ended()),
        (SERVED, received(), started(), released(), closed(), ended()),
        ["faults/test_broken_state.py", "faults/test_failing_database.py"],
        status=(
            shows(("the latest", "database is locked"), "| 1 of 1 | 0", after=(": completed", "| 1 of 2 | 0 |")),
            REPLYING,
        ),
        doctor=([Found("databases", "futures.db is locked: process ")], WELL),
    ),
    Fault(
        "the databases are damaged",
        damaged_databases,
        (),
        (),
        ["faults/test_broken_state.py"],
        ends=("", ""),
        status=(NO_RECORD, NO_RECORD),
        doctor=(
            [
                Found("databases", "futures.db cannot be used"),
                Found("peers-running", f"no file of {OWNER} has arrived here"),
            ],
            [
                Found("databases", "ledger.db cannot be used"),
                Found("peers-running", f"no file of {AGGREGATOR} has arrived here"),
            ],
        ),
    ),
]
