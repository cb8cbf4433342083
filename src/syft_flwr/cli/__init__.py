"""The command line, ``syft-flwr``.

One small module a command, each of which imports what it runs inside the function that runs it, so that help and
version come at once. What a command prints is in :mod:`syft_flwr.cli.output`, how it ends in
:mod:`syft_flwr.cli.exits`.
"""

__all__ = ["main"]


def main() -> None:
    """Run the command that this process was started with, and exit."""
    from syft_flwr.cli.app import app

    app()
