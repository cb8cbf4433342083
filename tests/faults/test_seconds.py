"""Shows the seconds that a reply carries: slow downloads are apart from the wait, and failures have their seconds too."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from faultkit.clock import StillClock
from faultkit.federation import OWNERS, Federation, reason_of
from faultkit.forge import keys_of
from faultkit.relay import Relay
from faultkit.storage import MemoryStorage
from faultkit.world import Question, World
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from waiting import eventually

from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.wire import body as bodies
from syft_flwr._messaging.wire import envelope as envelopes
from syft_flwr._messaging.wire.body import Body, Seconds
from syft_flwr.errors import StorageFullError, TransportError
from syft_flwr.names import is_object

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


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    with closing(Relay(tmp_path)) as relay:
        yield relay


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
