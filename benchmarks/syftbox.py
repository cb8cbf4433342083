"""Measure rounds over a SyftBox network, with one process and one SyftBox client for each participant.

    python benchmarks/syftbox.py --size 4KB 1MB 16MB --rounds 20
    python benchmarks/syftbox.py --size 1MB --datasites 12
    python benchmarks/syftbox.py --size 64MB --rounds 1 --uplink 10 --workload digest
    python benchmarks/syftbox.py --size 4KB --rounds 20 --store-delay 0.2

If ``SYFT_FLWR_TEST_SYFTBOX`` names the folder of the real programs ``server`` and ``syftbox``, they are the network;
``make test-syftbox`` installs the store that they need. Otherwise the network is this package's emulator.

The model changes every round. A small round before the first one is not timed: it waits until every process has
started. The last lines are a table in Markdown. The bytes sent are those of the aggregator's SyftBox client.
"""

import argparse
import sys
from dataclasses import replace

from measuring import ours, synced_table
from measuring.interruption import exit_cleanly_on_signals
from measuring.plan import Plan, read_size
from measuring.processes import MeasurementError
from measuring.synced import Conditions

_SIZES = ("4KB", "100KB", "1MB", "4MB", "16MB", "100MB")
_WORKLOADS = ("echo", "digest")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = [read_size(size) for size in _SIZES]
    parser.add_argument(
        "--size", default=sizes, type=read_size, nargs="+", help="sizes of the model, such as 4KB or 1MB"
    )
    parser.add_argument("--datasites", default=2, type=int, help="number of data owners")
    parser.add_argument("--rounds", default=10, type=int)
    parser.add_argument("--uplink", default=0.0, type=float, help="Mbit/s from each SyftBox client; 0 for no limit")
    parser.add_argument(
        "--store-delay", default=0.0, type=float, help="seconds that each write to the store takes longer"
    )
    parser.add_argument("--workload", default="echo", choices=_WORKLOADS)
    parser.add_argument("--timeout", default=300.0, type=float, help="seconds after which a reply counts as lost")
    arguments = parser.parse_args()
    exit_cleanly_on_signals()
    conditions = Conditions(arguments.uplink * 1e6 / 8, arguments.store_delay)
    results = []
    for size in arguments.size:
        plan = Plan.of(size, arguments.rounds, arguments.datasites, arguments.workload, per_process=1)
        try:
            results.append(ours.measure(replace(plan, timeout=arguments.timeout), conditions=conditions))
        except MeasurementError as error:
            print(f"{plan}: {error}", file=sys.stderr)
            continue
        print("\n".join(results[-1].lines()), flush=True)
    print(synced_table.render(results))
    complete = len(results) == len(arguments.size)
    return 0 if complete and all(result.good == result.expected for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
