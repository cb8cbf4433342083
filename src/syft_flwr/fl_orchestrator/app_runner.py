"""Runs a ClientApp on one request: reads the content, keeps the context of the app, seals the arrays of the reply.

It runs in the worker process. An app that cannot be pickled runs in the process of the client. The runner never gets a
private key: it gets the decrypted body, which holds the content keys of this message only.
"""

import hashlib
import json
import os
import struct
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated

from flwr.app import DEFAULT_TTL, Context, Message, Metadata, RecordDict
from pydantic import BeforeValidator, PlainSerializer

from syft_flwr._messaging.arrivals import read
from syft_flwr._messaging.layout import LayoutLimits
from syft_flwr._messaging.links import Links
from syft_flwr._messaging.objects import make_body
from syft_flwr._messaging.wire import Body, Header, failures
from syft_flwr._messaging.wire.limits import MAX_ERROR_TEXT, MAX_LIFETIME
from syft_flwr.clock import Clock, SystemClock
from syft_flwr.config.user_config import UserConfig
from syft_flwr.errors import AppRaisedError, LocalProtocolError, SyftFlwrError
from syft_flwr.files import open_folder, write_in_folder
from syft_flwr.fl_orchestrator.app_exceptions import traceback_of, type_name
from syft_flwr.fl_orchestrator.codec import (
    message_from_buffers,
    message_to_buffers,
    records_from_buffers,
    records_to_buffers,
)
from syft_flwr.fl_orchestrator.contract_check import no_message_error, wrong_client_error
from syft_flwr.fl_orchestrator.labels import error_of, record_names, round_of
from syft_flwr.fl_orchestrator.nodes import node_id_of
from syft_flwr.fl_orchestrator.process_runs import enter_app
from syft_flwr.fl_orchestrator.reply_metrics import metrics_of
from syft_flwr.fl_orchestrator.request_config import without_config
from syft_flwr.fl_orchestrator.state_files import new_state_name
from syft_flwr.fl_orchestrator.stopwatch import Stopwatch
from syft_flwr.flower import NOTHING, SUPERLINK_NODE_ID, rejected_client
from syft_flwr.log import logger
from syft_flwr.names import AppNames
from syft_flwr.private_files import make_private_folder
from syft_flwr.runs.events import MetricValue
from syft_flwr.text import message_label
from syft_flwr.transport.base import Transport

_SIZE = struct.Struct(">Q")
#: A configuration as a JSON text inside a JSON frame: pydantic itself writes ``inf`` and ``nan`` as null.
FramedConfig = Annotated[UserConfig, PlainSerializer(json.dumps, when_used="json"), BeforeValidator(json.loads)]
ClientAppCallable = Callable[[Message, Context], Message]


@dataclass(frozen=True, slots=True)
class RunnerSetup:
    """The settings of a runner, as plain values that can be sent to another process."""

    email: str
    aggregator: str
    app: str
    encryption: bool
    contexts: str
    node_config: FramedConfig
    share_tracebacks: bool
    #: The folder with the second names of objects, see ``Properties.links``; empty if there is none.
    links: str = ""
    #: The limits for the layout of replies; None: those of the transport that the worker opens.
    limits: LayoutLimits | None = None
    #: The setting ``threads`` if a person chose it.
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class AppReply:
    """The result of one request: the reply, and facts about it for the data owner's own record."""

    body: Body
    #: The file with the state of the app after this request.
    context: str
    #: The round in the configuration of the request; empty if it has none, or if the request could not be read.
    server_round: str = ""
    #: The names of the records in the reply.
    records: tuple[str, ...] = ()
    #: The error that the app returned in place of content; empty if it returned none.
    app_error: str = ""
    #: The metrics in the reply.
    metrics: Mapping[str, MetricValue] = field(default_factory=dict)


