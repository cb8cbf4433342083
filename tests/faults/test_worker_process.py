"""Shows that the client can end and replace a worker after its app dies, and the facts that a worker returns."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from flwr.app import ConfigRecord, MetricRecord, RecordDict
from waiting import PATIENCE, eventually

from syft_flwr._messaging.objects import ObjectFolder, make_body
from syft_flwr._messaging.wire.body import Body, Seconds, decode
from syft_flwr._messaging.wire.envelope import Header
from syft_flwr.fl_orchestrator.app_runner import AppReply, RunnerSetup
from syft_flwr.fl_orchestrator.codec import records_message_to_buffers
from syft_flwr.fl_orchestrator.request_config import config_to_buffer, with_config
from syft_flwr.fl_orchestrator.worker import WorkerSetup
from syft_flwr.fl_orchestrator.worker_process import WorkerProcess
from syft_flwr.names import AppNames
from syft_flwr.testing import FakeClock
from syft_flwr.transport.syftbox import SyftBoxTransport

_DS, _DO = "ds@x.org", "do@y.org"
_APP = """
import os, signal, time
from flwr.app import Message
from flwr.clientapp import ClientApp

app = ClientApp()

@app.query()
def fork_and_die(message, context):
    child = os.fork()
    if child == 0:
        time.sleep(600)
        os._exit(0)
    with open({pids!r}, "w") as file:
        file.write(str(child))
    os.kill(os.getpid(), signal.SIGKILL)

@app.query("die_at_the_gate")
def die_at_the_gate(message, context):
    with open({pids!r}, "w") as file:
        file.write("here")
    while not os.path.exists({pids!r} + ".gate"):
        time.sleep(0.005)
    os._exit(3)

@app.query("echo")
def echo(message, context):
    return Message(message.content, reply_to=message)
"""


def _header(kind: str, number: int) -> Header:
    now = datetime.now(UTC)
    return Header(
        id=f"{number:032x}",
        kind="request",
        run=7,
        app="fork",
        sender=_DS,
        recipient=_DO,
        sender_key="0" * 32,
        recipient_key="0" * 32,
        type=kind,
        group="",
        created=now,
        expires=now + timedelta(hours=1),
        encryption="mlkem768-x25519",
        body_size=1,
    )


@dataclass
class Forking:
    """A worker process with the app of this module, and one request for it."""

    worker: WorkerProcess
    body: Body
    pids: Path
    clock: FakeClock

    def run(self, kind: str, number: int = 1) -> AppReply:
        return self.worker.run(_header(kind, number), self.body, "", {})


@pytest.fixture
def forking(tmp_path: Path) -> Iterator[Forking]:
    pids = tmp_path / "pids"
    (tmp_path / "forking.py").write_text(_APP.format(pids=str(pids)))
    clock = FakeClock()
    with closing(SyftBoxTransport(tmp_path / "box", _DO)) as transport:
        runner = RunnerSetup(_DO, _DS, "fork", True, str(tmp_path / "contexts"), {}, share_tracebacks=False)
        folder = str(tmp_path)
        setup = WorkerSetup(runner, transport.reopen(), "reference", "forking:app", folder, [folder])
        mine = ObjectFolder(transport, AppNames("fork"), _DS, encryption=True)
        records = RecordDict({"config": ConfigRecord({"server-round": 12}), "metrics": MetricRecord({"a": 1})})
        buffers = with_config(records_message_to_buffers(records), config_to_buffer({}))
        body = decode(make_body(buffers, mine, run=7, readers=[_DO]).encode())
        with closing(WorkerProcess(setup, b"", RecordDict(), clock)) as worker:
            yield Forking(worker, body, pids, clock)


def _code(reply: AppReply) -> str:
    error = reply.body.manifest.error
    return error.code if error else ""


@pytest.mark.timeout(60)
def test_forked_child_dies_with_its_killed_worker(forking: Forking) -> None:
    assert _code(forking.run("query")) == "worker-died"
    child = int(forking.pids.read_text())
    gone, alive = psutil.wait_procs([psutil.Process(child)] if psutil.pid_exists(child) else [], timeout=10)
    assert alive == [], gone
    assert _code(forking.run("query.echo", 2)) == ""


def test_worker_returns_the_round_and_the_record_names(forking: Forking) -> None:
    reply = forking.run("query.echo")
    assert _code(reply) == ""
    assert (reply.server_round, reply.records) == ("12", ("config", "metrics"))


def test_worker_that_died_has_the_seconds_of_its_work(forking: Forking) -> None:
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(forking.run, "query.die_at_the_gate")
        try:
            eventually(forking.pids.exists, "the app")
            forking.clock.advance(12)
        finally:
            Path(f"{forking.pids}.gate").touch()
        reply = running.result(PATIENCE)
    assert (_code(reply), reply.body.manifest.seconds) == ("worker-died", Seconds(run=12))
    assert (reply.server_round, reply.records) == ("", ())
