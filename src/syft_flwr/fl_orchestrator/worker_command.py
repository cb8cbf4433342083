"""The command that starts a worker: the words of the setting, by default this Python, and then the arguments of this package."""

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from syft_flwr.fl_orchestrator.import_path import without_current_folder
from syft_flwr.fl_orchestrator.worker_family import MARK
from syft_flwr.fl_orchestrator.worker_frames import Greeting
from syft_flwr.text import printable

_WORKER = f"{__package__}.worker"


@dataclass(frozen=True, slots=True)
class WorkerCommand:
    """A command that starts Python, as in the setting ``worker_command``; empty for this Python.

    It may start Python of another environment, or wrap it: ``docker run -i IMAGE python``. It must pass on its standard
    input and output, and end when that Python ends.
    """

    setting: str = ""

    def words(self, module: str = _WORKER) -> list[str]:
        """Return the command with the arguments that run a module of this package, by default the worker."""
        first, *others = shlex.split(self.setting) or [sys.executable]
        return [str(Path(first).expanduser()) if first.startswith("~") else first, *others, "-P", "-m", module]

    def environment(self, mark: str) -> dict[str, str]:
        """Return the environment, with the mark of the family of the worker."""
        return without_current_folder({**os.environ, MARK: mark})


def mismatch(worker: Greeting, *, pickled: bool) -> str:
    """Return why a worker with this greeting cannot be used; empty if it can."""
    own = Greeting.own()
    if worker.release != own.release:
        return f"the worker has syft-flwr {printable(worker.release)}, and the client has {own.release}"
    if pickled and worker.python != own.python:
        return (
            f"the worker has Python {printable(worker.python)}, and the app was pickled by Python {own.python}; "
            "pass a reference 'module:app'"
        )
    return ""
