"""The run that a server begins: read from its record while it grows, and shown until its end."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from syft_flwr.clock import Clock
from syft_flwr.live.painter import Painter
from syft_flwr.live.sink import choose_sink
from syft_flwr.log import write_console
from syft_flwr.runs.account import RunAccount
from syft_flwr.runs.panel import Panel, panel_of
from syft_flwr.runs.peer_view import SILENT
from syft_flwr.runs.record import Role, record_path, runs_folder
from syft_flwr.runs.record_reader import RecordReader
from syft_flwr.runs.view import RunView, view_of


class FollowedRun:
    """The run of one participant in this process, by its record. So the display costs the threads of the run nothing.

    Args:
        app_home: the folder of the app in the home of the participant.
        app: the name of the app.
        role: the side of the run.
        participant: the email.
        clock: the clock of the record.
    """

    def __init__(self, app_home: Path, app: str, role: Role, participant: str, clock: Clock) -> None:
        self._folder = runs_folder(app_home)
        self._app = app
        self._role: Role = role
        self._participant = participant
        self._clock = clock
        self._lock = threading.Lock()
        self._run = 0
        self._reader: RecordReader | None = None
        self._account = RunAccount()

    def begin(self, run: int) -> None:
        """Follow a run, in place of the one before."""
        with self._lock:
            self._run, self._account = run, RunAccount()
            self._reader = RecordReader(record_path(self._folder, run, self._role))

    def view(self) -> RunView | None:
        """Return the view of the run at this moment; None before it began."""
        with self._lock:
            if self._reader is None:
                return None
            # A record that cannot be read now is read at the next call. Its writer has logged why.
            with suppress(OSError):
                for entry in self._reader.read():
                    self._account.add(entry)
            if not self._account.state:
                return None
            shown = view_of(
                self._account,
                self._clock.now(),
                run=str(self._run),
                app=self._app,
                participant=self._participant,
            )
        # This process lives. Only its record is behind, for example because the disk is full.
        return replace(shown, state="running") if shown.state == SILENT else shown

    def panel(self) -> Panel | None:
        """Return the panel of this moment; None before the run began."""
        shown = self.view()
        return panel_of(shown) if shown else None


@contextmanager
def showing(run: FollowedRun, *, is_on: bool) -> Iterator[None]:
    """Show a run inside the block in a terminal or a notebook, or as lines of the console, if ``is_on`` is set."""
    if not is_on:
        yield
        return
    with Painter(choose_sink(write_console), run.panel):
        yield
