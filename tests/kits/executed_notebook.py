"""Executes a notebook as `jupyter execute` does, except that no other program can take the addresses of its kernel.

Jupyter chooses free TCP ports, closes them, and tells them to the kernel, which opens them half a second later. If another
program opens one in between, the kernel ends at its start. Sockets in a folder of their own have no such gap.
"""

import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config


def execute(notebook: nbformat.NotebookNode, folder: Path, timeout: int) -> None:
    """Execute a notebook in ``folder``. Each cell may take ``timeout`` seconds."""
    # The path of a socket may have 107 characters, so it cannot be in the folder of a test.
    with tempfile.TemporaryDirectory(prefix="nb-") as sockets:
        config = Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}})
        resources = {"metadata": {"path": str(folder)}}
        NotebookClient(
            notebook, timeout=timeout, kernel_name="python3", coalesce_streams=True, resources=resources, config=config
        ).execute()


def main(name: str, executed: str) -> None:
    """Execute the notebook ``name`` in its folder, and write it with its outputs to ``executed``."""
    path = Path(name)
    notebook = nbformat.read(path, as_version=4)
    execute(notebook, path.parent.absolute(), 90)
    nbformat.write(notebook, executed)


if __name__ == "__main__":
    main(*sys.argv[1:])
