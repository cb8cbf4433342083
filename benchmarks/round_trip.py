"""Measure rounds in which one model goes to each data owner and back, all on this machine in separate processes.

    python benchmarks/round_trip.py --size 1KB --rounds 1000 --datasites 2
    python benchmarks/round_trip.py --size 100MB --rounds 10 --beside flower limit
    python benchmarks/round_trip.py --size 100MB --rounds 5 --workload average --beside flower
    python benchmarks/round_trip.py --size 3GB --rounds 1 --datasites 1

The output has the round time (min, median, max), the number of correct replies, and the peak memory of server and
client. It also has the memory of the server after a tenth of the rounds and at the end. The last lines show the bytes
that the server wrote and the files left behind. Encryption is on.

Workloads: ``echo`` sends every model back, and the server compares the bytes. ``average`` is Flower's FedAvg with one
step of training. ``digest`` sends back only the SHA-256, which the server compares with its own.
"""

import argparse
import sys

from measuring.comparison import compare
from measuring.interruption import exit_cleanly_on_signals
from measuring.plan import Plan, read_size
from measuring.processes import MeasurementError
from measuring.workload import WORKLOADS

_FLOWER_ROUNDS = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="1KB", type=read_size, help="size of the model, such as 1KB, 10MB or 3GB")
    parser.add_argument("--rounds", default=200, type=int)
    parser.add_argument("--datasites", default=2, type=int)
    parser.add_argument("--workload", default="echo", choices=sorted(WORKLOADS))
    parser.add_argument(
        "--per-process", type=int, help="data owners in one process (default: 1, or 50 for more than 10 data owners)"
    )
    parser.add_argument(
        "--beside", nargs="+", choices=["flower", "limit"], default=[], help="other systems to measure on the same plan"
    )
    parser.add_argument(
        "--flower-rounds", type=int, help=f"rounds for Flower (default: --rounds, at most {_FLOWER_ROUNDS})"
    )
    arguments = parser.parse_args()
    plan = Plan.of(arguments.size, arguments.rounds, arguments.datasites, arguments.workload, arguments.per_process)
    exit_cleanly_on_signals()
    flower_rounds = arguments.flower_rounds or min(plan.rounds, _FLOWER_ROUNDS)
    try:
        comparison = compare(
            plan,
            flower_rounds=flower_rounds if "flower" in arguments.beside else 0,
            with_limit="limit" in arguments.beside,
            say=_say,
        )
    except MeasurementError as error:
        print(error, file=sys.stderr)
        return 1
    return 0 if comparison.ours.is_right else 1


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
