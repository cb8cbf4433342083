"""The command line, ``syft-flwr``.

Each command has a small module. It imports Flower and other large packages inside its function, so that help and version
are printed at once. The module :mod:`syft_flwr.cli.output` prints results, and :mod:`syft_flwr.cli.exits` has the exit codes.
"""

import io
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command in the arguments of this process, then exit."""
    from syft_flwr.cli.app import app

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name of a file can have characters that the terminal cannot show.
            stream.reconfigure(errors="backslashreplace")
    app()
