"""Measure the CPU time of the largest envelopes with expensive contents, until each is refused.

    python benchmarks/hostile_envelope.py --times 5

The exit code is 1 if a median is above the limit of one second.
"""

import argparse
import statistics
import sys

from measuring import hostile

_LIMIT = 1.0


def main() -> int:
    """Print the table of `docs/benchmarks.md`; return 1 if an envelope costs too much."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5, help="measurements of each content (default: 5)")
    refusals = hostile.measure(parser.parse_args().times)
    print(hostile.render(refusals))
    slow = [each.kind for each in refusals if statistics.median(each.seconds) > _LIMIT]
    if slow:
        print(f"above {_LIMIT} s: {', '.join(slow)}", file=sys.stderr)
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
