"""The reference: Flower itself without a network, its InMemoryGrid over its in-memory LinkState.

One thread serves all nodes, as Flower's simulation engine does: it takes messages out of the LinkState and puts replies
in. It uses Flower's own Contexts and its rules for errors. It differs from the engine in two points. Node ids are given
instead of drawn at random, and the thread does not sleep for tenths of seconds. :class:`EngineFederation` runs the
engine itself, to show that this makes no difference.

Messages cross in Flower's wire format, so nothing is shared by reference. The order of the nodes changes from run to
run.
"""

import random
import secrets
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast
from uuid import uuid4

from federations.case import Case, Outcome, datasites, fused_run_config, node_id
from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.client_app import ClientAppException, LoadClientAppError
from flwr.common.constant import (
    HEARTBEAT_INTERVAL_INF,
    NOOP_ACCOUNT_NAME,
    NOOP_FLWR_AID,
    SUPERLINK_NODE_ID,
    ErrorCode,
)
from flwr.common.serde import context_from_proto, context_to_proto, message_from_proto, message_to_proto
from flwr.compat.client.run_info_store import DeprecatedRunInfoStore
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.node_pb2 import NodeInfo
from flwr.proto.task_pb2 import Task
from flwr.server.run_serverapp import run as run_server_app
from flwr.server.superlink.fleet.vce import vce_api
from flwr.server.superlink.fleet.vce.backend import Backend
from flwr.server.superlink.fleet.vce.metrics import VceMetrics
from flwr.server.superlink.linkstate import LinkStateFactory
from flwr.server.superlink.linkstate.in_memory_linkstate import InMemoryLinkState, RunRecord
from flwr.supercore.constant import FLWR_IN_MEMORY_DB_NAME, NOOP_FEDERATION_ID, NodeStatus
from flwr.supercore.object_ref import load_app
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.federation import NoOpFederationManager
from flwr.superlink.grid import InMemoryGrid

_TASK_ID = 1
_PULL_INTERVAL = 0.002


class InProcessBackend(Backend):
    """Flower's interface for running ClientApps, implemented without Ray."""

    def __init__(self, app: ClientApp) -> None:
        super().__init__({})
        self._app = app

    def build(self, app_fn: Callable[[], ClientApp]) -> None:
        self._app = app_fn()

    @property
    def num_workers(self) -> int:
        return 2

    def is_worker_idle(self) -> bool:
        return True

    def terminate(self) -> None:
        pass

    def process_message(self, message: Message, context: Context) -> tuple[Message, Context]:
        """Run one message on copies, so that an app that raises leaves the state unchanged."""
        own = _copy_context(context)
        try:
            reply = self._app(message=over_the_wire(message), context=own)
        except Exception as error:
            raise ClientAppException(str(error)) from error
        return over_the_wire(reply), own


class ReferenceFederation:
    """Flower's in-memory grid with a short polling interval."""

    def run(self, case: Case) -> Outcome:
        """Run ``case`` and return its outcome; raise the errors of the ServerApp."""
        return Outcome.of(self.serve(case))

    def serve(self, case: Case) -> Context:
        """Run ``case`` and return the Context of its ServerApp."""
        with _identity() as run:
            run.override_config = case.overrides
            factory = _make_state(run, case)
            context = _server_context(run, case)
            grid = InMemoryGrid(factory, pull_interval=_PULL_INTERVAL)
            grid.set_run(run)
            with self._serve(factory, run, case):
                run_server_app(grid, context, str(case.project), server_app_attr=case.server_app)
        return context

    @contextmanager
    def _serve(self, factory: LinkStateFactory, run: Run, case: Case) -> Iterator[None]:
        stop = threading.Event()
        thread = threading.Thread(target=self._work, args=(factory, run, case, stop), name="nodes")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _work(self, factory: LinkStateFactory, run: Run, case: Case, stop: threading.Event) -> None:
        state = factory.state()
        stores = _context_stores(run, case)
        backend = InProcessBackend(load_app(case.client_app, LoadClientAppError, case.project))
        nodes = list(stores)
        while not stop.wait(_PULL_INTERVAL):
            random.Random(secrets.randbits(64)).shuffle(nodes)
            for node in nodes:
                for message in state.get_message_ins(node, limit=1):
                    state.store_message_res(_answer(backend, stores[node], message))


