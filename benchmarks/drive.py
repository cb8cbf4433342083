"""Measure the round time over an emulated Google Drive, with one process for each participant.

    python benchmarks/drive.py --size 1KB --rounds 10
    python benchmarks/drive.py --size 100MB --rounds 3 --latency none

With ``--latency real``, each call takes as long as measured at the real service. The output also has a lower bound for
the round of a small model: the time of its necessary calls, and of one poll.
"""

import argparse
import sys

from measuring import ours
from measuring.interruption import exit_cleanly_on_signals
from measuring.plan import Plan, read_size
from measuring.processes import MeasurementError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="1KB", type=read_size, help="size of the model, such as 1KB or 100MB")
    parser.add_argument("--rounds", default=10, type=int)
    parser.add_argument("--datasites", default=2, type=int)
    parser.add_argument("--latency", default="real", choices=["none", "real"])
    arguments = parser.parse_args()
    exit_cleanly_on_signals()
    plan = Plan.of(arguments.size, arguments.rounds, arguments.datasites)
    try:
        result = ours.measure(plan, arguments.latency)
    except MeasurementError as error:
        print(error, file=sys.stderr)
        return 1
    for line in result.lines():
        print(line)
    return 0 if result.is_right else 1


if __name__ == "__main__":
    sys.exit(main())
