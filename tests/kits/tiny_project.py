"""A small Flower project in which the server asks for one task, and a local run of it with real processes."""

import json
import sys
from pathlib import Path

#: The participants.
DS, DO1, DO2 = "ds@research.org", "data@hospital-a.org", "data@hospital-b.org"

_COMMAND = str(Path(sys.executable).parent / "syft-flwr")
_PYPROJECT = """\
[project]
name = "tiny"
version = "1.0.0"

[tool.flwr.app]
publisher = "me"

[tool.flwr.app.components]
serverapp = "tiny.server_app:app"
clientapp = "tiny.client_app:app"

[tool.syft_flwr]
app_name = "tiny"
aggregator = "{aggregator}"
datasites = {datasites}
"""
_SERVER_APP = """\
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


@app.main()
def main(grid, context):
    task = os.environ["TINY_TASK"]
    if task == "raise":
        raise ValueError("the plan of the data scientist does not work")
    if task == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if task == "train":
        FedAvg().start(grid, ArrayRecord([np.zeros(2)]), num_rounds=2)
        return
    if task.startswith("exit"):
        sys.exit({"exit": None, "exit-0": 0, "exit-3": 3}.get(task, "diverged"))
    if task == "term":
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(600)
    content = RecordDict({"config": ConfigRecord({})})
    tolerant = task in ("silent", "partly", "refuse", "broken")
    for _ in range(2 if tolerant or task == "node" else 1):
        messages = [Message(content, node, f"query.{task}") for node in grid.get_node_ids()]
        replies = grid.send_and_receive(messages, timeout=600)
    if tolerant:
        return
    if any(reply.has_error() for reply in replies):
        raise RuntimeError("a data owner did not answer")
    reports = {str(reply.metadata.src_node_id): dict(reply.content["report"]) for reply in replies}
    Path(os.environ["OUTPUT_DIR"], "reports.json").write_text(json.dumps(reports))
"""
_CLIENT_APP = """\
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
from flwr.app import ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.query("report")
def report(message, context):
    names = [name for name in os.environ if name.startswith("SYFT") or name in ("OUTPUT_DIR", "GDRIVE_TOKEN_PATH")]
    data = Path(os.environ["DATA_DIR"], "data").read_text()
    record = ConfigRecord({"data": data, "names": sorted(names), "home": os.environ["SYFT_FLWR_HOME"]})
    return Message(RecordDict({"report": record}), reply_to=message)


@app.query("node")
def node(message, context):
    found = dict(context.node_config)
    file = os.environ.get("SYFT_FLWR_NODE_CONFIG", "")
    place = {
        "commands": [word for pid in (os.getpid(), os.getppid()) for word in psutil.Process(pid).cmdline()],
        "mode": oct(os.stat(file).st_mode & 0o777) if file.endswith(".toml") else "",
    }
    # A change ends with its message.
    context.node_config.clear()
    return Message(RecordDict({"report": ConfigRecord(found | place)}), reply_to=message)


@app.query("hang")
def hang(message, context):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    folder = Path(os.environ["DATA_DIR"])
    (folder / "pids.tmp").write_text(f"{os.getppid()} {os.getpid()} {child.pid}")
    (folder / "pids.tmp").rename(folder / "pids")
    time.sleep(600)


@app.query("stubborn")
def stubborn(message, context):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    hang(message, context)


@app.query("silent")
def silent(message, context):
    if "hospital-b" in os.environ["DATA_DIR"]:
        raise ValueError("this data owner has nothing to say")
    return Message(RecordDict(), reply_to=message)


@app.query("broken")
def broken(message, context):
    raise NameError("name 'modle' is not defined")


@app.query("partly")
def partly(message, context):
    first = Path(os.environ["DATA_DIR"], "first")
    if "hospital-b" in os.environ["DATA_DIR"] and not first.exists():
        first.touch()
        raise ValueError("not the first time")
    return Message(RecordDict(), reply_to=message)


@app.train()
def train(message, context):
    metrics = MetricRecord({"loss": 0.5, "num-examples": 1})
    return Message(RecordDict({"arrays": message.content["arrays"], "metrics": metrics}), reply_to=message)


@app.evaluate()
def evaluate(message, context):
    metrics = MetricRecord({"accuracy": 0.75, "num-examples": 1})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


@app.query("refuse")
def refuse(message, context):
    if "hospital-b" in os.environ["DATA_DIR"]:
        return Message(Error(code=7, reason="too few patients"), reply_to=message)
    return Message(RecordDict(), reply_to=message)


@app.query("kill")
def kill(message, context):
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)
"""


class Tiny:
    """A Flower project with a server that requests one task, and the data of its datasites."""

    def __init__(self, folder: Path, aggregator: str = DS, datasites: tuple[str, ...] = (DO1, DO2)) -> None:
        self.folder = folder / "tiny"
        (self.folder / "tiny").mkdir(parents=True)
        (self.folder / "pyproject.toml").write_text(
            _PYPROJECT.format(aggregator=aggregator, datasites=json.dumps(datasites))
        )
        (self.folder / "tiny" / "__init__.py").touch()
        (self.folder / "tiny" / "server_app.py").write_text(_SERVER_APP)
        (self.folder / "tiny" / "client_app.py").write_text(_CLIENT_APP)
        self.data = [folder / "data" / email for email in datasites]
        for path in self.data:
            path.mkdir(parents=True)
            (path / "data").write_text(f"data of {path.name}")

    def command(self, *options: str) -> list[str]:
        return [_COMMAND, "run", str(self.folder), *(f"-m{path}" for path in self.data), *options]

    @property
    def hangs(self) -> bool:
        """Return whether every datasite is in the middle of its task."""
        return all((path / "pids").exists() for path in self.data)

    def pids(self) -> list[int]:
        """Return the ids of the client, the worker and the worker's child of each datasite."""
        return [int(pid) for path in self.data for pid in (path / "pids").read_text().split()]
