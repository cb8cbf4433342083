"""Facts about the machine and the installed releases. They contain no names of hosts or users."""

import os
import platform
import re
import tempfile
from importlib.metadata import version
from pathlib import Path

_PACKAGES = ("syft-flwr", "flwr", "cryptography", "numpy")


def describe() -> dict[str, str]:
    """Return the facts by name, in the order of the page."""
    # Only the numbers: distributions and hosts add their own suffixes.
    kernel = re.match(r"[0-9.]+", platform.release())
    model = _first(r"model name\s*: (.+)", "/proc/cpuinfo") or platform.machine()
    return {
        "processor": f"{os.cpu_count()} cores, {model}",
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 1e9:.0f} GB",
        "storage": f"a folder on {_file_system(Path(tempfile.gettempdir()).resolve())}",
        "kernel": f"{platform.system()} {kernel[0] if kernel else ''}",
        "software": ", ".join(
            [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in _PACKAGES)]
        ),
    }


def load_average() -> str:
    """Return the load average of the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


def _first(pattern: str, path: str) -> str:
    found = re.search(pattern, Path(path).read_text(encoding="utf-8"))
    return found[1].strip() if found else ""


def _file_system(folder: Path) -> str:
    table = [line.split() for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    return max((row for row in table if folder.is_relative_to(row[1])), key=lambda row: len(row[1]))[2]
