"""The command line tells about a SyftBox client that cannot work, before anything is waited for."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from running_daemon import RunningDaemon

from syft_flwr._bootstrap import bootstrap

pytestmark = pytest.mark.e2e
_EXAMPLE = Path(__file__).parents[2] / "examples" / "diabetes"
_DS, _DO = "ds@research.org", "do1@hospital-a.org"


@pytest.mark.parametrize(("role", "email", "peer"), [("server", _DS, _DO), ("client", _DO, _DS)])
def test_blocked_peer_ends_the_command_with_lines_to_add(role: str, email: str, peer: str, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(_EXAMPLE, project, ignore=shutil.ignore_patterns("data", "*.ipynb", "output", ".sandbox"))
    bootstrap(project, aggregator=_DS, datasites=[_DO])
    command = [str(Path(sys.executable).parent / "syft-flwr"), role, str(project)]
    with RunningDaemon(tmp_path / "me", email, subscriptions={"defaults": {"action": "block"}}) as daemon:
        environ = os.environ | daemon.environment
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
        written = [path for path in daemon.datasite.parent.rglob("*") if path.is_file()]
    assert done.returncode == 2, done.stderr
    assert f"block files of {peer}, so messages are not exchanged\n" in done.stderr
    assert f"- {{action: allow, datasite: '{peer}', path: 'public/syft_flwr.json'}}" in done.stderr
    assert "Traceback" not in done.stderr
    assert written == [daemon.datasite / "syft.pub.yaml"]
