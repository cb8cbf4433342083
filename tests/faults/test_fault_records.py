"""Shows the events that the records of both sides hold after each fault of the suite: one row of a table for each fault.

The same row has the screens of ``syft-flwr status`` during and after the fault, and the findings of ``syft-flwr doctor``.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from recordkit import apps, crashes, delivery, files, losses, messages, parts, peers, syftbox
from recordkit.rows import assert_told
from recordkit.scene import Fault

_TESTS = Path(__file__).parents[1]
FAULTS = [
    fault for module in (apps, delivery, peers, messages, parts, files, crashes, syftbox) for fault in module.FAULTS
]
#: The whole table; ``faults/test_syftbox_losses.py`` checks the rows of single losses.
_TABLE = [*FAULTS, *losses.LOST_REQUESTS, *losses.LOST_REPLIES]
#: Files that inject no fault, or faults of floods and strategies, or that delete the records themselves.
_WITHOUT_FAULTS = {
    "faults/test_rules.py",
    "faults/test_fault_records.py",
    "faults/test_audit.py",
    "faults/test_idle_worker.py",
    "faults/test_silent_aggregator.py",
    "faults/test_minimum_of_nodes.py",
    "faults/test_order.py",
    "faults/test_runs_in_one_process.py",
    "faults/test_worker_imports.py",
    "faults/test_worker_output.py",
    "faults/test_private_texts.py",
    "faults/test_closed_grid.py",
    "faults/test_wrong_shapes.py",
    "faults/test_grown_replies.py",
    "faults/test_many_runs.py",
    "faults/floods/test_drive_floods.py",
    "faults/floods/test_syftbox_floods.py",
    "faults/resume/test_busy_reader.py",
    "faults/resume/test_lost_records.py",
}


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_both_records_tell_the_fault(fault: Fault, tmp_path: Path, logged: list[str]) -> None:
    assert_told(fault, tmp_path, logged)


def suite() -> Iterator[str]:
    """Yield the files that inject faults, as paths below ``tests``."""
    for folder in ("faults", "chaos"):
        for path in sorted((_TESTS / folder).rglob("test_*.py")):
            yield str(path.relative_to(_TESTS))


def test_each_fault_file_is_covered_by_a_row() -> None:
    covered = {path for fault in _TABLE for path in fault.covers}
    assert set(suite()) - _WITHOUT_FAULTS - covered == set(), "add a row for the faults of these files"


def test_rows_cover_only_files_that_exist() -> None:
    assert {path for fault in _TABLE for path in fault.covers} <= set(suite())


def test_names_of_rows_are_unique() -> None:
    assert len({fault.name for fault in _TABLE}) == len(_TABLE)
