"""The Python environment and the environment variables of a page."""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

from dockit.checkout import ROOT
from dockit.faults import DocumentError

#: Taken over from the person who runs the tests: the ways to a package index, and nothing of this package.
_KEPT = ("PIP_", "UV_", "SSL_CERT_", "REQUESTS_CA_", "CURL_CA_", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY")
_KEPT_WORDS = ("USER", "LOGNAME", "HTTPS_PROXY", "NO_PROXY", "STARTED_BY_TEST")
#: The caches of packages are in the home of this person, also if a test sets another one.
_HOME = Path.home()
#: A notebook needs it; it is part of Jupyter.
_KERNEL = "ipykernel"
_INSTALL_SECONDS = 300


def clean_variables(home: Path, temporary: Path) -> dict[str, str]:
    """Return the variables of a new terminal: those of no other project, and no settings of this package."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(_KEPT) or name in _KEPT_WORDS}
    return kept | {
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "PATH": _system_path(),
        "SHELL": "/bin/bash",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        # A file gets lines in the order of a terminal.
        "PYTHONUNBUFFERED": "1",
        "COLUMNS": "120",
        "PIP_CACHE_DIR": os.environ.get("PIP_CACHE_DIR", str(_HOME / ".cache" / "pip")),
        "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR", str(_HOME / ".cache" / "uv")),
        "FLWR_TELEMETRY_ENABLED": "0",
    }


def _system_path() -> str:
    """Return the search path without the environment of the tests."""
    own = str(Path(sys.prefix) / "bin")
    return os.pathsep.join(folder for folder in os.environ["PATH"].split(os.pathsep) if folder != own)


class PythonEnvironment:
    """A virtual environment with pip. It is in front of the search path, as after ``activate``."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self.folder = folder
        self._setup = variables
        _uv(variables, "venv", "--quiet", "--seed", "--python", sys.executable, str(folder))

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def variables(self, base: Mapping[str, str]) -> dict[str, str]:
        path = f"{self.folder / 'bin'}{os.pathsep}{base['PATH']}"
        return {**base, "PATH": path, "VIRTUAL_ENV": str(self.folder)}

    def install_checkout(self, checkout: Path) -> None:
        """Install the package with all extras, as the releases of the lock file where it has them."""
        project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        extras = ",".join(sorted(project["optional-dependencies"]))
        _install(self.python, self._setup, f"{checkout}[{extras}]", _KERNEL)


def python_of_notebooks(variables: Mapping[str, str]) -> Path:
    """Return the Python on a search path, in an environment that can run notebooks then."""
    found = shutil.which("python3", path=variables["PATH"])
    assert found, "no Python is on the search path"
    probe = [found, "-c", f"import {_KERNEL}"]
    if subprocess.run(probe, env=dict(variables), capture_output=True, check=False).returncode:
        _install(Path(found), variables, _KERNEL)
    return Path(found)


def _install(python: Path, variables: Mapping[str, str], *packages: str) -> None:
    lock = str(ROOT / "requirements.lock")
    rest = ("--constraints", lock, "--build-constraints", lock, *packages)
    command = ("pip", "install", "--quiet", "--python", str(python))
    try:
        # First without a network, which is faster, and works where all packages are in the cache.
        _uv(variables, *command, "--offline", *rest)
    except DocumentError:
        _uv(variables, *command, *rest)


def _uv(variables: Mapping[str, str], *arguments: str) -> None:
    command = [str(Path(sys.executable).parent / "uv"), *arguments]
    done = subprocess.run(
        command, env=dict(variables), capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False
    )
    if done.returncode:
        raise DocumentError(f"{' '.join(command)} failed:\n{done.stderr}")
