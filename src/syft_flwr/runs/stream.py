"""The stream of events of one process: it writes them to the records, and gives them to the subscriber.

To emit an event costs no wait: the event goes into a queue, and threads of this package do the rest. Events are lost if
a queue or a disk is full, or a subscriber raises or blocks. They are counted, and the record says it.
"""

import math
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from syft_flwr.clock import Clock
from syft_flwr.log import is_ours, logger
from syft_flwr.logbook.run_files import RunFiles
from syft_flwr.runs.entry import RecordEntry
from syft_flwr.runs.events import Beat, Event, LoggedWarning, RunEnded, RunStarted
from syft_flwr.runs.record import WARNINGS, Emitted, Role, RunRecord
from syft_flwr.runs.stop_request import LOOK_EVERY, StopFolder
from syft_flwr.runs.subscriber import OnEvent, Subscriber
from syft_flwr.shares import FairShares

if TYPE_CHECKING:
    from loguru import Message, Record

#: Emits an event of a run; 0 stands for no run.
Emit = Callable[[int, Event], None]

#: Events that wait to be written; later ones are lost, except the begin and the end of a run.
_MAX_QUEUED = 100_000
#: Warnings that wait to be written, of which each peer has a share. Later ones are counted.
_MAX_WARNINGS = 20_000
#: Events that are written together.
_MAX_BATCH = 1_000
#: Seconds between two batches; a kill loses the events of the last pause. After some pauses, an event wakes the thread.
_PAUSE = 0.005
_MAX_PAUSES = 400
#: Records that are open at the same time. Each served run of this number, the latest ones, also has beats.
_MAX_OPEN = 100
#: Runs that get a warning of this process, the latest ones.
_MAX_WARNED = 8
#: Seconds between two beats of a served run, by the time of the machine: the clock of a test may stand still.
BEAT_EVERY = 5.0
#: In place of the id of a run in the queue.
_FLUSH, _CLOSE = -1, -2
#: Minimum seconds between two lines about the losses of the subscriber.
_SUBSCRIBER_EVERY = 60.0
#: Seconds to wait at the end of a run for a slow subscriber, and for a slow disk.
_SUBSCRIBER_PATIENCE = 1.0
_DISK_PATIENCE = 5.0


def ignore(run: int, event: Event) -> None:
    """Ignore an event, where no record is kept."""


