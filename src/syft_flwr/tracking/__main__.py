"""The process of one tracker: ``python -P -m syft_flwr.tracking NAME RECORD RUN APP AGGREGATOR FOLDER``.

Its standard input closes at the end of the run. Each line of its standard output is a state of the tracker with its reason,
as JSON. Prints of the packages of a tracker are dropped.
"""

import json
import os
import select
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from syft_flwr.locks import ProcessLock
from syft_flwr.tracking.failure_text import shown_failure
from syft_flwr.tracking.follower import FAILS, RecordFollower
from syft_flwr.tracking.places import lock_of, tracker_of
from syft_flwr.tracking.tracker import TrackedFacts

#: The run comes first on a busy machine.
_NICE = 5
#: Seconds after the end of the run, or of its process, which may have been killed. A call to a tracker can hang for longer.
_LAST = 11.0


def main() -> int:
    name, record, run, app, aggregator, folder = sys.argv[1:]
    reports = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    with suppress(OSError):
        os.nice(_NICE)
    parent = os.getppid()
    threading.Thread(target=_leave_late, name="end-of-run", daemon=True).start()

    def report(state: str, reason: str) -> None:
        # The process of the run may have been killed.
        with suppress(OSError):
            os.write(reports, json.dumps([state, reason]).encode() + b"\n")

    def wait(seconds: float) -> bool:
        return bool(select.select([0], [], [], seconds)[0]) or os.getppid() != parent

    try:
        # `syft-flwr track` may give the tracker the earlier points of this run at this moment.
        with ProcessLock(lock_of(Path(record), name), "a tracker", wait=True):
            facts = TrackedFacts(run, app, aggregator)
            RecordFollower(tracker_of(name, Path(folder)), Path(record), facts, report).run(wait)
    except Exception as error:  # noqa: BLE001 - it is told, in the process of the run
        report(FAILS, f"{type(error).__name__}: {shown_failure(error)}")
        return 1
    return 0


def _leave_late() -> None:
    os.read(0, 1)
    time.sleep(_LAST)
    os._exit(1)


if __name__ == "__main__":
    # No thread and no exit handler of a package may keep this process.
    os._exit(main())
