"""Implements Flower's ``Grid`` (``flwr.serverapp.Grid``) over files.

* Every message gets exactly one reply: that of the data owner, or an error ``Message`` with a reason. So the counts of a
  strategy are always complete.
* A reply always comes from the node that got the message, and answers this message: its signature covers the sender and
  the request. So the metadata of the reply are made on this side and are not taken from the peer.
* The grid is thread-safe: legacy strategies call it from one thread for each node.
"""

import gc
import inspect
import secrets
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain
from types import TracebackType
from typing import Self

from flwr.app import DEFAULT_TTL, Message, Metadata, RecordDict
from flwr.serverapp import Grid

from syft_flwr._messaging.asking import Ask, Caller, KeptAnswers, Outcome, RoundLimits, WaitLimits
from syft_flwr._messaging.wire import Reason
from syft_flwr._messaging.wire.limits import MAX_LIFETIME
from syft_flwr._store.futures import Futures
from syft_flwr._store.run_table import RunRow
from syft_flwr._store.states import RunState
from syft_flwr.config import load_settings
from syft_flwr.config.run_config import RunConfig
from syft_flwr.config.user_config import checked_user_config
from syft_flwr.errors import LocalProtocolError, StoreError
from syft_flwr.fl_orchestrator.codec import array_bytes, message_to_buffers
from syft_flwr.fl_orchestrator.control import Action, control_message, heartbeat_interval
from syft_flwr.fl_orchestrator.labels import error_of, round_of
from syft_flwr.fl_orchestrator.node_waits import NodeWaits
from syft_flwr.fl_orchestrator.nodes import Nodes
from syft_flwr.fl_orchestrator.participant import Participant, open_participant, require_participant
from syft_flwr.fl_orchestrator.ping import NoPong, Pong, ping
from syft_flwr.fl_orchestrator.process_runs import GridRun
from syft_flwr.fl_orchestrator.replies import make_reply, reply_from_buffers
from syft_flwr.fl_orchestrator.reply_forms import ReplyForms
from syft_flwr.fl_orchestrator.reply_growth import ReplyGrowth
from syft_flwr.fl_orchestrator.reply_metrics import metrics_of
from syft_flwr.fl_orchestrator.request_config import PLACE, config_to_buffer, with_config
from syft_flwr.fl_orchestrator.rounds import Rounds
from syft_flwr.fl_orchestrator.run_random import set_states, taken_states
from syft_flwr.fl_orchestrator.served_runs import ServedRuns, participant_facts
from syft_flwr.flower import (
    SUPERLINK_NODE_ID,
    SYSTEM_MESSAGE_TYPE,
    Run,
    set_message_id,
    set_origin,
)
from syft_flwr.locks import ProcessLock
from syft_flwr.log import logger
from syft_flwr.log_once import OURSELVES, LogOnce
from syft_flwr.old_arguments import takes_old_arguments
from syft_flwr.runs.events import CONTROL, STOP_GROUP, ConfigKept, RequestEnded
from syft_flwr.runs.outcome import RETURNED, AppEnd, RunOutcome, end_of, judge
from syft_flwr.runs.record import runs_folder
from syft_flwr.runs.stop_request import STOPPED_BY_COMMAND
from syft_flwr.runs.stream import EventStream
from syft_flwr.runs.subscriber import OnEvent
from syft_flwr.shutdown import interrupt
from syft_flwr.strategy_hook import following_strategies
from syft_flwr.text import printable

#: Seconds to wait until the data owners confirm a stop. An offline data owner reads the stop when it returns.
_STOP_PATIENCE = 5.0

#: The timeout that each strategy of Flower's Message API passes if the app sets none.
_STRATEGY_TIMEOUT = 3600

#: Losses in the record; the worst ones.
_MOST_LOSSES = 200
#: Keys of a run configuration in one line of the log.
_MOST_SHOWN = 20
#: Bytes of replies after which a round starts with a garbage collection (40 ms if Flower is loaded).
_COLLECT_EVERY = 64 << 20