class EngineFederation(ReferenceFederation):
    """Flower's simulation engine without Ray; it is slow because it sleeps often."""

    @contextmanager
    def _serve(self, factory: LinkStateFactory, run: Run, case: Case) -> Iterator[None]:
        stop = threading.Event()
        app = load_app(case.client_app, LoadClientAppError, case.project)
        stores = _context_stores(run, case)
        mapping = {node: partition for partition, node in enumerate(stores)}
        arguments = (lambda: app, lambda: InProcessBackend(app), mapping, factory, stores, stop, VceMetrics())
        engine = threading.Thread(target=vce_api.run_api, args=arguments, name="engine")
        engine.start()
        try:
            yield
        finally:
            stop.set()
            engine.join()


def over_the_wire(message: Message) -> Message:
    """Return the message as the other end of a Flower connection receives it."""
    return message_from_proto(ProtoMessage.FromString(message_to_proto(message).SerializeToString()))


def _answer(backend: Backend, contexts: DeprecatedRunInfoStore, message: Message) -> Message:
    """Run one message and keep its Context, or turn the error into a reply, as the engine's worker does."""
    run_id = message.metadata.run_id
    try:
        reply, context = backend.process_message(message, contexts.retrieve_context(run_id))
        contexts.update_context(run_id, context)
    except Exception as error:  # noqa: BLE001 - as the engine: every error of an app becomes a reply
        traceback.print_exception(error)
        raised = isinstance(error, ClientAppException)
        code = ErrorCode.CLIENT_APP_RAISED_EXCEPTION if raised else ErrorCode.UNKNOWN
        reply = Message(Error(code=code, reason=f"{type(error)}:<'{error}'>"), reply_to=message)
    reply.metadata.__dict__["_message_id"] = str(uuid4())
    return reply


@contextmanager
def _identity() -> Iterator[Run]:
    """Make a run and set this process as its ServerApp; reset the ids at the end."""
    run = Run.create_empty(secrets.randbits(63))
    run.federation_id = NOOP_FEDERATION_ID
    run.primary_task_id = _TASK_ID
    names: tuple[tuple[str, int], ...] = (
        ("task_id", _TASK_ID),
        ("run_id", run.run_id),
        ("node_id", SUPERLINK_NODE_ID),
    )
    for name, value in names:
        setattr(TaskIdentity, name, value)
    try:
        yield run
    finally:
        for name, _ in names:
            setattr(TaskIdentity, name, None)


def _make_state(run: Run, case: Case) -> LinkStateFactory:
    factory = LinkStateFactory(FLWR_IN_MEMORY_DB_NAME, NoOpFederationManager(), ObjectStoreFactory())
    state = cast("InMemoryLinkState", factory.state())
    state.run_ids[run.run_id] = RunRecord(run=run)
    state.task_store[_TASK_ID] = Task(task_id=_TASK_ID, run_id=run.run_id)
    for email in datasites(case.clients):
        node = node_id(email)
        # As create_node does, but with a given id instead of a random one.
        state.nodes[node] = NodeInfo(
            node_id=node,
            owner_aid=NOOP_FLWR_AID,
            owner_name=NOOP_ACCOUNT_NAME,
            status=NodeStatus.REGISTERED,
            public_key=secrets.token_bytes(32),
            heartbeat_interval=HEARTBEAT_INTERVAL_INF,
        )
        state.acknowledge_node_heartbeat(node, HEARTBEAT_INTERVAL_INF)
    return factory


def _context_stores(run: Run, case: Case) -> dict[int, DeprecatedRunInfoStore]:
    nodes = {node_id(email): partition for partition, email in enumerate(datasites(case.clients))}
    stores = vce_api._register_node_info_stores(nodes, run, str(case.project))
    for store, node_config in zip(stores.values(), case.node_configs, strict=False):
        store.node_config.update(node_config)
    return stores


def _server_context(run: Run, case: Case) -> Context:
    return Context(
        run_id=run.run_id,
        node_id=SUPERLINK_NODE_ID,
        node_config={},
        state=RecordDict(),
        run_config=fused_run_config(case.overrides, case.project),
    )


def _copy_context(context: Context) -> Context:
    return context_from_proto(context_to_proto(context))
