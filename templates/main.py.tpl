"""Start this Flower app as the participant that the email of this machine names.

The aggregator runs the server, and a datasite runs the client. An email that is both runs the server; `--role` or
SYFT_FLWR_ROLE changes that. `syft-flwr bootstrap` writes this file.
"""

import argparse
import sys
from pathlib import Path

from syft_flwr.config import ROLES, load_settings
from syft_flwr.errors import ConfigError, SyftFlwrError
from syft_flwr.shutdown import ending_quietly

PROJECT = Path(__file__).resolve().parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--role", choices=ROLES, help="role of an email that is both aggregator and datasite")
    # Notebooks of syft-flwr 0.5 pass these two, which its main.py never read.
    parser.add_argument("-s", "--active", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    try:
        role = load_settings(PROJECT, role=arguments.role).participant_role()
        # Loading Flower takes seconds, in which Ctrl-C may come.
        from syft_flwr.fl_orchestrator import run_client, run_server

        start = {"server": run_server, "client": run_client}[role]
        start(PROJECT)
    except SyftFlwrError as error:
        print(f"Error: {error.diagnose()}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    return 0


if __name__ == "__main__":
    with ending_quietly():
        sys.exit(main())