class AppRunner:
    """Calls one ClientApp, one message at a time, as Flower's own runtime does. Not thread-safe."""

    def __init__(
        self,
        app: ClientAppCallable,
        setup: RunnerSetup,
        transport: Transport,
        initial_state: RecordDict,
        clock: Clock | None = None,
        log: Callable[[str], None] | None = None,
    ) -> None:
        self._app = app
        self._log = log or partial(logger.error, "{}")
        self._setup = setup
        self._initial_state = initial_state
        self._clock = clock or SystemClock()
        root = Path(setup.links) if setup.links else None
        links = Links(transport, AppNames(setup.app), setup.email, root, SystemClock())
        self._theirs = links.objects_of(setup.aggregator, encryption=setup.encryption)
        self._mine = replace(links.objects_of(setup.email, encryption=setup.encryption), limits=setup.limits)
        self._contexts = Path(setup.contexts)
        self._context: Context | None = None
        self._context_name = ""

    def run(self, header: Header, body: Body, context_name: str, run_config: UserConfig) -> AppReply:
        """Run the app on one request. An exception of the app becomes a reply with an error.

        Args:
            header: the header of the request.
            body: its decrypted body. All of its objects have arrived.
            context_name: the file with the state of the run after the last committed reply; empty in a new run.
            run_config: the run configuration for this message. The app gets a copy.
        """
        watch, server_round = Stopwatch(self._clock), ""
        try:
            with watch.part("open"):
                message = self._message(header, body)
            server_round = round_of(message)
            with watch.part("run"):
                context = self._context_of(header.run, context_name)
                # A change by the app ends with its message.
                context.run_config = dict(run_config)
                before = _digest(records_to_buffers(context.state))
                enter_app(header.run, context.node_id)
                reply = self._call(message, context)
            with watch.part("seal"):
                answer = self._seal(header, reply, context.state, before, context_name)
        except BaseException as error:
            # The app may have changed a part of its state. The next message starts from the committed state.
            self._context = None
            if not isinstance(error, Exception):
                raise
            return AppReply(self._failure(header, error).spent(**watch.seconds), context_name, server_round)
        facts = server_round, record_names(reply), error_of(reply), metrics_of(reply)
        return AppReply(answer.spent(**watch.seconds), self._context_name, *facts)

    def _call(self, message: Message, context: Context) -> Message:
        try:
            reply = self._app(message, context)
        except Exception as error:
            client = rejected_client(error)
            if client is NOTHING:
                raise
            raise wrong_client_error(client) from error
        if not isinstance(reply, Message):
            raise no_message_error(reply)
        if reply.has_error() == reply.has_content():
            raise AppRaisedError("the ClientApp returned a Message with neither content nor error", travels=True)
        return reply

    def _seal(self, header: Header, reply: Message, state: RecordDict, before: bytes, context_name: str) -> Body:
        """Seal the reply, and save the state that the app left."""
        with _refusing("the reply"):
            buffers = message_to_buffers(reply)
        with _refusing("context.state", private=True):
            kept = records_to_buffers(state)
        answer = make_body(buffers, self._mine, run=header.run, readers=[self._setup.aggregator])
        try:
            self._context_name = self._save(header, kept, before, context_name)
        except BaseException:
            self._mine.delete(answer.manifest.object_ids)
            raise
        return answer

    def _message(self, header: Header, body: Body) -> Message:
        metadata = Metadata(
            run_id=header.run,
            message_id=header.id,
            src_node_id=SUPERLINK_NODE_ID,
            dst_node_id=node_id_of(self._setup.email),
            reply_to_message_id="",
            group_id=header.group,
            created_at=header.created.timestamp(),
            ttl=_ttl_of(header),
            message_type=header.type,
        )
        metadata.delivered_at = ""
        return message_from_buffers(without_config(read(self._theirs, body, shared=True)), metadata)

    def _context_of(self, run_id: int, name: str) -> Context:
        """Return the context after the last committed reply: from memory, from its file, or a new one."""
        known = self._context
        if known is not None and known.run_id == run_id and name == self._context_name:
            # A change by the app ends with its message, so that a new worker makes no difference.
            known.node_config = dict(self._setup.node_config)
            return known
        if name:
            state = records_from_buffers(_read_buffers(self._contexts / name))
        else:
            state = records_from_buffers(records_to_buffers(self._initial_state))
        self._context_name = name
        self._context = Context(
            run_id=run_id,
            node_id=node_id_of(self._setup.email),
            node_config=dict(self._setup.node_config),
            state=state,
            run_config={},
        )
        return self._context

    def _save(self, header: Header, buffers: Sequence[bytes], before: bytes, name: str) -> str:
        """Write the state to a new file if the app changed it; return the name of the file with the state."""
        if _digest(buffers) == before:
            return name
        fresh = new_state_name(header.run, header.id)
        make_private_folder(self._contexts)
        with open_folder(self._contexts, ()) as folder:
            parts = [part for buffer in buffers for part in (_SIZE.pack(len(buffer)), buffer)]
            write_in_folder(folder, fresh, iter(parts), mode=0o600)
        return fresh

    def _failure(self, header: Header, error: Exception) -> Body:
        reference = uuid.uuid4().hex[:12]
        details = traceback_of(error)
        label = message_label(header.id, header.run, header.app)
        self._log(f"{label} failed (reference {reference}); the client continues:\n{details}")
        if isinstance(error, SyftFlwrError):
            return failures.of_error(error, reference)
        # The text of an exception may contain private data; its type does not.
        if self._setup.share_tracebacks:
            return failures.raised_with(details[-MAX_ERROR_TEXT:], reference)
        return failures.raised(type_name(error), reference)


@contextmanager
def _refusing(what: str, *, private: bool = False) -> Iterator[None]:
    """Name the part of the app's work that cannot be read back. It is the app's mistake, so the reply says so."""
    try:
        yield
    except LocalProtocolError as error:
        # The names of records in a reply are for the aggregator, those of the state are not.
        told = f"{what} cannot be sent or kept" + (f": {error.told}" if error.told and not private else "")
        raise AppRaisedError(f"{what} cannot be sent or kept: {error}", hint=error.hint, told=told) from error


def _digest(buffers: Sequence[bytes]) -> bytes:
    digest = hashlib.sha256()
    for buffer in buffers:
        digest.update(_SIZE.pack(len(buffer)))
        digest.update(buffer)
    return digest.digest()


def _read_buffers(path: Path) -> list[bytes]:
    """Return the buffers of a file that :meth:`AppRunner._save` wrote."""
    buffers: list[bytes] = []
    with path.open("rb") as file:
        remaining = os.fstat(file.fileno()).st_size
        while remaining:
            (size,) = _SIZE.unpack(file.read(_SIZE.size))
            buffers.append(file.read(size))
            remaining -= _SIZE.size + size
    return buffers


def _ttl_of(header: Header) -> float:
    """Return the ttl that the ServerApp set. Flower's default travels as the longest lifetime."""
    lifetime = header.expires - header.created
    return DEFAULT_TTL if lifetime >= MAX_LIFETIME else lifetime.total_seconds()
