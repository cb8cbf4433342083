"""The files in the bundle that Flower makes of a project."""

import subprocess
import sys
import zipfile
from pathlib import Path


def files_in_bundle(project: Path, folder: Path) -> list[str]:
    """Return the names of the files in the bundle of a project. ``folder`` gets the bundle, and is the home of Flower."""
    done = subprocess.run(
        [Path(sys.executable).with_name("flwr"), "build", "--app", project],
        cwd=folder,
        env={"HOME": str(folder), "PATH": "", "FLWR_TELEMETRY_ENABLED": "0", "FLWR_HOME": str(folder / "flwr")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (bundle,) = folder.glob("*.fab")
    with zipfile.ZipFile(bundle) as archive:
        return archive.namelist()
