"""Serves the runs of one app at a data owner: one run, or run after run if the data owner stays.

Each run gets a client with a fresh worker. The lock, the keys, the database and the records stay open from run to run. So
no other client takes the place of this one, and a request that arrives between two clients waits in the inbox.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from flwr.clientapp import ClientApp

from syft_flwr._messaging.own_files import discard
from syft_flwr._messaging.trust import Trust
from syft_flwr._messaging.wire.heartbeat import heartbeat_name
from syft_flwr._store.ledger import Ledger
from syft_flwr.errors import AppLoadError, StoreError, SyftFlwrError
from syft_flwr.fl_orchestrator.app_loading import loaded_app
from syft_flwr.fl_orchestrator.client import Client, ClientSetup
from syft_flwr.fl_orchestrator.participant import Participant
from syft_flwr.fl_orchestrator.served_runs import ServedRuns, participant_facts
from syft_flwr.flower import log_to_console
from syft_flwr.locks import ProcessLock, is_held
from syft_flwr.log import logger
from syft_flwr.runs.health_file import SERVING, STARTING, HealthFile
from syft_flwr.runs.record import runs_folder
from syft_flwr.runs.stream import EventStream
from syft_flwr.runs.subscriber import OnEvent
from syft_flwr.service_manager import ServiceManager, service_manager

#: Seconds before a client that could not be started is tried again. The pause doubles each time, up to the second number.
_PAUSE, _MAX_PAUSE = 2.0, 60.0


@contextmanager
def open_serving(setup: ClientSetup, on_event: OnEvent | None = None) -> "Iterator[Serving]":
    """Open the lock, keys, database and records of one app.

    A service waits for the end of another client of the app.

    Raises:
        StoreError: another client of this app runs here, or a private file cannot be used.
    """
    log_to_console()
    participant = setup.participant
    home, app = participant.app_home(setup.app_name), participant.names(setup.app_name).app
    folder = runs_folder(home)
    manager = service_manager()
    with (
        _lock_of(home, f"a client of {app} for {participant.email}", manager),
        _reported(app, home, manager) as report,
        participant.open_trust(app) as trust,
        closing(Ledger(home / "ledger.db")) as ledger,
        closing(EventStream(folder, "datasite", participant.clock, on_event)) as events,
        events.capturing_log(),
    ):
        facts = partial(participant_facts, app, setup.aggregator, trust, participant.settings)
        served = ServedRuns(ledger.runs, folder, events.emit, participant.clock, "datasite", facts)
        serving = Serving(setup, trust, ledger, served, report)
        events.watch_stops(home, serving.end_run)
        yield serving


#: Tells that a client works, with its trouble, and the seconds within which it tells that again.
Report = Callable[[str, float], None]


def _lock_of(home: Path, what: str, manager: ServiceManager) -> ProcessLock:
    try:
        return ProcessLock(home / "client.lock", what)
    except StoreError as error:
        if not (manager.is_present and is_held(home / "client.lock")):
            raise
        # A service that ended here would be started again and again, each time with several lines in its log.
        text = f"{error}, so this service waits for the end of that process"
    logger.warning("{}", text)
    with manager.waiting(text):
        return ProcessLock(home / "client.lock", what, wait=True)


@contextmanager
def _reported(app: str, home: Path, manager: ServiceManager) -> Iterator[Report]:
    """Yield the function that tells probes and the service manager that the client works."""
    file = HealthFile(home)

    def report(trouble: str, within: float) -> None:
        file.tell(SERVING, within=within, trouble=trouble)
        manager.worked(app, f"{app}: {trouble}" if trouble else f"{app} is served")

    file.tell(STARTING, within=0)
    manager.expect(app)
    try:
        yield report
    finally:
        manager.leave(app)
        file.remove()


class Serving:
    """The clients of one app, one after the other. :meth:`serve` is called once, :meth:`stop` from any thread."""

    def __init__(
        self, setup: ClientSetup, trust: Trust, ledger: Ledger, served: ServedRuns, report: Report = lambda *_: None
    ) -> None:
        self.app_name = setup.participant.names(setup.app_name).app
        self._setup = setup
        self._trust = trust
        self._ledger = ledger
        self._served = served
        self._report = report
        self._changed = threading.Condition()
        self._client: Client | None = None
        self._stopped = False
        #: Whether a client could be started. A later failure does not end the service of a data owner that stays.
        self._has_started = False

    def serve(self) -> None:
        """Answer requests until a run stops; if the data owner stays, until :meth:`stop` is called.

        Raises:
            SyftFlwrError: the client cannot be started or its app be loaded, and none was started before.
        """
        try:
            self._serve_runs()
        finally:
            if self._setup.keep and self._has_started:
                # The clients kept it, so that the data owner was online between two runs.
                participant = self._setup.participant
                heartbeat = heartbeat_name(participant.names(self.app_name), "data-owner", participant.email)
                discard(participant.transport, heartbeat)

    def _serve_runs(self) -> None:
        pause = _PAUSE
        while not self._stopped:
            try:
                self._serve_a_run()
                pause = _PAUSE
            except SyftFlwrError as error:
                if not (self._setup.keep and self._has_started):
                    raise
                text = "{} cannot serve the next run now, and is tried again in {:.0f} s: {}"
                logger.error(text, self.app_name, pause, error.diagnose())
                self._report(error.diagnose(), pause)
                self._wait(pause)
                pause = min(2 * pause, _MAX_PAUSE)
            if not self._setup.keep:
                return

    def _serve_a_run(self) -> None:
        with (
            _loaded_here(self._setup.client_app, self._setup.project_dir, self._setup.participant) as app,
            Client(self._setup, app, self._trust, self._ledger, self._served, self._note_turn) as client,
        ):
            with self._changed:
                self._client = client
                if self._stopped:
                    return
            try:
                if not self._has_started:
                    # Later, an app that cannot be loaded must not end a data owner that stays.
                    client.load_app()
                client.serve()
            finally:
                self._has_started = self._has_started or client.has_started
                with self._changed:
                    self._client = None

    def _note_turn(self, trouble: str) -> None:
        self._report(trouble, self._setup.participant.transport.properties.poll_interval)

    def stop(self) -> None:
        """Make :meth:`serve` return soon, even while the app runs."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            if self._client:
                self._client.stop()

    def end_run(self, run: int) -> bool:
        """End one run at this data owner soon; return False if no client serves at this moment."""
        with self._changed:
            if self._client:
                self._client.end_run_soon(run)
            return self._client is not None

    def _wait(self, seconds: float) -> None:
        clock = self._setup.participant.clock
        deadline = clock.monotonic() + seconds
        with self._changed:
            while not self._stopped and clock.monotonic() < deadline:
                clock.wait_until(self._changed, deadline)


@contextmanager
def _loaded_here(
    client_app: ClientApp | str, project_dir: str | Path | None, participant: Participant
) -> Iterator[ClientApp | str]:
    """Yield the app itself in place of its reference, if it runs in the process of the client."""
    if not (participant.in_process and isinstance(client_app, str)):
        yield client_app
        return
    with loaded_app(client_app, project_dir, AppLoadError) as app:
        yield app
