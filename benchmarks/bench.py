"""Run all measurements and write ``docs/benchmarks.md``: ``make bench``.

    python benchmarks/bench.py
    python benchmarks/bench.py --only 100MB --output /tmp/results

It takes about ten minutes on two cores, half of them for Flower's deployment.
"""

import argparse
import sys
import time
from pathlib import Path

from measuring import machine, report
from measuring.comparison import Comparison, compare
from measuring.interruption import exit_cleanly_on_signals
from measuring.plan import Plan, read_size
from measuring.processes import MeasurementError

_DOCS = Path(__file__).parents[1] / "docs"

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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = sorted({measurement[0] for measurement in _MEASUREMENTS}, key=read_size)
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
    facts = machine.describe() | {"load average": f"{load} before the first measurement"}
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "benchmarks.md").write_text(report.render(comparisons, facts), encoding="utf-8")
    (arguments.output / report.PICTURE).write_text(report.draw(comparisons), encoding="utf-8")
    wrong = [str(comparison.plan) for comparison in comparisons if not comparison.ours.is_right]
    _say(f"done in {(time.monotonic() - start) / 60:.1f} minutes")
    for text in wrong:
        _say(f"wrong or missing replies, or too much written: {text}")
    return 1 if wrong else 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