class SyftGrid(Grid):
    """Sends and receives Flower messages as files.

    Args:
        app_name: the name shared by all participants, with or without ``flwr/`` before it.
        datasites: the data owners' emails; by default from the settings.
        client: the participant; by default from the settings.
        on_event: called with each entry of the record of a run, in a thread of its own. It can neither stop nor delay the
            run: exceptions and entries that it is too slow for are counted.
        strict: a completed run with losses is recorded as no success; by default from the settings.

    Raises:
        ConfigError: a name or email is not valid, or the datasites or the participant are not set. Or the setting
            ``msg_timeout`` is too short for the transport.
        StoreError: another server of this app runs here, or a private file cannot be used.
        TransportError: the transport cannot be opened.
    """

    @takes_old_arguments({}, {"rpc": "the setting transport (SYFT_FLWR_TRANSPORT) chooses how files travel"})
    def __init__(
        self,
        app_name: str,
        datasites: Iterable[str] | None = None,
        client: Participant | None = None,
        *,
        on_event: OnEvent | None = None,
        strict: bool | None = None,
    ) -> None:
        require_participant(client, "SyftGrid()")
        chosen = client.settings if client else load_settings(app_name=app_name)
        self._nodes = Nodes(chosen.require("datasites") if datasites is None else datasites)
        self._participant = client or open_participant(chosen, peers=self._nodes.emails)
        home, settings = self._participant.app_home(app_name), self._participant.settings
        self._strict = settings.strict if strict is None else strict
        with ExitStack() as opened:
            if client is None:
                opened.callback(self._participant.transport.close)
            self.app_name = app = self._participant.names(app_name).app
            self._interval = heartbeat_interval(settings, self._participant.transport.properties)
            lock = ProcessLock(home / "server.lock", f"a server of {app} for {self._participant.email}")
            opened.enter_context(lock)
            self._futures = opened.enter_context(closing(Futures(home / "futures.db")))
            self._trust = opened.enter_context(self._participant.open_trust(app))
            self._events = EventStream(runs_folder(home), "aggregator", self._participant.clock, on_event)
            opened.callback(self._events.close)
            self._events.watch_stops(home, self._stop_on_request)
            opened.enter_context(self._events.capturing_log())
            # A failed start closes everything that it opened, so a retry in the same process can succeed.
            self._opened = opened.pop_all()
        facts = partial(participant_facts, app, self._participant.email, self._trust, settings)
        self._served = ServedRuns(
            self._futures.runs, runs_folder(home), self._events.emit, self._participant.clock, "aggregator", facts
        )
        self._growth = ReplyGrowth()
        self._caller = Caller(
            self._participant.endpoint(app_name, self._trust),
            futures=self._futures,
            datasites=self._nodes.emails,
            kept_answers=KeptAnswers(home / "journal", settings.journal_limit, len(self._nodes.emails)),
            # A ping may have the id of no run.
            on_event=self._served.emit,
            error_in=error_of,
            metrics_in=metrics_of,
            refuse=self._growth.refuse,
            limits=WaitLimits(
                RoundLimits(self._participant.clock, settings.min_replies, settings.grace, settings.round_timeout),
                settings.msg_timeout,
            ),
            watch_all=settings.nodes == "online",
            last_run=partial(self._futures.last_run, control=SYSTEM_MESSAGE_TYPE, stop=STOP_GROUP),
            decode=reply_from_buffers,
        )
        self._rounds = Rounds(self._events.emit, 0)
        self._forms = ReplyForms()
        self._run: Run | None = None
        self._in_process: GridRun | None = None
        #: How the run ended, after that was recorded.
        self._outcome: RunOutcome | None = None
        self._end_recorded = self._end_emitted = False
        #: The thread that set the run, which a request of ``syft-flwr stop`` interrupts; None after the end was decided.
        self._app_thread: threading.Thread | None = None
        self._stop_lock = threading.Lock()
        #: Whether such a request came.
        self._stop_asked = False
        self._closed = False
        self._started = False
        self._asked: dict[str, Metadata] = {}
        self._asked_lock = threading.Lock()
        self._waits = NodeWaits(
            app,
            len(self._nodes.ids),
            self._participant.clock,
            is_busy=lambda: bool(self._asked),
            emit=lambda event: self._events.emit(self.run.run_id, event),
        )
        self._received_bytes = 0
        #: The run configuration of each request.
        self._config = config_to_buffer({})
        self._sent_keys: frozenset[str] = frozenset()
        #: The data owners that kept own values in this run.
        self._keepers: set[str] = set()
        self._logged = LogOnce()
        self._announced: list[str] = []
        self._stops: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        end = self.end_of(error)
        if isinstance(error, Exception):
            # The program of the user made this error, and its record is on the machine of the user.
            why = self._forms.explain(error)
            end = AppEnd(f"{type(error).__name__}: {error}" + (f"; {why}" if why else ""))
        self.end_run(end)
        self.close()

    def interrupted_run(self) -> RunRow | None:
        """Return the latest run of the last 31 days that an earlier process began and did not end, or None."""
        return self._futures.interrupted_run(self._participant.clock.now())

    def last_round(self, run: int) -> str:
        """Return the round of the last recorded request of a run; empty if there is none."""
        return self._futures.last_round(run, control=SYSTEM_MESSAGE_TYPE)

    def set_run(self, run: Run | int, *, overridden: Iterable[str] = ()) -> None:
        """Set the run of all messages, delete files of earlier runs, and send a start to the data owners.

        If an earlier process began this run, the run continues. A repeated request gets its kept reply. A request that
        is still open is not sent again, and its reply is awaited. The global random numbers of Python, NumPy and PyTorch
        continue as they were at its begin.

        Args:
            run: a positive 63-bit id, or Flower's ``Run``. Its ``override_config`` travels with each request, and replaces
                values of the projects of the data owners.
            overridden: the keys of ``override_config`` that replace values of the own project, if the caller knows them.

        Raises:
            ConfigError: the configuration is not allowed, or the run continues and was started with another one.
            TypeError: ``run`` is of another type.
            ValueError: the id is not from 1 to 2^63 - 1.
        """
        run = _checked_run(run)
        config = RunConfig(checked_user_config(run.override_config, "override_config of the run"), tuple(overridden))
        # Before anything is sent or recorded.
        self._require_same_config(run.run_id, config)
        self._emit_end()
        self._outcome, self._end_recorded, self._end_emitted = None, False, False
        self._app_thread, self._stop_asked = threading.current_thread(), False
        self._run, self._config, self._keepers = run, config_to_buffer(config.values), set()
        self._sent_keys = frozenset(config.values)
        self._leave_process()
        self._in_process = GridRun(run.run_id)
        self._waits.begin()
        self._growth.begin()
        self._rounds, self._forms = Rounds(self._events.emit, self._run.run_id), ReplyForms()
        # First, because the next call deletes the files of the runs that this one takes the place of.
        if self._served.begin(self._run.run_id, alone=True, config=config.encode(), values=config.values):
            self._repeat_random_numbers(self._run.run_id)
        on_record = self._caller.open_run(self._run.run_id)
        if on_record:
            text = "run {} ({}) continues: {} of its requests are on record"
            logger.info(text, self._run.run_id, self.app_name, on_record)
        self._start()
        self._announced = self._send_control(Action.START, "Server started", group_id="")

    def _require_same_config(self, run: int, config: RunConfig) -> None:
        row = self._futures.runs.get(run)
        if row and row.state is RunState.RUNNING and row.config:
            RunConfig.decode(row.config).require_same(config.values, run)

    def _repeat_random_numbers(self, run: int) -> None:
        now = taken_states()
        if (before := self._futures.keep_states(run, now)) != now:
            set_states(before)

    def _start(self) -> None:
        if not self._started:
            mine = self._participant.endpoint(self.app_name, self._trust)
            owners = self._nodes.emails
            mine.publish(owners, [mine.names.messages_of(owner, mine.email) for owner in owners])
            self._caller.start()
            self._started = True

    def ping(self, timeout: float) -> dict[str, Pong | NoPong]:
        """Ask every data owner's client whether it is there. It replies at once, also while its app runs.

        A ping starts no run, and changes none. It also works before :meth:`set_run`.

        Args:
            timeout: seconds to wait for the replies, above 0.

        Returns:
            By email, one result for each data owner, which is its reply or the reason why no valid reply came in time.
        """
        if timeout <= 0:
            raise ValueError("the timeout of a ping must be positive")
        self._start()
        # Outside a run, a run id that no run has.
        run = self._run.run_id if self._run else secrets.randbelow((1 << 63) - 1) + 1
        return ping(self._caller, self._nodes.emails, run=run, timeout=timeout)

    @contextmanager
    def following_strategies(self) -> Iterator[None]:
        """Record the metrics and the number of rounds of each Flower strategy that runs inside the ``with`` block.

        Results of a legacy strategy that would grow without bound together become failures before it aggregates them.
        """
        self._growth.settles = True
        try:
            with following_strategies(self._rounds, self._waits.waiting, self._settle):
                yield
        finally:
            self._growth.settles = False

    def _settle(self, server_round: int) -> dict[str, Exception]:
        refused: dict[str, Exception] = {}
        for node, error in self._growth.settle(str(server_round) if server_round else "").items():
            text = "run {} ({}): the reply of {} in round {} is not used: {}"
            email = self._nodes.email(node)
            # Strategies that contain others ask twice.
            key = f"{email} {self.run.run_id} {server_round}"
            self._logged.warning(email, key, text, self.run.run_id, self.app_name, email, server_round, error)
            refused[str(node)] = error
        return refused

    @property
    def run(self) -> Run:
        """Return a copy of the run; RuntimeError before :meth:`set_run`."""
        if self._run is None:
            raise RuntimeError("no run is set: call set_run() first")
        return replace(self._run)

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Return a message of this run. Flower has deprecated this call; use ``Message(…)`` instead."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> list[int]:
        """Return the node ids of all datasites; with ``SYFT_FLWR_NODES=online``, of those with a recent heartbeat.

        Raises:
            RunError: the caller waits for more nodes than the run has datasites.
        """
        nodes = self._nodes.ids
        if self._participant.settings.nodes != "all":
            nodes = [node for node in nodes if self._caller.is_online(self._nodes.email(node))]
        here = inspect.currentframe()
        self._waits.note_look(len(nodes), here.f_back if here else None)
        return nodes

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Send messages; return their ids, in order.

        Raises:
            ValueError: a message is of another run, is a reply, has an unknown node, or has a ttl of 0 or less.
            LocalProtocolError: a data owner would refuse a record of a message. No message of this call is sent.
        """
        batch = list(messages)
        self._waits.note_progress()
        try:
            outgoing = [self._outgoing(message) for message in batch]
        except LocalProtocolError as error:
            # A legacy strategy only counts this exception as a failed client, and shows no text.
            self._logged.error(OURSELVES, error, "run {} ({}): {}", self.run.run_id, self.app_name, error.diagnose())
            raise
        self._rounds.note_sent(outgoing)
        self._note_forms(batch)
        ids = self._caller.send(outgoing)
        self._growth.note_requests(zip(ids, batch, strict=True))
        for message_id, message in zip(ids, batch, strict=True):
            set_message_id(message, message_id)
            with self._asked_lock:
                self._asked[message_id] = message.metadata
        self._collect_garbage()
        return ids

    def _note_forms(self, messages: Iterable[Message]) -> None:
        for reply, effect in chain.from_iterable(map(self._forms.note_request, messages)):
            text = "run {} ({}): {}; {}"
            self._logged.warning(OURSELVES, reply, text, self.run.run_id, self.app_name, reply, effect)

    def _collect_garbage(self) -> None:
        """Free the memory of earlier replies while the data owners work on this round.

        Flower's strategies use ``RecordDict.array_records``, which puts a reply into a reference cycle. Python counts
        objects and not bytes, so it would keep large replies for a long time.
        """
        with self._asked_lock:
            due = self._received_bytes >= _COLLECT_EVERY
            self._received_bytes = 0 if due else self._received_bytes
        if due:
            gc.collect()

    def _outgoing(self, message: Message) -> Ask:
        metadata, run = message.metadata, self.run.run_id
        if metadata.run_id != run:
            if not (self._in_process and self._in_process.may_send(metadata.run_id)):
                raise ValueError(f"the message is of run {metadata.run_id}; this grid serves run {run}")
            set_origin(message, run, SUPERLINK_NODE_ID)
        if metadata.reply_to_message_id or metadata.ttl <= 0:
            raise ValueError("a message to send must not be a reply, and its ttl must be positive")
        control = metadata.message_type == SYSTEM_MESSAGE_TYPE
        return Ask(
            recipient=self._nodes.email(metadata.dst_node_id),
            run=metadata.run_id,
            type=metadata.message_type,
            group=metadata.group_id,
            # Flower sets its default if the app sets none. A hospital can be offline for longer.
            lifetime=MAX_LIFETIME.total_seconds() if metadata.ttl == DEFAULT_TTL else metadata.ttl,
            buffers=with_config(message_to_buffers(message), self._config),
            round=round_of(message),
            # A start is sent again when a run continues: the data owner may have restarted and not know the run.
            once=not control or metadata.group_id == STOP_GROUP,
            in_a_round=not control,
            always_inline=(0, PLACE) if control else (PLACE,),
        )

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Return the replies that have arrived, each of them once. Does not wait."""
        replies = [self._reply(outcome) for outcome in self._caller.collect(list(message_ids))]
        if replies:
            self._waits.note_progress()
        return replies

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Send messages, wait for the replies, and return one reply for each message, in their order.

        Args:
            messages: the messages to send.
            timeout: seconds to wait from this call. None, and Flower's default 3,600, are no limit. A node without a
                reply by then yields an error message. The settings ``msg_timeout``, ``round_timeout`` and
                ``min_replies`` and the ``ttl`` of a message also end a wait; the earliest limit wins.

        Returns:
            The replies, of which some may be error messages.

        Raises:
            ValueError: a message cannot be sent, see :meth:`push_messages`.
        """
        ids = self.push_messages(messages)
        if timeout is not None and timeout != _STRATEGY_TIMEOUT:
            self._caller.limit_call(ids, timeout)
        self._caller.wait(ids)
        return self.pull_messages(ids)

    def _reply(self, outcome: Outcome[Message]) -> Message:
        self._note_kept_keys(outcome)
        with self._asked_lock:
            asked = self._asked.pop(outcome.id)
            if outcome.answer is not None:
                self._received_bytes += array_bytes(outcome.answer)
        reply = make_reply(outcome, asked, self._participant.clock.now())
        self._forms.note_reply(outcome.recipient, reply)
        return reply

    def _note_kept_keys(self, outcome: Outcome[Message]) -> None:
        """Log and record once for each data owner and run the keys for which it kept its own values."""
        # A data owner could name any text.
        kept = tuple(key for key in outcome.kept_keys if key in self._sent_keys)
        if not kept or outcome.recipient in self._keepers:
            return
        self._keepers.add(outcome.recipient)
        run, keys = self.run.run_id, ", ".join(kept[:_MOST_SHOWN])
        more = len(kept) - _MOST_SHOWN
        text = "run {} ({}): {} keeps its own run configuration for {}{}"
        logger.info(text, run, self.app_name, outcome.recipient, keys, f" and {more} more keys" if more > 0 else "")
        self._events.emit(run, ConfigKept(outcome.recipient, kept))

    def send_stop_signal(self, group_id: str = STOP_GROUP, reason: str | None = None) -> None:
        """Send a stop to every data owner, and wait some seconds for their confirmations.

        A data owner that is offline reads the stop when it returns within the lifetime of the message.

        Args:
            group_id: the group of the messages.
            reason: ``Server stopped``, ``Server failed`` or ``Server interrupted``. By default that of the outcome of the run, which this call decides. An
                exception that is handled at this moment is one of the ServerApp.
        """
        reason = reason or self.decide_end(self.end_of(sys.exception())).stop_reason
        # A client ignores the stop of an unknown run, so the start must arrive before the stop.
        patience = _STOP_PATIENCE + 2 * self._participant.transport.properties.delay
        self._caller.wait(self._announced, timeout=patience)
        self._caller.give_up(self._announced, "the run is over")
        for outcome in self._caller.collect(self._announced):
            self._note_kept_keys(outcome)
        self._stops = self._send_control(Action.STOP, reason, group_id=group_id)
        self._caller.wait(self._stops, timeout=patience)
        confirmed = {outcome.id: outcome for outcome in self._caller.collect(self._stops)}
        for message_id, node in zip(self._stops, self._nodes.ids, strict=True):
            reply = confirmed.get(message_id)
            if reply is None:
                self._note_unconfirmed(message_id, self._nodes.email(node), patience)
            elif reply.failure:
                logger.warning(
                    "{} has not confirmed the end of the run: {}; if its client still runs, its owner must stop it",
                    reply.recipient,
                    reply.failure.text,
                )

    def _note_unconfirmed(self, message_id: str, email: str, patience: float) -> None:
        """Log and record a stop that stays in the folder for a data owner that is offline or slow."""
        text = f"the end of the run was not confirmed within {patience:.0f} s; the data owner reads it when it returns"
        logger.info("run {} ({}): {}: {}", self.run.run_id, self.app_name, email, text)
        ended = RequestEnded(
            message=message_id, data_owner=email, kind=CONTROL, outcome="failed", reason=Reason.NO_ANSWER, text=text
        )
        self._served.emit(self.run.run_id, ended)

    def _send_control(self, action: Action, reason: str, *, group_id: str) -> list[str]:
        nodes = self._nodes.ids
        interval = self._interval if action is Action.START else None
        messages = [
            control_message(action, reason, dst_node_id=node, group_id=group_id, interval=interval) for node in nodes
        ]
        return self._caller.send([self._outgoing(message) for message in messages])

    def end_of(self, error: BaseException | None) -> AppEnd:
        """Return how a ServerApp ended that raised ``error``, and why.

        If a strategy could not aggregate the latest replies, the text names the data owners whose replies differ, and the
        error gets it as a note, which its traceback shows.
        """
        end, why = end_of(error), self._forms.explain(error)
        if end.interruption and self._stop_asked:
            end = AppEnd(interruption=STOPPED_BY_COMMAND)
        if error is None or not why or not end.failure:
            return end
        if why not in getattr(error, "__notes__", ()):
            error.add_note(why)
        return replace(end, failure=f"{end.failure}; {why}")

    def decide_end(self, end: AppEnd = RETURNED) -> RunOutcome:
        """Decide how the run ended, unless that was done before. After a crash before its record, the run continues.

        Replies that have arrived count, also if the app did not collect them.
        """
        with self._stop_lock:
            # A later request must not interrupt the thread in its next work.
            self._app_thread = None
        if self._outcome is None and self._run:
            # From here on, no reply changes the outcome.
            self._caller.stop_open(self._run.run_id, control=CONTROL)
            self._outcome = self._judge(end)
        return self._outcome or judge((), end)

    def _stop_on_request(self, run: int) -> bool:
        """Interrupt the ServerApp as Ctrl-C does. In another thread than the main one, its wait for replies ends, too."""
        with self._stop_lock:
            thread = self._app_thread
            if thread is None or self._stop_asked or self._run is None or self._run.run_id != run:
                return True
            self._stop_asked = True
            logger.info("run {} ({}) is {}", run, self.app_name, STOPPED_BY_COMMAND)
            interrupt(thread)
        if thread is not threading.main_thread():
            self._caller.stop_open(run, control=CONTROL)
        return True

    def end_run(self, end: AppEnd = RETURNED) -> RunOutcome:
        """Decide how the run ended, and record it, unless that was done before. :meth:`close` does it for a run that returned.

        A stop is sent before, so that a crash between the two loses no stop.
        """
        outcome = self.decide_end(end)
        if self._end_recorded or not self._run:
            return outcome
        self._end_recorded = True
        try:
            cause = self._cause_of(outcome)
            self._futures.runs.end(self._run.run_id, outcome.state, cause, self._participant.clock.now())
        except StoreError as error:
            text = (
                "the end of run {} ({}) cannot be recorded, so the next server resumes it, unless it gets --fresh: {}"
            )
            logger.error(text, self._run.run_id, self.app_name, error.diagnose())
        return outcome

    def _judge(self, end: AppEnd) -> RunOutcome:
        if not self._run:
            return judge((), end)
        run = self._run.run_id
        try:
            collected = self._futures.replies(run, control=CONTROL)
        except StoreError as error:
            # What cannot be counted must not look like a success.
            return judge((), end if end != RETURNED else AppEnd(f"its replies cannot be counted: {error}"))
        return judge([*collected, *self._caller.uncollected(run, control=CONTROL)], end)

    def close(self) -> None:
        """Withdraw open requests, delete the objects of this participant, and close everything. Later calls do nothing.

        Stops are kept, so that an offline data owner reads them when it returns.
        """
        if self._closed:
            return
        self._closed = True
        try:
            self.end_run()
            self._caller.close(keep=self._stops)
        finally:
            # The last event, after the ends of the open requests.
            self._emit_end()
            self._leave_process()
            self._opened.close()

    def _leave_process(self) -> None:
        if self._in_process:
            self._in_process.end()

    def _emit_end(self) -> None:
        if self._run and self._outcome and not self._end_emitted:
            self._end_emitted = True
            losses = [loss.as_fields() for loss in self._outcome.losses[:_MOST_LOSSES]]
            self._served.emit_end(self._run.run_id, self._outcome.state, self._cause_of(self._outcome), losses)

    def _cause_of(self, outcome: RunOutcome) -> str:
        """Return the cause of an end; that of a completed run is the reason why it is no success."""
        return printable(outcome.refusal(strict=self._strict))


def _checked_run(run: object) -> Run:
    # A bool is an int for Python.
    if isinstance(run, bool) or not isinstance(run, (int, Run)):
        raise TypeError(f"set_run() needs a Run or an int, not {type(run).__name__}")
    checked = Run.create_empty(run) if isinstance(run, int) else run
    if not 0 < checked.run_id < 1 << 63:
        raise ValueError(f"the id of a run is from 1 to 2^63 - 1, not {checked.run_id}")
    return checked
