"""The diabetes example: its ServerApp, ClientApps and tables, connected by a grid in memory."""

import json
import logging
import os
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from flower_bundle import files_in_bundle
from flwr.app import ArrayRecord, ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

PROJECT = Path(__file__).resolve().parents[2] / "examples" / "diabetes"
PRIVATE = {11: PROJECT / "data" / "hospital_a" / "private", 12: PROJECT / "data" / "hospital_b" / "private"}
SETTINGS: dict[str, int | float | str] = {
    "num-server-rounds": 5,
    "local-epochs": 20,
    "learning-rate": 0.3,
    "weight-decay": 0.01,
    "round-timeout-seconds": 60.0,
}
REQUIRED_ACCURACY = 0.72


class StraightGrid(Grid):
    """A grid that calls each node's ClientApp directly. It has only the methods that Message-API apps use."""

    def __init__(self, client_app: ClientApp, contexts: dict[int, Context]) -> None:
        self.client_app = client_app
        self.contexts = contexts
        self.replies: list[Message] = []

    def get_node_ids(self) -> Iterable[int]:
        return list(self.contexts)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        received = [self._answer(message) for message in messages]
        self.replies += received
        return received

    def _answer(self, message: Message) -> Message:
        try:
            return self.client_app(message, self.contexts[message.metadata.dst_node_id])
        except Exception as error:  # noqa: BLE001 - as in Flower: every exception becomes an error reply
            return Message(Error(code=0, reason=type(error).__name__), reply_to=message)

    def set_run(self, run: Any) -> None:
        raise NotImplementedError

    @property
    def run(self) -> Any:
        raise NotImplementedError

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        raise NotImplementedError

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        raise NotImplementedError

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        raise NotImplementedError


def new_context(node_id: int = 1, **node_config: str | int) -> Context:
    config = {key.replace("_", "-"): value for key, value in node_config.items()}
    return Context(run_id=7, node_id=node_id, node_config=config, state=RecordDict(), run_config=dict(SETTINGS))


@pytest.fixture(autouse=True)
def flower_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set up this process as Flower does for the project, without a data folder."""
    monkeypatch.syspath_prepend(str(PROJECT))
    monkeypatch.delenv("DATA_DIR", raising=False)
    monkeypatch.delenv("OUTPUT_DIR", raising=False)
    for name, value in (("_task_id", 3), ("_run_id", 7), ("_node_id", 1)):
        monkeypatch.setattr(TaskIdentity, name, value)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.split(".")[0] in {"diabetes_prediction", "sandbox"}:
            del sys.modules[name]


@pytest.fixture
def run_federation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., StraightGrid]:
    """Return a function that runs the app with one node per data folder and writes to ``tmp_path / "output"``."""

    def run(folders: dict[int, Path]) -> StraightGrid:
        from diabetes_prediction.client_app import app as client_app
        from diabetes_prediction.server_app import app as server_app

        monkeypatch.setenv("OUTPUT_DIR", str(tmp_path / "output"))
        grid = StraightGrid(
            client_app, {node: new_context(node, data_dir=str(folder)) for node, folder in folders.items()}
        )
        server_app(grid, new_context())
        return grid

    return run


@pytest.fixture
def flower_log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Capture Flower's log lines: its logger does not pass them to the root logger."""
    logger = logging.getLogger("flwr")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def table_of(folder: Path, part: str) -> list[tuple[float, ...]]:
    from diabetes_prediction.task import read_rows

    return [tuple(row) for row in read_rows(folder / f"{part}.csv")]


def test_joint_model_beats_each_hospital_alone(run_federation: Callable[..., StraightGrid], tmp_path: Path) -> None:
    run_federation(PRIVATE)
    from diabetes_prediction.results import Results

    results = Results.load(tmp_path / "output")
    last = results.rounds[-1].examination
    assert [each.number for each in results.rounds] == [1, 2, 3, 4, 5]
    assert last.examples == 332
    assert last.accuracy >= REQUIRED_ACCURACY
    assert set(results.alone) == {"Hospital A", "Hospital B"}
    for examination in results.alone.values():
        assert examination.examples == 332
        assert last.accuracy >= examination.accuracy
        assert last.loss < examination.loss


def test_three_rounds_reach_required_accuracy(
    run_federation: Callable[..., StraightGrid], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SETTINGS, "num-server-rounds", 3)
    run_federation(PRIVATE)
    content = json.loads((tmp_path / "output" / "results.json").read_text())
    assert len(content["rounds"]) == 3
    assert content["rounds"][-1]["examination"]["accuracy"] >= REQUIRED_ACCURACY


