"""A worker process without a client's transport around it: a test gives it messages one by one."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flwr.app import ConfigRecord, RecordDict

from syft_flwr._messaging.arrivals import read
from syft_flwr._messaging.objects import ObjectFolder, make_body
from syft_flwr._messaging.wire.body import Body, decode
from syft_flwr._messaging.wire.envelope import Header
from syft_flwr.fl_orchestrator.app_runner import AppReply, RunnerSetup
from syft_flwr.fl_orchestrator.codec import message_from_buffers, records_message_to_buffers
from syft_flwr.fl_orchestrator.pickled_app import PickledApp
from syft_flwr.fl_orchestrator.request_config import config_to_buffer, with_config
from syft_flwr.fl_orchestrator.worker import WorkerSetup
from syft_flwr.fl_orchestrator.worker_command import WorkerCommand
from syft_flwr.fl_orchestrator.worker_process import WorkerProcess
from syft_flwr.names import AppNames
from syft_flwr.transport.syftbox import SyftBoxTransport

_DS, _DO, _APP = "ds@x.org", "do@y.org", "lone"
KIT = Path(__file__).parents[1]


@dataclass
class LoneWorker:
    """A worker process, and requests for it."""

    worker: WorkerProcess
    mine: ObjectFolder
    theirs: ObjectFolder
    number: int = 0

    def run(self, kind: str = "echo", name: str = "", *, thread: bool = False) -> AppReply:
        """Give the worker one message; ``name`` and ``thread`` are its configuration."""
        self.number += 1
        now = datetime.now(UTC)
        header = Header(
            id=f"{self.number:032x}",
            kind="request",
            run=7,
            app=_APP,
            sender=_DS,
            recipient=_DO,
            sender_key="0" * 32,
            recipient_key="0" * 32,
            type=f"query.{kind}",
            group="",
            created=now,
            expires=now + timedelta(hours=1),
            encryption="mlkem768-x25519",
            body_size=1,
        )
        return self.worker.run(header, self._request(name, thread=thread), "", {})

    def answer(self, kind: str = "echo", name: str = "", *, thread: bool = False) -> dict[str, Any]:
        """Return the numbers or texts in the reply to one message. An error fails the test."""
        reply = self.run(kind, name, thread=thread)
        assert reply.body.manifest.error is None, reply.body.manifest.error
        return dict(message_from_buffers(read(self.theirs, reply.body, shared=True)).content["answer"])

    def error(self, kind: str, name: str = "", *, thread: bool = False) -> str:
        """Return code and text of the error that one message gets."""
        error = self.run(kind, name, thread=thread).body.manifest.error
        assert error is not None
        return f"{error.code}: {error.text}"

    def _request(self, name: str, *, thread: bool) -> Body:
        records = RecordDict({"config": ConfigRecord({"name": name, "thread": thread})})
        buffers = with_config(records_message_to_buffers(records), config_to_buffer({}))
        return decode(make_body(buffers, self.mine, run=7, readers=[_DO]).encode())


@contextmanager
def lone_worker(
    folder: Path,
    reference: str = "faultkit.wild_app:app",
    *,
    project: Path = KIT,
    pickled: PickledApp | None = None,
    command: str = "",
) -> Iterator[LoneWorker]:
    """Start nothing yet, and end the worker at last. The app is imported from ``project``, or is pickled."""
    os.environ["WILD_FOLDER"] = str(folder)
    try:
        with closing(SyftBoxTransport(folder / "box", _DO)) as transport:
            runner = RunnerSetup(_DO, _DS, _APP, True, str(folder / "contexts"), {}, share_tracebacks=False)
            way = "pickle" if pickled else "reference"
            setup = WorkerSetup(runner, transport.reopen(), way, reference, str(project), [str(project), str(KIT)])
            mine, theirs = (ObjectFolder(transport, AppNames(_APP), who, encryption=True) for who in (_DS, _DO))
            worker = WorkerProcess(setup, pickled or b"", RecordDict(), command=WorkerCommand(command))
            with closing(worker):
                yield LoneWorker(worker, mine, theirs)
    finally:
        del os.environ["WILD_FOLDER"]
