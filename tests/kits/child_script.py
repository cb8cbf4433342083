"""Run a script in a Python process of its own, from its greeting to the end of a ``with`` block."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def running(script: str, path: Path, greeting: bytes) -> Iterator[subprocess.Popen[bytes]]:
    """Yield the process of ``script``, which was given ``path`` and has written ``greeting``; kill it at the end."""
    command = [sys.executable, "-c", script, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == greeting + b"\n"
            yield process
        finally:
            process.kill()