def test_saved_model_has_the_reported_accuracy(run_federation: Callable[..., StraightGrid], tmp_path: Path) -> None:
    run_federation(PRIVATE)
    from diabetes_prediction.results import Results, predict

    held_out = np.array([row for folder in PRIVATE.values() for row in table_of(folder, "test")])
    told = predict(tmp_path / "output" / "diabetes_model.npz", held_out[:, :-1]) > 0.5
    expected = Results.load(tmp_path / "output").rounds[-1].examination.accuracy
    assert np.mean(told == (held_out[:, -1] == 1)) == pytest.approx(expected)


def test_reply_order_does_not_change_results(run_federation: Callable[..., StraightGrid], tmp_path: Path) -> None:
    run_federation(PRIVATE)
    first = {path.name: path.read_bytes() for path in (tmp_path / "output").iterdir()}
    run_federation(dict(reversed(PRIVATE.items())))
    assert {path.name: path.read_bytes() for path in (tmp_path / "output").iterdir()} == first
    assert set(first) == {"diabetes_model.npz", "results.json"}


def test_run_prints_table_and_model_path(
    run_federation: Callable[..., StraightGrid], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_federation(PRIVATE)
    *table, path = capsys.readouterr().out.splitlines()
    assert path == f"model: {tmp_path / 'output' / 'diabetes_model.npz'}"
    assert " ".join(table[0].split()) == "accuracy of model at Hospital A at Hospital B overall loss patients"
    assert [line.split("  ")[0] for line in table[1:]] == [
        *(f"together, round {number}" for number in range(1, 6)),
        "Hospital A alone",
        "Hospital B alone",
    ]
    assert len({len(line) for line in table}) == 1


def test_each_round_logs_counts_and_accuracy(
    run_federation: Callable[..., StraightGrid], flower_log: pytest.LogCaptureFixture
) -> None:
    run_federation(PRIVATE)
    lines = flower_log.messages
    assert "[ROUND 5/5]" in lines
    assert "aggregate_train: Received 2 results and 0 failures" in lines
    assert "round 1, train: 2 clients, 200 examples, 0 failures" in lines
    assert any(
        line.startswith("round 5, evaluate: 2 clients, 332 examples, 0 failures, weighted accuracy 0.")
        for line in lines
    )


def test_failing_hospital_does_not_stop_others(
    run_federation: Callable[..., StraightGrid], flower_log: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    run_federation({**PRIVATE, 13: tmp_path / "nowhere"})
    from diabetes_prediction.results import Results

    results = Results.load(tmp_path / "output")
    assert {(each.train_clients, each.train_examples, each.train_failures) for each in results.rounds} == {(2, 200, 1)}
    assert set(results.alone) == {"Hospital A", "Hospital B"}
    assert "round 1, train: 2 clients, 200 examples, 1 failures" in flower_log.messages
    assert any("node 13" in line and "DataError" in line for line in flower_log.messages)


def test_run_fails_if_every_hospital_fails(run_federation: Callable[..., StraightGrid], tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no hospital returned a model"):
        run_federation({11: tmp_path / "nowhere", 12: tmp_path / "nowhere"})
    assert list((tmp_path / "output").iterdir()) == []


def test_reply_contains_model_figures_and_name_only(
    run_federation: Callable[..., StraightGrid],
) -> None:
    grid = run_federation(PRIVATE)
    for reply in grid.replies:
        trained = reply.metadata.message_type == "train"
        assert set(reply.content) == {"metrics", "hospital", *(["arrays"] if trained else [])}
        assert set(reply.content["metrics"]) == {"num-examples", "loss", "accuracy"}
        assert set(reply.content["hospital"]) == {"name"}
        if trained:
            shapes = {name: array.shape for name, array in reply.content["arrays"].items()}
            assert shapes == {"weights": (7,), "bias": (1,)}


def test_hospitals_of_same_name_stay_separate(run_federation: Callable[..., StraightGrid], tmp_path: Path) -> None:
    run_federation({11: PRIVATE[11], 12: PRIVATE[11]})
    from diabetes_prediction.results import Results

    assert sorted(Results.load(tmp_path / "output").alone) == ["Hospital A", "Hospital A (12)"]


def test_hospital_name_cannot_break_the_table() -> None:
    from diabetes_prediction.task import clean_name

    assert clean_name("A\x1b[2J\nround 9: 1.000") == "A[2Jround 9: 1.000"
    assert len(clean_name("x" * 1000)) == 40
    assert clean_name(None) == clean_name(7) == clean_name("\n") == ""


def test_data_dir_variable_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    from diabetes_prediction.task import load_hospital

    monkeypatch.setenv("DATA_DIR", str(PRIVATE[12]))
    hospital = load_hospital(new_context(data_dir=str(PRIVATE[11]), partition_id=0))
    assert (hospital.name, len(hospital.train), len(hospital.test)) == ("Hospital B", 125, 211)


def test_simulated_node_reads_mock_patients() -> None:
    from diabetes_prediction.task import load_hospital, read_hospital

    for partition, folder in enumerate(("hospital_a", "hospital_b")):
        simulated = load_hospital(new_context(partition_id=partition))
        written = read_hospital(PROJECT / "data" / folder / "mock")
        assert simulated.name == written.name
        for part in ("train", "test"):
            np.testing.assert_array_equal(
                getattr(simulated, part).measurements, getattr(written, part).measurements, strict=True
            )
            np.testing.assert_array_equal(getattr(simulated, part).outcomes, getattr(written, part).outcomes)


def test_missing_data_folder_names_the_variable() -> None:
    from diabetes_prediction.task import DataError, load_hospital

    with pytest.raises(DataError, match="DATA_DIR"):
        load_hospital(new_context())


def test_private_tables_split_records_by_age() -> None:
    parts = {(node, part): table_of(PRIVATE[node], part) for node in PRIVATE for part in ("train", "test")}
    rows = [row for table in parts.values() for row in table]
    assert len(rows) == 532
    assert sum(row[-1] for row in rows) == 177
    assert len(parts[11, "train"]) + len(parts[12, "train"]) == 200
    young = {
        node: np.mean([row[6] < 25 for part in ("train", "test") for row in parts[node, part]]) for node in PRIVATE
    }
    assert young[11] > 0.8
    assert young[12] < 0.2


def test_mock_and_private_patients_differ() -> None:
    private = {row[:-1] for folder in PRIVATE.values() for part in ("train", "test") for row in table_of(folder, part)}
    mock = {
        row[:-1]
        for folder in PRIVATE.values()
        for part in ("train", "test")
        for row in table_of(folder.with_name("mock"), part)
    }
    assert len(mock) == 240
    assert mock.isdisjoint(private)


HEADER = "pregnancies,glucose,blood_pressure,skin_fold,bmi,pedigree,age,diabetes\n"
GOOD_ROW = "5,86,68,28,30.2,0.364,24,0\n"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "cannot be read as a table"),
        (HEADER, "the table has no patients"),
        (HEADER.replace("glucose", "sugar") + GOOD_ROW, "the columns must be"),
        (HEADER + GOOD_ROW + "5,86,68,28,30.2,0.364,24\n", "row 3: expected 8 fields, found 7"),
        (HEADER + "5,Jane Doe,68,28,30.2,0.364,24,0\n", "row 2, column glucose: not a number"),
        (HEADER + "5,86,68,28,nan,0.364,24,0\n", "row 2, column bmi: not a number"),
        (HEADER + "5,86,68,28,30.2,0.364,24,2\n", "row 2, column diabetes: must be 0 or 1"),
        (HEADER + '5,"' + "8" * 200_000 + '",68,28,30.2,0.364,24,0\n', "cannot be read as a table"),
        (HEADER + "5,86,68,28,30.2,0.364,24,\udcff\n", "cannot be read as a table"),
    ],
)
def test_broken_table_error_hides_values(tmp_path: Path, content: str, complaint: str) -> None:
    from diabetes_prediction.task import DataError, read_rows

    path = tmp_path / "train.csv"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=complaint) as caught:
        read_rows(path)
    assert str(caught.value).startswith("train.csv: ")
    assert "Jane" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"local-epochs": 0},
        {"local-epochs": 10**9},
        {"local-epochs": "20"},
        {"learning-rate": float("nan")},
        {"learning-rate": -1.0},
        {"weight-decay": 2.0},
    ],
)
def test_out_of_range_settings_are_refused(settings: dict[str, Any]) -> None:
    from diabetes_prediction.client_app import app
    from diabetes_prediction.task import Model

    good = {"local-epochs": 20, "learning-rate": 0.3, "weight-decay": 0.01}
    content = RecordDict({"arrays": Model.untrained().to_record(), "config": ConfigRecord({**good, **settings})})
    message = Message(content, 11, "train")
    with pytest.raises(ValueError, match=next(iter(settings))):
        app(message, new_context(11, data_dir=str(PRIVATE[11])))


