"""The argument ``display`` of the call that runs the ServerApp of a project."""

import json
from pathlib import Path

import pytest
from tiny_project import DO1, DS, Tiny

from syft_flwr.fl_orchestrator import run_server, syft_grid


@pytest.mark.parametrize(
    ("setting", "argument", "is_shown"), [("true", False, False), ("false", True, True), ("false", None, False)]
)
def test_display_argument_is_before_the_setting(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    setting: str,
    argument: bool | None,
    is_shown: bool,
) -> None:
    (tmp_path / "SyftBox").mkdir()
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"email": DS, "data_dir": str(tmp_path / "SyftBox")}))
    monkeypatch.setenv("SYFTBOX_CLIENT_CONFIG_PATH", str(config))
    monkeypatch.setenv("SYFT_FLWR_HOME", str(tmp_path / "homes"))
    monkeypatch.setenv("SYFT_FLWR_DISPLAY", setting)
    # The data owner does not run.
    monkeypatch.setattr(syft_grid, "_STOP_PATIENCE", 0.1)
    # A ServerApp that sends no request.
    monkeypatch.setenv("TINY_TASK", "exit-0")

    context = run_server(Tiny(tmp_path, datasites=(DO1,)).folder, display=argument)

    assert (f"Run {context.run_id} of tiny, aggregator {DS}: completed" in capsys.readouterr().err) == is_shown
