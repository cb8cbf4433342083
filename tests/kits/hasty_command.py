"""The command ``syft-flwr``, with a server that waits for no data owner at its end."""

import sys

_PROGRAM = """\
from syft_flwr.cli import main
from syft_flwr.fl_orchestrator import syft_grid

syft_grid._STOP_PATIENCE = 0.1
main()
"""
#: For tests without a data owner: a stop waits many seconds for confirmations that cannot come.
HASTY_COMMAND = [sys.executable, "-c", _PROGRAM]
