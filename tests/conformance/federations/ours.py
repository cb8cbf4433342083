"""The federations of this package, behind the same interface as the reference.

They use only public calls, so they do not depend on the transport of a message. ``MemoryFederation`` runs all
participants in one process. ``FolderFederation`` runs each participant as a process (``participate.py``), which finds
its email and its folder in a SyftBox configuration.
"""

import json
import os
import subprocess
import sys
import threading
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
from federations.case import AGGREGATOR, PROJECT, Case, Outcome, datasites, fused_run_config, node_config
from flwr.app import Context, RecordDict
from flwr.supercore.object_ref import load_app

from syft_flwr.config import load_settings
from syft_flwr.errors import RunError
from syft_flwr.fl_orchestrator import syftbox_flwr_client, syftbox_flwr_server
from syft_flwr.fl_orchestrator.participant import Participant
from syft_flwr.transport.memory import MemoryNetwork

APP_NAME = "conformance"
#: Seconds that all processes together can take for a run, and that a data owner can take to end after it.
_LIMIT = 90.0
_GRACE = 20.0
_HERE = Path(__file__).parent


def make_context(case: Case, partition: int | None = None) -> Context:
    """Return the Context that a caller passes, without a run id and a node id; the system sets both."""
    nodes = {} if partition is None else node_config(partition, case.clients)
    return Context(
        run_id=0, node_id=0, node_config=nodes, state=RecordDict(), run_config=fused_run_config(case.overrides)
    )


def serve(case: Case, participant: Participant | None = None) -> Outcome:
    """Run the data scientist until the ServerApp returns."""
    context = make_context(case)
    try:
        syftbox_flwr_server(
            load_app(case.server_app, ValueError, PROJECT),
            context,
            datasites(case.clients),
            APP_NAME,
            PROJECT,
            client=participant,
            raise_on_error=True,
        )
    except RunError as error:
        # Flower has no verdict about a ServerApp that returned. Ours fails a kind of message without a good reply.
        if error.__cause__:
            raise
    return Outcome.of(context)


def take_part(case: Case, partition: int, participant: Participant | None = None) -> None:
    """Run one data owner until the run is stopped."""
    app = load_app(case.client_app, ValueError, PROJECT)
    syftbox_flwr_client(app, make_context(case, partition), APP_NAME, PROJECT, client=participant)


class MemoryFederation:
    """All participants in this process, one thread each, over the memory transport; their homes are below ``root``."""

    def __init__(self, root: Path) -> None:
        self._root = root
        # It is as old as the homes. In a new one, no inbox is open yet, and an aggregator that knows the keys of an
        # earlier run writes its requests before a slow data owner has opened its inbox. They would be refused.
        self._network = MemoryNetwork()

    def run(self, case: Case) -> Outcome:
        """Run ``case``; raise the errors of the ServerApp, and AssertionError if a data owner does not end."""
        with ExitStack() as stack:
            aggregator, *owners = (
                Participant(
                    load_settings(environ={}, email=email, home=self._root),
                    stack.enter_context(closing(self._network.transport(email))),
                    in_process=True,
                )
                for email in (AGGREGATOR, *datasites(case.clients))
            )
            threads = [
                threading.Thread(target=take_part, args=(case, partition, owner), name=f"partition {partition}")
                for partition, owner in enumerate(owners)
            ]
            for thread in threads:
                thread.start()
            try:
                return serve(case, aggregator)
            finally:
                for thread in threads:
                    thread.join(_GRACE)
                running = [thread.name for thread in threads if thread.is_alive()]
                assert not running, f"still running after the stop: {running}"


class FolderFederation:
    """One process per participant, over a shared SyftBox folder below ``root``."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def run(self, case: Case) -> Outcome:
        """Run ``case``; raise AssertionError with all logs if a participant fails or does not end."""
        roles = {AGGREGATOR: None} | {email: partition for partition, email in enumerate(datasites(case.clients))}
        result = self._root / "outcome.npz"
        with ExitStack() as stack:
            processes = {
                email: self._start(stack, case, email, partition, result) for email, partition in roles.items()
            }
            self._wait(AGGREGATOR, processes[AGGREGATOR], _LIMIT)
            for email, process in processes.items():
                self._wait(email, process, _GRACE)
        with np.load(result) as found:
            history = json.loads(str(found["history"]))
            return Outcome({key: found[f"arrays/{key}"] for key in map(str, found["names"])}, history)

    def _start(
        self, stack: ExitStack, case: Case, email: str, partition: int | None, result: Path
    ) -> "subprocess.Popen[bytes]":
        home = self._root / email
        home.mkdir(parents=True)
        config = home / "config.json"
        config.write_text(json.dumps({"email": email, "data_dir": str(self._root / "SyftBox"), "server_url": ""}))
        settings = {
            "SYFTBOX_CLIENT_CONFIG_PATH": str(config),
            "SYFT_FLWR_HOME": str(home / "state"),
            "PYTHONPATH": os.pathsep.join([str(_HERE.parent), str(PROJECT)]),
        }
        order = {
            "case": [case.server_app, case.client_app, case.clients, dict(case.run_config)],
            "partition": partition,
            "result": str(result),
        }
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "federations.participate", json.dumps(order)],
                env=os.environ | settings,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        stack.enter_context(process)
        stack.callback(process.kill)
        return process

    def _wait(self, email: str, process: "subprocess.Popen[bytes]", timeout: float) -> None:
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            code = None
        if code != 0:
            logs = "".join(
                f"\n--- {log}\n{log.read_text(errors='replace')[-3000:]}" for log in self._root.glob("*/log")
            )
            raise AssertionError(f"{email} ended with {code} (None: it did not end){logs}")