def test_training_follows_the_loss_gradient() -> None:
    from diabetes_prediction.task import Model, TrainSettings, read_hospital, score, train

    patients = read_hospital(PRIVATE[11]).train
    start = Model(np.linspace(-0.5, 0.5, 7), np.array([0.1]))
    rate, decay, step = 1e-3, 0.01, 1e-6

    def penalised(model: Model) -> float:
        return score(model, patients).loss + decay / 2 * float(model.weights @ model.weights)

    moved = train(start, patients, TrainSettings(1, rate, decay))
    for index in range(7):
        nudge = np.zeros(7)
        nudge[index] = step
        slope = (
            penalised(Model(start.weights + nudge, start.bias)) - penalised(Model(start.weights - nudge, start.bias))
        ) / (2 * step)
        assert (start.weights - moved.weights)[index] / rate == pytest.approx(slope, abs=1e-6)
    slope = (
        penalised(Model(start.weights, start.bias + step)) - penalised(Model(start.weights, start.bias - step))
    ) / (2 * step)
    assert (start.bias - moved.bias)[0] / rate == pytest.approx(slope, abs=1e-6)


def test_model_round_trips_through_a_record() -> None:
    from diabetes_prediction.task import Model

    model = Model(np.array([0.1, -2, 3e-9, 4, 5, 6, 7]), np.array([-1.5]))
    record = model.to_record()
    assert isinstance(record, ArrayRecord)
    back = Model.from_record(record)
    np.testing.assert_array_equal(back.weights, model.weights, strict=True)
    np.testing.assert_array_equal(back.bias, model.bias, strict=True)