class EventStream:
    """The events of one process for one app and role. Thread-safe.

    Args:
        folder: the folder of the records.
        role: the side of the runs.
        clock: the clock of the entries.
        on_event: also gets each entry, in a thread of its own.
        beat_every: seconds between two beats of a served run.
    """

    def __init__(
        self,
        folder: Path,
        role: Role,
        clock: Clock,
        on_event: OnEvent | None = None,
        *,
        beat_every: float | None = None,
    ) -> None:
        self._folder = folder
        self._role: Role = role
        # A link to the folder of a local run ends in the same names.
        self._files = RunFiles(folder, role, folder.parent.name)
        self._clock = clock
        self._start = clock.monotonic()
        self._process = secrets.token_hex(4)
        self._queue: SimpleQueue[tuple[int, Emitted | threading.Event | None]] = SimpleQueue()
        self._shares = FairShares(_MAX_WARNINGS)
        self._overflow = 0
        #: By run, the warnings that had no share of the queue.
        self._left_out: Counter[int] = Counter()
        self._overflow_lock = threading.Lock()
        self._lost: Counter[str] = Counter()
        self._records: dict[int, RunRecord] = {}
        #: The runs that this process serves; a warning belongs to all of them.
        self._served: dict[int, None] = {}
        #: Held while the end of a run is queued, so that no beat comes after it.
        self._serving = threading.Lock()
        self._beat_every = BEAT_EVERY if beat_every is None else beat_every
        #: The time of the last beats, or of the begin of the first served run, which shows the same.
        self._beaten = -math.inf
        #: The requests to end a run, and the time of the last look at them.
        self._stops: StopFolder | None = None
        self._looked = -math.inf
        self._subscriber = Subscriber(on_event) if on_event else None
        self._subscriber_lost = 0
        self._subscriber_due = 0.0
        self._complained = False
        #: Ends the pause of the thread.
        self._hurry = threading.Event()
        self._thread = threading.Thread(target=self._run, name="run-record", daemon=True)
        self._thread.start()

    def watch_stops(self, home: Path, on_asked: Callable[[int], bool]) -> None:
        """Look for requests of ``syft-flwr stop`` in the home of the app, once a second as long as runs are served.

        ``on_asked`` is called in the thread of this stream with the run. See :data:`~syft_flwr.runs.stop_request.OnStopAsked`.
        """
        self._stops = StopFolder(home, self._role, self._process, lambda run: on_asked(int(run)))

    def emit(self, run: int, event: Event) -> None:
        """Queue an event of a run; 0 stands for no run. Never waits, and never raises."""
        if isinstance(event, RunStarted):
            self._files.started(run)
            if not self._served:
                self._beaten = time.monotonic()
            self._put(run, event)
            self._served[run] = None
        elif isinstance(event, RunEnded):
            self._files.ended(run)
            with self._serving:
                self._served.pop(run, None)
                self._put(run, event)
        elif isinstance(event, LoggedWarning):
            # Their number is bounded by the shares.
            if self._shares.take(event.peer):
                self._put(run, event)
            else:
                with self._overflow_lock:
                    self._left_out[run] += 1
        elif self._queue.qsize() < _MAX_QUEUED:
            self._put(run, event)
        else:
            with self._overflow_lock:
                self._overflow += 1

    def _put(self, run: int, event: Event) -> None:
        self._queue.put((run, Emitted(event, self._clock.now(), self._clock.monotonic() - self._start)))

    @contextmanager
    def capturing_log(self) -> Iterator[None]:
        """Emit each warning and error that this package logs inside the block."""
        sink = logger.add(self._on_log, level="WARNING", format="{message}", filter=_is_warning_of_ours)
        try:
            yield
        finally:
            # The program of the user may have removed all sinks.
            with suppress(ValueError):
                logger.remove(sink)

    def _on_log(self, message: "Message") -> None:
        if self._subscriber and self._subscriber.is_calling():
            # It would get this warning, which can cause the next one.
            return
        record = message.record
        first_line, more, _ = str(record["message"]).partition("\n")
        # The lines after a colon, such as a traceback, are only in the log.
        first_line = first_line.removesuffix(":") if more else first_line
        event = LoggedWarning(record["level"].name.lower(), first_line, str(record["extra"].get("peer", "")))
        for run in tuple(self._served)[-_MAX_WARNED:] or (0,):
            self.emit(run, event)

    def flush(self, seconds: float = _DISK_PATIENCE) -> bool:
        """Wait until all events so far are written, at most for ``seconds``; return whether they are."""
        done = threading.Event()
        self._queue.put((_FLUSH, done))
        self._hurry.set()
        return done.wait(seconds)

    def close(self) -> None:
        """Write the queued events and end the threads. A disk or a subscriber that blocks is left behind."""
        self._queue.put((_CLOSE, None))
        self._hurry.set()
        self._thread.join(_DISK_PATIENCE + _SUBSCRIBER_PATIENCE)
        if self._subscriber:
            self._subscriber.close(_SUBSCRIBER_PATIENCE)

    def _run(self) -> None:
        closing = False
        while not closing:
            self._beat()
            self._look_for_stops()
            try:
                items = [self._queue.get(timeout=self._until_due())]
            except Empty:
                continue
            while len(items) < _MAX_BATCH and not self._queue.empty():
                items.append(self._queue.get())
            for run, group in groupby(items, lambda item: item[0]):
                batch = [item for _, item in group]
                closing = closing or run == _CLOSE
                if emitted := [item for item in batch if isinstance(item, Emitted)]:
                    self._try_to_write(run, emitted)
                    self._give_back(emitted)
                for item in batch:
                    if isinstance(item, threading.Event):
                        item.set()
            if not closing:
                self._pause()
        for record in self._records.values():
            record.close()

    def _until_due(self) -> float | None:
        """Return the seconds until the next beats, or the next look for stops; None if no run is served."""
        if not self._served:
            return None
        due = self._beaten + self._beat_every
        return max(0.0, (min(due, self._looked + LOOK_EVERY) if self._stops else due) - time.monotonic())

    def _look_for_stops(self) -> None:
        now = time.monotonic()
        if self._stops and self._served and now - self._looked >= LOOK_EVERY:
            self._looked = now
            try:
                self._stops.look([str(run) for run in tuple(self._served)])
            except Exception as error:  # noqa: BLE001 - a defect here must not end the record
                text = "a request of syft-flwr stop has met an error of this program; report this as a bug: {}: {}"
                logger.error(text, type(error).__name__, error)

    def _beat(self) -> None:
        """Emit the beats of the served runs, if they are due."""
        now = time.monotonic()
        if self._served and now - self._beaten >= self._beat_every:
            self._beaten = now
            with self._serving:
                for run in tuple(self._served)[-_MAX_OPEN:]:
                    self._put(run, Beat())

    def _pause(self) -> None:
        """Wait for the next events without a wake-up by them: that costs the emitting thread more than all the rest."""
        for _ in range(_MAX_PAUSES):
            self._hurry.wait(_PAUSE)
            if self._hurry.is_set() or not self._queue.empty() or self._until_due() == 0:
                break
        self._hurry.clear()

    def _give_back(self, written: Iterable[Emitted]) -> None:
        for each in written:
            if isinstance(each.event, LoggedWarning):
                self._shares.give_back(each.event.peer)

    def _try_to_write(self, run: int, batch: list[Emitted]) -> None:
        try:
            self._write(run, batch)
        except Exception as error:  # noqa: BLE001 - a defect here must not end the record of all further events
            self._lost["record"] += len(batch)
            if not self._complained:
                self._complained = True
                text = "{} events of run {} are missing in its record; the run continues: {}: {}"
                logger.error(text, len(batch), run, type(error).__name__, error)

    def _write(self, run: int, batch: list[Emitted]) -> None:
        record = self._record(run)
        with self._overflow_lock:
            overflow, self._overflow = self._overflow, 0
            left_out = self._left_out.pop(run, 0)
        record.note_lost("queue", overflow)
        record.note_lost(WARNINGS, left_out)
        ended = False
        for is_end, group in groupby(batch, lambda emitted: isinstance(emitted.event, RunEnded)):
            if is_end and self._subscriber:
                self._subscriber.drain(_SUBSCRIBER_PATIENCE)
            self._note_lost_by_subscriber(record, batch[-1].elapsed, now=is_end)
            self._give(record.add([self._with_losses(emitted) for emitted in group]))
            ended = ended or is_end
        if ended and not record.has_unsaid:
            # A process may serve many runs. A late event opens the record again.
            self._records.pop(run).close()

    def _with_losses(self, emitted: Emitted) -> Emitted:
        if not isinstance(emitted.event, RunEnded):
            return emitted
        return replace(emitted, event=replace(emitted.event, lost=dict(self._lost)))

    def _give(self, entries: Iterable[RecordEntry]) -> None:
        if self._subscriber:
            for entry in entries:
                self._subscriber.offer(entry)

    def _note_lost_by_subscriber(self, record: RunRecord, elapsed: float, *, now: bool) -> None:
        """Count the losses of the subscriber, at most once a minute: each of them adds a line, which it can lose, too."""
        if self._subscriber is None or not (now or elapsed >= self._subscriber_due):
            return
        if new := self._subscriber.lost - self._subscriber_lost:
            self._subscriber_due = elapsed + _SUBSCRIBER_EVERY
            self._subscriber_lost += new
            record.note_lost("subscriber", new)

    def _record(self, run: int) -> RunRecord:
        record = self._records.pop(run, None) or RunRecord(self._folder, run, self._role, self._process, self._lost)
        # The last one is the one that was used last.
        self._records[run] = record
        if len(self._records) > _MAX_OPEN:
            # One with losses that it has not told stays, unless all have some.
            idle = next(
                (each for each, known in self._records.items() if not known.has_unsaid), next(iter(self._records))
            )
            self._records.pop(idle).close()
        return record


def _is_warning_of_ours(record: "Record") -> bool:
    # The lines of a worker are not among them: an app can write them.
    return is_ours(record) and not record["extra"].get("relayed")
