"""A small federation in threads of this process. A test can start and stop each participant.

The participants are the real ones: :class:`SyftGrid` for the aggregator, :func:`syftbox_flwr_client` for each data
owner. The test controls only the storage between them.
"""

import contextlib
import itertools
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from faultkit.app import client_app
from faultkit.clock import StillClock
from faultkit.halting import halt
from faultkit.journal import Journal
from faultkit.storage import Spy, Storage
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from waiting import PATIENCE, eventually

from syft_flwr.clock import SystemClock
from syft_flwr.config import load_settings
from syft_flwr.fl_orchestrator import SyftGrid, syftbox_flwr_client
from syft_flwr.fl_orchestrator.client import ClientSetup
from syft_flwr.fl_orchestrator.nodes import node_id_of
from syft_flwr.fl_orchestrator.participant import Participant
from syft_flwr.fl_orchestrator.serving import Serving, open_serving
from syft_flwr.names import AppNames

APP = "faults"
NAMES = AppNames(APP)
AGGREGATOR = "ds@university.example"
OWNERS = ("do0@hospital-0.example", "do1@hospital-1.example")
OUTSIDER = "evil@elsewhere.example"
#: The longest time that a stop may take, in seconds. The design promises it, so a test waits no longer.
STOP_LIMIT = 5.0

#: Seconds in which open work should end without a jump of the clock.
_STANDSTILL = 3.0


def make_context(journal: Journal) -> Context:
    return Context(run_id=0, node_id=0, node_config={}, state=RecordDict(), run_config={"journal": str(journal.path)})


def question(behaviour: str) -> RecordDict:
    return RecordDict({"ask": ConfigRecord({"behaviour": behaviour})})


@dataclass
class Owner:
    """A data owner. Its client is a thread, from :meth:`start` until the run stops, or until :meth:`end` if it is kept."""

    participant: Participant
    journal: Journal
    spy: Spy
    app: str = APP
    aggregator: str = AGGREGATOR
    client_app: ClientApp | str = client_app
    thread: threading.Thread | None = None
    error: BaseException | None = None
    #: The service of a kept client.
    serving: Serving | None = None

    @property
    def email(self) -> str:
        return self.participant.email

    @property
    def is_running(self) -> bool:
        return self.thread is not None and self.thread.is_alive()

    def start(self) -> None:
        """Start the client, and wait until it has scanned its folders once."""
        assert not self.is_running
        scans = self.spy.scans
        self.error = None
        self.thread = threading.Thread(target=self._serve, name=f"client of {self.email}", daemon=True)
        self.thread.start()
        # The client lists the old requests before its first scan.
        eventually(lambda: self.spy.scans > scans + 1 or not self.is_running, f"the first scan of {self.email}")

    def _serve(self) -> None:
        try:
            if self.participant.settings.keep:
                self._keep_serving()
                return
            syftbox_flwr_client(
                self.client_app,
                make_context(self.journal),
                self.app,
                client=self.participant,
                aggregator=self.aggregator,
            )
        except BaseException as error:  # noqa: BLE001 - the test checks it
            self.error = error

    def _keep_serving(self) -> None:
        context = make_context(self.journal)
        setup = ClientSetup(self.client_app, context, self.app, None, self.participant, self.aggregator, keep=True)
        with open_serving(setup) as self.serving:
            self.serving.serve()

    @property
    def is_asleep(self) -> bool:
        """Return whether the main thread of the client waits on a clock that stands still."""
        clock = self.participant.clock
        return isinstance(clock, StillClock) and self.thread is not None and self.thread.ident in clock.asleep

    def end(self) -> None:
        """Let a kept client end, as a signal does in a program of its own."""
        if self.serving:
            self.serving.stop()

    def join(self, timeout: float = PATIENCE) -> None:
        """Wait until the client has ended. Raise the error with which it ended, if any."""
        assert self.thread is not None
        self.thread.join(timeout)
        assert not self.thread.is_alive(), f"the client of {self.email} still runs after {timeout:g} s"
        if self.error:
            raise self.error


