"""Measure the start of a participant with and without a flood of files and folders of one other participant.

    python benchmarks/flood.py --files 10000

The figures are those of one process. Over Drive they include the emulator.
"""

import argparse
import sys

from measuring import flood


def main() -> int:
    """Print the table of `docs/benchmarks.md`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000, help="files, folders or cards of a flood (default: 10000)")
    print(flood.render(flood.measure(parser.parse_args().files)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