def test_flower_bundle_contains_no_data(tmp_path: Path) -> None:
    copy = tmp_path / "diabetes"
    shutil.copytree(PROJECT, copy, ignore=shutil.ignore_patterns("__pycache__", "output", ".sandbox"))
    names = set(files_in_bundle(copy, tmp_path))
    assert "diabetes_prediction/client_app.py" in names
    assert not any(name.startswith("data/") for name in names)


@pytest.fixture
def no_syftbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Hide the SyftBox of this machine; return the folder that the notebooks use instead."""
    import sandbox

    for name in ("SYFTBOX_CLIENT_CONFIG_PATH", "SYFT_FLWR_HOME"):
        monkeypatch.setenv(name, "")  # so that pytest removes the values of identify() after the test
        monkeypatch.delenv(name)
    monkeypatch.setattr(sandbox, "SYFTBOX_CONFIG", tmp_path / "home" / ".syftbox" / "config.json")
    monkeypatch.setattr(sandbox, "SANDBOX", tmp_path / "sandbox")
    return tmp_path / "sandbox"


def test_notebooks_share_data_but_not_state(no_syftbox: Path) -> None:
    from sandbox import identify, peers_command

    configs = []
    homes = set()
    for email in ("ds@research.org", "do1@hospital-a.org"):
        assert identify(email) == email
        assert os.environ["SYFT_FLWR_HOME"] in peers_command()
        configs.append(json.loads(Path(os.environ.pop("SYFTBOX_CLIENT_CONFIG_PATH")).read_text()))
        homes.add(Path(os.environ.pop("SYFT_FLWR_HOME")))
    shared = no_syftbox / "shared"
    assert [config["data_dir"] for config in configs] == [str(shared)] * 2
    assert len(homes) == 2
    assert not any(home.is_relative_to(shared) for home in homes)


def test_notebook_email_comes_from_syftbox_config(
    no_syftbox: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from sandbox import identify

    config = tmp_path / "config.json"
    config.write_text(json.dumps({"email": "me@clinic.org", "data_dir": str(tmp_path)}))
    monkeypatch.setenv("SYFTBOX_CLIENT_CONFIG_PATH", str(config))
    assert identify("do1@hospital-a.org") == "me@clinic.org"
    assert not no_syftbox.exists()


def test_notebooks_match_project_participants() -> None:
    federation = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["syft_flwr"]
    for name, email in zip(("ds", "do1", "do2"), [federation["aggregator"], *federation["datasites"]], strict=True):
        assert f'identify("{email}")' in nbformat.read(PROJECT / f"{name}.ipynb", as_version=4).cells[1].source


@pytest.mark.parametrize("name", ["ds", "do1", "do2"])
def test_notebook_is_valid_and_compiles(name: str) -> None:
    notebook = nbformat.read(PROJECT / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells
    for cell in cells:
        compile(cell.source, f"{name}.ipynb", "exec")
