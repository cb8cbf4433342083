"""``syft-flwr report``: the choice of the run and of the file, its output, and its errors."""

import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from loguru import logger
from plain_user import as_plain_user
from synthetic_runs import DS, RUN, SyntheticHome, begun, serving
from typer.testing import CliRunner

from syft_flwr.cli.app import app
from syft_flwr.cli.exits import ExitCode
from syft_flwr.runs.events import RunEnded


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("SYFT_FLWR_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("SYFTBOX_EMAIL", DS)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    yield
    logger.remove()


@pytest.fixture
def home(tmp_path: Path) -> SyntheticHome:
    home = SyntheticHome(tmp_path / "state")
    home.serve()
    home.record([begun(), RunEnded("completed")])
    return home


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def test_report_of_the_latest_run_is_in_the_current_folder(home: SyntheticHome) -> None:
    result = invoke()

    path = Path(f"diabetes-{RUN}.html").absolute()
    assert (result.exit_code, result.stdout) == (0, f"Report: {path}\n")
    assert path.read_text(encoding="utf-8").endswith("</html>\n")


def test_json_names_the_file_and_the_run(home: SyntheticHome, tmp_path: Path) -> None:
    result = invoke(RUN, "--output", tmp_path / "mine.html", "--format", "json")

    read = json.loads(result.stdout)
    assert read == {
        "success": True,
        "path": str(tmp_path / "mine.html"),
        "bytes": (tmp_path / "mine.html").stat().st_size,
        "run-id": str(RUN),
        "role": "aggregator",
        "participant": DS,
        "state": "completed",
        "succeeded": True,
    }


def test_report_of_a_data_owner_has_a_name_of_its_own(home: SyntheticHome, tmp_path: Path) -> None:
    home.serve(role="datasite")
    home.record(serving(1), "datasite")

    result = invoke(RUN, "--role", "data-owner", "--output", tmp_path)

    assert result.stdout == f"Report: {tmp_path}/diabetes-{RUN}-{DS}.html\n"


def test_other_file_is_not_replaced(home: SyntheticHome) -> None:
    Path("notes.html").write_text("my notes")

    result = invoke(RUN, "-o", "notes.html")

    assert result.exit_code == ExitCode.USAGE
    assert "notes.html is not a report, so it is not replaced" in result.stderr
    assert Path("notes.html").read_text() == "my notes"


@pytest.mark.parametrize(
    "block", [os.mkfifo, lambda path: path.symlink_to("nowhere"), lambda path: path.symlink_to(path)]
)
def test_what_is_no_file_is_not_replaced(home: SyntheticHome, block: Callable[[Path], None]) -> None:
    path = Path("report.html").absolute()
    block(path)
    kind = stat.S_IFMT(path.lstat().st_mode)

    result = invoke(RUN, "-o", path)

    assert result.exit_code == ExitCode.USAGE
    assert "report.html is not a report, so it is not replaced" in result.stderr
    assert stat.S_IFMT(path.lstat().st_mode) == kind


def test_report_is_written_into_a_linked_folder(home: SyntheticHome, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")

    assert invoke(RUN, "-o", tmp_path / "link").stdout == f"Report: {tmp_path}/link/diabetes-{RUN}.html\n"
    assert invoke(RUN, "-o", tmp_path / "link" / "mine.html").exit_code == 0

    assert {path.name for path in (tmp_path / "real").iterdir()} == {f"diabetes-{RUN}.html", "mine.html"}


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_folder_without_files_is_told_in_two_lines(home: SyntheticHome) -> None:
    result = invoke(RUN, "-o", "/proc/report.html")

    assert result.exit_code == ExitCode.FAILED
    assert result.stderr == (
        "Error: /proc/report.html cannot be written: its folder takes no files\n  Name a file in another folder.\n"
    )


def test_full_disk_names_the_report(home: SyntheticHome, small_disk: Path) -> None:
    with pytest.raises(OSError, match="No space"):
        (small_disk / "ballast").write_bytes(bytes(1 << 20))

    result = invoke(RUN, "-o", small_disk / "report.html")

    assert result.stderr.splitlines()[0] == "Error: no room left to write report.html"
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]


def test_folder_that_cannot_be_written_is_told_in_two_lines(home: SyntheticHome, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)

    result = as_plain_user(lambda: invoke(RUN, "-o", locked / "report.html"))

    assert result.exit_code == ExitCode.FAILED
    assert "Permission denied" in result.stderr
    assert "Traceback" not in result.stderr
    assert list(locked.iterdir()) == []


def test_local_run_does_not_start_if_its_report_has_no_place(tmp_path: Path) -> None:
    (tmp_path / "notes.html").write_text("my notes")

    result = CliRunner().invoke(app, ["run", "no-project", "-m", "a", "--report", str(tmp_path / "notes.html")])

    assert result.exit_code == ExitCode.USAGE
    assert "is not a report" in result.stderr
