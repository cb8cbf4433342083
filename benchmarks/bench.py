"""Run all measurements and write ``docs/benchmarks.md``: ``make bench``.

    python benchmarks/bench.py
    python benchmarks/bench.py --only 100MB --output /tmp/results

It takes about 15 minutes on two cores, five of them for Flower's deployment. ``SYFT_FLWR_TEST_SYFTBOX`` names the
folder of real SyftBox programs; without it, the measurements over SyftBox use this package's emulator.
"""

import argparse
import sys
import time
from collections.abc import Collection
from pathlib import Path

from measuring import flood, hostile, machine, ours, report
from measuring.comparison import Comparison, compare
from measuring.interruption import exit_cleanly_on_signals
from measuring.plan import Plan, read_size
from measuring.processes import MeasurementError
from measuring.result import Result
from measuring.synced import Conditions

_DOCS = Path(__file__).parents[1] / "docs"
#: Measurements of each hostile envelope.
_REFUSALS = 5
#: Files, folders or cards of each flood.
_FLOOD = 10_000

#: Size, data owners, workload, rounds, rounds of Flower's deployment (0: none), and whether to measure the limit of the
#: machine.
_MEASUREMENTS = (
    ("1KB", 2, "echo", 200, 3, True),
    ("10MB", 2, "echo", 20, 3, True),
    ("100MB", 2, "echo", 10, 3, True),
    ("500MB", 2, "echo", 5, 2, True),
    ("1KB", 10, "echo", 50, 2, True),
    # Without Flower: more SuperNodes, with three processes each, need a larger machine.
    ("1KB", 50, "echo", 20, 0, False),
    ("1KB", 200, "echo", 10, 0, False),
    ("100MB", 2, "average", 3, 2, False),
    ("3GB", 1, "digest", 1, 0, False),
    ("3GB", 1, "echo", 1, 0, False),
)

#: Over SyftBox: size, data owners, rounds, workload, megabits per second of each uplink (0: no limit).
_SYNCED = (
    ("4KB", 2, 20, "echo", 0),
    ("100KB", 2, 20, "echo", 0),
    ("1MB", 2, 20, "echo", 0),
    ("4MB", 2, 10, "echo", 0),
    ("16MB", 2, 10, "echo", 0),
    ("100MB", 2, 5, "echo", 0),
    ("1MB", 8, 10, "echo", 0),
    ("16MB", 8, 5, "echo", 0),
    ("1MB", 12, 10, "echo", 0),
    ("64MB", 2, 1, "digest", 10),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = sorted({measurement[0] for measurement in (*_MEASUREMENTS, *_SYNCED)}, key=read_size)
    parser.add_argument("--only", nargs="+", choices=sizes, default=sizes, help="the sizes to measure (default: all)")
    parser.add_argument("--output", type=Path, default=_DOCS, help="the folder for the page and the chart")
    arguments = parser.parse_args()
    exit_cleanly_on_signals()
    start, load = time.monotonic(), machine.load_average()
    comparisons: list[Comparison] = []
    for size, datasites, workload, rounds, flower_rounds, with_limit in _MEASUREMENTS:
        if size not in arguments.only:
            continue
        plan = Plan.of(read_size(size), rounds, datasites, workload)
        try:
            comparisons.append(compare(plan, flower_rounds=flower_rounds, with_limit=with_limit, say=_say))
        except MeasurementError as error:
            print(f"{plan}: {error}", file=sys.stderr)
            return 1
    try:
        synced = _measure_synced(arguments.only)
    except MeasurementError as error:
        print(error, file=sys.stderr)
        return 1
    facts = machine.describe() | {"load average": f"{load} before the first measurement"}
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "benchmarks.md").write_text(
        report.render(comparisons, synced, hostile.measure(_REFUSALS), flood.measure(_FLOOD), facts), encoding="utf-8"
    )
    (arguments.output / report.PICTURE).write_text(report.draw(comparisons), encoding="utf-8")
    measured = [*(comparison.ours for comparison in comparisons), *synced]
    wrong = [str(result.plan) for result in measured if not result.is_right]
    _say(f"done in {(time.monotonic() - start) / 60:.1f} minutes")
    for text in wrong:
        _say(f"wrong or missing replies, or too much written: {text}")
    return 1 if wrong else 0


def _measure_synced(sizes: Collection[str]) -> list[Result]:
    """Return the results over SyftBox for these sizes, and print each at once."""
    results = []
    for size, datasites, rounds, workload, megabits in _SYNCED:
        if size not in sizes:
            continue
        plan = Plan.of(read_size(size), rounds, datasites, workload, per_process=1)
        results.append(ours.measure(plan, conditions=Conditions(uplink=megabits * 1e6 / 8)))
        for line in results[-1].lines():
            _say(line)
    return results


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
