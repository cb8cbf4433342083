"""A worker that reads and writes a local folder, with a client that relays its objects over a slow, failing transport."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from faultkit.federation import OWNERS
from faultkit.lockstep import AGGREGATOR
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict

from syft_flwr._messaging.asking.broadcast import Broadcast
from syft_flwr._messaging.layout import LayoutLimits
from syft_flwr._messaging.objects import ObjectFolder
from syft_flwr._messaging.wire.envelope import Header
from syft_flwr.errors import TransportError
from syft_flwr.fl_orchestrator.app_runner import AppReply, AppRunner, RunnerSetup
from syft_flwr.fl_orchestrator.codec import records_message_to_buffers
from syft_flwr.fl_orchestrator.relayed_worker import RelayedWorker, open_near
from syft_flwr.fl_orchestrator.request_config import config_to_buffer, with_config
from syft_flwr.fl_orchestrator.worker_process import InProcess
from syft_flwr.names import AppNames, is_object
from syft_flwr.testing import FakeClock
from syft_flwr.transport.memory import MemoryNetwork, MemoryTransport

OWNER = OWNERS[0]


class Slow(MemoryTransport):
    """A transport on which the clock moves with each copy of an object, and calls can fail."""

    def __init__(self, network: MemoryNetwork, email: str, clock: FakeClock) -> None:
        super().__init__(network, email)
        self.clock = clock
        self.fault: dict[str, TransportError] = {}
        #: Called after each copy of an object of a request.
        self.on_keep: Callable[[], object] = lambda: None

    def keep(self, name: str, path: Path, *, max_size: int) -> None:
        self.clock.advance(4)
        if error := self.fault.get("keep"):
            raise error
        super().keep(name, path, max_size=max_size)
        self.on_keep()

    def put(self, name: str, data: Any, **options: Any) -> None:
        if (error := self.fault.get("put")) and is_object(name):
            raise error
        super().put(name, data, **options)


class Relay:
    """A worker over :class:`Slow`, whose app takes 30 s and echoes a request of some objects.

    Args:
        folder: the folder for the files of the worker.
        objects: the number of objects of the request.
        lifetime: the lifetime of the request.
    """

    def __init__(self, folder: Path, *, objects: int = 1, lifetime: timedelta = timedelta()) -> None:
        self.clock, names = FakeClock(), AppNames("relay")
        network = MemoryNetwork(part_size=100_000)
        self.transport = Slow(network, OWNER, self.clock)
        setup = RunnerSetup(OWNER, AGGREGATOR, "relay", True, str(folder / "states"), {}, share_tracebacks=False)
        near = open_near(folder / "near", OWNER)
        runner = AppRunner(
            self.echo, replace(setup, limits=LayoutLimits.of(self.transport.properties)), near, RecordDict(), self.clock
        )
        mine, theirs = (ObjectFolder(self.transport, names, email, encryption=True) for email in (OWNER, AGGREGATOR))
        self.worker = RelayedWorker(InProcess(runner), near, folder / "near", mine, theirs, self.clock)
        sender = ObjectFolder(network.transport(AGGREGATOR), names, AGGREGATOR, encryption=True)
        records = RecordDict(
            {"arrays": ArrayRecord({str(n): Array("x", (), "other", bytes([n]) * 90_000) for n in range(objects)})}
        )
        records["config"] = ConfigRecord({"server-round": 3})
        buffers = with_config(records_message_to_buffers(records), config_to_buffer({}))
        self.body, _ = Broadcast(sender).make_body(buffers, run=7, readers=[OWNER], holder="0" * 32, personal=False)
        assert len(self.body.manifest.objects) == objects
        self.header = _header(self.clock.now(), lifetime)
        #: The number of calls of the app.
        self.calls = 0

    def echo(self, message: Message, context: Context) -> Message:
        self.calls += 1
        self.clock.advance(30)
        return Message(message.content, reply_to=message)

    def close(self) -> None:
        self.worker.close()

    def run(self) -> AppReply:
        return self.worker.run(self.header, self.body, "", {})


def _header(now: datetime, lifetime: timedelta) -> Header:
    fields: dict[str, Any] = {"sender": AGGREGATOR, "recipient": OWNER, "sender_key": "0" * 32, "group": ""}
    fields |= {"id": "0" * 32, "kind": "request", "run": 7, "app": "relay", "type": "query", "body_size": 1}
    fields |= {"created": now, "expires": now + lifetime, "encryption": "mlkem768-x25519", "recipient_key": "0" * 32}
    return Header(**fields)
