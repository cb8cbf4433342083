"""Progress as lines, for a log or a pipe: a line for a new round, new metrics, and a changed state of a participant."""

import time
from collections.abc import Callable
from datetime import datetime

from syft_flwr.runs.panel import Panel

#: Seconds between two lines.
_EVERY = 1.0
#: Seconds between two lines if only the work has changed.
_EVERY_WORK = 10.0
#: Participants in one line.
_MOST = 3
#: A subject of a line: its part and its name.
_Subject = tuple[str, str]
_RUN, _STATE, _WORK = "run", "state", "work"


class ProgressLines:
    """Gives one line to ``write`` for all that has changed, at most once a second."""

    interval = _EVERY

    def __init__(self, write: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        #: The texts that the lines told, by subject.
        self._said: dict[_Subject, str] = {}
        self._last = -_EVERY_WORK

    def open(self) -> None:
        """Begin without a line: there is no round yet."""

    def show(self, panel: Panel) -> None:
        """Write a line if it is due."""
        now = self._clock()
        news = self._news(panel)
        is_urgent = any(part != _WORK for part, _ in news)
        if news and now - self._last >= (_EVERY if is_urgent else _EVERY_WORK):
            self._say(panel, news)
            self._last = now

    def close(self, panel: Panel | None) -> None:
        """Write the news that no line told yet."""
        if panel and (news := self._news(panel)):
            self._say(panel, news)

    def abandon(self, *, is_blocked: bool) -> None:
        """Change nothing: no stream was taken."""

    def _news(self, panel: Panel) -> dict[_Subject, str]:
        found: dict[_Subject, str] = {(_RUN, "mood"): panel.mood, (_RUN, "round"): panel.round}
        found[_RUN, "metrics"] = panel.metrics
        for row in panel.rows:
            found[_STATE, row.cells[0]] = row.state
            found[_WORK, row.cells[0]] = row.work
        return {subject: text for subject, text in found.items() if self._said.get(subject, "") != text}

    def _say(self, panel: Panel, news: dict[_Subject, str]) -> None:
        self._said.update(news)
        parts = [panel.headline] if (_RUN, "mood") in news else [panel.round] if (_RUN, "round") in news else []
        parts += [panel.wait, panel.metrics if (_RUN, "metrics") in news else ""]
        changed = {name for part, name in news if part != _RUN}
        rows = [row for row in panel.rows if row.cells[0] in changed and (row.state or row.work)]
        parts += [f"{row.cells[0]}: {', '.join(filter(None, (row.state, row.work)))}" for row in rows[:_MOST]]
        parts += [f"{len(rows) - _MOST} more participants changed"] if len(rows) > _MOST else []
        self._write(f"{datetime.now().astimezone():%H:%M:%S} {'. '.join(filter(None, parts))}")
