"""The client of a data owner for one app: takes requests, passes them to the worker, and commits the replies.

A ``stop`` ends the client only if the client serves the run of the stop. The client ignores a stop of another run, and a
stop that was in the inbox before it started. If the data owner stays for the next run, another client follows.
"""

import threading
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from flwr.app import Context, RecordDict
from flwr.clientapp import ClientApp

from syft_flwr._messaging.answering import ReplyReport, Request, Responder
from syft_flwr._messaging.arrivals import read
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.layout import LayoutLimits
from syft_flwr._messaging.objects import make_body
from syft_flwr._messaging.trust import Trust
from syft_flwr._messaging.wire import Body, Header, Reason
from syft_flwr._messaging.wire.limits import MAX_CONTROL, MAX_OPEN_RUNS
from syft_flwr._store.ledger import Ledger
from syft_flwr._store.run_table import CROWDED_OUT, RESUMABLE, SUPERSEDED
from syft_flwr._store.states import RunState
from syft_flwr.config.user_config import UserConfig
from syft_flwr.errors import AppLoadError, MalformedError, StoreError, SyftFlwrError
from syft_flwr.fl_orchestrator.app_runner import AppRunner, RunnerSetup
from syft_flwr.fl_orchestrator.codec import message_from_buffers, records_message_to_buffers
from syft_flwr.fl_orchestrator.control import Action, Control, read_control
from syft_flwr.fl_orchestrator.import_path import own_folders
from syft_flwr.fl_orchestrator.owner_config import OwnerConfig
from syft_flwr.fl_orchestrator.participant import Participant
from syft_flwr.fl_orchestrator.pickled_app import PickledApp
from syft_flwr.fl_orchestrator.ping import pong_records
from syft_flwr.fl_orchestrator.relayed_worker import RelayedWorker, Worker, open_near
from syft_flwr.fl_orchestrator.request_config import read_config, without_config
from syft_flwr.fl_orchestrator.served_runs import ServedRuns
from syft_flwr.fl_orchestrator.state_files import unused_states
from syft_flwr.fl_orchestrator.worker import WorkerSetup
from syft_flwr.fl_orchestrator.worker_command import WorkerCommand
from syft_flwr.fl_orchestrator.worker_process import InProcess, WorkerProcess
from syft_flwr.flower import SYSTEM_MESSAGE_TYPE
from syft_flwr.log import logger
from syft_flwr.log_once import LogOnce
from syft_flwr.runs.events import AggregatorHeard
from syft_flwr.runs.outcome import end_by_stop
from syft_flwr.runs.stop_request import STOPPED_BY_COMMAND

#: Seconds to wait after a stop until the aggregator has withdrawn its requests; delays of the transport are added.
_SETTLE = 2.0
#: Most stops that are remembered because the rest of their run may come later.
_MOST_EARLY = 16
#: The begin of a run that an earlier process served.
_BEFORE = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ClientSetup:
    """The app of a data owner, and the participants of its runs."""

    client_app: ClientApp | str
    context: Context
    app_name: str
    project_dir: str | Path | None
    participant: Participant
    aggregator: str
    #: Whether another client of this process serves the next run.
    keep: bool = False


