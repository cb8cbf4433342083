"""The three example projects of syft-flwr 0.5.3 run unchanged after bootstrap.

They are found in the folder that SYFT_FLWR_TEST_OLD_EXAMPLES names.
"""

import os
import re
from pathlib import Path

import numpy as np
import old_examples
import pytest
from old_examples import CHECKOUT, DO1, DO2, DS, VARIABLE

import syft_flwr
from syft_flwr._bootstrap.main_program import is_old_main
from syft_flwr.runs.recorded_run import RecordedRun

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(400),
    pytest.mark.skipif(CHECKOUT is None, reason=f"{VARIABLE} names no folder with the examples"),
]


@pytest.fixture
def examples() -> Path:
    assert CHECKOUT is not None
    return CHECKOUT


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SYFT_FLWR_HOME", str(tmp_path / "home"))
    for name in ("OUTPUT_DIR", "DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    return folder


def provide(folder: Path, monkeypatch: pytest.MonkeyPatch, *, torch: bool) -> None:
    """Put the stand-ins on the path of the processes of a run."""
    old_examples.write_stand_ins(folder, torch=torch)
    rest = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{rest}" if rest else str(folder))


def ran(examples: Path, project: Path, data: list[Path]) -> RecordedRun:
    """Bootstrap and run a project with the calls of the notebooks."""
    template = examples.parent / "src" / "syft_flwr" / "templates" / "main.py.tpl"
    if template.is_file():
        (project / "main.py").write_bytes(template.read_bytes())
        assert is_old_main(project / "main.py")
    syft_flwr.bootstrap(flwr_project_dir=project, aggregator=DS, datasites=[DO1, DO2])  # type: ignore[call-arg]
    result = syft_flwr.run(project, mock_dataset_paths=data)  # type: ignore[call-arg]
    assert isinstance(result, RecordedRun)
    logs = "\n".join(path.read_text() for path in sorted((project / "logs").rglob("*.log")))
    assert result, logs[-20_000:]
    return result


def test_federated_analytics_of_0_5_runs(
    examples: Path, tmp_path: Path, working_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pandas")
    provide(tmp_path / "packages", monkeypatch, torch=False)
    project = old_examples.copy_project(
        examples, "federated-analytics-diabetes/fed-analytics-diabetes", tmp_path / "projects"
    )

    ran(
        examples,
        project,
        [old_examples.write_diabetes(tmp_path / email, seed) for seed, email in enumerate((DO1, DO2))],
    )

    log = next((project / "logs").rglob(f"{DS}.log")).read_text()
    # Each hospital reports its own patients; the last count is the sum. Every third patient has the outcome 1.
    counts = [int(count) for count in re.findall(r"'Age_count_outcome0': (\d+)", log)]
    assert counts[-1] == 2 * (40 + 13)
    assert {path.name for path in working_folder.rglob("*.png")} == {
        f"{name}_histogram.png" for name in ("Age", "BMI", "Glucose")
    }


def test_fedrag_of_0_5_runs(examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provide(tmp_path / "packages", monkeypatch, torch=True)
    project = old_examples.copy_project(examples, "fedrag/fedrag_v1", tmp_path / "projects")
    old_examples.write_questions(tmp_path / "projects" / "datasets" / "mirage.json")

    ran(examples, project, [old_examples.write_corpus(tmp_path / name, name) for name in ("statpearls", "textbooks")])

    log = next((project / "logs").rglob(f"{DS}.log")).read_text()
    assert log.count("Received 2/2 results") == 4
    assert log.count("Answered Questions: 2") == 2
    assert log.count("Accuracy: 1.0") == 2


def test_diabetes_prediction_of_0_5_runs(
    examples: Path, tmp_path: Path, working_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("torch")
    from safetensors.numpy import load_file

    provide(tmp_path / "packages", monkeypatch, torch=False)
    project = old_examples.copy_project(
        examples, "fl-diabetes-prediction/fl-diabetes-prediction", tmp_path / "projects"
    )

    result = ran(
        examples,
        project,
        [old_examples.write_diabetes(tmp_path / email, seed) for seed, email in enumerate((DO1, DO2))],
    )

    assert len(result.rounds) >= 2
    weights = working_folder / "output" / "weights"
    files = {path.name: load_file(path) for path in weights.iterdir()}
    assert sorted(files) == [f"parameters_round_{number}.safetensors" for number in range(3)]
    initial, final = files["parameters_round_0.safetensors"], files["parameters_round_2.safetensors"]
    assert list(initial) == list(final)
    assert not np.array_equal(initial["layer_0"], final["layer_0"])
