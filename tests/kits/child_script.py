"""Run a script in a separate Python process for the duration of a ``with`` block."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def running(script: str, path: Path, greeting: bytes) -> Iterator[subprocess.Popen[bytes]]:
    """Start ``script`` with ``path`` as argument, yield its process after it prints ``greeting``, and kill it."""
    command = [sys.executable, "-c", script, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == greeting + b"\n"
            yield process
        finally:
            process.kill()
