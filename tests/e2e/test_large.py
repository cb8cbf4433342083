"""A large model and arrays of every odd type are sent to two data owners and back; each participant is a process.

All use one folder in one test, and folders that the SyftBox emulator synchronises in the other.

Run as a program, this file is one of the participants, which the settings in its environment select.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from syft_flwr.emulators.syftbox import SyftBoxNetwork
from syft_flwr.fl_orchestrator import syftbox_flwr_client, syftbox_flwr_server

_APP = "large"
_DS, _DO1, _DO2 = "ds@research.org", "do1@hospital-a.org", "do2@hospital-b.org"
_OWNERS = (_DO1, _DO2)
#: Bytes of the model.
_SIZE = int(os.environ.get("LARGE_MODEL", "60000000"))
_LAYERS = 4
_PATIENCE = 120.0 + _SIZE / 2_000_000
#: Bytes that a message to one data owner can take in addition to its arrays.
_ENVELOPE = 50_000

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240 + 2 * _PATIENCE)]

client_app = ClientApp()
server_app = ServerApp()


@client_app.query()
def echo(message: Message, context: Context) -> Message:
    return Message(message.content, reply_to=message)


@server_app.main()
def ask(grid: Grid, context: Context) -> None:
    """Send a model to all nodes twice, the second time with one changed layer, and write a report."""
    layers = [_random_layer() for _ in range(_LAYERS)]
    rounds = []
    for number in range(2):
        if number:
            layers[0] = _random_layer()
        rounds.append(_ask_once(grid, layers, str(number)))
    report = {"run": context.run_id, "rounds": rounds, "odd": _ask_odd(grid)}
    Path(os.environ["REPORT"]).write_text(json.dumps(report))


def _ask_once(grid: Grid, layers: list[Array], group: str) -> dict[str, Any]:
    arrays = ArrayRecord({str(number): layer for number, layer in enumerate(layers)})
    # Reset the peak that the kernel reports as VmHWM (proc(5), clear_refs).
    Path("/proc/self/clear_refs").write_text("5")
    before = _memory("VmRSS")
    messages = [Message(RecordDict({"arrays": arrays}), node, "query", group_id=group) for node in grid.get_node_ids()]
    replies = list(grid.send_and_receive(messages, timeout=_PATIENCE))
    return {
        "grown": _memory("VmHWM") - before,
        "errors": [reply.error.reason for reply in replies if reply.has_error()],
        "equal": [_is_equal(reply, layers) for reply in replies if reply.has_content()],
    }


def _ask_odd(grid: Grid) -> list[bool]:
    """Send arrays of odd types, announced and not, and 5,000 small ones; return whether each reply has equal ones."""
    odd = ArrayRecord(_odd_arrays())
    plain = ArrayRecord({name: Array("", (), array.stype, array.data) for name, array in odd.items()})
    many = ArrayRecord([np.full(3, number) for number in range(5_000)])
    content = RecordDict({"odd": odd, "plain": plain, "many": many})
    messages = [Message(content, node, "query", group_id="odd") for node in grid.get_node_ids()]
    replies = list(grid.send_and_receive(messages, timeout=_PATIENCE))
    return [reply.has_content() and reply.content == content for reply in replies]


def _odd_arrays() -> dict[str, Array]:
    aligned = np.dtype([("a", "i1"), ("b", "f8"), ("c", "i2")], align=True)
    structured = [(("a title", "t"), "i4"), ("n", [("x", "f8", (2, 3)), ("s", "S3")]), ("w", "M8[ns]"), ("it's", "U2")]
    plain = ("?", "i1", ">i2", "u8", "f2", "f8", "longdouble", "c8", "c16", "S5", "U3", "V7", "M8[25us]", "m8[D]", "M8")
    types: list[Any] = [*plain, structured, aligned, np.dtype((np.record, [("a", "f4"), ("é", ">i4")]))]
    named = [getattr(ml_dtypes, name) for name in dir(ml_dtypes)]
    types += [each for each in named if isinstance(each, type) and each not in (ml_dtypes.finfo, ml_dtypes.iinfo)]
    arrays = {f"type {number}": Array(np.zeros((2, 3), each)) for number, each in enumerate(types)}
    shapes = {"scalar": np.array(1.5), "empty": np.zeros((0, 4)), "columns": np.asfortranarray(np.eye(3)[:2])}
    arrays |= {name: Array(each) for name, each in shapes.items()}
    # Bytes that are not in NumPy's format: sparse, quantised or encrypted arrays, as apps make them.
    return arrays | {"opaque": Array("float32", (2, 3), "numpy.ndarray", os.urandom(100_000))}


def _random_layer() -> Array:
    return Array(np.frombuffer(os.urandom(_SIZE // _LAYERS), np.uint8))


def _is_equal(reply: Message, layers: list[Array]) -> bool:
    found: Any = reply.content["arrays"]
    return [array.data for array in found.values()] == [layer.data for layer in layers]


def _memory(what: str) -> int:
    """Return a value of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(f"{what}:")).split()[1])