@dataclass
class Federation:
    """One aggregator and some data owners over a storage. The exit stops the run and waits for all clients."""

    root: Path
    storage: Storage
    emails: Sequence[str] = OWNERS
    aggregator: str = AGGREGATOR
    clock: StillClock | SystemClock = field(default_factory=SystemClock)
    app: str = APP
    #: Settings, by email.
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    client_app: ClientApp | str = client_app

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self.owners = {email: self._make_owner(email) for email in self.emails}
        self.spy = Spy(self.storage.open(self.aggregator))
        self.participant = self._participant(self.aggregator, self.spy)
        self.grid: SyftGrid | None = None
        self._runs = itertools.count(1001)

    def _participant(self, email: str, spy: Spy) -> Participant:
        settings = load_settings(environ={}, email=email, home=self.root, **self.options.get(email, {}))
        return Participant(settings, spy, in_process=not self.storage.workers, clock=self.clock)

    def _make_owner(self, email: str) -> Owner:
        spy = Spy(self.storage.open(email))
        return Owner(
            self._participant(email, spy),
            Journal(self.root / f"{email}.journal"),
            spy,
            app=self.app,
            aggregator=self.aggregator,
            client_app=self.client_app,
        )

    @property
    def names(self) -> AppNames:
        return AppNames(self.app)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            for spy in (self.spy, *(owner.spy for owner in self.owners.values())):
                spy.inner.close()

    def __getitem__(self, email: str) -> Owner:
        return self.owners[email]

    def start(self, *emails: str) -> None:
        """Start the clients of these data owners, by default of all, and begin a run."""
        for email in emails or self.emails:
            self.owners[email].start()
        self.begin_run()

    def introduce(self) -> None:
        """Open each inbox and publish each key, as an earlier start of all participants would have done."""
        for owner in self.owners.values():
            owner.spy.open_inbox(self.names.inbox(owner.email))
        for participant in (self.participant, *(owner.participant for owner in self.owners.values())):
            with participant.open_trust() as trust:
                trust.publish()
        self.storage.settle()

    def begin_run(self, run: int | None = None) -> int:
        """Begin a run at the aggregator, and return its id."""
        if self.grid is None:
            self.grid = SyftGrid(self.app, self.emails, client=self.participant)
        run = next(self._runs) if run is None else run
        self.grid.set_run(run)
        return run

    def push(self, behaviour: str = "answer", *emails: str, **records: RecordDict) -> list[str]:
        """Send a message to these data owners, by default to all. Return the message ids in order."""
        assert self.grid is not None
        return self.grid.push_messages(self.messages(behaviour, *emails, **records))

    def messages(self, behaviour: str = "answer", *emails: str, group: str = "", **records: Any) -> list[Message]:
        assert self.grid is not None
        made = []
        for email in emails or self.emails:
            content = question(behaviour)
            for name, record in records.items():
                content[name] = record
            message = Message(content, node_id_of(email), "query", group_id=group)
            # Flower takes the run id from the process, and an app in another thread may have changed it.
            message.metadata.__dict__["_run_id"] = self.grid.run.run_id
            made.append(message)
        return made

    def pull(self, ids: Sequence[str], timeout: float = PATIENCE) -> list[Message]:
        """Wait for the replies to these messages, and return them in order."""
        assert self.grid is not None
        grid, replies = self.grid, {}

        def all_there() -> bool:
            for reply in grid.pull_messages(ids):
                replies[reply.metadata.reply_to_message_id] = reply
            return len(replies) == len(ids)

        eventually(all_there, f"{len(ids)} replies", timeout)
        return [replies[message_id] for message_id in ids]

    def ask(self, behaviour: str = "answer", *emails: str, timeout: float = PATIENCE) -> list[Message]:
        """Send a message to these data owners, by default to all. Wait as an app does, and return one reply for each."""
        return self.exchange(self.messages(behaviour, *emails), timeout=timeout)

    def exchange(self, messages: Sequence[Message], *, timeout: float = PATIENCE) -> list[Message]:
        """Send these messages, wait as an app does, and return one reply for each."""
        assert self.grid is not None
        # After PATIENCE real seconds the clock moves, so a missing reply fails the test and does not block it.
        with passing_time(self.clock, after=PATIENCE):
            return self.grid.send_and_receive(messages, timeout=timeout)

    def assert_served(self, *emails: str) -> list[dict[str, Any]]:
        """Send a message to these data owners, by default to all. Return the contents of the replies; an error fails."""
        return [answer_of(reply) for reply in self.ask("answer", *emails)]

    def stop(self) -> None:
        """Stop the run if a data owner is running, and wait until each client has ended."""
        running = [owner for owner in self.owners.values() if owner.is_running]
        with passing_time(self.clock, at_once=self._awaits_absent_owners):
            if running:
                if self.grid is None:
                    self.begin_run()
                assert self.grid is not None
                self.grid.send_stop_signal()
            self.close_grid()
        with passing_time(self.clock, at_once=self._await_forged_requests(running)):
            for owner in running:
                owner.end()
                owner.join()

    def _await_forged_requests(self, owners: Sequence[Owner]) -> Callable[[], bool]:
        """Return whether these clients, at their end, wait only for requests that no aggregator withdraws.

        That is so after a look at everything since this call, where a deleted file is gone at once.
        """
        goals = [(owner, owner.spy.scans + 2) for owner in owners]

        def only_time_ends() -> bool:
            return self.storage.absence_withdraws and all(
                not owner.is_running or (owner.is_asleep and owner.spy.scans >= goal) for owner, goal in goals
            )

        return only_time_ends

    def _awaits_absent_owners(self) -> bool:
        """Return whether each open start, stop or ping is for a data owner without a running client, so only time ends the wait."""
        if (grid := self.grid) is None:
            return False
        awaited = {each.asked.recipient for each in grid._caller._pending.open() if each.asked.type == "system"}
        return bool(awaited) and not any(owner.is_running for owner in self.owners.values() if owner.email in awaited)

    def assert_nothing_left(self) -> None:
        """Check, after the end of the aggregator and of all clients, that no message is left in the storage."""
        self.storage.assert_nothing_left([self.participant, *(owner.participant for owner in self.owners.values())])

    def close_grid(self) -> None:
        """Close the aggregator without a stop message."""
        if self.grid is not None:
            self.grid.close()
            self.grid = None

    def abandon(self) -> None:
        """Abandon the aggregator like a killed process: it ends nothing, and deletes nothing."""
        assert self.grid is not None
        halt(self.grid._caller)
        self.grid._opened.close()
        self.grid = None

    @contextlib.contextmanager
    def asking(
        self, behaviour: str = "answer", *emails: str, timeout: float | None = PATIENCE
    ) -> "Iterator[Future[Any]]":
        """Yield the future of an :meth:`ask` in another thread, so that the test can move the clock while it waits."""
        assert self.grid is not None
        messages = self.messages(behaviour, *emails)
        with ThreadPoolExecutor(1) as pool:
            clock, thread = self.clock, pool.submit(threading.get_ident).result()
            asked = pool.submit(self.grid.send_and_receive, messages, timeout=timeout)
            try:
                if isinstance(clock, StillClock):
                    eventually(lambda: thread in clock.asleep or asked.done(), "the wait for replies")
                yield asked
            finally:
                # The other thread must end, also if the test failed.
                with passing_time(self.clock, after=0):
                    wait([asked], PATIENCE)

    def withdraw(self, message_id: str) -> None:
        """Withdraw a request, as the aggregator does, and wait until its data owner can see that."""
        assert self.grid is not None
        self.grid._caller.give_up([message_id], "the test withdrew it")
        self.grid._caller.collect([message_id])
        self.publish_withdrawals()

    def publish_withdrawals(self) -> None:
        """Publish the withdrawn requests now, as a thread of the aggregator soon does, and let each data owner see them."""
        assert self.grid is not None
        if withdrawals := self.grid._caller._withdrawals:
            withdrawals.publish()
        self.storage.settle()

    def wait_for_heartbeat(self, email: str) -> None:
        """Wait until the aggregator has read a heartbeat of a data owner and looked at each open message, by the present time."""
        assert self.grid is not None
        pending = [each for each in self.grid._caller._pending.open() if each.asked.recipient == email]
        now = self.clock.monotonic()
        eventually(lambda: all(each.is_done or each.seen == now for each in pending), f"a heartbeat of {email}")
        self.wait_for_look()

    def wait_for_look(self) -> None:
        """Wait until the aggregator has looked at the files of each open message, by the present time.

        A jump of the clock in the middle of a look would count as one long pause, which is no silence of a data owner.
        """
        assert self.grid is not None
        pending, now = self.grid._caller._pending, self.clock.monotonic()
        eventually(lambda: all(each.checked == now for each in pending.open()), "a look at the files")

    def let_pass(self, seconds: float, *, step: float = 15.0) -> None:
        """Let time pass in steps. The aggregator looks at its files after each one, as in a process that is not paused."""
        assert isinstance(self.clock, StillClock)
        while seconds > 0:
            self.clock.advance(min(step, seconds))
            seconds -= step
            self.wait_for_look()

    def request_name(self, email: str, message_id: str) -> str:
        return self.names.request(email, self.aggregator, message_id)

    def response_name(self, email: str, message_id: str) -> str:
        return self.names.response(email, self.aggregator, message_id)

    def wait_until_received(self, number: int) -> None:
        """Wait until the aggregator has recorded ``number`` replies that the app has not collected."""
        path = self.root / self.aggregator / "apps" / self.app / "futures.db"
        statement = "SELECT count(*) FROM futures WHERE type = 'query' AND state = 'answered'"

        def recorded() -> int:
            with contextlib.closing(sqlite3.connect(path)) as connection:
                return int(connection.execute(statement).fetchone()[0])

        eventually(lambda: recorded() >= number, f"{number} recorded replies")


def answer_of(reply: Message) -> dict[str, Any]:
    """Return the numbers in a reply. Raise AssertionError with the reason if it is an error."""
    assert not reply.has_error(), reply.error.reason
    return dict(reply.content["answer"])


def reason_of(reply: Message) -> str:
    """Return the reason of an error reply. Raise AssertionError if the reply is not an error."""
    assert reply.has_error(), reply.content
    return str(reply.error.reason)


@contextlib.contextmanager
def passing_time(
    clock: StillClock | SystemClock, *, after: float = _STANDSTILL, at_once: Callable[[], bool] = lambda: False
) -> Iterator[None]:
    """Move a clock that stands still, so that a waiting thread comes to its end.

    Args:
        clock: the clock; the clock of the system passes without help.
        after: real seconds before the first move.
        at_once: whether the clock may move earlier, because nothing but time can end the wait.
    """
    if not isinstance(clock, StillClock):
        yield
        return
    done, began = threading.Event(), time.monotonic()

    def pass_time() -> None:
        while not done.wait(0.005):
            if time.monotonic() - began >= after or at_once():
                clock.advance(1)

    thread = threading.Thread(target=pass_time, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
