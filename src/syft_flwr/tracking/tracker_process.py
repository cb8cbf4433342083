"""Starts the process of one tracker for a run, tells its failure once, and ends it with the run."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from syft_flwr.log import logger
from syft_flwr.text import printable
from syft_flwr.tracking.follower import FAILS, FOUND, HAS_POINTS, SOUGHT, WORKS

#: Seconds after the end of a run for the last points of a tracker.
PATIENCE = 10.0
#: Seconds for one that has not answered yet or fails, by its state.
LITTLE_PATIENCE = {SOUGHT: 1.0, FAILS: 1.0}
#: Seconds for a process that leaves.
_LEAVING = 1.0
#: Characters of a reason.
_MOST = 500
_DURING = (
    "run {}: {} do not reach {}: {}. The run continues, and {} has them all. The tracker is tried again until the end of the "
    "run: {}. Later, `syft-flwr track {}` sends the missing ones"
)
_AT_END = "run {}: {} did not reach {}: {}. {} has them all. To send them, {}`syft-flwr track {}`"
#: States that the follower does not have: the process begins, or has ended.
_STARTS, _ENDED = "starts", "ended"


class TrackerProcess:
    """The process of one tracker.

    Args:
        title: the name of the tracker, for the log.
        advice: the next step of a person if it cannot be used.
        run: the id of the run.
        metrics: the file with all metrics of the run.
        arguments: the arguments of the process.
        environ: its environment.

    Raises:
        OSError: the process cannot be started.
    """

    def __init__(
        self, title: str, advice: str, run: int, metrics: Path, arguments: Sequence[str], environ: Mapping[str, str]
    ) -> None:
        self._title = title
        self._advice = advice
        self._run = run
        self._metrics = metrics
        self._lock = threading.Condition()
        self._state = _STARTS
        self._since = time.monotonic()
        #: Whether the tracker has points of this run.
        self.has_points = False
        #: The warning of this tracker; empty if there was none.
        self.warning = ""
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __package__, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environ,
            # Ctrl-C ends the run first, whose end the tracker gets.
            start_new_session=True,
        )
        self._thread = threading.Thread(target=self._listen, name="tracker", daemon=True)
        self._thread.start()

    def ask_to_end(self) -> None:
        """Let the process write the last points and end."""
        if self._process.stdin:
            self._process.stdin.close()

    def end(self) -> None:
        """Wait for the last points, and end the process. One that fails, or that never answered, gets little time."""
        began = time.monotonic()
        try:
            with self._lock:
                while self._state != _ENDED and (left := self._patience(began) - time.monotonic()) > 0:
                    self._lock.wait(left)
                last = self._state
            if last == _ENDED:
                # It has closed its output, and leaves.
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(_LEAVING)
        finally:
            self._process.kill()
            self._process.wait()
        self._thread.join()
        if self._process.stdout:
            self._process.stdout.close()
        if last in {FOUND, WORKS}:
            # It is there, so there is nothing to correct.
            which = "the last ones" if self.has_points else "them"
            self._warn(f"it did not take {which} in time", _AT_END)
        elif last != _ENDED:
            self._warn("it did not answer before the end of the run", _AT_END, f"{self._advice}, then ")
        elif self._process.returncode:
            self._warn(f"its process ended with status {self._process.returncode}", _AT_END)

    def _patience(self, began: float) -> float:
        """Return the time at which the process is ended."""
        little = LITTLE_PATIENCE.get(self._state, PATIENCE)
        if self._state == SOUGHT:
            # It was asked early in the run. One that is silent since then does not delay the end.
            return self._since + little
        # The last try of a tracker that fails begins with the end of the run.
        return min(began + PATIENCE, max(began, self._since) + little)

    def _listen(self) -> None:
        assert self._process.stdout  # noqa: S101 - a pipe was asked for
        for line in self._process.stdout:
            state, reason = json.loads(line)
            self._note(state, reason)
        self._note(_ENDED, "")

    def _note(self, state: str, reason: str) -> None:
        if state == HAS_POINTS:
            self.has_points = True
            return
        if state == FAILS:
            self._warn(reason, _DURING, self._advice)
        elif state == WORKS and self.warning:
            logger.info("run {}: {} has all metrics so far", self._run, self._title)
        with self._lock:
            if state != self._state:
                self._state, self._since = state, time.monotonic()
            self._lock.notify_all()

    def _warn(self, reason: str, text: str, advice: str = "") -> None:
        """Log once that metrics do not reach the tracker."""
        if not self.warning:
            which = "some of its metrics" if self.has_points else "its metrics"
            told = self._run, which, self._title, printable(reason, _MOST), self._metrics, advice, self._run
            self.warning = text.format(*told)
            logger.warning(text, *told)
