"""The log of this process: takes lines of this package, of Flower and of the app, and gives them to the console and to files.

From the command line, :func:`Logbook.start` gives each line a mark and a time, and lets files join. In a program or a
notebook it is not started: the app and Flower print as they do without this package, and loguru has the rest.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from syft_flwr.log import logger, write_console
from syft_flwr.logbook.line import LogLine, Source
from syft_flwr.text import log_entry, printable, without_codes

#: Characters of one printed line. A longer one is cut.
MAX_LINE = 8_000

#: The levels of loguru, with their numbers.
LEVELS = {"TRACE": 5, "DEBUG": 10, "INFO": 20, "SUCCESS": 25, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}

#: Gets a line, and the app to which it belongs; empty if it belongs to all apps of this process.
Destination = Callable[[LogLine, str], object]


@dataclass(slots=True)
class Logbook:
    """The log of a process. Thread-safe."""

    started: bool = False
    as_json: bool = False
    #: Whether each run gets a file of its own.
    keeps_runs: bool = False
    #: Whether the console is a log file.
    is_file: bool = False
    #: The lowest level of lines that have one. A print has none, and Flower's logger has its own.
    level: str = "INFO"
    #: The latest run of each app of this process.
    runs: dict[str, int] = field(default_factory=dict)
    _destinations: list[Destination] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, level: str, *, as_json: bool = False, keeps_runs: bool = False, is_file: bool = False) -> None:
        """Begin the log of a command, without the files of an earlier one."""
        with self._lock:
            self.started, self.level = True, level
            self.as_json, self.keeps_runs, self.is_file = as_json, keeps_runs, is_file
            self._destinations = []
            self.runs.clear()

    def join(self, destination: Destination) -> None:
        """Give each line to ``destination``, too. It must neither log nor raise."""
        with self._lock:
            self._destinations = [*self._destinations, destination]

    def leave(self, destination: Destination) -> None:
        """Give no further line to ``destination``."""
        with self._lock:
            self._destinations = [each for each in self._destinations if each != destination]

    def form(self, line: LogLine) -> str:
        """Return the form of a line in a file."""
        return line.json() if self.as_json else line.text()

    def write(self, line: LogLine, app: str = "") -> None:
        """Write a line to the console and to all files."""
        known = line.of_run(self._run_of(app))
        write_console(self.form(known) if self.as_json or self.is_file else known.console())
        self._give(known, app)

    def keep(self, line: LogLine, app: str = "") -> None:
        """Write a line to the files only: it was printed already."""
        self._give(line.of_run(self._run_of(app)), app)

    def _give(self, line: LogLine, app: str) -> None:
        for give in self._destinations:
            give(line, app)

    def _run_of(self, app: str) -> int:
        """Return the run that an app has now, or had last; of all apps, if they have only one."""
        runs = [run for each, run in tuple(self.runs.items()) if app in ("", each)]
        return runs[0] if len(runs) == 1 else 0

    def flower(self, level: str, message: str, app: str = "") -> None:
        """Take a line of Flower's logger."""
        text, level = log_entry(without_codes(message)), known_level(level)
        if self.started:
            self.write(LogLine(text, level, "flower"), app)
        else:
            write_console(f"{level} : {' ' * (8 - len(level))} {text}")

    def printed(self, text: str, app: str = "") -> None:
        """Take a line that the app printed in another process."""
        line = one_line(text)
        if self.started:
            self.write(LogLine(line, source="app"), app)
        else:
            write_console(line)

    def relayed(self, level: str, source: Source, message: str, app: str = "") -> None:
        """Take an entry that a worker logged, through this package's logger, Flower's or loguru."""
        level = known_level(level)
        if source == "flower":
            self.flower(level, message, app)
        elif source == "ours":
            # The patch of this logger makes the text inert. A sink of the user gets it, too.
            logger.bind(relayed=True, app=app).log(level, "{}", without_codes(message))
        elif LEVELS[level] >= LEVELS[self.level]:
            line = LogLine(log_entry(without_codes(message)), level, source)
            if self.started:
                self.write(line, app)
            else:
                write_console(f"{level:<8} {line.message}")


def known_level(name: str) -> str:
    """Return the name of a level; that of INFO for a level that a program made up."""
    return name if name in LEVELS else "INFO"


def one_line(text: str) -> str:
    """Return a printed line as inert text: without codes for colours, and cut if it is very long."""
    clean = without_codes(text[: 4 * MAX_LINE])
    shown = printable(clean, MAX_LINE)
    more = len(text) - 4 * MAX_LINE if len(text) > 4 * MAX_LINE else len(clean) - MAX_LINE
    return f"{shown}… ({more:,} more characters)" if more > 0 else shown


#: The log of this process.
book = Logbook()
