"""The screens of ``syft-flwr status`` for a run: at each moment of its record, at chosen moments of a test, and at the end."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from recordkit.expected import OWNER
from recordkit.reading import Records

from syft_flwr.clock import Clock
from syft_flwr.config import Settings
from syft_flwr.errors import SyftFlwrError
from syft_flwr.runs.account import RunAccount
from syft_flwr.runs.view import RunView, view_of
from syft_flwr.runs.watched_run import WatchedRun

#: Parts of one screen. A single text is one part.
Parts = str | Sequence[str]


@dataclass(frozen=True)
class Shows:
    """The screens of one side that a row of the table expects."""

    #: Screens of moments of the run, in order. Others may come between them.
    during: Sequence[Parts]
    #: The screen after the end of all processes.
    after: Parts


def shows(*during: Parts, after: Parts) -> Shows:
    return Shows(during, after)


def lost(*reason: str, replies: str = "0 of 1", after: str = "0 of 1", state: str = "failed") -> Shows:
    """Return the screens of an aggregator with a failed request: the reason is shown at once, and stays."""
    code = reason[0].partition(":")[0]
    known = (f"| {replies} | 1: {code} |", *reason)
    return shows("query request sent", known, after=(f": {state}", f"| {after} | 1: {code} |", *reason))


def refusing(*reason: str, replies: str = "0 of 1", after: str = "0 of 1", state: str = "failed") -> Shows:
    """Return the same for a data owner, whose reply is an error."""
    code = reason[0].partition(":")[0]
    known = (f"idle | {replies} | 1: {code} |", *reason)
    return shows("query waits", known, after=(f": {state}", f"| {after} | 1: {code} |", *reason))


#: The screens of an exchange without a fault.
ASKING = shows("query request sent", "idle | 1 of 1 | 0", after=(": completed", "| 1 of 1 | 0 |"))
REPLYING = shows("query waits", "query runs", "idle | 1 of 1 | 0", after=(": completed after", "| 1 of 1 | 0 |"))
NORMAL = (ASKING, REPLYING)
#: A request is not sent, because the key of the data owner is missing.
KEYLESS: Parts = (f"Waits for {OWNER} for", "; the wait ends", f"{OWNER} | ", "| its key is awaited for ")
#: The participant has no record of the run.
NO_RECORD = shows(after="is not recorded on this machine")


@dataclass(frozen=True)
class Screen:
    """A screen, and the number of events that the record had at this moment."""

    events: int
    text: str


def screen_of(view: RunView) -> str:
    """Return the texts that the command shows: the lines, and a line for each participant."""
    rows = [" | ".join(peer.as_row(view.now)) for peer in view.peers]
    return "\n".join(
        filter(
            None,
            (
                view.headline(),
                view.wait(),
                view.warning(),
                *view.notes(),
                *rows,
                view.latest_metrics(),
            ),
        )
    )


def replayed(records: Records, run: int, app: str, email: str) -> list[Screen]:
    """Return the screens that a process which looks after each event would show."""
    account, found = RunAccount(), []
    for number, entry in enumerate(records.of(run), 1):
        account.add(entry)
        view = view_of(account, entry.time, run=str(run), app=app, participant=email)
        found.append(Screen(number, screen_of(view)))
    return found


def look(settings: Settings, run: int, role: str, clock: Clock) -> str:
    """Return what ``syft-flwr status RUN`` shows at this moment; if it fails, the text of its error."""
    try:
        return screen_of(WatchedRun(settings, str(run), role=role, clock=clock).look())
    except SyftFlwrError as error:
        return str(error)


def missing_screen(expected: Sequence[Parts], screens: Sequence[Screen]) -> Parts:
    """Return the first expected screen that comes nowhere after those before it; empty if all were found."""
    # A stable order: a look comes after the replay of the events that it knew.
    texts = [screen.text for screen in sorted(screens, key=lambda screen: screen.events)]
    start = 0
    for parts in expected:
        number = next((index for index in range(start, len(texts)) if has_all(texts[index], parts)), None)
        if number is None:
            return parts
        start = number
    return ()


def has_all(text: str, parts: Parts) -> bool:
    return all(part in text for part in ([parts] if isinstance(parts, str) else parts))


@dataclass
class LaterClock:
    """The time of another clock and some seconds, for a person who looks later."""

    clock: Clock
    seconds: float

    def now(self) -> datetime:
        return self.clock.now() + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.clock.monotonic() + self.seconds

    def wait_until(self, condition: threading.Condition, deadline: float | None) -> None:
        raise AssertionError("a look does not wait")