class Client:
    """Serves one app of a data owner inside a ``with`` block, until the end of a run.

    Args:
        setup: the app and its participants.
        client_app: the app of ``setup``, or the one that its reference names.
        trust: the keys of the data owner.
        ledger: the database of its requests.
        served: the runs of this process.
        on_turn: called after each look at the files, with its trouble.
    """

    def __init__(
        self,
        setup: ClientSetup,
        client_app: ClientApp | str,
        trust: Trust,
        ledger: Ledger,
        served: ServedRuns,
        on_turn: Callable[[str], object] = lambda _: None,
    ) -> None:
        participant, aggregator, context = setup.participant, setup.aggregator, setup.context
        names = participant.names(setup.app_name)
        self._app = names.app
        self._participant = participant
        self._keep = setup.keep
        self._contexts = participant.app_home(setup.app_name) / "contexts"
        self._trust = trust
        self._ledger = ledger
        runner = RunnerSetup(
            email=participant.email,
            aggregator=aggregator,
            app=names.app,
            encryption=participant.settings.encryption,
            contexts=str(self._contexts),
            node_config=context.node_config,
            share_tracebacks=participant.settings.share_tracebacks,
            links=str(participant.transport.properties.links or ""),
            threads=participant.settings.threads if participant.settings.explicit("threads") else None,
        )
        settings = participant.settings
        self._run_config = OwnerConfig(context.run_config, settings.run_config, settings.run_config_pins)
        self._run_config.warn_of_unused_pins()
        endpoint = participant.endpoint(setup.app_name, trust)
        self._worker = _make_worker(client_app, context.state, runner, setup.project_dir, participant, endpoint)
        self._mine = endpoint.mine
        self._theirs = endpoint.objects_of(aggregator)
        self._aggregator = aggregator
        #: Ids of the open runs that this client serves, including those from before a restart.
        self._runs = ledger.served_runs(participant.clock.now() - RESUMABLE)
        #: By run, the creation of its first request, by the clock of the aggregator.
        self._begun: dict[int, datetime] = {}
        self._served = served
        self._stopped = threading.Event()
        #: The runs that the client served until their stop, each with its state and cause. The first one ends the client.
        self._ended: list[tuple[int, RunState, str]] = []
        self._logged = LogOnce()
        #: The runs of the last stops that came before any other request of their run. Files can arrive in any order.
        self._early_stops = deque[int](maxlen=_MOST_EARLY)
        #: The runs that the data owner stops; the next scan ends them.
        self._to_end = deque[int]()
        #: Whether the app may have written objects of a reply that was not committed.
        self._uncommitted = False
        #: Whether :meth:`serve` has opened the inbox, and answers requests.
        self.has_started = False
        self._responder = Responder(
            endpoint,
            ledger=ledger,
            aggregator=aggregator,
            control=self._control,
            after_the_end=self._control_after_the_end,
            interrupt=self._worker.interrupt,
            is_in_run=lambda: bool(self._runs),
            on_event=self._served.emit,
            on_heard=self._note_heartbeat,
            on_scan=self._end_on_request,
            on_turn=on_turn,
            received=self._served.received,
        )

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # An error that this code does not expect may come from the message, such as a lack of memory.
        is_orderly = not isinstance(error, Exception) or isinstance(error, SyftFlwrError)
        # First, because a service kills a process that does not end soon after SIGTERM.
        is_given_back = not is_orderly or self._responder.give_attempt_back()
        try:
            self._worker.close()
        finally:
            # Also after a signal in the middle of this, because the scanner would write the heartbeat again.
            if self._uncommitted:
                self._responder.delete_uncommitted()
                # The objects of a kept reply may have filled the disk.
                if not is_given_back and self._responder.give_attempt_back():
                    logger.info("{}: there is room again, and this end counts as no crash", self._app)
            self._responder.stop(keep_heartbeat=self._keep)
            for ended in self._ended:
                # The last event, after those of its replies.
                self._served.emit_end(*ended)

    def stop(self) -> None:
        """Make :meth:`serve` return soon, even while the app runs. Safe from any thread."""
        self._stopped.set()
        self._worker.kill()
        self._responder.finish()

    def end_run_soon(self, run: int) -> None:
        """Let the next scan end a run that its data owner stops. Safe from any thread."""
        self._to_end.append(run)
        self._responder.look_soon()

    def _end_on_request(self) -> None:
        while self._to_end:
            run = self._to_end[0]
            if run in self._runs:
                self._end_by_owner(run)
            # Not before, because the database can fail.
            self._to_end.popleft()

    def _end_by_owner(self, run: int) -> None:
        self._responder.end_run(run, RunState.STOPPED, STOPPED_BY_COMMAND)
        self._forget(run)
        logger.info("run {} ({}) is {}", run, self._app, STOPPED_BY_COMMAND)
        self._leave(run, RunState.STOPPED, STOPPED_BY_COMMAND, others=self._runs)

    def load_app(self) -> None:
        """Load the app once, before the data owner is seen.

        Raises:
            AppLoadError: it cannot be loaded.
        """
        if problem := self._worker.load():
            first = (
                "If SYFT_FLWR_WORKER_COMMAND is right, correct"
                if self._participant.settings.worker_command
                else "Correct"
            )
            raise AppLoadError(
                f"the ClientApp of {self._app} cannot be loaded: {problem}",
                hint=f"{first} the app, or install its packages; the lines above tell more. The reference is in "
                "[tool.flwr.app.components].",
            )

    def serve(self) -> None:
        """Answer requests until the run stops or :meth:`stop` is called."""
        self._continue_open_runs()
        self._responder.start()
        self.has_started = True
        self._delete_unused_contexts()
        text = "{} serves {} ({}); own fingerprint: {}"
        seen = self._responder.last_seen()
        logger.info(text, self._trust.email, self._aggregator, seen, self._trust.own_fingerprint)
        self._worker.warm_up()
        patience = self._participant.settings.idle_after
        while not self._stopped.is_set() and (request := self._responder.next(self._rest, after=patience)):
            run = request.header.run
            try:
                old = self._ledger.context(run)
            except StoreError as problem:
                self._responder.give_back(request, problem)
                continue
            self._uncommitted = True
            # It was checked when the request was accepted.
            sent = read_config(request.body)
            reply = self._worker.run(request.header, request.body, old, self._run_config.seen_by_app(sent))
            if self._stopped.is_set():
                break
            answer, new = reply.body.naming(self._run_config.kept_keys(sent)), reply.context
            about = ReplyReport(reply.server_round, reply.records, reply.app_error, reply.metrics)
            committed = self._responder.answer(request, answer, context=new, about=about)
            self._uncommitted = False
            if reply.body.manifest.error and reply.body.manifest.error.code in (Reason.STOPPED, Reason.WORKER_DIED):
                # The app may have been ended in the middle of writing the objects of its reply.
                self._responder.delete_uncommitted()
            superseded = old if committed else new
            if superseded and old != new:
                (self._contexts / superseded).unlink(missing_ok=True)
        # A run that has begun need not wait: the next client takes over the open requests.
        is_awaited = self._keep and self._ended and self._runs
        self._responder.settle(0.0 if is_awaited else _SETTLE + 2 * self._participant.transport.properties.delay)
        self._delete_unused_contexts()

    def _rest(self) -> None:
        seen = self._responder.last_seen()
        if self._worker.rest():
            text = "{}: no request came for {:.0f} s ({}: {}), so the worker is ended; the next request starts it again"
            logger.info(text, self._app, self._participant.settings.idle_after, self._aggregator, seen)

    def _continue_open_runs(self) -> None:
        """Begin the runs with open requests, before their replies are written again."""
        for row in self._ledger.unfinished():
            if row.sender == self._aggregator and row.run in self._runs:
                self._served.begin(row.run)

    def _control(self, request: Request, backlog: bool) -> Body | None:
        header = request.header
        sent = read_config(request.body)
        if header.type != SYSTEM_MESSAGE_TYPE:
            self._begin(header, sent)
            return None
        control = self._read(request)
        if control.action is Action.PING:
            return self._reply(request, pong_records(*self._responder.occupation()))
        if control.action is Action.START:
            self._begin(header, sent)
            if control.interval is not None:
                self._responder.set_interval(header.run, control.interval)
            logger.info("run {} of {} starts ({})", header.run, header.sender, header.app)
        elif control.action is Action.STOP:
            self._end(header.run, control.reason, backlog=backlog)
        return self._reply(request, RecordDict()).naming(self._run_config.kept_keys(sent))

    def _note_heartbeat(self) -> None:
        for run in tuple(self._runs):
            self._served.emit(run, AggregatorHeard(self._aggregator))

    def _begin(self, header: Header, sent: UserConfig) -> None:
        known = header.run in self._begun
        row = None if known else self._ledger.runs.get(header.run)
        digest = self._run_config.note_request(header.run, header.sender, sent, row.config if row else "")
        self._runs.add(header.run)
        self._begun[header.run] = min(header.created, self._begun.get(header.run, header.created))
        values = {} if known else self._run_config.seen_by_app(sent)
        self._served.begin(header.run, config=digest, values=values)
        if not known and row is None:
            self._end_crowded_out(header)

    def _end_crowded_out(self, latest: Header) -> None:
        """End the oldest runs of the aggregator if a new one is one too many: their stops may be lost, or it floods."""
        others = [run for run in self._ledger.open_runs(latest.sender) if run != latest.run]
        for run in others[: max(0, len(others) + 1 - MAX_OPEN_RUNS)]:
            text = "run {} is ended, because {} began {} later runs without an end; no action is needed"
            self._logged.warning(latest.sender, "crowded out", text, run, latest.sender, MAX_OPEN_RUNS)
            self._end_unfinished(run, CROWDED_OUT)

    def _end_unfinished(self, run: int, cause: str) -> None:
        self._responder.end_run(run, RunState.STOPPED, cause)
        self._forget(run)
        self._served.emit_end(run, RunState.STOPPED, cause)

    def _control_after_the_end(self, request: Request) -> Body | None:
        """Return the reply to a ping of a run that is over; None for every other request."""
        if request.header.type != SYSTEM_MESSAGE_TYPE:
            return None
        action = self._read(request).action
        # With a run that is served, this is an old one that the sync service held back.
        if action is Action.START and request.header.run in self._early_stops and not (self._keep or self._runs):
            logger.info("run {} had ended before it started here ({})", request.header.run, self._app)
            self.stop()
        return self._reply(request, pong_records(*self._responder.occupation())) if action is Action.PING else None

    def _read(self, request: Request) -> Control:
        # A control message is small and inline. A large one would block the client.
        if request.body.manifest.objects or len(request.body.inline) > MAX_CONTROL:
            raise MalformedError("a control message is too large")
        return read_control(message_from_buffers(without_config(read(self._theirs, request.body, shared=True))))

    def _reply(self, request: Request, content: RecordDict) -> Body:
        buffers = records_message_to_buffers(content)
        return make_body(buffers, self._mine, run=request.header.run, readers=[request.header.sender])

    def _end(self, run: int, reason: str, *, backlog: bool) -> None:
        (state, cause), was_served = end_by_stop(reason), run in self._runs
        # The sync service can hold the requests of a run back, until the next run has begun.
        begun = self._begun.get(run, _BEFORE)
        later = {each for each in self._runs - {run} if self._begun.get(each, _BEFORE) > begun}
        self._responder.end_run(run, state, cause)
        self._forget(run)
        # An aggregator serves one run of an app at a time, so the stop of an earlier one was lost.
        for replaced in self._ledger.replaced_by(run, self._aggregator) if was_served else ():
            if replaced in later:
                continue
            self._end_unfinished(replaced, SUPERSEDED)
        if backlog or not was_served:
            if was_served:
                self._served.emit_end(run, state, cause)
            elif not backlog:
                self._early_stops.append(run)
            logger.info(
                "run {} is over ({}); this client did not serve it and continues ({})", run, cause or state, self._app
            )
            return
        self._leave(run, state, cause, others=later)

    def _leave(self, run: int, state: RunState, cause: str, *, others: Collection[int]) -> None:
        """End this client after the end of a run, unless it works for another one."""
        if others or (self._keep and self._responder.running_run() not in (None, run)):
            # The worker must not lose the work of a run that began before the end of this one.
            self._served.emit_end(run, state, cause)
            logger.info("run {} is over ({}); this client works for another run ({})", run, cause or state, self._app)
            return
        next_step = f"; the client waits for the next run of {self._aggregator}" if self._keep else ""
        logger.info("run {} is over ({}; {}){}", run, cause or state, self._app, next_step)
        self._ended.append((run, state, cause))
        self.stop()

    def _forget(self, run: int) -> None:
        self._runs.discard(run)
        self._begun.pop(run, None)
        self._run_config.forget(run)

    def _delete_unused_contexts(self) -> None:
        try:
            used = self._ledger.contexts()
        except StoreError as error:
            # Old states do no harm. The next start or end of a run deletes them.
            logger.warning(
                "{}: old states of the app are kept until the next start or end of a run: {}",
                self._app,
                error.diagnose(),
            )
            return
        for path in unused_states(self._contexts, used):
            path.unlink()


