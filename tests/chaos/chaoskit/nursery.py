"""Starts participants quickly, as forks of one process that has imported all modules already.

    python -m chaoskit.nursery

The program reads one line for each participant from its standard input, and writes the process id of each. A line is one of

- ``FOLDER DATASITES ROUNDS server CRASH_POINT``
- ``FOLDER DATASITES ROUNDS owner EMAIL WHERE CRASH_POINT``

``WHERE`` is ``worker`` or ``inside``, the place where the app runs. ``CRASH_POINT`` is a point of :mod:`chaoskit.points`, or
``-`` for none. When a participant ends, the program writes its exit status to ``FOLDER/PID.exit``.
"""

import contextlib
import os
import signal
import sys
import threading
import traceback
from contextlib import closing
from pathlib import Path

from chaoskit import app, points
from flwr.app import Context, RecordDict
from loguru import logger

from syft_flwr.config import load_settings
from syft_flwr.fl_orchestrator.flower_client import syftbox_flwr_client
from syft_flwr.fl_orchestrator.flower_server import syftbox_flwr_server
from syft_flwr.fl_orchestrator.participant import Participant
from syft_flwr.shutdown import ending_quietly
from syft_flwr.transport import syftbox
from syft_flwr.transport._gdrive.api.auth import open_account
from syft_flwr.transport._gdrive.api.budget import Budget
from syft_flwr.transport._gdrive.api.drive_client import DriveClient
from syft_flwr.transport._syftbox.daemon import runs_on
from syft_flwr.transport.gdrive import GDriveTransport
from syft_flwr.transport.syftbox import SyftBoxTransport

APP = "chaos"
DS = "ds@university.example"
#: The folder of a federation in which each participant has SyftBox folders of its own.
MACHINES = "machines"


def owner(number: int) -> str:
    return f"do{number}@hospital-{number}.example"


def participant(folder: Path, email: str, datasites: int, *, worker: bool = False) -> Participant:
    settings = load_settings(environ={}, email=email, home=folder / "home")
    if (folder / "drive").exists():
        peers = [owner(number) for number in range(datasites)] if email == DS else [DS]
        drive = open_drive(folder, email, folder / "home" / email, peers)
        return Participant(settings, drive, in_process=not worker)
    machine = folder / MACHINES / email
    data_dir = machine / "SyftBox" if machine.exists() else folder / "box"
    syftbox = SyftBoxTransport(data_dir, email, poll_interval=0.5, synced=runs_on(data_dir))
    return Participant(settings, syftbox, in_process=not worker)


def open_drive(folder: Path, email: str, home: Path, peers: list[str]) -> GDriveTransport:
    """Return a transport to the emulated drive; the file ``drive`` in ``folder`` has its address."""
    account = open_account(folder / f"{email}.token", (folder / "drive").read_text())
    drive = DriveClient(account, budget=Budget(1e12, 1e9, 1e9))
    return GDriveTransport(drive, email, home, peers=peers, poll_interval=0.1, live=True)


def _context() -> Context:
    return Context(run_id=0, node_id=0, node_config={}, state=RecordDict(), run_config={})


def _serve(folder: Path, datasites: int, rounds: int) -> None:
    server_app = app.make_server_app(folder, rounds, datasites)
    emails = [owner(number) for number in range(datasites)]
    client = participant(folder, DS, datasites)
    with closing(client.transport):
        syftbox_flwr_server(server_app, _context(), emails, APP, client=client, raise_on_error=True)


def _own(folder: Path, datasites: int, email: str, where: str) -> None:
    client = participant(folder, email, datasites, worker=where == "worker")
    with closing(client.transport):
        syftbox_flwr_client("chaoskit.app:client_app", _context(), APP, client=client, aggregator=DS)


def _be(folder: Path, words: list[str], datasites: int, rounds: int) -> int:
    """Run a participant in this forked process, and return its exit code."""
    os.setpgid(0, 0)
    role, *arguments, point = words
    log = os.open(folder / ("-".join([role, *arguments[:1]]) + ".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    logger.remove()
    logger.add(sys.stderr, level="INFO")
    if point != "-":
        points.arm(point)
    try:
        with ending_quietly():
            _serve(folder, datasites, rounds) if role == "server" else _own(folder, datasites, *arguments)
    except BaseException:  # noqa: BLE001 - this process ends here
        traceback.print_exc()
        return 1
    return 0


def _await(folder: Path, pid: int) -> None:
    _, status = os.waitpid(pid, 0)
    temporary = folder / f"{pid}.exiting"
    temporary.write_text(str(os.waitstatus_to_exitcode(status)))
    temporary.rename(folder / f"{pid}.exit")


def main() -> None:
    # The arrays of a reply become objects too, instead of a part of its envelope.
    syftbox._INLINE_SIZE = 0
    children = []
    for line in sys.stdin:
        where, datasites, rounds, *words = line.split()
        folder = Path(where)
        pid = os.fork()
        if pid == 0:
            os._exit(_be(folder, words, int(datasites), int(rounds)))
        children.append(pid)
        threading.Thread(target=_await, args=(folder, pid), daemon=True).start()
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
    # The test process has ended. If it was killed, it could not end the participants itself.
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
