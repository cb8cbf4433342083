"""`--run-config` with real processes: it reaches both apps, data owners keep values, and a killed run keeps its own."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tiny_project import DO1, DO2, Tiny

import syft_flwr
from syft_flwr.errors import ConfigError

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

_PATIENCE = 120.0
_CONFIG = """
[tool.flwr.app.config]
lr = 0.1
rounds = 2
model.name = "small"
"""
_SERVER_APP = """
import json, os
from pathlib import Path
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()


@app.main()
def main(grid, context):
    found = {"server": dict(context.run_config)}
    for turn in ("first", "second"):
        content = RecordDict({"config": ConfigRecord({})})
        messages = [Message(content, node, "query") for node in grid.get_node_ids()]
        replies = grid.send_and_receive(messages, timeout=100)
        found[turn] = [json.loads(reply.content["seen"]["config"]) for reply in replies]
    Path(os.environ["OUTPUT_DIR"], "found.json").write_text(json.dumps(found))
"""
_CLIENT_APP = """
import json
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.query()
def query(message, context):
    found = json.dumps(dict(context.run_config))
    context.run_config["lr"] = 99
    return Message(RecordDict({"seen": ConfigRecord({"config": found})}), reply_to=message)
"""


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    monkeypatch.chdir(tmp_path)
    made = Tiny(tmp_path)
    with (made.folder / "pyproject.toml").open("a") as file:
        file.write(_CONFIG)
    (made.folder / "tiny" / "server_app.py").write_text(_SERVER_APP)
    (made.folder / "tiny" / "client_app.py").write_text(_CLIENT_APP)
    return made


def found(folder: Path = Path("output")) -> dict[str, Any]:
    return dict(json.loads((folder / "found.json").read_text()))


def test_option_reaches_the_server_and_each_client(tiny: Tiny, tmp_path: Path) -> None:
    name = 'it\'s "small" = größe'
    (tmp_path / "more.toml").write_text(f"model = {{ name = {json.dumps(name, ensure_ascii=False)} }}\nlr = inf\n")
    for options, expected in (
        (["--run-config", "lr=0.5", "-c", "rounds=7 lr=0.6"], {"lr": 0.6, "rounds": 7, "model.name": "small"}),
        (["--run-config", "more.toml"], {"lr": float("inf"), "rounds": 2, "model.name": name}),
    ):
        subprocess.run(tiny.command(*options), check=True, capture_output=True, timeout=_PATIENCE)
        assert found() == {"server": expected, "first": [expected] * 2, "second": [expected] * 2}


def test_python_call_replaces_values_beside_a_main_file(tiny: Tiny) -> None:
    syft_flwr.bootstrap(tiny.folder, aggregator="ds@research.org", datasites=[DO1, DO2])

    assert syft_flwr.run(tiny.folder, tiny.data, run_config={"lr": 0.5})

    assert [found()["server"]["lr"], *(each["lr"] for each in found()["second"])] == [0.5] * 3


@pytest.mark.parametrize("value", ["lrr=1", "lr=[1]", "lr", "lr=9223372036854775808", "missing.toml"])
def test_wrong_option_starts_nothing(value: str, tiny: Tiny) -> None:
    done = subprocess.run(tiny.command("--run-config", value), capture_output=True, timeout=_PATIENCE, check=False)

    assert done.returncode == 2, done.stderr
    assert b"Traceback" not in done.stderr
    assert not Path("output").exists()
    with pytest.raises(ConfigError):
        syft_flwr.run(tiny.folder, tiny.data, run_config=value)


def test_wrong_value_in_python_names_its_argument(tiny: Tiny) -> None:
    with pytest.raises(ConfigError, match=r"^run_config \(argument\): 'lr' is None"):
        syft_flwr.run(tiny.folder, tiny.data, run_config={"lr": None})  # type: ignore[dict-item]


def test_wrong_value_of_the_project_starts_nothing(tiny: Tiny) -> None:
    path = tiny.folder / "pyproject.toml"
    path.write_text(path.read_text().replace("rounds = 2", "rounds = [2]"))

    with pytest.raises(ConfigError, match="'rounds' is a list"):
        syft_flwr.run(tiny.folder, tiny.data)
    assert not Path("output").exists()
