"""Runs an example under Flower's in-memory grid, as a process: ``python -m flowerkit.reference_run ORDER``."""

import json
import sys
from pathlib import Path

from federations.case import Case
from federations.reference import ReferenceFederation


def main() -> None:
    order = json.loads(sys.argv[1])
    order["project"] = Path(order["project"])
    ReferenceFederation().serve(Case(**order))


if __name__ == "__main__":
    main()