@dataclass(frozen=True)
class Place:
    """The configuration of each participant, and the network between their folders; None if they share one folder."""

    configs: dict[str, Path]
    network: SyftBoxNetwork | None = None


@pytest.fixture
def one_folder(tmp_path: Path) -> Place:
    configs = {email: tmp_path / f"{email}.json" for email in (_DS, *_OWNERS)}
    for email, config in configs.items():
        config.write_text(json.dumps({"email": email, "data_dir": str(tmp_path / "SyftBox")}))
    return Place(configs)


@pytest.fixture
def synced_folders(tmp_path: Path) -> Iterator[Place]:
    # The participants run this file as a program, which does not find the kits.
    from faithful_settings import faithful_settings

    settings = faithful_settings(tmp_path)
    with SyftBoxNetwork(tmp_path / "machines", (_DS, *_OWNERS), settings=settings) as network:
        yield Place({email: home.config_path for email, home in network.participants.items()}, network)


@pytest.fixture(params=["one_folder", "synced_folders"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


def _settings(folder: Path, config: Path) -> dict[str, str]:
    return {
        "SYFTBOX_CLIENT_CONFIG_PATH": str(config),
        "SYFT_FLWR_HOME": str(folder / "home"),
        "SYFT_FLWR_AGGREGATOR": _DS,
        "REPORT": str(folder / "report.json"),
    }


def _start(email: str, folder: Path, config: Path) -> subprocess.Popen[bytes]:
    settings = _settings(folder, config)
    with (folder / f"{email}.log").open("wb") as log:
        return subprocess.Popen([sys.executable, __file__, email], env=os.environ | settings, stdout=log, stderr=log)


def _run(folder: Path, configs: dict[str, Path]) -> dict[str, Any]:
    """Run the federation to its end; return the report of the server."""
    processes = [_start(email, folder, configs[email]) for email in (*_OWNERS, _DS)]
    try:
        # A participant that fails ends at once; the others would wait for it.
        deadline = time.monotonic() + _PATIENCE
        while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
            if any(process.poll() for process in processes):
                break
            time.sleep(0.05)
        status = [process.poll() for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert status == [0, 0, 0], "".join(log.read_text() for log in folder.glob("*.log"))
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


def _events(folder: Path, run: int, event: str, group: str) -> list[dict[str, Any]]:
    """Return the events of this name for the messages of one round, from the record of the aggregator."""
    path = folder / "home" / _DS / "apps" / _APP / "runs" / f"{run:016x}.aggregator.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line for line in lines if line["event"] == event and (line["kind"], line.get("round")) == ("query", group)]


def test_large_model_is_written_once_in_bounded_memory(tmp_path: Path, place: Place) -> None:
    # Not at the top: the participants run this file without the kits.
    from leftovers import assert_nothing_left, message_files, open_participants

    report = _run(tmp_path, place.configs)

    for number, written in enumerate([_SIZE, _SIZE // _LAYERS]):
        found = report["rounds"][number]
        assert found["errors"] == []
        assert found["equal"] == [True, True]
        # Memory for two replies and a margin; the model itself was in memory before.
        assert found["grown"] < 3.5 * _SIZE

        sent, ended = (
            _events(tmp_path, report["run"], event, str(number)) for event in ("request-sent", "request-ended")
        )
        assert [each["outcome"] for each in ended] == ["answered", "answered"]
        assert sum(each["bytes"] for each in sent) <= 1.01 * written + _ENVELOPE * len(_OWNERS)
        saved = sum(each.get("bytes_saved", 0) for each in sent)
        assert saved >= _SIZE * len(_OWNERS) - written
        assert all(each["bytes"] >= _SIZE for each in ended)

    assert report["odd"] == [True, True]
    if place.network is None:
        assert message_files(tmp_path / "SyftBox" / "datasites") == []
        return
    environments = [_settings(tmp_path, config) for config in place.configs.values()]
    with open_participants(environments, peers=_OWNERS) as participants:
        assert_nothing_left(place.network, participants, unanswered=0)


def main(email: str) -> None:
    context = Context(run_id=0, node_id=0, node_config={}, state=RecordDict(), run_config={})
    if email == _DS:
        syftbox_flwr_server(server_app, context, _OWNERS, _APP, raise_on_error=True)
    else:
        syftbox_flwr_client(f"{Path(__file__).stem}:client_app", context, _APP)


if __name__ == "__main__":
    main(sys.argv[1])
