"""Shows the events that the records of both sides hold after each fault of the suite: one row of a table for each fault.

The same row has the screens of ``syft-flwr status`` during and after the fault, and the findings of ``syft-flwr doctor``.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from recordkit import apps, crashes, delivery, files, messages, parts, peers, syftbox
from recordkit.examining import difference
from recordkit.expected import Expected, missing
from recordkit.reading import NO_RUN, assert_agree, assert_sound
from recordkit.scene import Fault, Scene, open_scene
from recordkit.status import has_all, missing_screen

from syft_flwr.runs.entry import RecordEntry

_TESTS = Path(__file__).parents[1]
FAULTS = [
    fault for module in (apps, delivery, peers, messages, parts, files, crashes, syftbox) for fault in module.FAULTS
]
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


def told(entries: list[RecordEntry]) -> str:
    """Return a record for people, for the message of a failed test."""
    return "\n".join(f"{entry.n:3} {entry.event} {dict(entry.fields)}" for entry in entries)


def assert_holds(
    expected: tuple[Expected, ...], entries: list[RecordEntry], names: dict[str, object]
) -> dict[str, object]:
    nowhere, names = missing(expected, entries, names)
    assert not nowhere, f"no {nowhere}\nin\n{told(entries)}\nwith {names}"
    return names


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_both_records_tell_the_fault(fault: Fault, tmp_path: Path, logged: list[str]) -> None:
    with open_scene(fault, tmp_path, logged) as scene:
        fault.inject(scene)
        for email in scene.sides:
            if email not in scene.findings:
                scene.examine(email)
    aggregator, owner = map(scene.records_of, scene.sides)
    run = scene.run
    sides = ((aggregator, fault.aggregator, fault.never[0]), (owner, fault.data_owner, fault.never[1]))
    names: dict[str, object] = {}
    for (records, expected, never), state in zip(sides, fault.ends, strict=True):
        entries = records.of(run)
        names = assert_holds(tuple(expected), entries, names)
        assert not [entry for entry in entries if entry.event in never], told(entries)
        row = records.recorded().get(run)
        assert (row.state if row else "") == state, told(entries)
        for each in records.recorded():
            assert_sound(records, each)
    outside = owner.of(NO_RUN)
    assert_holds(tuple(fault.no_run), outside, names)
    assert fault.no_run or not [entry for entry in outside if entry.event == "request-refused"], told(outside)
    assert_agree(aggregator.of(run), owner.of(run))
    assert_seen(fault, scene)


def assert_seen(fault: Fault, scene: Scene) -> None:
    """Check the screens of ``status`` and the findings of ``doctor`` at both sides."""
    for email, expected, findings in zip(scene.sides, fault.status, fault.doctor, strict=True):
        screens = scene.screens_of(email)
        nowhere = missing_screen(expected.during, screens)
        assert not nowhere, f"no screen with {nowhere} in\n" + "\n".join(dict.fromkeys(each.text for each in screens))
        last = scene.last_look(email)
        assert has_all(last, expected.after), f"{expected.after} is not in\n{last}"
        wrong = difference(findings, scene.findings[email])
        assert not wrong, f"{email}: {wrong}"


def suite() -> Iterator[str]:
    """Yield the files that inject faults, as paths below ``tests``."""
    for folder in ("faults", "chaos"):
        for path in sorted((_TESTS / folder).rglob("test_*.py")):
            yield str(path.relative_to(_TESTS))


def test_each_fault_file_is_covered_by_a_row() -> None:
    covered = {path for fault in FAULTS for path in fault.covers}
    assert set(suite()) - _WITHOUT_FAULTS - covered == set(), "add a row for the faults of these files"


def test_rows_cover_only_files_that_exist() -> None:
    assert {path for fault in FAULTS for path in fault.covers} <= set(suite())


def test_names_of_rows_are_unique() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
