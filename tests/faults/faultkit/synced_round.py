"""One message over synchronised folders. A test holds a window of the sync clients open until a loss has happened."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from faultkit.federation import AGGREGATOR, OWNERS, Federation, answer_of
from faultkit.synced import SyncedStorage
from waiting import eventually

from syft_flwr.emulators.syftbox import SyncOutcome
from syft_flwr.emulators.syftbox.faithful import Hold, Window

OWNER = OWNERS[0]


@dataclass
class Round:
    """One message to one data owner. Its app waits at the gate until the test opens it.

    ``examine`` is called where a fault of the store lasts, before a loss ends it.
    """

    federation: Federation
    storage: SyncedStorage
    id: str = ""
    examine: Callable[[], object] = lambda: None

    def __post_init__(self) -> None:
        self.network = self.storage.network
        self.world = self.network.faithful

    @property
    def request(self) -> str:
        return self.federation.request_name(OWNER, self.id)

    @property
    def response(self) -> str:
        return self.federation.response_name(OWNER, self.id)

    def hold(self, email: str, window: Window, pattern: str = "*/messages/*") -> AbstractContextManager[Hold]:
        return self.world.hold(email, window, pattern)

    @contextlib.contextmanager
    def cycle(self, email: str, window: Window) -> Iterator[None]:
        """Hold a cycle of a client in this window. After the block, it makes no cycle until :meth:`go_on`."""
        with self.world.hold(email, window):
            self.world.set_automatic(False, email)
            yield

    @contextlib.contextmanager
    def only_pushes(self, *emails: str) -> Iterator[None]:
        """Let clients make no cycle in this block. A client that stands in a cycle, or makes none, stays as it is.

        On a busy machine, a cycle of the sender could upload a file before its push. A cycle of the receiver could delete
        the file before the participant has read it, and a sender that makes no cycle, or has no store, sends no second one.
        """
        resting = [email for email in emails if self.world.is_automatic(email)]
        for email in resting:
            self.rest(email)
        yield
        for email in resting:
            self.world.set_automatic(True, email)

    def rest(self, email: str) -> None:
        """Let a client make no cycle by itself."""
        self.world.set_automatic(False, email)
        # This waits for the end of a running cycle.
        self.network.scan(email)

    def go_on(self, email: str) -> None:
        """Let the participant notice the present files, then let its client make cycles again."""
        self.look(email)
        self.world.set_automatic(True, email)

    def look(self, email: str) -> None:
        """Wait until a participant has looked at all files."""
        if email == OWNER:
            self.federation[OWNER].spy.wait_for_scans(2)
            return
        reads, heartbeat = self.federation.spy.reads, self.federation.names.heartbeat(OWNER)
        goal = reads[heartbeat] + 2
        eventually(lambda: reads[heartbeat] >= goal, "two scans of the aggregator")

    def ask(self) -> None:
        self.federation[OWNER].journal.close_gate()
        (self.id,) = self.federation.push("answer_at_the_gate", OWNER)

    def ask_and_arrive(self) -> None:
        with self.only_pushes(AGGREGATOR, OWNER):
            self.ask()
            self.federation[OWNER].journal.wait_for_call(self.id)

    def reply(self) -> None:
        """Let the app reply, and wait until the response was written."""
        self.federation[OWNER].journal.open_gate()
        eventually(lambda: self.storage.read(self.response), "the response")

    def reply_and_arrive(self) -> None:
        with self.only_pushes(OWNER, AGGREGATOR):
            self.reply()
            self.arrives(AGGREGATOR, self.response)

    def arrives(self, email: str, name: str) -> None:
        eventually(lambda: self.storage.read(name, email), f"{name} at {email}")

    def journaled(self, email: str, name: str) -> None:
        """Wait until a client counts its push as sent."""
        eventually(lambda: name in self.world.journal(email), f"{name} in the journal of {email}")

    def indexed(self, name: str) -> None:
        """Wait until the server has a file. Without it, the next cycle uploads the file, and sees no conflict."""
        eventually(lambda: name in self.world.indexed(), f"{name} in the index")

    def deleted(self, email: str, name: str) -> None:
        """Wait until a client has deleted its copy of a file, because it was missing in the view of the server."""
        records = self.network.traffic.records
        eventually(
            lambda: records(name, outcome=SyncOutcome.DELETED, recipient=email), f"the deletion of {name} at {email}"
        )

    def renamed(self, email: str, name: str) -> None:
        """Wait until a client has renamed its copy of a file to ``.conflict``."""
        records = self.network.traffic.records
        eventually(
            lambda: records(name, outcome=SyncOutcome.CONFLICT, sender=email), f"the conflict of {name} at {email}"
        )

    def conflicts(self, email: str, name: str) -> None:
        """Make cycles until the client has renamed its copy. A cycle is abandoned if a file vanishes in its walk.

        The held cycle has removed the file from the journal. On a busy machine, a second push can have added it again.
        """
        records, journal = self.network.traffic.records, self.world._daemon(email).files.journal

        def is_renamed() -> bool:
            self.network.scan(email)
            if records(name, outcome=SyncOutcome.CONFLICT, sender=email):
                return True
            journal.remove(name)
            return False

        eventually(is_renamed, f"the conflict of {name} at {email}")

    def pass_cycles(self, number: int, *emails: str) -> None:
        ends = {email: self.world.cycles(email) + number for email in emails}
        eventually(lambda: all(self.world.cycles(email) >= end for email, end in ends.items()), f"{number} cycles")

    def assert_replied(self, messages: int = 1) -> None:
        """Check that the reply arrives, as number ``messages`` of the run."""
        self.federation[OWNER].journal.open_gate()
        (reply,) = self.federation.pull([self.id])
        assert answer_of(reply)["messages"] == messages

    def assert_run_once(self) -> None:
        """Check that the app ran once with the message, that the next message is answered, and that no file is left."""
        assert [answer["messages"] for answer in self.federation.assert_served()] == [2]
        assert len(self.federation[OWNER].journal.calls_of(self.id)) == 1
        self.end()

    def end(self) -> None:
        """End the run when the clients have done all that they had begun, and check that no file is left."""
        self.pass_cycles(3, AGGREGATOR, OWNER)
        self.look(AGGREGATOR)
        self.look(OWNER)
        self.federation.stop()
        self.federation.assert_nothing_left()
