"""The process of one participant: ``python -P -m syft_flwr.simulation.seat_process LIFELINE ROLE PROJECT``.

It runs the ``main.py`` of the project, or does the same work if the project has no ``main.py``. When the process that
started it ends or is killed, the lifeline closes. This process then kills itself and all processes that it started.
"""

import os
import runpy
import signal
import sys
import threading
from pathlib import Path

from syft_flwr.config.search import Search
from syft_flwr.logbook.command_log import begin_log
from syft_flwr.shutdown import ending_quietly, unblock


def main() -> int:
    lifeline, role, project = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    threading.Thread(target=_die_with_the_run, args=(lifeline,), daemon=True).start()
    if role == "server":
        # The supervisor sends SIGTERM to all participants, so the server need not send a stop first.
        signal.signal(signal.SIGTERM, _go)
    unblock()
    # The standard error is the log of this participant.
    begin_log(Search({}, os.environ).find("log_level").value, is_file=True)
    script = project / "main.py"
    if not script.is_file():
        with ending_quietly():
            return _take_part(role, project)
    sys.argv = [str(script)]
    sys.path.insert(0, str(project))
    runpy.run_path(str(script), run_name="__main__")
    return 0


def _take_part(role: str, project: Path) -> int:
    from syft_flwr.errors import ConfigError, SyftFlwrError
    from syft_flwr.fl_orchestrator import run_client, run_server

    try:
        if role == "server":
            run_server(project)
        else:
            run_client(project)
    except SyftFlwrError as error:
        sys.stderr.write(f"Error: {error.diagnose()}\n")
        return 2 if isinstance(error, ConfigError) else 1
    return 0


def _die_with_the_run(lifeline: int) -> None:
    os.read(lifeline, 1)
    # This process leads its group, so this also kills the processes that the app started.
    os.killpg(0, signal.SIGKILL)


def _go(number: int, _frame: object) -> None:
    os._exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
