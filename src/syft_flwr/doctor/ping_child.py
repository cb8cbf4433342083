"""The child that pings the data owners: arguments are the project folder, the seconds to wait for replies, and the lock file.

It holds the lock of the server of the app, as each server does, so that two senders never write the same files. It gives way to a server
that starts.
"""

import os
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from syft_flwr.doctor.children import report
from syft_flwr.doctor.contender import Contender


def ping(project: str, seconds: float) -> dict[str, Any]:
    """Return the reply of each data owner, or why there is none; ``refused`` if no ping could be sent."""
    from syft_flwr.config import load_settings
    from syft_flwr.errors import SyftFlwrError
    from syft_flwr.fl_orchestrator import Pong, SyftGrid
    from syft_flwr.fl_orchestrator.participant import open_participant

    settings = load_settings(project)
    try:
        participant = open_participant(settings, peers=settings.datasites)
        with closing(participant.transport):
            grid = SyftGrid(settings.require("app_name"), settings.datasites, participant)
            try:
                found = grid.ping(seconds)
            finally:
                grid.close()
    except SyftFlwrError as error:
        return {"refused": str(error)}
    return {
        "replies": {
            email: {"seconds": each.seconds, "software": each.software, "flower": each.flower, "running": each.running}
            if isinstance(each, Pong)
            else {"code": each.code, "text": each.text}
            for email, each in found.items()
        }
    }


def main() -> None:
    project, seconds, lock = sys.argv[1:4]
    report(lambda: ping(project, float(seconds)), Contender(Path(lock)).is_there)
    os._exit(0)


if __name__ == "__main__":
    main()
