"""Start this Flower app as the participant that the email of this machine stands for.

The aggregator's email runs the server, a datasite's email the client; for one email that is both, it is the server
unless `--role` or SYFT_FLWR_ROLE says otherwise. Run `syft-flwr bootstrap` to have this file written again.
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
    parser.add_argument("--role", choices=ROLES, help="which of the two an email that is both shall be")
    arguments = parser.parse_args()
    try:
        role = load_settings(PROJECT, role=arguments.role).participant_role()
        # Loads Flower, which takes seconds in which somebody may press Ctrl-C.
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
