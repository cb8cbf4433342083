"""Shows the seconds that a reply carries: slow downloads are apart from the wait, and failures have their seconds too."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from faultkit.clock import StillClock
from faultkit.federation import OWNERS, Federation, reason_of
from faultkit.forge import keys_of
from faultkit.lockstep import AGGREGATOR
from faultkit.storage import MemoryStorage
from faultkit.world import Question, World
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from waiting import eventually

from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.asking.broadcast import Broadcast
from syft_flwr._messaging.layout import LayoutLimits
from syft_flwr._messaging.objects import ObjectFolder
from syft_flwr._messaging.wire import body as bodies
from syft_flwr._messaging.wire import envelope as envelopes
from syft_flwr._messaging.wire.body import Body, Seconds
from syft_flwr._messaging.wire.envelope import Header
from syft_flwr.errors import StorageFullError, TransportError
from syft_flwr.fl_orchestrator.app_runner import AppReply, AppRunner, RunnerSetup
from syft_flwr.fl_orchestrator.codec import records_message_to_buffers
from syft_flwr.fl_orchestrator.relayed_worker import RelayedWorker, open_near
from syft_flwr.fl_orchestrator.request_config import config_to_buffer, with_config
from syft_flwr.fl_orchestrator.worker_process import InProcess
from syft_flwr.names import AppNames, is_object
from syft_flwr.testing import FakeClock
from syft_flwr.transport.memory import MemoryNetwork, MemoryTransport

OWNER = OWNERS[0]
NOTHING = Seconds()


def read_body(response: bytes, aggregator: Identity) -> Body:
    return bodies.decode(envelopes.decode(response).open(aggregator, encryption=True))


# From the acceptance of a request until the app is free


@pytest.fixture
def world(tmp_path: Path, anna: Identity, ben: Identity, eve: Identity) -> Iterator[World]:
    """Return an aggregator and two data owners that act only when the test tells them."""
    made = World(tmp_path, [anna, ben, eve], [0.0, 3_600.0, 0.0])
    with made.stores:
        for number in (0, 1):
            made.start(number)
        made.look(0)
        yield made


def ask(world: World, *contents: str, late: bool = False) -> list[str]:
    """Send these contents to the first data owner, which accepts them. With ``late``, their objects are on the way."""
    questions = [Question(OWNER, content, 43_200.0) for content in contents]
    world.send(questions)
    if late:
        for name in filter(is_object, list(world.network.files)):
            world.owners[0].link.hide(name)
    world.look(1)
    return [question.ids[-1] for question in questions]


def arrive(world: World) -> None:
    world.owners[0].link.release_all()
    world.look(1)


def body_of(world: World, message_id: str, anna: Identity) -> Body:
    return read_body(world.owners[0].answers()[message_id], anna)


def test_slow_download_is_apart_from_the_wait(world: World, anna: Identity) -> None:
    (message_id,) = ask(world, "large", late=True)
    world.clock.advance(7)
    arrive(world)
    world.clock.advance(3)
    world.owners[0].work()
    assert body_of(world, message_id, anna).manifest.seconds == Seconds(download=7, wait=3)


def test_wait_for_a_busy_app_is_no_download(world: World, anna: Identity) -> None:
    ids = ask(world, "small", "fail")
    owner = world.owners[0]
    owner.work(1)
    world.clock.advance(5)
    owner.work()
    assert [body_of(world, message_id, anna).manifest.seconds for message_id in ids] == [NOTHING, Seconds(wait=5)]


def test_failed_transfer_has_its_seconds(world: World, anna: Identity) -> None:
    (message_id,) = ask(world, "large", late=True)
    world.clock.advance(7)
    name = next(name for name in world.network.files if is_object(name))
    content, readers = world.network.files[name]
    world.network.files[name] = (content + b"x", readers)
    arrive(world)
    manifest = body_of(world, message_id, anna).manifest
    assert manifest.error is not None
    assert (manifest.error.code, manifest.seconds) == ("integrity", Seconds(download=7))


# In the app


def test_raising_app_has_its_seconds(tmp_path: Path, memory: MemoryStorage) -> None:
    clock, app = StillClock(), ClientApp()

    @app.query()
    def raise_late(message: Message, context: Context) -> Message:
        clock.advance(30)
        raise ValueError

    with Federation(tmp_path / "homes", memory, [OWNER], clock=clock, client_app=app) as federation:
        federation.start()
        (message_id,) = federation.push()
        response = eventually(lambda: memory.read(federation.response_name(OWNER, message_id)), "the reply")
        assert read_body(response, keys_of(federation.participant)).manifest.seconds == Seconds(run=30)
        assert "ValueError" in reason_of(*federation.pull([message_id]))


# Over a transport that the worker cannot open


class Slow(MemoryTransport):
    """A transport on which the clock moves with each copy of an object, and calls can fail."""

    def __init__(self, network: MemoryNetwork, email: str, clock: FakeClock) -> None:
        super().__init__(network, email)
        self.clock = clock
        self.fault: dict[str, TransportError] = {}

    def keep(self, name: str, path: Path, *, max_size: int) -> None:
        self.clock.advance(4)
        if error := self.fault.get("keep"):
            raise error
        super().keep(name, path, max_size=max_size)

    def put(self, name: str, data: Any, **options: Any) -> None:
        if (error := self.fault.get("put")) and is_object(name):
            raise error
        super().put(name, data, **options)


class Relay:
    """A worker over :class:`Slow`, whose app takes 30 s and echoes a request of one object."""

    def __init__(self, folder: Path, stack: ExitStack, header: Header) -> None:
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
        stack.enter_context(closing(self.worker))
        sender = ObjectFolder(network.transport(AGGREGATOR), names, AGGREGATOR, encryption=True)
        records = RecordDict({"arrays": ArrayRecord({"a": Array("x", (), "other", bytes(50_000))})})
        records["config"] = ConfigRecord({"server-round": 3})
        buffers = with_config(records_message_to_buffers(records), config_to_buffer({}))
        self.body, _ = Broadcast(sender).make_body(buffers, run=7, readers=[OWNER], holder="0" * 32, personal=False)
        assert len(self.body.manifest.objects) == 1
        self.header = header

    def echo(self, message: Message, context: Context) -> Message:
        self.clock.advance(30)
        return Message(message.content, reply_to=message)

    def run(self) -> AppReply:
        return self.worker.run(self.header, self.body, "", {})


@pytest.fixture
def relay(tmp_path: Path, make_header: Callable[[], Header]) -> Iterator[Relay]:
    with ExitStack() as stack:
        yield Relay(tmp_path, stack, make_header())


@pytest.fixture
def make_header() -> Callable[[], Header]:
    def make() -> Header:
        now = FakeClock().now()
        fields: dict[str, Any] = {"sender": AGGREGATOR, "recipient": OWNER, "sender_key": "0" * 32, "group": ""}
        fields |= {"id": "0" * 32, "kind": "request", "run": 7, "app": "relay", "type": "query", "body_size": 1}
        fields |= {"created": now, "expires": now, "encryption": "mlkem768-x25519", "recipient_key": "0" * 32}
        return Header(**fields)

    return make


def test_copying_for_the_worker_is_download(relay: Relay) -> None:
    reply = relay.run()
    assert reply.body.manifest.error is None
    assert reply.body.manifest.seconds == Seconds(download=4, run=30)
    assert (reply.server_round, reply.records) == ("3", ("arrays", "config"))


def test_failed_copy_for_the_worker_has_its_seconds(relay: Relay) -> None:
    relay.transport.fault["keep"] = TransportError("the link was cut")
    reply = relay.run()
    assert reply.body.manifest.error is not None
    assert reply.body.manifest.seconds == Seconds(download=4)


def test_reply_that_cannot_be_sent_has_its_seconds(relay: Relay) -> None:
    relay.transport.fault["put"] = StorageFullError("no room")
    reply = relay.run()
    assert reply.body.manifest.error is not None
    assert reply.body.manifest.error.code == "storage-full"
    assert reply.body.manifest.seconds == Seconds(download=4, run=30)
    assert (reply.server_round, reply.records) == ("3", ())