def _make_worker(
    client_app: ClientApp | str,
    state: RecordDict,
    setup: RunnerSetup,
    project_dir: str | Path | None,
    participant: Participant,
    endpoint: Endpoint,
) -> Worker:
    folder = str(Path(project_dir).resolve()) if project_dir else ""
    command = participant.settings.worker_command
    pickled: bytes | PickledApp = b""
    if not isinstance(client_app, str):
        sent = None if participant.in_process else PickledApp.make(client_app, participant.app_home(setup.app))
        if sent is None and command and not participant.in_process:
            raise AppLoadError(
                "the ClientApp cannot be sent to a worker process, and worker_command is set",
                hint="Pass a reference 'module:app' instead of the app.",
            )
        if sent is None:
            return InProcess(AppRunner(client_app, setup, participant.transport, state, participant.clock))
        pickled = sent
    near, near_folder = None, participant.app_home(setup.app) / "worker"
    reopening = participant.transport.reopen()
    if reopening is None:
        near = open_near(near_folder, participant.email)
        reopening = near.reopen()
        # The worker writes into a local folder, but its files travel over the transport of the client.
        setup = replace(setup, limits=LayoutLimits.of(participant.transport.properties))
    worker_setup = WorkerSetup(
        runner=setup,
        transport=reopening,
        app="reference" if isinstance(client_app, str) else "pickle",
        reference=client_app if isinstance(client_app, str) else "",
        project_dir=folder,
        import_path=[folder] if folder and isinstance(client_app, str) else [*filter(None, [folder]), *own_folders()],
    )
    worker = WorkerProcess(worker_setup, pickled, state, participant.clock, WorkerCommand(command or ""))
    if near is None:
        return worker
    theirs = endpoint.objects_of(setup.aggregator)
    return RelayedWorker(worker, near, near_folder, endpoint.mine, theirs, participant.clock)
